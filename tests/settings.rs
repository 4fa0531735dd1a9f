//! What is known of a SKU is known everywhere: against the real binary.

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod harness;

use harness::node::Node;
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
