//! Where each partition goes on: the journal's place on assignment, and what the first messages say about it.
//!
//! The message before the place is read once more and compared, since a topic that was made anew has offsets that mean other
//! messages. Trusting the offset alone was rejected: it would skip as many messages of the new topic as the old one had.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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

use super::client::Heard;
use super::gauge::InGauge;
use super::taken::print;

/// How long the broker may take to say where a partition begins.
const WATERMARKS: Duration = Duration::from_secs(5);

/// What is known of one partition.
struct Known {
    /// The offset that comes next.
    next: i64,
    /// The message before it, when that has still to be compared.
    compare: Option<u64>,
}

/// What a message is to the place of its partition.
pub(super) enum Sight {
    /// It is new.
    New,
    /// It was taken before: the one before the place.
    Taken,
    /// The topic is another one: begin at its beginning.
    Restart,
}

/// The context of a consumer: assignments, and what is known of each partition.
pub(super) struct Places {
    node: Node,
    heard: Heard,
    gauges: Vec<(Arc<str>, Arc<InGauge>)>,
    known: Mutex<HashMap<(Arc<str>, i32), Known>>,
}

impl Places {
    pub(super) fn new(node: Node, heard: Heard, gauges: Vec<(Arc<str>, Arc<InGauge>)>) -> Places {
        Places {
            node,
            heard,
            gauges,
            known: Mutex::default(),
        }
    }

    fn gauge(&self, topic: &str) -> Option<&(Arc<str>, Arc<InGauge>)> {
        self.gauges.iter().find(|(name, _)| &**name == topic)
    }

    /// Sets each partition to where the journal says it goes on.
    fn assigned(&self, list: &mut TopicPartitionList) {
        let wanted: Vec<(String, i32)> = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        let mut known = self.known.lock();
        known.clear();
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
            let from = if next > 0 { next - 1 } else { next };
            known.insert(
                (name.clone(), partition),
                Known {
                    next,
                    compare: (next > 0).then_some(print),
                },
            );
            if let Err(error) = list.set_partition_offset(&topic, partition, Offset::Offset(from)) {
                tracing::error!(topic, partition, %error, "the place cannot be set");
            }
        }
        tracing::info!(part = %self.heard.line.name, partitions = %told.join(", "), "partitions are assigned");
        for (_, gauge) in &self.gauges {
            gauge.assigned(told.len());
        }
        self.heard.line.runs();
    }

    /// Looks at a message before it is taken.
    pub(super) fn look(&self, consumer: &BaseConsumer<Places>, message: &BorrowedMessage<'_>) -> Sight {
        let Some((name, gauge)) = self.gauge(message.topic()) else {
            return Sight::Taken;
        };
        let (partition, offset) = (message.partition(), message.offset());
        let key = (name.clone(), partition);
        let mut known = self.known.lock();
        let Some(place) = known.get_mut(&key) else {
            let next = offset + 1;
            known.insert(key, Known { next, compare: None });
            return Sight::New;
        };
        let compare = place.compare.take();
        if compare.is_some() && offset == place.next - 1 {
            if compare == Some(print(message)) {
                return Sight::Taken;
            }
            tracing::error!(topic = %name, partition, offset, "the topic was made anew: it is taken from its beginning; what was taken before is known by its ids");
            gauge.surprised();
            place.next = 0;
            return Sight::Restart;
        }
        if offset < place.next {
            tracing::error!(topic = %name, partition, offset, expected = place.next, "offsets have gone back: the topic was made anew, and is taken from here; what was taken before is known by its ids");
            gauge.surprised();
        } else if offset > place.next {
            // Without the lock: the broker is asked.
            let expected = place.next;
            place.next = offset + 1;
            drop(known);
            overtaken(consumer, name, partition, (expected, offset), gauge);
            return Sight::New;
        }
        place.next = offset + 1;
        Sight::New
    }
}

/// A gap is nothing (a transaction's mark, compaction) unless the partition begins above the place.
fn overtaken(consumer: &BaseConsumer<Places>, topic: &str, partition: i32, (expected, offset): (i64, i64), gauge: &InGauge) {
    match consumer.fetch_watermarks(topic, partition, WATERMARKS) {
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
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(topic, partition, expected, offset, %error, "there is a gap, and the broker does not say why")
        }
    }
}

impl ClientContext for Places {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
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

impl ConsumerContext for Places {
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
