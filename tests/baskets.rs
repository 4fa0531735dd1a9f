//! The small print of baskets: what a till tells again of a basket's goods, what a void of that does, and when a basket ends.

use serde_json::{Value, json};

use crate::harness::events::{SOURCE, check_invariants, event};
use crate::harness::node::Node;

fn sku(node: &Node) -> Value {
    let sku = node.get("/v1/warehouses/main/skus/A").expect_status(200).json();
    check_invariants(&sku);
    sku
}

fn sale_of(id: &str, quantity: i64) -> Value {
    let mut sale = event(id, "sale", "A", quantity);
    sale["data"]["reservation"] = json!("o-1");
    sale
}

fn void(id: &str, of: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": SOURCE, "type": "inventory.void",
        "data": {"warehouse": "main", "sku": "A", "event": of}})
}

fn verdict(node: &Node, event: &Value) -> String {
    let answer = node.post("/v1/events", event).expect_status(200).json();
    answer["verdict"].as_str().expect("a verdict").to_owned()
}

/// 20 on the shelf, and a basket of 5 of them that has been confirmed: 15 are left.
fn confirmed() -> Node {
    let node = Node::start();
    assert_eq!(verdict(&node, &event("r-1", "receipt", "A", 20)), "applied");
    let basket = json!({"lines": [{"sku": "A", "quantity": 5}]});
    node.put("/v1/warehouses/main/reservations/o-1", &basket).expect_status(201);
    node.post("/v1/warehouses/main/reservations/o-1/confirm", &json!({}))
        .expect_status(200);
    node
}

#[test]
fn a_till_that_takes_back_a_sale_of_confirmed_goods_may_tell_it_again() {
    let mut node = confirmed();
    assert_eq!(verdict(&node, &sale_of("s-1", 5)), "recorded");
    assert_eq!(verdict(&node, &void("v-1", "s-1")), "applied");
    assert_eq!(sku(&node)["accounts"]["sellable"], 15, "neither moved anything");
    node.kill();
    node.restart();
    // The same goods once more, in two sales: they are out of the house once.
    assert_eq!(verdict(&node, &sale_of("s-2", 2)), "recorded");
    assert_eq!(verdict(&node, &sale_of("s-3", 3)), "recorded");
    assert_eq!(sku(&node)["accounts"]["sellable"], 15);
    assert_eq!(verdict(&node, &sale_of("s-4", 1)), "applied");
    assert_eq!(sku(&node)["accounts"]["sellable"], 14);
}

#[test]
fn of_a_sale_of_more_than_was_confirmed_a_void_takes_back_both_parts() {
    let node = confirmed();
    assert_eq!(verdict(&node, &sale_of("s-1", 7)), "applied");
    assert_eq!(
        sku(&node)["accounts"]["sellable"],
        13,
        "five were told again, two were sold beside them"
    );
    assert_eq!(verdict(&node, &void("v-1", "s-1")), "applied");
    assert_eq!(sku(&node)["accounts"]["sellable"], 15);
    assert_eq!(verdict(&node, &sale_of("s-2", 5)), "recorded");
    assert_eq!(sku(&node)["accounts"]["sellable"], 15);
    // A void is once; the second one has nothing left.
    node.post("/v1/events", &void("v-2", "s-1"))
        .expect_problem(409, "already_voided");
    let basket = node.get("/v1/warehouses/main/reservations/o-1").expect_status(200).json();
    assert_eq!(
        (&basket["state"], &basket["lines"][0]["taken"], &basket["version"]),
        (&json!("confirmed"), &json!(5), &json!(2)),
        "an ended basket never changes again: {basket}"
    );
}

#[test]
fn an_extension_never_brings_the_end_of_a_basket_nearer() {
    let node = Node::start();
    assert_eq!(verdict(&node, &event("r-1", "receipt", "A", 20)), "applied");
    let path = "/v1/warehouses/main/reservations/o-1";
    let basket = json!({"lines": [{"sku": "A", "quantity": 5}], "ttl_s": 600});
    let held = node.put(path, &basket).expect_status(201).json();
    let later = |seconds: i64| {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let answer = node.post(&format!("{path}/extend"), &json!({"until": until.to_string()}));
        answer.expect_status(200).json()
    };
    assert_eq!(later(60), held, "nearer than it is: nothing changes");
    let extended = later(3_600);
    assert_ne!(extended["expires_at"], held["expires_at"]);
    // A retry of an earlier wish that comes late must not take back what has been promised since.
    assert_eq!(later(1_200), extended);
}
