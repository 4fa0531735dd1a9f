//! A restart changes nothing that can be asked: after SIGTERM, after `kill -9`, from a snapshot and from the journal alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::events::{check_invariants, event, noon_config, noon_date};
use crate::harness::http::Http;
use crate::harness::node::{Node, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

const RESERVATIONS: &str = "/v1/warehouses/main/reservations";

fn start(snapshot_interval_s: u32) -> Node {
    let config = format!("[storage]\nsnapshot_interval_s = {snapshot_interval_s}\n\n{}", noon_config());
    Node::builder().config(&config).start()
}

/// A bit of everything that a node can remember; gives the events that were taken, with their verdicts.
fn live_a_day(node: &Http) -> Vec<(Value, Value)> {
    let mut taken = Vec::new();
    let mut tell = |mut event: Value, more: Value| {
        let data = event["data"].as_object_mut().expect("an object");
        data.extend(more.as_object().expect("an object").clone());
        let verdict = node.post("/v1/events", &event).expect_status(200).json();
        taken.push((event, verdict));
    };
    let lot = |id: &str, days: i64| json!({"lot": {"id": id, "expires_on": noon_date(days)}});
    tell(event("r1", "receipt", "milk", 24), lot("M1", 2));
    tell(event("r2", "receipt", "milk", 12), lot("M2", 9));
    tell(event("r3", "receipt", "tea", 50), json!({"document": "ASN-1", "unit": "g"}));
    tell(event("s1", "sale", "bread", 5), json!({}));
    tell(event("r4", "receipt", "bread", 20), json!({}));
    tell(event("q1", "quarantine", "milk", 3), json!({"lot": {"id": "M1"}}));
    tell(event("l1", "release", "milk", 1), json!({"reason": "checked"}));
    tell(event("w1", "write_off", "milk", 1), json!({"from": "quarantine"}));
    tell(event("t1", "return", "tea", 2), json!({"to": "quarantine"}));
    tell(event("a1", "adjustment", "tea", -4), json!({"reason": "typo"}));
    tell(event("o1", "transfer_in", "tea", 6), json!({"transfer": "T-1"}));
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let mut count = event("c1", "count", "bread", 13);
    count["time"] = json!(&now);
    tell(count, json!({"stream": "counter", "stream_seq": 4}));
    tell(event("s2", "sale", "bread", 2), json!({"stream": "till", "stream_seq": 7}));
    let mut late = event("s3", "sale", "bread", 1);
    late["time"] = json!(now);
    tell(late, json!({}));
    tell(event("n1", "snapshot", "tea", 1000), json!({}));
    let mut void = event("v1", "void", "milk", 0);
    void["data"] = json!({"warehouse": "main", "sku": "milk", "event": "w1"});
    tell(void, json!({}));
    taken
}

fn settings_and_baskets(node: &Http) {
    node.put(
        "/v1/skus/milk",
        &json!({"name": "Milk, 1 l", "barcodes": ["4607004892110"], "price": "89.90"}),
    )
    .expect_status(200);
    node.put("/v1/warehouses/main/skus/milk/buffers", &json!({"web": 2}))
        .expect_status(200);
    let site =
        json!({"name": "Back room", "time_zone": "Asia/Kathmandu", "channels": {"web": {"buffer": 3, "allow_no_expiry": true}}});
    node.put("/v1/warehouses/back", &site).expect_status(200);
    let hold = |id: &str, body: Value| node.put(&format!("{RESERVATIONS}/{id}"), &body).expect_status(201);
    hold(
        "held",
        json!({"lines": [{"sku": "milk", "quantity": 3, "min_shelf_life_days": 5}, {"sku": "tea", "quantity": 10}]}),
    );
    hold("replaced", json!({"lines": [{"sku": "milk", "quantity": 1}]}));
    let more =
        json!({"channel": "web", "lines": [{"sku": "milk", "quantity": 2}, {"sku": "bread", "quantity": 1}], "ttl_s": 5000});
    node.put(&format!("{RESERVATIONS}/replaced"), &more).expect_status(200);
    hold(
        "confirmed",
        json!({"lines": [{"sku": "milk", "quantity": 4}, {"sku": "bread", "quantity": 2}]}),
    );
    let taken = json!({"lines": [{"sku": "milk", "quantity": 3, "lots": [{"lot": "M1", "quantity": 1}]}]});
    node.post(&format!("{RESERVATIONS}/confirmed/confirm"), &taken)
        .expect_status(200);
    hold("cancelled", json!({"lines": [{"sku": "tea", "quantity": 1}]}));
    node.post(&format!("{RESERVATIONS}/cancelled/cancel"), &json!({}))
        .expect_status(200);
    hold("expired", json!({"lines": [{"sku": "tea", "quantity": 1}], "ttl_s": 1}));
    let mut by_name = event("s4", "sale", "tea", 4);
    by_name["data"]["reservation"] = json!("held");
    node.post("/v1/events", &by_name).expect_status(200);
    // Promised, and gone all the same: at risk.
    hold("risky", json!({"lines": [{"sku": "bread", "quantity": 6}]}));
    node.post("/v1/events", &event("s5", "sale", "bread", 8)).expect_status(200);
    assert_eq!(node.post("/v1/events", &event("a2", "adjustment", "bread", -99)).status, 409);
    wait_until("the expiry of a basket", || {
        let expired = node.get(&format!("{RESERVATIONS}/expired")).json();
        expired["state"] == "expired" && !node.list(&format!("{RESERVATIONS}?state=expired")).is_empty()
    });
}

/// Everything that can be asked, except for what the node says of itself and of duplicates, which are no facts.
fn picture(node: &Http) -> BTreeMap<String, Value> {
    let mut picture = BTreeMap::new();
    let mut paths = ["/v1/warehouses", "/v1/skus", "/v1/drift", "/v1/dead-letters"]
        .map(str::to_owned)
        .to_vec();
    for path in ["skus", "at-risk", "streams"] {
        paths.push(format!("/v1/warehouses/main/{path}"));
    }
    for state in ["held", "confirmed", "cancelled", "expired"] {
        paths.push(format!("{RESERVATIONS}?state={state}"));
    }
    for why in ["refused", "stale", "included_in_count", "recorded", "dead_letter"] {
        paths.push(format!("/v1/warehouses/main/ignored?why={why}"));
    }
    for sku in ["milk", "tea", "bread"] {
        paths.push(format!("/v1/warehouses/main/skus/{sku}/ledger?limit=7"));
    }
    for path in paths {
        picture.insert(path.clone(), Value::from(node.list(&path)));
    }
    for id in ["held", "replaced", "confirmed", "cancelled", "expired", "risky"] {
        let path = format!("{RESERVATIONS}/{id}");
        picture.insert(path.clone(), node.get(&path).expect_status(200).json());
    }
    let question = json!({"channel": "web", "skus": ["milk", "tea", "bread", "nothing"], "min_shelf_life_days": 4});
    let promised = node.post("/v1/warehouses/main/availability", &question).expect_status(200);
    picture.insert("availability".into(), promised.json());
    let changes = node.get("/v1/changes?limit=1000").expect_status(200).json();
    picture.insert("changes".into(), changes);
    picture
}

#[track_caller]
fn same(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>, what: &str) {
    for (path, value) in before {
        assert_eq!(after.get(path), Some(value), "{path} after {what}");
    }
}

/// One number of `/metrics`.
fn metric(node: &Http, name: &str) -> f64 {
    let text = node.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no metric {name}:\n{text}"))
}

fn known_again(node: &Http, taken: &[(Value, Value)]) {
    for (event, verdict) in taken {
        let again = node.post("/v1/events", event).expect_status(200).json();
        assert_eq!(again["verdict"], "duplicate", "{again}");
        assert_eq!(
            (&again["first"], &again["seq"]),
            (&verdict["verdict"], &verdict["seq"]),
            "{verdict}"
        );
        let mut other = event.clone();
        other["data"]["document"] = json!("another");
        node.post("/v1/events", &other).expect_problem(409, "id_reused");
    }
}

#[test]
fn a_restart_changes_nothing_that_can_be_asked() {
    // So long that the journal alone is read after the first kill.
    let mut node = start(80_000);
    let taken = live_a_day(&node);
    settings_and_baskets(&node);
    let before = picture(&node);
    for sku in before["/v1/warehouses/main/skus"].as_array().expect("SKUs") {
        check_invariants(sku);
    }
    assert!(!before["/v1/warehouses/main/at-risk"].as_array().expect("a list").is_empty());
    node.kill();
    node.restart();
    same(&before, &picture(&node), "kill -9");
    known_again(&node, &taken);
    let before = picture(&node);
    let stop = Instant::now();
    let status = node.terminate();
    assert!(
        status.success() && stop.elapsed() < Duration::from_secs(10),
        "{status} after {:?}",
        stop.elapsed()
    );
    let report = node
        .cli(&["verify", node.data().to_str().expect("a path"), "--json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&report["sound"], &report["from_zero"]),
        (&json!(true), &json!(true)),
        "{report}"
    );
    node.restart();
    same(&before, &picture(&node), "SIGTERM");
    known_again(&node, &taken);
}

#[test]
fn a_start_from_a_snapshot_and_a_tail_is_the_same() {
    let mut node = start(1);
    let mut taken = live_a_day(&node);
    settings_and_baskets(&node);
    let told = metric(&node, "shelfd_journal_seq");
    wait_until("a snapshot of all that", || metric(&node, "shelfd_snapshot_seq") >= told);
    // A tail that no snapshot has, most likely.
    let tail = event("tail", "receipt", "milk", 7);
    let verdict = node.post("/v1/events", &tail).expect_status(200).json();
    taken.push((tail, verdict));
    let before = picture(&node);
    node.kill();
    node.restart();
    same(&before, &picture(&node), "kill -9 behind a snapshot");
    known_again(&node, &taken);
    node.kill();
    node.cli(&["verify", node.data().to_str().expect("a path")]).expect_code(0);
}

/// One sender's batches: each with the answer, if one came.
type Sent = Vec<(Vec<Value>, Option<u16>)>;

fn send_until_it_is_over(http: &Http, name: &str, answered: &AtomicUsize) -> Sent {
    let mut sent = Vec::new();
    for n in 0.. {
        let rows = (0..20).map(|row| event(&format!("{name}.{n}.{row}"), "receipt", &format!("sku-{row}"), 1));
        let rows = rows.collect::<Vec<_>>();
        let body = json!(rows).to_string().into_bytes();
        let answer = http.try_send("POST", "/v1/events", &[("content-type", "application/json")], body);
        let status = answer.as_ref().ok().map(|answer| answer.status);
        if let Ok(answer) = &answer
            && answer.status != 200
        {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (503, "stopping"),
                "{}",
                answer.text()
            );
            assert!(answer.headers.contains_key("retry-after"));
        }
        sent.push((rows, status));
        if status != Some(200) {
            break;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    sent
}

#[test]
fn a_stop_under_load_answers_all_that_it_takes_and_takes_nothing_else() {
    let mut node = start(80_000);
    let answered = AtomicUsize::new(0);
    let (sent, status, took) = std::thread::scope(|scope| {
        let senders = (0..6)
            .map(|n| {
                let (http, answered) = (node.client(), &answered);
                scope.spawn(move || send_until_it_is_over(&http, &n.to_string(), answered))
            })
            .collect::<Vec<_>>();
        wait_until("some answers", || answered.load(Ordering::Relaxed) > 60);
        let stop = Instant::now();
        node.signal(Signal::TERM);
        let status = node.terminate();
        let sent = senders
            .into_iter()
            .flat_map(|sender| sender.join().expect("a sender"))
            .collect::<Vec<_>>();
        (sent, status, stop.elapsed())
    });
    assert!(status.success(), "{status}: {}", node.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    node.restart();
    let mut total = 0;
    for (rows, status) in &sent {
        let again = node.post("/v1/events", &json!(rows)).expect_status(200).json();
        let expected = if *status == Some(200) { "duplicate" } else { "applied" };
        for verdict in again["verdicts"].as_array().expect("verdicts") {
            assert_eq!(verdict["verdict"], expected, "answered {status:?}, and now {verdict}");
        }
        total += 1;
    }
    let skus = node.list("/v1/warehouses/main/skus");
    assert_eq!(skus.len(), 20);
    for sku in &skus {
        assert_eq!(sku["accounts"]["sellable"], total, "{sku}");
        check_invariants(sku);
    }
}
