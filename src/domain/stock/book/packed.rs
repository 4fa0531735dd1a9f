//! The rows of a full chunk, in three or four bytes each where they take eight.
//!
//! Full chunks are nearly all of a busy SKU's book, and are read by counts of an earlier time and by snapshots only.

use smallvec::SmallVec;

use super::row::{Row, SINCE, UNIT_BITS, UNITS};

/// So many rows a chunk has as a rule.
pub(super) const CHUNK: usize = 64;

/// Rows as they were packed.
pub(super) type Unpacked = SmallVec<[Row; CHUNK]>;

/// Of each row two numbers, in LEB128 (seven bits a byte, the lowest first, the highest bit of a byte says that more follow): the
/// milliseconds since the row before it; and its units, with the sign in the lowest bit, below what its kind and lot differ in from
/// that row's.
pub(super) fn pack(rows: &[Row]) -> Box<[u8]> {
    let mut bytes: SmallVec<[u8; 6 * CHUNK]> = SmallVec::new();
    let mut last = (0, 0);
    for row in rows {
        let (since, head, units) = row.parts();
        put(&mut bytes, since.wrapping_sub(last.0) & SINCE);
        put(&mut bytes, (head ^ last.1) << UNIT_BITS | units);
        last = (since, head);
    }
    Box::from(&bytes[..])
}

/// The rows again.
pub(super) fn unpack(bytes: &[u8]) -> Unpacked {
    let mut numbers = bytes.iter();
    let (mut rows, mut since, mut head) = (Unpacked::new(), 0u64, 0);
    while let (Some(later), Some(rest)) = (take(&mut numbers), take(&mut numbers)) {
        since = since.wrapping_add(later) & SINCE;
        head ^= rest >> UNIT_BITS;
        rows.push(Row::of_parts((since, head, rest & UNITS)));
    }
    rows
}

/// How many rows they are.
pub(super) fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte < 0x80).count() / 2
}

fn put(bytes: &mut SmallVec<[u8; 6 * CHUNK]>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::stock::book::row::Base;
    use crate::domain::units::Time;

    const START: i64 = 1_764_460_800_000;

    fn sales(count: i64) -> Vec<Row> {
        let base = Base::of(Time(START));
        let sale = |n: i64| Row::narrow(base, Time(START + n * 1_700), 0, [-1 - n % 3, 0, 0]);
        (0..count).filter_map(sale).collect()
    }

    #[test]
    fn sales_in_the_seconds_after_each_other_take_three_bytes_each() {
        let bytes = pack(&sales(64));
        assert!(bytes.len() <= 3 * 64 + 3, "{}", bytes.len());
        assert_eq!(count(&bytes), 64);
    }

    proptest! {
        /// Whatever the rows are, and however many: also such as no book has.
        #[test]
        fn what_is_unpacked_is_what_was_packed(words in prop::collection::vec(any::<u64>(), 0..200)) {
            let rows: Vec<Row> = words.iter().copied().map(Row::of_bits).collect();
            let bytes = pack(&rows);
            prop_assert_eq!(count(&bytes), rows.len());
            prop_assert!(unpack(&bytes).iter().map(|row| row.bits()).eq(words));
        }
    }
}
