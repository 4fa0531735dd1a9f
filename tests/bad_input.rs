//! Bad input gets a clear error, and costs nobody else anything: against the real binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::data::not_checked;
use crate::harness::node::Node;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn event(id: &str, kind: &str, data: Value) -> Value {
    let mut whole = json!({"warehouse": "main", "sku": "A"});
    for (name, value) in data.as_object().expect("data is an object") {
        whole[name] = value.clone();
    }
    json!({"specversion": "1.0", "id": id, "source": "test", "type": format!("inventory.{kind}"), "data": whole})
}

fn receipt(id: &str, quantity: i64) -> Value {
    event(id, "receipt", json!({"quantity": quantity}))
}

#[track_caller]
fn refused(node: &Node, event: &Value, code: &str, field: &str) {
    let answer = node.post("/v1/events", event).expect_problem(422, code).json();
    assert_eq!(answer["field"], field, "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer}");
    assert_eq!(answer["type"], format!("/problems/{code}"));
    assert!(answer["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{answer}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Sends raw bytes and reads until the node closes.
fn raw(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket has a time-out");
    stream.write_all(bytes).expect("the node reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the node answers and closes");
    answer
}

#[test]
fn a_wrong_field_is_named_by_pointer() {
    let node = Node::start();
    for figure in [
        json!(1.5),
        json!(1e3),
        json!(9_223_372_036_854_775_808_u64),
        json!(-1),
        json!(0),
        json!("5"),
        json!(null),
        json!([1]),
    ] {
        refused(
            &node,
            &event("e", "sale", json!({"quantity": figure})),
            "invalid_value",
            "/data/quantity",
        );
    }
    refused(
        &node,
        &event("e", "sale", json!({"quantity": 1, "colour": "red"})),
        "unknown_field",
        "/data/colour",
    );
    refused(
        &node,
        &event("e", "sale", json!({"quantity": 1, "warehouse": "mian"})),
        "unknown_warehouse",
        "/data/warehouse",
    );
    refused(
        &node,
        &event("e", "sale", json!({"quantity": 1, "sku": "a/b"})),
        "invalid_value",
        "/data/sku",
    );
    refused(&node, &event("", "sale", json!({"quantity": 1})), "invalid_value", "/id");
    refused(&node, &event("e", "sell", json!({"quantity": 1})), "invalid_value", "/type");
    let mut early = event("e", "sale", json!({"quantity": 1}));
    for time in ["2026-02-30T10:00:00Z", "2026-11-22T09:14:03", "soon"] {
        early["time"] = json!(time);
        refused(&node, &early, "invalid_value", "/time");
    }
    let twice = receipt("e", 1)
        .to_string()
        .replace("\"quantity\":1", "\"quantity\":1,\"quantity\":2");
    let answer = node
        .send("POST", "/v1/events", &[JSON], twice.into_bytes())
        .expect_problem(422, "invalid_value")
        .json();
    assert_eq!(answer["field"], "/data/quantity");
    assert_eq!(node.get("/v1/warehouses/main/skus").json()["items"], json!([]));
}

#[test]
fn impossible_dates_and_zones_are_refused() {
    let node = Node::start();
    let dated = |date: &str| event("e", "receipt", json!({"quantity": 1, "lot": {"id": "L", "expires_on": date}}));
    refused(&node, &dated("2026-02-30"), "invalid_value", "/data/lot/expires_on");
    refused(&node, &dated("tomorrow"), "invalid_value", "/data/lot/expires_on");
    let problem = node
        .put("/v1/warehouses/x", &json!({"time_zone": "Europe/Moskow"}))
        .expect_problem(422, "invalid_value")
        .json();
    assert_eq!(problem["field"], "/time_zone");
    assert!(
        problem["detail"].as_str().unwrap_or_default().contains("Europe/Moscow"),
        "{problem}"
    );
    node.get("/v1/warehouses/x").expect_problem(404, "unknown_warehouse");
}

#[test]
fn times_beyond_what_can_be_known_are_refused() {
    let node = Node::start();
    let mut old = receipt("old", 1);
    old["time"] = json!("2001-01-01T00:00:00Z");
    node.post("/v1/events", &old).expect_problem(422, "time_out_of_range");
    let mut ahead = event("ahead", "count", json!({"quantity": 1}));
    ahead["time"] = json!("2999-01-01T00:00:00Z");
    node.post("/v1/events", &ahead).expect_problem(422, "time_out_of_range");
}

#[test]
fn rotten_rows_cost_only_themselves() {
    let node = Node::start();
    let rows = format!(
        "[{}, {{oops}}, {}, 17, {}]",
        receipt("1", 1),
        receipt("2", -1),
        receipt("3", 2)
    );
    let answer = node
        .send("POST", "/v1/events", &[JSON], rows.into_bytes())
        .expect_status(207)
        .json();
    let verdicts: Vec<_> = answer["verdicts"]
        .as_array()
        .expect("verdicts")
        .iter()
        .map(|row| row["verdict"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(verdicts, ["applied", "refused", "refused", "refused", "applied"]);
    assert_eq!(answer["verdicts"][1]["problem"]["row"], 2);
    assert_eq!(answer["verdicts"][2]["id"], "2");
    assert_eq!(node.get("/v1/warehouses/main/skus/A").json()["accounts"]["sellable"], 3);
}

#[test]
fn a_batch_beyond_the_limit_is_refused_whole() {
    let node = Node::start();
    let mut rows: String = (0..10_000).map(|at| format!("{}\n", receipt(&format!("r{at}"), 1))).collect();
    rows.push_str(&receipt("one too many", 1).to_string());
    node.send("POST", "/v1/events", &[NDJSON], rows.into_bytes())
        .expect_problem(413, "batch_too_large");
    node.get("/v1/warehouses/main/skus/A").expect_problem(404, "unknown_sku");
}

#[test]
fn a_body_past_the_limit_is_refused_announced_or_not() {
    let node = Node::builder()
        .env("SHELFD__HTTP__MAX_BODY_BYTES", "65536")
        .env("SHELFD__HTTP__MAX_INFLIGHT_BYTES", "1048576")
        .start();
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let announced = raw(&node, format!("{head}content-length: 70000\r\n\r\n").as_bytes());
    assert!(
        announced.starts_with("HTTP/1.1 413") && announced.contains("body_too_large"),
        "{announced}"
    );
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..5 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.resize(chunked.len() + 0x4000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    let unannounced = raw(&node, &chunked);
    assert!(
        unannounced.starts_with("HTTP/1.1 413") && unannounced.contains("body_too_large"),
        "{unannounced}"
    );
    node.post("/v1/events", &receipt("1", 1)).expect_status(200);
}

#[test]
fn a_gzip_bomb_is_stopped_and_a_gzip_body_is_read() {
    let node = Node::start();
    let bomb = gzip(&vec![b' '; 200 << 20]);
    node.send("POST", "/v1/events", &[JSON, GZIP], bomb)
        .expect_problem(413, "body_too_large");
    let good = gzip(receipt("1", 1).to_string().as_bytes());
    node.send("POST", "/v1/events", &[JSON, GZIP], good).expect_status(200);
    let packed = zstd::stream::encode_all(receipt("2", 1).to_string().as_bytes(), 3).expect("memory takes it");
    node.send("POST", "/v1/events", &[JSON, ("content-encoding", "zstd")], packed)
        .expect_status(200);
    node.send("POST", "/v1/events", &[JSON, ("content-encoding", "br")], vec![1])
        .expect_problem(415, "unsupported_media_type");
    node.send("POST", "/v1/events", &[JSON, GZIP], b"no gzip".to_vec())
        .expect_problem(400, "malformed_json");
}

#[test]
fn half_a_request_and_silence_is_ended() {
    let node = Node::builder()
        .env("SHELFD__HTTP__BODY_TIMEOUT_MS", "200")
        .env("SHELFD__HTTP__HEADER_TIMEOUT_MS", "1000")
        .start();
    let half_body = raw(
        &node,
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"spec",
    );
    assert!(
        half_body.starts_with("HTTP/1.1 408") && half_body.contains("too_slow"),
        "{half_body}"
    );
    let too_slow = |sent: &[u8]| {
        let answer = raw(&node, sent);
        let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
        assert!(last.starts_with("HTTP/1.1 408") && last.contains("\"too_slow\""), "{answer}");
        answer
    };
    too_slow(b"GET /livez HTTP/1.1\r\nho");
    too_slow(b"P");
    // After a whole request as well, on the same connection, and then as soon as on a new one.
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("the node reads");
    let mut first = [0; 4096];
    let count = stream.read(&mut first).expect("an answer");
    assert!(
        first[..count].starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&first[..count])
    );
    stream.write_all(b"GET /livez HTTP/1.1\r\nho").expect("the node reads");
    let mut second = String::new();
    stream.read_to_string(&mut second).expect("the node answers and closes");
    assert!(second.starts_with("HTTP/1.1 408"), "{second}");
    // Who says nothing is told nothing.
    assert_eq!(raw(&node, b""), "");
    assert_eq!(raw(&node, b"PRI * HTTP/2.0\r\n").matches("HTTP/1.1").count(), 0);
    node.get("/livez").expect_status(200);
}

#[test]
fn a_head_that_cannot_be_read_has_one_answer() {
    let node = Node::start();
    let answer = raw(&node, b"no head at all\r\n\r\n");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("\"malformed_header\""),
        "{answer}"
    );
}

#[test]
fn idle_connections_keep_nobody_out() {
    let node = Node::start();
    // Where this process may not have as many descriptors, it is tried with as many as it may, less some for the tests beside this.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(512).min(10_000);
    if wanted < 10_000 {
        not_checked(&format!(
            "10,000 idle connections at once, only {wanted} (the limit of open files is {limit})"
        ));
    }
    let idle: Vec<TcpStream> = (0..wanted)
        .map(|_| TcpStream::connect(node.address()).expect("the node listens"))
        .collect();
    node.post("/v1/events", &receipt("1", 1)).expect_status(200);
    assert_eq!(idle.len(), wanted);
}

#[test]
fn one_connection_too_many_is_told_so() {
    let node = Node::builder().env("SHELFD__HTTP__MAX_CONNECTIONS", "4").start();
    let _held: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(node.address()).expect("the node listens"))
        .collect();
    let mut turned_away = String::new();
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    stream.read_to_string(&mut turned_away).expect("the node answers and closes");
    assert!(
        turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("\"overloaded\""),
        "{turned_away}"
    );
}

#[test]
fn an_id_used_again_with_other_content_is_refused() {
    let node = Node::start();
    node.post("/v1/events", &receipt("1", 5)).expect_status(200);
    node.post("/v1/events", &receipt("1", 6)).expect_problem(409, "id_reused");
    let again = node.post("/v1/events", &receipt("1", 5)).expect_status(200).json();
    assert_eq!((&again["verdict"], &again["first"]), (&json!("duplicate"), &json!("applied")));
    assert_eq!(node.get("/v1/warehouses/main/skus/A").json()["accounts"]["sellable"], 5);
}

#[test]
fn a_source_whose_clock_is_ahead_is_taken_at_its_word_but_for_the_time_and_named() {
    let node = Node::start();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
    for id in ["1", "2"] {
        let mut early = receipt(id, 5);
        early["time"] = json!(ahead.to_string());
        node.post("/v1/events", &early).expect_status(200);
    }
    let newest = node.get("/v1/warehouses/main/skus/A/ledger").json()["items"][0].clone();
    assert_eq!(newest["at"], newest["recorded_at"], "taken at its arrival: {newest}");
    let status = node.get("/v1/status").json();
    let [named] = status["sources_ahead"].as_array().expect("a list").as_slice() else {
        panic!("{status}");
    };
    assert_eq!(
        (&named["warehouse"], &named["source"], &named["events"], &named["last_event"]),
        (&json!("main"), &receipt("1", 5)["source"], &json!(2), &json!("2"))
    );
    assert!((1..=600).contains(&named["ahead_s"].as_i64().expect("seconds")), "{named}");
    let told = node.cli(&["status"]).expect_code(0).stdout;
    assert!(
        told.contains("sources ahead") && told.contains(named["source"].as_str().expect("a source")),
        "{told}"
    );
}

#[test]
fn a_quantity_that_would_overflow_an_account_is_refused() {
    let node = Node::start();
    node.post("/v1/events", &receipt("1", 1_000_000_000_000)).expect_status(200);
    node.post("/v1/events", &receipt("2", 1))
        .expect_problem(422, "quantity_overflow");
    refused(&node, &receipt("3", 1_000_000_000_001), "invalid_value", "/data/quantity");
}

#[test]
fn the_door_says_what_it_does_not_take() {
    let node = Node::start();
    let wrong_method = node
        .send("DELETE", "/v1/events", &[], Vec::new())
        .expect_problem(405, "method_not_allowed");
    assert_eq!(wrong_method.headers["allow"], "POST");
    node.get("/v1/nothing").expect_problem(404, "not_found");
    node.get("/v1/warehouses/mian/skus").expect_problem(404, "unknown_warehouse");
    node.get("/v1/warehouses/main/skus?belw=5")
        .expect_problem(422, "unknown_field");
    node.get("/v1/warehouses/main/skus?below=many")
        .expect_problem(422, "invalid_value");
    node.get("/v1/changes?since=0.5").expect_problem(410, "cursor_gone");
    node.get(&format!("/v1/skus?cursor={}", "x".repeat(9_000)))
        .expect_problem(414, "uri_too_long");
    let long = "x".repeat(20_000);
    node.send("GET", "/livez", &[("x-long", &long)], Vec::new())
        .expect_problem(431, "headers_too_large");
    node.send("GET", "/v1/skus", &[("accept", "application/xml")], Vec::new())
        .expect_problem(406, "not_acceptable");
    node.send("POST", "/v1/events", &[("content-type", "text/plain")], b"x".to_vec())
        .expect_problem(415, "unsupported_media_type");
    let answer = node.send("GET", "/livez", &[("x-request-id", "mine-1")], Vec::new());
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    assert!(answer.headers.contains_key("traceparent"));
}

#[test]
fn a_body_of_a_basket_or_a_setting_is_checked_field_by_field() {
    let node = Node::start();
    node.post("/v1/events", &receipt("1", 5)).expect_status(200);
    let hold = "/v1/warehouses/main/reservations/o-1";
    for (body, code, field) in [
        (json!({"lines": []}), "invalid_value", "/lines"),
        (
            json!({"lines": [{"sku": "A", "quantity": 0}]}),
            "invalid_value",
            "/lines/0/quantity",
        ),
        (
            json!({"lines": [{"sku": "A", "quantity": 1.5}]}),
            "invalid_value",
            "/lines/0/quantity",
        ),
        (
            json!({"lines": [{"sku": "A", "quantity": 1, "lot": "x"}]}),
            "unknown_field",
            "/lines/0/lot",
        ),
        (
            json!({"lines": [{"sku": "A", "quantity": 1}, {"sku": "A", "quantity": 1}]}),
            "invalid_value",
            "/lines/1/sku",
        ),
        (
            json!({"lines": [{"sku": "A", "quantity": 1}], "channel": "wob"}),
            "invalid_value",
            "/channel",
        ),
    ] {
        let problem = node.put(hold, &body).expect_problem(422, code).json();
        assert_eq!(problem["field"], field, "{problem}");
    }
    node.get(hold).expect_problem(404, "unknown_reservation");
    let short = node
        .put(hold, &json!({"lines": [{"sku": "A", "quantity": 9}]}))
        .expect_problem(409, "insufficient_stock")
        .json();
    assert_eq!(short["lines"], json!([{"sku": "A", "requested": 9, "available": 5}]));
    let problem = node
        .put("/v1/skus/A", &json!({"price": 12.5}))
        .expect_problem(422, "invalid_value")
        .json();
    assert_eq!(problem["field"], "/price");
}

#[test]
fn past_the_valve_the_answer_is_503_at_once() {
    let node = Node::builder()
        .env("SHELFD__HTTP__MAX_ROWS", "10")
        .env("SHELFD__HTTP__MAX_INFLIGHT_EVENTS", "10")
        .env("SHELFD__HTTP__MAX_BODY_BYTES", "4096")
        .env("SHELFD__HTTP__MAX_INFLIGHT_BYTES", "4096")
        .start();
    // One body is announced and held back; it has the whole valve.
    let mut holder = TcpStream::connect(node.address()).expect("the node listens");
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4096\r\n\r\n{";
    holder.write_all(head.as_bytes()).expect("the node reads");
    crate::harness::node::wait_until("the announced bytes to be taken", || {
        node.get("/metrics")
            .text()
            .lines()
            .any(|line| line.starts_with("shelfd_inflight_bytes") && line.ends_with("4096"))
    });
    let refused = node.post("/v1/events", &receipt("1", 1)).expect_problem(503, "overloaded");
    assert!(refused.headers.contains_key("retry-after"));
    drop(holder);
    crate::harness::node::wait_until("the valve to open again", || {
        node.post("/v1/events", &receipt("1", 1)).status == 200
    });
}
