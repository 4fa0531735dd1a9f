//! Where damaged records end: a batch whose checksum or compression is wrong is fetched by librdkafka again and again, and nothing
//! behind it comes.
//!
//! A client of its own asks for one offset after the other, by halves: the broker answers with the batch in which an offset lies, and
//! the client's complaint names that batch's first offset. So the end of the first damaged batch is found exactly, whatever lies behind
//! it. Stepping by one was rejected: a batch may hold thousands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::client::{Broker, Trouble};

/// How long the broker may take to answer for one offset.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first offset of the batch that could not be read, as the client complained of it.
#[derive(Clone, Default)]
struct Complaint(Arc<Mutex<Option<i64>>>);

impl ClientContext for Complaint {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, reason: &str) {
        if let Some(offset) = first_offset(reason) {
            *self.0.lock() = Some(offset);
        }
    }
}

impl ConsumerContext for Complaint {}

/// Whether an error says that records cannot be read.
pub(super) fn is_damage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BadMessage | Code::BadCompression | Code::InvalidMessage)
    )
}

/// The offset in `MessageSet at offset 20 (363 bytes) failed …` and `Decompression (codec 0x1) of message at 20 of …`.
fn first_offset(reason: &str) -> Option<i64> {
    let rest = reason
        .split_once(" at offset ")
        .or_else(|| reason.split_once("message at "))?
        .1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The offset behind the damaged batch in which `from` lies; `None` when what lies there can be read, or nobody says.
pub(super) fn end(broker: &Broker, topic: &str, partition: i32, from: i64) -> Result<Option<i64>, Trouble> {
    let complaint = Complaint::default();
    let mut settings = broker.settings()?;
    settings
        .set("group.id", "shelfd-damage")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.error.backoff.ms", "20");
    let consumer: BaseConsumer<Complaint> = settings.create_with_context(complaint.clone())?;
    let (_, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    let batch_of = |offset| damaged_at(&consumer, &complaint, topic, partition, offset);
    let Some(first) = batch_of(from)? else { return Ok(None) };
    // Within the batch, and behind it.
    let (mut within, mut behind) = (from, high);
    while behind - within > 1 {
        let middle = within + (behind - within) / 2;
        match batch_of(middle)? {
            Some(batch) if batch == first => within = middle,
            _ => behind = middle,
        }
    }
    Ok(Some(behind))
}

/// The first offset of the batch of an offset, when that batch is damaged.
fn damaged_at(
    consumer: &BaseConsumer<Complaint>,
    complaint: &Complaint,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<i64>, Trouble> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    consumer.unassign()?;
    *complaint.0.lock() = None;
    consumer.assign(&list)?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) if is_damage(&error) => return Ok(*complaint.0.lock()),
            // The connection is being made, or lost: it goes on.
            Some(Err(_)) | None => {}
        }
    }
    Err(KafkaError::MessageConsumption(Code::OperationTimedOut).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_where_the_batch_begins_that_it_cannot_read() {
        let checksum = "MessageSet at offset 20 (363 bytes) failed CRC32C check (original 0x1 != calculated 0x2)";
        assert_eq!(first_offset(checksum), Some(20));
        let compression = "Decompression (codec 0x1) of message at 7 of 90 bytes failed: Local: Invalid compressed data";
        assert_eq!(first_offset(compression), Some(7));
        assert_eq!(first_offset("Connection refused"), None);
    }
}
