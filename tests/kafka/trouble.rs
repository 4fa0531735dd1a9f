//! Trouble that passes: a disk without room, a stranger in the group, a topic, a right or a password that is missing at first. It is said
//! and waited for; nothing becomes a dead letter, nothing is taken twice or out of order.

use serde_json::{Value, json};

use super::take::{input, letters, sellable};
use super::{config, of_topic, out, taken};
use crate::harness::disk::Disk;
use crate::harness::events::{event, noon_config};
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::{Node, wait_until};

fn says(node: &Node, topic: &str, words: &str) {
    wait_until(words, || {
        of_topic(node, topic)["reason"]
            .as_str()
            .is_some_and(|why| why.contains(words))
    });
}

fn receipts(topic: &str, range: std::ops::Range<usize>) {
    let message = |n: usize| Sent::event(&event(&format!("{topic}-{n}"), "receipt", &format!("s-{}", n % 20), 1));
    Broker::shared().produce(topic, range.map(message));
}

fn stock(node: &Node) -> i64 {
    (0..20).map(|n| sellable(node, &format!("s-{n}"))).sum()
}

#[test]
fn a_disk_without_room_is_waited_for_with_the_partitions_paused() {
    let Some(disk) = Disk::of_mib(64, "Kafka on a full disk") else {
        return;
    };
    let broker = Broker::shared();
    broker.topic("room.light", 2, &[]);
    broker.topic("room.heavy", 2, &[]);
    let topics = [input("room.light", "light"), input("room.heavy", "heavy")].concat();
    let node = Node::builder()
        .config(&config(broker, &topics))
        .data(&disk.inside().join("data"))
        .within(disk.within())
        .env("SHELFD__STORAGE__RESERVE_BYTES", "8388608")
        .start();
    disk.fill();
    wait_until("the node to see it", || node.get("/readyz").status == 503);
    receipts("room.light", 0..300);
    receipts("room.heavy", 300..3_000);
    for topic in ["room.light", "room.heavy"] {
        wait_until("the partitions to be paused", || of_topic(&node, topic)["paused"] == true);
        says(&node, topic, "free space");
        assert_eq!(of_topic(&node, topic)["messages"], 0);
    }
    assert_eq!(letters(&node), Vec::<Value>::new(), "no message is at fault");
    disk.clear();
    taken(&node, broker, &["room.light", "room.heavy"]);
    assert_eq!(stock(&node), 3_000);
    assert_eq!(letters(&node), Vec::<Value>::new());
    assert_eq!(of_topic(&node, "room.light")["paused"], false);
}

#[test]
fn what_a_stranger_in_the_group_took_and_committed_has_its_effect_all_the_same() {
    let broker = Broker::shared();
    broker.topic("group.light", 4, &[]);
    let node = Node::builder()
        .config(&config(broker, &input("group.light", "light")))
        .start();
    receipts("group.light", 0..400);
    taken(&node, broker, &["group.light"]);
    let stranger = broker.join("shelfd.light", "group.light");
    wait_until("a share of the partitions to be the stranger's", || {
        of_topic(&node, "group.light")["partitions"].as_u64() < Some(4)
    });
    receipts("group.light", 400..1_000);
    assert!(stranger.commit_some(50) >= 50);
    assert!(stock(&node) < 1_000);
    drop(stranger);
    wait_until("all partitions to be the node's", || {
        of_topic(&node, "group.light")["partitions"] == 4
    });
    wait_until("the stranger's messages", || stock(&node) == 1_000);
    assert_eq!(letters(&node), Vec::<Value>::new());
}

#[test]
fn messages_of_a_key_are_judged_in_their_order() {
    let broker = Broker::shared();
    broker.topic("order.heavy", 3, &[]);
    let mut node = Node::builder()
        .config(&config(broker, &input("order.heavy", "heavy")))
        .start();
    // A release beyond what is in quarantine is refused, so each must come after its quarantine.
    let mut sent = Vec::new();
    for sku in 0..10 {
        let name = format!("o-{sku}");
        sent.push(Sent::event(&event(&format!("r-{sku}"), "receipt", &name, 1)));
        for n in 0..300 {
            let what = ["quarantine", "release"][n % 2];
            sent.push(Sent::event(&event(&format!("{sku}-{n}"), what, &name, 1)));
        }
    }
    let half = sent.split_off(sent.len() / 2);
    broker.produce("order.heavy", sent);
    node.kill();
    node.restart();
    broker.produce("order.heavy", half);
    taken(&node, broker, &["order.heavy"]);
    assert_eq!(letters(&node), Vec::<Value>::new());
    for sku in 0..10 {
        assert_eq!(sellable(&node, &format!("o-{sku}")), 1);
    }
}

#[test]
fn a_topic_that_is_missing_at_the_start_is_named_and_taken_when_it_is_made() {
    let broker = Broker::shared();
    let node = Node::builder().config(&config(broker, &input("late.light", "light"))).start();
    says(&node, "late.light", "create it");
    broker.topic("late.light", 2, &[]);
    receipts("late.light", 0..20);
    wait_until("the topic to be taken", || stock(&node) == 20);
}

/// A configuration with the password of a file.
fn login(broker: &Broker, file: &std::path::Path, topics: &str) -> String {
    let keys = format!(
        "brokers = \"{}\"\nsecurity = \"sasl_plaintext\"\nusername = \"shelfd\"\n",
        broker.sasl_address()
    );
    format!(
        "{}[kafka]\n{keys}password_file = \"{}\"\n{topics}",
        noon_config(),
        file.display()
    )
}

#[test]
fn a_wrong_password_is_told_by_consumers_and_a_right_one_in_its_file_is_taken_up() {
    let broker = Broker::shared();
    broker.topic("pw.light", 1, &[]);
    receipts("pw.light", 0..20);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "not-the-password").expect("a file");
    let text = login(broker, &file, &input("pw.light", "light"));
    let mut node = Node::builder().config(&text).start();
    says(&node, "pw.light", "uthentication");
    node.get("/readyz").expect_status(200);
    assert!(!node.log().contains("not-the-password"));
    std::fs::copy(broker.file("password"), &file).expect("the right one");
    node.kill();
    node.restart();
    wait_until("the topic to be taken", || stock(&node) == 20);
    let password = std::fs::read_to_string(&file).expect("the password");
    assert!(!node.log().contains(&password) && !node.get("/v1/status").text().contains(&password));
}

#[test]
fn a_right_to_write_that_is_missing_stops_the_topic_loudly_and_nothing_is_skipped() {
    let broker = Broker::shared();
    broker.topic("right.updated", 1, &[]);
    let address = broker.address();
    let acl = |verb: &str| {
        let words = ["tool", "AclCommand", "--bootstrap-server", &address, verb, "--force"];
        let of = [
            "--deny-principal",
            "User:shelfd",
            "--operation",
            "Write",
            "--topic",
            "right.updated",
        ];
        broker.script(&[&words[..], &of[..]].concat());
    };
    acl("--add");
    let node = Node::builder()
        .config(&login(broker, &broker.file("password"), &out("right.updated", "updated")))
        .start();
    let rows: Vec<Value> = (0..30).map(|n| event(&n.to_string(), "receipt", "milk", 1)).collect();
    node.post("/v1/events", &json!(rows)).expect_status(200);
    wait_until("the topic to stop", || of_topic(&node, "right.updated")["state"] == "stopped");
    says(&node, "right.updated", "give the node the right to write");
    node.get("/readyz").expect_status(200);
    acl("--remove");
    super::published(&node, &["right.updated"]);
    assert_eq!(broker.read("right.updated").len(), 30);
}
