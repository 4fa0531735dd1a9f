//! The view's side of snapshots: what a row is made from, and what it becomes at a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::reservation::Reservation;
use crate::domain::stock::Stock;
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse;
use crate::storage::append::SkuIndex;

use super::{DeadLetter, Dirty, View};

impl Dirty {
    pub(crate) fn is_empty(&self) -> bool {
        self.reservations.is_empty() && self.warehouses.is_empty() && self.catalogue.is_empty() && self.letters.is_empty()
    }

    pub(crate) fn merge(&mut self, other: Dirty) {
        self.reservations.extend(other.reservations);
        self.warehouses.extend(other.warehouses);
        self.catalogue.extend(other.catalogue);
        self.letters.extend(other.letters);
    }
}

impl View {
    pub(crate) fn reservation_with_seq(&self, warehouse: &str, id: &str) -> Option<(Arc<Reservation>, u64)> {
        self.shelf(warehouse)?.baskets.read().with_seq(id)
    }

    pub(crate) fn warehouse_with_seq(&self, id: &str) -> Option<(Arc<Warehouse>, u64)> {
        let seq = self.warehouse_seqs.lock().get(id).copied()?;
        Some((self.warehouse(id)?, seq))
    }

    /// The sequence of a warehouse's own newest fact; 0: it has none.
    pub fn warehouse_seq(&self, id: &str) -> u64 {
        self.warehouse_seqs.lock().get(id).copied().unwrap_or(0)
    }

    /// A catalogue entry that is there: a removed one has no row.
    pub(crate) fn catalogue_with_seq(&self, sku: &str) -> Option<(Arc<str>, u64)> {
        self.catalogue.read().get(sku).filter(|(entry, _)| !entry.is_empty()).cloned()
    }

    pub(crate) fn letter_with_seq(&self, seq: u64) -> Option<(DeadLetter, u64)> {
        self.letters.read().get(&seq).cloned()
    }

    /// Forgets reservations that ended, and dead letters that were settled, before a time: oldest first, up to `limit`.
    pub(crate) fn forget_ended(&self, before: Time, limit: usize) {
        for (warehouse, shelf) in self.shelves.load().iter() {
            let old = shelf.baskets.read().ended_before(before, limit);
            for id in old {
                shelf.baskets.write().remove(id.as_str());
                self.dirty.lock().reservations.insert((warehouse.clone(), id));
            }
        }
        let mut letters = self.letters.write();
        let settled = letters
            .iter()
            .filter(|(_, (letter, _))| &*letter.state != "open" && letter.recorded < before);
        let settled: Vec<u64> = settled.map(|(seq, _)| *seq).take(limit).collect();
        for seq in settled {
            letters.remove(&seq);
            self.dirty.lock().letters.insert(seq);
        }
    }

    /// Puts a SKU; its shelf is told by [`View::restore_shelves`], once for all.
    pub(crate) fn restore_stock(&self, warehouse: &str, sku: &str, stock: Stock, seq: u64) -> (Id, SkuIndex) {
        let index = self.keys.intern_known(warehouse, sku);
        self.cells.restore(index, stock, seq);
        // The id that the index has already: one text for each SKU.
        let id = self.keys.names(index).map_or_else(|| Id::trusted(sku), |(_, id)| id);
        (id, index)
    }

    /// Puts restored SKUs on the shelves of their warehouses. A tree that is built whole from what is in order is a third smaller
    /// than one that grows.
    pub(crate) fn restore_shelves(&self, parts: impl Iterator<Item = (Arc<str>, Vec<(Id, SkuIndex)>)>) {
        let mut shelves = BTreeMap::<Arc<str>, Vec<(Id, SkuIndex)>>::new();
        for (warehouse, skus) in parts {
            shelves.entry(warehouse).or_default().extend(skus);
        }
        for (warehouse, skus) in shelves {
            *self.shelf_or_new(&warehouse).skus.write() = skus.into_iter().collect();
        }
    }

    pub(crate) fn restore_reservation(&self, warehouse: &str, reservation: Reservation, seq: u64) {
        let shelf = self.shelf_or_new(warehouse);
        shelf.baskets.write().put(Arc::new(reservation), seq);
    }

    pub(crate) fn restore_warehouse(&self, warehouse: Warehouse, seq: u64) {
        self.put_warehouse(warehouse, seq);
    }

    pub(crate) fn restore_catalogue(&self, sku: &str, entry: &str, seq: u64) {
        self.put_catalogue(&Id::trusted(sku), entry, seq);
    }

    pub(crate) fn restore_letter(&self, seq: u64, letter: DeadLetter, at: u64) {
        self.letters.write().insert(seq, (letter, at));
    }

    /// Where this view differs from another, in words; empty: nowhere. With `forgetful`, what has ended may be missing here.
    pub(crate) fn differences(&self, other: &View, forgetful: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut warehouses: Vec<Id> = self.shelves.load().keys().cloned().collect();
        warehouses.extend(other.shelves.load().keys().cloned());
        warehouses.sort();
        warehouses.dedup();
        for warehouse in &warehouses {
            self.compare_shelf(other, warehouse.as_str(), forgetful, &mut found);
        }
        if self.warehouses() != other.warehouses() {
            found.push("the warehouses differ".into());
        }
        if self.catalogue(None, usize::MAX) != other.catalogue(None, usize::MAX) {
            found.push("the catalogue differs".into());
        }
        let (mine, theirs) = (
            self.dead_letters(None, None, usize::MAX),
            other.dead_letters(None, None, usize::MAX),
        );
        if mine != theirs && !forgetful {
            found.push("the dead letters differ".into());
        }
        found
    }

    fn compare_shelf(&self, other: &View, warehouse: &str, forgetful: bool, found: &mut Vec<String>) {
        let mine = self.skus_of(warehouse, None, usize::MAX);
        let theirs = other.skus_of(warehouse, None, usize::MAX);
        if mine.iter().map(|(sku, _)| sku).ne(theirs.iter().map(|(sku, _)| sku)) {
            found.push(format!("{warehouse}: other SKUs"));
            return;
        }
        for ((sku, here), (_, there)) in mine.into_iter().zip(theirs) {
            if self.stock(here) != other.stock(there) {
                found.push(format!("{warehouse}/{sku}: another state"));
            }
        }
        let theirs = other.reservations(warehouse, None, None, usize::MAX);
        for basket in &theirs {
            let here = self.reservation(warehouse, basket.id.as_str());
            let forgotten = forgetful && here.is_none() && basket.end.is_some();
            if here.as_ref() != Some(basket) && !forgotten {
                found.push(format!("{warehouse}: reservation {} differs", basket.id));
            }
        }
        if self.reservations(warehouse, None, None, usize::MAX).len() > theirs.len() {
            found.push(format!("{warehouse}: reservations that nobody made"));
        }
    }
}
