//! What is set is set once, and what is known of a SKU is known everywhere: against the real binary.

use crate::harness::node::Node;
use serde_json::{Value, json};

fn receipt(id: &str, warehouse: &str, sku: &str, unit: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "test", "type": "inventory.receipt",
        "data": {"warehouse": warehouse, "sku": sku, "quantity": 5, "unit": unit}})
}

#[test]
fn a_sku_that_only_an_event_has_named_is_in_the_catalogue_with_its_unit() {
    let node = Node::start();
    node.put("/v1/warehouses/two", &json!({"time_zone": "UTC"}))
        .expect_status(200);
    node.put("/v1/skus/B", &json!({"name": "Milk"})).expect_status(200);
    node.post("/v1/events", &receipt("1", "main", "A", "g")).expect_status(200);
    node.post("/v1/events", &receipt("2", "two", "C", "ml")).expect_status(200);
    node.post("/v1/events", &receipt("3", "two", "B", "g")).expect_status(200);
    let items = node.list("/v1/skus?limit=1");
    let shown = json!([{"sku": "A", "unit": "g"}, {"sku": "B", "unit": "g", "name": "Milk"}, {"sku": "C", "unit": "ml"}]);
    assert_eq!(Value::from(items), shown);
    // The unit is the SKU's, wherever it stands.
    node.post("/v1/events", &receipt("4", "two", "A", "ml"))
        .expect_problem(422, "unit_mismatch");
}

#[test]
fn a_setting_sent_again_with_its_key_changes_nothing() {
    let mut node = Node::start();
    node.post("/v1/events", &receipt("1", "main", "A", "each")).expect_status(200);
    let set = |node: &Node, path: &str, key: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        node.client().send("PUT", path, &headers, body.to_string().into_bytes())
    };
    let buffers = "/v1/warehouses/main/skus/A/buffers";
    set(&node, buffers, "k1", json!({"web": 3})).expect_status(200);
    set(&node, buffers, "k2", json!({"web": 4})).expect_status(200);
    set(&node, "/v1/skus/A", "k1", json!({"name": "old"})).expect_status(200);
    set(&node, "/v1/skus/A", "k2", json!({"name": "new"})).expect_status(200);
    let before = node.get("/v1/warehouses/main/skus/A").json();
    node.kill();
    node.restart();
    // An old retry comes late: it does not undo what was set after it.
    set(&node, buffers, "k1", json!({"web": 3})).expect_status(200);
    set(&node, "/v1/skus/A", "k1", json!({"name": "old"})).expect_status(200);
    assert_eq!(node.get("/v1/warehouses/main/skus/A").json(), before);
    assert_eq!(before["available"]["web"], 1);
    assert_eq!(node.get("/v1/skus/A").json()["name"], "new");
    set(&node, buffers, "k1", json!({"web": 5})).expect_problem(409, "id_reused");
}
