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
    /// Whether a fact is one of a reservation with lines, or of such a line; any other stands for itself.
    pub(super) fn wants(&self, fold: &Fold) -> bool {
        match fold {
            Fold::Sku { .. } => self.missing > 0,
            Fold::Reservation { lines, .. } => self.missing == 0 && *lines > 0,
            _ => false,
        }
    }

    /// Puts a fact that it wants beside the others. Says whether it was the last.
    pub(super) fn put(&mut self, folded: Folded, seq: u64) -> bool {
        match folded.fold {
            Fold::Reservation { lines, .. } => self.missing = lines as usize,
            _ => self.missing -= 1,
        }
        self.facts.push((folded, seq));
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
            self.letter(&folded, seq);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::domain::fact::{Change, Changes};
    use crate::domain::reservation::{Reservation, State};
    use crate::domain::units::{Id, Time};
    use crate::storage::append::SkuIndex;

    const LINES: usize = 1_000;

    fn folded(fold: Fold, version: u64) -> Folded {
        Folded {
            fold,
            recorded: Time(version as i64),
            id: None,
            voids: None,
            keep_forever: false,
            noted: None,
        }
    }

    /// A basket that says how many lines follow, and its lines.
    fn basket(skus: &[SkuIndex], version: u64, lines: u32) -> Vec<Folded> {
        let reservation = Reservation {
            id: Id::trusted("o-1"),
            channel: Id::trusted("default"),
            state: State::Held,
            version,
            request: version,
            extended: None,
            lines: Vec::new(),
            created: Time(1),
            expires: None,
            end: None,
        };
        let head = Fold::Reservation {
            warehouse: Id::trusted("main"),
            reservation: Arc::new(reservation),
            lines,
        };
        let line = |sku: &SkuIndex| Fold::Sku {
            sku: *sku,
            version,
            changes: Changes::from_iter([Change::CountDue(true)]),
            business: Time(1),
        };
        let folds = std::iter::once(head).chain(skus.iter().map(line));
        folds.map(|fold| folded(fold, version)).collect()
    }

    /// Whether a reader who looks at the basket, at its first line and then at its last one ever finds the later look the older.
    fn torn(lines: u32, rounds: u64) -> bool {
        let view = View::new(LINES, 18, 0);
        let skus: Vec<SkuIndex> = (0..LINES)
            .map(|n| view.keys().intern_known("main", &format!("s{n}")))
            .collect();
        let (done, torn) = (AtomicBool::new(false), AtomicBool::new(false));
        let version = |sku: SkuIndex| view.read(sku, |stock, _| stock.map_or(0, |stock| stock.version));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let basket = view.held("main", "o-1").map_or(0, |basket| basket.version);
                    let first = version(skus[0]);
                    let last = version(skus[LINES - 1]);
                    if first < basket || last < first {
                        torn.store(true, Ordering::Relaxed);
                    }
                }
            });
            let mut seq = 1;
            for round in 1..=rounds {
                view.fold_all(basket(&skus, round, lines), seq);
                seq += LINES as u64 + 1;
                if torn.load(Ordering::Relaxed) {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        torn.load(Ordering::Relaxed)
    }

    #[test]
    fn a_basket_is_seen_whole_or_not_at_all() {
        assert!(!torn(LINES as u32, 300));
    }

    #[test]
    fn lines_that_are_folded_one_by_one_are_seen_torn() {
        assert!(torn(0, 20_000), "the test above would see nothing");
    }
}
