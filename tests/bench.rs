//! `shelfd bench` tells the truth: what it counts happened, and what was refused is in no throughput. How fast is not tested.

use crate::harness::node::{Node, shelfd};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

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

/// The gauges of a probe by name.
fn probe(args: &[&str]) -> (Value, impl Fn(&str) -> f64) {
    let (result, code) = bench(args);
    assert_eq!(code, Some(0), "{args:?}: {result}");
    let gauges = result["gauges"].clone();
    let gauge = move |name: &str| {
        let found = gauges
            .as_array()
            .and_then(|gauges| gauges.iter().find(|gauge| gauge["name"] == name));
        found
            .and_then(|gauge| gauge["value"].as_f64())
            .unwrap_or_else(|| panic!("no {name} in {gauges}"))
    };
    (result, gauge)
}

#[test]
fn a_killed_node_is_ready_again_and_has_lost_nothing_that_it_answered() {
    let (_, gauge) = probe(&[
        "--probe",
        "start",
        "--work",
        "batch",
        "--batch",
        "50",
        "--connections",
        "4",
        "--skus",
        "50",
    ]);
    assert!(gauge("answered_before_kill") > 0.0);
    assert!(gauge("lost").abs() < 1e-9, "{} events", gauge("lost"));
    assert!(gauge("ready_after_stop") > 0.0 && gauge("ready_after_kill") > 0.0);
}

#[test]
fn what_an_event_costs_on_the_disk_is_told_beside_its_fact() {
    let (_, gauge) = probe(&[
        "--probe",
        "disk",
        "--work",
        "batch",
        "--batch",
        "100",
        "--connections",
        "2",
        "--skus",
        "50",
    ]);
    let fact = gauge("fact_per_event");
    assert!((20.0..2_000.0).contains(&fact), "{fact} bytes");
    // The kernel tells of bytes written only where it counts them: not on a file system in memory.
    assert!(gauge("written_per_event") >= 0.0);
}

#[test]
fn as_many_skus_are_awake_as_were_asked_for() {
    let (_, gauge) = probe(&["--probe", "memory", "--skus", "200", "--awake", "20", "--connections", "2"]);
    assert!(gauge("awake") >= 20.0 && gauge("at_rest") > 1.0, "{} awake", gauge("awake"));
}

#[test]
fn a_probe_has_a_node_of_its_own() {
    let (_, code) = bench(&["--probe", "idle", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(64));
}

#[test]
fn a_load_beside_comes_and_goes_when_it_is_told_to() {
    let window = ["--beside-from", "0.3", "--beside-until", "0.6", "--timeline", "0.1"];
    let (result, code) = bench(&[&["--connections", "2", "--skus", "5", "--beside", "read"][..], &window].concat());
    assert_eq!(code, Some(0), "{result}");
    let steps = |name: &str| -> Vec<f64> {
        let ticks = result[name].as_array().expect("a timeline");
        ticks.iter().filter_map(|tick| tick["at_s"].as_f64()).collect()
    };
    let beside = steps("beside_timeline");
    assert!(
        !beside.is_empty() && beside.iter().all(|at| (0.25..0.75).contains(at)),
        "{beside:?}"
    );
    assert!(steps("timeline").len() >= 8, "{:?}", steps("timeline"));
    let share = |of: &serde_json::Value| of["stolen"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share));
    assert!(share(&result), "the host's share of the cores: {}", result["stolen"]);
    assert!(result["timeline"].as_array().expect("a timeline").iter().any(share));
}

#[test]
fn a_run_ends_when_enough_was_accepted() {
    let (result, code) = bench(&["--enough", "40", "--connections", "2", "--skus", "5"]);
    assert_eq!(code, Some(0), "{result}");
    let accepted = result["lines"][0]["accepted"].as_u64().expect("a number");
    // The other connection may have had one on its way.
    assert!((40..=42).contains(&accepted), "{accepted}");
}

#[test]
fn results_become_a_page_and_pictures() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = |subject: &str, per_s: f64| {
        json!({"row": "sale", "subject": subject, "at": "2026-11-23T12:00:00Z", "machine": "2 cores", "settings": {},
            "seconds": 1, "usage": null, "stolen": 0.12, "goals": ["ratio:bare loop >= 0.85"], "lines": [{"kind": "sale", "requests": 9, "accepted": 9,
            "accepted_per_s": per_s, "found": 0, "not_accepted": {},
            "latency_us": {"mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0, "p999": 1.0, "max": 1.0}}]})
    };
    for (name, result) in [("01-a.json", run("shelfd", 90.0)), ("01-b.json", run("bare loop", 100.0))] {
        fs::write(dir.path().join(name), result.to_string()).expect("a file");
    }
    let plots = dir.path().join("plots");
    let report = || {
        let mut command = shelfd();
        command.arg("bench").arg("--report").arg(dir.path());
        command
    };
    let page = report()
        .arg("--markdown")
        .arg("--plots")
        .arg(&plots)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&page.stdout);
    assert!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
    assert!(
        said.contains("| sale | bare loop | 100 | 0.00 | 0.00 |  |  | 12 | 0 | 0.90 |"),
        "{said}"
    );
    assert!(said.contains("| sale | `ratio:bare loop >= 0.85` | 0.90 | met |"), "{said}");
    let picture = fs::read_to_string(plots.join("sale.svg")).expect("a picture");
    assert!(picture.starts_with("<svg ") && picture.contains("bare loop"));
    fs::write(dir.path().join("02.json"), "[]").expect("a file");
    let broken = report().output().expect("the binary starts");
    assert_eq!(broken.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("02.json"));
}

/// Whoever waits for an hour must not learn at its end that a row was misspelt: the generator itself is asked about each of them.
#[test]
fn every_row_of_the_soak_is_one_that_the_generator_understands() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stand_in = dir.path().join("shelfd");
    let real = shelfd().get_program().to_string_lossy().into_owned();
    // With `--help` at its end a line is read and nothing is run.
    fs::write(
        &stand_in,
        format!("#!/bin/sh\n{real} \"$@\" --help >/dev/null && echo {{}}\n"),
    )
    .expect("a stand-in");
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("its mode");
    let ended = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench.sh"))
        .arg("soak")
        .env("BENCH_BINARIES", dir.path())
        .env("BENCH_OUT", dir.path())
        .env_remove("BENCH_ONLY")
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let rows = fs::read_dir(dir.path().join("soak")).expect("results").count();
    assert_eq!(rows, 2, "{said}");
}
