//! Under any load the node's memory is bounded by its valve: what does not fit is told so at once, and what is taken is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::events::{SOURCE, check_invariants, noon_config};
use crate::harness::http::Http;
use crate::harness::node::{Node, wait_until};

const ROWS: usize = 1_000;
const CLIENTS: usize = 24;
const ENOUGH: usize = 120;
/// What the flood may add: the valve's bytes several times over, as events, messages, facts and answers, plus the store's cache.
const MAY_GROW_KIB: u64 = 160 * 1024;

/// The most that the process ever had resident, in KiB.
fn high_water(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .expect("VmHWM")
}

/// A batch of `ROWS` receipts of one unit.
fn batch(client: usize, n: usize) -> Vec<u8> {
    let mut body = String::with_capacity(ROWS * 160);
    for row in 0..ROWS {
        body.push_str(&format!(
            r#"{{"specversion":"1.0","id":"{client}.{n}.{row}","source":"{SOURCE}","type":"inventory.receipt","data":{{"warehouse":"main","sku":"sku-{}","quantity":1}}}}"#,
            row % 100
        ));
        body.push('\n');
    }
    body.into_bytes()
}

/// Sends and sends again until enough batches of all clients together were taken; gives how many of its own were.
fn flood(http: &Http, client: usize, taken: &AtomicUsize, refused: &AtomicUsize) -> usize {
    let mut mine = 0;
    while taken.load(Ordering::Relaxed) < ENOUGH {
        let headers = [("content-type", "application/x-ndjson")];
        let answer = http.send("POST", "/v1/events", &headers, batch(client, mine));
        match (answer.status, answer.code().as_str()) {
            (200, _) => {
                mine += 1;
                taken.fetch_add(1, Ordering::Relaxed);
            }
            (503, "overloaded") => {
                assert!(answer.headers.contains_key("retry-after"), "{}", answer.text());
                refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    }
    mine
}

#[test]
fn a_flood_is_refused_beyond_the_valve_and_memory_stays_bounded() {
    let node = Node::builder()
        .config(&format!("[storage]\ncache_bytes = 16_777_216\n\n{}", noon_config()))
        .env("SHELFD__HTTP__MAX_ROWS", "1000")
        .env("SHELFD__HTTP__MAX_INFLIGHT_EVENTS", "4000")
        .env("SHELFD__HTTP__MAX_BODY_BYTES", "1048576")
        .env("SHELFD__HTTP__MAX_INFLIGHT_BYTES", "2097152")
        .start();
    let before = high_water(&node);
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mine = std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            let (http, taken, refused) = (node.client(), &taken, &refused);
            scope.spawn(move || flood(&http, client, taken, refused))
        });
        let clients = clients.collect::<Vec<_>>();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .sum::<usize>()
    });
    let (grown, refused) = (high_water(&node) - before, refused.load(Ordering::Relaxed));
    println!("{mine} batches taken, {refused} refused; {grown} KiB more at the most, after {before}");
    assert!(refused > 0, "24 batches of 1,000 at once must not fit into 4,000");
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more than the {before} before");
    let skus = node.list("/v1/warehouses/main/skus");
    skus.iter().for_each(check_invariants);
    let units = skus
        .iter()
        .map(|sku| sku["accounts"]["sellable"].as_u64().expect("units"))
        .sum::<u64>();
    assert_eq!(
        units,
        (mine * ROWS) as u64,
        "what was refused had an effect, or what was taken had none"
    );
    // A batch's share is given back with its last holder, who may be the thread that has just answered it.
    for gauge in ["shelfd_inflight_events 0", "shelfd_inflight_bytes 0"] {
        wait_until(gauge, || node.get("/metrics").text().lines().any(|line| line == gauge));
    }
}
