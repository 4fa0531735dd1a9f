//! How the command line takes what a node answers: problems, pages, retries, verdicts. A scripted node of a few lines gives
//! the answers, so that each case is exact and none needs luck; the verbs meet a real node in other tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A request as it came: `GET /v1/skus?x=y`, and its body.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    body: String,
}

/// An answer: status, extra header lines, body.
struct Reply(u16, &'static str, String);

fn reply(status: u16, body: &Value) -> Reply {
    Reply(status, "", body.to_string())
}

/// A node that answers by a function of the request and of how many came before it.
struct Scripted {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    fn new(script: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        // The thread lives as long as the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let before = {
                    let mut log = log.lock().expect("no test panics while it holds the log");
                    log.push(request.clone());
                    log.len() - 1
                };
                let Reply(status, headers, body) = script(&request, before);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
                    body.len()
                );
                let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
            }
        });
        Scripted { url, seen }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shelfd"));
        command
            .env("SHELFD_URL", &self.url)
            .env("TZ", "UTC")
            .env_remove("SHELFD_WAREHOUSE")
            .env_remove("SHELFD_TOKEN");
        command.args(words).output().expect("the binary starts")
    }

    fn lines(&self) -> Vec<String> {
        self.seen
            .lock()
            .expect("no test panics while it holds the log")
            .iter()
            .map(|request| request.line.clone())
            .collect()
    }

    fn body(&self, at: usize) -> String {
        self.seen.lock().expect("no test panics while it holds the log")[at]
            .body
            .clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request {
        line,
        body: String::from_utf8(body).ok()?,
    })
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code, not a signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn problem(status: u16, code: &str, detail: &str) -> Reply {
    reply(
        status,
        &json!({"type": format!("/problems/{code}"), "title": code, "status": status, "detail": detail, "code": code}),
    )
}

#[test]
fn an_overloaded_node_is_asked_again_with_the_same_event() {
    let node = Scripted::new(|_, before| match before {
        0 => Reply(
            503,
            "retry-after: 0\r\n",
            json!({"code": "overloaded", "detail": "full", "status": 503}).to_string(),
        ),
        _ => reply(
            200,
            &json!({"id": "x", "source": "console", "verdict": "applied", "seq": 1, "version": 1}),
        ),
    });
    let output = node.run(&["events", "receipt", "milk", "24"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(node.lines(), ["POST /v1/events", "POST /v1/events"]);
    assert_eq!(
        node.body(0),
        node.body(1),
        "the id is the same, so that the node knows the event again"
    );
}

#[test]
fn a_refusal_exits_65_with_what_to_do_and_is_the_nodes_own_json_for_programs() {
    let node = Scripted::new(|_, _| problem(409, "insufficient_stock", "only 2 of milk are available"));
    let output = node.run(&["reserve", "hold", "o-1", "milk=3"]);
    assert_eq!(code(&output), 65);
    assert!(
        stderr(&output).contains("only 2 of milk are available") && stderr(&output).contains("--allow-partial"),
        "{}",
        stderr(&output)
    );
    let output = node.run(&["reserve", "hold", "o-1", "milk=3", "--json"]);
    let told: Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
    assert_eq!((code(&output), &told["code"]), (65, &json!("insufficient_stock")));
}

#[test]
fn a_list_is_followed_to_its_end_and_printed_as_it_came() {
    let node = Scripted::new(|request, _| {
        if request.line.contains("cursor=") {
            Reply(200, "", r#"{"items":[{"z":3,"a":"three"}],"next":null}"#.to_owned())
        } else {
            Reply(
                200,
                "",
                r#"{"items":[{"z":1,"a":"one"},{"z":2,"a":"two"}],"next":"c 1&"}"#.to_owned(),
            )
        }
    });
    let output = node.run(&["skus", "list", "--json"]);
    assert_eq!(
        stdout(&output),
        "{\"z\":1,\"a\":\"one\"}\n{\"z\":2,\"a\":\"two\"}\n{\"z\":3,\"a\":\"three\"}\n"
    );
    assert_eq!(
        node.lines(),
        ["GET /v1/skus?limit=1000", "GET /v1/skus?limit=1000&cursor=c+1%26"]
    );
    let output = node.run(&["skus", "list", "--json", "--limit", "1"]);
    assert_eq!(stdout(&output), "{\"z\":1,\"a\":\"one\"}\n");
    assert!(
        stderr(&output).contains("and more"),
        "a list that was cut says so: {}",
        stderr(&output)
    );
}

#[test]
fn ids_of_any_characters_reach_the_node_as_one_segment() {
    let node = Scripted::new(|_, _| {
        reply(
            200,
            &json!({"warehouse": "w 1", "sku": "a?b", "accounts": {"sellable": 4}, "lots": []}),
        )
    });
    let output = node.run(&["stock", "a?b", "-w", "w 1", "--as-of", "2026-11-22T14:05:00+03:00"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        node.lines(),
        ["GET /v1/warehouses/w%201/skus/a%3Fb?as_of=2026-11-22T14%3A05%3A00%2B03%3A00"]
    );
}

#[test]
fn a_ledger_explains_the_balance_line_by_line() {
    let node = Scripted::new(|_, _| {
        reply(
            200,
            &json!({"items": [
                {"at": "2026-11-22T10:10:00Z", "what": "sale", "verdict": "applied", "source": "pos/2", "id": "s1", "document": "881",
                 "moves": [{"from": "discrepancy", "to": "sellable", "lot": "", "quantity": 2}, {"from": "sellable", "to": "demand", "lot": "", "quantity": 5}],
                 "accounts": {"sellable": 0}, "claimed": 0, "owed": 2},
                {"at": "2026-11-22T09:00:00Z", "what": "receipt", "verdict": "applied", "source": "wms/7", "id": "r1",
                 "moves": [{"from": "supply", "to": "sellable", "lot": "L1", "quantity": 3}], "accounts": {"sellable": 3}, "claimed": 0, "owed": 0}],
                "next": null, "opening": null}),
        )
    });
    let told = stdout(&node.run(&["ledger", "milk"]));
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["time", "what", "change", "balance"], "{told}");
    assert_eq!(
        lines[1][..7],
        ["2026-11-22", "10:10:00", "sale", "-3", "0", "0", "2"],
        "{told}"
    );
    assert_eq!(
        lines[2][..7],
        ["2026-11-22", "09:00:00", "receipt", "+3", "3", "0", "0"],
        "{told}"
    );
    assert!(
        told.contains("discrepancy → sellable 2; sellable → demand 5") && told.contains("supply → sellable 3 (lot L1)"),
        "{told}"
    );
}

#[test]
fn a_file_gets_a_verdict_for_each_row_and_65_when_one_was_refused() {
    let node = Scripted::new(|request, _| {
        let verdicts: Vec<Value> = request
            .body
            .lines()
            .map(|line| match serde_json::from_str::<Value>(line) {
                Ok(event) => json!({"id": event["id"], "verdict": "applied"}),
                Err(_) => {
                    json!({"verdict": "refused", "problem": {"code": "malformed_json", "status": 400, "detail": "no JSON"}})
                }
            })
            .collect();
        reply(207, &json!({"verdicts": verdicts}))
    });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("today.ndjson");
    std::fs::write(&file, "{\"id\":1}\n\nrotten\n{\"id\":3}\n{\"id\":4}\n").expect("written");
    let output = node.run(&["events", "send", file.to_str().expect("UTF-8"), "--batch", "2"]);
    assert_eq!(code(&output), 65);
    assert!(
        stdout(&output).contains("4 events: 3 applied, 1 refused"),
        "{}",
        stdout(&output)
    );
    let refused = stdout(&output)
        .lines()
        .nth(1)
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(
        refused.expect("a row")[..3],
        ["3", "refused", "malformed_json"],
        "the row is named by its line"
    );
    assert_eq!(node.lines().len(), 2, "two batches of two rows");
}

#[test]
fn fewer_verdicts_than_rows_are_never_taken_for_success() {
    let node = Scripted::new(|_, _| reply(200, &json!({"verdicts": []})));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("today.json");
    std::fs::write(&file, "[{\"id\":1}]").expect("written");
    let output = node.run(&["events", "send", file.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), 69);
    assert!(stderr(&output).contains("0 verdicts for 1 events"), "{}", stderr(&output));
}

#[test]
fn a_node_that_answers_but_is_not_ready_exits_75() {
    let node = Scripted::new(|request, _| {
        if request.line.ends_with("/readyz") {
            reply(503, &json!({"status": "starting", "reason": "the journal is being read"}))
        } else {
            reply(200, &json!({"node": "n1", "state": "starting", "uptime_s": 3}))
        }
    });
    let output = node.run(&["status"]);
    assert_eq!(code(&output), 75);
    assert!(
        stdout(&output).contains("n1 is starting") && stdout(&output).contains("not ready: starting: the journal is being read")
    );
}

#[test]
fn something_else_at_the_address_is_not_taken_for_a_node() {
    let node = Scripted::new(|_, _| Reply(404, "", "<html>nginx</html>".to_owned()));
    let output = node.run(&["stock", "milk"]);
    assert_eq!(code(&output), 69);
    assert!(
        stderr(&output).contains("unexpected answer 404") && stderr(&output).contains("shelfd node"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let node = Scripted::new(|_, _| {
        reply(
            200,
            &json!({"warehouse": "main", "sku": "milk", "accounts": {"sellable": -1}, "flags": ["count_due"]}),
        )
    });
    assert!(!stdout(&node.run(&["stock", "milk"])).contains('\x1b'));
    assert!(stdout(&node.run(&["stock", "milk", "--color", "always"])).contains('\x1b'));
}

#[test]
fn changes_are_followed_from_the_cursor_and_filtered() {
    let node = Scripted::new(|_, _| {
        let change = |sku: &str| json!({"warehouse": "main", "sku": sku, "what": "sale", "accounts": {"sellable": 3}});
        let body = format!(": beat\n\nid: n.2\ndata: {}\n\n", change("milk"));
        Reply(200, "content-type: text/event-stream\r\n", body)
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_shelfd"))
        .args(["events", "follow", "--sku", "milk", "--since", "n.0", "--url", &node.url])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut first)
        .expect("a line");
    child.kill().expect("it runs until it is stopped");
    child.wait().expect("it ends");
    assert!(first.contains("milk") && first.contains("sellable 3"), "{first}");
    assert_eq!(node.lines()[0], "GET /v1/changes?since=n.0&sku=milk");
}

/// Runs it on a terminal, as far as it can tell; what the terminal would show.
fn on_a_terminal(scripted: &Scripted, words: &str, columns: &str) -> String {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{} {words}", env!("CARGO_BIN_EXE_shelfd")))
        .arg("/dev/null")
        .env("SHELFD_URL", &scripted.url)
        .env("COLUMNS", columns)
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script is part of Debian");
    assert_eq!(code(&output), 0, "{output:?}");
    stdout(&output).replace('\r', "")
}

#[test]
fn a_table_fits_its_terminal_and_is_whole_in_a_pipe() {
    let detail = "12 of milk were to be taken away, and only 5 are there; ".repeat(4);
    let item = json!({"recorded_at": "2026-11-22T09:14:03Z", "at": "2026-11-22T09:14:03Z", "verdict": "refused", "what": "adjustment",
        "sku": "4607004892110", "source": "import/online-retail", "id": "dfa0713a16425ff464989c58db842a03-1", "problem": {"detail": detail}});
    let page = json!({"items": vec![item; 201], "next": null});
    let scripted = Scripted::new(move |_, _| reply(200, &page));
    for columns in [100, 160] {
        let shown = on_a_terminal(&scripted, "ignored", &columns.to_string());
        let widest = shown.lines().map(|line| line.chars().count()).max().expect("lines");
        assert!(widest <= columns, "{widest} characters in a line of {columns}:\n{shown}");
        let notes: Vec<_> = shown.lines().filter(|line| line.starts_with("… and more")).collect();
        assert_eq!(notes.len(), 1, "the note stands in a line of its own:\n{shown}");
        assert!(shown.ends_with('\n'));
    }
    let piped = scripted.run(&["ignored"]);
    assert!(
        stdout(&piped)
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains(detail.trim_end())),
        "{piped:?}"
    );
}
