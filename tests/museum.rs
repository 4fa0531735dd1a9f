//! The museum of overselling: twelve known ways in which shops have sold what they did not have, or lost what they had. Each exhibit
//! first runs the code that fails, and sees it fail, and then makes the same attack on the real node, which holds.
//! `docs/museum.md` is its catalogue, with sources; the last test here holds the two together.

mod naive;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use serde_json::{Value, json};

use super::harness::events::{SOURCE, event};
use super::harness::node::{Node, wait_until};

/// The title of each exhibit, as the catalogue has it.
const EXHIBITS: [&str; 12] = [
    "Check, then act",
    "A stale cache",
    "A retry after a time-out",
    "Two workers and one message",
    "The sweeper that came late",
    "A partial basket",
    "An import that was replayed",
    "The ERP overwrites the shop",
    "Midnight in another zone",
    "The lost outbox row",
    "A clock that is ahead",
    "The dead consumer",
];

fn tell(node: &Node, events: &[Value]) -> Vec<Value> {
    let answer = node.post("/v1/events", &json!(events)).json();
    answer["verdicts"].as_array().expect("a verdict for each").clone()
}

fn words(verdicts: &[Value]) -> Vec<&str> {
    verdicts
        .iter()
        .map(|verdict| verdict["verdict"].as_str().expect("a word"))
        .collect()
}

fn stocked(sku: &str, quantity: i64) -> Node {
    let node = Node::start();
    assert_eq!(words(&tell(&node, &[event("first", "receipt", sku, quantity)])), ["applied"]);
    node
}

fn sku(node: &Node, sku: &str) -> Value {
    node.get(&format!("/v1/warehouses/main/skus/{sku}")).expect_status(200).json()
}

fn sellable(node: &Node, name: &str) -> i64 {
    sku(node, name)["accounts"]["sellable"].as_i64().expect("a quantity")
}

fn available(node: &Node, name: &str) -> i64 {
    sku(node, name)["available"]["default"].as_i64().expect("a quantity")
}

fn basket(id: &str) -> String {
    format!("/v1/warehouses/main/reservations/{id}")
}

fn lines(of: &[(&str, i64)]) -> Value {
    let line = |(sku, quantity): &(&str, i64)| json!({"sku": sku, "quantity": quantity});
    json!({"lines": of.iter().map(line).collect::<Vec<_>>()})
}

/// So many customers at the same moment; what each was answered.
fn at_once<T: Send>(customers: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = Barrier::new(customers);
    let customer = |number| {
        let (gate, act) = (&gate, &act);
        move || {
            gate.wait();
            act(number)
        }
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..customers).map(|number| scope.spawn(customer(number))).collect();
        all.into_iter().map(|one| one.join().expect("a customer")).collect()
    })
}

#[test]
fn check_then_act() {
    let shop = naive::CheckThenAct {
        stock: AtomicI64::new(1),
        sold: AtomicUsize::new(0),
    };
    let between = Barrier::new(8);
    at_once(8, |_| shop.sell(&between));
    assert_eq!(
        shop.sold.load(Ordering::SeqCst),
        8,
        "eight customers bought the one that there was"
    );

    let node = stocked("sneaker", 1);
    let http = node.client();
    let answers = at_once(8, |number| {
        http.put(&basket(&format!("o-{number}")), &lines(&[("sneaker", 1)]))
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    let refused = answers.iter().filter(|answer| answer.code() == "insufficient_stock");
    assert_eq!(refused.count(), 7);
}

#[test]
fn a_stale_cache() {
    let mut stock = 1;
    let mut window = naive::Window {
        cached: 0,
        cached_until: 0,
    };
    assert_eq!(window.available(stock, 0), 1);
    stock -= 1;
    assert_eq!(stock, 0);
    assert_eq!(
        window.available(stock, 600),
        1,
        "ten minutes later it still shows what is sold"
    );

    let node = stocked("lamp", 1);
    let shown = available(&node, "lamp");
    node.put(&basket("theirs"), &lines(&[("lamp", 1)])).expect_status(201);
    // Whoever looks after the answer sees it, over whichever connection; whoever relies on an older look is refused.
    assert_eq!(available(&node, "lamp"), 0);
    assert_eq!(shown, 1);
    node.put(&basket("ours"), &lines(&[("lamp", shown)]))
        .expect_problem(409, "insufficient_stock");
}

#[test]
fn a_retry_after_a_time_out() {
    let mut endpoint = naive::Endpoint { stock: 10 };
    assert_eq!(endpoint.sell(2, false), None);
    assert_eq!(endpoint.sell(2, true), Some("ok"));
    assert_eq!(endpoint.stock, 6, "two were sold, four are gone");

    let node = stocked("tea", 10);
    let sale = event("sale-1", "sale", "tea", 2);
    for _ in 0..5 {
        // Sent whole, and the line breaks before the answer.
        let body = sale.to_string();
        let mut line = TcpStream::connect(node.address()).expect("the node listens");
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        line.write_all(format!("{head}{body}").as_bytes()).expect("the node reads");
    }
    let answer = node.post("/v1/events", &sale).expect_status(200).json();
    let known = answer["verdict"] == "duplicate" && answer["first"] == "applied";
    assert!(known || answer["verdict"] == "applied", "{answer}");
    assert_eq!(sellable(&node, "tea"), 8);
}

#[test]
fn two_workers_and_one_message() {
    let (mut queue, mut stock) = (naive::Queue::with(3), 10);
    let slow = queue.receive(0).expect("a message");
    let quick = queue
        .receive(31)
        .expect("the same message again, since the first worker is slow");
    stock -= quick;
    queue.delete();
    stock -= slow;
    assert_eq!(stock, 4, "three were sold, six are gone");

    let node = stocked("rice", 10);
    let http = node.client();
    let answers = at_once(16, |_| http.post("/v1/events", &event("message-1", "sale", "rice", 3)).json());
    let word = |wanted: &str| answers.iter().filter(|answer| answer["verdict"] == wanted).count();
    assert_eq!((word("applied"), word("duplicate")), (1, 15), "{answers:?}");
    assert_eq!(sellable(&node, "rice"), 7);
}

#[test]
fn the_sweeper_that_came_late() {
    let mut shop = naive::Holds::of(1);
    assert!(shop.hold("first", 1, 60));
    assert_eq!(
        shop.available(),
        0,
        "the hold ended at 60, and at 90 nobody has swept: a sale is lost"
    );
    shop.sweep(90);
    assert!(shop.hold("second", 1, 150));
    shop.pay("first");
    shop.pay("second");
    assert_eq!(shop.paid.len(), 2, "the one unit was paid for twice");

    let node = stocked("cake", 1);
    let mut first = lines(&[("cake", 1)]);
    first["ttl_s"] = json!(1);
    node.put(&basket("first"), &first).expect_status(201);
    // The moment that the deadline has passed, the unit is there; nobody has to sweep first.
    wait_until("the deadline", || {
        node.put(&basket("second"), &lines(&[("cake", 1)])).status == 201
    });
    node.post(&format!("{}/confirm", basket("first")), &json!({}))
        .expect_problem(409, "already_expired");
    node.post(&format!("{}/confirm", basket("second")), &json!({}))
        .expect_status(200);
    assert_eq!(sellable(&node, "cake"), 0);
}

#[test]
fn a_partial_basket() {
    let mut stock = BTreeMap::from([("milk", 5), ("bread", 5), ("truffle", 0)]);
    let wanted = [("milk", 1), ("bread", 1), ("truffle", 1)];
    naive::hold_line_by_line(&mut stock, &wanted).expect_err("there is no truffle");
    assert_eq!(
        (stock["milk"], stock["bread"]),
        (4, 4),
        "nobody bought the milk and the bread that are gone"
    );

    let mut node = stocked("milk", 50);
    tell(
        &node,
        &[
            event("bread", "receipt", "bread", 50),
            event("truffle", "receipt", "truffle", 1),
        ],
    );
    let too_many = [("milk", 1), ("bread", 1), ("truffle", 2)];
    node.put(&basket("refused"), &lines(&too_many))
        .expect_problem(409, "insufficient_stock");
    assert_eq!(["milk", "bread", "truffle"].map(|name| available(&node, name)), [50, 50, 1]);
    // The same across a power cut: customers are at it when the node is killed.
    let http = node.client();
    let asking = std::thread::spawn(move || {
        let path = |number: usize| basket(&format!("o-{number}"));
        let ask = |number| {
            http.try_send(
                "PUT",
                &path(number),
                &[("content-type", "application/json")],
                lines(&[("milk", 1), ("bread", 1)]).to_string().into_bytes(),
            )
        };
        (0..50).take_while(|number| ask(*number).is_ok()).count()
    });
    wait_until("some baskets", || available(&node, "milk") < 45);
    node.kill();
    let answered = asking.join().expect("the customer");
    node.restart();
    let claimed = |name: &str| sku(&node, name)["claimed"].as_i64().expect("a quantity");
    assert_eq!(claimed("milk"), claimed("bread"));
    let held = node.list("/v1/warehouses/main/reservations?state=held").len();
    assert_eq!(claimed("milk"), held as i64);
    assert!(held >= answered, "{held} are held, {answered} were promised");
}

#[test]
fn an_import_that_was_replayed() {
    let (mut stock, rows) = (0, [5; 20]);
    assert!(!naive::import(&mut stock, &rows, 12), "it died on the way");
    assert!(naive::import(&mut stock, &rows, 20));
    assert_eq!(stock, 160, "a hundred were delivered");

    let mut node = Node::start();
    let file: Vec<Value> = (0..20)
        .map(|row| event(&format!("file-7/{row}"), "receipt", "soap", 5))
        .collect();
    tell(&node, &file[..12]);
    node.kill();
    node.restart();
    let verdicts = tell(&node, &file);
    assert_eq!(words(&verdicts), [["duplicate"; 12].as_slice(), &["applied"; 8]].concat());
    tell(&node, &file);
    assert_eq!(sellable(&node, "soap"), 100);
}

#[test]
fn the_erp_overwrites_the_shop() {
    let mut shop = naive::Overwritten { stock: 10, sold: 0 };
    let erp = 10;
    assert!(shop.sell(6));
    shop.nightly_sync(erp);
    assert!(shop.sell(10));
    assert_eq!(shop.sold, 16, "sixteen were sold of ten");

    let node = stocked("oil", 10);
    tell(&node, &[event("sale", "sale", "oil", 6)]);
    let mut believes = event("night-1", "snapshot", "oil", 10);
    believes["source"] = json!("erp");
    assert_eq!(words(&tell(&node, &[believes])), ["recorded"]);
    assert_eq!(available(&node, "oil"), 4);
    node.put(&basket("o-1"), &lines(&[("oil", 10)]))
        .expect_problem(409, "insufficient_stock");
    let drift = node.list("/v1/drift");
    assert!(
        drift.iter().any(|row| row["sku"] == "oil" && row["source"] == "erp"),
        "who disagrees is told: {drift:?}"
    );
}

#[test]
fn midnight_in_another_zone() {
    // It is never the same day in these two: they are 25 hours apart.
    let (early, late) = ("Pacific/Kiritimati", "Pacific/Pago_Pago");
    let today = |zone: &str| jiff::Timestamp::now().in_tz(zone).expect("a zone").date();
    let last_day = today(late);
    assert!(today(early) > last_day);
    let now = jiff::Timestamp::now();
    // The server has one answer for both shops, so in one of them it sells what has expired, or throws away what is good.
    let (in_early, in_late) = (
        naive::is_sellable_today(last_day, now),
        naive::is_sellable_today(last_day, now),
    );
    assert_eq!(in_early, in_late, "it is sellable in the one and expired in the other");

    let node = Node::start();
    // Where midnight falls between the two looks, they are taken again.
    loop {
        let last_day = today(late);
        for (warehouse, zone) in [("early", early), ("late", late)] {
            node.put(&format!("/v1/warehouses/{warehouse}"), &json!({"time_zone": zone}));
            let mut yoghurt = event(
                &format!("{warehouse}-{last_day}"),
                "receipt",
                &format!("yoghurt-{last_day}"),
                4,
            );
            yoghurt["data"]["warehouse"] = json!(warehouse);
            yoghurt["data"]["lot"] = json!({"id": "L1", "expires_on": last_day.to_string()});
            assert_eq!(words(&tell(&node, &[yoghurt])), ["applied"]);
        }
        let promised = ["early", "late"].map(|warehouse| {
            let page = node
                .get(&format!("/v1/warehouses/{warehouse}/skus/yoghurt-{last_day}"))
                .json();
            page["available"]["default"].as_i64().expect("a quantity")
        });
        if today(late) == last_day {
            assert_eq!(promised, [0, 4], "expired over there, good for the rest of the day here");
            return;
        }
    }
}

#[test]
fn the_lost_outbox_row() {
    let mut shop = naive::DualWrite {
        database: 10,
        broker: vec![10],
    };
    shop.sell(4, true);
    assert_eq!(
        (shop.database, shop.broker.last()),
        (6, Some(&10)),
        "the web shop sells on from ten"
    );

    let mut node = stocked("jam", 10);
    let start = node.get("/v1/changes").expect_status(200).json();
    let cursor = start["next"].as_str().expect("a cursor").to_owned();
    tell(&node, &[event("sale", "sale", "jam", 4)]);
    node.kill();
    node.restart();
    let page = node.get(&format!("/v1/changes?since={cursor}")).expect_status(200).json();
    let facts = page["items"].as_array().expect("facts");
    let sale = facts.iter().find(|fact| fact["kind"] == "sku" && fact["id"] == "sale");
    let sale = sale.unwrap_or_else(|| panic!("what was answered is published: {page}"));
    assert_eq!(sale["accounts"]["sellable"], 6, "{sale}");
}

#[test]
fn a_clock_that_is_ahead() {
    let mut shop = naive::LastWriteWins::default();
    shop.count(50, 3_600);
    shop.count(8, 60);
    assert_eq!(shop.stock, 50, "the wrong figure of the wrong clock stands for an hour");

    let node = stocked("salt", 10);
    let counted = |id: &str, figure: i64, seconds: i64| {
        let mut count = event(id, "count", "salt", figure);
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        count["time"] = json!(at.to_string());
        count
    };
    let verdicts = tell(&node, &[counted("wrong", 50, 3_600), counted("right", 8, 0)]);
    assert_eq!(words(&verdicts), ["refused", "applied"]);
    assert_eq!(verdicts[0]["problem"]["code"], "time_out_of_range");
    // A movement from the same clock is believed, at the time of its arrival.
    let mut sale = event("sale", "sale", "salt", 1);
    sale["time"] = counted("", 0, 3_600)["time"].clone();
    assert_eq!(words(&tell(&node, &[sale])), ["applied"]);
    assert_eq!(sellable(&node, "salt"), 7);
}

#[test]
fn the_dead_consumer() {
    let stock = Mutex::new(10);
    let done = naive::consume(&stock, &[Ok(1), Err(()), Ok(2), Ok(3)], 20);
    assert_eq!(
        *stock.lock().expect("nobody panics with it"),
        9,
        "what stands behind the bad message never arrives"
    );
    assert_eq!(done.len(), 1);

    let node = stocked("eggs", 10);
    let rows = [
        event("m-1", "sale", "eggs", 1).to_string(),
        "{\"id\": \"m-2\", \"source\"".to_owned(),
        event("m-3", "sale", "eggs", 2).to_string(),
        event("m-4", "sale", "eggs", 3).to_string(),
    ];
    let send = || {
        node.send(
            "POST",
            "/v1/events",
            &[("content-type", "application/x-ndjson")],
            rows.join("\n").into_bytes(),
        )
    };
    assert_eq!(send().status, 207);
    // Sent again, as a consumer does that was started anew.
    assert_eq!(send().status, 207);
    assert_eq!(
        sellable(&node, "eggs"),
        4,
        "each has its effect once, and the bad one is told"
    );
    let refused = node.list("/v1/ignored");
    assert!(!refused.is_empty(), "the bad row is kept: {refused:?}, {SOURCE}");
}

#[test]
fn every_exhibit_stands_in_the_catalogue() {
    let catalogue = include_str!("../docs/museum.md");
    let titles: Vec<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let expected: Vec<String> = EXHIBITS
        .iter()
        .zip(1..)
        .map(|(title, number)| format!("{number}. {title}"))
        .collect();
    assert_eq!(titles, expected);
    let here = include_str!("museum.rs");
    for title in EXHIBITS {
        let name = title.to_lowercase().replace([',', '.'], "").replace(['-', ' '], "_");
        assert!(here.contains(&format!("fn {name}()")), "{title}: no test `{name}`");
        assert!(
            catalogue.contains(&format!("`{name}`")),
            "the catalogue names the test `{name}`"
        );
    }
}
