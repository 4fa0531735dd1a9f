//! The reservations of one warehouse, and the order in which its pages list them.
//!
//! One that has ended never changes again, is rarely asked for, and stays for as long as ids are remembered: it is kept as the
//! bytes of its snapshot row, in a third of the memory. Reading it back from its row on disk was rejected: a command on a basket
//! would wait for the disk to learn that there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::reservation::{Reservation, State};
use crate::domain::units::{Id, Time};
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

/// The committed reservations of a warehouse: all that are held, and those ended within the id window.
#[derive(Default)]
pub(crate) struct Baskets {
    by_state: [BTreeMap<Id, Kept>; 4],
    ended: BTreeSet<(Time, Id)>,
}

impl Baskets {
    fn kept(&self, id: &str) -> Option<&Kept> {
        self.by_state.iter().find_map(|baskets| baskets.get(id))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Reservation>> {
        Some(self.with_seq(id)?.0)
    }

    pub(crate) fn with_seq(&self, id: &str) -> Option<(Arc<Reservation>, u64)> {
        self.kept(id).map(Kept::open)
    }

    /// Puts the state after the fact `seq`; an older fact changes nothing. Says whether it was put.
    pub(crate) fn put(&mut self, basket: Arc<Reservation>, seq: u64) -> bool {
        let known = match self.kept(basket.id.as_str()) {
            Some(Kept::Held(_, known)) => Some(*known),
            Some(ended) => Some(ended.open().1),
            None => None,
        };
        if known.is_some_and(|known| known >= seq) {
            return false;
        }
        if known.is_some() {
            self.remove(basket.id.as_str());
        }
        if let Some(end) = &basket.end {
            self.ended.insert((end.at, basket.id.clone()));
        }
        self.by_state[basket.state as usize].insert(basket.id.clone(), Kept::of(basket, seq));
        true
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(kept) = self.by_state.iter_mut().find_map(|baskets| baskets.remove(id)) else {
            return;
        };
        let (basket, _) = kept.open();
        if let Some(end) = &basket.end {
            self.ended.remove(&(end.at, basket.id.clone()));
        }
    }

    /// Those that ended before a time, oldest end first.
    pub(crate) fn ended_before(&self, time: Time, limit: usize) -> Vec<Id> {
        let old = self.ended.iter().take_while(|(at, _)| *at < time);
        old.take(limit).map(|(_, id)| id.clone()).collect()
    }

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

    pub(crate) fn count(&self, state: State) -> usize {
        self.by_state[state as usize].len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::domain::reservation::End;

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
        /// However they are kept, baskets are found, listed and forgotten as in one plain table.
        #[test]
        fn ended_baskets_answer_like_held_ones(
            steps in prop::collection::vec((0u8..12, 0usize..5, 0i64..50), 1..80), limit in 1usize..6, after in 0u8..12,
        ) {
            let (mut baskets, mut plain) = (Baskets::default(), BTreeMap::<Id, (Arc<Reservation>, u64)>::new());
            for (seq, (id, state, at)) in (1..).zip(steps) {
                match STATES.get(state) {
                    Some(state) => {
                        let put = basket(id, *state, at);
                        prop_assert!(baskets.put(Arc::clone(&put), seq));
                        prop_assert!(!baskets.put(Arc::clone(&put), seq - 1), "an older fact changes nothing");
                        plain.insert(put.id.clone(), (put, seq));
                    }
                    None => {
                        baskets.remove(&format!("o-{id}"));
                        plain.remove(format!("o-{id}").as_str());
                    }
                }
            }
            for id in 0..12u8 {
                let id = format!("o-{id}");
                prop_assert_eq!(baskets.with_seq(&id), plain.get(id.as_str()).cloned());
            }
            let after = format!("o-{after}");
            for state in STATES.map(Some).into_iter().chain([None]) {
                let wanted = plain.values().map(|(basket, _)| Arc::clone(basket));
                let wanted = wanted.filter(|basket| state.is_none_or(|state| state == basket.state) && basket.id.as_str() > after.as_str());
                prop_assert_eq!(baskets.page(state, Some(&after), limit), wanted.take(limit).collect::<Vec<_>>());
            }
            let mut ends: Vec<_> = plain.values().filter_map(|(basket, _)| Some((basket.end.as_ref()?.at, basket.id.clone()))).collect();
            ends.sort_unstable();
            let old: Vec<Id> = ends.into_iter().filter(|(at, _)| *at < Time(25)).map(|(_, id)| id).collect();
            prop_assert_eq!(baskets.ended_before(Time(25), 100), old);
        }
    }
}
