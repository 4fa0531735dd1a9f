//! The auditor of the running node: what it says of itself, and that it is silent over a day of a shop. What it finds is proved in
//! `src/storage/audit/tests.rs` and `src/app/tests/audit.rs`, where a corruption can be planted beneath it. Every other test of this
//! program runs under an auditor, too, and fails when it finds something: see `harness::node`.

use serde_json::{Value, json};

use super::harness::node::{Node, wait_until};

fn audit(node: &Node) -> Value {
    node.get("/v1/status").json()["audit"].clone()
}

fn event(id: &str, kind: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "test", "type": format!("inventory.{kind}"), "data": data })
}

/// Receipts, sales of more than there is, a count, a late sale, a void, a transfer, baskets of every end.
fn a_days_work(node: &Node, day: u32) {
    let id = |what: &str| format!("{what}-{day}");
    let goods = |sku: &str, quantity: i64| json!({ "warehouse": "main", "sku": sku, "quantity": quantity });
    let void = event(
        &id("void"),
        "void",
        json!({ "warehouse": "main", "sku": "milk", "event": id("sale") }),
    );
    let events = json!([
        event(&id("in"), "receipt", goods("milk", 20)),
        event(&id("bread"), "receipt", goods("bread", 5)),
        event(&id("sale"), "sale", goods("milk", 3)),
        event(&id("over"), "sale", goods("bread", 9)),
        event(&id("count"), "count", goods("bread", 4)),
        event(
            &id("waste"),
            "write_off",
            json!({ "warehouse": "main", "sku": "milk", "quantity": 1, "reason": "damaged" })
        ),
        void,
    ]);
    node.post("/v1/events", &events).expect_status(200);
    for (number, end) in ["confirm", "cancel", ""].iter().enumerate() {
        let path = format!("/v1/warehouses/main/reservations/o-{day}-{number}");
        let lines = json!({ "lines": [{ "sku": "milk", "quantity": 2 }, { "sku": "bread", "quantity": 1 }] });
        node.put(&path, &lines);
        if !end.is_empty() {
            node.post(&format!("{path}/{end}"), &json!({}));
        }
    }
}

#[test]
fn the_auditor_goes_round_and_says_so_in_status_metrics_and_on_the_command_line() {
    let mut node = Node::start();
    (0..20).for_each(|day| a_days_work(&node, day));
    let before = audit(&node)["rounds"].as_u64().unwrap();
    wait_until("two rounds of the auditor", || {
        audit(&node)["rounds"].as_u64().unwrap() >= before + 2
    });
    let said = audit(&node);
    assert_eq!(said["found"], 0, "{said}");
    assert!(said["skus"].as_u64().unwrap() >= 4, "{said}");
    assert_eq!(node.get("/v1/status").json()["findings"], Value::Null);
    let metrics = node.get("/metrics").text();
    for line in [
        "shelfd_audit_findings 0",
        "shelfd_audit_rounds_total",
        "shelfd_audit_facts_total",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let told = node.cli(&["status", "--tree"]).expect_code(0).stdout;
    assert!(
        told.contains("audit ") && told.contains("found 0") && told.contains("auditor"),
        "{told}"
    );
    // The same over a store that was read anew.
    node.kill();
    node.restart();
    wait_until("a round after the restart", || audit(&node)["rounds"].as_u64().unwrap() >= 1);
    assert_eq!(audit(&node)["found"], 0);
}
