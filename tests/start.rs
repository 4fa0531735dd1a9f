//! Starts that must fail do so at once, with what is wrong, where, and what to do, and harm nothing; a disk that is nearly
//! full refuses what is new, and goes on answering.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::events::event;
use crate::harness::node::{Node, Ran, shelfd, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use shelfd::storage::store::FORMAT;
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
fn what_can_be_made_from_the_journal_is_repaired_and_the_damaged_file_is_kept() {
    const STOCK: redb::TableDefinition<'_, (&str, &str), &[u8]> = redb::TableDefinition::new("stock");
    let dir = store();
    let file = dir.path().join("store.redb");
    let verify = |args: &[&str]| {
        let output = shelfd().arg("verify").args(args).arg(dir.path()).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told)
    };
    let running = Node::builder().data(dir.path()).start();
    assert_eq!(verify(&["--repair"]).0, Some(75), "a node runs on it");
    drop(running);
    assert_eq!(verify(&[]).0, Some(0), "kill -9 damages nothing");
    let database = redb::Database::open(&file).expect("the node is gone");
    let transaction = database.begin_write().expect("nobody else writes");
    {
        let mut table = transaction.open_table(STOCK).expect("snapshots of SKUs");
        table
            .insert(("main", "milk"), [9u8; 3].as_slice())
            .expect("a disk")
            .expect("a snapshot row");
    }
    transaction.commit().expect("a disk");
    drop(database);
    let damaged = fs::read(&file).expect("the store");
    let (code, told) = verify(&[]);
    assert_eq!(code, Some(65));
    assert!(told.contains("milk") && told.contains("shelfd verify --repair"), "{told}");
    let (code, told) = verify(&["--repair", "--json"]);
    assert_eq!(code, Some(0), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["repaired"], &told["sound"]), (&json!(true), &json!(true)), "{told}");
    assert!(fs::read(dir.path().join("store.redb.damaged")).expect("it is kept") == damaged);
    let node = Node::builder().data(dir.path()).start();
    assert_eq!(node.get("/v1/warehouses/main/skus/milk").json()["accounts"]["sellable"], 5);
}

/// A copy of a store, as a newer version would have written it: the number of its format is higher.
fn of_format(number: u64) -> TempDir {
    const META: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
    let dir = store();
    let database = redb::Database::open(dir.path().join("store.redb")).expect("the node has stopped");
    let transaction = database.begin_write().expect("nobody else writes");
    let known = {
        let mut table = transaction.open_table(META).expect("its table of itself");
        let known = table.insert("format", number.to_le_bytes().as_slice()).expect("room");
        known.map(|known| known.value().to_vec())
    };
    assert_eq!(
        known,
        Some(FORMAT.to_le_bytes().to_vec()),
        "the number of the format stands elsewhere"
    );
    transaction.commit().expect("a disk");
    dir
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_its_number_and_left_as_it_is() {
    let newer = FORMAT + 1;
    let dir = of_format(newer);
    let whole = fs::read(dir.path().join("store.redb")).expect("the store");
    let (found, known) = (format!("format {newer}"), format!("up to {FORMAT}"));
    let says = ["store.redb", found.as_str(), known.as_str(), "run the newer shelfd"];
    fails(dir.path(), 78, &says);
    let checked = shelfd()
        .args(["check", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .output()
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(told.contains(&found), "{told}");
    let verified = shelfd().arg("verify").arg(dir.path()).output().expect("it runs");
    assert!(
        !verified.status.success() && String::from_utf8_lossy(&verified.stderr).contains(&found),
        "{verified:?}"
    );
    assert!(
        fs::read(dir.path().join("store.redb")).expect("the store") == whole,
        "it was changed"
    );
}

/// What `shelfd check` says of the store, and its exit code.
fn checked(data: &Path) -> (serde_json::Value, Option<i32>) {
    let output = shelfd()
        .args(["check", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .output()
        .expect("it runs");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let mut findings = told["findings"].as_array().expect("findings").iter();
    let store = findings.find(|finding| finding["check"] == "store");
    (store.cloned().unwrap_or_default(), output.status.code())
}

#[test]
fn a_check_looks_into_the_store_and_changes_nothing() {
    let dir = TempDir::new().expect("a directory");
    assert_eq!(checked(dir.path()), (json!(null), Some(0)), "there is none yet");
    let mut node = Node::builder().data(dir.path()).start();
    node.post("/v1/events", &event("1", "receipt", "milk", 5)).expect_status(200);
    let (store, _) = checked(dir.path());
    let detail = |store: &serde_json::Value| store["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail(&store).contains(&format!("pid {}", node.pid())), "{store}");
    node.kill();
    let files = || ["LOCK", "store.redb"].map(|name| fs::read(dir.path().join(name)).expect("a file of the store"));
    let before = files();
    let (store, code) = checked(dir.path());
    assert!(
        code == Some(0) && detail(&store).contains("not closed in good order"),
        "{store}"
    );
    assert!(files() == before, "a check has changed the store");
    node.restart();
    assert!(node.terminate().success());
    let before = files();
    let (store, code) = checked(dir.path());
    assert!(
        code == Some(0) && detail(&store).contains(&format!("format {FORMAT}")),
        "{store}"
    );
    assert!(files() == before, "a check has changed the store");
    fs::write(dir.path().join("store.redb"), &before[1][..5_000]).expect("a damaged store");
    let (store, code) = checked(dir.path());
    assert_eq!((code, &store["verdict"]), (Some(78), &json!("bad")), "{store}");
}

/// A node that is busy with something else for a while must not make a crowd of callers wait for their handshakes to be tried again.
#[test]
fn a_crowd_that_comes_at_once_waits_in_the_queue_and_is_not_dropped() {
    let node = Node::start();
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux tells it");
    let crowd = somaxconn.trim().parse::<usize>().expect("a number").min(600);
    node.signal(Signal::STOP);
    let begun = Instant::now();
    let address = node.address().parse().expect("an address");
    let waiting: Vec<_> = (0..crowd)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(900)))
        .collect();
    node.signal(Signal::CONT);
    let lost = waiting.iter().filter(|stream| stream.is_err()).count();
    assert_eq!(lost, 0, "of {crowd} handshakes, after {:?}", begun.elapsed());
    node.get("/livez").expect_status(200);
}

/// One more answer over a connection that stays open: its status, its head and its body.
#[track_caller]
fn asked(stream: &mut BufReader<TcpStream>, request: &str) -> (u16, String, Value) {
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    stream.get_mut().write_all(head.as_bytes()).expect("the connection is open");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            stream.read_line(&mut head).expect("an answer") > 0,
            "the connection was closed: {head}"
        );
    }
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = field("content-length:").and_then(|n| n.parse().ok()).expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, serde_json::from_slice(&body).expect("JSON"))
}

/// A store whose file can be opened only when the test lets it: a pipe stands in its place meanwhile.
struct Held {
    dir: TempDir,
    gate: PathBuf,
}

impl Held {
    fn new() -> Held {
        let dir = store();
        let (file, gate) = (dir.path().join("store.redb"), dir.path().join("gate"));
        fs::rename(&file, dir.path().join("real")).expect("a name");
        let made = Command::new("mkfifo").arg(&gate).status().expect("mkfifo runs");
        assert!(made.success(), "a pipe");
        fs::hard_link(&gate, &file).expect("a second name of the pipe");
        Held { dir, gate }
    }

    /// Puts the store back, and lets go whoever waits to open it.
    fn let_go(&self) {
        fs::rename(self.dir.path().join("real"), self.dir.path().join("store.redb")).expect("a name");
        drop(
            File::options()
                .write(true)
                .open(&self.gate)
                .expect("somebody waits at its other end"),
        );
    }
}

#[test]
fn a_node_that_is_starting_says_so_and_goes_on_with_the_same_connection() {
    let held = Held::new();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = port.expect("a free port").to_string();
    let builder = Node::builder().data(held.dir.path()).arg("--listen").arg(&address);
    let starting = thread::spawn(move || builder.start());
    let mut stream = None;
    wait_until("the port to be open", || {
        stream = TcpStream::connect(&address).ok();
        stream.is_some()
    });
    let mut stream = BufReader::new(stream.expect("a connection"));
    let (status, head, ready) = asked(&mut stream, "GET /readyz");
    assert_eq!((status, &ready["status"]), (503, &json!("starting")), "{ready}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(ready["start"]["stage"], "file", "{ready}");
    let (status, _, alive) = asked(&mut stream, "GET /livez");
    assert_eq!((status, &alive["status"]), (200, &json!("alive")));
    let (status, head, problem) = asked(&mut stream, "GET /v1/warehouses/main/skus/milk");
    assert_eq!((status, &problem["code"]), (503, &json!("starting")), "{problem}");
    assert!(head.contains("retry-after: 1") && head.contains("problem+json"), "{head}");
    let (status, _, about) = asked(&mut stream, "GET /v1/status");
    assert_eq!((status, &about["state"]), (200, &json!("starting")), "{about}");
    let told = shelfd()
        .args(["status", "--url", &format!("http://{address}")])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("starting") && told.contains("file"), "{told}");
    held.let_go();
    wait_until("the node to be ready", || asked(&mut stream, "GET /readyz").0 == 200);
    let (status, _, milk) = asked(&mut stream, "GET /v1/warehouses/main/skus/milk");
    assert_eq!((status, &milk["accounts"]["sellable"]), (200, &json!(5)), "{milk}");
    let mut node = starting.join().expect("it started");
    assert!(node.terminate().success());
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
