//! Kafka both ways, on a real broker: what is published, what is taken, and what both survive.

mod check;
mod out;
mod places;
mod poison;
mod reader;
mod retail;
mod schema;
mod take;
mod trouble;

use serde_json::Value;

use crate::harness::events::noon_config;
use crate::harness::kafka::{Broker, Record};
use crate::harness::node::{Node, wait_until};

/// A configuration with this broker, and what is said of topics.
pub fn config(broker: &Broker, topics: &str) -> String {
    format!("{}[kafka]\nbrokers = \"{}\"\n{topics}", noon_config(), broker.address())
}

/// One `[[kafka.out]]`.
fn out(topic: &str, what: &str) -> String {
    format!("[[kafka.out]]\ntopic = \"{topic}\"\nwhat = \"{what}\"\n")
}

/// Rounds of killing in an ordinary run.
const USUAL_ROUNDS: usize = 5;

/// How many rounds of killing: `make torture` wants more.
fn rounds() -> usize {
    let wanted = std::env::var("SHELFD_TORTURE").ok();
    wanted.and_then(|rounds| rounds.parse().ok()).unwrap_or(USUAL_ROUNDS)
}

/// What the node's status says of a topic.
fn of_topic(node: &Node, topic: &str) -> Value {
    let status = node.get("/v1/status").expect_status(200).json();
    let lists = ["kafka_out", "kafka_in"]
        .into_iter()
        .filter_map(|list| status[list].as_array().cloned());
    let found = lists.flatten().find(|item| item["name"] == topic);
    found.unwrap_or_else(|| panic!("the status does not know {topic}: {status}"))
}

/// Waits until everything that is durable has been published on these topics.
pub fn published(node: &Node, topics: &[&str]) {
    for topic in topics {
        wait_until(&format!("{topic} to be published"), || {
            let now = of_topic(node, topic);
            now["lag"] == 0 && now["state"] == "running"
        });
    }
}

/// Waits until every message of these topics has had its effect and the group's place says so.
pub fn taken(node: &Node, broker: &Broker, topics: &[&str]) {
    for topic in topics {
        let class = of_topic(node, topic)["class"].as_str().expect("a class").to_owned();
        wait_until(&format!("{topic} to be taken"), || {
            broker.group_lag(&format!("shelfd.{class}"), topic) == Some(0)
        });
    }
}

/// The newest of each key.
fn newest(records: &[Record]) -> std::collections::BTreeMap<String, Value> {
    let mut newest = std::collections::BTreeMap::<String, Value>::new();
    for record in records {
        let data = record.json();
        let known = newest.get(&record.key);
        if known.is_none_or(|known| known["version"].as_u64() < data["version"].as_u64()) {
            newest.insert(record.key.clone(), data);
        }
    }
    newest
}

/// Versions of one key rise by one once repeats are dropped.
#[track_caller]
fn versions_increase(records: &[Record]) {
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for record in records {
        let version = record.json()["version"].as_u64().expect("a version");
        let newest = seen.entry(record.key.clone()).or_insert(0);
        assert!(version <= *newest + 1, "{} jumps from {newest} to {version}", record.key);
        *newest = version.max(*newest);
    }
}
