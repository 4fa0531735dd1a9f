//! What really stands on the demo's shelves.
//!
//! The story is told from the goods themselves: a thief takes a unit and nobody reports it, a delivery stands on the shelf
//! before anybody books it, a till sells while its network is down. The node hears of it late, twice, or never, and counts
//! report what stands here. Rejected: drawing count differences at random, since then nothing explains them.

use jiff::civil::Date;

/// A batch of one good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Its id, as printed on the case.
    pub id: String,
    /// The last day on which it may be sold.
    pub expires_on: Date,
    /// Base units.
    pub quantity: i64,
}

/// The place of one good in one warehouse.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    lots: Vec<Lot>,
}

impl Shelf {
    /// Puts a batch on the shelf, the soonest expiry first.
    pub fn put(&mut self, lot: Lot) {
        match self.lots.iter_mut().find(|known| known.id == lot.id) {
            Some(known) => known.quantity += lot.quantity,
            None => {
                let place = self
                    .lots
                    .partition_point(|other| (other.expires_on, &other.id) <= (lot.expires_on, &lot.id));
                self.lots.insert(place, lot);
            }
        }
    }

    /// Base units that may be sold on `today`.
    pub fn fresh(&self, today: Date) -> i64 {
        self.lots
            .iter()
            .filter(|lot| lot.expires_on >= today)
            .map(|lot| lot.quantity)
            .sum()
    }

    /// Base units of all lots, expired ones too: what a count finds.
    pub fn total(&self) -> i64 {
        self.lots.iter().map(|lot| lot.quantity).sum()
    }

    /// Takes units, first expired first out, of unexpired lots. `false` when there are too few; then nothing is taken.
    pub fn take(&mut self, mut quantity: i64, today: Date) -> bool {
        if self.fresh(today) < quantity {
            return false;
        }
        for lot in self.lots.iter_mut().filter(|lot| lot.expires_on >= today) {
            let taken = quantity.min(lot.quantity);
            lot.quantity -= taken;
            quantity -= taken;
        }
        self.lots.retain(|lot| lot.quantity > 0);
        true
    }

    /// Takes up to so many units of one lot, and says how many those were.
    pub fn take_lot(&mut self, id: &str, quantity: i64) -> i64 {
        let Some(lot) = self.lots.iter_mut().find(|lot| lot.id == id) else {
            return 0;
        };
        let taken = quantity.min(lot.quantity);
        lot.quantity -= taken;
        self.lots.retain(|lot| lot.quantity > 0);
        taken
    }

    /// The first lot whose last day has passed.
    pub fn expired(&self, today: Date) -> Option<&Lot> {
        self.lots.iter().find(|lot| lot.expires_on < today)
    }

    /// The unexpired lot with the most units.
    pub fn largest(&self, today: Date) -> Option<&Lot> {
        self.lots
            .iter()
            .filter(|lot| lot.expires_on >= today)
            .max_by_key(|lot| lot.quantity)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn shelf() -> Shelf {
        let mut shelf = Shelf::default();
        for (id, day, quantity) in [("late", 9, 4), ("gone", 1, 2), ("soon", 5, 3)] {
            shelf.put(Lot {
                id: id.to_owned(),
                expires_on: date(2026, 11, day),
                quantity,
            });
        }
        shelf
    }

    #[test]
    fn the_soonest_unexpired_lot_leaves_first() {
        let mut shelf = shelf();
        assert!(shelf.take(4, date(2026, 11, 5)));
        assert_eq!((shelf.fresh(date(2026, 11, 5)), shelf.total()), (3, 5));
        assert_eq!(shelf.largest(date(2026, 11, 5)).map(|lot| lot.id.as_str()), Some("late"));
    }

    #[test]
    fn too_few_means_nothing_is_taken() {
        let mut shelf = shelf();
        assert!(!shelf.take(8, date(2026, 11, 5)));
        assert_eq!(shelf.total(), 9);
        assert_eq!(shelf.take_lot("gone", 5), 2);
        assert_eq!(shelf.expired(date(2026, 11, 5)), None);
    }
}
