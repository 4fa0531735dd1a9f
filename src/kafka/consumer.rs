//! The consumer of one class of topics: messages in batches, through the door's decoder and valve, to the node, one after the other.
//!
//! What came while a batch was judged is the next batch. A batch is done when each of its messages has had its effect, or is a dead
//! letter, durably; with the last of it the place after it is written. Trouble that passes (no room on the disk, a shut valve, a
//! warehouse being rebuilt) is waited for with the partitions paused, so that memory stays bounded and the group keeps its member.
//! One task for each partition was rejected: nothing would be gained where one journal commits for all, and order would be harder to see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::doom;
use crate::storage::append::Position;

use super::assigned::Assigned;
use super::client::{Broker, Heard, Trouble, code};
use super::damage::is_damage;
use super::gauge::{InGauge, Line};
use super::part::Stop;
use super::place::Sight;
use super::taken::Batch;
use super::taker::Taker;
use super::way::{BATCH, Way};

/// How long a message is waited for; then the thread looks whether it should end.
const POLL: Duration = Duration::from_millis(200);
/// The first and the longest wait when something has to pass.
const AGAIN: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(500)];
/// How long a batch may take before the partitions are paused, so that the consumer may be polled meanwhile.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// The longest that one heavy batch waits for light ones, and for publishers that cannot follow.
const GIVE_WAY: Duration = Duration::from_millis(100);
/// The `nice` of heavy work's threads.
const BEHIND_LIGHT: i32 = 5;

/// Everything that a consumer is given.
pub(super) struct Consumer {
    pub(super) taker: Taker,
    pub(super) broker: Broker,
    pub(super) group: String,
    pub(super) line: Arc<Line>,
    pub(super) gauges: Vec<(Arc<str>, Arc<InGauge>)>,
    pub(super) way: Arc<Way>,
    /// How far the working publishers are behind.
    pub(super) lag: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Consumer {
    /// Takes messages until it should end.
    pub(super) fn run(&self, stop: &Stop) {
        if self.taker.heavy {
            step_back();
        }
        let mut wait = AGAIN[0];
        while !stop.now() {
            match self.consume(stop) {
                Ok(()) => return,
                Err(trouble) => {
                    self.line.waits(&trouble.to_string());
                    stop.pause(wait);
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    fn open(&self) -> Result<BaseConsumer<Assigned>, Trouble> {
        let mut settings = self.broker.settings()?;
        if let Ok(store) = self.taker.node.store().id() {
            // After a crash the group knows its member again, and does not wait ten seconds for the end of the old one.
            settings.set("group.instance.id", format!("shelfd-{store}"));
        }
        settings
            .set("group.id", &self.group)
            // Ours is the place; the group's follows it for whoever looks at lag.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("allow.auto.create.topics", "false")
            // A flipped bit of the broker's disk must not become a quantity.
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            // What one answer brings is all unpacked at once, beside what is queued; so it is little, and soon asked for again.
            .set("max.partition.fetch.bytes", "262144")
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.min.messages", if self.taker.heavy { "20000" } else { "5000" })
            .set("queued.max.messages.kbytes", if self.taker.heavy { "16384" } else { "8192" })
            .set("statistics.interval.ms", "1000")
            // A topic's id is told there, and nowhere else.
            .set("debug", "topic")
            .set_log_level(RDKafkaLogLevel::Debug);
        let context = Assigned::new(self.taker.node.clone(), Heard::new(self.line.clone()), self.gauges.clone());
        let consumer: BaseConsumer<Assigned> = settings.create_with_context(context)?;
        let topics: Vec<&str> = self.taker.ins.iter().map(|one| one.topic.as_str()).collect();
        consumer.subscribe(&topics)?;
        Ok(consumer)
    }

    fn consume(&self, stop: &Stop) -> Result<(), Trouble> {
        let consumer = self.open()?;
        while !stop.now() {
            consumer.context().mind(&consumer, &self.broker);
            let batch = Arc::new(self.gather(&consumer));
            if batch.len() == 0 {
                continue;
            }
            let Some(positions) = self.judge(&consumer, stop, &batch) else {
                return Ok(());
            };
            doom::may_die("kafka_in");
            store(&consumer, &positions);
        }
        // Leaves the group, and with it the places that were stored.
        drop(consumer);
        Ok(())
    }

    /// What is there: waits only for the first.
    fn gather(&self, consumer: &BaseConsumer<Assigned>) -> Batch {
        let mut batch = Batch::default();
        let mut wait = POLL;
        let most = if self.taker.heavy { self.way.heavy_batch() } else { BATCH.0 };
        while batch.len() < most && batch.bytes() < BATCH.1 {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if batch.len() == 0 {
                        self.line.runs();
                    }
                    self.sort(consumer, &mut batch, &message);
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    self.trouble(consumer, &error);
                    break;
                }
            }
        }
        batch
    }

    /// A message goes into the batch, unless its place says something else.
    fn sort(&self, consumer: &BaseConsumer<Assigned>, batch: &mut Batch, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.gauges.iter().position(|(name, _)| &**name == message.topic()) else {
            return;
        };
        match consumer.context().look(consumer, message) {
            Sight::Damaged { expected } => {
                batch.lose(topic, message.partition(), expected, message.offset());
                batch.take(topic, message);
            }
            Sight::New | Sight::Gap { .. } | Sight::Back { .. } => batch.take(topic, message),
            // Known from before a start: the group is told what the journal says, also when nothing new comes.
            Sight::Taken => {
                let position = Position {
                    topic: self.gauges[topic].0.clone(),
                    partition: message.partition(),
                    next: message.offset() + 1,
                    print: 0,
                };
                store(consumer, &[position]);
            }
            Sight::Restart => {}
        }
    }

    fn trouble(&self, consumer: &BaseConsumer<Assigned>, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let words = code(error);
        match error.rdkafka_error_code() {
            // It goes on behind them; the next message shows how many there were.
            _ if is_damage(error) => consumer.context().damaged(&words),
            // Said by the client while it looks for its place, and mended by it.
            Some(Code::PartitionEOF | Code::NoError) => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                let topics: Vec<&str> = self.taker.ins.iter().map(|one| one.topic.as_str()).collect();
                self.line.waits(&format!(
                    "{words}: the broker lacks one of the topics {}; create it",
                    topics.join(", ")
                ));
            }
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                self.line.waits(&format!(
                    "{words}: give the node the right to read its topics and the group {}",
                    self.group
                ));
            }
            // The client has told its callback already, with a reason: the bare code must not stand in the reason's place.
            _ if self.line.is_waiting() => {}
            _ => self.line.waits(&words),
        }
    }

    /// Carries a batch to its end; `None`: the thread should end before it.
    fn judge(&self, consumer: &BaseConsumer<Assigned>, stop: &Stop, batch: &Arc<Batch>) -> Option<Vec<Position>> {
        let topics: Vec<Arc<str>> = self.gauges.iter().map(|(name, _)| name.clone()).collect();
        let positions = batch.positions(&topics);
        if self.taker.heavy {
            self.give_way(stop);
        } else {
            self.way.light(true);
        }
        let begun = Instant::now();
        let (mut wait, mut paused) = (AGAIN[0], false);
        let done = loop {
            match stop.finish(self.taker.once(batch, &positions)) {
                Ok(()) => break Some(()),
                Err(_) if stop.now() => break None,
                Err(refusal) => {
                    self.line.waits(&format!("the node cannot take more now: {refusal}"));
                    if begun.elapsed() > PAUSE_AFTER && !paused {
                        paused = self.pause(consumer, true);
                    }
                    stop.pause(wait);
                    wait = (wait * 2).min(AGAIN[1]);
                    if paused {
                        // Nothing comes of paused partitions; a new assignment may.
                        drop(consumer.poll(Duration::ZERO));
                    }
                }
            }
        };
        if paused {
            self.pause(consumer, false);
        }
        if !self.taker.heavy {
            self.way.light(false);
        }
        self.line.runs();
        batch.count(&self.gauges);
        if self.taker.heavy {
            stop.pause(self.way.rest(begun.elapsed()));
        }
        done.map(|()| positions)
    }

    fn pause(&self, consumer: &BaseConsumer<Assigned>, pause: bool) -> bool {
        let list = consumer.assignment();
        let done = list.and_then(|list| {
            if pause {
                consumer.pause(&list)
            } else {
                consumer.resume(&list)
            }
        });
        if let Err(error) = &done {
            tracing::warn!(part = %self.line.name, %error, pause, "partitions could not be paused or resumed");
        }
        self.gauges.iter().for_each(|(_, gauge)| gauge.paused(pause));
        pause && done.is_ok()
    }

    /// Waits a moment for light work and for publishers that cannot follow.
    fn give_way(&self, stop: &Stop) {
        let begun = Instant::now();
        while self.way.is_busy((self.lag)()) && begun.elapsed() < GIVE_WAY && !stop.now() {
            stop.pause(Duration::from_millis(1));
        }
    }
}

/// Hands the places to the client, which commits them to the group once a second.
fn store(consumer: &BaseConsumer<Assigned>, positions: &[Position]) {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for position in positions {
        let added = list.add_partition_offset(&position.topic, position.partition, Offset::Offset(position.next));
        if let Err(error) = added {
            tracing::debug!(%error, "a place for the group could not be named");
        }
    }
    // A partition that was taken away meanwhile is no longer ours to commit.
    if let Err(error) = consumer.store_offsets(&list) {
        tracing::debug!(%error, "the group's places were not stored");
    }
}

/// This thread, and those that the client starts from it, run when light work leaves them the processor.
fn step_back() {
    use rustix::process::setpriority_process;
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), BEHIND_LIGHT) {
        tracing::debug!(%error, "the heavy consumer's thread keeps its priority");
    }
}
