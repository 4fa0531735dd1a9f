//! A batch of messages: kept as they came until it is known what became of each, since one that is refused is kept as a whole.
//!
//! Bytes of all messages lie in one buffer: a message of its own allocations each would cost as much as decoding it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers};
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3Default;

use crate::actors::batch::Bearer;
use crate::actors::messages::Letter;
use crate::actors::node::{Node, Verdict};
use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::domain::units::Id;
use crate::ingress::decode::Decoder;
use crate::ingress::message::{Message, Place, cause};
use crate::ingress::rows::Decoded as Rows;
use crate::storage::append::Position;

use super::In;
use super::gauge::InGauge;

/// One message, in the buffer of its batch.
struct Kept {
    topic: usize,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Range<usize>>,
    body: Option<Range<usize>>,
    headers: SmallVec<[(Range<usize>, Range<usize>); 4]>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Batch {
    buffer: Vec<u8>,
    kept: Vec<Kept>,
    lost: Vec<Lost>,
}

/// Records that the broker has and that nobody can read.
struct Lost {
    topic: usize,
    partition: i32,
    from: i64,
    to: i64,
}

/// What a batch becomes.
pub(super) struct Decoded {
    pub(super) events: Vec<Event>,
    /// Which message each event came with, and in which row of it.
    owners: Arc<Vec<(usize, usize)>>,
    /// How many rows each message has.
    rows: Vec<usize>,
    /// Messages that are no events.
    pub(super) letters: Vec<Letter>,
}

/// What tells a message from any other that might have its place.
pub(super) fn print(message: &BorrowedMessage<'_>) -> u64 {
    print_of(message.timestamp().to_millis(), message.key(), message.payload())
}

pub(super) fn print_of(timestamp: Option<i64>, key: Option<&[u8]>, body: Option<&[u8]>) -> u64 {
    let mut print = Xxh3Default::new();
    print.update(&timestamp.unwrap_or_default().to_le_bytes());
    for part in [key, body] {
        print.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        print.update(part.unwrap_or_default());
    }
    print.digest()
}

impl Batch {
    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }

    /// Takes a message of one of the topics.
    pub(super) fn take(&mut self, topic: usize, message: &BorrowedMessage<'_>) {
        let place = (message.partition(), message.offset(), message.timestamp().to_millis());
        self.take_parts(topic, place, message.key(), message.payload());
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let name = self.put(header.key.as_bytes());
            let value = self.put(header.value.unwrap_or_default());
            if let Some(kept) = self.kept.last_mut() {
                kept.headers.push((name, value));
            }
        }
    }

    /// Takes a message without headers: its partition, its offset and when it was sent; its key and its body.
    pub(super) fn take_parts(&mut self, topic: usize, place: (i32, i64, Option<i64>), key: Option<&[u8]>, body: Option<&[u8]>) {
        let (partition, offset, timestamp) = place;
        let (key, body) = (key.map(|key| self.put(key)), body.map(|body| self.put(body)));
        self.kept.push(Kept {
            topic,
            partition,
            offset,
            timestamp,
            key,
            body,
            headers: SmallVec::new(),
        });
    }

    /// Notes that the records from an offset up to another cannot be read.
    pub(super) fn lose(&mut self, topic: usize, partition: i32, from: i64, to: i64) {
        self.lost.push(Lost {
            topic,
            partition,
            from,
            to,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The fingerprint of a message: of the last of each partition, and of those that become letters.
    fn print(&self, kept: &Kept) -> u64 {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &self.buffer[range]);
        print_of(kept.timestamp, part(&kept.key), part(&kept.body))
    }

    fn message(&self, at: usize) -> Message<'_> {
        let kept = &self.kept[at];
        let headers = kept.headers.iter();
        Message {
            headers: headers
                .map(|(name, value)| {
                    (
                        String::from_utf8_lossy(&self.buffer[name.clone()]),
                        &self.buffer[value.clone()],
                    )
                })
                .collect(),
            body: kept.body.clone().map(|body| &self.buffer[body]),
        }
    }

    /// The events of all messages, and letters for those that are none.
    pub(super) fn decode(&self, node: &Node, ins: &[In], limits: (usize, usize)) -> Decoded {
        let (max_rows, max_bytes) = limits;
        let warehouses = node.view().warehouses();
        let mut shared = Decoder::new(&warehouses, None);
        let mut decoded = Decoded {
            events: Vec::with_capacity(self.kept.len()),
            owners: Arc::default(),
            rows: Vec::with_capacity(self.kept.len()),
            letters: Vec::new(),
        };
        let mut owners = Vec::with_capacity(self.kept.len());
        for (at, kept) in self.kept.iter().enumerate() {
            let message = self.message(at);
            let told = match message.body {
                Some(body) if body.len() > max_bytes => Err(too_large(body.len(), max_bytes)),
                _ => match message.trace() {
                    Some(trace) => message.rows(max_rows, &mut Decoder::new(&warehouses, Some(TraceParent::of(trace)))),
                    None => message.rows(max_rows, &mut shared),
                },
            };
            let rows = match told {
                // Nearly always: without a list for the one.
                Ok(Rows::One(row)) if row.is_ok() => {
                    decoded.rows.push(1);
                    decoded.events.extend(*row);
                    owners.push((at, 0));
                    continue;
                }
                Ok(Rows::One(row)) => vec![*row],
                Ok(Rows::Many(rows)) => rows.into_iter().collect(),
                Err(refusal) => vec![Err(refusal.into())],
            };
            let count = rows.len();
            decoded.rows.push(count);
            let mut bad = None;
            for (row, event) in rows.into_iter().enumerate() {
                match event {
                    Ok(event) => {
                        decoded.events.push(event);
                        owners.push((at, row));
                    }
                    Err(rejected) => bad = bad.or(Some((row, rejected.refusal))),
                }
            }
            if let Some((row, refusal)) = bad {
                let error = cause(&refusal, (count > 1).then_some(row));
                decoded.letters.push(self.letter(at, &ins[kept.topic], error, max_bytes));
            }
        }
        decoded.owners = Arc::new(owners);
        decoded
            .letters
            .extend(self.lost.iter().map(|lost| lost.letter(&ins[lost.topic])));
        decoded
    }

    /// A message with its place, as a dead letter keeps it.
    fn written(&self, at: usize, of: &In, keep_bytes: usize) -> String {
        let kept = &self.kept[at];
        let place = Place {
            topic: &of.topic,
            partition: kept.partition,
            offset: kept.offset,
            timestamp: kept.timestamp,
            key: kept.key.clone().map(|key| &self.buffer[key]),
            format: "cloudevents",
            keep_bytes,
        };
        self.message(at).written(&place)
    }

    fn letter(&self, at: usize, of: &In, error: Box<str>, keep_bytes: usize) -> Letter {
        let kept = &self.kept[at];
        let message = self.message(at);
        let trace = message.trace().filter(|trace| trace.len() <= 128).map(TraceParent::of);
        Letter {
            source: of.told_as(),
            id: Id::trusted(&format!("{}/{}/{:016x}", kept.partition, kept.offset, self.print(kept))),
            error,
            trace,
            payload: self.written(at, of, keep_bytes).into(),
        }
    }

    /// Letters for messages that the node has refused, besides those that have one.
    pub(super) fn refused(&self, decoded: &Decoded, verdicts: &[Verdict], ins: &[In], keep_bytes: usize) -> Vec<Letter> {
        let mut letters: Vec<Letter> = Vec::new();
        let mut last = None;
        for (verdict, (at, row)) in verdicts.iter().zip(&*decoded.owners) {
            let Verdict::Judged {
                outcome: Outcome::Refused(refusal),
                ..
            } = verdict
            else {
                continue;
            };
            if last == Some(*at) {
                continue;
            }
            last = Some(*at);
            let error = cause(refusal, (decoded.rows[*at] > 1).then_some(*row));
            let letter = self.letter(*at, &ins[self.kept[*at].topic], error, keep_bytes);
            if !decoded
                .letters
                .iter()
                .any(|known| known.id == letter.id && known.source == letter.source)
            {
                letters.push(letter);
            }
        }
        letters
    }

    /// Tells the message of each event, for one that becomes a dead letter.
    pub(super) fn bearer(self: &Arc<Batch>, decoded: &Decoded, ins: &Arc<[In]>, keep_bytes: usize) -> Bearer {
        let (batch, owners, ins) = (self.clone(), decoded.owners.clone(), ins.clone());
        Box::new(move |row| {
            let (at, _) = owners[row as usize];
            batch.written(at, &ins[batch.kept[at].topic], keep_bytes)
        })
    }

    /// Says in the log which messages have killed whoever judged them: their letters are written already.
    pub(super) fn tell_poison(&self, decoded: &Decoded, verdicts: &[Verdict], ins: &[In]) {
        for (verdict, (at, row)) in verdicts.iter().zip(&*decoded.owners) {
            if let Verdict::Judged {
                outcome: Outcome::DeadLetter { error },
                seq,
                duplicate: false,
                ..
            } = verdict
            {
                let kept = &self.kept[*at];
                let (topic, partition, offset) = (&*ins[kept.topic].topic, kept.partition, kept.offset);
                tracing::error!(topic, partition, offset, row, letter = seq, error = %error, "a message killed whoever judged it, twice: it is a dead letter");
            }
        }
    }

    /// Counts its messages by topic.
    pub(super) fn count(&self, gauges: &[(Arc<str>, Arc<InGauge>)]) {
        for (at, (_, gauge)) in gauges.iter().enumerate() {
            gauge.took(self.kept.iter().filter(|kept| kept.topic == at).count() as u64);
        }
    }

    /// Where each partition goes on after it.
    pub(super) fn positions(&self, topics: &[Arc<str>]) -> Vec<Position> {
        let mut newest: BTreeMap<(usize, i32), &Kept> = BTreeMap::new();
        for kept in &self.kept {
            newest.insert((kept.topic, kept.partition), kept);
        }
        let position = |kept: &Kept| Position {
            topic: topics[kept.topic].clone(),
            partition: kept.partition,
            next: kept.offset + 1,
            print: self.print(kept),
        };
        newest.into_values().map(position).collect()
    }
}

impl Lost {
    /// Its letter: there are no bytes to keep, but the place.
    fn letter(&self, of: &In) -> Letter {
        let place = Place {
            topic: &of.topic,
            partition: self.partition,
            offset: self.from,
            timestamp: None,
            key: None,
            format: "cloudevents",
            keep_bytes: 0,
        };
        let detail = format!(
            "the broker's records from offset {} to {} are damaged and cannot be read; send what they held again",
            self.from,
            self.to - 1
        );
        Letter {
            source: of.told_as(),
            id: Id::trusted(&format!("{}/{}-{}/damaged", self.partition, self.from, self.to)),
            error: format!("{}: {detail}", Code::MalformedJson.as_str()).into(),
            trace: None,
            payload: Message::default().written(&place).into(),
        }
    }
}

fn too_large(bytes: usize, most: usize) -> Refusal {
    Refusal::new(
        Code::BodyTooLarge,
        format!("the message has {bytes} bytes, and http.max_body_bytes allows {most}"),
    )
}
