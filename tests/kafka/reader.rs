//! The reader of `examples/kafka`, a real client in another language: its copy equals the node, whatever is restarted meanwhile.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{config, out};
use crate::harness::events::event;
use crate::harness::kafka::Broker;
use crate::harness::node::{Node, wait_until};

/// The reader as a process, gone with the test.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_copy_of_the_reader_equals_the_node_at_rest() {
    let broker = Broker::start();
    broker.topic("r.availability", 3, &[("cleanup.policy", "compact")]);
    let mut node = Node::builder()
        .config(&config(&broker, &out("r.availability", "availability")))
        .start();
    let python = broker.script(&["python"]);
    let copy = node.work().join("copy.json");
    let reader = Command::new(python.trim())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kafka/reader.py"))
        .args([broker.address().as_str(), "r.availability"])
        .arg(&copy)
        .stdin(Stdio::null())
        .spawn()
        .expect("the reader starts");
    let mut reader = Reader(reader);
    for round in 0..4 {
        for batch in 0..5 {
            let row = |n: usize| event(&format!("{round}.{batch}.{n}"), "receipt", &format!("s-{}", n % 40), 1);
            let rows = (0..100).map(row).collect::<Vec<_>>();
            node.post("/v1/events", &json!(rows)).expect_status(200);
            let hold = json!({"channel": "web", "lines": [{"sku": format!("s-{batch}"), "quantity": 1}]});
            node.put(&format!("/v1/warehouses/main/reservations/o-{round}-{batch}"), &hold);
        }
        match round {
            0 => broker.kill(),
            1 => broker.up(),
            2 => {
                node.kill();
                node.restart();
            }
            _ => {}
        }
    }
    let shown = |n: usize| {
        let sku = node.get(&format!("/v1/warehouses/main/skus/s-{n}")).expect_status(200).json();
        (
            format!("main/s-{n}"),
            json!({"version": sku["version"], "available": sku["available"]}),
        )
    };
    let truth: Value = (0..40).map(shown).collect::<serde_json::Map<_, _>>().into();
    wait_until("the reader's copy to equal the node", || {
        let text = std::fs::read(&copy).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|copy| copy == truth)
    });
    assert!(
        reader.0.try_wait().expect("it is ours").is_none(),
        "the reader has lived through all of it"
    );
}
