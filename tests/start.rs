//! Starts that must fail do so at once, with what is wrong, where, and what to do, and harm nothing; a disk that is nearly
//! full refuses what is new, and goes on answering.

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod harness;

use std::fs;
use std::path::Path;

use harness::events::event;
use harness::node::{Node, Ran, shelfd};
use serde_json::json;
use tempfile::TempDir;

/// A start on `data` that fails with the exit code, and says all of that.
#[track_caller]
fn fails(data: &Path, code: i32, says: &[&str]) {
    let ran = Node::builder().data(data).start_expecting_failure().expect_code(code);
    tells(&ran, says);
}

#[track_caller]
fn tells(ran: &Ran, says: &[&str]) {
    for part in says {
        assert!(ran.stderr.contains(part), "{part:?} is not in {ran:#?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
}

/// A stopped store with one receipt in it.
fn store() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    let mut node = Node::builder().data(dir.path()).start();
    node.post("/v1/events", &event("1", "receipt", "milk", 5)).expect_status(200);
    assert!(node.terminate().success());
    dir
}

#[test]
fn a_second_node_on_the_same_store_is_refused_and_told_the_pid_of_the_first() {
    let node = Node::start();
    let pid = node.pid().to_string();
    fails(node.data(), 75, &["in use by another node", &pid, "--data"]);
    let dir = node.data().to_str().expect("a path");
    tells(&node.cli(&["verify", dir]).expect_code(75), &[&pid]);
    node.post("/v1/events", &event("1", "receipt", "milk", 5)).expect_status(200);
}

#[test]
fn a_port_in_use_is_named() {
    let node = Node::start();
    let ran = Node::builder()
        .arg("--listen")
        .arg(node.address())
        .start_expecting_failure()
        .expect_code(75);
    tells(&ran, &[node.address(), "--listen"]);
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let ran = Node::builder()
        .arg("--listen")
        .arg("0.0.0.0:0")
        .start_expecting_failure()
        .expect_code(78);
    tells(&ran, &["0.0.0.0:0", "loopback"]);
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let dir = TempDir::new().expect("a directory");
    fails(&dir.path().join("no/such"), 78, &["no/such", "missing", "mount"]);
    assert!(!dir.path().join("no").exists(), "nothing is made where a disk may be missing");
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("a file");
    fails(&file, 78, &["not a directory"]);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "text");
    // Where not even the superuser may write.
    fails(Path::new("/sys/shelfd"), 78, &["/sys/shelfd", "cannot be written"]);
}

#[test]
fn a_store_cut_short_or_overwritten_is_refused_and_left_as_it_is() {
    let dir = store();
    let file = dir.path().join("store.redb");
    let whole = fs::read(&file).expect("the store");
    let text = b"This is no store, but somebody's notes.".repeat(200);
    for damaged in [
        &whole[..whole.len() / 2],
        &whole[..5_000],
        &whole[..100],
        &whole[..0],
        &text[..],
    ] {
        fs::write(&file, damaged).expect("a damaged store");
        fails(dir.path(), 65, &["store.redb", "damaged", "shelfd verify"]);
        assert!(
            fs::read(&file).expect("the store") == damaged,
            "{} bytes were changed",
            damaged.len()
        );
        let verified = shelfd().arg("verify").arg(dir.path()).output().expect("it runs");
        assert_eq!(verified.status.code(), Some(65), "{verified:?}");
    }
    fs::write(&file, &whole).expect("the store put back");
    let node = Node::builder().data(dir.path()).start();
    assert_eq!(node.get("/v1/warehouses/main/skus/milk").json()["accounts"]["sellable"], 5);
}

#[test]
fn a_configuration_with_a_typo_is_refused_with_its_place() {
    let ran = Node::builder()
        .config("[http]\nlisten_port = 7\n\n[storge]\n")
        .start_expecting_failure()
        .expect_code(78);
    tells(&ran, &["config.toml:2:1", "listen_port", "config.toml:4:2", "storage"]);
    let ran = Node::builder()
        .env("SHELFD__HTTP__LISTENN", "x")
        .start_expecting_failure()
        .expect_code(78);
    tells(&ran, &["SHELFD__HTTP__LISTENN", "SHELFD__HTTP__LISTEN`"]);
}

#[test]
fn below_the_reserve_of_the_disk_nothing_new_is_taken_and_reads_go_on() {
    let dir = store();
    let mut node = Node::builder()
        .data(dir.path())
        .env("SHELFD__STORAGE__RESERVE_BYTES", "1099511627776")
        .start_unready();
    let refused = node
        .post("/v1/events", &event("2", "receipt", "milk", 5))
        .expect_problem(507, "storage_full");
    assert!(refused.headers.contains_key("retry-after"));
    let batch = json!([event("2", "receipt", "milk", 5), event("3", "receipt", "milk", 5)]);
    node.post("/v1/events", &batch).expect_problem(507, "storage_full");
    let basket = json!({"lines": [{"sku": "milk", "quantity": 1}]});
    node.put("/v1/warehouses/main/reservations/1", &basket)
        .expect_problem(507, "storage_full");
    node.put("/v1/skus/milk", &json!({"name": "Milk"}))
        .expect_problem(507, "storage_full");
    assert_eq!(
        node.get("/v1/warehouses/main/skus/milk").expect_status(200).json()["accounts"]["sellable"],
        5
    );
    assert!(
        node.get("/readyz").expect_status(503).json()["reason"]
            .as_str()
            .is_some_and(|why| why.contains("reserve"))
    );
    assert!(node.terminate().success());
}
