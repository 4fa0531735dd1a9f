//! Snapshots of the view: rows of what has changed, a bounded portion at a time, while everything goes on.
//!
//! A pass goes once over all SKUs and takes what is unsaved. Its rows are of different moments, and that is all right: each
//! says which fact was the last in it, and the replay skips what a row has. When a pass is complete, everything up to the
//! durable sequence at its *start* is in rows, and the next start replays only from there. Stopping the world for one
//! consistent copy was rejected: a million SKUs would stop it for seconds.

use std::sync::Arc;

use crate::domain::units::{Id, Time};
use crate::planted::{self, Bug};

use super::append::{CommitFailure, SkuIndex};
use super::codec::{encode_dead_letter, encode_reservation, encode_stock, encode_warehouse};
use super::journal::JournalHandle;
use super::rows::{self, Put};
use super::store::Shared;
use super::tables::meta;
use super::view::{Dirty, Found};

/// Settled dead letters forgotten in one pass.
const FORGET_A_PASS: usize = 1_000;
/// The fewest rows of baskets that a pass looks at for what has ended long ago, and the part of all of them: all have had their turn after so
/// many passes, some hours.
const LOOK_A_PASS: (usize, usize) = (4_000, 256);

/// The fewest and the most bytes of rows in one portion. So few that a commit with them is hardly longer than one without: each row may be
/// in a page of its own, and these are a hundred pages of reservations.
const PORTION_BYTES: [u64; 2] = [32 << 10, 128 << 10];
/// More of them for each fact that came with the portion before: the commit of thousands of facts is long anyway, and a pass beside such
/// commits would take minutes.
const BYTES_A_FACT: u64 = 32;

struct Pass {
    /// The durable sequence when it began.
    floor: u64,
    /// The next SKU to look at.
    next: u32,
    dirty: Dirty,
    /// The durable sequence when its newest portion was begun.
    durable: u64,
}

/// The one who takes snapshots. There must be only one.
pub(crate) struct Snapshotter {
    shared: Arc<Shared>,
    journal: JournalHandle,
    pass: Option<Pass>,
    /// The reservation that was looked at last for whether it is to be forgotten.
    forgotten_to: (String, String),
}

impl Snapshotter {
    pub(crate) fn new(shared: Arc<Shared>, journal: JournalHandle) -> Snapshotter {
        Snapshotter {
            shared,
            journal,
            pass: None,
            forgotten_to: Default::default(),
        }
    }

    /// Writes one portion, as large as goes unnoticed by those who wait for its commit. Says whether the pass goes on.
    pub(crate) fn portion(&mut self, now: Time) -> Result<bool, CommitFailure> {
        let durable = self.shared.view.durable_seq();
        let before = self.pass.as_mut().map(|pass| std::mem::replace(&mut pass.durable, durable));
        let came = durable.saturating_sub(before.unwrap_or(durable));
        let [fewest, most] = PORTION_BYTES;
        let bytes = came.saturating_mul(BYTES_A_FACT).clamp(fewest, most);
        self.step(bytes as usize, now)
    }

    /// Writes one portion of about `budget` bytes; begins a pass when none is underway. Says whether the pass goes on.
    fn step(&mut self, budget: usize, now: Time) -> Result<bool, CommitFailure> {
        if self.pass.is_none() {
            self.forget(now.plus_ms(-self.shared.options.id_window_ms));
            let view = &self.shared.view;
            // The floor is read before the dirty marks are taken: what becomes dirty in between is only saved once more.
            let floor = view.durable_seq();
            let mut dirty = std::mem::take(&mut *view.dirty.lock());
            if planted::is(Bug::SnapshotHalf) {
                dirty.reservations.clear();
            }
            self.pass = Some(Pass {
                floor,
                next: 0,
                dirty,
                durable: floor,
            });
        }
        let view = &self.shared.view;
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let mut puts = Vec::new();
        let mut saved = Vec::new();
        let mut bytes = 0;
        let skus = view.keys().len() as u32;
        let mut next = pass.next;
        let too_new = u64::from(planted::is(Bug::SnapshotTooNew));
        while next < skus && bytes < budget {
            let index = SkuIndex(next);
            if let Some((row, seq)) = view
                .cells
                .unsaved(index, |stock, seq| (encode_stock(stock, seq + too_new), seq))
                && let Some((warehouse, sku)) = view.keys().names(index)
            {
                bytes += row.len() + 64;
                puts.push(Put::Stock(warehouse.as_str().to_owned(), sku.as_str().to_owned(), row));
                saved.push((index, seq));
            }
            next += 1;
        }
        let (mut taken, mut ended) = (Dirty::default(), Vec::new());
        if next >= skus {
            taken = take(&mut pass.dirty, budget.saturating_sub(bytes) / 128);
            puts.extend(rows_of(&self.shared, &taken, &mut ended));
        }
        let complete = next >= skus && pass.dirty.is_empty();
        if complete {
            if planted::is(Bug::FloorAhead) {
                pass.floor = view.durable_seq() + 1;
            }
            puts.push(Put::Meta(meta::SNAPSHOT_FLOOR, pass.floor));
        }
        if let Err(failure) = rows::write(&self.journal, puts) {
            pass.dirty.merge(taken);
            return Err(failure);
        }
        saved.into_iter().for_each(|(index, seq)| view.cells.saved(index, seq));
        ended
            .iter()
            .for_each(|(warehouse, id, seq)| view.saved_reservation(warehouse, id, *seq));
        pass.next = next;
        if complete {
            self.shared.set_snapshot_floor(pass.floor);
            self.pass = None;
        }
        Ok(!complete)
    }

    /// Forgets what ended before a time, as far as it has its turn.
    fn forget(&mut self, before: Time) {
        let view = &self.shared.view;
        view.forget_settled(before, FORGET_A_PASS);
        let (fewest, part) = LOOK_A_PASS;
        let rows = fewest.max(view.on_disk() / part);
        if view.on_disk() == 0 {
            return;
        }
        if let Err(error) = self.shared.forget_ended(&mut self.forgotten_to, before, rows) {
            tracing::warn!(%error, "reservations that ended long ago could not be looked for; they are kept until the next pass");
        }
    }

    /// Finishes the pass that is underway and makes a whole one, so that the next start replays nothing.
    pub(crate) fn whole(&mut self, now: Time) -> Result<(), CommitFailure> {
        for _ in 0..2 {
            while self.step(256 << 10, now)? {}
        }
        Ok(())
    }
}

/// A pass that is given up half-way gives its marks back: the next one would call complete what this one never wrote.
impl Drop for Snapshotter {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.shared.view.dirty.lock().merge(pass.dirty);
        }
    }
}

/// Takes up to `limit` marks (at least one).
fn take(dirty: &mut Dirty, limit: usize) -> Dirty {
    let mut taken = Dirty::default();
    for _ in 0..limit.max(1) {
        if let Some(key) = dirty.reservations.pop_first() {
            taken.reservations.insert(key);
        } else if let Some(key) = dirty.warehouses.pop_first() {
            taken.warehouses.insert(key);
        } else if let Some(key) = dirty.catalogue.pop_first() {
            taken.catalogue.insert(key);
        } else if let Some(key) = dirty.letters.pop_first() {
            taken.letters.insert(key);
        } else {
            break;
        }
    }
    taken
}

/// What the view has now under those marks; what it has no longer is removed. Reservations that have ended are told to `ended`.
fn rows_of(shared: &Shared, dirty: &Dirty, ended: &mut Vec<(Id, Id, u64)>) -> Vec<Put> {
    let view = &shared.view;
    let mut puts = Vec::new();
    for (warehouse, id) in &dirty.reservations {
        let row = match view.reservation(warehouse.as_str(), id.as_str()) {
            Found::Here(basket, seq) => {
                if basket.end.is_some() {
                    ended.push((warehouse.clone(), id.clone(), seq));
                }
                Some(encode_reservation(&basket, seq))
            }
            Found::OnDisk => continue,
            Found::Nowhere => None,
        };
        puts.push(Put::Reservation(warehouse.as_str().to_owned(), id.as_str().to_owned(), row));
    }
    for id in &dirty.warehouses {
        if let Some((warehouse, seq)) = view.warehouse_with_seq(id.as_str()) {
            puts.push(Put::Warehouse(id.as_str().to_owned(), encode_warehouse(&warehouse, seq)));
        }
    }
    for sku in &dirty.catalogue {
        let row = view.catalogue_with_seq(sku.as_str()).map(|(entry, seq)| {
            let mut row = seq.to_le_bytes().to_vec();
            row.extend_from_slice(entry.as_bytes());
            row
        });
        puts.push(Put::Catalogue(sku.as_str().to_owned(), row));
    }
    for seq in &dirty.letters {
        let row = view.letter_with_seq(*seq).map(|(letter, at)| encode_dead_letter(&letter, at));
        puts.push(Put::DeadLetter(*seq, row));
    }
    puts
}
