//! A clock that lies: a day ahead, a day back, backwards under load, both turns of summer time, a leap day, 1970. Deadlines, expiry
//! dates, remembered ids and the ledger stay right, or the node says why it does not start.
//!
//! The real binary runs under Debian's libfaketime, which answers for the system's clock and leaves the monotonic one alone. A clock
//! that is handed in was rejected here: the simulator has one, and it cannot show that the binary asks the right clock for what it
//! waits for. Each test first sees that the node believes the lie; where libfaketime is missing they say so.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::data::not_checked;
use crate::harness::events::{check_invariants, event, noon_config, noon_date};
use crate::harness::node::{Node, NodeBuilder, wait_until};
use crate::harness::torture;

const DAY_S: i64 = 86_400;
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The clock of a node, which a test can turn while the node runs.
struct Clock {
    dir: TempDir,
    library: &'static str,
}

impl Clock {
    /// A clock that is right; `None`, said loudly, where nothing can make it lie.
    fn new() -> Option<Clock> {
        let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
            not_checked("a clock that lies (libfaketime is missing: apt-get install -y --no-install-recommends faketime)");
            return None;
        };
        let clock = Clock {
            dir: TempDir::new().expect("a directory"),
            library,
        };
        clock.ahead(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clock")
    }

    /// Turns it so many seconds ahead of the true time, or behind it.
    fn ahead(&self, seconds: i64) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        // At once, whoever reads it meanwhile.
        std::fs::rename(new, self.file()).expect("the same directory");
    }

    /// Turns it to a time, from which it goes on.
    fn at(&self, time: &str) {
        let time: Timestamp = time.parse().expect("a time");
        self.ahead(time.as_second() - Timestamp::now().as_second());
    }

    /// A node that reads this clock, every time anew.
    fn node(&self, config: &str) -> NodeBuilder {
        let file = self.file();
        Node::builder()
            .config(config)
            .env("LD_PRELOAD", self.library)
            .env("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path in UTF-8"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
    }
}

/// Baskets may live for days.
const LONG_LIVES: &str = "[warehouse.channels.default]\nmax_ttl_s = 1000000\n";

/// A node whose warehouse `main` lies in this zone.
fn zone(zone: &str) -> String {
    format!("[[warehouse]]\nid = \"main\"\ntime_zone = \"{zone}\"\n{LONG_LIVES}")
}

/// A node whose warehouse `main` has noon now.
fn noon() -> String {
    format!("{}{LONG_LIVES}", noon_config())
}

fn sku(node: &Node, sku: &str) -> Value {
    let page = node.get(&format!("/v1/warehouses/main/skus/{sku}")).expect_status(200).json();
    check_invariants(&page);
    page
}

fn available(node: &Node, of: &str) -> i64 {
    sku(node, of)["available"]["default"].as_i64().expect("units")
}

fn receive(node: &Node, id: &str, sku: &str, quantity: i64, lot: Value) {
    let mut event = event(id, "receipt", sku, quantity);
    if !lot.is_null() {
        event["data"]["lot"] = lot;
    }
    node.post("/v1/events", &event).expect_status(200);
}

fn hold(node: &Node, id: &str, sku: &str, ttl_s: i64) -> Value {
    let body = json!({"lines": [{"sku": sku, "quantity": 1}], "ttl_s": ttl_s});
    node.put(&reservation(id), &body).expect_status(201).json()
}

fn reservation(id: &str) -> String {
    format!("/v1/warehouses/main/reservations/{id}")
}

fn state(node: &Node, id: &str) -> String {
    let basket = node.get(&reservation(id)).expect_status(200).json();
    basket["state"].as_str().expect("a state").to_owned()
}

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|time| time.parse().ok())
        .unwrap_or_else(|| panic!("no time: {value}"))
}

/// When each fact of a SKU was recorded, newest first; they never go back.
fn recorded(node: &Node, sku: &str) -> Vec<Timestamp> {
    let facts = node.list(&format!("/v1/warehouses/main/skus/{sku}/ledger?limit=1000"));
    let times: Vec<_> = facts.iter().map(|fact| time(&fact["recorded_at"])).collect();
    for pair in times.windows(2) {
        assert!(pair[0] >= pair[1], "the ledger's time went back: {pair:?}");
    }
    times
}

/// The node believes this clock: within two minutes, which no slow machine takes and no lie here is as small as.
#[track_caller]
fn believes(node: &Node, seconds_ahead: i64) {
    let id = format!("believe-{}", Timestamp::now().as_nanosecond());
    receive(node, &id, "clock", 1, Value::Null);
    let ahead = recorded(node, "clock")[0].as_second() - Timestamp::now().as_second();
    assert!(
        (ahead - seconds_ahead).abs() < 120,
        "the node is {ahead} s ahead, not {seconds_ahead}: does the lie not reach it?"
    );
}

fn duplicate(node: &Node, id: &str, sku: &str, quantity: i64) {
    let again = node
        .post("/v1/events", &event(id, "receipt", sku, quantity))
        .expect_status(200)
        .json();
    assert_eq!(again["verdict"], "duplicate", "{again}");
}

#[test]
fn a_clock_a_day_ahead_ends_what_is_due_and_one_set_back_again_takes_nothing_back() {
    let Some(clock) = Clock::new() else { return };
    let mut node = clock.node(&noon()).start();
    believes(&node, 0);
    receive(&node, "r1", "milk", 10, Value::Null);
    receive(&node, "r2", "cream", 4, json!({"id": "L1", "expires_on": noon_date(0)}));
    receive(&node, "r3", "cream", 5, json!({"id": "L2", "expires_on": noon_date(1)}));
    hold(&node, "hour", "milk", 3_600);
    hold(&node, "days", "milk", 3 * DAY_S);
    assert_eq!(available(&node, "milk"), 8);

    clock.ahead(DAY_S);
    believes(&node, DAY_S);
    assert_eq!(available(&node, "milk"), 9, "the basket of an hour is over at that instant");
    wait_until("the expiry to be written", || state(&node, "hour") == "expired");
    assert_eq!(state(&node, "days"), "held");
    assert_eq!(available(&node, "cream"), 5, "the lot of the day before is not promised");
    duplicate(&node, "r1", "milk", 10);

    // The clock was wrong, and is set right: back by a day.
    clock.ahead(0);
    believes(&node, DAY_S);
    assert_eq!(state(&node, "hour"), "expired", "final_ends");
    assert_eq!(available(&node, "cream"), 5);
    duplicate(&node, "r1", "milk", 10);
    lives_as_long_as_promised(&node, "milk");
    let behind = node.get("/v1/status").expect_status(200).json()["clock_behind_ms"].as_i64();
    assert!(behind > Some((DAY_S - 120) * 1_000), "the status tells: {behind:?}");

    // A restart does not go back either, after SIGTERM and after `kill -9`.
    assert!(node.terminate().success(), "{}", node.log());
    node.restart();
    believes(&node, DAY_S);
    duplicate(&node, "r1", "milk", 10);
    node.kill();
    node.restart();
    believes(&node, DAY_S);
    assert_eq!(
        (state(&node, "hour"), state(&node, "days")),
        ("expired".into(), "held".into())
    );
    lives_as_long_as_promised(&node, "milk");
    recorded(&node, "milk");
}

/// A basket of two seconds is over after two seconds of real time, whatever the wall clock says: neither before nor never.
fn lives_as_long_as_promised(node: &Node, sku: &str) {
    let id = format!("short-{}", Timestamp::now().as_nanosecond());
    let (before, begun) = (available(node, sku), Instant::now());
    let basket = hold(node, &id, sku, 2);
    let lasts = time(&basket["expires_at"]).duration_since(time(&basket["created_at"]));
    assert_eq!(lasts.as_millis(), 2_000, "{basket}");
    wait_until("the basket's end", || available(node, sku) == before);
    assert!(
        begun.elapsed() >= Duration::from_millis(1_990),
        "over after {:?}",
        begun.elapsed()
    );
    wait_until("its fact", || state(node, &id) == "expired");
}

#[test]
fn a_clock_that_is_set_back_under_load_stops_nothing_and_no_stamp_goes_back() {
    let Some(clock) = Clock::new() else { return };
    let node = clock.node(&zone("Europe/Moscow")).start();
    believes(&node, 0);
    let (done, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sold: i64 = std::thread::scope(|scope| {
        let work = |till: usize| {
            let (http, done, told) = (node.client(), &done, &told);
            scope.spawn(move || {
                let mut sold = 0;
                while !done.load(Ordering::Relaxed) {
                    let sale = event(&format!("s{till}.{sold}"), "sale", "tea", 1);
                    let verdict = http.post("/v1/events", &sale).expect_status(200).json();
                    assert_eq!(verdict["verdict"], "applied", "{verdict}");
                    sold += 1;
                    told.fetch_add(1, Ordering::Relaxed);
                }
                sold
            })
        };
        let tills: Vec<_> = (0..8).map(work).collect();
        // Back and forth, by less and by more, and to before 1970.
        for ahead in [-60, -DAY_S, 0, -3_600, -60 * 365 * DAY_S, 30, -30] {
            clock.ahead(ahead);
            let from = told.load(Ordering::Relaxed);
            wait_until("sales under that clock", || told.load(Ordering::Relaxed) > from + 40);
            // What waits for nothing to happen waits by the monotonic clock: neither for ever nor not at all.
            let cursor = node.get("/v1/changes?limit=1").expect_status(200).json()["next"].clone();
            assert!(cursor.is_string(), "{cursor}");
        }
        let begun = Instant::now();
        done.store(true, Ordering::Relaxed);
        let sold = tills.into_iter().map(|till| till.join().expect("a till")).sum();
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the last sales took {:?}",
            begun.elapsed()
        );
        sold
    });
    assert_eq!(sku(&node, "tea")["accounts"]["demand"], sold);
    let times = recorded(&node, "tea");
    assert_eq!(times.len() as i64, sold, "each sale is one fact");
    receive(&node, "r", "tea", sold + 5, Value::Null);
    lives_as_long_as_promised(&node, "tea");
    waits_by_the_monotonic_clock(&clock, &node);
}

/// A long poll of two seconds takes two seconds while the wall clock jumps back and ahead.
fn waits_by_the_monotonic_clock(clock: &Clock, node: &Node) {
    let newest = node.get("/v1/changes?limit=1000").expect_status(200).json();
    let mut cursor = newest["next"].clone();
    loop {
        let since = percent_encoding::utf8_percent_encode(cursor.as_str().expect("a cursor"), percent_encoding::NON_ALPHANUMERIC);
        let page = node
            .get(&format!("/v1/changes?limit=1000&since={since}"))
            .expect_status(200)
            .json();
        cursor = page["next"].clone();
        if page["items"].as_array().is_none_or(Vec::is_empty) {
            break;
        }
    }
    for ahead in [-DAY_S, -30] {
        let since = percent_encoding::utf8_percent_encode(cursor.as_str().expect("a cursor"), percent_encoding::NON_ALPHANUMERIC);
        let begun = Instant::now();
        let path = format!("/v1/changes?wait=2s&since={since}");
        std::thread::scope(|scope| {
            let poll = scope.spawn(|| node.get(&path).expect_status(200));
            clock.ahead(ahead);
            poll.join().expect("an answer");
        });
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(1_990) && took < Duration::from_secs(30),
            "a wait of 2 s took {took:?}"
        );
    }
}

/// The end of a day in a zone: the first instant at which a lot of that day may not be promised.
struct Midnight {
    zone: &'static str,
    day: &'static str,
    ends: &'static str,
}

/// Where summer time begins or ends at midnight itself, the day is longer or shorter than the clock on the wall says.
const MIDNIGHTS: [Midnight; 6] = [
    // At 24:00 the clock goes back to 23:00: that hour is lived twice, and both belong to the day.
    Midnight {
        zone: "Asia/Beirut",
        day: "2026-10-24",
        ends: "2026-10-24T22:00:00Z",
    },
    // 00:00 does not exist: the day ends where 01:00 begins.
    Midnight {
        zone: "Asia/Beirut",
        day: "2027-03-27",
        ends: "2027-03-27T22:00:00Z",
    },
    // 00:00 comes twice: the first one ends the day before.
    Midnight {
        zone: "America/Havana",
        day: "2026-10-31",
        ends: "2026-11-01T04:00:00Z",
    },
    // A day of 23 hours, and one of 25.
    Midnight {
        zone: "Europe/Berlin",
        day: "2027-03-28",
        ends: "2027-03-28T22:00:00Z",
    },
    Midnight {
        zone: "Europe/Berlin",
        day: "2027-10-31",
        ends: "2027-10-31T23:00:00Z",
    },
    Midnight {
        zone: "UTC",
        day: "2028-02-29",
        ends: "2028-03-01T00:00:00Z",
    },
];

#[test]
fn a_lot_is_promised_through_its_last_day_and_not_after_it_where_summer_time_turns_and_on_a_leap_day() {
    let Some(clock) = Clock::new() else { return };
    for midnight in MIDNIGHTS {
        let ends: Timestamp = midnight.ends.parse().expect("a time");
        let near = |minutes: i64| (ends + jiff::Span::new().minutes(minutes)).to_string();
        let what = format!("{} in {}", midnight.day, midnight.zone);
        clock.at(&near(-200));
        let node = clock.node(&zone(midnight.zone)).start();
        receive(&node, "r1", "cream", 4, json!({"id": "L1", "expires_on": midnight.day}));
        let first = recorded(&node, "cream")[0];
        assert!(
            (first.as_second() - ends.as_second()).abs() < 13_000,
            "the lie does not reach the node"
        );
        // A basket of three hours and ten minutes: as long as that, whatever the wall clock does in between.
        let basket = hold(&node, "o-1", "cream", 11_400);
        let lasts = time(&basket["expires_at"]).duration_since(time(&basket["created_at"]));
        assert_eq!(lasts.as_secs(), 11_400, "{what}: {basket}");
        for minutes in [-90, -30, -5] {
            clock.at(&near(minutes));
            assert_eq!(
                available(&node, "cream"),
                if minutes == -5 { 4 } else { 3 },
                "{what}, {minutes} minutes before its end"
            );
            receive(&node, &format!("c{minutes}"), "clock", 1, Value::Null);
            let now = recorded(&node, "clock")[0];
            assert!(now < ends && now >= first, "{what}: asked at {now}");
        }
        clock.at(&near(0));
        assert_eq!(available(&node, "cream"), 0, "{what} is over");
        wait_until("its fact", || {
            let facts = node.list("/v1/warehouses/main/skus/cream/ledger");
            let turned = facts.iter().find(|fact| fact["what"] == "day_turned");
            turned.is_some_and(|fact| time(&fact["recorded_at"]) >= ends && fact["available"]["default"] == 0)
        });
        recorded(&node, "cream");
    }
    torture::report("clocks", MIDNIGHTS.len() as u64, 0);
}

#[test]
fn days_of_shelf_life_are_counted_over_a_leap_day_and_a_date_that_does_not_exist_is_refused() {
    let Some(clock) = Clock::new() else { return };
    for (now, days, date) in [
        ("2028-02-28T12:00:00Z", 1, "2028-02-29"),
        ("2028-02-28T12:00:00Z", 2, "2028-03-01"),
        ("2028-02-29T12:00:00Z", 365, "2029-02-28"),
        ("2027-02-28T12:00:00Z", 1, "2027-03-01"),
        ("2100-02-28T12:00:00Z", 1, "2100-03-01"),
    ] {
        clock.at(now);
        let node = clock.node(&zone("UTC")).start();
        receive(&node, "r1", "milk", 5, Value::Null);
        receive(&node, "r2", "cream", 5, json!({"id": "L1", "expires_on": date}));
        let body = json!({"lines": [{"sku": "cream", "quantity": 1, "min_shelf_life_days": days}]});
        let basket = node.put(&reservation("o-1"), &body).expect_status(201).json();
        assert_eq!(basket["lines"][0]["good_until"], date, "{days} days from {now}");
        let more = json!({"lines": [{"sku": "cream", "quantity": 1, "min_shelf_life_days": days + 1}]});
        node.put(&reservation("o-2"), &more).expect_problem(409, "insufficient_stock");
        for never in ["2027-02-29", "2100-02-29", "2028-02-30"] {
            let mut event = event("never", "receipt", "milk", 1);
            event["data"]["lot"] = json!({"id": "L2", "expires_on": never});
            node.post("/v1/events", &event).expect_problem(422, "invalid_value");
        }
    }
}

#[test]
fn an_id_is_known_for_its_window_by_the_nodes_clock_and_what_is_older_is_refused_and_never_done_twice() {
    let Some(clock) = Clock::new() else { return };
    let node = clock.node(&zone("UTC")).start();
    let mut receipt = event("r1", "receipt", "milk", 10);
    receipt["time"] = json!(Timestamp::now().to_string());
    node.post("/v1/events", &receipt).expect_status(200);
    for day in [1, 3, 6] {
        clock.ahead(day * DAY_S);
        let again = node.post("/v1/events", &receipt).expect_status(200).json();
        assert_eq!(again["verdict"], "duplicate", "after {day} days: {again}");
    }
    // Past the window it may still be known, and when it is not its own time says that nobody could know it. An event as old that
    // was never told is refused for that time. Set right again, the node's own clock has been there, and goes on from there.
    let old = |id: &str| {
        let mut old = event(id, "receipt", "milk", 10);
        old["time"] = receipt["time"].clone();
        old
    };
    for ahead in [8 * DAY_S, 0] {
        clock.ahead(ahead);
        let again = node.post("/v1/events", &receipt);
        assert!(
            again.code() == "time_out_of_range" || again.json()["verdict"] == "duplicate",
            "{}",
            again.text()
        );
        node.post("/v1/events", &old("r2")).expect_problem(422, "time_out_of_range");
    }
    assert_eq!(sku(&node, "milk")["accounts"]["sellable"], 10);
    let mut count = event("c1", "count", "milk", 7);
    count["time"] = json!(Timestamp::now().to_string());
    let refused = node.post("/v1/events", &count).expect_problem(422, "time_out_of_range");
    assert!(
        refused.text().contains("2"),
        "it says which times it takes: {}",
        refused.text()
    );
}

#[test]
fn a_node_that_starts_in_1970_refuses_an_empty_store_and_goes_on_from_the_newest_time_of_one_that_has_any() {
    let Some(clock) = Clock::new() else { return };
    clock.at("1970-01-01T00:00:30Z");
    let ran = clock.node(&zone("UTC")).start_expecting_failure();
    assert_eq!(ran.code, Some(75), "try again when the clock is set: {ran:?}");
    assert!(ran.stderr.contains("1970-01-01") && ran.stderr.contains("clock"), "{ran:?}");

    clock.ahead(0);
    let mut node = clock.node(&zone("UTC")).start();
    receive(&node, "r1", "milk", 10, Value::Null);
    hold(&node, "days", "milk", 3 * DAY_S);
    let before = recorded(&node, "milk")[0];
    node.kill();
    clock.at("1970-01-01T00:00:30Z");
    node.restart();
    duplicate(&node, "r1", "milk", 10);
    lives_as_long_as_promised(&node, "milk");
    assert!(recorded(&node, "milk")[0] >= before);
    believes(&node, 0);
    assert_eq!(state(&node, "days"), "held");
    let behind = node.get("/v1/status").expect_status(200).json()["clock_behind_ms"].as_i64();
    assert!(behind > Some(50 * 365 * DAY_S * 1_000), "the status tells: {behind:?}");
    assert!(node.log().contains("clock"), "and the log: {}", node.log());
    // The network has told the machine the time.
    clock.ahead(60);
    believes(&node, 60);
    duplicate(&node, "r1", "milk", 10);
    assert_eq!(state(&node, "days"), "held");
    assert_eq!(available(&node, "milk"), 9);
    recorded(&node, "milk");
}
