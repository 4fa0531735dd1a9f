//! Dead letters, made by a defect and settled by the node that comes after it: over HTTP and on the command line.
//!
//! The letters are real. A node with a planted defect, built here from the product's own parts, takes the events over HTTP and
//! dies of some; then it stops, and the real binary goes on with its data directory, as after an upgrade. A switch in the binary
//! that plants the fault was rejected: it would be shipped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::events::event;
use crate::harness::http::Http;
use crate::harness::node::{Node, Ran, shelfd};
use serde_json::{Value, json};
use shelfd::actors::node::BasketCommand;
use shelfd::actors::warehouse::judge;
use shelfd::app::House;
use shelfd::config::Layers;
use shelfd::domain::event::Event;
use shelfd::domain::refusal::Refusal;
use shelfd::domain::reservation::{BasketDecision, Reservation, Stocks};
use shelfd::domain::stock::{self, Context, Decision, Stock, Voided};
use shelfd::domain::warehouse::Warehouse;
use shelfd::http::{Entrance, HttpOptions, Limits, serve};
use shelfd::ingress::admission::Valve;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The defect: an event whose document begins with `poison` kills whoever judges it, and says so by that name.
fn defective(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if let Some(document) = event.origin.document.as_deref().filter(|name| name.starts_with("poison")) {
        panic!("a planted defect met {document}");
    }
    stock::decide(stock, event, voided, ctx)
}

/// Its like for baskets: one whose id begins with `poison` kills whoever holds it.
fn defective_in_baskets(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    if let BasketCommand::Hold(request) = command
        && request.id.as_str().starts_with("poison")
    {
        panic!("a planted defect met basket {}", request.id);
    }
    judge(existing, command, site, stocks, ctx)
}

/// A node with the defect, in this process; it answers over HTTP like any other.
struct Defective {
    runtime: Runtime,
    house: House,
    stop: watch::Sender<bool>,
    address: String,
}

impl Defective {
    fn start(data: &Path) -> Defective {
        let config = Layers::defaults()
            .flag("the test", "node.data_dir", Some(data.display().to_string()))
            .load()
            .expect("the embedded defaults are valid");
        let (runtime, opening) = (Runtime::new().expect("a runtime"), Arc::default());
        let (house, listener) = runtime.block_on(async {
            let house = House::open(&config, &opening, defective, defective_in_baskets)
                .await
                .expect("the store opens");
            (house, TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
        });
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, stopping) = watch::channel(false);
        let limits = Limits {
            max_body_bytes: 1 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_connections: 100,
            finish_within: Duration::from_secs(5),
        };
        let options = HttpOptions {
            max_rows: 100,
            valve: Valve::new(1_000, 1 << 22),
            others: Arc::new(|| serde_json::Value::Null),
            metrics: Arc::new(String::new),
        };
        let entrance = Entrance::new("defective", limits, opening);
        entrance.open(house.node.clone(), options, stopping.clone());
        runtime.spawn(serve(listener, entrance, stopping));
        Defective {
            runtime,
            house,
            stop,
            address,
        }
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.runtime.block_on(self.house.close());
    }
}

fn poisoned(id: &str, sku: &str, quantity: i64, document: &str) -> Value {
    let mut event = event(id, "sale", sku, quantity);
    event["data"]["document"] = json!(document);
    event
}

/// Four events that the defect dies of: three of one cause (two of milk, one of tea), and one of another.
fn letters() -> [Value; 4] {
    [
        poisoned("p1", "milk", 1, "poison-a"),
        poisoned("p2", "tea", 2, "poison-a"),
        poisoned("p3", "milk", 3, "poison-b"),
        poisoned("p4", "milk", 4, "poison-a"),
    ]
}

/// Takes 20 of milk and of tea, then the letters; each kills, and costs its neighbours nothing.
fn take_letters(http: &Http) {
    for sku in ["milk", "tea"] {
        http.post("/v1/events", &event(&format!("r-{sku}"), "receipt", sku, 20))
            .expect_status(200);
    }
    for letter in letters() {
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
        let answer = http.send("POST", "/v1/events", &headers, letter.to_string().into_bytes());
        answer.expect_problem(500, "internal_error");
    }
}

/// The real binary on a store with the four letters, and their ids in the order in which they came.
fn mended() -> (Node, [u64; 4], TempDir) {
    let dir = TempDir::new().expect("a directory");
    let data = dir.path().join("data");
    let defective = Defective::start(&data);
    take_letters(&Http::new(&defective.address));
    defective.stop();
    let node = Node::builder().data(&data).start();
    let mut ids: Vec<u64> = listed(&node, "").iter().map(id_of).collect();
    ids.reverse();
    (node, ids.try_into().expect("four letters"), dir)
}

fn listed(http: &Http, query: &str) -> Vec<Value> {
    http.list(&format!("/v1/dead-letters?{query}"))
}

fn id_of(letter: &Value) -> u64 {
    letter["id"].as_u64().unwrap_or_else(|| panic!("no id: {letter}"))
}

fn state_of(http: &Http, id: u64) -> String {
    let letters = listed(http, "");
    let letter = letters.iter().find(|letter| id_of(letter) == id);
    letter.expect("the letter is listed")["state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

fn sellable(http: &Http, sku: &str) -> i64 {
    let page = http.get(&format!("/v1/warehouses/main/skus/{sku}")).expect_status(200).json();
    page["accounts"]["sellable"].as_i64().expect("units")
}

fn act(http: &Http, id: u64, verb: &str, body: &Value) -> crate::harness::http::Answer {
    http.post(&format!("/v1/dead-letters/{id}/{verb}"), body)
}

#[test]
fn a_dead_letter_is_listed_with_its_event_its_error_and_its_trace_also_after_a_restart() {
    let (mut node, ids, _dir) = mended();
    let newest_first = listed(&node, "");
    assert_eq!(newest_first.iter().map(id_of).rev().collect::<Vec<_>>(), ids);
    for (letter, sent) in newest_first.iter().rev().zip(letters()) {
        assert_eq!((&letter["state"], &letter["warehouse"]), (&json!("open"), &json!("main")));
        assert_eq!(letter["sku"], sent["data"]["sku"], "{letter}");
        let document = sent["data"]["document"].as_str().expect("a document");
        let error = letter["error"].as_str().unwrap_or_default();
        assert!(error.contains(&format!("a planted defect met {document}")), "{letter}");
        assert_eq!(letter["trace_id"], TRACE, "{letter}");
        for field in ["id", "source", "type"] {
            assert_eq!(letter["event"][field], sent[field], "{letter}");
        }
        assert_eq!(letter["event"]["data"]["quantity"], sent["data"]["quantity"], "{letter}");
    }
    let causes = node.get("/v1/dead-letters?group=cause").expect_status(200).json();
    let counts: Vec<_> = causes["items"]
        .as_array()
        .expect("causes")
        .iter()
        .map(|cause| &cause["count"])
        .collect();
    assert_eq!(counts, [3, 1], "{causes}");
    assert_eq!(listed(&node, "sku=tea").len(), 1);
    assert_eq!(listed(&node, "limit=1").len(), 4, "page after page");
    let noted = node.list("/v1/warehouses/main/ignored?why=dead_letter");
    assert_eq!(noted.len(), 4, "{noted:?}");
    node.kill();
    node.restart();
    assert_eq!(listed(&node, ""), newest_first);
    assert_eq!(
        (sellable(&node, "milk"), sellable(&node, "tea")),
        (20, 20),
        "a letter moves nothing"
    );
}

#[test]
fn the_event_of_a_dead_letter_sent_again_is_known() {
    let (node, ids, _dir) = mended();
    let again = node.post("/v1/events", &letters()[0]);
    let said = again.json();
    assert!(
        again.status != 200 || (&said["verdict"], &said["first"]) == (&json!("duplicate"), &json!("dead_letter")),
        "{} {said}",
        again.status
    );
    assert_eq!((listed(&node, "").len(), ids.len()), (4, 4));
    assert_eq!(sellable(&node, "milk"), 20);
}

#[test]
fn a_letter_is_replayed_once_the_defect_is_gone_and_takes_effect_once() {
    let (mut node, ids, _dir) = mended();
    let first = act(&node, ids[0], "replay", &json!({})).expect_status(200).json();
    assert_eq!(
        (&first["id"], &first["verdict"]),
        (&json!(ids[0]), &json!("applied")),
        "{first}"
    );
    assert_eq!((sellable(&node, "milk"), state_of(&node, ids[0]).as_str()), (19, "replayed"));
    let second = act(&node, ids[0], "replay", &json!({})).expect_status(200).json();
    assert_eq!(second["verdict"], "duplicate", "{second}");
    node.kill();
    node.restart();
    assert_eq!((sellable(&node, "milk"), state_of(&node, ids[0]).as_str()), (19, "replayed"));
    assert_eq!(listed(&node, "state=open").len(), 3);
    let third = act(&node, ids[0], "replay", &json!({})).expect_status(200).json();
    assert_eq!(third["verdict"], "duplicate", "{third}");
    assert_eq!(sellable(&node, "milk"), 19);
    act(&node, 999_999, "replay", &json!({})).expect_problem(404, "not_found");
    act(&node, ids[1], "repaly", &json!({})).expect_problem(404, "not_found");
}

#[test]
fn a_letter_is_discarded_with_a_reason_and_restored() {
    let (mut node, ids, _dir) = mended();
    let refused = act(&node, ids[1], "discard", &json!({}))
        .expect_problem(422, "invalid_value")
        .json();
    assert_eq!(refused["field"], "/reason", "{refused}");
    assert_eq!(state_of(&node, ids[1]), "open");
    let answer = act(&node, ids[1], "discard", &json!({"reason": "test data"}))
        .expect_status(200)
        .json();
    assert_eq!(
        (&answer["id"], &answer["state"]),
        (&json!(ids[1]), &json!("discarded")),
        "{answer}"
    );
    node.kill();
    node.restart();
    assert_eq!(state_of(&node, ids[1]), "discarded");
    assert_eq!(sellable(&node, "tea"), 20);
    let answer = act(&node, ids[1], "restore", &json!({})).expect_status(200).json();
    assert_eq!(
        (&answer["id"], &answer["state"]),
        (&json!(ids[1]), &json!("open")),
        "{answer}"
    );
    assert_eq!(
        act(&node, ids[1], "replay", &json!({})).expect_status(200).json()["verdict"],
        "applied"
    );
    assert_eq!((sellable(&node, "tea"), state_of(&node, ids[1]).as_str()), (18, "replayed"));
}

#[test]
fn the_same_verbs_act_on_all_that_match_a_filter_and_on_nothing_else() {
    let (node, ids, _dir) = mended();
    let cause = listed(&node, "")[3]["error"].as_str().expect("an error").to_owned();
    let cause = percent_encoding::utf8_percent_encode(&cause, percent_encoding::NON_ALPHANUMERIC).to_string();
    let all = |verb: &str, query: &str, body: Value| {
        let answer = node
            .post(&format!("/v1/dead-letters/{verb}?{query}"), &body)
            .expect_status(200)
            .json();
        assert_eq!(answer["more"], false, "{answer}");
        answer["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(id_of)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        all("discard", &format!("sku=milk&cause={cause}"), json!({"reason": "tried"})),
        [ids[0], ids[3]]
    );
    assert_eq!(all("restore", "", json!({})), [ids[0], ids[3]], "only what was discarded");
    assert_eq!(all("replay", "sku=milk", json!({})), [ids[0], ids[2], ids[3]]);
    assert_eq!(all("replay", "sku=milk", json!({})), [0; 0], "only what is open");
    assert_eq!((sellable(&node, "milk"), sellable(&node, "tea")), (12, 20));
    node.post("/v1/dead-letters/replay?colour=red", &json!({}))
        .expect_problem(422, "unknown_field");
}

#[test]
fn the_command_line_lists_replays_discards_and_restores() {
    let (node, ids, _dir) = mended();
    let run = |args: &[&str]| node.cli(&[&["dead-letters"], args].concat());
    let table = run(&["list"]).expect_code(0).stdout;
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("a planted defect met poison-b"), "{table}");
    let as_lines: Vec<Value> = run(&["list", "--json"])
        .expect_code(0)
        .stdout
        .lines()
        .map(json_line)
        .collect();
    assert_eq!(as_lines, listed(&node, ""));
    let causes = run(&["list", "--by-cause", "--json"]).expect_code(0).stdout;
    assert_eq!(
        causes
            .lines()
            .map(|line| json_line(line)["count"].clone())
            .collect::<Vec<_>>(),
        [json!(3), json!(1)]
    );
    let word = ids.map(|id| id.to_string());
    run(&["replay", &word[0]]).expect_code(0);
    assert_eq!(sellable(&node, "milk"), 19);
    run(&["discard", &word[2], &word[3], "--reason", "test data"]).expect_code(0);
    assert_eq!(
        (state_of(&node, ids[2]).as_str(), state_of(&node, ids[3]).as_str()),
        ("discarded", "discarded")
    );
    run(&["restore", &word[3]]).expect_code(0);
    run(&["replay", "--all", "--sku", "milk"]).expect_code(0);
    assert_eq!(
        sellable(&node, "milk"),
        15,
        "1 and 4 of milk; the discarded 3 were left alone"
    );
    run(&["discard", "--all", "--state", "open", "--reason", "shop closed"]).expect_code(0);
    assert_eq!(state_of(&node, ids[1]), "discarded");
    let nobody = run(&["replay", "--all"]).expect_code(0);
    assert!(nobody.stderr.contains("no dead letter matches"), "{nobody:?}");
    let unknown = run(&["replay", "999999"]);
    assert!(unknown.code != Some(0) && unknown.stderr.contains("999999"), "{unknown:?}");
}

fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// `shelfd ARGS…` against a node that is no child of this test.
fn cli_at(address: &str, args: &[&str]) -> Ran {
    let output = shelfd()
        .args(args)
        .env("SHELFD_URL", format!("http://{address}"))
        .output()
        .expect("it runs");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_replay_that_meets_the_defect_again_fails_and_leaves_the_letter_open() {
    let dir = TempDir::new().expect("a directory");
    let defective = Defective::start(&dir.path().join("data"));
    let http = Http::new(&defective.address);
    take_letters(&http);
    let id = listed(&http, "").last().map(id_of).expect("letters").to_string();
    let ran = cli_at(&defective.address, &["dead-letters", "replay", &id]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let letter = listed(&http, "")
        .into_iter()
        .find(|letter| id_of(letter).to_string() == id)
        .expect("it is listed");
    assert_eq!(letter["state"], "open", "{letter}");
    assert_eq!(sellable(&http, "milk"), 20);
    defective.stop();
}

#[test]
fn a_basket_that_the_node_fails_on_is_a_dead_letter_and_is_held_once_the_defect_is_gone() {
    let dir = TempDir::new().expect("a directory");
    let data = dir.path().join("data");
    let defective = Defective::start(&data);
    let http = Http::new(&defective.address);
    http.post("/v1/events", &event("r", "receipt", "milk", 20)).expect_status(200);
    let path = "/v1/warehouses/main/reservations/poison-1";
    let body = json!({"lines": [{"sku": "milk", "quantity": 3}], "ttl_s": 900});
    let told = http.put(path, &body).expect_problem(500, "internal_error").json();
    let letter = told["dead_letter"].as_u64().expect("the letter's id");
    // The same again is the same letter; another basket is nobody's victim.
    let again = http.put(path, &body).expect_problem(500, "internal_error").json();
    assert_eq!(again["dead_letter"], letter);
    http.put("/v1/warehouses/main/reservations/good-1", &body).expect_status(201);
    let ran = cli_at(&defective.address, &["dead-letters", "replay", &letter.to_string()]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    defective.stop();
    let node = Node::builder().data(&data).start();
    let listed = listed(&node, "state=open");
    assert_eq!(listed.len(), 1, "{listed:?}");
    let shown = &listed[0];
    assert_eq!(
        json!([
            shown["id"],
            shown["warehouse"],
            shown["reservation"],
            shown["command"]["command"],
            shown["event"]
        ]),
        json!([letter, "main", "poison-1", "hold", null])
    );
    assert!(
        shown["error"]
            .as_str()
            .is_some_and(|error| error.contains("planted defect met basket")),
        "{shown}"
    );
    assert!(shown["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{shown}");
    let table = node.cli(&["dead-letters", "list"]).expect_code(0).stdout;
    assert!(table.contains("poison-1") && table.contains("hold"), "{table}");
    node.get(path).expect_problem(404, "unknown_reservation");
    let replayed = act(&node, letter, "replay", &json!({})).expect_status(200).json();
    assert_eq!((&replayed["id"], &replayed["verdict"]), (&json!(letter), &json!("applied")));
    assert_eq!(node.get(path).expect_status(200).json()["state"], "held");
    assert_eq!(state_of(&node, letter), "replayed");
    let whole = node.get("/v1/warehouses/main/skus/milk").json();
    assert_eq!((&whole["claimed"], &whole["accounts"]["sellable"]), (&json!(6), &json!(20)));
}
