//! What is taken: every message once, in every mode, whatever dies meanwhile; and what becomes of those that cannot be.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};
use serde_json::{Value, json};

use super::{config, newest, of_topic, out, published, rounds, schema, taken};
use crate::harness::events::event;
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::Node;

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One `[[kafka.in]]`.
pub(super) fn input(topic: &str, class: &str) -> String {
    format!("[[kafka.in]]\ntopic = \"{topic}\"\nclass = \"{class}\"\n")
}

pub(super) fn sellable(node: &Node, sku: &str) -> i64 {
    let answer = node.get(&format!("/v1/warehouses/main/skus/{sku}"));
    if answer.status == 404 {
        return 0;
    }
    answer.json()["accounts"]["sellable"].as_i64().expect("sellable")
}

pub(super) fn letters(node: &Node) -> Vec<Value> {
    let page = node.get("/v1/dead-letters?limit=1000").expect_status(200).json();
    page["items"].as_array().cloned().unwrap_or_default()
}

/// An event in binary mode.
fn binary(event: &Value) -> Sent {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let header = |name: &str| (format!("ce_{name}"), text(name));
    Sent {
        key: format!("main/{}", event["data"]["sku"].as_str().unwrap_or_default()),
        headers: ["specversion", "id", "source", "type"].map(header).to_vec(),
        body: event["data"].to_string().into_bytes(),
        ..Sent::default()
    }
}

#[test]
fn events_are_taken_in_every_mode_and_codec() {
    let broker = Broker::shared();
    broker.topic("m.light", 2, &[]);
    broker.topic("m.heavy", 2, &[]);
    let topics = [input("m.light", "light"), input("m.heavy", "heavy")].concat();
    let node = Node::builder().config(&config(broker, &topics)).start();
    let batch: Vec<Value> = (0..10).map(|n| event(&format!("b-{n}"), "receipt", "milk", 1)).collect();
    let mut several = Sent::bytes("main/milk", json!(batch).to_string().as_bytes());
    several.headers = vec![("content-type".into(), "application/cloudevents-batch+json".into())];
    broker.produce(
        "m.light",
        [
            Sent::event(&event("s", "receipt", "milk", 100)),
            binary(&event("bin", "receipt", "milk", 1_000)),
            several,
        ],
    );
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let producer = broker.producer(&[("compression.codec", codec)]);
        for n in 0..50 {
            Sent::event(&event(&format!("{codec}-{n}"), "receipt", codec, 2)).send(&producer, "m.heavy");
        }
        producer.flush(PATIENCE).expect("the broker takes them");
    }
    taken(&node, broker, &["m.light", "m.heavy"]);
    assert_eq!(sellable(&node, "milk"), 1_110);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        assert_eq!(sellable(&node, codec), 100, "{codec}");
    }
    assert_eq!(letters(&node), Vec::<Value>::new());
    assert!(node.cli(&["status"]).stdout.contains("m.heavy"));
}

/// A producer that says things twice, and out of order: 1,500 receipts of one unit, and 150 sales.
fn hostile(round: usize, heavy: &BaseProducer, light: &BaseProducer) {
    for n in 0..1_500 {
        let receipt = |n: usize| event(&format!("h-{round}-{n}"), "receipt", &format!("s-{}", n % 25), 1);
        Sent::event(&receipt(n)).send(heavy, "k.heavy");
        if n % 7 == 0 {
            Sent::event(&receipt(n / 2)).send(heavy, "k.heavy");
        }
        if n % 10 == 0 {
            let sale = event(&format!("l-{round}-{n}"), "sale", "till", 1);
            Sent::event(&sale).send(light, "k.light");
        }
    }
}

fn disaster(round: usize, broker: &Broker, node: &mut Node) {
    let (broker_dies, node_dies) = [(false, true), (true, false), (true, true), (false, true), (false, false)][round % 5];
    if broker_dies {
        broker.kill();
    }
    if node_dies {
        node.kill();
        node.restart();
    }
    if broker_dies {
        broker.up();
    }
}

fn copy_is_exact(node: &Node, broker: &Broker, topic: &str) {
    for (key, data) in newest(&broker.read(topic)) {
        let sku = key.trim_start_matches("main/");
        let shown = node.get(&format!("/v1/warehouses/main/skus/{sku}")).json();
        for member in ["version", "available"] {
            assert_eq!(data[member], shown[member], "{key}");
        }
    }
}

#[test]
fn each_event_has_its_effect_once_whatever_is_killed() {
    let broker = Broker::start();
    broker.topic("k.light", 2, &[]);
    broker.topic("k.heavy", 3, &[]);
    broker.topic("k.updated", 3, &[]);
    broker.topic("k.availability", 3, &[("cleanup.policy", "compact")]);
    let topics = [
        input("k.light", "light"),
        input("k.heavy", "heavy"),
        out("k.updated", "updated"),
        out("k.availability", "availability"),
    ]
    .concat();
    let mut node = Node::builder().config(&config(&broker, &topics)).start();
    let mut sent = 0;
    for round in 0..rounds() {
        let (heavy, light) = (broker.producer(&[]), broker.producer(&[]));
        hostile(round, &heavy, &light);
        let flush = |producer: &BaseProducer| producer.flush(PATIENCE).expect("the broker takes them");
        // In mid-stream: what was sent is not all with the broker, and not all of that is taken.
        disaster(round, &broker, &mut node);
        flush(&heavy);
        flush(&light);
        sent += 1_500;
    }
    taken(&node, &broker, &["k.light", "k.heavy"]);
    let stock: i64 = (0..25).map(|n| sellable(&node, &format!("s-{n}"))).sum();
    assert_eq!(stock, sent);
    let till = node.get("/v1/warehouses/main/skus/till").expect_status(200).json();
    assert_eq!(till["accounts"]["demand"], rounds() * 150);
    published(&node, &["k.updated", "k.availability"]);
    let updated = broker.read("k.updated");
    super::versions_increase(&updated);
    let ids: std::collections::BTreeSet<_> = updated.iter().map(|record| record.json()["fact"]["id"].to_string()).collect();
    assert_eq!(ids.len() as i64, sent + rounds() as i64 * 150, "every fact is published");
    copy_is_exact(&node, &broker, "k.availability");
    // The place is in the journal: a start takes nothing again.
    node.kill();
    node.restart();
    broker.produce("k.light", [Sent::event(&event("last", "sale", "till", 1))]);
    taken(&node, &broker, &["k.light", "k.heavy"]);
    assert_eq!(of_topic(&node, "k.light")["messages"], 1, "one message came since the start");
    assert_eq!(of_topic(&node, "k.heavy")["messages"], 0);
}

#[test]
fn what_cannot_be_taken_is_a_dead_letter_and_blocks_nothing() {
    let broker = Broker::shared();
    broker.topic("d.light", 1, &[("max.message.bytes", "8000000")]);
    broker.topic("d.letters", 1, &[]);
    let topics = [input("d.light", "light"), out("d.letters", "dead_letters")].concat();
    let text = format!(
        "[http]\nmax_body_bytes = 1000000\nmax_inflight_bytes = 2000000\n{}",
        config(broker, &topics)
    );
    let node = Node::builder().config(&text).start();
    let mut elsewhere = event("w-1", "receipt", "milk", 5);
    elsewhere["data"]["warehouse"] = json!("north");
    let mut rotten = Sent::bytes("k", b"\xff\x00 not an event");
    rotten.headers = vec![(
        "traceparent".into(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
    )];
    let wrong_rows = json!([event("row-1", "receipt", "milk", 7), event("row-2", "receipt", "milk", -7)]);
    broker.produce(
        "d.light",
        [
            Sent::event(&event("1", "receipt", "milk", 1)),
            rotten,
            Sent::event(&elsewhere),
            Sent::event(&event("refused", "release", "milk", 999)),
            Sent::bytes("big", &vec![b'x'; 1_500_000]),
            Sent::bytes("rows", wrong_rows.to_string().as_bytes()),
            Sent::event(&event("2", "receipt", "milk", 1)),
        ],
    );
    taken(&node, broker, &["d.light"]);
    assert_eq!(
        sellable(&node, "milk"),
        9,
        "the others of a batch, and those behind, are taken"
    );
    let letters = letters(&node);
    assert_eq!(letters.len(), 5, "{letters:?}");
    let of = |code: &str| {
        letters
            .iter()
            .find(|letter| letter["error"].as_str().expect("an error").starts_with(code))
            .cloned()
    };
    let rotten = of("malformed_json").expect("the rotten one");
    assert_eq!(
        (&rotten["message"]["topic"], &rotten["message"]["offset"]),
        (&json!("d.light"), &json!(1))
    );
    assert_eq!(rotten["message"]["body"], "/wAgbm90IGFuIGV2ZW50");
    assert_eq!(rotten["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(of("insufficient_stock").is_some() && of("body_too_large").is_some() && of("invalid_value").is_some());
    let groups = node.get("/v1/dead-letters?group=cause").expect_status(200).json();
    assert!(
        groups["items"]
            .as_array()
            .expect("groups")
            .iter()
            .any(|group| group["cause"] == "unknown_warehouse"),
        "{groups}"
    );
    published(&node, &["d.letters"]);
    let told = broker.read("d.letters");
    assert_eq!(told.len(), 5);
    told.iter()
        .for_each(|record| schema::fits("inventory.dead_letter", &record.json()));
    settled(broker, node, &letters, &elsewhere);
}

/// Mended, replayed, discarded and restored; nothing of it is forgotten by a kill.
fn settled(broker: &Broker, mut node: Node, letters: &[Value], elsewhere: &Value) {
    let rotten = letters
        .iter()
        .find(|letter| letter["error"].to_string().contains("malformed_json"))
        .expect("it");
    node.put("/v1/warehouses/north", &json!({"time_zone": "Europe/Moscow"}));
    let done = node
        .post("/v1/dead-letters/replay?cause=unknown_warehouse", &json!({}))
        .expect_status(200)
        .json();
    assert_eq!(done["items"][0]["verdict"], "applied", "{done}");
    let id = rotten["id"].clone();
    let act = |node: &Node, verb: &str, body: Value| node.post(&format!("/v1/dead-letters/{id}/{verb}"), &body);
    assert_eq!(act(&node, "discard", json!({})).status, 422);
    act(&node, "discard", json!({"reason": "a test"})).expect_status(200);
    act(&node, "restore", json!({})).expect_status(200);
    let again = act(&node, "replay", json!({}));
    assert_ne!(again.json()["verdict"], "applied");
    node.kill();
    node.restart();
    let north = node.get("/v1/warehouses/north/skus/milk").expect_status(200).json();
    assert_eq!(north["accounts"]["sellable"], 5);
    let open = node.get("/v1/dead-letters?state=open").expect_status(200).json();
    assert_eq!(open["items"].as_array().expect("items").len(), 4);
    // The same message again is a repetition of the event, and the replay of what was sent again is, too.
    broker.produce("d.light", [Sent::event(elsewhere)]);
    taken(&node, broker, &["d.light"]);
    assert_eq!(node.get("/v1/warehouses/north/skus/milk").json()["accounts"]["sellable"], 5);
}
