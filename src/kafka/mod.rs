//! Kafka, both ways: events in, as over HTTP; facts out, behind cursors on the journal.
//!
//! Nothing of the stock path waits for the broker. A consumer hands its messages to the same decoder, valve and node as the HTTP
//! door, and its place is written in the commit of their effect. A publisher reads what is durable and remembers how far the
//! broker has confirmed it; while there is no broker it only falls behind. So the journal is the outbox, and there is no other.
//!
//! Everything here runs on threads of its own ([`part`]), since librdkafka's calls block. Rejected: Kafka transactions (they end at the
//! broker, and our store is not in them) and one client for all topics (a topic that refuses would stop its neighbours).

mod assigned;
mod body;
pub mod check;
mod client;
mod cloud;
mod consumer;
mod damage;
mod facts;
mod flight;
mod gauge;
mod latest;
mod part;
#[cfg(test)]
pub(crate) mod peer;
mod place;
mod publisher;
mod rounds;
mod shadow;
mod taken;
mod taker;
mod wave;
mod way;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::actors::node::Node;
use crate::domain::units::Id;
use crate::ingress::admission::Valve;

pub use client::{Broker, Login, Trouble};
use consumer::Consumer;
use flight::To;
pub use gauge::Gauges;
use part::Parts;
use taker::Taker;
use way::Way;

/// What is published on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Every change of a SKU.
    Updated,
    /// The latest of each SKU.
    Availability,
    /// Every change of a basket.
    Reservations,
    /// What other systems believe.
    Drift,
    /// What could not be taken.
    DeadLetters,
}

impl What {
    /// Its word in the configuration and in ids.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Updated => "updated",
            What::Availability => "availability",
            What::Reservations => "reservations",
            What::Drift => "drift",
            What::DeadLetters => "dead_letters",
        }
    }
}

/// A topic that is published to.
#[derive(Clone, Debug)]
pub struct Out {
    /// The topic.
    pub topic: String,
    /// What is published there.
    pub what: What,
    /// Whether attributes stand in the body, and not in headers.
    pub structured: bool,
    /// How batches are compressed.
    pub compression: String,
    /// How many facts behind it still holds the journal.
    pub hold_facts: u64,
}

/// A topic that events are taken from.
#[derive(Clone, Debug)]
pub struct In {
    /// The topic.
    pub topic: String,
    /// Whether it takes what others leave.
    pub heavy: bool,
    /// Under which source its dead letters are told; empty: `kafka/` and the topic.
    pub source: String,
}

impl In {
    /// Under which source its dead letters are told.
    fn told_as(&self) -> Id {
        match self.source.as_str() {
            "" => Id::trusted(&format!("kafka/{}", self.topic)),
            named => Id::trusted(named),
        }
    }
}

/// What the composition root hands over.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker.
    pub broker: Broker,
    /// The consumer group's beginning.
    pub group: String,
    /// The most rows of one message.
    pub max_rows: usize,
    /// The most bytes of one message.
    pub max_bytes: usize,
    /// What comes in.
    pub ins: Vec<In>,
    /// What goes out.
    pub outs: Vec<Out>,
}

/// The running publishers and consumers.
pub struct Kafka {
    parts: Parts,
    gauges: Arc<Gauges>,
    way: Arc<Way>,
}

/// What the names of all cursors of publishers begin with.
const CURSORS: &str = "kafka/";

impl Kafka {
    /// Starts a thread for each topic. Never waits for a broker; `Err` only when the options cannot be meant.
    pub fn start(node: &Node, options: Options, valve: &Valve) -> Result<Kafka, Trouble> {
        // Read now, so that a file that is missing is told at the start and not at the first try.
        options.broker.settings()?;
        let mut kafka = Kafka {
            parts: Parts::new(Handle::current()),
            gauges: Arc::default(),
            way: Arc::default(),
        };
        forget_others(node, &options.outs);
        for heavy in [false, true] {
            kafka.consume(node, &options, heavy, valve);
        }
        for out in options.outs {
            let gauge = kafka.gauges.out(&out.topic, out.what);
            let name = format!("kafka-out {}", out.topic);
            let publisher = publisher::Publisher::new(node.clone(), To::Broker(options.broker.clone()), out, gauge);
            kafka.parts.start(name, move |stop| stop.finish(publisher.run(stop)));
        }
        Ok(kafka)
    }

    /// Starts the consumer of a class, when it has topics.
    fn consume(&mut self, node: &Node, options: &Options, heavy: bool, valve: &Valve) {
        let ins: Vec<In> = options.ins.iter().filter(|one| one.heavy == heavy).cloned().collect();
        if ins.is_empty() {
            return;
        }
        let class = if heavy { "heavy" } else { "light" };
        let line = Gauges::line(&format!("in {class}"));
        let gauge = |one: &In| (one.topic.as_str().into(), self.gauges.input(&one.topic, class, &line));
        let gauges = ins.iter().map(gauge).collect();
        let (behind, view) = (self.gauges.clone(), node.clone());
        let taker = Taker {
            node: node.clone(),
            heavy,
            ins: ins.into(),
            limits: (options.max_rows, options.max_bytes),
            valve: valve.clone(),
        };
        let consumer = Consumer {
            taker,
            broker: options.broker.clone(),
            group: format!("{}.{class}", options.group),
            line,
            gauges,
            way: self.way.clone(),
            lag: Arc::new(move || behind.behind(view.view().durable_seq())),
        };
        self.parts.start(format!("kafka-in {class}"), move |stop| consumer.run(stop));
    }

    /// What status and metrics say of it.
    pub fn gauges(&self) -> Arc<Gauges> {
        self.gauges.clone()
    }

    /// Tells every thread to end, and waits for them.
    pub async fn stop(self) {
        self.parts.stop().await;
    }
}

/// A topic that is configured no more holds nothing of the journal.
fn forget_others(node: &Node, outs: &[Out]) {
    for name in node.store().cursors(CURSORS) {
        if !outs.iter().any(|out| cursor_of(&out.topic) == name) {
            tracing::warn!(cursor = %name, "no [[kafka.out]] names this topic any more: its place in the journal is forgotten");
            node.store().drop_cursor(&name);
        }
    }
}

fn cursor_of(topic: &str) -> String {
    format!("{CURSORS}{topic}")
}

impl gauge::Gauges {
    /// The members that the node's status has because of Kafka; none when it speaks to no broker.
    pub fn status(&self, newest: u64) -> Value {
        json!({ "kafka_in": self.ins(), "kafka_out": self.outs(newest) })
    }
}
