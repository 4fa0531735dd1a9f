//! Topics that are not what they were: more partitions, made anew with fewer or more messages, overtaken by retention. Each is
//! noticed, does the right thing and is said.

use super::take::{input, sellable};
use super::{config, of_topic, taken};
use crate::harness::events::event;
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::{Node, wait_until};

#[test]
fn new_partitions_a_topic_made_anew_and_retention_are_noticed() {
    let broker = Broker::shared();
    broker.topic("p.light", 1, &[]);
    let mut node = Node::builder().config(&config(broker, &input("p.light", "light"))).start();
    let send = |range: std::ops::Range<usize>, partition: i32| {
        let message = |n: usize| Sent {
            partition: Some(partition),
            ..Sent::event(&event(&format!("e-{partition}-{n}"), "receipt", "milk", 1))
        };
        broker.produce("p.light", range.map(message));
    };
    send(0..10, 0);
    taken(&node, broker, &["p.light"]);
    broker.partitions("p.light", 3);
    send(0..5, 2);
    wait_until("the new partition", || sellable(&node, "milk") == 15);
    // While the node is away, retention takes what it has not seen.
    node.kill();
    send(10..30, 0);
    broker.cut("p.light", 0, 20);
    node.restart();
    wait_until("what retention left", || sellable(&node, "milk") == 25);
    assert_eq!(of_topic(&node, "p.light")["missed"], 10);
    // The topic is made anew, with more messages than the old one had.
    node.kill();
    broker.drop_topic("p.light");
    broker.topic("p.light", 1, &[]);
    send(100..140, 0);
    node.restart();
    wait_until("the new topic", || sellable(&node, "milk") == 65);
    // And once more, with fewer, while the node runs.
    broker.drop_topic("p.light");
    broker.topic("p.light", 1, &[]);
    send(200..205, 0);
    wait_until("the newest topic", || sellable(&node, "milk") == 70);
    assert!(of_topic(&node, "p.light")["made_anew"].as_u64() >= Some(1));
}

/// Receipts of one unit under ids of their own.
fn receipts(topic: &str, range: std::ops::Range<usize>) {
    let message = |n: usize| Sent::event(&event(&format!("{topic}-{n}"), "receipt", topic, 1));
    Broker::shared().produce(topic, range.map(message));
}

/// The topic is thrown away, and there is another of its name with these messages.
fn made_anew(topic: &str, range: std::ops::Range<usize>) {
    Broker::shared().drop_topic(topic);
    Broker::shared().topic(topic, 1, &[]);
    receipts(topic, range);
}

#[test]
fn a_new_topic_that_ends_just_before_the_place_is_taken_from_its_beginning() {
    let broker = Broker::shared();
    broker.topic("short.light", 1, &[]);
    let mut node = Node::builder()
        .config(&config(broker, &input("short.light", "light")))
        .start();
    receipts("short.light", 0..10);
    taken(&node, broker, &["short.light"]);
    node.kill();
    // Its end is where the message before the place would be: nothing that comes would show that it is another one.
    made_anew("short.light", 100..109);
    node.restart();
    wait_until("the new topic", || sellable(&node, "short.light") == 19);
    assert!(of_topic(&node, "short.light")["made_anew"].as_u64() >= Some(1));
    receipts("short.light", 109..111);
    wait_until("what follows", || sellable(&node, "short.light") == 21);
}

#[test]
fn a_topic_made_anew_beyond_the_place_while_it_is_read_is_taken_from_its_beginning() {
    let broker = Broker::shared();
    broker.topic("longer.light", 1, &[]);
    let node = Node::builder()
        .config(&config(broker, &input("longer.light", "light")))
        .start();
    for round in 0..3 {
        let begin = round * 1_000;
        made_anew("longer.light", begin..begin + 100 * (round + 1));
        let all = (0..=round).map(|round| 100 * (round as i64 + 1)).sum::<i64>();
        wait_until("the new topic", || sellable(&node, "longer.light") == all);
    }
}
