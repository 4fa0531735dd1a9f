//! The reservations of one warehouse, as far as they are in memory.
//!
//! One that has ended changes hardly ever, is rarely asked for, and stays for as long as ids are remembered: once its row is on the
//! disk, only a hash of its id is kept here, a tenth of what its bytes would take. To keep nothing was rejected: a command on a new
//! basket would wait for the disk to learn that there is none. To keep the bytes was what came before: half an hour of a busy node's
//! baskets took more than a gigabyte.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::domain::reservation::{Reservation, State};
use crate::domain::units::Id;
use crate::planted::{self, Bug};
use crate::storage::codec::{decode_reservation, encode_reservation};

const STATES: [State; 4] = [State::Held, State::Confirmed, State::Cancelled, State::Expired];

/// A reservation with the sequence of its newest fact.
enum Kept {
    Held(Arc<Reservation>, u64),
    Ended(Box<[u8]>),
}

impl Kept {
    fn of(basket: Arc<Reservation>, seq: u64) -> Kept {
        match basket.state {
            State::Held => Kept::Held(basket, seq),
            _ => Kept::Ended(encode_reservation(&basket, seq).into()),
        }
    }

    fn open(&self) -> (Arc<Reservation>, u64) {
        match self {
            Kept::Held(basket, seq) => (Arc::clone(basket), *seq),
            Kept::Ended(bytes) => {
                let (basket, seq) = decode_reservation(bytes).expect("these bytes were encoded by this process, from a basket");
                (Arc::new(basket), seq)
            }
        }
    }
}

/// Where a reservation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// In memory, as of that fact.
    Here(Arc<Reservation>, u64),
    /// It has ended, and its row on the disk is what it is.
    OnDisk,
    /// Nobody has made it, or it is forgotten.
    Nowhere,
}

/// The committed reservations of a warehouse: all that are held, and those ended within the id window.
#[derive(Default)]
pub(crate) struct Baskets {
    by_state: [BTreeMap<Id, Kept>; 4],
    on_disk: Hashes,
}

impl Baskets {
    fn kept(&self, id: &str) -> Option<&Kept> {
        self.by_state.iter().find_map(|baskets| baskets.get(id))
    }

    pub(crate) fn place(&self, id: &str) -> Found {
        match self.kept(id).map(Kept::open) {
            Some((basket, seq)) => Found::Here(basket, seq),
            None if self.on_disk.has(id) => Found::OnDisk,
            None => Found::Nowhere,
        }
    }

    /// Puts the state after the fact `seq`; an older fact changes nothing. Says whether it was put. What is on the disk only is older
    /// than any fact that is still to come.
    pub(crate) fn put(&mut self, basket: Arc<Reservation>, seq: u64) -> bool {
        let known = match self.kept(basket.id.as_str()) {
            Some(Kept::Held(_, known)) => Some(*known),
            Some(ended) => Some(ended.open().1),
            None => None,
        };
        if known.is_some_and(|known| known >= seq) {
            return false;
        }
        match known {
            Some(_) => self.remove(basket.id.as_str()),
            None => drop(self.on_disk.remove(basket.id.as_str())),
        }
        self.by_state[basket.state as usize].insert(basket.id.clone(), Kept::of(basket, seq));
        true
    }

    fn remove(&mut self, id: &str) {
        self.by_state.iter_mut().any(|baskets| baskets.remove(id).is_some());
    }

    /// The row of an ended one as of the fact `seq` is on the disk: its bytes go, unless it has changed since.
    pub(crate) fn saved(&mut self, id: &str, seq: u64) {
        if matches!(self.kept(id), Some(ended @ Kept::Ended(_)) if ended.open().1 == seq) {
            self.remove(id);
            if !planted::is(Bug::EndedDropped) {
                self.on_disk.insert(id);
            }
        }
    }

    /// An ended one whose row was found on the disk at a start.
    pub(crate) fn found(&mut self, id: &str) {
        self.on_disk.insert(id);
    }

    /// The ended ones in memory.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (&Id, u64)> {
        let ended = STATES.into_iter().filter(|state| *state != State::Held);
        ended.flat_map(|state| self.by_state[state as usize].iter().map(|(id, kept)| (id, kept.open().1)))
    }

    /// Forgets one whose row is on the disk; says whether there was one.
    pub(crate) fn forget(&mut self, id: &str) -> bool {
        self.on_disk.remove(id)
    }

    /// Those in memory.
    pub(crate) fn page(&self, state: Option<State>, after: Option<&str>, limit: usize) -> Vec<Arc<Reservation>> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let of = |state: State| self.by_state[state as usize].range::<str, _>(from).take(limit);
        let mut found: Vec<(&Id, &Kept)> = match state {
            Some(state) => of(state).collect(),
            None => STATES.into_iter().flat_map(of).collect(),
        };
        found.sort_unstable_by_key(|(id, _)| *id);
        found.truncate(limit);
        found.into_iter().map(|(_, kept)| kept.open().0).collect()
    }

    pub(crate) fn held(&self) -> usize {
        self.by_state[State::Held as usize].len()
    }

    /// How many are on the disk only.
    pub(crate) fn on_disk(&self) -> usize {
        self.on_disk.len()
    }

    pub(crate) fn all(&self) -> usize {
        self.on_disk.len() + self.by_state.iter().map(BTreeMap::len).sum::<usize>()
    }
}

const SHARDS: usize = 64;

/// A set of ids, each as its hash: of 2^32 ids, two share one with a chance of a half, and are then forgotten together. Nobody outside
/// can choose them: the hasher is another one in each process. In shards, so that one that grows moves a part of them only, while a
/// fold waits for it.
struct Hashes {
    hasher: foldhash::fast::RandomState,
    shards: Box<[HashTable<u64>]>,
}

impl Default for Hashes {
    fn default() -> Hashes {
        Hashes {
            hasher: foldhash::fast::RandomState::default(),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }
}

impl Hashes {
    fn shard(hash: u64) -> usize {
        // The bits in the middle: the table takes its place from the lowest, and its tag from the highest.
        (hash >> 32) as usize % SHARDS
    }

    fn has(&self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        self.shards[Hashes::shard(hash)].find(hash, |known| *known == hash).is_some()
    }

    fn insert(&mut self, id: &str) {
        let hash = self.hasher.hash_one(id);
        let shard = &mut self.shards[Hashes::shard(hash)];
        shard.entry(hash, |known| *known == hash, |known| *known).or_insert(hash);
    }

    fn remove(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        let found = self.shards[Hashes::shard(hash)].find_entry(hash, |known| *known == hash);
        found.map(|entry| entry.remove()).is_ok()
    }

    fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::domain::reservation::End;
    use crate::domain::units::Time;

    use super::*;

    fn basket(id: u8, state: State, at: i64) -> Arc<Reservation> {
        let ended = (state != State::Held).then_some(End {
            at: Time(at),
            fingerprint: Some(7),
        });
        Arc::new(Reservation {
            id: Id::trusted(&format!("o-{id}")),
            channel: Id::trusted("web"),
            state,
            version: 2,
            request: 3,
            extended: None,
            lines: Vec::new(),
            created: Time(1),
            expires: Some(Time(at)),
            end: ended,
        })
    }

    proptest! {
        /// However they are kept, and with any of them on the disk, baskets are found, listed and forgotten as in one plain table.
        #[test]
        fn ended_baskets_answer_like_held_ones(
            steps in prop::collection::vec((0u8..12, 0usize..6, 0i64..50), 1..80), limit in 1usize..6, after in 0u8..12,
        ) {
            let (mut baskets, mut plain) = (Baskets::default(), BTreeMap::<Id, (Arc<Reservation>, u64)>::new());
            let mut disk = BTreeMap::<Id, (Arc<Reservation>, u64)>::new();
            for (seq, (id, step, at)) in (1..).zip(steps) {
                let name = Id::trusted(&format!("o-{id}"));
                match STATES.get(step) {
                    Some(state) => {
                        let put = basket(id, *state, at);
                        prop_assert!(baskets.put(Arc::clone(&put), seq));
                        prop_assert!(!baskets.put(Arc::clone(&put), seq - 1), "an older fact changes nothing");
                        plain.insert(name.clone(), (put, seq));
                        disk.remove(&name);
                    }
                    None if step == STATES.len() => {
                        prop_assert_eq!(baskets.forget(name.as_str()), disk.remove(&name).is_some());
                        prop_assert!(!baskets.forget(name.as_str()));
                        if baskets.place(name.as_str()) == Found::Nowhere {
                            plain.remove(&name);
                        }
                    }
                    None => {
                        let known = plain.get(&name).cloned();
                        baskets.saved(name.as_str(), seq);
                        prop_assert!(known.is_none() || baskets.place(name.as_str()) != Found::Nowhere, "another fact came since");
                        if let Some((basket, at)) = known {
                            baskets.saved(name.as_str(), at);
                            if basket.end.is_some() {
                                disk.insert(name, (basket, at));
                            }
                        }
                    }
                }
            }
            for id in 0..12u8 {
                let id = Id::trusted(&format!("o-{id}"));
                let wanted = match (disk.contains_key(&id), plain.get(&id).cloned()) {
                    (true, _) => Found::OnDisk,
                    (false, Some((basket, seq))) => Found::Here(basket, seq),
                    (false, None) => Found::Nowhere,
                };
                prop_assert_eq!(baskets.place(id.as_str()), wanted);
            }
            prop_assert_eq!((baskets.all(), baskets.on_disk()), (plain.len(), disk.len()));
            let after = format!("o-{after}");
            for state in STATES.map(Some).into_iter().chain([None]) {
                let wanted = plain.iter().filter(|(id, _)| !disk.contains_key(*id) && id.as_str() > after.as_str());
                let wanted = wanted.map(|(_, (basket, _))| Arc::clone(basket));
                let wanted = wanted.filter(|basket| state.is_none_or(|state| state == basket.state));
                prop_assert_eq!(baskets.page(state, Some(&after), limit), wanted.take(limit).collect::<Vec<_>>());
            }
        }
    }
}
