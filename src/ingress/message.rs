//! A broker's message into events, by the CloudEvents binding for Kafka: structured, batch and binary mode.
//!
//! It ends in the same decoder as a body over HTTP, so that an event means the same whichever way it came. A message in binary mode
//! is put together into the structured one first: a second decoder for it would be a second set of mistakes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::decode::{Decoder, Rejected};
use super::rows::{Decoded, Format, decode};
use super::suggest;
use crate::actors::node::{Node, Setting, Verdict};
use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::domain::units::Id;

/// What the source of an event begins with that is too old for its own source's memory and comes out of a dead letter.
const REPLAYED: &str = "dead-letter/";

/// A message, as it came; whoever has it keeps its bytes.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// The headers, in their order.
    pub headers: SmallVec<[(Cow<'a, str>, &'a [u8]); 4]>,
    /// The body; `None` is a tombstone.
    pub body: Option<&'a [u8]>,
}

/// A message with bytes of its own: out of a dead letter.
struct Owned {
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Owned {
    fn message(&self) -> Message<'_> {
        let headers = self.headers.iter();
        Message {
            headers: headers
                .map(|(name, value)| (name.as_str().into(), value.as_slice()))
                .collect(),
            body: self.body.as_deref(),
        }
    }
}

/// Where a message came from, for its dead letter.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// When the broker has it from, in milliseconds.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// How the topic is decoded.
    pub format: &'a str,
    /// Of a larger body a dead letter keeps only so many bytes: no more than the node would take at all, so whatever could be
    /// taken after a fix is kept whole. Where it came from has the rest.
    pub keep_bytes: usize,
}

/// A message as a dead letter keeps it. Bytes are base64, since they need not be text.
#[derive(Serialize, Deserialize)]
struct Written {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<String>,
    headers: Vec<(String, String)>,
    format: String,
    bytes: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    body: Option<String>,
}

impl Message<'_> {
    /// A header's text, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The trace in which it came.
    pub fn trace(&self) -> Option<&str> {
        self.header("ce_traceparent").or_else(|| self.header("traceparent"))
    }

    /// Its events, in their rows; or why it has none.
    pub fn rows(&self, max_rows: usize, decoder: &mut Decoder<'_>) -> Result<Decoded, Refusal> {
        match self.body {
            None => Err(Refusal::new(Code::MalformedJson, "the message has no body")),
            Some(body) if self.headers.is_empty() => decode(body, Format::Json, max_rows, decoder),
            Some(body) => self.with_headers(body, max_rows, decoder),
        }
    }

    /// Its events, row by row.
    pub fn decode(&self, max_rows: usize, decoder: &mut Decoder<'_>) -> Vec<Result<Event, Rejected>> {
        match self.rows(max_rows, decoder) {
            Ok(Decoded::One(row)) => vec![*row],
            Ok(Decoded::Many(rows)) => rows.into_iter().collect(),
            Err(refusal) => vec![Err(refusal.into())],
        }
    }

    fn with_headers(&self, body: &[u8], max_rows: usize, decoder: &mut Decoder<'_>) -> Result<Decoded, Refusal> {
        if self.header("ce_specversion").is_some() || self.header("ce_id").is_some() {
            let whole = self.structured(body)?;
            return decode(&whole, Format::Single, max_rows, decoder);
        }
        let kind = self.header("content-type").unwrap_or_default();
        let format = match kind.split(';').next().unwrap_or_default().trim() {
            "application/cloudevents+json" => Format::Single,
            "application/cloudevents-batch+json" => Format::Batch,
            "application/x-ndjson" | "application/ndjson" => Format::Ndjson,
            _ => Format::Json,
        };
        decode(body, format, max_rows, decoder)
    }

    /// A message in binary mode as it would be in structured mode.
    fn structured(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let kind = self.header("content-type").unwrap_or("application/json");
        let media = kind.split(';').next().unwrap_or_default().trim();
        if media != "application/json" && !media.ends_with("+json") {
            let detail = format!("the data of an event is application/json, not {}", suggest::quoted(media));
            return Err(Refusal::new(Code::UnsupportedMediaType, detail));
        }
        // One JSON value and no more, or it could end the object that it is put into.
        let data: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(Code::MalformedJson, format!("the body is not JSON: {error}")))?;
        let mut whole = Vec::with_capacity(body.len() + 64 * self.headers.len());
        whole.push(b'{');
        for (name, value) in &self.headers {
            let Some(attribute) = name.strip_prefix("ce_") else { continue };
            let text = std::str::from_utf8(value).map_err(|_| {
                let detail = format!("the header {} is not UTF-8", suggest::quoted(name));
                Refusal::new(Code::MalformedHeader, detail)
            })?;
            // Writing into memory cannot fail.
            let _ = serde_json::to_writer(&mut whole, attribute);
            whole.push(b':');
            let _ = serde_json::to_writer(&mut whole, text);
            whole.push(b',');
        }
        whole.extend_from_slice(b"\"data\":");
        whole.extend_from_slice(data.get().as_bytes());
        whole.push(b'}');
        Ok(whole)
    }

    /// The JSON that a dead letter keeps of it.
    pub fn written(&self, place: &Place<'_>) -> String {
        let body = self.body;
        let bytes = body.map_or(0, <[u8]>::len);
        let written = Written {
            topic: place.topic.to_owned(),
            partition: place.partition,
            offset: place.offset,
            timestamp: place.timestamp,
            key: place.key.map(|key| BASE64.encode(key)),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.clone().into_owned(), BASE64.encode(value)))
                .collect(),
            format: place.format.to_owned(),
            bytes,
            cut: bytes > place.keep_bytes,
            body: body.map(|body| BASE64.encode(&body[..bytes.min(place.keep_bytes)])),
        };
        // A structure of strings and numbers always serialises.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// The message of a dead letter; `None` when the text is none of [`Message::written`]'s, or only the beginning of one.
    fn read(text: &str) -> Option<Owned> {
        let written: Written = serde_json::from_str(text).ok().filter(|written: &Written| !written.cut)?;
        let headers = written.headers.into_iter();
        let headers = headers.map(|(name, value)| Some((name, BASE64.decode(value).ok()?)));
        let body = match written.body {
            Some(body) => Some(BASE64.decode(body).ok()?),
            None => None,
        };
        Some(Owned {
            headers: headers.collect::<Option<_>>()?,
            body,
        })
    }
}

/// Takes a dead letter's message again, as it came, with the rules of now; `None` when the letter holds no message.
///
/// Its events keep their own ids, so one that was sent again meanwhile is a duplicate. An event that is too old for its source's
/// memory goes in under `dead-letter/…`, whose ids are kept for ever. The letter is settled when every row is taken; the verdict is
/// that of the first row that was not, or else of the last.
pub async fn replay(node: &Node, letter: u64, text: &str, max_rows: usize) -> Option<Result<Verdict, Refusal>> {
    let message = Message::read(text)?;
    Some(again(node, letter, &message.message(), max_rows).await)
}

async fn again(node: &Node, letter: u64, message: &Message<'_>, max_rows: usize) -> Result<Verdict, Refusal> {
    let warehouses = node.view().warehouses();
    let rows = message.decode(max_rows, &mut Decoder::new(&warehouses, message.trace().map(TraceParent::of)));
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        events.push(row.map_err(|rejected| *rejected.refusal)?);
    }
    let mut verdicts = node.events(events.clone()).await;
    let too_old = |verdict: &Verdict| matches!(verdict, Verdict::Judged { outcome: Outcome::Refused(refusal), .. } if refusal.code == Code::TimeOutOfRange);
    let old: Vec<usize> = verdicts
        .iter()
        .enumerate()
        .filter(|(_, verdict)| too_old(verdict))
        .map(|(at, _)| at)
        .collect();
    if !old.is_empty() {
        let renamed = old.iter().map(|at| {
            let mut event = events[*at].clone();
            event.origin.source = Id::trusted(&format!("{REPLAYED}{}", event.origin.source));
            event
        });
        let judged = node.events(renamed.collect()).await;
        for (at, verdict) in old.into_iter().zip(judged) {
            verdicts[at] = verdict;
        }
    }
    let first = verdicts.iter().position(|verdict| !verdict.is_taken());
    if first.is_none() {
        let done = Setting::DeadLetter {
            letter,
            action: "replayed",
            reason: None,
        };
        node.set(done, None, None).await?;
    }
    let shown = first.or_else(|| verdicts.len().checked_sub(1));
    let shown = shown.and_then(|at| verdicts.into_iter().nth(at));
    shown.ok_or_else(|| Refusal::new(Code::MalformedJson, "the message has no events"))
}

/// The words of a dead letter: a code to group by, and what is wrong.
pub fn cause(refusal: &Refusal, row: Option<usize>) -> Box<str> {
    let row = row.map_or_else(String::new, |row| format!("row {}: ", row + 1));
    let place = refusal
        .field
        .as_deref()
        .filter(|field| !field.is_empty())
        .map_or_else(String::new, |field| format!(" ({field})"));
    format!("{}: {row}{}{place}", refusal.code.as_str(), refusal.detail).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::domain::warehouse::Warehouse;

    fn warehouses() -> BTreeMap<Id, Arc<Warehouse>> {
        let main = Warehouse {
            id: Id::trusted("main"),
            name: "main".into(),
            time_zone: "UTC".into(),
            channels: BTreeMap::new(),
        };
        BTreeMap::from([(Id::trusted("main"), Arc::new(main))])
    }

    fn decoded(message: &Message<'_>) -> Vec<Result<Event, Rejected>> {
        message.decode(100, &mut Decoder::new(&warehouses(), message.trace().map(TraceParent::of)))
    }

    fn message<'a>(headers: &[(&'a str, &'a str)], body: &'a str) -> Message<'a> {
        Message {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes()))
                .collect(),
            body: Some(body.as_bytes()),
        }
    }

    const DATA: &str = r#"{"warehouse":"main","sku":"milk","quantity":2}"#;

    fn structured() -> String {
        format!(
            r#"{{"specversion":"1.0","id":"1","source":"pos","type":"inventory.sale","time":"2026-01-02T03:04:05Z","data":{DATA}}}"#
        )
    }

    #[test]
    fn an_event_is_the_same_in_every_mode() {
        let one = structured();
        let rows = format!("[{one}]");
        let binary = message(
            &[
                ("ce_specversion", "1.0"),
                ("ce_id", "1"),
                ("ce_source", "pos"),
                ("ce_type", "inventory.sale"),
                ("ce_time", "2026-01-02T03:04:05Z"),
                ("content-type", "application/json; charset=utf-8"),
            ],
            DATA,
        );
        let single = message(&[("content-type", "application/cloudevents+json")], &one);
        let plain = message(&[], &one);
        let batch = message(&[("content-type", "application/cloudevents-batch+json")], &rows);
        let first = decoded(&single).remove(0).unwrap();
        for other in [binary, plain, batch] {
            let mut rows = decoded(&other);
            assert_eq!(rows.len(), 1);
            assert_eq!(rows.remove(0).unwrap(), first);
        }
    }

    #[test]
    fn a_body_cannot_break_out_of_its_data() {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "pos"),
            ("ce_type", "inventory.sale"),
        ];
        let text = format!("{DATA},\"source\":\"erp\"");
        let sly = message(&headers, &text);
        assert_eq!(decoded(&sly).remove(0).unwrap_err().refusal.code, Code::MalformedJson);
        let tombstone = Message { body: None, ..sly };
        assert!(decoded(&tombstone)[0].is_err());
    }

    #[test]
    fn what_a_dead_letter_keeps_can_be_taken_again() {
        let message = message(&[("h", "\u{1}ü")], "not json \u{0}");
        let place = Place {
            topic: "t",
            partition: 3,
            offset: 9,
            timestamp: Some(5),
            key: Some(b"k"),
            format: "cloudevents",
            keep_bytes: 10,
        };
        let back = Message::read(&message.written(&place)).unwrap();
        assert_eq!(back.headers, [("h".to_owned(), "\u{1}ü".as_bytes().to_vec())]);
        assert_eq!(back.message().body, message.body);
        let less = Place { keep_bytes: 9, ..place };
        assert!(Message::read(&message.written(&less)).is_none(), "half a message is none");
        assert!(Message::read("{}").is_none());
    }
}
