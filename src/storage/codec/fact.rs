//! The bytes of a [`Fact`]. Its sequence is not among them: it is the row's first sequence plus the fact's index.
//!
//! Deciders encode from borrowed parts, so that the hot path never builds an owned fact only to throw it away.

use crate::domain::event::Origin;
use crate::domain::fact::{After, Change, Fact, Outcome, Subject};
use crate::domain::reservation::Reservation;
use crate::domain::trace::{TRACE_BYTES, TraceParent};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse;

use super::change::{changes, put_changes};
use super::offer;
use super::outcome::{outcome, put_outcome};
use super::state::{put_reservation, put_warehouse, reservation, warehouse};
use super::{Corrupt, Reader, put_few_signed, put_option, put_str, put_u64, put_varint};

/// The version written in front of each fact.
pub(super) const VERSION: u8 = 1;

pub(super) const HAS_PAYLOAD: u8 = 1;
const REMEMBERED: u8 = 2;
const KEEP_FOREVER: u8 = 4;
pub(super) const VOIDS: u8 = 8;
/// What of a fact is remembered against repetition. See [`crate::storage::remembered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Memory {
    /// Whether the event's own id is remembered: the hash of the fact's (warehouse, source, id).
    pub id: bool,
    /// The mark under which the event that this void takes back is known to be voided.
    pub voids: Option<u64>,
    /// Whether it is kept for ever (the source is configured so).
    pub keep_forever: bool,
}

/// What a fact speaks of, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum SubjectRef<'a> {
    /// A SKU in the fact's warehouse.
    Sku {
        /// The SKU.
        sku: &'a str,
        /// Its version after this fact.
        version: u64,
        /// What changed.
        changes: &'a [Change],
        /// The figures after it.
        after: &'a After,
    },
    /// A reservation's whole state after the fact.
    Reservation(&'a Reservation),
    /// The warehouse, as it is from now on.
    Warehouse(&'a Warehouse),
    /// A catalogue entry; empty: removed.
    Catalogue {
        /// The SKU.
        sku: &'a str,
        /// The entry as JSON.
        entry: &'a str,
    },
    /// What was done about a dead letter.
    DeadLetter {
        /// Sequence of the fact that made it.
        letter: u64,
        /// `replayed`, `discarded`, `restored`.
        action: &'a str,
    },
    /// Rows refused at the door.
    Row {
        /// The SKU, as far as it could be read.
        sku: Option<&'a str>,
        /// How many rows.
        rows: u32,
    },
    /// A command about a reservation that the node fails on.
    Command {
        /// The reservation.
        reservation: &'a str,
    },
}

impl<'a> From<&'a Subject> for SubjectRef<'a> {
    fn from(subject: &'a Subject) -> SubjectRef<'a> {
        match subject {
            Subject::Sku {
                sku,
                version,
                changes,
                after,
            } => SubjectRef::Sku {
                sku: sku.as_str(),
                version: *version,
                changes,
                after,
            },
            Subject::Reservation(reservation) => SubjectRef::Reservation(reservation),
            Subject::Warehouse(warehouse) => SubjectRef::Warehouse(warehouse),
            Subject::Catalogue { sku, entry } => SubjectRef::Catalogue {
                sku: sku.as_str(),
                entry,
            },
            Subject::DeadLetter { letter, action } => SubjectRef::DeadLetter { letter: *letter, action },
            Subject::Row { sku, rows } => SubjectRef::Row {
                sku: sku.as_ref().map(Id::as_str),
                rows: *rows,
            },
            Subject::Command { reservation } => SubjectRef::Command {
                reservation: reservation.as_str(),
            },
        }
    }
}

/// A fact to be encoded, borrowed from whatever decided it.
#[derive(Clone, Copy, Debug)]
pub struct FactParts<'a> {
    /// The warehouse; empty for the catalogue.
    pub warehouse: &'a str,
    /// What was done, in one word.
    pub what: &'a str,
    /// When it happened.
    pub business: Time,
    /// When it was decided.
    pub recorded: Time,
    /// Who said it.
    pub origin: &'a Origin,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// The event as received, for dead letters and refusals.
    pub payload: Option<&'a str>,
    /// What it is about.
    pub subject: SubjectRef<'a>,
    /// What is remembered with it. Must say the same as the [`crate::storage::append::Folded`] handed over beside it.
    pub memory: Memory,
}

/// A fact as read back, with what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The fact.
    pub fact: Fact,
    /// What is remembered.
    pub memory: Memory,
}

/// Appends one fact to `out`.
pub fn encode_fact(out: &mut Vec<u8>, fact: FactParts<'_>) {
    let memory = fact.memory;
    let mut flags = 0;
    for (set, flag) in [
        (fact.payload.is_some(), HAS_PAYLOAD),
        (memory.id, REMEMBERED),
        (memory.keep_forever, KEEP_FOREVER),
        (memory.voids.is_some(), VOIDS),
    ] {
        flags |= if set { flag } else { 0 };
    }
    if let SubjectRef::Sku { after, .. } = fact.subject {
        flags |= offer::flags(&after.on_offer);
    }
    out.push(VERSION);
    out.push(flags);
    put_str(out, fact.warehouse);
    put_str(out, fact.what);
    // The second is mostly milliseconds after the event: two bytes in place of six.
    put_few_signed(out, &[fact.business.0, fact.recorded.0.wrapping_sub(fact.business.0)]);
    put_origin(out, fact.origin);
    put_outcome(out, fact.outcome);
    if let Some(voids) = memory.voids {
        put_u64(out, voids);
    }
    if let Some(payload) = fact.payload {
        put_str(out, payload);
    }
    put_subject(out, fact.subject);
}

/// As [`encode_fact`], from an owned fact.
pub fn encode_owned(out: &mut Vec<u8>, fact: &Fact, memory: Memory) {
    let parts = FactParts {
        warehouse: fact.warehouse.as_str(),
        what: &fact.what,
        business: fact.business,
        recorded: fact.recorded,
        origin: &fact.origin,
        outcome: &fact.outcome,
        payload: fact.payload.as_deref(),
        subject: SubjectRef::from(&fact.subject),
        memory,
    };
    encode_fact(out, parts);
}

/// Reads one fact back; it must fill the bytes exactly.
pub fn decode_fact(bytes: &[u8], seq: u64) -> Result<Fact, Corrupt> {
    decode_stored(bytes, seq).map(|stored| stored.fact)
}

/// As [`decode_fact`], with what is remembered of it.
pub fn decode_stored(bytes: &[u8], seq: u64) -> Result<Stored, Corrupt> {
    let mut reader = Reader::new(bytes);
    let head = head(&mut reader)?;
    let number = reader.u8("subject")?;
    let subject = subject(&mut reader, number, head.flags)?;
    reader.end("end of the fact")?;
    let memory = head.memory();
    let fact = Fact {
        seq,
        warehouse: Id::trusted(head.warehouse),
        what: head.what.into(),
        business: head.business,
        recorded: head.recorded,
        origin: head.origin.owned(),
        outcome: head.outcome,
        payload: head.payload.map(Box::from),
        subject,
    };
    Ok(Stored { fact, memory })
}

/// What stands in a fact before its subject; the texts are those of its bytes.
pub(super) struct Head<'a> {
    pub(super) flags: u8,
    pub(super) warehouse: &'a str,
    what: &'a str,
    pub(super) business: Time,
    pub(super) recorded: Time,
    pub(super) origin: OriginParts<'a>,
    pub(super) outcome: Outcome,
    voids: Option<u64>,
    payload: Option<&'a str>,
}

impl Head<'_> {
    /// What is remembered of the fact.
    pub(super) fn memory(&self) -> Memory {
        Memory {
            id: self.flags & REMEMBERED != 0,
            voids: self.voids,
            keep_forever: self.flags & KEEP_FOREVER != 0,
        }
    }
}

pub(super) fn head<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Corrupt> {
    if reader.u8("fact version")? != VERSION {
        return Err(reader.corrupt("fact version"));
    }
    let flags = reader.u8("fact flags")?;
    if flags & !(HAS_PAYLOAD | REMEMBERED | KEEP_FOREVER | VOIDS | offer::MASK) != 0 {
        return Err(reader.corrupt("fact flags"));
    }
    let warehouse = reader.str("warehouse")?;
    let what = reader.str("what")?;
    let business = reader.time("business time")?;
    let recorded = Time(business.0.wrapping_add(reader.signed("recorded time")?));
    let origin = origin(reader)?;
    let outcome = outcome(reader)?;
    let voids = if flags & VOIDS == 0 {
        None
    } else {
        Some(reader.u64("voided id")?)
    };
    let payload = if flags & HAS_PAYLOAD == 0 {
        None
    } else {
        Some(reader.str("payload")?)
    };
    Ok(Head {
        flags,
        warehouse,
        what,
        business,
        recorded,
        origin,
        outcome,
        voids,
        payload,
    })
}

/// In place of a trace's text: its numbers. Most facts of a batch carry one.
pub(super) const SHORT_TRACE: u8 = 1 << 5;

fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    put_str(out, origin.source.as_str());
    put_str(out, origin.id.as_str());
    put_u64(out, origin.fingerprint);
    let trace = origin.trace.as_ref().map(TraceParent::numbers);
    let optional = [
        origin.actor.as_deref(),
        origin.reason.as_deref(),
        origin.document.as_deref(),
        trace.and_then(Result::err),
        origin.extensions.as_deref(),
    ];
    let numbers = trace.and_then(Result::ok);
    let mut present = if numbers.is_some() { SHORT_TRACE } else { 0 };
    for (place, text) in optional.iter().enumerate() {
        present |= u8::from(text.is_some()) << place;
    }
    out.push(present);
    optional.into_iter().flatten().for_each(|text| put_str(out, text));
    out.extend_from_slice(numbers.map_or(&[], |numbers| numbers));
}

/// An origin as it was read.
pub(super) struct OriginParts<'a> {
    pub(super) source: &'a str,
    pub(super) id: &'a str,
    fingerprint: u64,
    /// Actor, reason, document, trace, extensions.
    optional: [Option<&'a str>; 5],
    trace: Option<[u8; TRACE_BYTES]>,
}

impl OriginParts<'_> {
    fn owned(&self) -> Origin {
        let [actor, reason, document, trace, extensions] = self.optional;
        Origin {
            source: Id::trusted(self.source),
            id: Id::trusted(self.id),
            fingerprint: self.fingerprint,
            actor: actor.map(Box::from),
            reason: reason.map(Box::from),
            document: document.map(Box::from),
            trace: self.trace.map(TraceParent::of_numbers).or_else(|| trace.map(TraceParent::of)),
            extensions: extensions.map(Box::from),
        }
    }
}

fn origin<'a>(reader: &mut Reader<'a>) -> Result<OriginParts<'a>, Corrupt> {
    let source = reader.str("source")?;
    let id = reader.str("event id")?;
    let fingerprint = reader.u64("fingerprint")?;
    let present = reader.u8("origin")?;
    if present >= SHORT_TRACE << 1 || present & (SHORT_TRACE | 1 << 3) == SHORT_TRACE | 1 << 3 {
        return Err(reader.corrupt("origin"));
    }
    let mut optional = [None; 5];
    for (place, text) in optional.iter_mut().enumerate() {
        if present & 1 << place != 0 {
            *text = Some(reader.str("origin")?);
        }
    }
    let trace = if present & SHORT_TRACE == 0 {
        None
    } else {
        let numbers = reader.take(TRACE_BYTES, "trace")?;
        Some(numbers.try_into().map_err(|_| reader.corrupt("trace"))?)
    };
    Ok(OriginParts {
        source,
        id,
        fingerprint,
        optional,
        trace,
    })
}

fn put_subject(out: &mut Vec<u8>, subject: SubjectRef<'_>) {
    match subject {
        SubjectRef::Sku {
            sku,
            version,
            changes,
            after,
        } => {
            out.push(0);
            put_str(out, sku);
            put_varint(out, version);
            put_changes(out, changes);
            let mut figures = [0; 10];
            figures[..7].copy_from_slice(&after.accounts);
            figures[7..].copy_from_slice(&[after.claimed, after.owed, after.available]);
            put_few_signed(out, &figures);
            offer::put(out, &after.on_offer);
        }
        SubjectRef::Reservation(reservation) => {
            out.push(1);
            put_reservation(out, reservation);
        }
        SubjectRef::Warehouse(warehouse) => {
            out.push(2);
            put_warehouse(out, warehouse);
        }
        SubjectRef::Catalogue { sku, entry } => {
            out.push(3);
            put_str(out, sku);
            put_str(out, entry);
        }
        SubjectRef::DeadLetter { letter, action } => {
            out.push(4);
            put_varint(out, letter);
            put_str(out, action);
        }
        SubjectRef::Row { sku, rows } => {
            out.push(5);
            put_option(out, sku, put_str);
            put_varint(out, u64::from(rows));
        }
        SubjectRef::Command { reservation } => {
            out.push(6);
            put_str(out, reservation);
        }
    }
}

/// The subject whose number has been read.
pub(super) fn subject(reader: &mut Reader<'_>, number: u8, flags: u8) -> Result<Subject, Corrupt> {
    if number != 0 && flags & offer::MASK != 0 {
        return Err(reader.corrupt("fact flags"));
    }
    Ok(match number {
        0 => {
            let sku = reader.id("sku")?;
            let version = reader.varint("version")?;
            let changes = changes(reader)?;
            let mut after = After::default();
            let figures = after
                .accounts
                .iter_mut()
                .chain([&mut after.claimed, &mut after.owed, &mut after.available]);
            for figure in figures {
                *figure = reader.signed("figure after")?;
            }
            after.on_offer = offer::read(reader, flags)?;
            Subject::Sku {
                sku,
                version,
                changes,
                after,
            }
        }
        1 => Subject::Reservation(Box::new(reservation(reader)?)),
        2 => Subject::Warehouse(Box::new(warehouse(reader)?)),
        3 => Subject::Catalogue {
            sku: reader.id("sku")?,
            entry: reader.boxed("entry")?,
        },
        4 => Subject::DeadLetter {
            letter: reader.varint("letter")?,
            action: reader.boxed("action")?,
        },
        5 => Subject::Row {
            sku: reader.option("sku", |r| r.id("sku"))?,
            rows: u32::try_from(reader.varint("rows")?).map_err(|_| reader.corrupt("rows"))?,
        },
        6 => Subject::Command {
            reservation: reader.id("reservation")?,
        },
        _ => return Err(reader.corrupt("subject")),
    })
}
