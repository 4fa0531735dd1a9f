//! A fact as far as a start folds it, read without a copy: a start reads millions, and its time went into texts that nobody kept.
//!
//! It is checked as a whole all the same: what [`super::decode_stored`] finds damaged is damaged here, at the same place.

use crate::domain::fact::{Account, Changes, Outcome, Subject};
use crate::domain::units::Time;

use super::change::changes;
use super::fact::{Head, Memory, head, subject};
use super::{Corrupt, Reader, offer};

/// What a fact does to the memory; the texts are those of its bytes.
#[derive(Debug)]
pub(crate) struct ForFold<'a> {
    /// Its warehouse; empty for the catalogue.
    pub(crate) warehouse: &'a str,
    /// Of its origin the source.
    pub(crate) source: &'a str,
    /// Of its origin the event's id.
    pub(crate) id: &'a str,
    /// When it happened.
    pub(crate) business: Time,
    /// When it was decided.
    pub(crate) recorded: Time,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// What is remembered of it.
    pub(crate) memory: Memory,
    /// What it is about.
    pub(crate) subject: Folding<'a>,
}

/// The subject of such a fact.
#[derive(Debug)]
pub(crate) enum Folding<'a> {
    /// A SKU: what changed, without the figures after it.
    Sku {
        /// The SKU.
        sku: &'a str,
        /// Its version after this fact.
        version: u64,
        /// What changed.
        changes: Changes,
    },
    /// Anything else.
    Other(Subject),
}

/// Reads a fact for a fold; it must fill the bytes exactly.
pub(crate) fn decode_for_fold(bytes: &[u8]) -> Result<ForFold<'_>, Corrupt> {
    let mut reader = Reader::new(bytes);
    let head = head(&mut reader)?;
    let subject = match reader.u8("subject")? {
        0 => sku(&mut reader, head.flags)?,
        number => Folding::Other(subject(&mut reader, number, head.flags)?),
    };
    reader.end("end of the fact")?;
    let memory = head.memory();
    let Head {
        warehouse,
        business,
        recorded,
        origin,
        outcome,
        ..
    } = head;
    Ok(ForFold {
        warehouse,
        source: origin.source,
        id: origin.id,
        business,
        recorded,
        outcome,
        memory,
        subject,
    })
}

fn sku<'a>(reader: &mut Reader<'a>, flags: u8) -> Result<Folding<'a>, Corrupt> {
    let sku = reader.str("sku")?;
    let version = reader.varint("version")?;
    let changes = changes(reader)?;
    // The accounts, claimed, owed, available.
    for _ in 0..Account::ALL.len() + 3 {
        reader.signed("figure after")?;
    }
    offer::pass(reader, flags)?;
    Ok(Folding::Sku { sku, version, changes })
}
