//! From the JSON of one row to a checked [`Event`], or to a refusal that names the field.
//!
//! Everything about the form is decided here (types, ranges, ids, times, known fields), so that the domain may trust an event
//! it is given. What depends on the stock is the domain's. A JSON schema validator was rejected: it is slower than the decoding
//! itself, and its messages speak of the schema, not of the sender's mistake.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::fingerprint::{self, Scratch};
use super::scalar::Scalar;
use super::scan;
use super::wire::{Attribute, Envelope, Field, Lot, Row};
use super::{check, suggest};
use crate::domain::event::{Event, Inside, LotRef, Origin, ReturnTo, StreamPosition, What};
use crate::domain::refusal::{Code, Refusal};
pub use crate::domain::rejected::Rejected;
use crate::domain::trace::TraceParent;
use crate::domain::units::{Id, Unit};
use crate::domain::warehouse::Warehouse;

/// What the node reports as: a transfer's other side is known by an id under this name.
const NODE: &str = "node";
/// The most bytes of extensions that one event may carry into the ledger.
const MAX_EXTENSION_BYTES: usize = 4096;

/// What the type of every event begins with.
const PREFIX: &str = "inventory.";

/// Fields of `data` that every event may have.
const COMMON: u32 = Field::Warehouse.bit()
    | Field::Sku.bit()
    | Field::Reason.bit()
    | Field::Document.bit()
    | Field::Stream.bit()
    | Field::StreamSeq.bit()
    | Field::ExpectedVersion.bit();
/// Fields of what moves or states a quantity.
const MOVES: u32 = COMMON | Field::Quantity.bit() | Field::Unit.bit() | Field::Lot.bit();

/// Every type, without its prefix, and the fields of `data` that it has.
const KINDS: &[(&str, u32)] = &[
    ("receipt", MOVES),
    ("sale", MOVES | Field::Reservation.bit()),
    ("return", MOVES | Field::To.bit()),
    ("quarantine", MOVES),
    ("release", MOVES),
    ("write_off", MOVES | Field::From.bit()),
    ("transfer_out", MOVES | Field::Transfer.bit() | Field::ToWarehouse.bit()),
    ("transfer_in", MOVES | Field::Transfer.bit()),
    ("adjustment", (MOVES & !Field::Quantity.bit()) | Field::Delta.bit()),
    ("count", MOVES),
    ("snapshot", MOVES),
    ("void", COMMON | Field::Event.bit()),
];

/// Decodes the rows of one request; remembers the ids that repeat from row to row, so that they are made once.
pub struct Decoder<'w> {
    warehouses: &'w BTreeMap<Id, Arc<Warehouse>>,
    trace: Option<TraceParent>,
    source: Option<Id>,
    warehouse: Option<Id>,
    scratch: Scratch,
}

impl<'w> Decoder<'w> {
    /// A decoder for one request. `trace`: the request's `traceparent`, for events that carry none.
    pub fn new(warehouses: &'w BTreeMap<Id, Arc<Warehouse>>, trace: Option<TraceParent>) -> Decoder<'w> {
        Decoder {
            warehouses,
            trace,
            source: None,
            warehouse: None,
            scratch: Scratch::with_capacity(fingerprint::USUAL_BYTES),
        }
    }

    /// The event of one row's JSON text.
    pub fn row(&mut self, text: &str) -> Result<Event, Rejected> {
        if let Some((event, end)) = self.usual(text, 0)
            && text.as_bytes()[end..]
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        {
            return event;
        }
        match serde_json::from_str::<Row<'_>>(text) {
            Ok(row) => self.parsed(row),
            Err(error) => Err(malformed_row(&error.to_string()).into()),
        }
    }

    /// The event of the usual row that begins at a place in a text, and the place after it; `None`: serde must read it.
    pub(super) fn usual(&mut self, text: &str, at: usize) -> Option<(Result<Event, Rejected>, usize)> {
        let mut envelope = Envelope::default();
        let end = scan::envelope(text, at, &mut envelope, None)?;
        let event = self.event(&envelope).map_err(|refusal| self.rejected(&envelope, refusal));
        Some((event, end))
    }

    /// The event of a row that is JSON.
    pub(super) fn parsed(&mut self, row: Row<'_>) -> Result<Event, Rejected> {
        match row {
            Row::Object(envelope) => self.event(&envelope).map_err(|refusal| self.rejected(&envelope, refusal)),
            Row::Other(kind) => {
                Err(Refusal::new(Code::MalformedRow, format!("an event is a JSON object, this is {kind}")).into())
            }
        }
    }

    /// As much of a bad row as could be read.
    pub(super) fn rejected(&self, row: &Envelope<'_>, refusal: Refusal) -> Rejected {
        let warehouse = spoken(row.field(Field::Warehouse));
        let what = match row.attribute(Attribute::Type) {
            Scalar::Text(text) => kind(text).ok(),
            _ => None,
        };
        Rejected {
            id: spoken(row.attribute(Attribute::Id)),
            source: spoken(row.attribute(Attribute::Source)),
            warehouse: warehouse.and_then(|id| self.warehouses.get_key_value(&*id).map(|(known, _)| known.clone())),
            sku: spoken(row.field(Field::Sku)),
            what: what.map_or("row", |(word, _)| word),
            refusal: Box::new(refusal),
            text: None,
        }
    }

    /// The event of a row whose parts are known.
    pub(super) fn event(&mut self, row: &Envelope<'_>) -> Result<Event, Refusal> {
        if let Some(fault) = &row.fault {
            return Err(fault.clone());
        }
        let version = check::text(row.attribute(Attribute::SpecVersion), "/specversion")?;
        if version != "1.0" {
            return Err(check::invalid(
                "/specversion",
                format!("must be \"1.0\" (CloudEvents 1.0), is {}", suggest::quoted(version)),
            ));
        }
        let id = check::source_id(row.attribute(Attribute::Id), "/id")?;
        let source = self.source(row)?;
        let (word, fields) = kind(check::text(row.attribute(Attribute::Type), "/type")?)?;
        let time = check::optional_time(row.attribute(Attribute::Time), "/time")?;
        if let Some(kind) = row.data_kind {
            return Err(check::invalid("/data", format!("must be an object, is {kind}")));
        }
        no_foreign_fields(row, word, fields)?;
        let mut event = Event {
            origin: self.origin(row, id, source)?,
            warehouse: self.warehouse(row)?,
            sku: check::id(row.field(Field::Sku), "/data/sku")?,
            time,
            unit: unit(row)?,
            lot: lot(row)?,
            stream: stream(row)?,
            expected_version: check::optional_number(row.field(Field::ExpectedVersion), "/data/expected_version")?,
            what: what(row, word)?,
        };
        if matches!(word, "write_off" | "adjustment") && event.origin.reason.as_deref().is_none_or(str::is_empty) {
            return Err(check::invalid("/data/reason", format!("{PREFIX}{word} must say its reason")));
        }
        check_subject(row, &event)?;
        event.origin.fingerprint = fingerprint::of(&event, &mut self.scratch);
        Ok(event)
    }

    /// The source; the same as in the row before, most of the time.
    fn source(&mut self, row: &Envelope<'_>) -> Result<Id, Refusal> {
        let value = row.attribute(Attribute::Source);
        if let (Scalar::Text(text), Some(last)) = (value, &self.source)
            && last.as_str() == *text
        {
            return Ok(last.clone());
        }
        let source = check::source_id(value, "/source")?;
        if source.as_str() == NODE || source.as_str().strip_prefix(NODE).is_some_and(|rest| rest.starts_with('/')) {
            let detail = format!("`{NODE}` and `{NODE}/…` are what the node itself reports as; name the source otherwise");
            return Err(check::invalid("/source", detail));
        }
        self.source = Some(source.clone());
        Ok(source)
    }

    fn warehouse(&mut self, row: &Envelope<'_>) -> Result<Id, Refusal> {
        let value = row.field(Field::Warehouse);
        if let (Scalar::Text(text), Some(last)) = (value, &self.warehouse)
            && last.as_str() == *text
        {
            return Ok(last.clone());
        }
        // A known one is an id without looking: nothing has to be made of the text.
        let known = match value {
            Scalar::Text(text) => self.warehouses.get_key_value(&**text),
            _ => None,
        };
        let Some((known, _)) = known else {
            let asked = check::id(value, "/data/warehouse")?;
            return Err(Refusal::field(
                Code::UnknownWarehouse,
                "/data/warehouse",
                format!(
                    "no warehouse {} is declared here{}",
                    suggest::quoted(asked.as_str()),
                    suggest::hint(asked.as_str(), self.warehouses.keys().map(Id::as_str))
                ),
            ));
        };
        self.warehouse = Some(known.clone());
        Ok(known.clone())
    }

    fn origin(&self, row: &Envelope<'_>, id: Id, source: Id) -> Result<Origin, Refusal> {
        let trace = check::short_text(row.attribute(Attribute::Trace), "/traceparent")?;
        Ok(Origin {
            source,
            id,
            actor: check::optional_text(row.attribute(Attribute::Actor), "/actor")?,
            reason: check::optional_text(row.field(Field::Reason), "/data/reason")?,
            document: check::optional_text(row.field(Field::Document), "/data/document")?,
            trace: trace.map(TraceParent::of).or_else(|| self.trace.clone()),
            extensions: extensions(&row.extensions)?,
            fingerprint: 0,
        })
    }
}

/// What a row that is no JSON is refused with.
pub(super) fn malformed_row(error: &str) -> Refusal {
    Refusal::new(Code::MalformedRow, format!("the row is not JSON: {error}"))
}

/// An id or source as it can be given back in the verdict of a bad row.
fn spoken(value: &Scalar<'_>) -> Option<Box<str>> {
    match value {
        Scalar::Text(text) => Some(text.chars().take(128).collect::<String>().into()),
        _ => None,
    }
}

fn kind(text: &str) -> Result<(&'static str, u32), Refusal> {
    let known = text
        .strip_prefix(PREFIX)
        .and_then(|word| KINDS.iter().find(|(known, _)| *known == word));
    known.copied().ok_or_else(|| {
        let word = text.strip_prefix(PREFIX).unwrap_or(text);
        let hint = suggest::nearest(word, KINDS.iter().map(|(known, _)| *known));
        let hint = hint.map_or_else(
            || format!("; the types are {PREFIX}receipt, {PREFIX}sale and others of GET /docs"),
            |word| format!("; did you mean '{PREFIX}{word}'?"),
        );
        check::invalid("/type", format!("no event has the type {}{hint}", suggest::quoted(text)))
    })
}

/// A field that other types have, but not this one: as wrong as a field that nobody knows.
fn no_foreign_fields(row: &Envelope<'_>, word: &str, fields: u32) -> Result<(), Refusal> {
    let foreign = row.given & !fields;
    if foreign == 0 {
        return Ok(());
    }
    let name = super::wire::FIELDS[foreign.trailing_zeros() as usize];
    Err(Refusal::field(
        Code::UnknownField,
        format!("/data/{name}"),
        format!("{PREFIX}{word} has no field '{name}'"),
    ))
}

/// The CloudEvents `subject`, where it names a warehouse and a SKU, names those of `data`: an event that contradicts itself is
/// nobody's to interpret. A subject of another form says nothing that could be wrong.
fn check_subject(row: &Envelope<'_>, event: &Event) -> Result<(), Refusal> {
    let Some((_, raw)) = row.extensions.iter().find(|(name, _)| name == "subject") else {
        return Ok(());
    };
    let Ok(subject) = serde_json::from_str::<Cow<'_, str>>(raw.get()) else {
        return Err(check::invalid(
            "/subject",
            "must be a string (CloudEvents 1.0); leave it out if there is none",
        ));
    };
    let named = |(warehouse, sku): &(&str, &str)| Id::check(warehouse).is_ok() && Id::check(sku).is_ok();
    match subject.split_once('/').filter(named) {
        Some((warehouse, sku)) if warehouse != event.warehouse.as_str() || sku != event.sku.as_str() => {
            let detail = format!(
                "{} contradicts `data`, which names warehouse {} and SKU {}; send one of them, or both alike",
                suggest::quoted(&subject),
                suggest::quoted(event.warehouse.as_str()),
                suggest::quoted(event.sku.as_str())
            );
            Err(check::invalid("/subject", detail))
        }
        _ => Ok(()),
    }
}

fn unit(row: &Envelope<'_>) -> Result<Option<Unit>, Refusal> {
    const WORDS: [(&str, Option<Unit>); 3] = [("each", Some(Unit::Each)), ("g", Some(Unit::G)), ("ml", Some(Unit::Ml))];
    check::word(row.field(Field::Unit), "/data/unit", &WORDS, None)
}

fn lot(row: &Envelope<'_>) -> Result<Option<LotRef>, Refusal> {
    let [id, expires_on] = match &row.lot {
        Lot::Absent => return Ok(None),
        Lot::NotAnObject(kind) => {
            let detail = format!("must be an object like {{\"id\": \"L2291\", \"expires_on\": \"2026-12-01\"}}, is {kind}");
            return Err(check::invalid("/data/lot", detail));
        }
        Lot::Given(values) => values,
    };
    let expires_on = check::optional_day(expires_on, "/data/lot/expires_on")?;
    if matches!(id, Scalar::Text(text) if text.is_empty()) {
        if expires_on.is_some() {
            let detail = "the stock without a lot has no expiry date; name the lot";
            return Err(check::invalid("/data/lot/expires_on", detail));
        }
        return Ok(Some(LotRef {
            id: Id::no_lot(),
            expires_on: None,
        }));
    }
    let id = check::id(id, "/data/lot/id")?;
    Ok(Some(LotRef { id, expires_on }))
}

fn stream(row: &Envelope<'_>) -> Result<Option<StreamPosition>, Refusal> {
    let stream = row.field(Field::Stream);
    let seq = check::optional_number(row.field(Field::StreamSeq), "/data/stream_seq")?;
    match (stream.is_none(), seq) {
        (true, None) => Ok(None),
        (false, Some(seq)) => Ok(Some(StreamPosition {
            stream: check::source_id(stream, "/data/stream")?,
            seq,
        })),
        (true, Some(_)) => Err(check::invalid("/data/stream", "stream_seq needs the name of its stream")),
        (false, None) => Err(check::invalid("/data/stream_seq", "a stream needs the event's number in it")),
    }
}

fn what(row: &Envelope<'_>, word: &str) -> Result<What, Refusal> {
    const TO: [(&str, ReturnTo); 2] = [("sellable", ReturnTo::Sellable), ("quarantine", ReturnTo::Quarantine)];
    const FROM: [(&str, Inside); 3] = [
        ("sellable", Inside::Sellable),
        ("quarantine", Inside::Quarantine),
        ("in_transit", Inside::InTransit),
    ];
    let quantity = |least| check::quantity(row.field(Field::Quantity), "/data/quantity", least);
    let transfer = || check::id(row.field(Field::Transfer), "/data/transfer");
    Ok(match word {
        "receipt" => What::Receipt { quantity: quantity(1)? },
        "sale" => What::Sale {
            quantity: quantity(1)?,
            reservation: check::optional_id(row.field(Field::Reservation), "/data/reservation")?,
        },
        "return" => What::Return {
            quantity: quantity(1)?,
            to: check::word(row.field(Field::To), "/data/to", &TO, ReturnTo::Sellable)?,
        },
        "quarantine" => What::Quarantine { quantity: quantity(1)? },
        "release" => What::Release { quantity: quantity(1)? },
        "write_off" => What::WriteOff {
            quantity: quantity(1)?,
            from: check::word(row.field(Field::From), "/data/from", &FROM, Inside::Sellable)?,
        },
        "transfer_out" => What::TransferOut {
            quantity: quantity(1)?,
            transfer: transfer()?,
            to_warehouse: check::id(row.field(Field::ToWarehouse), "/data/to_warehouse")?,
        },
        "transfer_in" => What::TransferIn {
            quantity: quantity(1)?,
            transfer: transfer()?,
        },
        "adjustment" => What::Adjustment {
            delta: check::delta(row.field(Field::Delta), "/data/delta")?,
        },
        "count" => What::Count { quantity: quantity(0)? },
        "snapshot" => What::Snapshot { quantity: quantity(0)? },
        _ => What::Void {
            event: check::source_id(row.field(Field::Event), "/data/event")?,
        },
    })
}

/// The extensions as one JSON object, as they were received.
fn extensions(pairs: &[(Cow<'_, str>, &RawValue)]) -> Result<Option<Box<str>>, Refusal> {
    if pairs.is_empty() {
        return Ok(None);
    }
    let mut out = String::with_capacity(64);
    for (name, value) in pairs {
        out.push(if out.is_empty() { '{' } else { ',' });
        // A name is mostly plain ASCII; serde_json writes the escapes where it is not.
        out.push_str(&serde_json::to_string(name).unwrap_or_default());
        out.push(':');
        out.push_str(value.get());
        if out.len() > MAX_EXTENSION_BYTES {
            let detail =
                format!("the event's extensions are more than {MAX_EXTENSION_BYTES} bytes together; send less beside `data`");
            return Err(check::invalid(&super::wire::pointer("", name), detail));
        }
    }
    out.push('}');
    Ok(Some(out.into()))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
