//! The view's side of snapshots: what a row is made from, and what it becomes at a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::reservation::Reservation;
use crate::domain::stock::Stock;
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse;
use crate::storage::append::SkuIndex;

use super::{DeadLetter, Dirty, View};

/// SKUs as rows of a snapshot have them, each as of the fact with that sequence.
pub(crate) type StockRows<'a> = Vec<(&'a str, Stock, u64)>;

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

    /// Whether a warehouse has reservations that are on the disk only.
    pub(crate) fn any_on_disk(&self, warehouse: &str) -> bool {
        self.shelf(warehouse).is_some_and(|shelf| shelf.baskets.read().on_disk() > 0)
    }

    /// How many reservations are on the disk only.
    pub(crate) fn on_disk(&self) -> usize {
        let shelves = self.shelves.load();
        shelves.values().map(|shelf| shelf.baskets.read().on_disk()).sum()
    }

    /// The row of an ended reservation as of the fact `seq` is on the disk.
    pub(crate) fn saved_reservation(&self, warehouse: &Id, id: &Id, seq: u64) {
        if let Some(shelf) = self.shelf(warehouse.as_str()) {
            shelf.baskets.write().saved(id.as_str(), seq);
        }
    }

    /// Forgets a reservation, if it is on the disk only, where its row goes with the next snapshot.
    pub(crate) fn forget(&self, warehouse: &str, id: &Id) {
        let shelf = self.shelf(warehouse);
        if shelf.is_some_and(|shelf| shelf.baskets.write().forget(id.as_str())) {
            let key = (Id::trusted(warehouse), id.clone());
            self.dirty.lock().reservations.insert(key);
        }
    }

    /// Forgets dead letters that were settled before a time, up to `limit`.
    pub(crate) fn forget_settled(&self, before: Time, limit: usize) {
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

    /// Makes room for so many SKUs that will be restored.
    pub(crate) fn reserve(&self, skus: usize) {
        self.keys.reserve(skus);
        self.cells.reserve(skus);
    }

    /// Puts SKUs of a warehouse; their shelf is told by [`View::restore_shelves`], once for all.
    pub(crate) fn restore_stocks(&self, warehouse: &str, rows: StockRows<'_>) -> Vec<(Id, SkuIndex)> {
        let restored = self.keys.restore(warehouse, rows.iter().map(|(sku, _, _)| *sku));
        let stocks = rows.into_iter().zip(&restored);
        self.cells
            .restore(stocks.map(|((_, stock, seq), (_, index))| (*index, stock, seq)));
        restored
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

    /// Puts a reservation whose row says that it is as of the fact `seq`; facts from `replayed` on are still to come, and a row may have
    /// some of them.
    pub(crate) fn restore_reservation(&self, warehouse: &str, reservation: Reservation, seq: u64, replayed: u64) {
        let shelf = self.shelf_or_new(warehouse);
        let mut baskets = shelf.baskets.write();
        match reservation.end.is_some() && seq < replayed {
            true => baskets.found(reservation.id.as_str()),
            false => drop(baskets.put(Arc::new(reservation), seq)),
        }
    }

    /// All facts have come: an ended reservation that no fact has touched is as its row says.
    pub(crate) fn restored_reservations(&self) {
        let dirty = self.dirty.lock();
        for (warehouse, shelf) in self.shelves.load().iter() {
            let mut baskets = shelf.baskets.write();
            let ended = baskets.ended().map(|(id, seq)| (id.clone(), seq));
            let saved: Vec<_> = ended
                .filter(|(id, _)| !dirty.reservations.contains(&(warehouse.clone(), id.clone())))
                .collect();
            saved.iter().for_each(|(id, seq)| baskets.saved(id.as_str(), *seq));
        }
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
}
