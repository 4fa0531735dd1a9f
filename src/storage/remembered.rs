//! Who was heard before: ids are remembered for a window of days, whatever their number, in bounded memory.
//!
//! Memory goes by *generations* of the journal: generation g has the facts `[g·N, (g+1)·N)`, N = 2^18. The newest ones are
//! *live*: tables of fixed capacity in memory, which also hold where each SKU's facts are. Older ones are sealed into
//! sorted runs on disk behind a filter in memory (`runs`). One growing hash set was rejected: 10 million ids took 585 MB and
//! stalled for 690 ms when it grew.
//!
//! Only hashes are kept. A hash that is found is confirmed by reading its fact and comparing the texts, so two texts of one
//! hash cost a read and never a wrong answer.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::domain::fact::Outcome;
use crate::domain::units::{Id, Time};

use super::append::{Folded, SkuIndex};

/// So many that a shard with its part of a whole generation, one id a fact, fills four fifths of a table of 2^15.
const SHARDS: usize = 10;
const FOREVER: u32 = 1 << 31;
/// Ids do not contain control characters, so this separates them without doubt.
const SEPARATOR: u8 = 0x1f;
const VOIDED_SEED: u64 = 0x766f_6964;

/// Facts in one generation, as a power of two.
pub const GENERATION_BITS: u32 = 18;

/// Hashes three texts as one. They are joined where they are hashed: handing the joined text on would copy all of its room.
fn joined(warehouse: &str, source: &str, id: &str, hash: impl FnOnce(&[u8]) -> u64) -> u64 {
    let mut usual = [0; 128];
    let length = warehouse.len() + source.len() + id.len() + 2;
    if let Some(text) = usual.get_mut(..length) {
        let (first, rest) = text.split_at_mut(warehouse.len());
        let (second, third) = rest[1..].split_at_mut(source.len());
        first.copy_from_slice(warehouse.as_bytes());
        second.copy_from_slice(source.as_bytes());
        third[1..].copy_from_slice(id.as_bytes());
        text[warehouse.len()] = SEPARATOR;
        text[warehouse.len() + 1 + source.len()] = SEPARATOR;
        return hash(text);
    }
    let mut text = Vec::with_capacity(length);
    text.extend_from_slice(warehouse.as_bytes());
    text.push(SEPARATOR);
    text.extend_from_slice(source.as_bytes());
    text.push(SEPARATOR);
    text.extend_from_slice(id.as_bytes());
    hash(&text)
}

/// The hash under which an event's id is remembered: XXH3-64 of (warehouse, source, id).
pub fn hash(warehouse: &str, source: &str, id: &str) -> u64 {
    joined(warehouse, source, id, xxh3_64)
}

/// The mark under which it is remembered that an event has been taken back; it leads to the void's fact.
pub fn voided_hash(warehouse: &str, source: &str, id: &str) -> u64 {
    joined(warehouse, source, id, |text| xxh3_64_with_seed(text, VOIDED_SEED))
}

/// The hash under which the ledger's runs know a SKU. Unlike a [`SkuIndex`] it is the same in every life of the process.
pub(crate) fn sku_hash(warehouse: &str, sku: &str) -> u64 {
    joined(warehouse, sku, "", xxh3_64)
}

/// The hash under which the runs list what a warehouse ignored, for one reason or for any.
pub(crate) fn noted_hash(warehouse: &str, why: Option<Why>) -> u64 {
    joined(warehouse, why.map_or("", Why::as_str), "", xxh3_64)
}

/// What the memory says of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nobody has sent it within the window.
    New,
    /// The fact with this sequence has this hash: read it and compare the texts.
    At(u64),
}

/// Why something was ignored; the `why` of the ignored list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Why {
    /// Refused, with its reason.
    Refused = 0,
    /// An absolute figure older than the newest.
    Stale = 1,
    /// Late: the count had seen it.
    IncludedInCount = 2,
    /// Known, but it moved nothing.
    Recorded = 3,
    /// A dead letter.
    DeadLetter = 4,
}

impl Why {
    /// All of them, in the order of their numbers on disk.
    pub const ALL: [Why; 5] = [Why::Refused, Why::Stale, Why::IncludedInCount, Why::Recorded, Why::DeadLetter];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        ["refused", "stale", "included_in_count", "recorded", "dead_letter"][self as usize]
    }

    /// The reason of that word.
    pub fn parse(text: &str) -> Option<Why> {
        Why::ALL.into_iter().find(|why| why.as_str() == text)
    }

    /// Why an outcome is listed among the ignored; `None` when it is not.
    pub fn of(outcome: &Outcome) -> Option<Why> {
        match outcome {
            Outcome::Applied { .. } => None,
            Outcome::IncludedInCount => Some(Why::IncludedInCount),
            Outcome::Stale => Some(Why::Stale),
            Outcome::Recorded => Some(Why::Recorded),
            Outcome::Refused(_) => Some(Why::Refused),
            Outcome::DeadLetter { .. } => Some(Why::DeadLetter),
        }
    }
}

/// One entry of the ignored list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) offset: u32,
    pub(crate) why: Why,
    pub(crate) warehouse: Id,
}

/// A remembered id: its hash, and the offset in the generation. In three halves of a word, for as two numbers it would take four.
#[derive(Clone, Copy)]
struct Remembered([u32; 3]);

impl Remembered {
    fn new(hash: u64, offset: u32) -> Remembered {
        Remembered([(hash >> 32) as u32, hash as u32, offset])
    }

    fn hash(&self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }

    fn offset(&self) -> u32 {
        self.0[2] & !FOREVER
    }

    fn is_kept_forever(&self) -> bool {
        self.0[2] & FOREVER != 0
    }
}

/// A shard of the remembered ids.
type Ids = RwLock<HashTable<Remembered>>;

/// One generation while it is in memory. Written by the journal's thread alone.
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// Its first sequence.
    pub(crate) base: u64,
    ids: Box<[Ids]>,
    /// For each fact its SKU's index plus one; 0: none.
    skus: Box<[AtomicU32]>,
    noted: RwLock<Vec<Noted>>,
    newest: AtomicI64,
    /// The sequence after the last fact in it.
    end: AtomicU64,
}

impl Generation {
    pub(crate) fn new(number: u64, bits: u32) -> Generation {
        let facts = 1usize << bits;
        // One id a fact, and some room for uneven shards (it is ten standard deviations): past it a shard grows, a tenth of the
        // table at a time.
        let capacity = facts / SHARDS + facts / SHARDS / 16 + 4;
        Generation {
            number,
            base: number << bits,
            ids: (0..SHARDS).map(|_| RwLock::new(HashTable::with_capacity(capacity))).collect(),
            skus: (0..facts).map(|_| AtomicU32::new(0)).collect(),
            noted: RwLock::new(Vec::new()),
            newest: AtomicI64::new(i64::MIN),
            end: AtomicU64::new(number << bits),
        }
    }

    /// How many ids it remembers.
    pub(crate) fn ids(&self) -> usize {
        self.ids.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard_of(hash: u64) -> usize {
        (hash >> 32) as usize % SHARDS
    }

    fn offset(&self, seq: u64) -> u32 {
        (seq - self.base) as u32
    }

    /// Remembers the hashes of facts, of which the first has the sequence `seq`. Equal hashes of different texts stand side by side.
    pub(crate) fn remember(&self, facts: &[Folded], seq: u64) {
        let entries = facts.iter().zip(seq..).flat_map(|(folded, seq)| {
            let offset = self.offset(seq) | if folded.keep_forever { FOREVER } else { 0 };
            [folded.id, folded.voids]
                .into_iter()
                .flatten()
                .map(move |hash| Remembered::new(hash, offset))
        });
        let insert = |table: &mut HashTable<Remembered>, entry: Remembered| {
            table.insert_unique(entry.hash(), entry, Remembered::hash);
        };
        if facts.len() < SHARDS {
            entries.for_each(|entry| insert(&mut self.ids[Generation::shard_of(entry.hash())].write(), entry));
            return;
        }
        let mut shards: Vec<_> = self.ids.iter().map(|shard| shard.write()).collect();
        entries.for_each(|entry| insert(&mut shards[Generation::shard_of(entry.hash())], entry));
    }

    /// The newest fact below `below` with that hash.
    pub(crate) fn lookup(&self, hash: u64, below: u64) -> Option<u64> {
        let shard = self.ids[Generation::shard_of(hash)].read();
        let same = shard.iter_hash(hash).filter(|known| known.hash() == hash);
        let seqs = same.map(|known| self.base + u64::from(known.offset()));
        seqs.filter(|seq| *seq < below).max()
    }

    /// Strikes those of many hashes from the new ones that it remembers. Locked once for all of them: between locks the processor
    /// waits for one line of memory after the other, and otherwise for many at a time.
    pub(crate) fn strike(&self, hashes: &[u64], new: &mut [bool]) {
        let shards: Vec<_> = self.ids.iter().map(|shard| shard.read()).collect();
        for (hash, new) in hashes.iter().zip(new) {
            let same = shards[Generation::shard_of(*hash)].find(*hash, |known| known.hash() == *hash);
            *new &= same.is_none();
        }
    }

    /// Notes a fact: whose ledger it belongs to, whether people ask for it, and when it was recorded.
    pub(crate) fn note(&self, seq: u64, sku: Option<SkuIndex>, noted: Option<(Why, Id)>, recorded: Time) {
        let offset = self.offset(seq);
        if let (Some(sku), Some(place)) = (sku, self.skus.get(offset as usize)) {
            place.store(sku.0 + 1, Ordering::Relaxed);
        }
        if let Some((why, warehouse)) = noted {
            self.noted.write().push(Noted { offset, why, warehouse });
        }
        // One writer: what it reads is what it wrote.
        if recorded.0 > self.newest.load(Ordering::Relaxed) {
            self.newest.store(recorded.0, Ordering::Relaxed);
        }
        if seq >= self.end.load(Ordering::Relaxed) {
            self.end.store(seq + 1, Ordering::Release);
        }
    }

    /// Sequences of a SKU's facts below `below`, newest first.
    pub(crate) fn facts_of(&self, sku: SkuIndex, below: u64, limit: usize) -> Vec<u64> {
        let end = self.end.load(Ordering::Acquire).min(below).max(self.base);
        let wanted = sku.0 + 1;
        let places = self.skus[..(end - self.base) as usize].iter().enumerate().rev();
        let mine = places.filter(|(_, place)| place.load(Ordering::Relaxed) == wanted);
        mine.take(limit).map(|(offset, _)| self.base + offset as u64).collect()
    }

    /// Sequences of a warehouse's ignored facts below `below`, newest first.
    pub(crate) fn noted_of(&self, warehouse: &str, why: Option<Why>, below: u64, limit: usize) -> Vec<u64> {
        let noted = self.noted.read();
        let mine = noted.iter().rev().filter(|noted| {
            noted.warehouse.as_str() == warehouse
                && why.is_none_or(|why| why == noted.why)
                && self.base + u64::from(noted.offset) < below
        });
        mine.take(limit).map(|noted| self.base + u64::from(noted.offset)).collect()
    }

    /// When its newest fact was recorded.
    pub(crate) fn newest(&self) -> Time {
        Time(self.newest.load(Ordering::Relaxed))
    }

    /// Its ids as (hash, offset): those that expire, or those kept for ever. For sealing.
    pub(crate) fn ids_kept(&self, forever: bool) -> Vec<(u64, u32)> {
        let wanted = |known: &Remembered| known.is_kept_forever() == forever;
        // Counted first, since a vector that grows takes up to three times its size.
        let count = |shard: &Ids| shard.read().iter().filter(|entry| wanted(entry)).count();
        let mut ids = Vec::with_capacity(self.ids.iter().map(count).sum());
        for shard in &self.ids {
            let shard = shard.read();
            let kept = shard.iter().filter(|entry| wanted(entry));
            ids.extend(kept.map(|known| (known.hash(), known.offset())));
        }
        ids
    }

    /// Each fact's SKU with its offset, in order. For sealing.
    pub(crate) fn skus(&self) -> impl Iterator<Item = (SkuIndex, u32)> + '_ {
        let places = self.skus.iter().enumerate();
        places.filter_map(|(offset, place)| {
            let sku = place.load(Ordering::Relaxed).checked_sub(1)?;
            Some((SkuIndex(sku), offset as u32))
        })
    }

    /// Its part of the ignored list, in order. For sealing.
    pub(crate) fn noted(&self) -> Vec<Noted> {
        self.noted.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::append::Fold;

    #[test]
    fn ids_are_told_apart_by_all_three_parts() {
        let all = [
            hash("w", "s", "1"),
            hash("w", "s1", ""),
            hash("ws", "", "1"),
            hash("v", "s", "1"),
            voided_hash("w", "s", "1"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one));
        }
    }

    #[test]
    fn an_id_of_any_length_has_the_hash_of_its_parts_joined() {
        for length in [1, 60, 61, 62, 63, 64, 65, 128] {
            let (source, id) = ("s".repeat(length), "i".repeat(length));
            let joined = format!("main\u{1f}{source}\u{1f}{id}");
            assert_eq!(hash("main", &source, &id), xxh3_64(joined.as_bytes()), "{length}");
        }
    }

    #[test]
    fn equal_hashes_stand_side_by_side() {
        let generation = Generation::new(3, 8);
        let folded = |keep_forever| Folded {
            fold: Fold::Noted { warehouse: Id::no_lot() },
            recorded: Time(0),
            id: Some(7),
            voids: None,
            keep_forever,
            noted: None,
        };
        generation.remember(&[folded(false)], 770);
        generation.remember(&[folded(true)], 790);
        assert_eq!(generation.lookup(7, u64::MAX), Some(790));
        assert_eq!(generation.lookup(7, 790), Some(770));
        assert_eq!(generation.lookup(7, 770), None);
        assert_eq!(generation.lookup(8, u64::MAX), None);
        let mut new = [true, true, false];
        generation.strike(&[7, 8, 9], &mut new);
        assert_eq!(new, [false, true, false]);
        assert_eq!(
            [false, true].map(|forever| generation.ids_kept(forever)),
            [vec![(7, 2)], vec![(7, 22)]]
        );
    }
}
