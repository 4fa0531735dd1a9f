//! A broker in memory, for the simulator: what it was given, what it was told, and what it does wrong. It outlives the lives of the
//! node that speaks with it.
//!
//! The node's side is the real one as far as the client's library: places, batches, the taker and its journal positions on the way in;
//! cursors, publishers, flights and their confirmation on the way out. What librdkafka does in between is told here in few words: a
//! consumer is sent to an offset, and to the earliest one when there is none such; a producer keeps the order, and may lose an answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rdkafka::message::Headers;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::actors::node::Node;
use crate::doom;
use crate::ingress::admission::Valve;

use super::flight::{Came, Failure, To};
use super::gauge::Gauges;
use super::part::{Parts, Stop};
use super::place::{Places, Sight};
use super::publisher::Publisher;
use super::taken::{Batch, print_of};
use super::taker::Taker;
use super::wave::Next;
use super::{In, Out, What, cursor_of};

/// The topic that events come on, and how many partitions it has.
pub(crate) const IN: &str = "in";
/// Partitions of it.
pub(crate) const PARTITIONS: usize = 2;
/// The topics that facts go out on.
pub(crate) const OUT: [(&str, What); 2] = [("updated", What::Updated), ("availability", What::Availability)];

/// Messages of one partition in one batch.
const GATHERED: usize = 3;
/// How long the message before a place is waited for before the partition's bounds are asked for.
const OVERDUE: Duration = Duration::from_millis(500);
/// Messages confirmed in one look.
const CONFIRMED: usize = 4;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Peer(Arc<Mutex<Broker>>);

#[derive(Default)]
struct Broker {
    partitions: [Partition; PARTITIONS],
    /// Nothing is given and nothing is confirmed.
    away: bool,
    /// Rises when partitions are assigned anew.
    assignment: u64,
    /// Rises when the topic is made anew.
    topic: u64,
    /// So many of the next messages fail, and those behind them.
    fails: u32,
    sent: u64,
    published: Vec<Published>,
}

#[derive(Default)]
struct Partition {
    low: usize,
    /// When it was sent, and the body; its place is the offset.
    messages: Vec<(i64, Vec<u8>)>,
}

/// A message that the broker has.
pub(crate) struct Published {
    pub(crate) topic: &'static str,
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

/// A message that the journal says has been taken.
pub(crate) struct Passed {
    pub(crate) partition: usize,
    pub(crate) offset: usize,
    pub(crate) body: Vec<u8>,
}

/// What the simulator does to it.
impl Peer {
    /// Somebody sends a message.
    pub(crate) fn give(&self, partition: usize, body: &str) {
        let mut broker = self.0.lock();
        broker.sent += 1;
        let at = broker.sent as i64;
        broker.partitions[partition].messages.push((at, body.as_bytes().to_vec()));
    }

    /// It is away, or back.
    pub(crate) fn away(&self, away: bool) {
        self.0.lock().away = away;
    }

    /// The group is balanced anew: the node loses its partitions and gets them back.
    pub(crate) fn reassign(&self) {
        self.0.lock().assignment += 1;
    }

    /// The topic is deleted and made anew, empty.
    pub(crate) fn make_anew(&self) {
        let mut broker = self.0.lock();
        broker.topic += 1;
        broker.partitions = Default::default();
    }

    /// Retention takes the oldest messages of a partition.
    pub(crate) fn cut(&self, partition: usize, messages: usize) {
        let partition = &mut self.0.lock().partitions[partition];
        partition.low = (partition.low + messages).min(partition.messages.len());
    }

    /// The next messages fail.
    pub(crate) fn fail(&self, messages: u32) {
        self.0.lock().fails = messages;
    }

    /// What has been published since this was asked last.
    pub(crate) fn news(&self) -> Vec<Published> {
        std::mem::take(&mut self.0.lock().published)
    }

    /// All messages still there that the journal says have been taken; `None`: the journal has more than `seen`, and what became of
    /// them may be in there.
    pub(crate) fn passed(&self, node: &Node, seen: u64) -> Option<Vec<Passed>> {
        let written = node.store().shared().database.last_seq();
        written.is_ok_and(|written| written == seen).then(|| self.taken(node))
    }

    fn taken(&self, node: &Node) -> Vec<Passed> {
        let Ok(positions) = node.store().positions(IN) else {
            return Vec::new();
        };
        let broker = self.0.lock();
        let mut passed = Vec::new();
        for position in positions {
            let partition = position.partition as usize;
            let of = &broker.partitions[partition];
            let last = (position.next as usize).checked_sub(1).and_then(|last| of.messages.get(last));
            // A place in a topic that is no more says nothing of this one.
            if last.is_none_or(|(at, body)| print_of(Some(*at), None, Some(body)) != position.print) {
                continue;
            }
            for offset in of.low..position.next as usize {
                let body = of.messages[offset].1.clone();
                passed.push(Passed { partition, offset, body });
            }
        }
        passed
    }

    /// How many messages are still there.
    pub(crate) fn len(&self) -> usize {
        let broker = self.0.lock();
        broker.partitions.iter().map(|of| of.messages.len() - of.low).sum()
    }

    /// The fact up to which all is with the broker, by the node's own word.
    pub(crate) fn confirmed(node: &Node) -> u64 {
        let cursor = node.store().cursor(&cursor_of(OUT[0].0));
        cursor.ok().flatten().unwrap_or(0)
    }

    /// Begins to speak with a node, for as long as its runtime lives.
    pub(crate) async fn live(self, node: Node, valve: Valve) {
        let parts = Parts::new(Handle::current());
        let publisher = |(topic, what): (&str, What)| {
            let gauge = Gauges::default().out(topic, what);
            let out = Out {
                topic: topic.to_owned(),
                what,
                structured: false,
                compression: String::new(),
                hold_facts: 1_000_000,
            };
            Publisher::new(node.clone(), To::Peer(self.clone()), out, gauge)
        };
        let (publishers, stop): (Arc<[Publisher]>, _) = (OUT.map(publisher).into(), parts.told());
        // All in one task: whom a watch wakes first is left to chance, and a seed's run is to be the same each time.
        again(move || {
            let (publishers, stop) = (publishers.clone(), stop.clone());
            async move {
                join_all(publishers.iter().map(|publisher| publisher.run(&stop))).await;
            }
        });
        let (peer, stop) = (self, parts.told());
        again(move || peer.clone().consume(node.clone(), valve.clone(), stop.clone()));
        // Whoever holds it could tell them to end; nobody does.
        std::future::pending::<()>().await;
        parts.stop().await;
    }
}

/// Runs a part, and again when it dies.
fn again<F: Future<Output = ()> + Send + 'static>(part: impl Fn() -> F + Send + 'static) {
    tokio::spawn(async move {
        while tokio::spawn(part()).await.is_err_and(|error| error.is_panic()) {
            sleep(Duration::from_millis(100)).await;
        }
    });
}

/// The node's consumer, without the client's library.
impl Peer {
    async fn consume(self, node: Node, valve: Valve, stop: Stop) {
        let one = In {
            topic: IN.to_owned(),
            heavy: false,
            source: String::new(),
        };
        let taker = Taker {
            node,
            heavy: false,
            ins: [one].into(),
            limits: (1_000, 1 << 20),
            valve,
        };
        while !stop.now() {
            self.assigned(&taker).await;
        }
    }

    /// Takes messages until partitions are assigned anew.
    async fn assigned(&self, taker: &Taker) {
        let topic: Arc<str> = IN.into();
        let (assignment, mut incarnation) = self.stands();
        let Ok(positions) = taker.node.store().positions(IN) else {
            return sleep(Duration::from_millis(100)).await;
        };
        let (mut places, mut next) = (Places::default(), [0i64; PARTITIONS]);
        for position in positions {
            let at = places.assign(&topic, position.partition, position.next, position.print);
            next[position.partition as usize] = at;
        }
        let mut since = Instant::now();
        while self.stands().0 == assignment {
            if std::mem::replace(&mut incarnation, self.stands().1) != incarnation {
                for partition in places.made_anew(IN) {
                    next[partition as usize] = 0;
                }
            }
            if since.elapsed() > OVERDUE {
                self.overdue(&topic, &mut places, &mut next);
                since = Instant::now();
            }
            let batch = Arc::new(self.gather(&topic, &mut places, &mut next));
            if batch.len() == 0 {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            let positions = batch.positions(std::slice::from_ref(&topic));
            let mut wait = Duration::from_millis(5);
            while taker.once(&batch, &positions).await.is_err() {
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_millis(500));
            }
            doom::may_die("kafka_in");
        }
    }

    fn stands(&self) -> (u64, u64) {
        let broker = self.0.lock();
        (broker.assignment, broker.topic)
    }

    fn overdue(&self, topic: &Arc<str>, places: &mut Places, next: &mut [i64; PARTITIONS]) {
        let broker = self.0.lock();
        if broker.away {
            return;
        }
        let mut waiting = places.waiting();
        waiting.sort_unstable();
        for (_, partition) in waiting {
            let of = &broker.partitions[partition as usize];
            if places.ends_before(topic, partition, of.low as i64, of.messages.len() as i64) {
                next[partition as usize] = 0;
            }
        }
    }

    fn gather(&self, topic: &Arc<str>, places: &mut Places, next: &mut [i64; PARTITIONS]) -> Batch {
        let (broker, mut batch) = (self.0.lock(), Batch::default());
        if broker.away {
            return batch;
        }
        for (partition, of) in broker.partitions.iter().enumerate() {
            for _ in 0..GATHERED {
                let at = &mut next[partition];
                // An offset that is not there: the earliest, as the client is told to.
                if (*at as usize) < of.low || *at as usize > of.messages.len() {
                    *at = of.low as i64;
                }
                let Some((sent, body)) = of.messages.get(*at as usize) else {
                    break;
                };
                let offset = std::mem::replace(at, *at + 1);
                match places.look(topic, partition as i32, offset, || print_of(Some(*sent), None, Some(body))) {
                    Sight::Taken => {}
                    Sight::Restart => *at = 0,
                    _ => batch.take_parts(0, (partition as i32, offset, Some(*sent)), None, Some(body)),
                }
            }
        }
        batch
    }
}

/// What a sender has in hand.
pub(super) struct Wire {
    peer: Peer,
    topic: &'static str,
    queue: VecDeque<(usize, Published)>,
    broken: bool,
}

impl Peer {
    /// A producer for a topic.
    pub(super) fn wire(&self, topic: &str) -> Wire {
        let known = OUT.iter().find(|(name, _)| *name == topic);
        Wire {
            peer: self.clone(),
            topic: known.map_or("", |(name, _)| name),
            queue: VecDeque::new(),
            broken: false,
        }
    }
}

impl Wire {
    /// A message of a flight.
    pub(super) fn send(&mut self, next: Next<'_>) {
        let id = next
            .headers
            .iter()
            .find(|header| header.key == "ce_id")
            .and_then(|header| header.value);
        let message = Published {
            topic: self.topic,
            key: String::from_utf8_lossy(next.key).into_owned(),
            id: String::from_utf8_lossy(id.unwrap_or_default()).into_owned(),
            body: next.body.to_vec(),
        };
        self.queue.push_back((next.flight, message));
    }

    /// Some of what is underway arrives. Behind one that fails nothing arrives; its own answer may be lost while it has arrived.
    pub(super) fn poll(&mut self, came: &mut Came) {
        let mut broker = self.peer.0.lock();
        if broker.away || self.broken {
            return;
        }
        for _ in 0..CONFIRMED {
            let Some((flight, message)) = self.queue.pop_front() else {
                return;
            };
            if broker.fails > 0 {
                broker.fails -= 1;
                if broker.fails.is_multiple_of(2) {
                    broker.published.push(message);
                }
                self.broken = true;
                return came.fail(Failure::Again("the simulated broker fails".to_owned()));
            }
            broker.published.push(message);
            came.confirm(flight);
        }
    }
}
