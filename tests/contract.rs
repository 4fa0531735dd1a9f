//! The OpenAPI document is the contract: what the node really answers, good and bad, is what the document says it answers.
//!
//! The answers are held to the schemas by a small reader of the keywords that the document uses; a keyword that it does not know
//! fails the test, so that nothing is passed over. A validator from a registry was rejected: it would be the largest of all
//! dependencies, for ten keywords.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::events::event;
use crate::harness::http::Answer;
use crate::harness::node::Node;

/// Keywords that say nothing about whether a value fits.
const REMARKS: [&str; 5] = ["description", "format", "example", "default", "title"];

/// Why a value does not fit a schema.
fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    for (keyword, wanted) in schema {
        match keyword.as_str() {
            "$ref" => {
                let pointer = wanted
                    .as_str()
                    .and_then(|to| to.strip_prefix('#'))
                    .expect("a reference within");
                let named = document
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{wanted} is not in the document"));
                misfit(document, named, value, at)?;
            }
            "type" => {
                let named = |name: &Value| is(name.as_str().unwrap_or_default(), value);
                let fits = wanted
                    .as_array()
                    .map_or_else(|| named(wanted), |names| names.iter().any(named));
                if !fits {
                    return Err(format!("{at}: {value} is no {wanted}"));
                }
            }
            "properties" => {
                for (name, of) in wanted.as_object().into_iter().flatten() {
                    if let Some(member) = value.get(name) {
                        misfit(document, of, member, &format!("{at}/{name}"))?;
                    }
                }
            }
            "required" => {
                if let Some(name) = list(wanted).find(|name| value.get(name.as_str().unwrap_or_default()).is_none()) {
                    return Err(format!("{at}: {name} is missing"));
                }
            }
            "additionalProperties" => {
                let known = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                for (name, member) in value.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
                    if *wanted == false {
                        return Err(format!("{at}: nobody knows {name}"));
                    }
                    misfit(document, wanted, member, &format!("{at}/{name}"))?;
                }
            }
            "items" => {
                for (n, item) in list(value).enumerate() {
                    misfit(document, wanted, item, &format!("{at}/{n}"))?;
                }
            }
            "anyOf" | "oneOf" => {
                let errors: Vec<String> = list(wanted)
                    .filter_map(|one| misfit(document, one, value, at).err())
                    .collect();
                if errors.len() == list(wanted).count() {
                    return Err(errors.join(", and "));
                }
            }
            "minimum" => {
                if value.is_number() && value.as_f64() < wanted.as_f64() {
                    return Err(format!("{at}: {value} is below {wanted}"));
                }
            }
            "propertyNames" => {}
            remark if REMARKS.contains(&remark) => {}
            unknown => panic!("the test does not know the keyword {unknown}"),
        }
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Asks, and holds the answer to the document.
struct Contract {
    node: Node,
    document: Value,
}

impl Contract {
    #[track_caller]
    fn holds(&self, operation: &str, path: &str, body: Option<&Value>) -> Value {
        let (method, route) = operation.split_once(' ').expect("a method and a route");
        let (headers, bytes) = body.map_or((vec![], vec![]), |body| {
            (vec![("content-type", "application/json")], body.to_string().into_bytes())
        });
        let answer = self.node.send(method, path, &headers, bytes);
        self.fits(method, route, &answer)
    }

    #[track_caller]
    fn fits(&self, method: &str, route: &str, answer: &Answer) -> Value {
        let responses = &self.document["paths"][route][method.to_lowercase()]["responses"];
        let status = answer.status.to_string();
        let class = format!("{}XX", &status[..1]);
        let said = [status.as_str(), class.as_str(), "default"]
            .into_iter()
            .find_map(|key| responses.get(key))
            .unwrap_or_else(|| panic!("{method} {route} is not in the document"));
        let value = answer.json();
        let kind = if answer.status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        let schema = &said["content"][kind]["schema"];
        assert!(schema.is_object(), "{method} {route} {status} has no shape: {said}");
        if let Err(error) = misfit(&self.document, schema, &value, "") {
            panic!("{method} {route} {status}: {error}\n{value}");
        }
        value
    }
}

/// One of everything: a SKU with lots, claims, beliefs, streams, refusals.
fn furnish(node: &Node) {
    let mut rows: Vec<Value> = (0..3).map(|n| event(&format!("r{n}"), "receipt", "A", 5)).collect();
    rows[1]["data"]["lot"] = json!({"id": "L1", "expires_on": "2090-01-01"});
    rows.push(event("s1", "sale", "A", 40));
    rows.push(event("r0", "receipt", "A", 5));
    rows.push(event("n1", "snapshot", "A", 77));
    rows[5]["data"]["stream"] = json!("nightly");
    rows[5]["data"]["stream_seq"] = json!(3);
    rows.push(event("r9", "receipt", "A", 100));
    rows.push(json!({"id": 1}));
    rows.push(json!(5));
    node.post("/v1/events", &json!(rows)).expect_status(207);
}

impl Contract {
    fn start() -> Contract {
        let node = Node::start();
        furnish(&node);
        let document = node.get("/openapi.json").expect_status(200).json();
        Contract { node, document }
    }
}

#[test]
fn what_is_read_is_what_the_document_says() {
    let contract = Contract::start();
    let get = |route: &str, path: &str| contract.holds(&format!("GET {route}"), path, None);
    for page in [
        "/v1/warehouses",
        "/v1/skus",
        "/v1/ignored",
        "/v1/changes",
        "/v1/drift",
        "/v1/dead-letters",
        "/v1/status",
        "/livez",
        "/readyz",
    ] {
        get(page, page);
        get(page, &format!("{page}?nonsense=1"));
    }
    get("/v1/dead-letters", "/v1/dead-letters?group=cause");
    get("/v1/warehouses/{w}", "/v1/warehouses/nowhere");
    get("/v1/skus/{s}", "/v1/skus/A");
    get("/v1/skus/{s}", "/v1/skus/B");
    for list in ["skus", "at-risk", "reservations", "ignored", "streams"] {
        get(
            &format!("/v1/warehouses/{{w}}/{list}"),
            &format!("/v1/warehouses/main/{list}"),
        );
    }
    let (sku, ledger) = ("/v1/warehouses/{w}/skus/{s}", "/v1/warehouses/{w}/skus/{s}/ledger");
    get(sku, "/v1/warehouses/main/skus/A");
    get(sku, "/v1/warehouses/main/skus/A?as_of=2020-01-01T00:00:00Z");
    get(sku, "/v1/warehouses/main/skus/A?known_at=2090-01-01T00:00:00Z");
    get(sku, "/v1/warehouses/main/skus/B");
    assert!(list(&get(ledger, "/v1/warehouses/main/skus/A/ledger")["items"]).count() > 4);
    get(ledger, "/v1/warehouses/main/skus/B/ledger");
    get("/v1/warehouses/{w}/at-risk", "/v1/warehouses/main/at-risk?limit=x");
    get("/v1/changes", "/v1/changes?since=nonsense");
}

#[test]
fn what_is_written_is_answered_as_the_document_says() {
    let contract = Contract::start();
    let post = |path: &str, body: Value| contract.holds(&format!("POST {path}"), path, Some(&body));
    assert_eq!(post("/v1/events", event("e1", "sale", "A", 1))["verdict"], "applied");
    post("/v1/events", event("e2", "sale", "A", -1));
    post(
        "/v1/events",
        json!([event("e1", "sale", "A", 1), event("e3", "release", "A", 1)]),
    );
    post("/v1/events", event("e4", "release", "A", 1));
    let put = |route: &str, path: &str, body: Value| contract.holds(&format!("PUT {route}"), path, Some(&body));
    put(
        "/v1/skus/{s}",
        "/v1/skus/A",
        json!({"name": "Milk", "barcodes": ["4607004892110"], "price": "1.20"}),
    );
    put("/v1/skus/{s}", "/v1/skus/A", json!({"price": 1.5}));
    put(
        "/v1/warehouses/{w}",
        "/v1/warehouses/second",
        json!({"time_zone": "Europe/Paris"}),
    );
    let settings = "/v1/warehouses/{w}/skus/{s}";
    put(
        &format!("{settings}/buffers"),
        "/v1/warehouses/main/skus/A/buffers",
        json!({"web": 1}),
    );
    let (lots, expiry) = (format!("{settings}/lots/{{lot}}"), json!({"expires_on": "2090-02-01"}));
    put(&lots, "/v1/warehouses/main/skus/A/lots/L1", expiry.clone());
    put(&lots, "/v1/warehouses/main/skus/A/lots/L2", expiry);
    let (route, path) = ("/v1/warehouses/{w}/availability", "/v1/warehouses/main/availability");
    contract.holds(&format!("POST {route}"), path, Some(&json!({"skus": ["A", "B"]})));

    let (route, path) = ("/v1/warehouses/{w}/reservations/{id}", "/v1/warehouses/main/reservations/o-1");
    put(route, path, json!({"lines": [{"sku": "A", "quantity": 1_000_000}]}));
    assert_eq!(
        put(route, path, json!({"lines": [{"sku": "A", "quantity": 1}]}))["state"],
        "held"
    );
    contract.holds(&format!("GET {route}"), path, None);
    let act = |verb: &str, body: Value| contract.holds(&format!("POST {route}/{verb}"), &format!("{path}/{verb}"), Some(&body));
    act("extend", json!({"until": "1999-01-01T00:00:00Z"}));
    act("confirm", json!({"lines": [{"sku": "A", "quantity": 2}]}));
    act("confirm", json!({}));
    act("cancel", json!({}));
    act("confirm", json!({}));
}

#[test]
fn every_operation_has_an_id_of_its_own_and_every_reference_leads_somewhere() {
    let node = Node::start();
    let document = node.get("/openapi.json").expect_status(200).json();
    let mut ids = BTreeSet::new();
    for operation in document["paths"]
        .as_object()
        .into_iter()
        .flat_map(|paths| paths.values())
        .flat_map(|item| item.as_object().into_iter().flat_map(|item| item.values()))
    {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "two operations are called {id}");
    }
    assert!(ids.len() > 30, "{ids:?}");
    let text = document.to_string();
    for named in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(named).is_some(), "{named} is not in the document");
    }
}

#[test]
fn status_says_what_the_disk_has_and_top_prints_a_document() {
    let node = Node::start();
    furnish(&node);
    let status = node.get("/v1/status").expect_status(200).json();
    assert!(status["disk"]["store_bytes"].as_u64() > Some(0), "{status}");
    assert!(status["disk"]["free_bytes"].as_u64() > Some(0), "{status}");
    assert!(status["lag"]["snapshot_facts"].is_u64(), "{status}");
    let told = node.cli(&["status"]).expect_code(0).stdout;
    assert!(told.contains("store bytes"), "{told}");
    let look = node
        .cli(&["top", "--once", "--json", "--interval-ms", "50"])
        .expect_code(0)
        .json();
    assert_eq!(look["status"]["state"], "ready", "{look}");
    assert!(look["rates"]["events"].is_number() && look["changes"].is_array(), "{look}");
    node.cli(&["top", "--json"]).expect_code(64);
}
