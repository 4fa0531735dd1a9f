//! Targets for what comes in: bodies and messages in every mode. An event that is taken is written for a dead letter as it was read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::event::Event;
use crate::domain::trace::TraceParent;
use crate::domain::units::Id;
use crate::domain::warehouse::Warehouse;
use crate::storage::payload;

use super::decode::Decoder;
use super::message::Message;
use super::rows::{Decoded, Format, decode};

/// The most rows of one body.
const ROWS: usize = 64;

fn warehouses() -> BTreeMap<Id, Arc<Warehouse>> {
    let id = Id::trusted("main");
    let site = Warehouse {
        id: id.clone(),
        name: String::new(),
        time_zone: "UTC".into(),
        channels: BTreeMap::new(),
    };
    [(id, Arc::new(site))].into()
}

fn taken(event: &Event) {
    let written = payload::render(event);
    let Some(read) = payload::parse(&written) else {
        panic!("{event:?} is written as {written}, which is not read");
    };
    // A letter is judged anew, and need not know what it was compared by.
    assert_eq!(
        (&read.warehouse, &read.sku, &read.what, &read.lot, read.time, read.unit),
        (&event.warehouse, &event.sku, &event.what, &event.lot, event.time, event.unit)
    );
    assert_eq!(
        (&read.origin.source, &read.origin.id),
        (&event.origin.source, &event.origin.id)
    );
    assert!(event.origin.id.as_str().len() <= 128 && event.warehouse.as_str() == "main");
}

/// A body of events, in each format.
pub fn events(body: &[u8]) {
    events_of(body);
}

fn events_of(body: &[u8]) -> usize {
    let known = warehouses();
    let mut count = 0;
    for format in [Format::Json, Format::Single, Format::Batch, Format::Ndjson] {
        let mut decoder = Decoder::new(&known, None);
        let rows = match decode(body, format, ROWS, &mut decoder) {
            Ok(Decoded::One(row)) => vec![*row],
            Ok(Decoded::Many(rows)) => rows.into_iter().collect(),
            Err(_) => continue,
        };
        assert!(rows.len() <= ROWS);
        count += rows.iter().flatten().inspect(|event| taken(event)).count();
    }
    count
}

/// A header of a message: `name: value`.
fn header(line: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let at = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..at]).ok()?;
    Some((name.into(), line[at + 1..].trim_ascii_start()))
}

/// A message: lines `name: value` are its headers, up to an empty line; the rest is its body.
pub fn messages(bytes: &[u8]) {
    let split = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = split.map_or((&bytes[..0], bytes), |at| (&bytes[..at], &bytes[at + 2..]));
    let message = Message {
        headers: head.split(|byte| *byte == b'\n').filter_map(header).collect(),
        body: (!body.is_empty()).then_some(body),
    };
    let known = warehouses();
    let mut decoder = Decoder::new(&known, message.trace().map(TraceParent::of));
    let rows = message.decode(ROWS, &mut decoder);
    assert!(rows.len() <= ROWS);
    rows.iter().flatten().for_each(taken);
}

#[cfg(test)]
pub(crate) fn has_an_event(body: &[u8]) -> bool {
    events_of(body) > 0
}
