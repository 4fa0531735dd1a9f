//! The reservations of one warehouse, and the order in which its pages list them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::reservation::{Reservation, State};
use crate::domain::units::{Id, Time};

/// The committed reservations of a warehouse: all that are held, and those ended within the id window.
#[derive(Default)]
pub(crate) struct Baskets {
    all: BTreeMap<Id, (Arc<Reservation>, u64)>,
    by_state: [BTreeSet<Id>; 4],
    ended: BTreeSet<(Time, Id)>,
}

impl Baskets {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Reservation>> {
        self.all.get(id).map(|(basket, _)| basket)
    }

    pub(crate) fn with_seq(&self, id: &str) -> Option<(Arc<Reservation>, u64)> {
        self.all.get(id).cloned()
    }

    /// Puts the state after the fact `seq`; an older fact changes nothing. Says whether it was put.
    pub(crate) fn put(&mut self, basket: Arc<Reservation>, seq: u64) -> bool {
        if self.all.get(basket.id.as_str()).is_some_and(|(_, known)| *known >= seq) {
            return false;
        }
        self.remove(basket.id.as_str());
        self.by_state[basket.state as usize].insert(basket.id.clone());
        if let Some(end) = &basket.end {
            self.ended.insert((end.at, basket.id.clone()));
        }
        self.all.insert(basket.id.clone(), (basket, seq));
        true
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some((basket, _)) = self.all.remove(id) {
            self.by_state[basket.state as usize].remove(id);
            if let Some(end) = &basket.end {
                self.ended.remove(&(end.at, basket.id.clone()));
            }
        }
    }

    /// Those that ended before a time, oldest end first.
    pub(crate) fn ended_before(&self, time: Time, limit: usize) -> Vec<Id> {
        let old = self.ended.iter().take_while(|(at, _)| *at < time);
        old.take(limit).map(|(_, id)| id.clone()).collect()
    }

    pub(crate) fn page(&self, state: Option<State>, after: Option<&str>, limit: usize) -> Vec<Arc<Reservation>> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        match state {
            None => {
                let rest = self.all.range::<str, _>(from);
                rest.take(limit).map(|(_, (basket, _))| Arc::clone(basket)).collect()
            }
            Some(state) => {
                let rest = self.by_state[state as usize].range::<str, _>(from);
                rest.take(limit).filter_map(|id| self.get(id.as_str()).cloned()).collect()
            }
        }
    }

    pub(crate) fn count(&self, state: State) -> usize {
        self.by_state[state as usize].len()
    }
}
