//! The SKUs of a warehouse that have a place: a working copy, an actor, or work that waits. All others are read from the view when
//! something comes for them.
//!
//! More than `copies_max` of them are let go in the order in which they came, a few with each message, as soon as the view has all that they say. To look
//! at all of them once a second was rejected: a warehouse that a million SKUs are sold from had hundreds of thousands by then, and stood still for some 60 ms; and what is
//! let go soon is let go while the processor still has it near, and so is the memory that the next one gets.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use super::place::Place;
use crate::planted::{self, Bug};
use crate::storage::append::SkuIndex;
use crate::storage::view::View;

/// Places looked at for each that was made, while there are too many.
const LOOKS: usize = 2;

/// See the module.
#[derive(Default)]
pub(super) struct Places {
    of: HashMap<SkuIndex, Box<Place>, foldhash::fast::FixedState>,
    /// Whose turn it is to be let go; each that has a place stands here once.
    order: VecDeque<SkuIndex>,
    /// Made since the last look.
    made: usize,
}

impl Places {
    pub(super) fn get(&self, sku: SkuIndex) -> Option<&Place> {
        self.of.get(&sku).map(|place| &**place)
    }

    pub(super) fn get_mut(&mut self, sku: SkuIndex) -> Option<&mut Place> {
        self.of.get_mut(&sku).map(|place| &mut **place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SkuIndex, &Place)> {
        self.of.iter().map(|(sku, place)| (*sku, &**place))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SkuIndex, &mut Place)> {
        self.of.iter_mut().map(|(sku, place)| (*sku, &mut **place))
    }

    pub(super) fn clear(&mut self) {
        *self = Places::default();
    }

    /// The place of a SKU, read from the view when it is not here.
    pub(super) fn of(&mut self, view: &View, sku: SkuIndex) -> &mut Place {
        match self.of.entry(sku) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => {
                self.order.push_back(sku);
                self.made += 1;
                place.insert(Box::new(Place::new(view.stock(sku))))
            }
        }
    }

    /// Lets some of those go that are at rest, while there are more than `most`.
    pub(super) fn trim(&mut self, most: usize, durable: u64) {
        let durable = if planted::is(Bug::LetGoAhead) { u64::MAX } else { durable };
        let looks = LOOKS * std::mem::take(&mut self.made);
        if self.of.len() > most {
            self.bring(looks);
        }
        for _ in 0..looks {
            if self.of.len() <= most {
                return;
            }
            let Some(sku) = self.order.pop_front() else { return };
            match self.of.entry(sku) {
                // One that is warm may be about to get an actor of its own.
                Entry::Occupied(place) if place.get().at_rest(durable) && place.get().heat == 0 => drop(place.remove()),
                Entry::Occupied(_) => self.order.push_back(sku),
                Entry::Vacant(_) => {}
            }
        }
    }

    /// Has the processor fetch what letting go the next ones will look at, many at a time (ADR 14).
    fn bring(&self, looks: usize) {
        let places: Vec<&Place> = self.order.iter().take(looks).filter_map(|sku| self.get(*sku)).collect();
        let seen = places.iter().fold(0, |seen, place| seen ^ place.glance());
        std::hint::black_box(places.iter().fold(seen, |seen, place| seen ^ place.glance_at_book()));
    }

    /// Lets all go that are at rest and have had nothing to do for so many seconds.
    pub(super) fn let_go_idle(&mut self, idle_s: u32, durable: u64) {
        self.of.retain(|_, place| !place.at_rest(durable) || place.idle_s < idle_s);
        self.order.retain(|sku| self.of.contains_key(sku));
        // The tables of a busy hour are not kept for the quiet ones.
        if self.of.len() * 8 < self.of.capacity() {
            self.of.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(skus: u32) -> Places {
        let (view, mut places) = (View::new(1_000, 6, 0), Places::default());
        for sku in 0..skus {
            places.of(&view, SkuIndex(sku));
        }
        places
    }

    fn here(places: &Places) -> Vec<u32> {
        let mut skus: Vec<u32> = places.iter().map(|(sku, _)| sku.0).collect();
        skus.sort_unstable();
        skus
    }

    fn consistent(places: &Places) -> bool {
        let mut order: Vec<u32> = places.order.iter().map(|sku| sku.0).collect();
        order.sort_unstable();
        order == here(places)
    }

    #[test]
    fn too_many_are_let_go_in_the_order_in_which_they_came_but_for_those_ahead_of_the_view_and_the_warm() {
        let mut places = places(10);
        places.get_mut(SkuIndex(1)).unwrap().touched = 8;
        places.get_mut(SkuIndex(2)).unwrap().heat = 1;
        places.trim(6, 7);
        assert_eq!(here(&places), [1, 2, 6, 7, 8, 9]);
        assert!(consistent(&places));
        places.trim(6, 8);
        assert_eq!(here(&places).len(), 6, "as many as there may be");
    }

    #[test]
    fn each_that_is_made_pays_for_two_looks_and_no_message_for_all() {
        let mut places = places(10);
        for sku in 0..10 {
            places.get_mut(SkuIndex(sku)).unwrap().touched = 8;
        }
        places.trim(1, 7);
        assert_eq!(here(&places).len(), 10, "none is at rest");
        places.trim(1, 8);
        assert_eq!(here(&places).len(), 10, "nothing was made since, so nothing is looked at");
        let view = View::new(1_000, 6, 0);
        places.of(&view, SkuIndex(10));
        places.trim(1, 8);
        assert_eq!(here(&places).len(), 9);
        assert!(consistent(&places));
    }

    #[test]
    fn what_has_been_idle_is_let_go_each_second() {
        let mut places = places(4);
        for (sku, place) in places.iter_mut() {
            place.idle_s = sku.0;
        }
        places.let_go_idle(2, 0);
        assert_eq!(here(&places), [0, 1]);
        assert!(consistent(&places));
    }
}
