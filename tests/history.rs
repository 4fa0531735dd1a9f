//! History that is past its time is folded into an opening balance, and every answer that it cuts short says so.
//!
//! Time cannot be made to pass for the real binary. So the store is made with small generations and later kept as if 500 days had
//! gone by, by the product's own storage; all that happens in it, and all that is asked, goes through the real binary.

use std::path::Path;

use crate::harness::events::{check_invariants, event, noon_config};
use crate::harness::http::Http;
use crate::harness::node::Node;
use serde_json::{Value, json};
use shelfd::domain::units::Time;
use shelfd::storage::keep::KeepError;
use shelfd::storage::store::{Options, Store};
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;
/// Facts are let go of by whole generations; this many.
const GENERATION: usize = 16;
const RECEIPTS: usize = 100;

/// As in the default configuration, but with small generations where the store is new.
fn options() -> Options {
    Options {
        generation_bits: GENERATION.trailing_zeros(),
        ..Options::default()
    }
}

/// Lets 500 days go by for a stopped store.
fn age(data: &Path) {
    let store = Store::open(data, options()).expect("the node has stopped");
    let newest = store.newest_recorded().expect("it can be read").expect("it has facts");
    let then = Time(newest.0 + 500 * DAY_MS);
    let mut keeper = store.keeper();
    let all = |step: &mut dyn FnMut() -> Result<bool, KeepError>| while step().expect("a step of upkeep") {};
    all(&mut || keeper.seal());
    all(&mut || keeper.snapshot(then));
    all(&mut || keeper.retain(then));
    assert!(store.floor() > 1, "nothing was let go of");
}

/// What a node knew before its history was cut.
struct Before {
    sku: Value,
    cursor: String,
    first_receipt_at: String,
}

/// A store with a hundred receipts of one unit and a sale, of which the oldest are only in the opening balance.
fn cut_short() -> (Node, Before, TempDir) {
    let dir = TempDir::new().expect("a directory");
    let data = dir.path().join("data");
    drop(Store::open(&data, options()).expect("a new store"));
    let mut node = Node::builder().data(&data).config(&noon_config()).start();
    let cursor = node.get("/v1/changes?limit=1").expect_status(200).json()["next"].clone();
    for at in 0..RECEIPTS {
        node.post("/v1/events", &event(&format!("r{at}"), "receipt", "milk", 1))
            .expect_status(200);
    }
    node.post("/v1/events", &event("s", "sale", "milk", 40)).expect_status(200);
    let ledger = node.list("/v1/warehouses/main/skus/milk/ledger");
    let before = Before {
        sku: node.get("/v1/warehouses/main/skus/milk").json(),
        cursor: cursor.as_str().expect("a cursor").to_owned(),
        first_receipt_at: ledger.last().expect("facts")["recorded_at"]
            .as_str()
            .expect("a time")
            .to_owned(),
    };
    assert!(node.terminate().success());
    age(&data);
    let node = Node::builder().data(&data).config(&noon_config()).start();
    (node, before, dir)
}

fn accounts(of: &Value) -> [i64; 4] {
    ["sellable", "supply", "demand", "discrepancy"].map(|name| of["accounts"][name].as_i64().expect("units"))
}

#[test]
fn what_is_true_now_does_not_change_when_history_is_cut_and_the_ledger_begins_with_a_balance() {
    let (node, before, _dir) = cut_short();
    let now = node.get("/v1/warehouses/main/skus/milk").expect_status(200).json();
    assert_eq!(now, before.sku);
    check_invariants(&now);
    let page = node
        .get("/v1/warehouses/main/skus/milk/ledger?limit=1000")
        .expect_status(200)
        .json();
    let facts = page["items"].as_array().expect("facts");
    assert!(
        facts.len() < RECEIPTS && facts.len() <= 2 * GENERATION,
        "{} facts are left",
        facts.len()
    );
    // The opening balance, and what the ledger still shows, add up to what is there.
    let opening = accounts(&page["opening"]);
    let receipts = facts.iter().filter(|fact| fact["what"] == "receipt").count();
    let receipts = i64::try_from(receipts).expect("a few");
    assert_eq!(opening, [100 - receipts, receipts - 100, 0, 0], "{}", page["opening"]);
    assert_eq!(accounts(&now), [60, -100, 40, 0]);
    let told = node.cli(&["ledger", "milk", "--all"]).expect_code(0);
    assert!(told.stdout.contains("opening balance"), "{told:?}");
}

#[test]
fn a_question_about_the_time_before_is_answered_history_gone() {
    let (node, before, _dir) = cut_short();
    let time = percent_encoding::utf8_percent_encode(&before.first_receipt_at, percent_encoding::NON_ALPHANUMERIC);
    for question in ["known_at", "as_of"] {
        let path = format!("/v1/warehouses/main/skus/milk?{question}={time}");
        let problem = node.get(&path).expect_problem(410, "history_gone").json();
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains("opening")),
            "{problem}"
        );
    }
    let told = node
        .cli(&["stock", "milk", "--known-at", &before.first_receipt_at])
        .expect_code(65);
    assert!(
        told.stderr.contains("history_days") || told.stderr.contains("opening"),
        "{told:?}"
    );
}

fn changes(http: &Http, query: &str) -> crate::harness::http::Answer {
    http.get(&format!("/v1/changes?{query}"))
}

#[test]
fn a_follower_who_comes_too_late_is_told_that_its_cursor_is_gone_and_begins_anew() {
    let (node, before, _dir) = cut_short();
    let gone = changes(&node, &format!("since={}", before.cursor))
        .expect_problem(410, "cursor_gone")
        .json();
    assert!(gone["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{gone}");
    let stream = [("accept", "text/event-stream")];
    node.send("GET", &format!("/v1/changes?since={}", before.cursor), &stream, Vec::new())
        .expect_problem(410, "cursor_gone");
    // Without a cursor it begins with what is still there, and goes on to the end.
    let page = changes(&node, "limit=1000").expect_status(200).json();
    let facts = page["items"].as_array().expect("facts");
    assert_eq!(facts.last().expect("facts")["id"], "s", "{page}");
    let next = page["next"].as_str().expect("a cursor");
    assert_eq!(
        changes(&node, &format!("since={next}")).expect_status(200).json()["items"],
        json!([])
    );
    // The newest are there for whoever asks for them.
    let newest = changes(&node, "since=now-2").expect_status(200).json();
    assert_eq!(newest["items"].as_array().map(Vec::len), Some(2), "{newest}");
    assert_eq!(newest["items"][1]["id"], "s");
    changes(&node, "since=now-all").expect_problem(422, "invalid_value");
}

#[test]
fn an_id_past_its_window_is_no_longer_known_and_one_within_still_is() {
    let (node, _, _dir) = cut_short();
    let newest = node
        .post("/v1/events", &event("s", "sale", "milk", 40))
        .expect_status(200)
        .json();
    assert_eq!(
        newest["verdict"], "duplicate",
        "its generation is not full, so it is still remembered: {newest}"
    );
    let oldest = node
        .post("/v1/events", &event("r0", "receipt", "milk", 1))
        .expect_status(200)
        .json();
    assert_eq!(oldest["verdict"], "applied", "{oldest}");
}
