//! Targets for the bytes of the store: whatever they are, they decode to a value or to an error; and what decodes is written as
//! it was read.

use super::codec::{
    decode_dead_letter, decode_reservation, decode_stock, decode_stored, decode_warehouse, encode_dead_letter, encode_owned,
    encode_reservation, encode_stock, encode_warehouse,
};
use super::payload;
use super::record::Row;
use super::runs::Sealed;

/// One fact.
pub fn facts(bytes: &[u8]) {
    if let Ok(stored) = decode_stored(bytes, 7) {
        let mut again = Vec::new();
        encode_owned(&mut again, &stored.fact, stored.memory);
        assert_eq!(decode_stored(&again, 7).as_ref(), Ok(&stored));
    }
}

/// A row of the journal, as it is and with the version and the checksum that it should have.
pub fn rows(bytes: &[u8]) {
    row(bytes);
    row(&whole(bytes));
}

fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut whole = vec![1, 0, 0, 0, 0];
    whole.extend_from_slice(bytes);
    let checksum = crc32c::crc32c(bytes).to_le_bytes();
    whole[1..5].copy_from_slice(&checksum);
    whole
}

fn row(bytes: &[u8]) {
    let Ok(row) = Row::parse(bytes.to_vec()) else { return };
    let count = row.stored_from(0).count() as u64;
    assert_eq!(row.header.first_seq + count, row.end_seq());
    for fact in row.stored_from(0).flatten() {
        assert!(row.stored(fact.fact.seq).is_some());
    }
}

/// Snapshot rows of every kind, and the events of dead letters.
pub fn snapshots(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Ok((stock, seq)) = decode_stock(bytes) {
                assert_eq!(decode_stock(&encode_stock(&stock, seq)), Ok((stock, seq)));
            }
        }
        1 => {
            if let Ok((basket, seq)) = decode_reservation(bytes) {
                assert_eq!(decode_reservation(&encode_reservation(&basket, seq)), Ok((basket, seq)));
            }
        }
        2 => {
            if let Ok((site, seq)) = decode_warehouse(bytes) {
                assert_eq!(decode_warehouse(&encode_warehouse(&site, seq)), Ok((site, seq)));
            }
        }
        3 => {
            if let Ok((letter, seq)) = decode_dead_letter(bytes) {
                assert_eq!(decode_dead_letter(&encode_dead_letter(&letter, seq)), Ok((letter, seq)));
            }
        }
        4 => {
            if let Ok(sealed) = Sealed::decode(bytes) {
                assert_eq!(Sealed::decode(&sealed.encode()), Ok(sealed));
            }
        }
        _ => {
            if let Some(event) = std::str::from_utf8(bytes).ok().and_then(payload::parse) {
                assert_eq!(payload::parse(&payload::render(&event)), Some(event));
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn is_a_fact(bytes: &[u8]) -> bool {
    decode_stored(bytes, 7).is_ok()
}

#[cfg(test)]
pub(crate) fn is_a_row(bytes: &[u8]) -> bool {
    Row::parse(bytes.to_vec()).is_ok() || Row::parse(whole(bytes)).is_ok()
}
