//! Sealed generations: sorted runs on disk, and for the ids a filter in memory, so that a new id reads no disk.
//!
//! A run is the sorted pairs (hash, offset in the generation), in rows of about 16 KiB keyed by their first pair. To find the
//! newest place of a hash is to find the pair before (hash, end): one row. Ids of 32 generations share one filter; a new
//! id asks as many filters as there are groups in the window, 30 ns each, and reads the disk less than once in a thousand.
//!
//! A filter that is full is replaced by one that is larger, and filled anew from the runs: a shop with a few hundred thousand ids in
//! its window pays for those, and one with a hundred million asks few filters.
//!
//! One run over everything, merged in levels, was rejected: what expires by time is dropped here as whole generations.

mod filter;
mod filters;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::{ReadTransaction, ReadableTable};

use crate::domain::units::Time;

use super::codec::{Corrupt, Reader, put_signed, put_varint};
use super::database::{Handle, ReadError};
use super::tables;

use filters::Filters;
pub(crate) use filters::Growth;

/// Generations that share one filter.
const GROUP: u64 = 32;

/// Bytes of one pair.
const PAIR_BYTES: usize = 12;

/// Pairs in one row.
pub(crate) const ROW_PAIRS: usize = 16 * 1024 / PAIR_BYTES;

/// What a run is for; its number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Ids = 0,
    Forever = 1,
    Ledger = 2,
    Noted = 3,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Ids, Kind::Forever, Kind::Ledger, Kind::Noted];

    /// What it is, in words.
    pub(crate) fn as_str(self) -> &'static str {
        [
            "remembered ids",
            "ids kept for ever",
            "the ledger's index",
            "the list of what was ignored",
        ][self as usize]
    }
}

/// What is known of a sealed generation. Stays as long as any run of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// When its newest fact was recorded.
    pub(crate) newest: Time,
    /// Ids that expire; 0 also when they have.
    pub(crate) ids: u64,
    /// Ids kept for ever.
    pub(crate) forever: u64,
    /// Whether its facts are still in the journal.
    pub(crate) facts: bool,
}

const VERSION: u8 = 1;

impl Sealed {
    /// Of a generation of which nothing is left.
    pub(crate) const GONE: Sealed = Sealed {
        newest: Time(i64::MIN),
        ids: 0,
        forever: 0,
        facts: false,
    };

    /// How many ids of that kind it has.
    fn of(&self, kind: Kind) -> u64 {
        if kind == Kind::Forever { self.forever } else { self.ids }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_signed(&mut out, self.newest.0);
        put_varint(&mut out, self.ids);
        put_varint(&mut out, self.forever);
        out.push(u8::from(self.facts));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Sealed, Corrupt> {
        let mut reader = Reader::new(bytes);
        if reader.u8("generation version")? != VERSION {
            return Err(reader.corrupt("generation version"));
        }
        let sealed = Sealed {
            newest: reader.time("newest")?,
            ids: reader.varint("ids")?,
            forever: reader.varint("ids kept for ever")?,
            facts: reader.bool("facts")?,
        };
        reader.end("end of the generation")?;
        Ok(sealed)
    }
}

/// All sealed generations.
pub(crate) struct Runs {
    bits: u32,
    sealed: RwLock<BTreeMap<u64, Sealed>>,
    /// For those that expire, and for those kept for ever.
    filters: [Filters; 2],
    /// Every generation below this one has been sealed. The filter of a group that reaches past it may hold ids of a run that is being
    /// written, whose generation is not answered from yet.
    sealed_below: AtomicU64,
    /// The generation in which an id was found last: a file that is sent again comes in order.
    hint: AtomicU64,
    /// Rows read to answer for an id.
    pub(crate) id_reads: AtomicU64,
}

/// Pairs sorted by (hash, offset).
pub(crate) type Pairs = Vec<(u64, u32)>;

impl Runs {
    pub(crate) fn new(bits: u32) -> Runs {
        Runs {
            bits,
            sealed: RwLock::default(),
            filters: [Kind::Ids, Kind::Forever].map(|kind| Filters::new(kind, bits)),
            sealed_below: AtomicU64::new(0),
            hint: AtomicU64::new(0),
            id_reads: AtomicU64::new(0),
        }
    }

    /// Reads what is sealed, and fills the filters anew: about a second for ten million ids.
    pub(crate) fn load(&self, database: &Handle) -> Result<(), ReadError> {
        let sealed = sealed(database)?;
        for filters in &self.filters {
            filters.load(database, &sealed)?;
        }
        sealed.into_iter().for_each(|(number, sealed)| self.add(number, sealed));
        Ok(())
    }

    /// The first generation that is not sealed.
    pub(crate) fn first_live(&self) -> u64 {
        self.sealed.read().last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// The filter lets pass what a run has from now on; only the runs of ids have one. It may come before the run is answered from.
    /// `false`: a step was done, and there are more. A failure costs the steps so far.
    pub(crate) fn filter_in(
        &self,
        database: &Handle,
        (kind, number): (Kind, u64),
        pairs: &Pairs,
        growth: &mut Option<Growth>,
    ) -> Result<bool, ReadError> {
        match self.filters.iter().find(|filters| filters.kind() == kind) {
            Some(filters) if !pairs.is_empty() => filters.take(database, &self.sealed, number, pairs, growth),
            _ => Ok(true),
        }
    }

    /// A generation's runs are durable, and its ids are in the filters: from now on it is answered from them.
    pub(crate) fn add(&self, number: u64, sealed: Sealed) {
        self.sealed.write().insert(number, sealed);
        self.sealed_below.fetch_max(number + 1, Ordering::Relaxed);
    }

    /// Strikes those of many hashes from the new ones that a filter lets pass.
    pub(crate) fn strike(&self, hashes: &[u64], new: &mut [bool]) {
        for filters in &self.filters {
            filters.strike(hashes, new);
        }
    }

    /// A fact that has an id with this hash, looked for first where one was found last: a file that is sent again comes in order.
    /// It need not be the newest; whoever finds other texts there goes on with [`Runs::newest`].
    pub(crate) fn any(&self, database: &Handle, hash: u64) -> Result<Option<u64>, ReadError> {
        self.look(database, hash, u64::MAX, Some(self.hint.load(Ordering::Relaxed)))
    }

    /// The newest fact below `below` that has an id with this hash.
    pub(crate) fn newest(&self, database: &Handle, hash: u64, below: u64) -> Result<Option<u64>, ReadError> {
        self.look(database, hash, below, None)
    }

    fn look(&self, database: &Handle, hash: u64, below: u64, hint: Option<u64>) -> Result<Option<u64>, ReadError> {
        let mut newest = None;
        for filters in &self.filters {
            for group in filters.that_may_have(hash) {
                let found = self.look_in(database, (filters.kind(), group), hash, below, hint)?;
                newest = newest.max(found);
                if found.is_some() {
                    break;
                }
            }
        }
        Ok(newest)
    }

    fn look_in(
        &self,
        database: &Handle,
        (kind, group): (Kind, u64),
        hash: u64,
        below: u64,
        hint: Option<u64>,
    ) -> Result<Option<u64>, ReadError> {
        let mut numbers: Vec<u64> = {
            let sealed = self.sealed.read();
            let group = sealed.range(group * GROUP..(group + 1) * GROUP).rev();
            let with_ids = group.filter(|(_, sealed)| sealed.of(kind) > 0);
            with_ids.map(|(number, _)| *number).collect()
        };
        if let Some(at) = numbers.iter().position(|number| Some(*number) == hint) {
            numbers[..=at].rotate_right(1);
        }
        numbers.retain(|number| number << self.bits < below);
        let mut found = None;
        // One look for all of them: to open the table takes as long as to find a row in it.
        database.read(|transaction| {
            let table = transaction.open_table(tables::RUN)?;
            for number in numbers {
                self.id_reads.fetch_add(1, Ordering::Relaxed);
                if let Some(seq) = self.before(&table, kind, number, hash, below, 1)?.first() {
                    self.hint.store(number, Ordering::Relaxed);
                    found = Some(*seq);
                    break;
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Sequences below `below` under a hash in one generation's run, newest first.
    fn before(
        &self,
        table: &impl ReadableTable<(u8, u64, u64, u32), &'static [u8]>,
        kind: Kind,
        number: u64,
        hash: u64,
        below: u64,
        limit: usize,
    ) -> Result<Vec<u64>, redb::Error> {
        let base = number << self.bits;
        let offset = below.saturating_sub(base).min(1 << self.bits) as u32;
        let mut found = Vec::new();
        let mut end = (kind as u8, number, hash, offset);
        while found.len() < limit {
            let Some(row) = table.range((kind as u8, number, 0, 0)..end)?.next_back() else {
                break;
            };
            let (key, value) = row?;
            let pairs = value.value();
            let count = pairs.len() / PAIR_BYTES;
            let pair = |at: usize| &pairs[at * PAIR_BYTES..(at + 1) * PAIR_BYTES];
            let mut at = partition(count, |at| (hash_of(pair(at)), offset_of(pair(at))) < (hash, offset));
            while at > 0 && found.len() < limit {
                at -= 1;
                if hash_of(pair(at)) != hash {
                    return Ok(found);
                }
                found.push(base + u64::from(offset_of(pair(at))));
            }
            end = key.value();
        }
        Ok(found)
    }

    /// Sequences below `below` under a hash, in all sealed generations that still have their facts, newest first. Looks into at
    /// most `patience` generations; answers also where it stopped (`None`: at the end).
    pub(crate) fn walk(
        &self,
        database: &Handle,
        kind: Kind,
        hash: u64,
        below: u64,
        limit: usize,
        patience: usize,
    ) -> Result<(Vec<u64>, Option<u64>), ReadError> {
        let numbers: Vec<u64> = {
            let sealed = self.sealed.read();
            let with_facts = sealed.range(..=below >> self.bits).rev().filter(|(_, sealed)| sealed.facts);
            with_facts.map(|(number, _)| *number).take(patience + 1).collect()
        };
        let mut found = Vec::new();
        for (looked, number) in numbers.into_iter().enumerate() {
            if found.len() >= limit || looked == patience {
                return Ok((found, Some((number + 1) << self.bits)));
            }
            let more = database.read(|transaction| {
                let table = transaction.open_table(tables::RUN)?;
                self.before(&table, kind, number, hash, below, limit - found.len())
            })?;
            found.extend(more);
        }
        Ok((found, None))
    }

    /// The sealed generations, oldest first.
    pub(crate) fn all(&self) -> Vec<(u64, Sealed)> {
        self.sealed.read().iter().map(|(number, sealed)| (*number, *sealed)).collect()
    }

    /// A generation has lost runs: `None` when nothing of it is left.
    pub(crate) fn change(&self, number: u64, sealed: Option<Sealed>) {
        let mut all = self.sealed.write();
        match sealed {
            Some(sealed) => all.insert(number, sealed),
            None => all.remove(&number),
        };
        // Until the last generation of a group is sealed, its filter may have what no sealed one has yet.
        if self.sealed_below.load(Ordering::Relaxed) < (number / GROUP + 1) * GROUP {
            return;
        }
        for filters in &self.filters {
            let mut group = all.range(number / GROUP * GROUP..(number / GROUP + 1) * GROUP);
            if !group.any(|(_, sealed)| sealed.of(filters.kind()) > 0) {
                filters.forget(number / GROUP);
            }
        }
    }

    /// Bytes of memory that the filters take.
    pub(crate) fn filter_bytes(&self) -> usize {
        self.filters.iter().map(Filters::bytes).sum()
    }
}

/// What is known of each sealed generation, oldest first.
pub(crate) fn sealed(database: &Handle) -> Result<Vec<(u64, Sealed)>, ReadError> {
    let rows = database.read(|transaction| {
        let table = transaction.open_table(tables::GENERATION)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value(), value.value().to_vec()));
        }
        Ok(rows)
    })?;
    let decode = |(number, bytes): (u64, Vec<u8>)| match Sealed::decode(&bytes) {
        Ok(sealed) => Ok((number, sealed)),
        Err(why) => Err(ReadError::Damaged {
            table: "generation",
            key: number.to_string(),
            why: why.to_string(),
        }),
    };
    rows.into_iter().map(decode).collect()
}

/// All pairs of one run, in order.
pub(crate) fn pairs(database: &Handle, kind: Kind, generation: u64) -> Result<Pairs, ReadError> {
    database.read(|transaction| pairs_of(transaction, kind, generation))
}

/// As [`pairs`], within a read. A generation's run is a few megabytes.
pub(crate) fn pairs_of(transaction: &ReadTransaction, kind: Kind, generation: u64) -> Result<Pairs, redb::Error> {
    let rows = rows_from(transaction, (kind as u8, generation, 0, 0), usize::MAX)?;
    let pairs = rows.iter().flat_map(|(_, row)| row.chunks_exact(PAIR_BYTES));
    Ok(pairs.map(|pair| (hash_of(pair), offset_of(pair))).collect())
}

/// One row of pairs, and its key.
pub(crate) type RunRow = ((u8, u64, u64, u32), Vec<u8>);

/// Cuts sorted pairs into rows.
pub(crate) fn rows(kind: Kind, generation: u64, pairs: &[(u64, u32)]) -> impl Iterator<Item = RunRow> + '_ {
    pairs.chunks(ROW_PAIRS).map(move |chunk| {
        let mut row = Vec::with_capacity(chunk.len() * PAIR_BYTES);
        for (hash, offset) in chunk {
            row.extend_from_slice(&hash.to_le_bytes());
            row.extend_from_slice(&offset.to_le_bytes());
        }
        ((kind as u8, generation, chunk[0].0, chunk[0].1), row)
    })
}

fn rows_from(transaction: &ReadTransaction, from: (u8, u64, u64, u32), limit: usize) -> Result<Vec<RunRow>, redb::Error> {
    let table = transaction.open_table(tables::RUN)?;
    let mut rows = Vec::new();
    for row in table.range(from..=(from.0, from.1, u64::MAX, u32::MAX))?.take(limit) {
        let (key, value) = row?;
        rows.push((key.value(), value.value().to_vec()));
    }
    Ok(rows)
}

fn hash_of(pair: &[u8]) -> u64 {
    pair[..8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn offset_of(pair: &[u8]) -> u32 {
    pair[8..PAIR_BYTES]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// How many of the first `count` places satisfy a condition that holds for a prefix of them.
fn partition(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
