//! What judging the rows of a slice, or the single events of a look, will need, asked of the memory for all of them at once: one after
//! the other each row would wait for its own lines of it (ADR 14).

use super::super::batch::Ticket;
use super::State;
use super::inbox::Work;
use super::place::Place;
use crate::domain::event::What;
use crate::storage::remembered::hash;

/// So many rows have their copies brought near at a time: they fill a part of the processor's second cache.
pub(super) const NEAR: usize = 256;

/// Of rows, in their order: the hash of each id, and whether that is surely new.
#[derive(Default)]
pub(super) struct Sifted {
    ids: Vec<u64>,
    new: Vec<bool>,
}

impl Sifted {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The hash of the id at a place.
    pub(super) fn id(&self, place: usize) -> u64 {
        self.ids[place]
    }

    /// Whether nobody has sent the id at a place, for sure.
    pub(super) fn is_surely_new(&self, place: usize) -> bool {
        self.new[place]
    }
}

impl State {
    /// The ids of rows, and which of them nobody has sent before. What is not sure is looked up row by row, and so is one alone.
    pub(super) fn sift<'t>(&mut self, rows: impl Iterator<Item = (&'t Ticket, u32)>) -> Sifted {
        let mut sifted = std::mem::take(&mut self.sifted);
        sifted.ids.clear();
        sifted.ids.extend(rows.map(|(ticket, row)| {
            let event = ticket.event(row);
            let (source, id) = (event.origin.source.as_str(), event.origin.id.as_str());
            hash(event.warehouse.as_str(), source, id)
        }));
        if sifted.ids.len() > 1 {
            self.shared.store.surely_new(&sifted.ids, &mut sifted.new);
        } else {
            sifted.new.clear();
            sifted.new.resize(sifted.ids.len(), false);
        }
        sifted
    }

    /// As [`State::sift`], for the single events among the work of a look, in its order; what judging them will look at is brought near.
    pub(super) fn sift_singles(&mut self, work: &[Work]) -> Sifted {
        let singles = work.iter().filter_map(|work| match work {
            Work::Events(ticket, range) if range.len() == 1 => Some((&**ticket, ticket.row_at(range.start))),
            _ => None,
        });
        let sifted = self.sift(singles.clone());
        if sifted.ids.len() > 1 {
            self.bring(singles.take(NEAR));
        }
        sifted
    }

    /// Has the processor fetch what judging these rows will look at, many at a time.
    pub(super) fn bring<'t>(&self, rows: impl Iterator<Item = (&'t Ticket, u32)>) {
        let mut elsewhere = Vec::new();
        let mut plain = 0;
        let places = rows.filter_map(|(ticket, row)| {
            let (sku, event) = (ticket.sku(row), ticket.event(row));
            plain += u64::from(event.lot.is_none() && !matches!(event.what, What::Void { .. }));
            let place = self.places.get(sku);
            if place.is_none() {
                elsewhere.push(sku);
            }
            place
        });
        let places: Vec<&Place> = places.collect();
        let seen = places.iter().fold(plain, |seen, place| seen ^ place.glance());
        let entries = places.iter().filter_map(|place| place.newest());
        std::hint::black_box(entries.fold(seen, |seen, newest| seen ^ newest.0 as u64));
        if !elsewhere.is_empty() {
            self.shared.store.view().bring_to_copy(elsewhere.into_iter());
        }
    }
}
