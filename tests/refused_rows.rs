//! A row that is refused before anybody has judged it is recorded like every other refusal: against the real binary.

use crate::harness::node::Node;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const REFUSED: &str = "/v1/warehouses/main/ignored?why=refused";

fn event(id: &str, data: Value) -> Value {
    let mut whole = json!({"warehouse": "main", "sku": "A", "quantity": 1});
    for (name, value) in data.as_object().expect("data is an object") {
        whole[name] = value.clone();
    }
    json!({"specversion": "1.0", "id": id, "source": "pos/2", "type": "inventory.receipt", "data": whole})
}

fn items(node: &Node, path: &str) -> Vec<Value> {
    node.get(path).expect_status(200).json()["items"]
        .as_array()
        .cloned()
        .expect("a list")
}

#[test]
fn a_row_refused_at_the_door_stands_in_the_list_of_its_warehouse() {
    let mut node = Node::start();
    let rotten = event("e-1", json!({"quantity": 9_223_372_036_854_775_808_u64}));
    node.post("/v1/events", &rotten).expect_problem(422, "invalid_value");
    // What was answered was durable.
    node.kill();
    node.restart();
    let listed = items(&node, REFUSED);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let fact = &listed[0];
    assert_eq!(
        json!([
            fact["kind"],
            fact["id"],
            fact["source"],
            fact["sku"],
            fact["what"],
            fact["verdict"],
            fact["rows"]
        ]),
        json!(["row", "e-1", "pos/2", "A", "receipt", "refused", 1])
    );
    assert_eq!(
        (&fact["problem"]["code"], &fact["problem"]["field"]),
        (&json!("invalid_value"), &json!("/data/quantity"))
    );
    assert_eq!(fact["trace_id"].as_str().map(str::len), Some(32));
    let received: Value = serde_json::from_str(fact["received"].as_str().expect("its text")).expect("as it was sent");
    assert_eq!(received, rotten);
    // Nobody who follows what changes hears of it, no SKU has come of it, and the id is judged anew.
    assert!(items(&node, "/v1/changes").iter().all(|fact| fact["kind"] != "row"));
    assert_eq!(items(&node, "/v1/warehouses/main/skus").len(), 0);
    let mended = node.post("/v1/events", &event("e-1", json!({}))).expect_status(200).json();
    assert_eq!(mended["verdict"], "applied");
    let shown = node.cli(&["ignored", "--why", "refused"]).expect_code(0);
    assert!(
        shown.stdout.contains("e-1") && shown.stdout.contains("base units"),
        "{}",
        shown.stdout
    );
    node.terminate();
    let sound = node
        .cli(&["verify", node.data().to_str().expect("a readable path")])
        .expect_code(0);
    assert!(sound.stdout.contains("sound"), "{}", sound.stdout);
}

#[test]
fn a_row_that_names_no_warehouse_of_the_node_is_not_lost_either() {
    let node = Node::start();
    node.post("/v1/events", &event("e-1", json!({"warehouse": "mian"})))
        .expect_problem(422, "unknown_warehouse");
    let rows = format!(
        "[{}, {{oops}}, 17, 17, {}]",
        event("e-2", json!({})),
        event("e-3", json!({"colour": "red"}))
    );
    let answer = node
        .send("POST", "/v1/events", &[JSON], rows.into_bytes())
        .expect_status(207)
        .json();
    let seqs: Vec<u64> = (0..5)
        .map(|at| answer["verdicts"][at]["seq"].as_u64().expect("each verdict has its fact"))
        .collect();
    assert_eq!(seqs[2], seqs[3], "two rows alike, without an id, are one fact: {answer}");
    let nowhere = items(&node, "/v1/ignored");
    let told: Vec<_> = nowhere
        .iter()
        .map(|fact| json!([fact["seq"], fact["id"], fact["warehouse"], fact["rows"], fact["received"]]))
        .collect();
    assert_eq!(told[0], json!([seqs[2], "", "", 2, "17\n17"]));
    assert_eq!(told[1], json!([seqs[1], "", "", 1, "{oops}"]));
    assert_eq!(
        told[2].as_array().map(|told| told[1..4].to_vec()),
        json!(["e-1", "", 1]).as_array().cloned()
    );
    assert_eq!(nowhere.len(), 3);
    let here = items(&node, REFUSED);
    assert_eq!((here.len(), &here[0]["id"]), (1, &json!("e-3")));
    // A page at a time, like every list.
    let first = node.get("/v1/ignored?limit=2").json();
    let next = first["next"].as_str().expect("there is more");
    assert_eq!(items(&node, &format!("/v1/ignored?limit=2&cursor={next}"))[0], nowhere[2]);
    let shown = node.cli(&["ignored", "--nowhere", "--json"]).expect_code(0);
    assert!(shown.stdout.contains("mian"), "{}", shown.stdout);
}

#[test]
fn a_body_of_garbage_is_one_fact_and_a_flood_of_bad_rows_keeps_a_bounded_text() {
    let node = Node::start();
    let garbage = vec!["17"; 10_000].join("\n");
    node.send(
        "POST",
        "/v1/events",
        &[("content-type", "application/x-ndjson")],
        garbage.into_bytes(),
    )
    .expect_status(207);
    let listed = items(&node, "/v1/ignored");
    assert_eq!((listed.len(), &listed[0]["rows"]), (1, &json!(10_000)));
    let long = "x".repeat(900);
    let rows: Vec<Value> = (0..10_000)
        .map(|at| event(&format!("e-{at}"), json!({"quantity": -1, "document": long})))
        .collect();
    let answer = node.post_ndjson("/v1/events", &rows).expect_status(207);
    assert_eq!(answer.text().matches("\"refused\"").count(), 10_000);
    let refused = node.list(REFUSED.trim_end_matches("?why=refused"));
    assert_eq!(refused.len(), 10_000, "each with its id");
    let kept: usize = refused
        .iter()
        .filter_map(|fact| fact["received"].as_str())
        .map(str::len)
        .sum();
    assert!(kept <= 256 << 10, "{kept}");
}

#[test]
fn a_sku_too_many_is_recorded_too() {
    let node = Node::builder().env("SHELFD__STOCK__MAX_SKUS", "1").start();
    node.post("/v1/events", &event("e-1", json!({}))).expect_status(200);
    let problem = node
        .post("/v1/events", &event("e-2", json!({"sku": "B"})))
        .expect_problem(422, "invalid_value")
        .json();
    assert_eq!(problem["field"], "/data/sku");
    let listed = items(&node, REFUSED);
    assert_eq!((&listed[0]["id"], &listed[0]["sku"]), (&json!("e-2"), &json!("B")));
    assert!(
        listed[0]["received"]
            .as_str()
            .is_some_and(|text| text.contains("inventory.receipt"))
    );
}

#[test]
fn a_request_without_rows_leaves_nothing_behind() {
    let node = Node::start();
    node.send("POST", "/v1/events", &[JSON], b"{oops".to_vec())
        .expect_problem(400, "malformed_json");
    node.send("POST", "/v1/events", &[("content-type", "text/plain")], b"x".to_vec())
        .expect_problem(415, "unsupported_media_type");
    assert_eq!(items(&node, "/v1/ignored").len() + items(&node, REFUSED).len(), 0);
}
