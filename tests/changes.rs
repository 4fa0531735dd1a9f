//! Whoever follows `/v1/changes` misses nothing and gets it in order: page by page, waiting, as a stream, across broken
//! connections, and across a `kill -9` of the node.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::events::{event, noon_config};
use crate::harness::http::Http;
use crate::harness::node::Node;
use serde_json::{Value, json};

const BATCHES: u64 = 40;
const ROWS: u64 = 25;
const SKUS: u64 = 10;

fn tell(http: &Http, batches: std::ops::Range<u64>) {
    for batch in batches {
        let row = |row: u64| event(&format!("{batch}.{row}"), "receipt", &format!("sku-{}", row % SKUS), 1);
        let rows = (0..ROWS).map(row).collect::<Vec<_>>();
        http.post("/v1/events", &json!(rows)).expect_status(200);
    }
}

/// Follows by waiting, from a cursor, until as many SKU facts have come; gives them and the newest cursor.
fn poll(http: &Http, mut cursor: Option<String>, facts: usize) -> (Vec<Value>, String) {
    let mut seen = Vec::new();
    loop {
        let since = cursor.as_ref().map(|cursor| format!("&since={cursor}")).unwrap_or_default();
        let mut page = http
            .get(&format!("/v1/changes?wait=10s&limit=37{since}"))
            .expect_status(200)
            .json();
        let items = page["items"].take();
        seen.extend(
            items
                .as_array()
                .expect("items")
                .iter()
                .filter(|fact| fact["kind"] == "sku")
                .cloned(),
        );
        let next = page["next"].as_str().expect("a cursor").to_owned();
        if seen.len() >= facts {
            return (seen, next);
        }
        cursor = Some(next);
    }
}

/// Reads one connection's stream until so many events came or it ends; gives the newest `id`.
fn read_stream(address: &str, last: Option<&str>, most: usize, seen: &mut Vec<Value>) -> String {
    let mut socket = TcpStream::connect(address).expect("the node listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let last_id = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
    let head = format!("GET /v1/changes HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{last_id}\r\n");
    socket.write_all(head.as_bytes()).expect("the node reads");
    let (mut newest, mut pending) = (last.unwrap_or_default().to_owned(), String::new());
    let mut events = 0;
    // The chunks' lengths stand on lines of their own, between whole events.
    for line in BufReader::new(socket).lines() {
        let line = line.expect("a line of the stream");
        if let Some(id) = line.strip_prefix("id: ") {
            pending = id.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let fact: Value = serde_json::from_str(data).expect("a fact");
            events += 1;
            newest.clone_from(&pending);
            if fact["kind"] == "sku" {
                seen.push(fact);
            }
            if events == most {
                break;
            }
        }
    }
    newest
}

/// Each fact once, sequences rising, and each SKU's versions without a gap.
#[track_caller]
fn complete_and_in_order(facts: &[Value], expected: usize) {
    assert_eq!(facts.len(), expected);
    assert!(
        facts.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()),
        "out of order"
    );
    let mut versions = BTreeMap::<&str, u64>::new();
    for fact in facts {
        let version = versions.entry(fact["sku"].as_str().expect("a SKU")).or_default();
        *version += 1;
        assert_eq!(fact["version"], *version, "a gap: {fact}");
        assert_eq!(fact["accounts"]["sellable"], *version, "{fact}");
    }
}

#[test]
fn followers_see_every_change_once_and_in_order_also_after_broken_connections_and_a_kill() {
    let mut node = Node::builder().config(&noon_config()).start();
    let (half, all) = ((BATCHES / 2 * ROWS) as usize, (BATCHES * ROWS) as usize);
    let (mut polled, mut streamed) = (Vec::new(), Vec::new());
    let (cursor, last) = std::thread::scope(|scope| {
        let (http, address) = (node.client(), node.address().to_owned());
        let poller = scope.spawn(move || poll(&http, None, half));
        let streamer = scope.spawn(move || {
            let (mut seen, mut last) = (Vec::new(), None);
            // Every connection breaks after a while, and the next goes on where it ended.
            while seen.len() < half {
                let most = 61.min(half - seen.len());
                last = Some(read_stream(&address, last.as_deref(), most, &mut seen));
            }
            (seen, last)
        });
        tell(&node, 0..BATCHES / 2);
        let (seen, cursor) = poller.join().expect("the poller");
        polled.extend(seen);
        let (seen, last) = streamer.join().expect("the streamer");
        streamed.extend(seen);
        (cursor, last)
    });
    node.kill();
    node.restart();
    tell(&node, BATCHES / 2..BATCHES);
    polled.extend(poll(&node, Some(cursor), all - half).0);
    read_stream(node.address(), last.as_deref(), all - half, &mut streamed);
    complete_and_in_order(&polled, all);
    complete_and_in_order(&streamed, all);
    assert_eq!(polled, streamed);
    node.get("/v1/changes?since=00000000-0.1").expect_problem(410, "cursor_gone");
}

#[test]
fn a_long_poll_waits_and_ends_at_its_time_or_with_the_first_change() {
    let node = Node::builder().config(&noon_config()).start();
    let now = node.get("/v1/changes?since=now").expect_status(200).json();
    let cursor = now["next"].as_str().expect("a cursor").to_owned();
    let begun = Instant::now();
    let page = node
        .get(&format!("/v1/changes?since={cursor}&wait=300ms"))
        .expect_status(200)
        .json();
    assert_eq!((&page["items"], page["next"].as_str()), (&json!([]), Some(cursor.as_str())));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let (http, path) = (node.client(), format!("/v1/changes?since={cursor}&wait=60s"));
        let waiting = scope.spawn(move || http.get(&path).expect_status(200).json());
        node.post("/v1/events", &event("1", "receipt", "milk", 1)).expect_status(200);
        let page = waiting.join().expect("the poll");
        assert_eq!(page["items"][0]["id"], "1", "{page}");
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn one_frame_of_the_live_view_shows_what_happened_before_it() {
    let node = Node::builder().config(&noon_config()).start();
    for at in 0..3 {
        node.post("/v1/events", &event(&format!("e{at}"), "receipt", &format!("sku-{at}"), 1))
            .expect_status(200);
    }
    let frame = node.cli(&["top", "--once", "--interval-ms", "50"]).expect_code(0).stdout;
    for sku in ["sku-0", "sku-1", "sku-2"] {
        assert!(frame.contains(sku), "{sku} is not shown:\n{frame}");
    }
}
