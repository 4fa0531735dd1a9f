//! A real shop's months through Kafka, as light and heavy traffic, with ten kills: the same stock as an import of the same table.
//!
//! The events are those that `shelfd import` sends, taken down by a stand-in for the node; the truth is an import into a real node.
//! `SHELFD_TORTURE` (what `make torture` sets) takes all rows, and otherwise the first of them do.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{config, of_topic, rounds, taken};
use crate::harness::data::{shared_file, tally};
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::{Node, shelfd, wait_until};
use crate::import::stand_in::StandIn;

const KILLS: usize = 10;
/// Rows of a short run.
const SHORT: usize = 20_000;

fn table() -> PathBuf {
    shared_file("online_retail/online_retail_2010-12_2011-06.csv.gz")
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/online_retail/online_retail.csv"))
}

/// What an import of the table sends.
fn events(work: &Path) -> Vec<Value> {
    let stand_in = StandIn::start(&[]);
    let ran = shelfd()
        .arg("import")
        .arg(table())
        .args([
            "--mapping",
            concat!(env!("CARGO_MANIFEST_DIR"), "/examples/online_retail/mapping.toml"),
        ])
        .arg("--work-dir")
        .arg(work)
        .env("SHELFD_URL", &stand_in.url)
        .current_dir(work)
        .output()
        .expect("the binary runs");
    let mut seen = stand_in.seen.lock().expect("nobody panicked");
    let events: Vec<Value> = std::mem::take(&mut seen.batches).into_iter().flatten().collect();
    assert!(!events.is_empty(), "{ran:?}");
    events
}

/// The stock of every SKU, without what counts changes.
fn stock(node: &Node) -> Vec<Value> {
    let mut skus = node.list("/v1/warehouses/main/skus?limit=500");
    for sku in &mut skus {
        let members = sku.as_object_mut().expect("a SKU");
        members.retain(|name, _| name != "seq" && name != "version");
    }
    skus
}

#[test]
fn a_shop_through_kafka_with_ten_kills_ends_with_the_stock_of_an_import() {
    let work = tempfile::tempdir().expect("a directory");
    let mut events = events(work.path());
    if rounds() == super::USUAL_ROUNDS {
        events.truncate(SHORT);
    }
    let truth = Node::start();
    for rows in events.chunks(2_000) {
        truth.post_ndjson("/v1/events", rows);
    }
    let broker = Broker::start();
    broker.topic("or.light", 2, &[]);
    broker.topic("or.heavy", 3, &[]);
    let topics = "[[kafka.in]]\ntopic = \"or.light\"\n[[kafka.in]]\ntopic = \"or.heavy\"\nclass = \"heavy\"\n";
    let mut node = Node::builder().config(&config(&broker, topics)).start();
    let is_light = |event: &&Value| {
        let sku = event["data"]["sku"].as_str().unwrap_or_default();
        sku.bytes().map(u32::from).sum::<u32>() % 10 == 0
    };
    for (at, part) in events.chunks(events.len() / KILLS + 1).enumerate() {
        let (light, heavy): (Vec<&Value>, Vec<&Value>) = part.iter().partition(is_light);
        let third = heavy.len() as u64 / 3;
        broker.produce("or.light", light.into_iter().map(Sent::event));
        broker.produce("or.heavy", heavy.into_iter().map(Sent::event));
        wait_until("a part of the rows", || {
            of_topic(&node, "or.heavy")["messages"].as_u64() >= Some(third)
        });
        node.kill();
        if at % 4 == 3 {
            broker.kill();
            broker.up();
        }
        node.restart();
    }
    taken(&node, &broker, &["or.light", "or.heavy"]);
    assert_eq!(stock(&node), stock(&truth));
    tally("online_retail_kafka", events.len() as u64, "rows");
}
