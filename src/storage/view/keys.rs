//! Names to small numbers: a SKU in a warehouse becomes a [`SkuIndex`], so that the hot path hashes two texts once.
//!
//! Sharded by hash with short locks. A concurrent map crate was rejected: the table never removes anything, which makes
//! the simplest thing the fastest. Bounded: past `max_skus` a new pair is refused at the door; replay is never refused.

use std::hash::{BuildHasher, Hash, Hasher};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::domain::units::Id;
use crate::storage::append::SkuIndex;
use crate::storage::remembered::sku_hash;

const SHARDS: usize = 64;

/// One known pair. The warehouse is a number within [`Keys`], since there are few of them.
struct Entry {
    warehouse: u32,
    index: u32,
    sku: Id,
}

/// What an index stands for.
struct Name {
    warehouse: u32,
    sku: Id,
    /// Under which the ledger's runs know the pair: the sealer would make it anew for every generation.
    hash: u64,
}

/// Every (warehouse, SKU) anybody has named, and its index. Entries are never removed while the process lives.
pub struct Keys {
    hasher: foldhash::fast::RandomState,
    shards: Box<[RwLock<HashTable<Entry>>]>,
    /// Looked at for each event and hardly ever changed: so without a lock, whose count would go from core to core.
    warehouses: ArcSwap<Vec<Id>>,
    names: RwLock<Vec<Name>>,
    max_skus: usize,
}

/// No room for one more SKU: the configured `max_skus` is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySkus;

impl Keys {
    /// An empty table for at most `max_skus` pairs.
    pub(crate) fn new(max_skus: usize) -> Keys {
        Keys {
            hasher: foldhash::fast::RandomState::default(),
            shards: (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect(),
            warehouses: ArcSwap::default(),
            names: RwLock::new(Vec::new()),
            max_skus: max_skus.min(u32::MAX as usize - 1),
        }
    }

    fn hash(&self, warehouse: u32, sku: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        warehouse.hash(&mut hasher);
        sku.hash(&mut hasher);
        hasher.finish()
    }

    /// The high bits choose the shard; the table itself uses the low and the highest seven.
    fn shard_of(hash: u64) -> usize {
        (hash >> 48) as usize % SHARDS
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.shards[Keys::shard_of(hash)]
    }

    fn warehouse(&self, warehouse: &str) -> Option<u32> {
        let known = self.warehouses.load();
        known.iter().position(|id| id.as_str() == warehouse).map(|at| at as u32)
    }

    /// The index of a pair, when it has one.
    pub fn find(&self, warehouse: &str, sku: &str) -> Option<SkuIndex> {
        let warehouse = self.warehouse(warehouse)?;
        let hash = self.hash(warehouse, sku);
        let table = self.shard(hash).read();
        table
            .find(hash, |entry| entry.warehouse == warehouse && entry.sku.as_str() == sku)
            .map(|entry| SkuIndex(entry.index))
    }

    /// The indices of many pairs, as [`Keys::find`] has them. Locked once for all: between locks the processor waits for one line of
    /// memory after the other, and otherwise for several at a time.
    pub fn find_all<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Option<SkuIndex>> {
        let warehouses = self.warehouses.load();
        let shards: SmallVec<[_; SHARDS]> = self.shards.iter().map(|shard| shard.read()).collect();
        let hashed = pairs.map(|(warehouse, sku)| {
            let warehouse = warehouses.iter().position(|id| id.as_str() == warehouse)? as u32;
            Some((self.hash(warehouse, sku), warehouse, sku))
        });
        let hashed: Vec<_> = hashed.collect();
        let find = |(hash, warehouse, sku)| {
            let same = |entry: &Entry| entry.warehouse == warehouse && entry.sku.as_str() == sku;
            Some(SkuIndex(shards[Keys::shard_of(hash)].find(hash, same)?.index))
        };
        hashed.into_iter().map(|hashed| hashed.and_then(find)).collect()
    }

    /// The index of a pair, which it gets now when it has none. That alone shows nobody anything.
    pub fn intern(&self, warehouse: &str, sku: &str) -> Result<SkuIndex, TooManySkus> {
        match self.find(warehouse, sku) {
            Some(index) => Ok(index),
            None => self.add(warehouse, sku, self.max_skus),
        }
    }

    /// As [`Keys::intern`], for what is in the journal already: a limit lowered since must not stop a start.
    pub(crate) fn intern_known(&self, warehouse: &str, sku: &str) -> SkuIndex {
        let found = self.find(warehouse, sku);
        found.unwrap_or_else(|| {
            self.add(warehouse, sku, u32::MAX as usize - 1)
                .expect("four thousand million SKUs do not fit in memory")
        })
    }

    /// Makes room for so many pairs more, so that nothing has to grow meanwhile.
    pub(crate) fn reserve(&self, pairs: usize) {
        self.names.write().reserve(pairs);
        for shard in &self.shards {
            let again = |entry: &Entry| self.hash(entry.warehouse, entry.sku.as_str());
            shard.write().reserve(pairs / SHARDS, again);
        }
    }

    /// Gives indices to SKUs of a warehouse, each with its text, as a start reads them from rows of a snapshot: many under few locks,
    /// and with nothing looked up before. One that has an index keeps it.
    pub(crate) fn restore<'a>(&self, warehouse: &str, skus: impl Iterator<Item = &'a str>) -> Vec<(Id, SkuIndex)> {
        let number = self.warehouse(warehouse).unwrap_or_else(|| self.add_warehouse(warehouse));
        let name = |sku: &str| Name {
            warehouse: number,
            sku: Id::trusted(sku),
            hash: sku_hash(warehouse, sku),
        };
        let new: Vec<Name> = skus.map(name).collect();
        let mut restored: Vec<(Id, SkuIndex)> = new.iter().map(|name| (name.sku.clone(), SkuIndex(0))).collect();
        let first = {
            let mut names = self.names.write();
            let first = names.len();
            names.extend(new);
            first
        };
        let hash = |at: usize| self.hash(number, restored[at].0.as_str());
        let mut places: Vec<(u64, usize)> = (0..restored.len()).map(|at| (hash(at), at)).collect();
        places.sort_unstable_by_key(|(hash, _)| Keys::shard_of(*hash));
        for places in places.chunk_by(|(one, _), (other, _)| Keys::shard_of(*one) == Keys::shard_of(*other)) {
            let mut table = self.shard(places[0].0).write();
            for (hash, at) in places {
                let (sku, index) = &mut restored[*at];
                let known = table.find(*hash, |entry| entry.warehouse == number && entry.sku == *sku);
                *index = known.map_or(SkuIndex((first + at) as u32), |entry| SkuIndex(entry.index));
                if known.is_none() {
                    let entry = Entry {
                        warehouse: number,
                        index: index.0,
                        sku: sku.clone(),
                    };
                    table.insert_unique(*hash, entry, |entry| self.hash(entry.warehouse, entry.sku.as_str()));
                }
            }
        }
        restored
    }

    fn add_warehouse(&self, warehouse: &str) -> u32 {
        let mut number = 0;
        self.warehouses.rcu(|known| {
            let mut all = Vec::clone(known);
            number = all.iter().position(|id| id.as_str() == warehouse).unwrap_or_else(|| {
                all.push(Id::trusted(warehouse));
                all.len() - 1
            });
            all
        });
        number as u32
    }

    fn add(&self, warehouse: &str, sku: &str, limit: usize) -> Result<SkuIndex, TooManySkus> {
        let number = self.warehouse(warehouse).unwrap_or_else(|| self.add_warehouse(warehouse));
        let hash = self.hash(number, sku);
        let mut table = self.shard(hash).write();
        if let Some(entry) = table.find(hash, |entry| entry.warehouse == number && entry.sku.as_str() == sku) {
            return Ok(SkuIndex(entry.index));
        }
        let mut names = self.names.write();
        if names.len() >= limit {
            return Err(TooManySkus);
        }
        let index = names.len() as u32;
        let hash_on_disk = sku_hash(warehouse, sku);
        let sku = Id::trusted(sku);
        names.push(Name {
            warehouse: number,
            sku: sku.clone(),
            hash: hash_on_disk,
        });
        drop(names);
        let entry = Entry {
            warehouse: number,
            index,
            sku,
        };
        table.insert_unique(hash, entry, |entry| self.hash(entry.warehouse, entry.sku.as_str()));
        Ok(SkuIndex(index))
    }

    /// The warehouse and SKU of an index; `None` for an index of another process's life.
    pub fn names(&self, index: SkuIndex) -> Option<(Id, Id)> {
        let names = self.names.read();
        let name = names.get(index.0 as usize)?;
        let warehouse = self.warehouses.load().get(name.warehouse as usize).cloned()?;
        Some((warehouse, name.sku.clone()))
    }

    /// `remembered::sku_hash` of many indices, each beside whatever it came with; 0 for an index of another process's life.
    pub(crate) fn hashes<T>(&self, indices: impl Iterator<Item = (SkuIndex, T)>) -> Vec<(u64, T)> {
        let names = self.names.read();
        let hash = |index: SkuIndex| names.get(index.0 as usize).map_or(0, |name| name.hash);
        indices.map(|(index, with)| (hash(index), with)).collect()
    }

    /// How many pairs have an index.
    pub fn len(&self) -> usize {
        self.names.read().len()
    }

    /// Whether no pair has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_keeps_its_index_and_a_full_table_refuses_only_new_ones() {
        let keys = Keys::new(2);
        let milk = keys.intern("w", "milk").unwrap();
        let other = keys.intern("v", "milk").unwrap();
        assert_ne!(milk, other);
        assert_eq!(keys.intern("w", "milk"), Ok(milk));
        assert_eq!(keys.intern("w", "bread"), Err(TooManySkus));
        assert_eq!(keys.find("v", "milk"), Some(other));
        assert_eq!(keys.names(other).unwrap().0.as_str(), "v");
        assert_eq!(keys.intern_known("w", "bread"), SkuIndex(2));
        assert_eq!(keys.find("w", "nothing"), None);
        let asked = [("v", "milk"), ("w", "nothing"), ("w", "milk"), ("x", "milk")];
        assert_eq!(keys.find_all(asked.into_iter()), [Some(other), None, Some(milk), None]);
    }

    #[test]
    fn what_is_restored_is_known_under_its_own_index_and_what_was_known_keeps_its_own() {
        let keys = Keys::new(2);
        let milk = keys.intern("w", "s7").unwrap();
        let names: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
        keys.reserve(2_000);
        for warehouse in ["w", "v"] {
            let restored = keys.restore(warehouse, names.iter().map(String::as_str));
            assert_eq!(restored.len(), names.len());
            for ((id, index), name) in restored.iter().zip(&names) {
                assert_eq!(id.as_str(), name);
                assert_eq!(keys.find(warehouse, name), Some(*index));
                let (of, sku) = keys.names(*index).unwrap();
                assert_eq!((of.as_str(), sku.as_str()), (warehouse, name.as_str()));
                assert_eq!(keys.hashes([(*index, ())].into_iter()), [(sku_hash(warehouse, name), ())]);
            }
        }
        assert_eq!(keys.find("w", "s7"), Some(milk));
    }
}
