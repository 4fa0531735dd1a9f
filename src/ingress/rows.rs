//! A body into rows: one event, a JSON array or NDJSON, so that a bad row costs itself and nobody else.
//!
//! Each row of an array is parsed where the last one ended. Only when that fails is the row's end searched by brackets and
//! quotes. Parsing the array as a whole was rejected: one bad row would take its 9,999 neighbours with it. An array whose
//! brackets do not close is refused as a whole, since nobody can tell which rows the sender meant.

use serde_json::Deserializer;

use super::alike::Alike;
use super::decode::{Decoder, Rejected, malformed_row};
use super::wire::Row;
use crate::domain::event::Event;
use crate::domain::refusal::{Code, Refusal};

/// How a body holds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one object, or an array when it begins with `[`.
    Json,
    /// `application/cloudevents+json`: one object.
    Single,
    /// `application/cloudevents-batch+json`: an array.
    Batch,
    /// `application/x-ndjson`: one JSON object a line.
    Ndjson,
}

/// The events of one body.
#[derive(Debug)]
pub enum Decoded {
    /// One event, to be answered as itself.
    One(Box<Result<Event, Rejected>>),
    /// Rows, to be answered one by one in their order.
    Many(Rows),
}

/// Rows of a body. Events lie side by side as the node takes them: one that was handed from list to list was copied four times.
#[derive(Debug, Default)]
pub struct Rows {
    /// The events, in their order.
    pub events: Vec<Event>,
    /// The rows between them that are none, by their place among all rows.
    pub rejected: Vec<(usize, Rejected)>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.events.len() + self.rejected.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, row: Result<Event, Rejected>) {
        match row {
            Ok(event) => self.events.push(event),
            Err(rejected) => self.rejected.push((self.len(), rejected)),
        }
    }
}

impl IntoIterator for Rows {
    type Item = Result<Event, Rejected>;
    type IntoIter = Box<dyn Iterator<Item = Result<Event, Rejected>>>;

    fn into_iter(self) -> Self::IntoIter {
        let all = self.len();
        let (mut events, mut rejected) = (self.events.into_iter(), self.rejected.into_iter().peekable());
        Box::new(
            (0..all).filter_map(move |place| match rejected.next_if(|(of, _)| *of == place) {
                Some((_, rejected)) => Some(Err(rejected)),
                None => events.next().map(Ok),
            }),
        )
    }
}

fn not_json(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::MalformedJson, format!("the body is not JSON: {error}"))
}

fn too_many(limit: usize) -> Refusal {
    Refusal::new(
        Code::BatchTooLarge,
        format!("the batch has more than {limit} rows; send it in parts (nothing of it was taken)"),
    )
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_space(body: &[u8], mut at: usize) -> usize {
    while body.get(at).copied().is_some_and(is_space) {
        at += 1;
    }
    at
}

/// Decodes a whole body, or refuses it as a whole.
pub fn decode(body: &[u8], format: Format, max_rows: usize, decoder: &mut Decoder<'_>) -> Result<Decoded, Refusal> {
    let first = body.get(skip_space(body, 0)).copied();
    match (format, first) {
        (Format::Ndjson, _) => ndjson(body, max_rows, decoder).map(Decoded::Many),
        (_, None) => Err(not_json("it is empty")),
        (Format::Json | Format::Batch, Some(b'[')) => array(body, max_rows, decoder).map(Decoded::Many),
        (Format::Batch, Some(_)) => {
            single(body, decoder)?.map_err(|_| Refusal::field(Code::InvalidValue, "", "a batch is a JSON array of events"))?;
            Err(Refusal::field(
                Code::InvalidValue,
                "",
                "a batch is a JSON array of events; send one event as application/json",
            ))
        }
        (Format::Json | Format::Single, Some(_)) => single(body, decoder).map(|event| Decoded::One(Box::new(event))),
    }
}

fn single(body: &[u8], decoder: &mut Decoder<'_>) -> Result<Result<Event, Rejected>, Refusal> {
    let text = std::str::from_utf8(body).map_err(not_json)?;
    if let Some((event, end)) = decoder.usual(text, 0)
        && skip_space(body, end) == body.len()
    {
        return Ok(event.map_err(|rejected| rejected.of_text(body)));
    }
    let row = serde_json::from_str::<Row<'_>>(text).map_err(not_json)?;
    Ok(decoder.parsed(row).map_err(|mut rejected| {
        // JSON it is, so it is a wrong value and not a broken one.
        if rejected.refusal.code == Code::MalformedRow {
            *rejected.refusal = Refusal::field(Code::InvalidValue, "", rejected.refusal.detail);
        }
        rejected.of_text(body)
    }))
}

fn ndjson(body: &[u8], max_rows: usize, decoder: &mut Decoder<'_>) -> Result<Rows, Refusal> {
    let whole = std::str::from_utf8(body).ok();
    let mut rows = Rows::default();
    let few = |rows: &Rows| {
        if rows.len() > max_rows {
            Err(too_many(max_rows))
        } else {
            Ok(())
        }
    };
    match whole {
        Some(text) => {
            let mut alike = Alike::default();
            for line in text.split('\n').filter(|line| !line.bytes().all(is_space)) {
                let whole = |end: usize| line.as_bytes()[end..].iter().copied().all(is_space).then_some(line.len());
                if usual(line, 0, (decoder, &mut alike), &mut rows, whole).is_none() {
                    rows.push(decoder.row(line).map_err(|rejected| rejected.of_text(line.as_bytes())));
                }
                few(&rows)?;
            }
        }
        // Somewhere is a byte that is no UTF-8: each line answers for itself.
        None => {
            for line in body.split(|b| *b == b'\n').filter(|line| !line.iter().copied().all(is_space)) {
                rows.push(bytes_row(line, decoder));
                few(&rows)?;
            }
        }
    }
    Ok(rows)
}

fn bytes_row(row: &[u8], decoder: &mut Decoder<'_>) -> Result<Event, Rejected> {
    let event = match std::str::from_utf8(row) {
        Ok(text) => decoder.row(text),
        Err(error) => Err(malformed_row(&error.to_string()).into()),
    };
    event.map_err(|rejected| rejected.of_text(row))
}

fn array(body: &[u8], max_rows: usize, decoder: &mut Decoder<'_>) -> Result<Rows, Refusal> {
    let text = std::str::from_utf8(body).ok();
    let (mut rows, mut alike) = (Rows::default(), Alike::default());
    let mut at = skip_space(body, 0) + 1;
    if body.get(skip_space(body, at)) == Some(&b']') {
        at = skip_space(body, at) + 1;
    } else {
        loop {
            let first = rows.is_empty();
            let end = match text.and_then(|text| row_at(text, at, (decoder, &mut alike), &mut rows)) {
                Some(end) => end,
                None => {
                    let end = row_end(body, at).map_err(|why| not_json(format!("in row {}: {why}", rows.len() + 1)))?;
                    rows.push(bytes_row(&body[at..end], decoder));
                    end
                }
            };
            if first {
                // The others are about as long as the first, or a little shorter. A list that grows copies all its events each time.
                let others = (body.len() - end) / (end - at).max(1);
                rows.events.reserve((others + others / 16).min(max_rows));
            }
            if rows.len() > max_rows {
                return Err(too_many(max_rows));
            }
            at = end + 1;
            if body[end] == b']' {
                break;
            }
        }
    }
    if skip_space(body, at) < body.len() {
        return Err(not_json("there is more after the end of the array"));
    }
    Ok(rows)
}

/// Takes the row that begins here, and says the place of the `,` or `]` after it; `None` when it has to be looked at more closely.
fn row_at<'t>(text: &'t str, at: usize, by: (&mut Decoder<'_>, &mut Alike<'t>), rows: &mut Rows) -> Option<usize> {
    let delimited = |end: usize| {
        let end = skip_space(text.as_bytes(), end);
        matches!(text.as_bytes().get(end), Some(b',' | b']')).then_some(end)
    };
    let (decoder, alike) = by;
    if let Some(end) = usual(text, at, (decoder, alike), rows, delimited) {
        return Some(end);
    }
    let mut stream = Deserializer::from_str(text.get(at..)?).into_iter::<Row<'_>>();
    let row = stream.next()?.ok()?;
    let end = delimited(at + stream.byte_offset())?;
    let row = decoder.parsed(row);
    rows.push(row.map_err(|rejected| rejected.of_text(&text.as_bytes()[at..end])));
    Some(end)
}

/// Takes the usual row that begins here, and says the place of what delimits it; `None`, and nothing taken, when it is not usual, or what
/// comes after it does not delimit it.
fn usual<'t>(
    text: &'t str,
    at: usize,
    (decoder, alike): (&mut Decoder<'_>, &mut Alike<'t>),
    rows: &mut Rows,
    delimited: impl Fn(usize) -> Option<usize>,
) -> Option<usize> {
    let (envelope, end) = alike.row(text, at)?;
    let end = delimited(end)?;
    match decoder.event(envelope) {
        // Straight into the list: an event is large, and each hand that it goes through would copy it.
        Ok(event) => rows.events.push(event),
        Err(refusal) => {
            let rejected = decoder.rejected(envelope, refusal);
            rows.push(Err(rejected.of_text(&text.as_bytes()[at..end])));
        }
    }
    Some(end)
}

/// The place of the `,` or `]` that ends a row which is no JSON, found by brackets and quotes alone.
fn row_end(body: &[u8], from: usize) -> Result<usize, &'static str> {
    let mut open = Vec::new();
    let mut at = from;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at)?,
            b'{' | b'[' => open.push(*byte),
            b',' | b']' if open.is_empty() => return Ok(at),
            b'}' | b']' => {
                let opener = if *byte == b'}' { b'{' } else { b'[' };
                if open.pop() != Some(opener) {
                    return Err("its brackets do not match, so nobody can tell where it ends");
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err("the array does not end")
}

/// The place of the closing quote.
fn string_end(body: &[u8], open: usize) -> Result<usize, &'static str> {
    let mut at = open + 1;
    loop {
        match body.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return Err("a string does not end"),
        }
    }
}
