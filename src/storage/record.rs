//! One row of the journal: a header with version and checksum, then facts, each behind its length.
//!
//! Rows of about 16 KiB, split between facts, gave smaller files than one blob a batch, and a point read decodes little.
//! redb checks its own pages only when it repairs; the checksum here is read at every use, so that a flipped bit is an error
//! with a name and never a wrong stock figure.
//!
//! ```text
//! u8  version    u32 crc32c of all that follows    u64 first sequence    u32 facts    u64 epoch    i64 recorded, ms
//! then for each fact: varint length, bytes
//! ```

use std::fmt;
use std::ops::Range;

use crate::domain::units::Time;

use super::codec::{Corrupt, ForFold, Reader, Stored, Touch, decode_for_fold, decode_stored, put_varint, touched};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 33;
const CHECKED_FROM: usize = 5;

/// A row is closed before it would grow past this; a single larger fact has a row of its own.
pub(crate) const ROW_BYTES: usize = 16 * 1024;

/// What a row says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    pub(crate) epoch: u64,
    pub(crate) recorded: Time,
}

/// Why a row cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRow {
    /// Written by a newer version of the node.
    Version(u8),
    /// The checksum does not match.
    Checksum,
    /// It is inconsistent within itself.
    Corrupt(Corrupt),
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRow::Version(version) => write!(f, "it has version {version}, and this node knows {VERSION}"),
            BadRow::Checksum => f.write_str("its checksum does not match its bytes"),
            BadRow::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl From<Corrupt> for BadRow {
    fn from(corrupt: Corrupt) -> BadRow {
        BadRow::Corrupt(corrupt)
    }
}

/// Packs facts into rows.
pub(crate) struct Packer {
    epoch: u64,
    recorded: Time,
    next_seq: u64,
    /// About how many bytes of facts are still to come.
    left: usize,
    open: Vec<u8>,
    open_first: u64,
    open_count: u32,
    rows: Vec<(u64, Vec<u8>)>,
}

impl Packer {
    /// `bytes`: of all facts that will come, so that rows need not grow.
    pub(crate) fn new(first_seq: u64, epoch: u64, recorded: Time, bytes: usize) -> Packer {
        Packer {
            left: bytes,
            epoch,
            recorded,
            next_seq: first_seq,
            open: Vec::new(),
            open_first: first_seq,
            open_count: 0,
            rows: Vec::new(),
        }
    }

    /// Takes one encoded fact; it has the next sequence.
    pub(crate) fn push(&mut self, fact: &[u8]) {
        if self.open_count > 0 && self.open.len() + fact.len() + 5 > ROW_BYTES {
            self.close();
        }
        if self.open.is_empty() {
            let rest = self.left.max(fact.len());
            // A length takes two bytes of a fact that has more than 127.
            self.open.reserve(ROW_BYTES.min(HEADER_BYTES + rest + rest / 32 + 16));
            self.open.resize(HEADER_BYTES, 0);
        }
        put_varint(&mut self.open, fact.len() as u64);
        self.open.extend_from_slice(fact);
        self.left = self.left.saturating_sub(fact.len());
        self.open_count += 1;
        self.next_seq += 1;
    }

    fn close(&mut self) {
        if self.open_count == 0 {
            return;
        }
        let mut row = std::mem::take(&mut self.open);
        row[0] = VERSION;
        row[5..13].copy_from_slice(&self.open_first.to_le_bytes());
        row[13..17].copy_from_slice(&self.open_count.to_le_bytes());
        row[17..25].copy_from_slice(&self.epoch.to_le_bytes());
        row[25..33].copy_from_slice(&self.recorded.0.to_le_bytes());
        let checksum = crc32c::crc32c(&row[CHECKED_FROM..]);
        row[1..5].copy_from_slice(&checksum.to_le_bytes());
        self.rows.push((self.open_first, row));
        self.open_first = self.next_seq;
        self.open_count = 0;
    }

    /// The rows, each with its key.
    pub(crate) fn finish(mut self) -> Vec<(u64, Vec<u8>)> {
        self.close();
        self.rows
    }
}

/// A row that was read and found whole; its facts are decoded one by one, when asked for.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) header: Header,
    bytes: Vec<u8>,
    facts: Vec<(u32, u32)>,
}

impl Row {
    /// Checks version, checksum and lengths.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Row, BadRow> {
        let mut reader = Reader::new(&bytes);
        let version = reader.u8("row version")?;
        if version != VERSION {
            return Err(BadRow::Version(version));
        }
        let checksum = u32_of(reader.take(4, "row checksum")?);
        if bytes.get(CHECKED_FROM..).map(crc32c::crc32c) != Some(checksum) {
            return Err(BadRow::Checksum);
        }
        let header = Header {
            first_seq: reader.u64("first sequence")?,
            count: u32_of(reader.take(4, "number of facts")?),
            epoch: reader.u64("epoch")?,
            recorded: Time(reader.u64("recorded time")? as i64),
        };
        let mut at = HEADER_BYTES;
        // As many as there are bytes for at the most: garbage cannot ask for memory.
        let mut facts = Vec::with_capacity((header.count as usize).min(bytes.len()));
        for _ in 0..header.count {
            let length = reader.count("length of a fact")?;
            let start = at + varint_bytes(length as u64);
            reader.take(length, "fact")?;
            at = start + length;
            facts.push((start as u32, at as u32));
        }
        reader.end("end of the row")?;
        if header.first_seq.checked_add(u64::from(header.count)).is_none() || header.count == 0 {
            return Err(reader.corrupt("first sequence").into());
        }
        Ok(Row { header, bytes, facts })
    }

    /// How large it is.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The sequence after its last fact.
    pub(crate) fn end_seq(&self) -> u64 {
        self.header.first_seq + u64::from(self.header.count)
    }

    /// The fact of that sequence; `None` when it is in another row.
    pub(crate) fn stored(&self, seq: u64) -> Option<Result<Stored, Corrupt>> {
        let place = seq.checked_sub(self.header.first_seq)?;
        let (start, end) = *self.facts.get(usize::try_from(place).ok()?)?;
        Some(decode_stored(&self.bytes[start as usize..end as usize], seq))
    }

    /// The SKUs that its facts have changed, in these sequences.
    pub(crate) fn touched_in(&self, seqs: Range<u64>) -> impl Iterator<Item = Result<Touch<'_>, Corrupt>> + '_ {
        let place = |seq: u64| (seq.saturating_sub(self.header.first_seq) as usize).min(self.facts.len());
        let facts = &self.facts[place(seqs.start)..place(seqs.end)];
        let touch = |(start, end): &(u32, u32)| touched(&self.bytes[*start as usize..*end as usize]).transpose();
        facts.iter().filter_map(touch)
    }

    /// All its facts from `from` on.
    pub(crate) fn stored_from(&self, from: u64) -> impl Iterator<Item = Result<Stored, Corrupt>> + '_ {
        self.from(from).map(|(seq, bytes)| decode_stored(bytes, seq))
    }

    /// As [`Row::stored_from`], as much of them as is folded; see [`decode_for_fold`].
    pub(crate) fn for_fold_from(&self, from: u64) -> impl Iterator<Item = Result<ForFold<'_>, Corrupt>> + '_ {
        self.from(from).map(|(_, bytes)| decode_for_fold(bytes))
    }

    fn from(&self, from: u64) -> impl Iterator<Item = (u64, &[u8])> + '_ {
        let before = from.saturating_sub(self.header.first_seq) as usize;
        let facts = (self.header.first_seq..).zip(&self.facts).skip(before);
        facts.map(|(seq, (start, end))| (seq, &self.bytes[*start as usize..*end as usize]))
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}
