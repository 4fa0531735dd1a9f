//! Messages on their way to the broker: which of them it has confirmed, and up to where that is everything.
//!
//! A flight is a portion of the journal; its end counts only when every message of it and of all flights before it is confirmed.
//! Waiting for each message was rejected: the broker's round trip would be the speed of the outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, Message as _};

use crate::planted::{self, Bug};

use super::client::{Broker, Heard, Trouble, code};
use super::gauge::Line;
#[cfg(test)]
use super::peer;
use super::wave::{Next, Waiting};
use super::{Out, What};

/// Messages not confirmed, sent or waiting to be; past it nothing more is read.
const MAX_MESSAGES: usize = 10_000;
/// KiB of them in the client. A dead letter is as large as the message that it keeps, and one that does not fit waits for ever.
const MAX_KBYTES: [&str; 2] = ["16384", "131072"];
/// Answers heard at once.
const MAX_ANSWERS: usize = 64;
/// How long a full queue may stay full before it is looked at again.
const ROOM_WITHIN: Duration = Duration::from_millis(5);

/// Why publishing cannot go on.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is worth trying again soon.
    Again(String),
    /// The broker will say the same to the same message: a person must mend it.
    Forever(String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Again(trouble.to_string())
    }
}

impl Failure {
    /// What a broker's answer means for the topic.
    fn of(error: &KafkaError, topic: &str, bytes: usize) -> Failure {
        use RDKafkaErrorCode as Code;
        let words = code(error);
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Failure::Forever(format!(
                "{words}: a message of {bytes} bytes is larger than the topic {topic} takes; raise its max.message.bytes"
            )),
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                Failure::Forever(format!("{words}: give the node the right to write to the topic {topic}"))
            }
            Some(Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTopic | Code::UnsupportedForMessageFormat) => {
                Failure::Forever(format!(
                    "{words}: the topic {topic} does not take what is published on it; look at its settings"
                ))
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Failure::Again(format!("{words}: the broker has no topic {topic}; create it"))
            }
            _ => Failure::Again(words),
        }
    }
}

/// Whom it is sent to.
#[derive(Clone)]
pub(super) enum To {
    /// A real one.
    Broker(Broker),
    /// The simulator's.
    #[cfg(test)]
    Peer(peer::Peer),
}

/// The answers as they come, in the thread that polls.
struct Answers {
    heard: Heard,
    topic: String,
    came: Arc<Mutex<Came>>,
    /// Answers that have come.
    looks: AtomicU64,
    /// The partitions that they came from, up to the highest.
    partitions: AtomicUsize,
}

/// What has been answered, and not been looked at yet.
#[derive(Default)]
pub(super) struct Came {
    /// The flight, and how many of its messages were confirmed in a row.
    confirmed: Vec<(usize, u32)>,
    failed: Option<Failure>,
}

impl Came {
    /// A message of a flight is with the broker.
    pub(super) fn confirm(&mut self, flight: usize) {
        match self.confirmed.last_mut() {
            Some((last, count)) if *last == flight => *count += 1,
            _ => self.confirmed.push((flight, 1)),
        }
    }

    /// A message is not. What is purged after a failure says nothing new.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.heard.log(level, fac, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: usize) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut came = self.came.lock();
        match result {
            Ok(message) => {
                let partitions = usize::try_from(message.partition()).map_or(1, |last| last + 1);
                self.partitions.fetch_max(partitions, Ordering::Relaxed);
                came.confirm(flight);
            }
            Err((error, message)) => came.fail(Failure::of(error, &self.topic, message.payload_len())),
        }
    }
}

struct Flight {
    /// The sequence up to which everything is in this flight or in one before it; `None`: that is said by a later one.
    end: Option<u64>,
    open: u32,
}

/// What carries messages.
enum Wire {
    Broker(BaseProducer<Answers>),
    #[cfg(test)]
    Peer(peer::Wire),
}

/// See the module.
pub(super) struct Sender {
    wire: Wire,
    came: Arc<Mutex<Came>>,
    topic: String,
    flights: VecDeque<Flight>,
    /// The number of the first flight.
    first: usize,
    /// Messages not confirmed, and those of them that the wire has.
    messages: usize,
    sent: usize,
    waiting: Waiting,
}

impl Sender {
    /// A producer of its own. Connects by itself, whenever it can.
    pub(super) fn open(to: &To, out: &Out, line: &Arc<Line>) -> Result<Sender, Trouble> {
        let came = Arc::default();
        let wire = match to {
            To::Broker(broker) => Wire::Broker(producer(broker, out, line, &came)?),
            #[cfg(test)]
            To::Peer(peer) => Wire::Peer(peer.wire(&out.topic)),
        };
        Ok(Sender {
            wire,
            came,
            topic: out.topic.clone(),
            flights: VecDeque::new(),
            first: 0,
            messages: 0,
            sent: 0,
            waiting: Waiting::default(),
        })
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.messages < MAX_MESSAGES && self.waiting.has_room()
    }

    /// Whether everything is confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Begins a flight: what is sent from now on belongs to it. With it all is sent up to `end`.
    pub(super) fn begin(&mut self, end: Option<u64>) {
        self.flights.push_back(Flight { end, open: 0 });
    }

    /// Says of the newest flight that with it all is sent up to `end`.
    pub(super) fn ends(&mut self, end: u64) {
        if let Some(flight) = self.flights.back_mut() {
            flight.end = Some(end);
        }
    }

    /// Adds one message to the newest flight. It goes with the next wave.
    pub(super) fn send(&mut self, key: &str, body: &[u8], headers: OwnedHeaders) {
        let flight = self.first + self.flights.len() - 1;
        self.waiting.push(flight, key, body, headers);
        if let Some(flight) = self.flights.back_mut() {
            flight.open += 1;
        }
        self.messages += 1;
    }

    /// Gives the next wave to the wire, when it has confirmed the one before.
    fn hand_over(&mut self) -> Result<(), Failure> {
        if self.sent > 0 {
            return Ok(());
        }
        let (topic, came) = (&self.topic, &self.came);
        self.sent = match &mut self.wire {
            Wire::Broker(producer) => {
                let partitions = producer.context().partitions.load(Ordering::Relaxed);
                self.waiting.hand_over(partitions, |next| send(producer, came, topic, next))?
            }
            #[cfg(test)]
            Wire::Peer(wire) => self.waiting.hand_over(1, |next| {
                wire.send(next);
                Ok::<(), Failure>(())
            })?,
        };
        Ok(())
    }

    /// Hears what has been answered, and goes on with what waits. How many messages were confirmed, and the end up to which
    /// everything is.
    pub(super) fn answers(&mut self) -> Result<(u64, Option<u64>), Failure> {
        self.hear();
        let came = std::mem::take(&mut *self.came.lock());
        let mut confirmed = 0;
        for (flight, count) in came.confirmed {
            if let Some(flight) = flight.checked_sub(self.first).and_then(|at| self.flights.get_mut(at)) {
                flight.open = flight.open.saturating_sub(count);
            }
            self.messages = self.messages.saturating_sub(count as usize);
            self.sent = self.sent.saturating_sub(count as usize);
            confirmed += u64::from(count);
        }
        let mut end = None;
        // The newest flight is still being filled while its messages are confirmed already, but never across two calls.
        let done = |flight: &Flight| flight.open == 0 || planted::is(Bug::CursorAhead);
        while self.flights.front().is_some_and(done) {
            end = self.flights.pop_front().and_then(|flight| flight.end).or(end);
            self.first += 1;
        }
        match came.failed {
            // What was confirmed before stays confirmed; the failure comes again with the next look, and its messages with it.
            Some(failure) if end.is_some() => {
                self.came.lock().failed = Some(failure);
                Ok((confirmed, end))
            }
            Some(failure) => Err(failure),
            None => {
                self.hand_over()?;
                Ok((confirmed, end))
            }
        }
    }

    fn hear(&mut self) {
        match &mut self.wire {
            Wire::Broker(producer) => hear(producer),
            #[cfg(test)]
            Wire::Peer(wire) => wire.poll(&mut self.came.lock()),
        }
    }
}

/// Each look hears one answer, of one batch. It does not wait: the client's library counts whole milliseconds, and spends what is left
/// of the last one looking again and again.
fn hear(producer: &BaseProducer<Answers>) {
    for _ in 0..MAX_ANSWERS {
        let before = producer.context().looks.load(Ordering::Relaxed);
        producer.poll(Duration::ZERO);
        if producer.context().looks.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

fn send(producer: &BaseProducer<Answers>, came: &Mutex<Came>, topic: &str, next: Next<'_>) -> Result<(), Failure> {
    let mut record = BaseRecord::with_opaque_to(topic, next.flight)
        .key(next.key)
        .payload(next.body)
        .headers(next.headers);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(ROOM_WITHIN);
                // Whoever polls next hears it too; a queue that stays full must not hide that the thread is to end.
                if came.lock().failed.is_some() {
                    return Err(Failure::Again("the queue is full".to_owned()));
                }
            }
            Err((error, _)) => return Err(Failure::of(&error, topic, next.body.len())),
        }
    }
}

fn producer(broker: &Broker, out: &Out, line: &Arc<Line>, came: &Arc<Mutex<Came>>) -> Result<BaseProducer<Answers>, Trouble> {
    let mut settings = broker.settings()?;
    settings
        .set("enable.idempotence", "true")
        // A batch that is refused for good ends the client: what lies behind it must not be delivered ahead of it.
        .set("enable.gapless.guarantee", "true")
        // The outbox owns the retrying: a message waits for its broker as long as it takes, in its order.
        .set("message.timeout.ms", "0")
        // For as long as a wave is handed over, and then it leaves as one.
        .set("linger.ms", "2")
        .set("compression.codec", &out.compression)
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "100000")
        .set(
            "queue.buffering.max.kbytes",
            MAX_KBYTES[usize::from(out.what == What::DeadLetters)],
        )
        // The broker judges sizes, not its client.
        .set("message.max.bytes", "100000000")
        .set("topic.metadata.propagation.max.ms", "5000");
    let context = Answers {
        heard: Heard::new(line.clone()),
        topic: out.topic.clone(),
        came: came.clone(),
        looks: AtomicU64::default(),
        partitions: AtomicUsize::new(1),
    };
    Ok(settings.create_with_context::<_, BaseProducer<Answers, NoCustomPartitioner>>(context)?)
}

impl Drop for Sender {
    fn drop(&mut self) {
        // What is not confirmed is sent again from the cursor; waiting for it here would be waiting for a broker that is away.
        match &self.wire {
            Wire::Broker(producer) => producer.purge(PurgeConfig::default().queue().inflight()),
            #[cfg(test)]
            Wire::Peer(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::gauge::Gauges;

    #[tokio::test(start_paused = true)]
    async fn nothing_more_is_handed_over_before_all_of_a_wave_is_confirmed() {
        let peer = peer::Peer::default();
        let (topic, what) = peer::OUT[0];
        let out = Out {
            topic: topic.to_owned(),
            what,
            structured: false,
            compression: String::new(),
            hold_facts: 0,
        };
        let line = &Gauges::default().out(topic, what).line;
        let mut sender = Sender::open(&To::Peer(peer.clone()), &out, line).expect("a producer in memory");
        let flight = |sender: &mut Sender, end: u64, messages: usize| {
            sender.begin(Some(end));
            (0..messages).for_each(|_| sender.send("main/milk", b"{}", OwnedHeaders::new()));
            sender.answers().expect("no failure")
        };
        peer.away(true);
        assert_eq!(flight(&mut sender, 5, 5), (0, None));
        assert_eq!(flight(&mut sender, 7, 2), (0, None));
        assert_eq!((sender.sent, sender.messages), (5, 7), "the second flight waits here");
        peer.away(false);
        // Four are confirmed in one look.
        assert_eq!(sender.answers().expect("no failure"), (4, None));
        assert_eq!((sender.sent, peer.news().len()), (1, 4));
        assert_eq!(sender.answers().expect("no failure"), (1, Some(5)));
        assert_eq!((sender.sent, peer.news().len()), (2, 1), "now it is handed over");
        assert_eq!(sender.answers().expect("no failure"), (2, Some(7)));
        assert!(sender.is_empty() && peer.news().len() == 2);
    }
}
