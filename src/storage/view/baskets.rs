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
        self.on_disk.count
    }

    pub(crate) fn all(&self) -> usize {
        self.on_disk.count + self.by_state.iter().map(BTreeMap::len).sum::<usize>()
    }
}

/// What is kept of an id's hash, beside the number of its shard.
type Hash = [u8; 6];

/// A power of two, of at most sixteen bits: they and [`Hash`] are of one hash of 64.
const SHARDS: usize = 1 << 12;

/// A set of ids, each as 60 bits of its hash: of 2^30 ids, two share them with a chance of a half, and are then forgotten together.
/// Nobody outside can choose them: the hasher is another one in each process. In sorted lists, which take six bytes and a half for
/// each where a hash table takes ten to twenty, and in so many of them that a new id moves a few kilobytes up where there are millions.
#[derive(Default)]
struct Hashes {
    hasher: foldhash::fast::RandomState,
    /// None before the first id: most warehouses of a small node never have one.
    shards: Box<[Vec<Hash>]>,
    count: usize,
}

impl Hashes {
    /// Where an id is, or would be.
    fn place(&self, id: &str) -> (usize, Hash, Result<usize, usize>) {
        let [high, low, hash @ ..] = self.hasher.hash_one(id).to_be_bytes();
        let shard = usize::from(u16::from_be_bytes([high, low])) % SHARDS;
        let place = self.shards.get(shard).map_or(Err(0), |shard| shard.binary_search(&hash));
        (shard, hash, place)
    }

    fn has(&self, id: &str) -> bool {
        self.place(id).2.is_ok()
    }

    fn insert(&mut self, id: &str) {
        let (shard, hash, Err(place)) = self.place(id) else { return };
        if self.shards.is_empty() {
            self.shards = vec![Vec::new(); SHARDS].into();
        }
        let shard = &mut self.shards[shard];
        if shard.len() == shard.capacity() {
            // A list that doubles would be half empty.
            shard.reserve_exact(8 + shard.len() / 8);
        }
        shard.insert(place, hash);
        self.count += 1;
    }

    fn remove(&mut self, id: &str) -> bool {
        let (shard, _, Ok(place)) = self.place(id) else { return false };
        let shard = &mut self.shards[shard];
        shard.remove(place);
        if shard.len() < shard.capacity() / 2 {
            shard.shrink_to(shard.len() + 8 + shard.len() / 8);
        }
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::domain::reservation::End;
    use crate::domain::units::Time;

    use super::*;

    /// What a week of reservations costs is what this set takes.
    #[test]
    fn a_set_of_ids_finds_what_was_put_and_gives_back_the_room_of_what_went() {
        let mut set = Hashes::default();
        let ids: Vec<String> = (0..500_000).map(|id| format!("o-{id}")).collect();
        let (first, second) = ids.split_at(400_000);
        first.iter().chain(&first[..9]).for_each(|id| set.insert(id));
        let room = |set: &Hashes| size_of::<Hash>() * set.shards.iter().map(Vec::capacity).sum::<usize>();
        assert!(first.iter().all(|id| set.has(id)) && !second.iter().any(|id| set.has(id)));
        assert_eq!(set.count, first.len());
        let full = room(&set);
        assert!(full < 7 * first.len(), "{full}");
        assert!(first[1_000..].iter().all(|id| set.remove(id)) && !set.remove(&first[1_000]));
        assert!(first[..1_000].iter().all(|id| set.has(id)));
        assert_eq!(set.count, 1_000);
        assert!(room(&set) < full / 8, "{} of {full}", room(&set));
    }

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
