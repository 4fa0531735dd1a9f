//! Sixteen clients at once see one shop: there is an order of all their calls, true to the clock, in which each would have been
//! answered as it was. Also across `kill -9`, where what was not answered has happened whole or not at all.
//!
//! The checker proves itself first, on histories and verdicts of others; and histories of the node with one planted lie are refused.

#[path = "linearizable/checker.rs"]
mod checker;
#[path = "linearizable/clients.rs"]
mod clients;
#[path = "linearizable/recorded.rs"]
mod recorded;
#[path = "linearizable/shop.rs"]
mod shop;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::data::{shared_file, tally};
use crate::harness::events::event;
use crate::harness::node::Node;
use crate::harness::torture;

use checker::{Call, Verdict, check};
use clients::{SKUS, Street};
use shop::{Held, Kind, Op, Page, Shop, Told};

/// Of so many histories one has a `kill -9` in it.
const A_KILL_EVERY: u64 = 10;
/// A store of its own for so many histories, so that the last ones are not slower than the first.
const HISTORIES_OF_A_NODE: u64 = 200;
/// Configurations that a search may look at: sixty times what the hardest of these histories took, lies included.
const BOUND: usize = 3_000_000;

/// What the project keeps itself: a register and a map, right and wrong.
const SAMPLES: [(&str, &str, bool); 4] = [
    (
        "jepsen/right",
        "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 1\t:invoke\t:read\tnil\nINFO  jepsen.util - 1\t:ok\t:read\t1\n\
         INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n",
        true,
    ),
    (
        "jepsen/wrong",
        "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:ok\t:write\t1\nINFO  jepsen.util - 1\t:invoke\t:cas\t[1 2]\n\
         INFO  jepsen.util - 1\t:fail\t:cas\t[1 2]\n",
        false,
    ),
    (
        "kv/right",
        "{:process 0, :type :invoke, :f :append, :key \"0\", :value \"x\"}\n{:process 1, :type :invoke, :f :get, :key \"0\", :value nil}\n\
         {:process 1, :type :ok, :f :get, :key \"0\", :value \"x\"}\n{:process 0, :type :ok, :f :append, :key \"0\", :value \"x\"}\n",
        true,
    ),
    (
        "kv/wrong",
        "{:process 0, :type :invoke, :f :put, :key \"0\", :value \"x\"}\n{:process 0, :type :ok, :f :put, :key \"0\", :value \"x\"}\n\
         {:process 1, :type :invoke, :f :get, :key \"0\", :value nil}\n{:process 1, :type :ok, :f :get, :key \"0\", :value \"\"}\n",
        false,
    ),
];

#[test]
fn the_checker_agrees_with_every_verdict_on_recorded_histories() {
    for (name, text, expected) in SAMPLES {
        assert_eq!(recorded::judge(Path::new(name), text), expected, "{name}");
    }
    let Some(verdicts) = shared_file("histories/expected.json") else {
        return;
    };
    let verdicts = std::fs::read_to_string(verdicts).expect("the verdicts");
    let verdicts: Value = serde_json::from_str(&verdicts).expect("JSON");
    let verdicts = verdicts.as_object().expect("a verdict for each file");
    for (name, expected) in verdicts {
        let file = shared_file(&format!("histories/test_data/{name}")).expect("it stands beside its verdict");
        let text = std::fs::read_to_string(&file).expect("a text");
        assert_eq!(Some(recorded::judge(&file, &text)), expected.as_bool(), "{name}");
    }
    for kind in [true, false] {
        assert!(verdicts.values().any(|verdict| *verdict == kind), "both kinds");
    }
    tally("linearizability_verdicts", verdicts.len() as u64, "histories");
}

#[test]
fn looks_that_fit_are_not_tried_in_every_order() {
    let baskets = vec![vec![(0, 1)]];
    let call = |n: u64, op| Call {
        op,
        invoked: n,
        returned: Some(100 + n),
    };
    let unknown = |n| {
        call(
            n,
            Op::LookAt {
                basket: 0,
                answer: shop::Basket::Unknown,
            },
        )
    };
    let mut calls: Vec<_> = (0..24).map(unknown).collect();
    let shop = Shop::new(1, baskets, &calls);
    assert_eq!(check(&shop, &calls, 100), Verdict::Linearizable);
    // Nobody has held it: a lie that no order excuses, and there are sixteen million subsets of the looks beside it.
    calls.push(call(
        24,
        Op::LookAt {
            basket: 0,
            answer: shop::Basket::Held,
        },
    ));
    assert!(matches!(check(&shop, &calls, 100), Verdict::Refused { placed: 24, .. }));
}

#[test]
fn every_history_of_sixteen_clients_has_an_order_also_across_kill_9() {
    let (histories, begun) = (torture::cases(200, 5_000), Instant::now());
    let (mut calls, mut kills) = (0, 0);
    for first in (0..histories).step_by(HISTORIES_OF_A_NODE as usize) {
        let mut node = Node::start();
        for number in first..histories.min(first + HISTORIES_OF_A_NODE) {
            let kill = number % A_KILL_EVERY == A_KILL_EVERY - 1;
            let (street, history) = record(&mut node, number, kill);
            judge(&street, &history, number);
            (calls, kills) = (calls + history.len(), kills + u64::from(kill));
        }
        assert!(node.terminate().success(), "{}", node.log());
        torture::progress("linearizable", histories.min(first + HISTORIES_OF_A_NODE), begun);
    }
    println!("{histories} histories, {calls} calls, {kills} kills");
    torture::report("linearizable", histories, 0);
}

fn record(node: &mut Node, number: u64, kill: bool) -> (Street, Vec<Call<Op>>) {
    let seed = torture::seed().wrapping_add(number);
    let street = Street::new(node, format!("h{number}"), seed);
    let history = street.live(node, kill);
    (street, history)
}

/// The verdict on each independent part.
fn verdicts(street: &Street, history: &[Call<Op>]) -> Vec<Verdict> {
    let shop = Shop::new(SKUS, street.baskets(), history);
    let parts = shop.parts(history);
    parts.iter().map(|part| check(&shop, part, BOUND)).collect()
}

#[track_caller]
fn judge(street: &Street, history: &[Call<Op>], number: u64) {
    for verdict in verdicts(street, history) {
        if verdict != Verdict::Linearizable {
            let mut told: Vec<_> = history.iter().collect();
            told.sort_by_key(|call| call.invoked);
            for call in told {
                println!("{:>5} {:>5?} {:?}", call.invoked, call.returned, call.op);
            }
            panic!("history {number} of seed {} has no order: {verdict:#?}", torture::seed());
        }
    }
}

/// A lie in a history that was true, told after all else was over, so that no order can excuse it.
fn refuses(street: &Street, history: &[Call<Op>], what: &str, lie: Op) {
    let mut history = history.to_vec();
    let (invoked, returned) = (street.tick(), Some(street.tick()));
    history.push(Call {
        op: lie,
        invoked,
        returned,
    });
    let verdicts = verdicts(street, &history);
    assert!(
        verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused { .. })),
        "{what}: {verdicts:?}"
    );
}

fn last_page(history: &[Call<Op>], sku: usize) -> Page {
    let pages = history.iter().rev().filter_map(|call| match call.op {
        Op::Look { sku: of, answer } if of == sku => Some(answer),
        _ => None,
    });
    pages.into_iter().next().expect("every SKU was looked at last")
}

#[test]
fn a_history_with_a_planted_oversell_stale_read_lost_event_or_doubled_one_is_refused() {
    let mut node = Node::start();
    for number in 0..2 {
        let (street, history) = record(&mut node, 1_000_000 + number, number % 2 == 1);
        judge(&street, &history, number);
        let page = last_page(&history, 0);
        let look = |answer| Op::Look { sku: 0, answer };
        let gone = Page {
            demand: page.demand - 1,
            discrepancy: page.discrepancy + 1,
            ..page
        };
        refuses(&street, &history, "a lost sale", look(gone));
        let unheard = Page {
            sellable: page.sellable + 1,
            available: page.available + 1,
            discrepancy: page.discrepancy - 1,
            ..page
        };
        refuses(&street, &history, "units from nowhere", look(unheard));
        let applied = |call: &&Call<Op>| {
            matches!(
                call.op,
                Op::Tell {
                    answer: Some(Told::Applied { .. }),
                    ..
                }
            )
        };
        let again = history.iter().find(applied).expect("the shop was opened").op.clone();
        refuses(&street, &history, "an event with two effects", again);
        lies_about_the_past(&street, &history);
    }
}

/// What was read of a SKU before a sale that ended before this read began. Demand only grows, so that cannot be true again.
fn stale(history: &[Call<Op>], read: &Call<Op>, of: usize, now: Page) -> Option<Page> {
    history.iter().find_map(|earlier| {
        let Op::Look { sku, answer: then } = earlier.op else {
            return None;
        };
        let between = |sold: &Call<Op>| {
            let sale = matches!(sold.op, Op::Tell { kind: Kind::Sale, sku, answer: Some(Told::Applied { .. }), .. } if sku == of);
            sale && Some(sold.invoked) > earlier.returned && sold.returned < Some(read.invoked)
        };
        (sku == of && then.demand < now.demand && history.iter().any(between)).then_some(then)
    })
}

/// A lie in place of what was answered to a call, and its kind.
fn lie(history: &[Call<Op>], call: &Call<Op>) -> Option<(Op, usize)> {
    let mut op = call.op.clone();
    let kind = match &mut op {
        // As if nobody had sold since.
        Op::Look { sku, answer } => {
            *answer = stale(history, call, *sku, *answer)?;
            0
        }
        // The second basket gets what the first one has; unless another hold of it may have got it, unheard.
        Op::Hold { basket, answer } if matches!(answer, Some(Held::Refused(_))) => {
            let unheard = |call: &Call<Op>| matches!(call.op, Op::Hold { basket: of, answer: None } if of == *basket);
            if history.iter().any(unheard) {
                return None;
            }
            *answer = Some(Held::Created);
            1
        }
        // A refusal that was none.
        Op::Tell { answer, .. } if *answer == Some(Told::Refused) => {
            *answer = Some(Told::Applied { found: 0 });
            2
        }
        _ => return None,
    };
    Some((op, kind))
}

/// Lies of one kind in one history: each costs a search to its end.
const LIES: u32 = 5;

/// One of its own answers, changed where it stands.
fn lies_about_the_past(street: &Street, history: &[Call<Op>]) {
    let mut planted = [0; 3];
    for (at, call) in history.iter().enumerate() {
        let Some((lie, kind)) = lie(history, call) else { continue };
        if planted[kind] == LIES {
            continue;
        }
        let mut history = history.to_vec();
        history[at].op = lie;
        let verdicts = verdicts(street, &history);
        let refused = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused { .. }));
        assert!(refused, "{:?} was taken for true, in place of {:?}", history[at].op, call.op);
        planted[kind] += 1;
    }
    let [stale, oversold, false_refusals] = planted;
    println!("refused: {stale} stale reads, {oversold} oversells, {false_refusals} false refusals");
    assert!(
        stale > 0 && oversold + false_refusals > 0,
        "nothing was there to lie about: {planted:?}"
    );
}

/// Lines of the longest basket: the journal's thread takes as long to fold them as a reader for a look or two.
const LONG: usize = 1_000;

/// What is claimed of a SKU, asked over a connection of its own: a look takes a fraction of a millisecond.
fn claimed(connection: &mut BufReader<TcpStream>, sku: &str) -> i64 {
    let request = format!("GET /v1/warehouses/main/skus/{sku} HTTP/1.1\r\nhost: shelfd\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).expect("the node takes it");
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line).expect("a line of the head");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("the body");
    let page: Value = serde_json::from_slice(&body).expect("JSON");
    page["claimed"].as_i64().unwrap_or_else(|| panic!("no claimed: {page}"))
}

#[test]
fn a_basket_is_seen_whole_or_not_at_all_by_whoever_reads_one_sku_after_the_other() {
    const BASKETS: i64 = 30;
    let mut node = Node::start();
    let skus: Vec<String> = (0..LONG).map(|n| format!("s{n}")).collect();
    let open = |sku: &String| event(&format!("open-{sku}"), "receipt", sku, 1_000);
    node.post("/v1/events", &json!(skus.iter().map(open).collect::<Vec<_>>()))
        .expect_status(200);
    let basket = |n: i64| format!("/v1/warehouses/main/reservations/b{n}");
    let lines: Vec<_> = skus.iter().map(|sku| json!({"sku": sku, "quantity": 1})).collect();
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let look = |first: usize, second: usize| {
            let (address, done, skus) = (node.address().to_owned(), &done, &skus);
            move || {
                let connection = TcpStream::connect(address).expect("the node listens");
                connection.set_nodelay(true).expect("a connection");
                let mut connection = BufReader::new(connection);
                let mut looks = 0;
                while !done.load(Ordering::Relaxed) {
                    let before = claimed(&mut connection, &skus[first]);
                    let after = claimed(&mut connection, &skus[second]);
                    assert!(
                        after >= before,
                        "{before} baskets were there, and after that {after}: one was torn"
                    );
                    looks += 1;
                }
                looks
            }
        };
        let (http, skus, done_yet) = (node.client(), &skus, &done);
        let watch_basket = move || {
            for n in 0..BASKETS {
                let there = || http.get(&basket(n)).status == 200;
                while !there() && !done_yet.load(Ordering::Relaxed) {}
                let page = http
                    .get(&format!("/v1/warehouses/main/skus/{}", skus[LONG - 1]))
                    .expect_status(200)
                    .json();
                assert!(
                    page["claimed"].as_i64() > Some(n) || !there(),
                    "basket {n} is held without its last line: {page}"
                );
            }
            0
        };
        let readers = [
            scope.spawn(look(0, LONG - 1)),
            scope.spawn(look(LONG - 1, 0)),
            scope.spawn(watch_basket),
        ];
        for n in 0..BASKETS {
            node.put(&basket(n), &json!({"lines": lines})).expect_status(201);
        }
        done.store(true, Ordering::Relaxed);
        readers
            .map(|reader| reader.join().expect("no basket was torn"))
            .iter()
            .sum::<i32>()
    });
    println!("{BASKETS} baskets, {looks} looks");
    assert!(node.terminate().success(), "{}", node.log());
}
