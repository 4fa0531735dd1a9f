//! The filters of one kind of ids: one for each group of generations that has any, as large as what it has asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::super::database::{Handle, ReadError};
use super::filter::Filter;
use super::{GROUP, Kind, PAIR_BYTES, Pairs, Sealed, hash_of, rows_from};

/// Rows read in one step: about a megabyte.
const PAGE: usize = 64;

/// Hashes whose lines are brought near at a time: they fill a third of the processor's first cache.
const NEAR: usize = 256;

/// See the module.
pub(super) struct Filters {
    kind: Kind,
    /// Ids that a group has as a rule, one a fact.
    usual: u64,
    of: RwLock<BTreeMap<u64, Arc<Filter>>>,
}

/// A larger filter in the making. Its group is answered from the old one meanwhile.
pub(crate) struct Growth {
    group: u64,
    filter: Filter,
    /// The generations that are to be read, the next one last.
    left: Vec<u64>,
    after: Key,
}

type Key = (u8, u64, u64, u32);

impl Filters {
    pub(super) fn new(kind: Kind, bits: u32) -> Filters {
        Filters {
            kind,
            usual: GROUP << bits,
            of: RwLock::default(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// How large a filter of so many ids is made while more may come: twice as large, or for a whole group when it has a
    /// third of it. On the whole an id is read again less than once.
    fn room_for(&self, ids: u64) -> u64 {
        if ids >= self.usual / 3 { ids.max(self.usual) } else { 2 * ids }
    }

    /// Fills them anew from what is sealed.
    pub(super) fn load(&self, database: &Handle, sealed: &[(u64, Sealed)]) -> Result<(), ReadError> {
        let newest = sealed.last().map(|(number, _)| number / GROUP);
        let with_ids = sealed.iter().filter(|(_, sealed)| sealed.of(self.kind) > 0);
        let mut groups = BTreeMap::<u64, (u64, Vec<u64>)>::new();
        for (number, sealed) in with_ids {
            let (ids, numbers) = groups.entry(number / GROUP).or_default();
            *ids += sealed.of(self.kind);
            numbers.push(*number);
        }
        for (group, (ids, left)) in groups {
            let room = if Some(group) == newest { self.room_for(ids) } else { ids };
            let mut growth = self.growth(group, room, left);
            while !self.grow(database, &mut growth)? {}
            self.put(growth);
        }
        Ok(())
    }

    fn growth(&self, group: u64, room: u64, left: Vec<u64>) -> Growth {
        Growth {
            group,
            filter: Filter::new(room),
            after: (self.kind as u8, left.last().copied().unwrap_or_default(), 0, 0),
            left,
        }
    }

    /// Reads on into a filter in the making; whether all is read.
    fn grow(&self, database: &Handle, growth: &mut Growth) -> Result<bool, ReadError> {
        let Some(generation) = growth.left.last() else {
            return Ok(true);
        };
        let from = growth.after.max((self.kind as u8, *generation, 0, 0));
        let page = database.read(|transaction| rows_from(transaction, from, PAGE))?;
        for (_, row) in &page {
            growth.filter.insert_all(row.chunks_exact(PAIR_BYTES).map(hash_of));
        }
        match page.last() {
            // In a damaged file the keys may go back, and would be read for ever.
            Some((last, _)) if *last < from => {
                return Err(ReadError::Damaged {
                    table: "run",
                    key: format!("{last:?}"),
                    why: "it is not in order".into(),
                });
            }
            Some((last, _)) if page.len() == PAGE => growth.after = (last.0, last.1, last.2, last.3.saturating_add(1)),
            _ => {
                growth.left.pop();
                growth.after = (self.kind as u8, 0, 0, 0);
            }
        }
        Ok(growth.left.is_empty())
    }

    fn put(&self, growth: Growth) {
        self.of.write().insert(growth.group, Arc::new(growth.filter));
    }

    /// Takes in the ids of a run, or does one step towards it (`false`). Where the others' runs cannot be read, the filter that is there
    /// takes them all the same, and lets a few more ids pass than it should: to wait for the disk would keep the generation in memory.
    pub(super) fn take(
        &self,
        database: &Handle,
        sealed: &RwLock<BTreeMap<u64, Sealed>>,
        number: u64,
        pairs: &Pairs,
        growth: &mut Option<Growth>,
    ) -> Result<bool, ReadError> {
        let group = number / GROUP;
        let known = self.of.read().get(&group).cloned();
        let has_room = |filter: &Arc<Filter>| filter.has_room(pairs.len() as u64);
        if growth.is_none() && !known.as_ref().is_some_and(has_room) {
            let sealed = sealed.read();
            let others = sealed.range(group * GROUP..(group + 1) * GROUP);
            let others = others.filter(|(other, sealed)| **other != number && sealed.of(self.kind) > 0);
            let (mut ids, mut left) = (pairs.len() as u64, Vec::new());
            for (other, sealed) in others {
                ids += sealed.of(self.kind);
                left.push(*other);
            }
            drop(sealed);
            // Made while nothing is locked: some machines take a tenth of a second to hand over its megabytes, and whoever looks an id
            // up would wait for them.
            *growth = Some(self.growth(group, self.room_for(ids), left));
        }
        if let Some(mut growing) = growth.take() {
            match self.grow(database, &mut growing) {
                Ok(true) => self.put(growing),
                Ok(false) => {
                    *growth = Some(growing);
                    return Ok(false);
                }
                Err(error) if known.is_some() => {
                    tracing::warn!(%error, group, "a filter of remembered ids could not be made larger: more of the new ones will be looked for on the disk");
                }
                Err(error) => return Err(error),
            }
        }
        let filter = self.of.read().get(&group).cloned();
        let hashes = pairs.iter().map(|(hash, _)| *hash);
        filter.into_iter().for_each(|filter| filter.insert_all(hashes.clone()));
        Ok(true)
    }

    /// Strikes those of many hashes from the new ones that a filter lets pass.
    pub(super) fn strike(&self, hashes: &[u64], new: &mut [bool]) {
        for filter in self.of.read().values() {
            for (hashes, new) in hashes.chunks(NEAR).zip(new.chunks_mut(NEAR)) {
                filter.bring(hashes);
                for (hash, new) in hashes.iter().zip(new) {
                    *new &= !filter.may_contain(*hash);
                }
            }
        }
    }

    /// The groups that may have an id with this hash, newest first.
    pub(super) fn that_may_have(&self, hash: u64) -> Vec<u64> {
        let filters = self.of.read();
        let maybe = filters.iter().rev().filter(|(_, filter)| filter.may_contain(hash));
        maybe.map(|(group, _)| *group).collect()
    }

    /// A group has no ids any more.
    pub(super) fn forget(&self, group: u64) {
        self.of.write().remove(&group);
    }

    pub(super) fn bytes(&self) -> usize {
        self.of.read().values().map(|filter| filter.bytes()).sum()
    }
}
