//! What is published: every change once in order, the newest of each SKU, and what a broker that is away, refuses or dies does to it.

use serde_json::{Value, json};

use super::{config, newest, of_topic, out, published, rounds, schema, versions_increase};
use crate::harness::events::event;
use crate::harness::kafka::Broker;
use crate::harness::node::{Node, wait_until};

fn report(node: &Node, events: Vec<Value>) {
    node.post("/v1/events", &json!(events)).expect_status(200);
}

fn sku(node: &Node, sku: &str) -> Value {
    node.get(&format!("/v1/warehouses/main/skus/{sku}")).expect_status(200).json()
}

fn hold(node: &Node, id: &str, sku: &str, quantity: i64) {
    let body = json!({"channel": "web", "lines": [{"sku": sku, "quantity": quantity}]});
    node.put(&format!("/v1/warehouses/main/reservations/{id}"), &body);
}

/// Without `last_count` and other things that only the event's own time decides, what is published is what the API shows.
fn same_sku(published: &Value, shown: &Value) {
    for member in [
        "warehouse",
        "sku",
        "unit",
        "version",
        "seq",
        "accounts",
        "lots",
        "claimed",
        "owed",
        "available",
        "flags",
        "last_count",
    ] {
        assert_eq!(published[member], shown[member], "{member}: {published}\n{shown}");
    }
}

#[test]
fn every_change_is_published_with_the_state_after_it() {
    let broker = Broker::shared();
    for (topic, partitions) in [("u.updated", 3), ("u.reservations", 2), ("u.drift", 1)] {
        broker.topic(topic, partitions, &[]);
    }
    let topics = [
        out("u.updated", "updated"),
        out("u.reservations", "reservations"),
        out("u.drift", "drift"),
    ]
    .concat();
    let node = Node::builder().config(&config(broker, &topics)).start();
    let mut receipt = event("r-1", "receipt", "milk", 24);
    receipt["data"]["lot"] = json!({"id": "L1", "expires_on": "2099-01-01"});
    receipt["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    report(
        &node,
        vec![receipt, event("s-1", "sale", "milk", 5), event("r-2", "receipt", "bread", 3)],
    );
    report(&node, (0..50).map(|n| event(&format!("x-{n}"), "sale", "bread", 1)).collect());
    hold(&node, "o-1", "milk", 4);
    report(
        &node,
        vec![event("snap", "snapshot", "milk", 40), event("q", "quarantine", "milk", 1)],
    );
    node.post("/v1/events", &event("refused", "release", "bread", 999))
        .expect_status(409);
    published(&node, &["u.updated", "u.reservations", "u.drift"]);
    let updated = broker.read("u.updated");
    updated
        .iter()
        .for_each(|record| schema::fits("inventory.updated", &record.json()));
    versions_increase(&updated);
    let newest = newest(&updated);
    same_sku(&newest["main/milk"], &sku(&node, "milk"));
    same_sku(&newest["main/bread"], &sku(&node, "bread"));
    let bread: Vec<_> = updated.iter().filter(|record| record.key == "main/bread").collect();
    assert_eq!(bread.len(), 51, "a change for each event, and none for a refusal");
    let first = updated.iter().find(|record| record.key == "main/milk").unwrap();
    assert_eq!(first.headers["ce_type"], "inventory.updated");
    assert_eq!(
        first.headers["traceparent"],
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
    assert_eq!(first.headers["ce_subject"], "main/milk");
    let after_receipt = first.json();
    assert_eq!(after_receipt["fact"]["id"], "r-1");
    assert_eq!(
        (&after_receipt["accounts"]["sellable"], &after_receipt["lots"][0]["sellable"]),
        (&json!(24), &json!(24))
    );
    let ids: std::collections::BTreeSet<_> = updated.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(ids.len(), updated.len());
    let baskets = broker.read("u.reservations");
    assert_eq!(baskets.len(), 1);
    schema::fits("inventory.reservation", &baskets[0].json());
    assert_eq!(
        (baskets[0].key.as_str(), &baskets[0].json()["state"]),
        ("main/o-1", &json!("held"))
    );
    let drift = broker.read("u.drift");
    assert_eq!(drift.len(), 1);
    schema::fits("inventory.drift", &drift[0].json());
    assert_eq!(drift[0].json()["believes"], 40);
}

#[test]
fn structured_mode_has_everything_in_the_body() {
    let broker = Broker::shared();
    broker.topic("st.updated", 1, &[]);
    let topic = format!(
        "{}mode = \"structured\"\ncompression = \"zstd\"\n",
        out("st.updated", "updated")
    );
    let node = Node::builder().config(&config(broker, &topic)).start();
    report(&node, vec![event("r", "receipt", "a \"b\"", 2)]);
    published(&node, &["st.updated"]);
    let records = broker.read("st.updated");
    let whole = records[0].json();
    assert_eq!(records[0].headers["content-type"], "application/cloudevents+json");
    assert_eq!(
        (&whole["specversion"], &whole["subject"]),
        (&json!("1.0"), &json!("main/a \"b\""))
    );
    schema::fits("inventory.updated", &whole["data"]);
}

/// Every SKU's availability from the topic equals the node's answer at rest.
fn copy_is_exact(node: &Node, broker: &Broker, topic: &str, skus: usize) {
    published(node, &[topic]);
    let copy = newest(&broker.read(topic));
    assert_eq!(copy.len(), skus);
    for data in copy.values() {
        schema::fits("inventory.availability", data);
        let shown = sku(node, data["sku"].as_str().expect("a SKU"));
        assert_eq!(
            (&data["available"], &data["version"]),
            (&shown["available"], &shown["version"]),
            "{data}"
        );
    }
}

#[test]
fn the_latest_of_each_sku_is_an_exact_copy() {
    let broker = Broker::shared();
    broker.topic("l.availability", 2, &[("cleanup.policy", "compact")]);
    let text = config(broker, &out("l.availability", "availability"));
    let mut node = Node::builder().config(&text).start();
    for round in 0..20 {
        let rows = (0..100).map(|n| event(&format!("{round}.{n}"), "receipt", &format!("s-{}", n % 30), 1));
        report(&node, rows.collect());
        hold(&node, &format!("o-{round}"), &format!("s-{round}"), 1);
    }
    copy_is_exact(&node, broker, "l.availability", 30);
    node.kill();
    node.restart();
    report(&node, vec![event("last", "sale", "s-3", 2)]);
    copy_is_exact(&node, broker, "l.availability", 30);
}

#[test]
fn a_node_without_a_broker_sells_on_and_catches_up_when_it_comes() {
    let broker = Broker::absent();
    let topics = [out("a.updated", "updated"), out("a.availability", "availability")].concat();
    let mut node = Node::builder().config(&config(&broker, &topics)).start();
    let rows = |round: usize| {
        (0..500)
            .map(move |n| event(&format!("{round}.{n}"), "receipt", &format!("s-{}", n % 40), 1))
            .collect()
    };
    report(&node, rows(0));
    node.get("/readyz").expect_status(200);
    assert!(of_topic(&node, "a.updated")["lag"].as_u64() >= Some(500));
    assert_eq!(of_topic(&node, "a.updated")["state"], "waiting");
    node.kill();
    node.restart();
    report(&node, rows(1));
    let metrics = node.get("/metrics").text();
    assert!(metrics.contains("shelfd_kafka_out_lag{topic=\"a.updated\"} 1"), "{metrics}");
    let status = node.cli(&["status"]);
    assert!(status.stdout.contains("a.updated"), "{status:?}");
    broker.up();
    broker.topic("a.updated", 2, &[]);
    broker.topic("a.availability", 2, &[("cleanup.policy", "compact")]);
    published(&node, &["a.updated"]);
    let updated = broker.read("a.updated");
    assert_eq!(updated.len(), 1_000);
    versions_increase(&updated);
    same_sku(&newest(&updated)["main/s-7"], &sku(&node, "s-7"));
    copy_is_exact(&node, &broker, "a.availability", 40);
}

#[test]
fn nothing_is_lost_or_out_of_order_when_broker_and_node_are_killed() {
    let broker = Broker::start();
    broker.topic("k.updated", 3, &[]);
    broker.topic("k.availability", 3, &[("cleanup.policy", "compact")]);
    let topics = [out("k.updated", "updated"), out("k.availability", "availability")].concat();
    let mut node = Node::builder().config(&config(&broker, &topics)).start();
    for round in 0..rounds() {
        for batch in 0..8 {
            let row = |n: usize| event(&format!("{round}.{batch}.{n}"), "receipt", &format!("s-{}", n % 50), 1);
            report(&node, (0..250).map(row).collect());
            match (round % 3, batch) {
                (0, 3) => broker.kill(),
                (0, 6) => broker.up(),
                (1, 4) => {
                    node.kill();
                    node.restart();
                }
                (2, 2) => broker.kill(),
                (2, 4) => {
                    node.kill();
                    node.restart();
                    broker.up();
                }
                _ => {}
            }
        }
    }
    published(&node, &["k.updated"]);
    let updated = broker.read("k.updated");
    versions_increase(&updated);
    let ids: std::collections::BTreeSet<_> = updated.iter().map(|record| record.json()["fact"]["id"].to_string()).collect();
    assert_eq!(ids.len(), rounds() * 8 * 250, "every fact is published");
    same_sku(&newest(&updated)["main/s-7"], &sku(&node, "s-7"));
    copy_is_exact(&node, &broker, "k.availability", 50);
}

#[test]
fn a_message_that_is_refused_for_good_stops_its_topic_loudly_and_nothing_is_skipped() {
    let broker = Broker::shared();
    broker.topic("big.updated", 1, &[("max.message.bytes", "2000")]);
    broker.topic("big.availability", 1, &[("cleanup.policy", "compact")]);
    let topics = [out("big.updated", "updated"), out("big.availability", "availability")].concat();
    let node = Node::builder().config(&config(broker, &topics)).start();
    report(&node, vec![event("1", "receipt", "a", 1)]);
    published(&node, &["big.updated"]);
    let lots = (0..30).map(|n| {
        let mut receipt = event(&format!("l-{n}"), "receipt", "a", 1);
        receipt["data"]["lot"] = json!({"id": format!("lot-with-a-long-name-{n}")});
        receipt
    });
    report(&node, lots.collect());
    wait_until("the topic to stop", || of_topic(&node, "big.updated")["state"] == "stopped");
    let stopped = of_topic(&node, "big.updated");
    assert!(stopped["reason"].as_str().unwrap().contains("max.message.bytes"), "{stopped}");
    node.get("/readyz").expect_status(200);
    // Its neighbour goes on.
    copy_is_exact(&node, broker, "big.availability", 1);
    assert!(
        node.get("/metrics")
            .text()
            .contains("shelfd_kafka_out_stopped{topic=\"big.updated\"} 1")
    );
    broker.script(&[
        "tool",
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        &broker.address(),
        "--alter",
        "--topic",
        "big.updated",
        "--add-config",
        "max.message.bytes=1000000",
    ]);
    published(&node, &["big.updated"]);
    let updated = broker.read("big.updated");
    versions_increase(&updated);
    same_sku(&newest(&updated)["main/a"], &sku(&node, "a"));
}

#[test]
fn a_missing_topic_is_named_and_waited_for() {
    let broker = Broker::shared();
    let node = Node::builder()
        .config(&config(broker, &out("missing.updated", "updated")))
        .start();
    report(&node, vec![event("1", "receipt", "a", 1)]);
    let named = || {
        of_topic(&node, "missing.updated")["reason"]
            .as_str()
            .is_some_and(|why| why.contains("create it"))
    };
    wait_until("the topic to be named as missing", named);
    broker.topic("missing.updated", 1, &[]);
    published(&node, &["missing.updated"]);
    assert_eq!(broker.read("missing.updated").len(), 1);
}

#[test]
fn passwords_and_certificates_are_proven_and_told_when_they_are_wrong() {
    let broker = Broker::shared();
    broker.topic("sec.updated", 1, &[]);
    let wrong = broker.file("wrong");
    std::fs::write(&wrong, "not-the-password\n").unwrap();
    let sasl = |password: &std::path::Path| {
        let login = "security = \"sasl_plaintext\"\nusername = \"shelfd\"\n";
        let keys = format!(
            "brokers = \"{}\"\n{login}password_file = \"{}\"\n",
            broker.sasl_address(),
            password.display()
        );
        format!(
            "{}[kafka]\n{keys}{}",
            crate::harness::events::noon_config(),
            out("sec.updated", "updated")
        )
    };
    let tls = |address: String| {
        let keys = format!(
            "brokers = \"{address}\"\nsecurity = \"ssl\"\nca_file = \"{}\"\n",
            broker.file("ca.pem").display()
        );
        format!(
            "{}[kafka]\n{keys}{}",
            crate::harness::events::noon_config(),
            out("sec.updated", "updated")
        )
    };
    for (text, word) in [
        (sasl(&wrong), "uthentication"),
        (tls(broker.expired_address()), "certificate"),
    ] {
        let node = Node::builder().config(&text).start();
        report(&node, vec![event("1", "receipt", "a", 1)]);
        let told = || {
            of_topic(&node, "sec.updated")["reason"]
                .as_str()
                .is_some_and(|why| why.contains(word))
        };
        wait_until(word, told);
        node.get("/readyz").expect_status(200);
        assert!(!node.log().contains("not-the-password"));
    }
    for text in [sasl(&broker.file("password")), tls(broker.tls_address())] {
        let node = Node::builder().config(&text).start();
        report(&node, vec![event("1", "receipt", "a", 1)]);
        published(&node, &["sec.updated"]);
    }
}
