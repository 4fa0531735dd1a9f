//! A basket becomes visible as one: its reservation and all its lines, also to a reader who looks at one after the other.
//!
//! All that it touches is locked before the first of it is folded, and given free when the last one is: whoever has seen one line
//! finds every other one folded, because he waits for its lock. A reader takes one lock at a time and pays nothing for it. A lock
//! around the whole view was rejected: every reader of every SKU would meet in it.

use crate::domain::stock::evolve;
use crate::storage::append::{Fold, Folded};

use super::View;

/// A reservation's fact and those of its lines, until they are all there.
#[derive(Default)]
pub(super) struct Whole {
    facts: Vec<(Folded, u64)>,
    missing: usize,
}

impl Whole {
    /// Takes a fact that belongs to a reservation; gives back one that stands for itself.
    pub(super) fn take(&mut self, folded: Folded, seq: u64) -> Option<Folded> {
        match folded.fold {
            Fold::Reservation { lines, .. } if self.missing == 0 && lines > 0 => self.missing = lines as usize,
            Fold::Sku { .. } if self.missing > 0 => self.missing -= 1,
            _ => return Some(folded),
        }
        self.facts.push((folded, seq));
        None
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

impl View {
    /// Folds a reservation with its lines while nobody can look at any of them.
    pub(super) fn fold_whole(&self, whole: &mut Whole) {
        let facts = std::mem::take(&mut whole.facts);
        let Some((Fold::Reservation { warehouse, .. }, _)) = facts.first().map(|(folded, seq)| (&folded.fold, seq)) else {
            return;
        };
        let warehouse = warehouse.clone();
        let shelf = self.shelf_or_new(warehouse.as_str());
        let lines = facts.iter().filter_map(|(folded, _)| match &folded.fold {
            Fold::Sku { sku, .. } => Some(*sku),
            _ => None,
        });
        // Always in this order: the baskets, then the cells by their shards. A reader holds one of them at a time.
        let mut baskets = shelf.baskets.write();
        let mut cells = self.cells.lock(lines);
        for (folded, seq) in facts {
            match folded.fold {
                Fold::Reservation { reservation, .. } => {
                    let id = reservation.id.clone();
                    if baskets.put(reservation, seq) {
                        self.dirty.lock().reservations.insert((warehouse.clone(), id));
                    }
                }
                Fold::Sku {
                    sku,
                    version,
                    changes,
                    business,
                } if !changes.is_empty() => {
                    let new = cells.fold(sku, seq, |stock| {
                        evolve(stock, &changes, business, folded.recorded);
                        stock.version = version;
                    });
                    if new {
                        self.name(sku);
                    }
                }
                _ => {}
            }
        }
    }
}
