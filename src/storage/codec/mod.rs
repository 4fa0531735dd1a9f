//! The durable form of everything the journal and the snapshots keep: written by hand, versioned, with varints.
//!
//! A derived format (serde with bincode or the like) was rejected: the bytes would follow the structs, so that an innocent
//! change of a struct would silently change what years of journal mean. Here a change of the bytes is a change of this
//! folder, and every record says which version of it wrote it.
//!
//! Decoding judges nothing about stock, but it trusts no byte: whatever it is given, it answers with a value or with
//! [`Corrupt`], and it never panics or allocates more than the input could hold.

mod change;
mod fact;
mod folding;
mod offer;
mod outcome;
mod state;
mod touch;

use std::fmt;

use crate::domain::units::{Day, Id, Time};

pub use fact::{FactParts, Memory, Stored, SubjectRef, decode_fact, decode_stored, encode_fact, encode_owned};
pub(crate) use folding::{Folding, ForFold, decode_for_fold};
pub(crate) use outcome::{outcome, put_outcome};
pub(crate) use state::{
    decode_dead_letter, decode_reservation, decode_stock, decode_warehouse, encode_dead_letter, encode_reservation, encode_stock,
    encode_warehouse,
};
pub(crate) use touch::{Touch, touched};

/// Bytes that are no record of any version this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// What was being read.
    pub what: &'static str,
    /// Where in the record, in bytes.
    pub at: usize,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record is damaged: no valid {} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Corrupt {}

/// The most bytes that a number takes.
const VARINT_BYTES: usize = 10;
/// As many numbers as are written at once.
const AT_ONCE: usize = 10;

/// LEB128, at most ten bytes.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    // Most numbers are lengths and small figures, of one byte.
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long_varint(out, value);
    }
}

fn put_long_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; VARINT_BYTES];
    let end = spell(&mut bytes, 0, value);
    out.extend_from_slice(&bytes[..end]);
}

/// Writes a number from a place on, and returns the place after it.
#[inline]
fn spell(bytes: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}

/// So that small magnitudes of either sign are small.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Zigzag, then LEB128: small magnitudes of either sign stay short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// As [`put_signed`] for each of a few numbers, which are appended in one piece.
#[inline]
pub(crate) fn put_few_signed(out: &mut Vec<u8>, values: &[i64]) {
    for values in values.chunks(AT_ONCE) {
        let mut bytes = [0; AT_ONCE * VARINT_BYTES];
        let end = values.iter().fold(0, |at, value| spell(&mut bytes, at, zigzag(*value)));
        out.extend_from_slice(&bytes[..end]);
    }
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

pub(crate) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

pub(crate) fn put_time(out: &mut Vec<u8>, time: Time) {
    put_signed(out, time.0);
}

pub(crate) fn put_day(out: &mut Vec<u8>, day: Day) {
    put_signed(out, i64::from(day.0));
}

/// Reads a record from front to back, and knows where it is when something is wrong.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn corrupt(&self, what: &'static str) -> Corrupt {
        Corrupt { what, at: self.at }
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Corrupt> {
        let end = self.at.checked_add(count).ok_or(self.corrupt(what))?;
        let taken = self.bytes.get(self.at..end).ok_or(self.corrupt(what))?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Corrupt> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.corrupt(what))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Corrupt> {
        let bytes = self.take(8, what)?;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| self.corrupt(what))
    }

    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, Corrupt> {
        // As they are written: mostly of one byte.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, Corrupt> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.corrupt(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.corrupt(what))
    }

    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, Corrupt> {
        let value = self.varint(what)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of things that follow: never more than bytes are left, so that garbage cannot ask for memory.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, Corrupt> {
        let count = self.varint(what)?;
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            Err(self.corrupt(what))
        } else {
            Ok(count as usize)
        }
    }

    pub(crate) fn str(&mut self, what: &'static str) -> Result<&'a str, Corrupt> {
        let count = self.count(what)?;
        let bytes = self.take(count, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt(what))
    }

    pub(crate) fn boxed(&mut self, what: &'static str) -> Result<Box<str>, Corrupt> {
        self.str(what).map(Box::from)
    }

    pub(crate) fn id(&mut self, what: &'static str) -> Result<Id, Corrupt> {
        self.str(what).map(Id::trusted)
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, Corrupt> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(what)),
        }
    }

    pub(crate) fn time(&mut self, what: &'static str) -> Result<Time, Corrupt> {
        self.signed(what).map(Time)
    }

    pub(crate) fn day(&mut self, what: &'static str) -> Result<Day, Corrupt> {
        let day = self.signed(what)?;
        i32::try_from(day).map(Day).map_err(|_| self.corrupt(what))
    }

    pub(crate) fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Corrupt>,
    ) -> Result<Option<T>, Corrupt> {
        if self.bool(what)? { read(self).map(Some) } else { Ok(None) }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The record must end here: what is left over would be lost in silence.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), Corrupt> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.corrupt(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::domain::fact::Subject;
    use crate::storage::testing::arbitrary::stored;

    use super::*;

    proptest! {
        #[test]
        fn a_fact_comes_back_as_it_was(stored in stored(), seq in any::<u64>()) {
            let mut bytes = Vec::new();
            encode_owned(&mut bytes, &stored.fact, stored.memory);
            let mut expected = stored;
            expected.fact.seq = seq;
            prop_assert_eq!(decode_stored(&bytes, seq), Ok(expected.clone()));
            let folded = decode_for_fold(&bytes).unwrap();
            let Stored { fact, memory } = expected;
            prop_assert_eq!((folded.warehouse, folded.memory), (fact.warehouse.as_str(), memory));
            prop_assert_eq!((folded.source, folded.id), (fact.origin.source.as_str(), fact.origin.id.as_str()));
            prop_assert_eq!((folded.business, folded.recorded, folded.outcome), (fact.business, fact.recorded, fact.outcome));
            match (folded.subject, fact.subject) {
                (Folding::Sku { sku, version, changes }, Subject::Sku { sku: name, version: after, changes: all, .. }) => {
                    prop_assert_eq!((sku, version, changes), (name.as_str(), after, all));
                }
                (Folding::Other(other), subject) => prop_assert_eq!(other, subject),
                (Folding::Sku { .. }, subject) => prop_assert!(false, "read as a SKU: {:?}", subject),
            }
        }

        #[test]
        fn a_few_numbers_at_once_have_the_bytes_of_each_by_itself(
            values in prop::collection::vec(prop_oneof![any::<i64>(), -100..100i64, Just(i64::MIN)], 0..3 * AT_ONCE),
        ) {
            let (mut all, mut each) = (vec![7], vec![7]);
            put_few_signed(&mut all, &values);
            values.iter().for_each(|value| put_signed(&mut each, *value));
            prop_assert_eq!(all, each);
        }

        #[test]
        fn the_sku_that_a_fact_has_changed_is_read_without_the_rest(stored in stored()) {
            let mut bytes = Vec::new();
            encode_owned(&mut bytes, &stored.fact, stored.memory);
            let expected = match &stored.fact.subject {
                Subject::Sku { sku, version, changes, .. } if !changes.is_empty() => Some(Touch {
                    warehouse: stored.fact.warehouse.as_str(),
                    sku: sku.as_str(),
                    version: *version,
                }),
                _ => None,
            };
            prop_assert_eq!(touched(&bytes), Ok(expected));
        }

        #[test]
        fn a_damaged_fact_is_a_value_or_an_error_and_never_a_panic(
            stored in stored(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            encode_owned(&mut bytes, &stored.fact, stored.memory);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
                prop_assert!(decode_stored(&bytes, 1).is_err());
            } else {
                bytes[at] = byte;
                let _ = touched(&bytes);
            }
            prop_assert_eq!(decode_for_fold(&bytes).err(), decode_stored(&bytes, 1).err(), "both see the same damage");
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_stored(&bytes, 1);
            let _ = touched(&bytes);
            let _ = crate::storage::record::Row::parse(bytes.clone());
            let _ = decode_stock(&bytes);
            let _ = decode_reservation(&bytes);
            let _ = decode_warehouse(&bytes);
            let _ = decode_dead_letter(&bytes);
        }

        #[test]
        fn numbers_come_back(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            put_signed(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("number"), Ok(unsigned));
            prop_assert_eq!(reader.signed("number"), Ok(signed));
            prop_assert!(reader.end("end").is_ok());
        }
    }
}
