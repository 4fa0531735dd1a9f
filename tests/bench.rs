//! `shelfd bench` tells the truth: what it counts happened, and what was refused is in no throughput. How fast is not tested.

use crate::harness::node::{Node, shelfd};
use serde_json::{Value, json};

/// Runs `bench --json` for a second; its result and its exit code.
fn bench(args: &[&str]) -> (Value, Option<i32>) {
    let ended = shelfd()
        .args(["bench", "--json", "--for", "1", "--warm-up", "0"])
        .args(args)
        .output()
        .expect("the binary starts");
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    let result = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    assert!(
        result.is_object() || !ended.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    (result, ended.status.code())
}

#[test]
fn what_is_counted_as_accepted_stands_on_the_book() {
    let node = Node::start();
    let (result, code) = bench(&["--url", &node.url(), "--work", "sale", "--connections", "4", "--skus", "3"]);
    assert_eq!(code, Some(0), "{result}");
    let line = &result["lines"][0];
    assert_eq!(
        (&line["kind"], &line["not_accepted"], &line["found"]),
        (&json!("sale"), &json!({}), &json!(0)),
        "{result}"
    );
    let sold: i64 = node
        .list("/v1/warehouses/main/skus")
        .iter()
        .filter_map(|sku| sku["accounts"]["demand"].as_i64())
        .sum();
    let counted = line["accepted"].as_i64().expect("a number");
    // At most one sale of each connection ended after the last moment that counts.
    assert!(
        counted > 0 && (counted..=counted + 4).contains(&sold),
        "{counted} counted, {sold} sold"
    );
}

#[test]
fn every_mix_runs_on_a_node_of_its_own_without_a_refusal() {
    for work in ["receipt", "hold-confirm", "basket", "read", "batch", "mixed"] {
        let (result, code) = bench(&[
            "--work",
            work,
            "--connections",
            "4",
            "--batch",
            "50",
            "--zipf",
            "1",
            "--beside",
            "read",
            "--beside-rate",
            "50",
        ]);
        assert_eq!(code, Some(0), "{work}: {result}");
        for line in result["lines"]
            .as_array()
            .expect("lines")
            .iter()
            .chain(result["beside"].as_array().expect("lines"))
        {
            assert_eq!(line["not_accepted"], json!({}), "{work}: {line}");
            assert!(line["accepted"].as_u64() > Some(0), "{work}: {line}");
        }
        assert!(result["usage"]["cpu_s"].as_f64() > Some(0.0), "{work}: {result}");
    }
}

#[test]
fn refusals_are_no_throughput() {
    let node = Node::start();
    let url = node.url();
    let (_, code) = bench(&["--url", &url, "--warehouse", "nowhere"]);
    assert_eq!(code, Some(65), "an opening that is refused ends the run");
    let (result, code) = bench(&[
        "--url",
        &url,
        "--work",
        "basket",
        "--lines",
        "1",
        "--skus",
        "3",
        "--connections",
        "2",
        "--no-opening",
    ]);
    assert_eq!(code, Some(65), "{result}");
    let line = &result["lines"][0];
    assert_eq!(
        (line["accepted"].as_u64(), line["accepted_per_s"].as_f64()),
        (Some(0), Some(0.0)),
        "{line}"
    );
    assert!(
        line["not_accepted"].as_object().is_some_and(|codes| !codes.is_empty()),
        "{line}"
    );
}
