//! `shelfd import` when things go wrong: a node that is full, loses answers, forgets; a table with rotten rows; a mapping with a
//! typo; Ctrl-C. The good case, on real rows and a real node, is in `online_retail.rs`.

#[path = "import/stand_in.rs"]
pub mod stand_in;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::node::{shelfd, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stand_in::{StandIn, Trouble};
use tempfile::TempDir;

const MAPPING: &str = r#"source = "import/till"
warehouse = "main"
copies = "several"
columns = { sku = "sku", quantity = "qty", time = "at" }
time = { formats = ["iso"] }
[[rules]]
event = "sale"
"#;

/// A directory with a table of `rows` sales over a few SKUs, and a mapping.
fn sales(rows: usize) -> TempDir {
    let at = "2026-11-22T09:14:03Z";
    let table = (0..rows)
        .map(|n| format!("S{},{},{at}\n", n % 7, n % 5 + 1))
        .collect::<String>();
    directory(&format!("sku,qty,at\n{table}"), MAPPING)
}

fn directory(table: &str, mapping: &str) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("t.csv"), table).expect("a table");
    std::fs::write(dir.path().join("till.toml"), mapping).expect("a mapping");
    dir
}

fn import(dir: &Path, url: &str, more: &[&str]) -> Command {
    let mut command = shelfd();
    command
        .args(["import", "t.csv", "--mapping", "till.toml", "--json", "--url", url])
        .args(more)
        .current_dir(dir);
    command
}

fn run(dir: &TempDir, url: &str, more: &[&str]) -> Output {
    import(dir.path(), url, more).output().expect("the binary starts")
}

#[track_caller]
fn report(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn rejected(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("t.csv.rejected.csv")).unwrap_or_default()
}

#[test]
fn a_node_that_is_full_or_loses_its_answer_costs_a_repetition_and_nothing_else() {
    let dir = sales(30);
    let node = StandIn::start(&[Trouble::Full, Trouble::AnswerLost, Trouble::FirstRowLater]);
    let report = report(&run(&dir, &node.url, &["--batch", "10"]), 0);
    // The batch whose answer was lost had been taken, and the row that came later had its neighbours told once.
    assert_eq!(
        (&report["applied"], &report["duplicates"], &report["rows"]),
        (&20.into(), &10.into(), &30.into()),
        "{report}"
    );
    let seen = node.seen.lock().expect("nobody panicked");
    let sizes = seen.batches.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(
        sizes,
        [10, 10, 10, 10, 10, 10],
        "full, lost, found, first row later, the same again, the last"
    );
    assert_eq!(seen.batches[0], seen.batches[2]);
}

#[test]
fn rows_of_a_sku_arrive_in_row_order_and_equal_rows_have_ids_of_their_own() {
    let dir = sales(70);
    let node = StandIn::start(&[]);
    report(&run(&dir, &node.url, &["--batch", "9"]), 0);
    let seen = node.seen.lock().expect("nobody panicked");
    let rows = seen.batches.concat();
    let skus = rows
        .iter()
        .map(|row| row["data"]["sku"].as_str().unwrap_or_default().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(skus, (0..70).map(|n| format!("S{}", n % 7)).collect::<Vec<_>>());
    let ids = rows
        .iter()
        .map(|row| row["id"].as_str().unwrap_or_default())
        .collect::<std::collections::HashSet<_>>();
    assert_eq!(ids.len(), 70);
    assert_eq!(
        rows.iter()
            .filter(|row| row["id"].as_str().is_some_and(|id| id.ends_with("-2")))
            .count(),
        35
    );
}

#[test]
fn rows_that_are_not_taken_stand_beside_the_table_with_line_and_reason() {
    let at = "2026-11-22T09:14:03Z";
    let table =
        format!("sku,qty,at,note\nA,1,{at},\"x\ny\"\nA,1\nREFUSE,2,{at},\"a, b\"\n,1,{at},\nB,0,{at},\nB,1,noon,\nB,2,{at},ok\n");
    let dir = directory(&table, MAPPING);
    let node = StandIn::start(&[]);
    let first = report(&run(&dir, &node.url, &[]), 65);
    assert_eq!(
        (&first["applied"], &first["refused"]["unit_mismatch"]),
        (&2.into(), &1.into()),
        "{first}"
    );
    assert_eq!(first["rejected"], serde_json::json!({"malformed_row": 1, "invalid_value": 3}));
    let expected = format!(
        "line,by,code,reason,sku,qty,at,note\n\
         4,import,malformed_row,\"the row has 2 cells, the header 4\",A,1\n\
         5,node,unit_mismatch,it is kept in g,REFUSE,2,{at},\"a, b\"\n\
         6,import,invalid_value,the sku is empty,,1,{at},\n\
         7,import,invalid_value,the quantity is zero: nothing would move,B,0,{at},\n\
         8,import,invalid_value,time `noon` fits none of the formats of the mapping,B,1,noon,\n"
    );
    assert_eq!(rejected(&dir), expected);

    // A second time: nothing new is sent but what was taken; what was refused waits to be asked for.
    let again = report(&run(&dir, &node.url, &[]), 65);
    assert_eq!(
        (&again["duplicates"], &again["refused_before"]["unit_mismatch"]),
        (&2.into(), &1.into()),
        "{again}"
    );
    assert_eq!(rejected(&dir), expected);
    let retried = report(&run(&dir, &node.url, &["--retry-refused"]), 65);
    assert_eq!(
        (&retried["duplicates"], &retried["refused"]["unit_mismatch"]),
        (&2.into(), &1.into()),
        "{retried}"
    );
    assert_eq!(rejected(&dir), expected);
}

#[test]
fn a_stopped_import_goes_on_where_it_was() {
    let dir = sales(50);
    let node = StandIn::start(&[Trouble::Full, Trouble::Held, Trouble::Held, Trouble::Held]);
    let gate = node.gate.lock().expect("nobody panicked");
    let child = import(dir.path(), &node.url, &["--batch", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    wait_until("the batch in flight", || node.batches() == 2);
    kill_process(Pid::from_raw(child.id() as i32).expect("a process id"), Signal::INT).expect("the import can be interrupted");
    let output = child.wait_with_output().expect("the import ends");
    assert!(
        stderr(&output).contains("the same command again goes on"),
        "{}",
        stderr(&output)
    );
    let stopped = report(&output, 75);
    assert_eq!(
        (&stopped["finished"], &stopped["rows_done"]),
        (&false.into(), &0.into()),
        "{stopped}"
    );
    drop(gate);

    // The batch in flight had been taken by then, and is sent again.
    let resumed = report(&run(&dir, &node.url, &["--batch", "10"]), 0);
    assert_eq!(
        (&resumed["applied"], &resumed["duplicates"]),
        (&40.into(), &10.into()),
        "{resumed}"
    );
}

#[test]
fn a_full_disk_ends_the_run_and_the_next_one_goes_on() {
    let dir = sales(50);
    let node = StandIn::start(&[Trouble::Fine, Trouble::Full, Trouble::FirstRowLater, Trouble::DiskFull]);
    let output = run(&dir, &node.url, &["--batch", "10"]);
    assert!(stderr(&output).contains("the disk is full"), "{}", stderr(&output));
    report(&output, 75);
    let resumed = report(&run(&dir, &node.url, &["--batch", "10"]), 0);
    assert_eq!(resumed["rows_done"], 50, "{resumed}");
}

#[test]
fn a_node_that_has_forgotten_is_told_everything_again() {
    let dir = sales(50);
    let node = StandIn::start(&[Trouble::Fine, Trouble::DiskFull]);
    let stopped = report(&run(&dir, &node.url, &["--batch", "10"]), 75);
    assert_eq!(stopped["rows_done"], 10, "{stopped}");
    node.forget();
    let output = run(&dir, &node.url, &["--batch", "10"]);
    assert!(stderr(&output).contains("starting over"), "{}", stderr(&output));
    let told = report(&output, 0);
    assert_eq!((&told["applied"], &told["resumed_after"]), (&50.into(), &0.into()), "{told}");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_sent() {
    let node = StandIn::start(&[]);
    for (table, mapping, code, expected) in [
        (
            "sku,qty,at\n",
            MAPPING.replace("warehouse", "warehose"),
            78,
            "till.toml:2:1: unknown key `warehose`; did you mean `warehouse`?",
        ),
        (
            "sku,qty,at\n",
            MAPPING.replace("\"qty\"", "\"Qty\""),
            78,
            "the table has no column `Qty`; did you mean `qty`?",
        ),
        (
            "sku,qty,at\n",
            MAPPING.replace("\"main\"", "\"mian\""),
            65,
            "no such warehouse; did you mean `main`?",
        ),
        ("", MAPPING.to_owned(), 65, "has no header"),
    ] {
        let dir = directory(table, &mapping);
        let output = run(&dir, &node.url, &[]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let dir = sales(1);
    std::fs::remove_file(dir.path().join("t.csv")).expect("the table was there");
    let output = run(&dir, &node.url, &[]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("cannot open t.csv"), "{}", stderr(&output));
    assert_eq!(node.batches(), 0);
}

#[test]
fn two_imports_of_one_table_do_not_run_at_once() {
    let dir = sales(50);
    let node = StandIn::start(&[Trouble::Held]);
    let gate = node.gate.lock().expect("nobody panicked");
    let first = import(dir.path(), &node.url, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    wait_until("the batch in flight", || node.batches() == 1);
    let second = run(&dir, &node.url, &[]);
    assert_eq!(second.status.code(), Some(75), "{}", stderr(&second));
    assert!(
        stderr(&second).contains("another import of this file is running"),
        "{}",
        stderr(&second)
    );
    drop(gate);
    report(&first.wait_with_output().expect("the first import ends"), 0);
}

#[test]
fn a_dry_run_tells_what_rows_would_become_and_leaves_no_trace() {
    let table = "sku,qty,at\nA,1,2026-11-22T09:14:03Z\nA,2,2026-11-22T09:14:03Z\nA,x,2026-11-22T09:14:03Z\n";
    let dir = directory(table, MAPPING);
    let nobody = "http://127.0.0.1:9";
    let told = report(&run(&dir, nobody, &["--dry-run"]), 65);
    assert_eq!(
        (&told["events"][0]["type"], &told["events"][0]["rows"]),
        (&"inventory.sale".into(), &2.into()),
        "{told}"
    );
    assert_eq!(
        told["rejected"][0]["first"][0],
        serde_json::json!({"line": 4, "reason": "quantity `x` is no number"})
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("the directory").count(),
        2,
        "a file was left"
    );
}
