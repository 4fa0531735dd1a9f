//! Requests that are wrong as a whole, or only in part, and what they are told: against the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::node::Node;
use serde_json::{Value, json};

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

#[track_caller]
fn problem(answer: &str, status: &str, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for header in ["content-type: application/problem+json", "x-request-id: ", "traceparent: 00-"] {
        assert!(head.contains(header), "{answer}");
    }
    let body: Value = serde_json::from_str(body).expect("a problem");
    assert_eq!(
        (&body["code"], &body["type"]),
        (&json!(code), &json!(format!("/problems/{code}")))
    );
    assert!(body["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{body}");
}

#[test]
fn a_head_of_any_size_is_told_that_it_is_too_large() {
    let node = Node::start();
    for kilobytes in [20, 100, 400] {
        let long = "x".repeat(kilobytes << 10);
        let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {long}\r\n\r\n");
        problem(&raw(&node, head.as_bytes()), "431", "headers_too_large");
    }
    let many: String = (0..200).map(|at| format!("x-{at}: 1\r\n")).collect();
    let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    problem(&raw(&node, head.as_bytes()), "431", "headers_too_large");
    let address = format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "x".repeat(20_000));
    problem(&raw(&node, address.as_bytes()), "414", "uri_too_long");
    problem(&raw(&node, b"this is no HTTP\r\n\r\n"), "400", "malformed_header");
    node.get("/livez").expect_status(200);
}

/// RFC 9110, 10.1.1: a refusal then costs neither side the body.
#[test]
fn a_caller_that_asks_before_it_sends_is_told_to_go_on_or_at_once_why_not() {
    let node = Node::start();
    let asks = |path: &str, kind: &str, bytes: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: {kind}\r\ncontent-length: {bytes}\r\n\r\n"
        )
    };
    let json = "application/json";
    problem(
        &raw(&node, asks("/v1/events", json, 1 << 30).as_bytes()),
        "413",
        "body_too_large",
    );
    problem(
        &raw(&node, asks("/v1/events", "text/csv", 64).as_bytes()),
        "415",
        "unsupported_media_type",
    );
    problem(&raw(&node, asks("/v1/nothing", json, 64).as_bytes()), "404", "not_found");

    let body = "[]";
    let mut stream = BufReader::new(TcpStream::connect(node.address()).expect("the node listens"));
    let head = asks("/v1/events", json, body.len());
    stream.get_mut().write_all(head.as_bytes()).expect("the node reads");
    let mut told = String::new();
    stream.read_line(&mut told).expect("the node says to go on");
    assert_eq!(told, "HTTP/1.1 100 Continue\r\n");
    stream.get_mut().write_all(body.as_bytes()).expect("the node reads");
    told.clear();
    let mut lines = stream.lines().map(|line| line.expect("the node answers"));
    assert_eq!(lines.nth(1).as_deref(), Some("HTTP/1.1 200 OK"));
}

#[test]
fn a_wrong_value_is_told_in_the_words_of_the_api() {
    let node = Node::start();
    let hold = "/v1/warehouses/main/reservations/o-1";
    for (body, detail) in [
        (
            json!({"lines": [{"sku": "A", "quantity": "2"}]}),
            "must be a whole number, is the string '2'",
        ),
        (
            json!({"lines": [{"sku": 7, "quantity": 2}]}),
            "must be a string, is the number 7",
        ),
        (
            json!({"lines": [{"sku": "A", "quantity": 2}], "ttl_s": -1}),
            "must be a whole number from 0 to 4294967295, is the number -1",
        ),
        (json!({"lines": {"sku": "A"}}), "must be an array, is an object"),
        (json!("x"), "must be an object, is the string 'x'"),
        (json!([[{"sku": "A", "quantity": 2}]]), "must be an object, is an array"),
        (json!({"lines": [["A", 2]]}), "must be an object, is an array"),
    ] {
        let told = node.put(hold, &body).expect_problem(422, "invalid_value").json();
        assert_eq!(told["detail"], detail, "{body}");
    }
}

#[test]
fn a_refusal_for_want_of_stock_has_a_title_that_is_true_of_all_of_them() {
    let node = Node::start();
    let event = |kind: &str, data: Value| json!({"specversion": "1.0", "id": kind, "source": "test", "type": format!("inventory.{kind}"), "data": data});
    node.post(
        "/v1/events",
        &event("receipt", json!({"warehouse": "main", "sku": "A", "quantity": 1})),
    )
    .expect_status(200);
    for refused in [
        event("release", json!({"warehouse": "main", "sku": "A", "quantity": 1})),
        event(
            "adjustment",
            json!({"warehouse": "main", "sku": "A", "delta": -5, "reason": "test"}),
        ),
    ] {
        let told = node
            .post("/v1/events", &refused)
            .expect_problem(409, "insufficient_stock")
            .json();
        assert_eq!(told["title"], "Not enough in stock");
    }
}

#[test]
fn an_unknown_parameter_is_refused_on_every_page() {
    let node = Node::start();
    for page in ["/livez", "/readyz", "/metrics", "/openapi.json", "/v1/status", "/v1/ignored"] {
        node.get(page).expect_status(200);
        let told = node
            .get(&format!("{page}?verbsoe=1"))
            .expect_problem(422, "unknown_field")
            .json();
        assert_eq!(told["field"], "verbsoe", "{page}");
    }
}

#[test]
fn a_subject_that_contradicts_the_event_is_refused() {
    let node = Node::start();
    let about = |id: &str, subject: Value| {
        json!({"specversion": "1.0", "id": id, "source": "test", "type": "inventory.receipt", "subject": subject,
            "data": {"warehouse": "main", "sku": "A", "quantity": 1}})
    };
    for (at, subject) in ["main/A", "A", "goods inwards", "a/b/c"].into_iter().enumerate() {
        node.post("/v1/events", &about(&format!("good-{at}"), json!(subject)))
            .expect_status(200);
    }
    for subject in [json!("main/B"), json!("msk-07/A"), json!(7)] {
        let told = node
            .post("/v1/events", &about("bad", subject))
            .expect_problem(422, "invalid_value")
            .json();
        assert_eq!(told["field"], "/subject", "{told}");
    }
    assert_eq!(node.get("/v1/warehouses/main/skus/A").json()["accounts"]["sellable"], 4);
}

#[test]
fn a_warehouse_keeps_what_a_change_leaves_out() {
    let node = Node::start();
    let path = "/v1/warehouses/msk-07";
    let whole = json!({"name": "Moscow 7", "time_zone": "Europe/Moscow", "channels": {"default": {"buffer": 1}, "web": {"buffer": 2, "ttl_s": 60}}});
    node.put(path, &whole).expect_status(200);
    let moved = node.put(path, &json!({"time_zone": "Asia/Omsk"})).expect_status(200).json();
    assert_eq!(
        json!([
            moved["name"],
            moved["time_zone"],
            moved["channels"]["web"]["buffer"],
            moved["channels"]["default"]["buffer"]
        ]),
        json!(["Moscow 7", "Asia/Omsk", 2, 1])
    );
    let fuller = node
        .put(path, &json!({"time_zone": "Asia/Omsk", "channels": {"web": {"buffer": 3}}}))
        .expect_status(200)
        .json();
    assert_eq!(
        json!([
            fuller["channels"]["web"]["buffer"],
            fuller["channels"]["web"]["ttl_s"],
            fuller["channels"]["default"]["buffer"]
        ]),
        json!([3, 60, 1])
    );
    // A write that comes again changes nothing, though what it left out has changed since.
    let key = [("idempotency-key", "k-1"), ("content-type", "application/json")];
    let first = json!({"time_zone": "Europe/Moscow"}).to_string();
    node.send("PUT", path, &key, first.clone().into_bytes()).expect_status(200);
    node.put(path, &json!({"time_zone": "Asia/Omsk", "channels": {"web": {"buffer": 9}}}))
        .expect_status(200);
    node.send("PUT", path, &key, first.into_bytes()).expect_status(200);
    assert_eq!(node.get(path).json()["channels"]["web"]["buffer"], 9);
}

/// The answer comes before the body does; the caller, who has heard nothing yet, sends the rest, and is not cut off for it.
#[test]
fn whoever_is_refused_before_the_body_has_come_hears_it_and_keeps_the_connection() {
    const BODY: usize = 3_000_000;
    let node = Node::start();
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket has a time-out");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut answer = || {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            assert_ne!(answers.read_line(&mut head).expect("an answer"), 0, "closed after {head:?}");
            let length_of = |line: &str| line.trim().strip_prefix("content-length: ")?.parse().ok();
            length = length_of(&head[before..]).unwrap_or(length);
        }
        let mut body = vec![0; length];
        answers.read_exact(&mut body).expect("the answer's body");
        head
    };
    for _ in 0..3 {
        let head =
            format!("POST /v1/nowhere HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the node reads");
        assert!(answer().starts_with("HTTP/1.1 404 "), "told before the body is there");
        // More than the buffers on the way hold: it only goes through when the node reads it.
        stream
            .write_all(&vec![b' '; BODY])
            .expect("the node reads what it does not want");
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("the node reads");
        assert!(answer().starts_with("HTTP/1.1 200 "));
    }
}
