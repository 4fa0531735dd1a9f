//! A disk that is really full: what is new is refused, what was answered is kept, reads go on, and as soon as there is room the
//! node takes events again, without a restart. And a disk that may not be written at all.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::disk::Disk;
use crate::harness::events::{check_invariants, event};
use crate::harness::http::{Answer, Http};
use crate::harness::node::{Node, NodeBuilder, shelfd_within, wait_until};
use serde_json::{Value, json};

/// How soon after there is room events must be taken again.
const SOON: Duration = Duration::from_secs(5);
/// How soon a stop must be over.
const STOP: Duration = Duration::from_secs(10);
const ROWS: usize = 200;

/// A node on the disk, which keeps nothing in reserve, so that the disk itself has to say no.
fn on(disk: &Disk) -> NodeBuilder {
    Node::builder()
        .data(&data(disk))
        .within(disk.within())
        .env("SHELFD__STORAGE__RESERVE_BYTES", "0")
        .env("SHELFD__STORAGE__SNAPSHOT_INTERVAL_S", "1")
}

fn data(disk: &Disk) -> PathBuf {
    disk.inside().join("data")
}

fn batch(number: usize) -> Vec<Value> {
    (0..ROWS)
        .map(|row| event(&format!("b{number}.{row}"), "receipt", &format!("sku-{}", row % 20), 1))
        .collect()
}

/// Sends batches from `next` on until one is refused for want of room; the number of that one.
fn until_it_is_full(http: &Http, mut next: usize) -> usize {
    for _ in 0..10_000 {
        let answer = http.post_ndjson("/v1/events", &batch(next));
        if !taken(&answer) {
            return next;
        }
        next += 1;
    }
    panic!("the disk never got full");
}

/// Whether a batch was taken whole; if not, it must have been refused whole, for want of room (or, while the node finds that out, for
/// want of a verdict).
fn taken(answer: &Answer) -> bool {
    if answer.status == 200 {
        return true;
    }
    let text = answer.text();
    assert!(
        [207, 503, 507].contains(&answer.status) && (text.contains("storage_full") || text.contains("overloaded")),
        "{} {text}",
        answer.status
    );
    assert!(!text.contains("\"applied\""), "a part of it was taken: {text}");
    false
}

fn units(http: &Http) -> i64 {
    let skus = http.list("/v1/warehouses/main/skus");
    skus.iter().for_each(check_invariants);
    skus.iter()
        .map(|sku| sku["accounts"]["sellable"].as_i64().expect("units"))
        .sum()
}

fn units_of(batches: usize) -> i64 {
    i64::try_from(batches * ROWS).expect("not so many")
}

/// Sends a batch until it is taken; fails when that takes too long.
fn soon_taken(http: &Http, number: usize) {
    let since = Instant::now();
    wait_until("events to be taken again", || {
        taken(&http.post_ndjson("/v1/events", &batch(number)))
    });
    assert!(since.elapsed() < SOON, "taken again only after {:?}", since.elapsed());
}

#[test]
fn a_full_disk_refuses_what_is_new_keeps_what_was_answered_and_recovers_by_itself() {
    let Some(disk) = Disk::of_mib(24, "a full disk under a running node") else {
        return;
    };
    let mut node = on(&disk).start();
    let before = until_it_is_full_of_something(&node, &disk);
    // Nothing that was refused counts, and nothing that was answered is missing.
    assert_eq!(units(&node), units_of(before));
    let answer = node.post("/v1/events", &event("one", "sale", "sku-1", 1));
    answer.expect_problem(507, "storage_full");
    let basket = json!({"lines": [{"sku": "sku-1", "quantity": 1}]});
    let held = node.put("/v1/warehouses/main/reservations/o-1", &basket);
    assert!([503, 507].contains(&held.status), "{} {}", held.status, held.text());
    let unready = node.get("/readyz").expect_status(503).json();
    assert!(unready["reason"].as_str().is_some_and(|why| !why.is_empty()), "{unready}");
    for path in ["", "/sku-1", "/sku-1/ledger"] {
        node.get(&format!("/v1/warehouses/main/skus{path}")).expect_status(200);
    }
    disk.clear();
    soon_taken(&node, before);
    assert_eq!(units(&node), units_of(before + 1));
    node.put("/v1/warehouses/main/reservations/o-1", &basket).expect_status(201);
    wait_until("the node to call itself ready", || node.get("/readyz").status == 200);
    node.kill();
    node.restart();
    assert_eq!(units(&node), units_of(before + 1));
    for number in [0, before / 2, before] {
        let again = node.post("/v1/events", &json!(batch(number))).expect_status(200).json();
        for verdict in again["verdicts"].as_array().expect("verdicts") {
            assert_eq!(verdict["verdict"], "duplicate", "{verdict}");
        }
    }
}

/// Takes some batches, then all that is free, and sends until the disk says no; the number of batches that were answered.
fn until_it_is_full_of_something(node: &Http, disk: &Disk) -> usize {
    for number in 0..3 {
        assert!(taken(&node.post_ndjson("/v1/events", &batch(number))));
    }
    disk.fill();
    until_it_is_full(node, 3)
}

#[test]
fn a_node_on_a_full_disk_stops_well_and_starts_again_to_tell_what_it_knows() {
    let Some(disk) = Disk::of_mib(24, "a stop and a start on a full disk") else {
        return;
    };
    let mut node = on(&disk).start();
    let before = until_it_is_full_of_something(&node, &disk);
    let stop = Instant::now();
    let status = node.terminate();
    assert!(
        status.success() && stop.elapsed() < STOP,
        "{status} after {:?}",
        stop.elapsed()
    );
    // What it left can be verified where it is.
    let verified = shelfd_within(&disk.within())
        .arg("verify")
        .arg(data(&disk))
        .output()
        .expect("it runs");
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    // It starts all the same, and tells what it knows.
    let node = on(&disk).start_unready();
    wait_until("the first answer", || node.get("/v1/warehouses/main/skus").status == 200);
    assert_eq!(units(&node), units_of(before));
    let refused = until_it_is_full(&node, before);
    assert!(!taken(&node.post_ndjson("/v1/events", &batch(refused))));
    assert_eq!(units(&node), units_of(refused));
    disk.clear();
    soon_taken(&node, refused);
    assert_eq!(units(&node), units_of(refused + 1));
}

#[test]
fn what_is_kept_in_reserve_is_enough_to_stop_with_a_whole_snapshot() {
    let Some(disk) = Disk::of_mib(48, "a stop on a disk that has only the reserve left") else {
        return;
    };
    let mut node = on(&disk).env("SHELFD__STORAGE__RESERVE_BYTES", "16777216").start();
    assert!(taken(&node.post_ndjson("/v1/events", &batch(0))));
    disk.fill_but(8 << 20);
    wait_until("new events to be refused", || {
        !taken(&node.post_ndjson("/v1/events", &batch(1)))
    });
    let refused = node.post("/v1/events", &event("one", "sale", "sku-1", 1));
    refused.expect_problem(507, "storage_full");
    node.get("/v1/warehouses/main/skus/sku-1/ledger").expect_status(200);
    let before = units(&node);
    assert!(node.terminate().success(), "{}", node.log());
    assert!(!node.log().contains("snapshot was not written"), "{}", node.log());
    let verified = shelfd_within(&disk.within())
        .arg("verify")
        .arg(data(&disk))
        .output()
        .expect("it runs");
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    disk.clear();
    node.restart();
    assert_eq!(units(&node), before);
    soon_taken(&node, 1);
}

#[test]
fn a_first_start_on_a_full_disk_leaves_nothing_behind() {
    let Some(disk) = Disk::of_mib(2, "a first start on a full disk") else {
        return;
    };
    disk.fill();
    let ran = on(&disk).start_expecting_failure();
    assert_eq!(ran.code, Some(78), "{ran:#?}");
    assert!(ran.stderr.contains("full"), "{ran:#?}");
    let left = std::fs::read_dir(disk.outside().join("data"));
    let left: Vec<_> = left.into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "LOCK"), "{left:?}");
}

#[test]
fn a_data_directory_on_a_read_only_disk_is_named_and_works_again_when_it_is_writable() {
    let Some(disk) = Disk::of_mib(24, "a data directory that is mounted read-only") else {
        return;
    };
    let mut node = on(&disk).start();
    assert!(taken(&node.post_ndjson("/v1/events", &batch(0))));
    assert!(node.terminate().success());
    disk.remount("ro");
    let ran = on(&disk).start_expecting_failure();
    assert_eq!(ran.code, Some(78), "{ran:#?}");
    let path = data(&disk).display().to_string();
    for part in [path.as_str(), "cannot be written", "read-write"] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {ran:#?}");
    }
    disk.remount("rw");
    node.restart();
    assert_eq!(units(&node), units_of(1));
}
