//! What is no JSON is refused, and what is JSON is judged: every file of JSONTestSuite, against the real binary.
//!
//! Each file is sent as the whole body of one event and as a row among good ones, where it must cost nobody else anything.

use crate::harness::data::{shared_file, tally};
use crate::harness::node::Node;
use serde_json::{Value, json};

/// The project's own small sample, for a clone without the data folder: name and content.
const SAMPLE: &[(&str, &[u8])] = &[
    ("n_array_extra_comma", b"[\"\",]"),
    ("n_object_trailing_comma", b"{\"id\":0,}"),
    ("n_string_invalid_utf8", b"[\"\xff\"]"),
    ("n_structure_open_object", b"{"),
    ("n_number_leading_zero", b"[012]"),
    ("y_array_empty", b"[]"),
    ("y_object_duplicated_key", b"{\"a\":\"b\",\"a\":\"c\"}"),
    ("y_structure_lonely_true", b"true"),
];

fn files() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = shared_file("json/test_parsing") else {
        return SAMPLE
            .iter()
            .map(|(name, body)| ((*name).to_owned(), body.to_vec()))
            .collect();
    };
    let entries = std::fs::read_dir(folder).expect("the suite's folder");
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a file's name").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("a file of the suite"))
    };
    entries
        .map(|entry| read(entry.expect("an entry of the folder").path()))
        .collect()
}

fn good(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "suite", "type": "inventory.receipt", "data": {"warehouse": "main", "sku": "A", "quantity": 1}})
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const NDJSON: &[(&str, &str)] = &[("content-type", "application/x-ndjson"), ("accept", "application/json")];

/// Codes of all refusals in an answer; empty when nothing was refused.
fn codes(body: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match body["verdicts"].as_array() {
        Some(rows) => rows.iter().filter_map(|row| text(&row["problem"]["code"])).collect(),
        None => text(&body["code"]).into_iter().collect(),
    }
}

#[test]
fn what_is_no_json_is_refused_and_what_is_json_is_judged() {
    let node = Node::start();
    let mut cases = 0;
    for (name, body) in files() {
        let answer = node.send("POST", "/v1/events", JSON, body);
        let codes = codes(&answer.json());
        let malformed = codes.iter().any(|code| code.starts_with("malformed"));
        match name.as_bytes()[0] {
            b'n' => assert!(malformed && !codes.is_empty(), "{name}: {}", answer.text()),
            b'y' => assert!(
                !codes.iter().any(|code| code == "malformed_json"),
                "{name}: {}",
                answer.text()
            ),
            // Either is right, as long as the node answers.
            _ => assert!(answer.status < 500, "{name}: {}", answer.text()),
        }
        assert!(
            answer.status != 200 || answer.json()["verdicts"] == json!([]),
            "{name}: {}",
            answer.text()
        );
        cases += 1;
    }
    assert_eq!(node.get("/v1/warehouses/main/skus").json()["items"], json!([]));
    tally("json_test_suite", cases, "cases");
}

#[test]
fn a_row_of_the_suite_costs_its_neighbours_nothing() {
    let node = Node::start();
    let mut sent = 0;
    for (at, (name, body)) in files().into_iter().enumerate() {
        // A row ends with its line, and a file of several lines is several rows.
        let rows = body
            .split(|b| *b == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
            .count();
        let mut lines = format!("{}\n", good(&format!("{at}-before"))).into_bytes();
        lines.extend_from_slice(&body);
        lines.extend_from_slice(format!("\n{}\n", good(&format!("{at}-after"))).as_bytes());
        let answer = node.send("POST", "/v1/events", NDJSON, lines);
        let json = answer.json();
        let verdicts = json["verdicts"]
            .as_array()
            .unwrap_or_else(|| panic!("{name}: {}", answer.text()));
        let last = verdicts.len() - 1;
        assert_eq!(
            (&verdicts[0]["verdict"], &verdicts[last]["verdict"]),
            (&json!("applied"), &json!("applied")),
            "{name}"
        );
        assert!(
            verdicts[1..last].iter().all(|row| row["verdict"] == "refused"),
            "{name}: {}",
            answer.text()
        );
        assert!(last <= rows + 1, "{name}: {}", answer.text());
        sent += 2;
    }
    assert_eq!(node.get("/v1/warehouses/main/skus/A").json()["accounts"]["sellable"], sent);
}
