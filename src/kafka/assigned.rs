//! The context of a consumer: sets each assigned partition to its place, looks at what comes, and hears what librdkafka says.
//!
//! A topic that is thrown away and made anew while the node reads it goes on for librdkafka where the old one was (its
//! `rd_kafka_topic_metadata_update0` says so in a comment of its own), so messages of the new topic would be skipped. The change of the topic's id is
//! told in one line of its log for debugging, and nowhere else; so that line is asked for and heard. Asking the broker for topic ids was
//! rejected: the client's library has no call for it without `unsafe`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};

use crate::actors::node::Node;
use crate::storage::append::Position;

use super::client::{Broker, Heard};
use super::damage;
use super::gauge::InGauge;
use super::place::{Places, Sight};
use super::taken::print;

/// How long the broker may take to say where a partition begins and ends, and how long a seek may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the message before a place is waited for before the broker is asked where the partition ends.
const OVERDUE: Duration = Duration::from_millis(500);
/// librdkafka's word for the id of a topic that it had not seen before.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// See the module.
pub(super) struct Assigned {
    node: Node,
    heard: Heard,
    gauges: Vec<(Arc<str>, Arc<InGauge>)>,
    places: Mutex<Places>,
    /// Topics whose id has changed, to be begun anew by the thread that polls.
    anew: Mutex<BTreeSet<String>>,
    /// The client complains of records that it cannot read.
    complained: AtomicBool,
    /// Records that cannot be read were passed over, and no message behind them has come yet.
    unread: AtomicBool,
    /// Since when the message before some place is waited for.
    since: Mutex<Option<Instant>>,
}

impl Assigned {
    pub(super) fn new(node: Node, heard: Heard, gauges: Vec<(Arc<str>, Arc<InGauge>)>) -> Assigned {
        Assigned {
            node,
            heard,
            gauges,
            places: Mutex::default(),
            anew: Mutex::default(),
            complained: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            since: Mutex::default(),
        }
    }

    fn gauge(&self, topic: &str) -> Option<&(Arc<str>, Arc<InGauge>)> {
        self.gauges.iter().find(|(name, _)| &**name == topic)
    }

    /// Sets each partition to where the journal says it goes on.
    fn assigned(&self, list: &mut TopicPartitionList) {
        let elements = list.elements();
        let wanted: Vec<(String, i32)> = elements.iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        let mut places = self.places.lock();
        places.clear();
        let mut told = Vec::new();
        for (topic, partition) in wanted {
            let positions = self.node.store().positions(&topic).unwrap_or_else(|error| {
                // The group's own place is never ahead of the journal's; what comes twice is known by its ids.
                tracing::warn!(topic, %error, "the journal's places cannot be read; the group's are used");
                Vec::new()
            });
            let place = positions.into_iter().find(|position| position.partition == partition);
            let Some((name, _)) = self.gauge(&topic) else { continue };
            let Some(Position { next, print, .. }) = place else {
                told.push(format!("{topic}/{partition} from its beginning"));
                continue;
            };
            told.push(format!("{topic}/{partition} at {next}"));
            let from = places.assign(name, partition, next, print);
            if let Err(error) = list.set_partition_offset(&topic, partition, Offset::Offset(from)) {
                tracing::error!(topic, partition, %error, "the place cannot be set");
            }
        }
        tracing::info!(part = %self.heard.line.name, partitions = %told.join(", "), "partitions are assigned");
        for (_, gauge) in &self.gauges {
            gauge.assigned(told.len());
        }
        *self.since.lock() = Some(Instant::now());
        self.heard.line.runs();
    }

    /// Looks at a message before it is taken; whether it is to be. What it says about its topic is told, and done.
    pub(super) fn look(&self, consumer: &BaseConsumer<Assigned>, message: &BorrowedMessage<'_>) -> Sight {
        let Some((name, gauge)) = self.gauge(message.topic()) else {
            return Sight::Taken;
        };
        let (partition, offset) = (message.partition(), message.offset());
        // The lock is not held while the broker is asked.
        let sight = self.places.lock().look(name, partition, offset, || print(message));
        match sight {
            Sight::New | Sight::Taken => {}
            Sight::Gap { expected } => {
                let overtaken = overtaken(consumer, name, partition, (expected, offset), gauge);
                // A gap is nothing (a transaction's mark, compaction), unless the client has said that it could not read something.
                if !overtaken && self.unread.swap(false, Ordering::Relaxed) {
                    let missed = offset - expected;
                    tracing::error!(topic = %name, partition, from = expected, missed, "records cannot be read: their place is a dead letter, and those behind are taken");
                    gauge.missed(missed.unsigned_abs());
                    return Sight::Damaged { expected };
                }
            }
            // Never said by the places themselves.
            Sight::Damaged { .. } => {}
            Sight::Back { expected } => {
                tracing::error!(topic = %name, partition, offset, expected, "offsets have gone back: the topic was made anew, and is taken from here; what was taken before is known by its ids");
                gauge.surprised();
            }
            Sight::Restart => self.begin_anew(consumer, name, &[partition], gauge),
        }
        sight
    }

    /// Looks for what no message tells: topics that ended before the place or changed their ids. Called between two batches.
    pub(super) fn mind(&self, consumer: &BaseConsumer<Assigned>, broker: &Broker) {
        if self.complained.swap(false, Ordering::Relaxed) {
            self.pass_damage(consumer, broker);
        }
        let changed = std::mem::take(&mut *self.anew.lock());
        for topic in changed {
            let partitions = self.places.lock().made_anew(&topic);
            if let Some((name, gauge)) = self.gauge(&topic)
                && !partitions.is_empty()
            {
                self.begin_anew(consumer, name, &partitions, gauge);
            }
        }
        let overdue = self.since.lock().take_if(|since| since.elapsed() > OVERDUE).is_some();
        if !overdue {
            return;
        }
        let waiting = self.places.lock().waiting();
        for (name, partition) in &waiting {
            let Ok((low, high)) = consumer.fetch_watermarks(name, *partition, PATIENCE) else {
                continue;
            };
            if self.places.lock().ends_before(name, *partition, low, high)
                && let Some((_, gauge)) = self.gauge(name)
            {
                self.begin_anew(consumer, name, &[*partition], gauge);
            }
        }
        if !self.places.lock().waiting().is_empty() {
            *self.since.lock() = Some(Instant::now());
        }
    }

    /// The client could not read some records.
    pub(super) fn damaged(&self, words: &str) {
        self.complained.store(true, Ordering::Relaxed);
        self.heard.line.waits(&format!("{words}: records of the broker are damaged"));
    }

    /// Goes on behind the batches that the client cannot read; what comes next shows the gap, and makes it a dead letter.
    fn pass_damage(&self, consumer: &BaseConsumer<Assigned>, broker: &Broker) {
        let Ok(list) = consumer.assignment() else { return };
        for one in list.elements() {
            let Some((name, _)) = self.gauge(one.topic()) else { continue };
            let partition = one.partition();
            let next = self.places.lock().next(name, partition);
            let Ok((low, high)) = consumer.fetch_watermarks(name, partition, PATIENCE) else {
                continue;
            };
            let from = next.unwrap_or(low).max(low);
            if from >= high {
                continue;
            }
            let end = damage::end(broker, name, partition, from).unwrap_or_else(|error| {
                tracing::warn!(topic = %name, partition, from, %error, "where the damaged records end is not known yet; it is asked again");
                None
            });
            if let Some(end) = end {
                tracing::error!(topic = %name, partition, from, to = end, "records of the broker are damaged: those behind them are taken");
                if next.is_none() {
                    self.places.lock().assign(name, partition, from, 0);
                }
                self.unread.store(true, Ordering::Relaxed);
                if let Err(error) = consumer.seek(name, partition, Offset::Offset(end), PATIENCE) {
                    tracing::error!(topic = %name, partition, %error, "what lies behind the damaged records could not be reached; it is tried again");
                }
            }
        }
    }

    fn begin_anew(&self, consumer: &BaseConsumer<Assigned>, topic: &str, partitions: &[i32], gauge: &InGauge) {
        tracing::error!(
            topic,
            ?partitions,
            "the topic was made anew: it is taken from its beginning; what was taken before is known by its ids"
        );
        gauge.surprised();
        for partition in partitions {
            if let Err(error) = consumer.seek(topic, *partition, Offset::Beginning, PATIENCE) {
                tracing::error!(%error, topic, partition, "the beginning of the partition could not be found; it is looked for again");
                self.anew.lock().insert(topic.to_owned());
            }
        }
    }
}

/// Whether a gap is there because the partition begins above the place.
fn overtaken(
    consumer: &BaseConsumer<Assigned>,
    topic: &str,
    partition: i32,
    (expected, offset): (i64, i64),
    gauge: &InGauge,
) -> bool {
    match consumer.fetch_watermarks(topic, partition, PATIENCE) {
        Ok((low, _)) if low > expected => {
            let missed = low.min(offset) - expected;
            tracing::error!(
                topic,
                partition,
                missed,
                from = expected,
                to = low,
                "retention has overtaken the node: messages were thrown away before they were taken"
            );
            gauge.missed(missed.unsigned_abs());
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(topic, partition, expected, offset, %error, "there is a gap, and the broker does not say why");
            false
        }
    }
}

/// The topic whose id a line of librdkafka's log says to have changed, when it had another one before.
fn changed_topic(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Topic ")?;
    let (topic, ids) = rest.split_once(" changed id from ")?;
    (!ids.starts_with(NO_ID)).then_some(topic)
}

impl ClientContext for Assigned {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        if let RDKafkaLogLevel::Debug = level {
            // Asked for because of this one line.
            if let Some(topic) = changed_topic(message) {
                self.anew.lock().insert(topic.to_owned());
            }
            return;
        }
        self.heard.log(level, fac, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
    fn stats(&self, statistics: Statistics) {
        for (name, gauge) in &self.gauges {
            if let Some(topic) = statistics.topics.get(&**name) {
                let lag = topic
                    .partitions
                    .iter()
                    .filter(|(id, _)| **id >= 0)
                    .map(|(_, partition)| partition.consumer_lag.max(0));
                gauge.lags(lag.sum::<i64>().unsigned_abs());
            }
        }
    }
}

impl ConsumerContext for Assigned {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assigned(list);
                consumer.assign(list)
            }
            _ => {
                tracing::info!(part = %self.heard.line.name, partitions = list.count(), "partitions are taken away");
                consumer.unassign()
            }
        };
        if let Err(error) = done {
            self.heard.line.waits(&format!("the assignment failed: {error}"));
        }
    }

    fn commit_callback(&self, result: rdkafka::error::KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(part = %self.heard.line.name, %error, "the group's place was not kept; the journal's is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_got_another_id_is_heard_of_and_a_new_one_is_not() {
        let line = |from: &str| format!("[thrd:main]: Topic inventory.light changed id from {from} to Zq3h0cJvT9y2wH1fQkq0Ig");
        assert_eq!(changed_topic(&line("x1b2c3d4T9y2wH1fQkq0Ig")), Some("inventory.light"));
        assert_eq!(changed_topic(&line(NO_ID)), None);
        assert_eq!(changed_topic("[thrd:main]: Topic a [0] Leader 1 Epoch 0"), None);
    }
}
