//! Messages that are hard on the node: one that kills whoever judges it, and some that are large. Each is a dead letter that has all
//! that came, and can be taken again. And records that the broker itself cannot give whole.
//!
//! The killer is real: a node with a planted defect, built here from the product's own parts, takes it from the broker; then the real
//! binary goes on with its data, as after an upgrade.

use std::sync::Arc;

use rdkafka::producer::Producer;
use serde_json::{Value, json};
use shelfd::actors::warehouse::judge;
use shelfd::app::House;
use shelfd::config::Layers;
use shelfd::domain::event::Event;
use shelfd::domain::stock::{self, Context, Decision, Stock, Voided};
use shelfd::ingress::admission::Valve;
use shelfd::kafka::{self, In, Kafka, Options};

use super::take::{input, letters, sellable};
use super::{config, of_topic, out, published, schema, taken};
use crate::harness::events::event;
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::{Node, wait_until};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn defective(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    assert_ne!(event.origin.document.as_deref(), Some("poison"), "a planted defect");
    stock::decide(stock, event, voided, ctx)
}

/// Takes so many messages of a topic with the defect, into a store.
fn take_with_the_defect(data: &std::path::Path, broker: &Broker, topic: &str, messages: u64) {
    let settings = Layers::defaults().flag("the test", "node.data_dir", Some(data.display().to_string()));
    let settings = settings.load().expect("the embedded defaults are valid");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let house = House::open(&settings, &Arc::default(), defective, judge)
            .await
            .expect("the store opens");
        let options = Options {
            broker: kafka::Broker {
                addresses: broker.address(),
                tls: false,
                login: None,
                ca_file: String::new(),
                certificate_file: String::new(),
                key_file: String::new(),
            },
            group: "shelfd".into(),
            max_rows: 100,
            max_bytes: 1 << 20,
            ins: vec![In {
                topic: topic.into(),
                heavy: false,
                source: String::new(),
            }],
            outs: Vec::new(),
        };
        let kafka = Kafka::start(&house.node, options, &Valve::new(1_000, 1 << 22)).expect("options that can be meant");
        let gauges = kafka.gauges();
        let done = || gauges.status(0)["kafka_in"][0]["messages"].as_u64() == Some(messages);
        tokio::task::block_in_place(|| wait_until("the messages to be taken", done));
        kafka.stop().await;
        house.close().await;
    });
}

#[test]
fn an_event_that_kills_twice_is_a_dead_letter_with_the_message_that_it_came_with() {
    let broker = Broker::shared();
    broker.topic("px.light", 1, &[]);
    broker.topic("px.letters", 1, &[]);
    let mut poison = event("killer", "receipt", "milk", 5);
    poison["data"]["document"] = json!("poison");
    let rows = json!([event("beside", "receipt", "milk", 2), poison]).to_string();
    let mut killer = Sent::bytes("main/milk", rows.as_bytes());
    killer.headers = vec![
        ("content-type".into(), "application/cloudevents-batch+json".into()),
        ("traceparent".into(), TRACEPARENT.into()),
        ("x-origin".into(), "till 7".into()),
    ];
    let before = Sent::event(&event("before", "receipt", "milk", 1));
    broker.produce(
        "px.light",
        [before, killer, Sent::event(&event("behind", "receipt", "milk", 4))],
    );
    let dir = tempfile::tempdir().expect("a directory");
    take_with_the_defect(&dir.path().join("data"), broker, "px.light", 3);

    let topics = [input("px.light", "light"), out("px.letters", "dead_letters")].concat();
    let node = Node::builder()
        .data(&dir.path().join("data"))
        .config(&config(broker, &topics))
        .start();
    assert_eq!(sellable(&node, "milk"), 7, "its neighbours are taken");
    let found = letters(&node);
    assert_eq!(found.len(), 1, "{found:?}");
    let letter = &found[0];
    assert!(letter["error"].to_string().contains("a planted defect"), "{letter}");
    assert_eq!(letter["event"]["id"], "killer");
    let message = &letter["message"];
    let place = ["topic", "partition", "offset"].map(|name| message[name].clone());
    assert_eq!(place, [json!("px.light"), json!(0), json!(1)], "{message}");
    let plain = |text: &Value| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().expect("base64"));
        String::from_utf8(bytes.expect("base64")).expect("text")
    };
    assert_eq!(plain(&message["body"]), rows);
    assert_eq!(
        (message["headers"][2][0].as_str(), plain(&message["headers"][2][1])),
        (Some("x-origin"), "till 7".into())
    );
    assert_eq!(letter["trace_id"], TRACEPARENT.split('-').nth(1).expect("an id"));
    assert!(node.cli(&["dead-letters", "list"]).stdout.contains("px.light/0/1"));

    published(&node, &["px.letters"]);
    let told = broker.read("px.letters");
    assert_eq!(told.len(), 1);
    schema::fits("inventory.dead_letter", &told[0].json());
    assert_eq!(
        (&told[0].json()["event"]["id"], &told[0].json()["message"]),
        (&json!("killer"), message)
    );
    // Mended: the event has its effect, once.
    for verdict in ["applied", "duplicate"] {
        let done = node.post(&format!("/v1/dead-letters/{}/replay", letter["id"]), &json!({}));
        assert_eq!(done.json()["verdict"], verdict, "{done:?}");
        assert_eq!(sellable(&node, "milk"), 12);
    }
}

/// A batch whose rows are of a warehouse that nobody has declared.
fn large_batch(rows: usize, padding: usize) -> Sent {
    let row = |n: usize| {
        let mut row = event(&format!("large-{n}"), "receipt", "milk", 1);
        row["data"]["warehouse"] = json!("north");
        row["data"]["document"] = json!("x".repeat(padding));
        row
    };
    let rows: Vec<Value> = (0..rows).map(row).collect();
    Sent::bytes("north/milk", json!(rows).to_string().as_bytes())
}

#[test]
fn large_messages_are_kept_whole_listed_in_short_pages_and_taken_again() {
    let broker = Broker::shared();
    let large = [("max.message.bytes", "20000000")];
    // The first is larger, as base64, than what other topics have underway at once.
    broker.topic("lg.light", 1, &large);
    broker.topic("lg.letters", 1, &large);
    let topics = [input("lg.light", "light"), out("lg.letters", "dead_letters")].concat();
    let node = Node::builder().config(&config(broker, &topics)).start();
    let rotten = |bytes: usize| Sent::bytes("rotten", &vec![b'1'; bytes]);
    broker.produce(
        "lg.light",
        [
            rotten(13_000_000),
            large_batch(7_000, 800),
            rotten(7_000_000),
            Sent::event(&event("1", "receipt", "milk", 3)),
        ],
    );
    taken(&node, broker, &["lg.light"]);
    assert_eq!(sellable(&node, "milk"), 3, "what is behind them is taken");
    let page = node.get("/v1/dead-letters?limit=1000").expect_status(200).json();
    assert!(
        page["items"].as_array().expect("items").len() < 3,
        "a page is bounded in bytes, too"
    );
    let all = node.list("/v1/dead-letters?limit=1000");
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|letter| letter["message"]["cut"].is_null()), "nothing is cut");
    let bytes: Vec<u64> = all.iter().filter_map(|letter| letter["message"]["bytes"].as_u64()).collect();
    assert_eq!((bytes[0], bytes[2]), (7_000_000, 13_000_000));
    published(&node, &["lg.letters"]);
    assert_eq!(broker.read("lg.letters").len(), 3);
    node.put("/v1/warehouses/north", &json!({"time_zone": "Europe/Moscow"}));
    let done = node.post("/v1/dead-letters/replay?cause=unknown_warehouse", &json!({}));
    assert_eq!(done.expect_status(200).json()["items"][0]["verdict"], "applied");
    let north = node.get("/v1/warehouses/north/skus/milk").expect_status(200).json();
    assert_eq!(north["accounts"]["sellable"], 7_000);
}

/// Damages the second and the fourth batch of records of a partition's file: what they hold is compressed no more, and the fourth's
/// checksum is that of what it holds now, as if it had been written so.
fn damage(broker: &Broker, partition: &str) {
    let file = broker.file(&format!("data/{partition}/00000000000000000000.log"));
    let mut bytes = std::fs::read(&file).expect("the partition's file");
    // A batch of format 2: base offset (8 bytes), length of what follows (4), …; at 17 the checksum (CRC-32C) of all from 21 on; the
    // records from 61 on.
    let after = |bytes: &[u8], at: usize| {
        let length = bytes[at + 8..at + 12].try_into().expect("four bytes");
        at + 12 + u32::from_be_bytes(length) as usize
    };
    let second = after(&bytes, 0);
    let third = after(&bytes, second);
    let fourth = after(&bytes, third);
    let fifth = after(&bytes, fourth);
    bytes[second + (third - second) * 2 / 3] ^= 0x55;
    bytes[fourth + 61] ^= 0x55;
    let checksum = crc32c::crc32c(&bytes[fourth + 21..fifth]);
    bytes[fourth + 17..fourth + 21].copy_from_slice(&checksum.to_be_bytes());
    std::fs::write(&file, bytes).expect("the partition's file");
}

#[test]
fn records_that_the_broker_cannot_give_whole_are_told_and_block_nothing() {
    let broker = Broker::start();
    broker.topic("rot.light", 1, &[]);
    let producer = broker.producer(&[("compression.codec", "gzip"), ("linger.ms", "200")]);
    for batch in 0..5 {
        for n in 0..20 {
            Sent::event(&event(&format!("{batch}-{n}"), "receipt", "milk", 1)).send(&producer, "rot.light");
        }
        producer
            .flush(std::time::Duration::from_secs(60))
            .expect("the broker takes them");
    }
    broker.stop();
    damage(&broker, "rot.light-0");
    broker.up();
    let mut node = Node::builder().config(&config(&broker, &input("rot.light", "light"))).start();
    wait_until("what can be read", || sellable(&node, "milk") == 60);
    let found = letters(&node);
    assert_eq!(found.len(), 2, "{found:?}");
    for (letter, offset) in found.iter().zip([60, 20]) {
        let which = format!("from offset {offset} to {} are damaged", offset + 19);
        assert!(letter["error"].to_string().contains(&which), "{letter}");
        assert_eq!(
            (&letter["message"]["offset"], &letter["message"]["body"]),
            (&json!(offset), &Value::Null)
        );
    }
    assert_eq!(of_topic(&node, "rot.light")["missed"], 40);
    node.kill();
    node.restart();
    broker.produce("rot.light", [Sent::event(&event("last", "receipt", "milk", 1))]);
    taken(&node, &broker, &["rot.light"]);
    assert_eq!((sellable(&node, "milk"), letters(&node).len()), (61, 2));
}
