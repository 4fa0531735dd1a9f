//! `shelfd demo` is a working darkstore: what it promises to show is there, asked for over HTTP like anybody would.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::http::Http;
use crate::harness::node::{shelfd, wait_until};

/// A demo whose morning has been told.
struct Demo {
    child: Child,
    lines: BufReader<ChildStdout>,
    told: Value,
    http: Http,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        Demo::start_in(&std::env::temp_dir(), args)
    }

    /// With its throw-away store below a directory.
    fn start_in(temporary: &Path, args: &[&str]) -> Demo {
        let mut child = shelfd()
            .env("TMPDIR", temporary)
            .args(["demo", "--json", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let told = loop {
            let line = next(&mut lines).expect("the demo tells its morning before it ends");
            if line["told"] == "morning" {
                break line;
            }
        };
        let url = told["url"].as_str().expect("an address");
        let http = Http::new(url.strip_prefix("http://").expect("plain http"));
        Demo {
            child,
            lines,
            told,
            http,
        }
    }

    /// Everything of a list, of both warehouses.
    fn both(&self, path: &str) -> Vec<Value> {
        ["msk-07", "msk-12"]
            .iter()
            .flat_map(|warehouse| self.http.list(&format!("/v1/warehouses/{warehouse}/{path}")))
            .collect()
    }

    /// Asks it to stop, as Ctrl-C does, and waits until it has: the last line and the exit code.
    fn stop(mut self, signal: Signal) -> (Value, Option<i32>) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid above 0");
        kill_process(pid, signal).expect("the demo runs");
        self.end()
    }

    fn end(&mut self) -> (Value, Option<i32>) {
        let last = std::iter::from_fn(|| next(&mut self.lines)).last().unwrap_or_default();
        (last, self.child.wait().expect("our own child").code())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing behind; after an orderly end there is nothing to kill.
        if let (Ok(None), Some(pid)) = (
            self.child.try_wait(),
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw),
        ) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn next(lines: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
    }
}

#[test]
fn the_morning_shows_what_a_darkstore_has() {
    let demo = Demo::start(&["--seed", "1", "--for", "600"]);
    let verdicts = &demo.told["tally"]["verdicts"];
    for verdict in ["applied", "duplicate", "included_in_count", "recorded", "stale", "refused"] {
        assert!(verdicts[verdict].as_u64() > Some(0), "no {verdict} in {verdicts}");
    }
    assert!(verdicts["dead_letter"].is_null(), "{verdicts}");
    // Of the events, only the seven mistakes of each site are refused: everything else that the demo says is sound.
    assert_eq!(verdicts["refused"], 14, "{}", demo.told);
    assert!(
        demo.told["tally"]["found"].as_u64() > Some(0),
        "goods sold before they are booked are found"
    );

    for state in ["held", "confirmed", "cancelled"] {
        assert!(
            !demo.both(&format!("reservations?state={state}")).is_empty(),
            "no basket is {state}"
        );
    }
    wait_until("baskets to expire", || !demo.both("reservations?state=expired").is_empty());

    let skus = demo.both("skus");
    assert!(skus.len() >= 600, "{}", skus.len());
    for sku in &skus {
        let accounts = sku["accounts"].as_object().expect("seven accounts");
        assert_eq!(accounts.values().filter_map(Value::as_i64).sum::<i64>(), 0, "{sku}");
    }
    let some = |what: &str, holds: &dyn Fn(&Value) -> bool| assert!(skus.iter().any(holds), "no SKU {what}");
    some("has a count difference", &|sku| {
        !sku["last_count"].is_null() && sku["accounts"]["discrepancy"] != 0
    });
    some("has waste", &|sku| sku["accounts"]["waste"].as_i64() > Some(0));
    some("is on its way", &|sku| sku["accounts"]["in_transit"].as_i64() > Some(0));
    some("is in quarantine", &|sku| sku["accounts"]["quarantine"].as_i64() > Some(0));
    some("is claimed", &|sku| sku["claimed"].as_i64() > Some(0));
    let yesterday = jiff::Timestamp::now()
        .in_tz("Europe/Moscow")
        .expect("a zone")
        .date()
        .yesterday()
        .expect("a day")
        .to_string();
    some("has an expired lot", &|sku| {
        let lots = sku["lots"].as_array().expect("lots");
        lots.iter().any(|lot| {
            lot["expires_on"].as_str().is_some_and(|day| day <= yesterday.as_str()) && lot["sellable"].as_i64() > Some(0)
        })
    });

    assert!(!demo.both("ignored?why=duplicate").is_empty());
    assert!(!demo.http.list("/v1/drift").is_empty(), "the ERP drifts");
    assert_eq!(demo.http.list("/v1/skus").len(), 311);
    let (last, code) = demo.stop(Signal::TERM);
    assert_eq!((last["told"].as_str(), code), (Some("day"), Some(0)), "{last}");
}

#[test]
fn the_commands_that_it_names_to_try_next_work_as_they_stand() {
    let mut child = shelfd()
        .args(["demo", "--listen", "127.0.0.1:0", "--quiet", "--for", "600"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe was asked for")).lines();
    let told: Vec<String> = lines
        .by_ref()
        .map(|line| line.expect("UTF-8"))
        .take_while(|line| !line.contains("Ctrl-C ends it"))
        .collect();
    let begin = told
        .iter()
        .position(|line| line.starts_with("Try"))
        .expect("something to try");
    let tries: Vec<&str> = told[begin + 1..]
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(tries.len(), 3, "{told:?}");
    for line in tries {
        // A live view needs a terminal.
        let line = line.replace(" top", " top --once");
        let ran = Command::new("sh").args(["-c", &line]).output().expect("a shell");
        assert!(ran.status.success() && !ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid above 0");
    kill_process(pid, Signal::INT).expect("the demo runs");
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
}

#[test]
fn the_day_goes_on_and_ends_when_it_was_told_to() {
    let mut demo = Demo::start(&["--seed", "1", "--for", "2", "--rate", "50"]);
    let morning = demo.told["tally"]["events"].as_u64().expect("a number");
    let (last, code) = demo.end();
    assert_eq!(code, Some(0));
    assert!(last["tally"]["events"].as_u64() > Some(morning + 10), "{last}");
    assert!(last["store"].is_null(), "a store that is not kept is not named: {last}");
}

#[test]
fn ctrl_c_ends_the_demo_in_good_order_and_keeps_the_store_when_asked_to() {
    let demo = Demo::start(&["--keep", "--quiet"]);
    let (last, code) = demo.stop(Signal::INT);
    assert_eq!(code, Some(0), "{last}");
    let store = std::path::Path::new(last["store"].as_str().expect("a kept store is named"));
    assert!(store.is_dir(), "{}", store.display());
    std::fs::remove_dir_all(store.parent().expect("a directory of its own")).expect("ours to remove");
}

#[test]
fn kill_9_of_the_demo_takes_its_node_and_its_store_with_it() {
    let temporary = tempfile::tempdir().expect("a directory");
    let of_demo = || std::fs::read_dir(temporary.path()).expect("ours").count();
    let mut demo = Demo::start_in(temporary.path(), &["--seed", "1", "--for", "600"]);
    assert_eq!(of_demo(), 1);
    demo.http.get("/livez").expect_status(200);
    demo.child.kill().expect("the demo runs");
    demo.child.wait().expect("our own child");
    wait_until("the node to follow", || {
        demo.http.try_send("GET", "/livez", &[], Vec::new()).is_err()
    });
    wait_until("the throw-away store to be gone", || of_demo() == 0);
}
