//! Which SKU a fact has changed, read from its bytes without the rest: for those who only want the newest of each SKU.
//!
//! Nothing is copied. What is passed over is still read by its lengths, since a fact has no table of its parts.

use crate::domain::trace::TRACE_BYTES;

use super::fact::{HAS_PAYLOAD, SHORT_TRACE, VERSION, VOIDS};
use super::outcome::outcome;
use super::{Corrupt, Reader};

/// A SKU that a fact has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch<'a> {
    /// Its warehouse.
    pub warehouse: &'a str,
    /// The SKU.
    pub sku: &'a str,
    /// Its version after the fact.
    pub version: u64,
}

/// The SKU that a fact has changed; `None`: it speaks of something else, or changed nothing.
pub fn touched(bytes: &[u8]) -> Result<Option<Touch<'_>>, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.u8("fact version")? != VERSION {
        return Err(reader.corrupt("fact version"));
    }
    let flags = reader.u8("fact flags")?;
    let warehouse = reader.str("warehouse")?;
    pass(&mut reader, "what")?;
    reader.signed("business time")?;
    reader.signed("recorded time")?;
    pass_origin(&mut reader)?;
    outcome(&mut reader)?;
    if flags & VOIDS != 0 {
        reader.u64("voided id")?;
    }
    if flags & HAS_PAYLOAD != 0 {
        pass(&mut reader, "payload")?;
    }
    if reader.u8("subject")? != 0 {
        return Ok(None);
    }
    let sku = reader.str("sku")?;
    let version = reader.varint("version")?;
    let touch = Touch { warehouse, sku, version };
    Ok((reader.count("changes")? > 0).then_some(touch))
}

fn pass(reader: &mut Reader<'_>, what: &'static str) -> Result<(), Corrupt> {
    let bytes = reader.count(what)?;
    reader.take(bytes, what).map(drop)
}

fn pass_origin(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    pass(reader, "source")?;
    pass(reader, "event id")?;
    reader.u64("fingerprint")?;
    let present = reader.u8("origin")?;
    for _ in 0..(present & (SHORT_TRACE - 1)).count_ones() {
        pass(reader, "origin")?;
    }
    if present & SHORT_TRACE != 0 {
        reader.take(TRACE_BYTES, "trace")?;
    }
    Ok(())
}
