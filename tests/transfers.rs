//! Goods that leave one warehouse of a node for another are on their way there, whoever reports it under whatever id.

use serde_json::{Value, json};

use crate::harness::events::event;
use crate::harness::node::{Node, wait_until};

fn sends(source: &str, id: &str, transfer: &str, quantity: i64) -> Value {
    let mut sent = event(id, "transfer_out", "A", quantity);
    sent["source"] = json!(source);
    sent["data"]["transfer"] = json!(transfer);
    sent["data"]["to_warehouse"] = json!("second");
    sent
}

#[test]
fn transfers_whose_source_and_id_read_alike_together_are_two() {
    let node = Node::start();
    node.put("/v1/warehouses/second", &json!({"time_zone": "UTC"}))
        .expect_status(200);
    node.post("/v1/events", &event("r", "receipt", "A", 100)).expect_status(200);
    node.post("/v1/events", &sends("a", "b/c", "t1", 5)).expect_status(200);
    node.post("/v1/events", &sends("a/b", "c", "t2", 7)).expect_status(200);
    node.post("/v1/events", &sends("a/b%2Fc", "c", "t3", 11)).expect_status(200);
    wait_until("all of it to be underway", || {
        let there = node.get("/v1/warehouses/second/skus/A").json();
        there["accounts"]["in_transit"] == 23
    });
}

#[test]
fn nobody_reports_in_the_name_of_the_node() {
    let node = Node::start();
    for source in ["node", "node/transfer/main"] {
        let mut told = event("r", "receipt", "A", 1);
        told["source"] = json!(source);
        let problem = node.post("/v1/events", &told).expect_problem(422, "invalid_value").json();
        assert_eq!(problem["field"], "/source", "{problem}");
    }
    let mut told = event("r", "receipt", "A", 1);
    told["source"] = json!("nodes/7");
    node.post("/v1/events", &told).expect_status(200);
}
