//! The fold of the journal, in memory: what is true and durable, readable by anybody without asking an actor.
//!
//! Written by the journal's thread alone, after each commit; a reader waits at most for the fold of one fact or of one basket, never
//! for a commit. A basket is folded as one: a reader who has seen one of its lines sees all of them. Decided but not yet durable state lives with the actors and never here. Asking the actors for reads was rejected:
//! a read would then queue behind writes, and would show what a power cut takes back.

mod baskets;
mod cells;
mod keys;
mod live;
pub(super) mod rows;
mod stored;
mod walk;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use crate::domain::fact::Outcome;
use crate::domain::reservation::{Reservation, State};
use crate::domain::stock::{Stock, evolve};
use crate::domain::units::{Id, Time, Unit};
use crate::domain::warehouse::Warehouse;

use super::append::{Fold, Folded, SkuIndex};
pub use super::letter::DeadLetter;
use super::remembered::Why;

use baskets::Baskets;
pub(crate) use baskets::Found;
pub(crate) use cells::Cells;
pub use keys::{Keys, TooManySkus};
use live::Live;
use whole::Whole;

/// The SKUs and the reservations of one warehouse.
#[derive(Default)]
struct Shelf {
    skus: RwLock<BTreeMap<Id, SkuIndex>>,
    baskets: RwLock<Baskets>,
}

/// So many facts are brought near at a time: their cells fill a part of the processor's second cache.
const NEAR: usize = 256;
/// For fewer facts than these it is not worth the locks.
const FEW: usize = 16;

/// A catalogue page: each SKU with its entry as JSON.
pub type CataloguePage = Vec<(Id, Arc<str>)>;

/// What has changed since the last snapshot, beside the SKUs (whose cells know it themselves).
#[derive(Default, Debug)]
pub(crate) struct Dirty {
    pub(crate) reservations: BTreeSet<(Id, Id)>,
    pub(crate) warehouses: BTreeSet<Id>,
    pub(crate) catalogue: BTreeSet<Id>,
    pub(crate) letters: BTreeSet<u64>,
}

/// The committed state of the node.
pub struct View {
    keys: Keys,
    pub(crate) cells: Cells,
    shelves: ArcSwap<BTreeMap<Id, Arc<Shelf>>>,
    warehouses: ArcSwap<BTreeMap<Id, Arc<Warehouse>>>,
    warehouse_seqs: Mutex<BTreeMap<Id, u64>>,
    catalogue: RwLock<BTreeMap<Id, (Arc<str>, u64)>>,
    letters: RwLock<BTreeMap<u64, (DeadLetter, u64)>>,
    pub(crate) live: Live,
    generation_bits: u32,
    durable: AtomicU64,
    changes: AtomicU64,
    pub(crate) dirty: Mutex<Dirty>,
}

impl View {
    /// An empty view whose first live generation is `first_live`.
    pub(crate) fn new(max_skus: usize, generation_bits: u32, first_live: u64) -> View {
        View {
            keys: Keys::new(max_skus),
            cells: Cells::new(),
            shelves: ArcSwap::default(),
            warehouses: ArcSwap::default(),
            warehouse_seqs: Mutex::default(),
            catalogue: RwLock::default(),
            letters: RwLock::default(),
            live: Live::new(first_live, generation_bits),
            generation_bits,
            durable: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            dirty: Mutex::default(),
        }
    }

    /// Names and indices of all SKUs anybody has named.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The sequence of the newest durable fact; 0: none.
    pub fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The longest that a commit has waited for room for more remembered ids since the start, in microseconds.
    pub fn longest_growth_us(&self) -> u64 {
        self.live.longest_growth_us()
    }

    /// Rises with every change of the view; equal numbers, equal view.
    pub fn change_counter(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Looks at a SKU's state and at the sequence of its last fact. The look must be short: folds of its shard wait for it.
    pub fn read<R>(&self, sku: SkuIndex, look: impl FnOnce(Option<&Stock>, u64) -> R) -> R {
        self.cells.read(sku, look)
    }

    /// See [`Cells::bring_to_copy`].
    pub fn bring_to_copy(&self, skus: impl Iterator<Item = SkuIndex>) {
        self.cells.bring_to_copy(skus);
    }

    /// A copy of a SKU's state.
    pub fn stock(&self, sku: SkuIndex) -> Option<Stock> {
        self.cells.read(sku, |stock, _| stock.cloned())
    }

    /// All warehouses.
    pub fn warehouses(&self) -> Arc<BTreeMap<Id, Arc<Warehouse>>> {
        self.warehouses.load_full()
    }

    /// Looks at all warehouses, without keeping them: to count who keeps them is work for all cores at one place.
    pub fn with_warehouses<R>(&self, look: impl FnOnce(&BTreeMap<Id, Arc<Warehouse>>) -> R) -> R {
        look(&self.warehouses.load())
    }

    /// One warehouse.
    pub fn warehouse(&self, id: &str) -> Option<Arc<Warehouse>> {
        self.warehouses.load().get(id).cloned()
    }

    /// A page of the SKUs that have state in a warehouse, by id, after the one named.
    pub fn skus_of(&self, warehouse: &str, after: Option<&str>, limit: usize) -> Vec<(Id, SkuIndex)> {
        let Some(shelf) = self.shelf(warehouse) else {
            return Vec::new();
        };
        let skus = shelf.skus.read();
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        skus.range::<str, _>(from)
            .take(limit)
            .map(|(id, at)| (id.clone(), *at))
            .collect()
    }

    /// How many SKUs have state in a warehouse.
    pub fn sku_count(&self, warehouse: &str) -> usize {
        self.shelf(warehouse).map_or(0, |shelf| shelf.skus.read().len())
    }

    /// Where a reservation is.
    pub(crate) fn reservation(&self, warehouse: &str, id: &str) -> Found {
        let shelf = self.shelf(warehouse);
        shelf.map_or(Found::Nowhere, |shelf| shelf.baskets.read().place(id))
    }

    /// A reservation that is held.
    pub fn held(&self, warehouse: &str, id: &str) -> Option<Arc<Reservation>> {
        match self.reservation(warehouse, id) {
            Found::Here(basket, _) => Some(basket).filter(|basket| basket.state == State::Held),
            Found::OnDisk | Found::Nowhere => None,
        }
    }

    /// A page of a warehouse's reservations that are in memory, by id, after the one named; of one state, or of all. Held ones always
    /// are; for all others ask the store.
    pub(crate) fn reservations(
        &self,
        warehouse: &str,
        state: Option<State>,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<Reservation>> {
        let shelf = self.shelf(warehouse);
        shelf.map_or_else(Vec::new, |shelf| shelf.baskets.read().page(state, after, limit))
    }

    /// How many baskets a warehouse holds now.
    pub fn held_count(&self, warehouse: &str) -> usize {
        self.shelf(warehouse).map_or(0, |shelf| shelf.baskets.read().held())
    }

    /// How many reservations of a warehouse there are: those held, and those ended within the id window.
    pub(crate) fn reservation_count(&self, warehouse: &str) -> usize {
        self.shelf(warehouse).map_or(0, |shelf| shelf.baskets.read().all())
    }

    /// The warehouses of which anything is known, declared or not.
    pub(crate) fn shelf_names(&self) -> Vec<Id> {
        self.shelves.load().keys().cloned().collect()
    }

    /// The unit of a SKU's stock, in whichever warehouse has it.
    pub fn unit_of(&self, sku: &str) -> Option<Unit> {
        let index = |warehouse: &Id| self.keys.find(warehouse.as_str(), sku);
        let unit = |index| self.read(index, |stock, _| stock.map(|stock| stock.unit));
        self.warehouses().keys().filter_map(index).find_map(unit)
    }

    /// One catalogue entry, as JSON.
    pub fn catalogue_entry(&self, sku: &str) -> Option<Arc<str>> {
        let catalogue = self.catalogue.read();
        catalogue
            .get(sku)
            .map(|(entry, _)| Arc::clone(entry))
            .filter(|entry| !entry.is_empty())
    }

    /// A page of the catalogue, by SKU, after the one named.
    pub fn catalogue(&self, after: Option<&str>, limit: usize) -> CataloguePage {
        let catalogue = self.catalogue.read();
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let present = catalogue.range::<str, _>(from).filter(|(_, (entry, _))| !entry.is_empty());
        present
            .take(limit)
            .map(|(sku, (entry, _))| (sku.clone(), Arc::clone(entry)))
            .collect()
    }

    /// A page of the dead letters, newest first, below a sequence; of one state, or of all.
    pub fn dead_letters(&self, state: Option<&str>, before: Option<u64>, limit: usize) -> Vec<(u64, DeadLetter)> {
        let letters = self.letters.read();
        let older = letters.range(..before.unwrap_or(u64::MAX)).rev();
        let fitting = older.filter(|(_, (letter, _))| state.is_none_or(|state| *letter.state == *state));
        fitting.take(limit).map(|(seq, (letter, _))| (*seq, letter.clone())).collect()
    }

    /// Whether there is any.
    pub fn has_dead_letters(&self) -> bool {
        !self.letters.read().is_empty()
    }

    /// One dead letter, by the sequence of the fact that made it.
    pub fn dead_letter(&self, seq: u64) -> Option<DeadLetter> {
        self.letters.read().get(&seq).map(|(letter, _)| letter.clone())
    }

    fn shelf(&self, warehouse: &str) -> Option<Arc<Shelf>> {
        self.shelves.load().get(warehouse).cloned()
    }

    fn shelf_or_new(&self, warehouse: &str) -> Arc<Shelf> {
        if let Some(shelf) = self.shelf(warehouse) {
            return shelf;
        }
        // Only the journal's thread and the start, before it, come here: nobody else adds a shelf meanwhile.
        let mut shelves = BTreeMap::clone(&self.shelves.load());
        let shelf = Arc::clone(shelves.entry(Id::trusted(warehouse)).or_default());
        self.shelves.store(Arc::new(shelves));
        shelf
    }
}

/// The fold. Only the journal's thread calls these, and the start before that thread exists.
impl View {
    /// Folds durable facts, which their deciders have described: the first has the sequence `seq`, the others follow.
    ///
    /// A reservation and its lines are folded as one: whoever has seen one of them sees all.
    pub(crate) fn fold_all(&self, facts: Vec<Folded>, mut seq: u64) {
        self.remember_all(&facts, seq);
        let mut whole = Whole::default();
        let skus: Vec<Option<SkuIndex>> = match facts.len() {
            FEW.. => facts.iter().map(Folded::sku).collect(),
            _ => Vec::new(),
        };
        for (at, folded) in facts.into_iter().enumerate() {
            if at % NEAR == 0 && at < skus.len() {
                self.cells.bring(skus[at..].iter().take(NEAR).flatten().copied());
            }
            if whole.wants(&folded.fold) {
                if whole.put(folded, seq) {
                    self.fold_whole(&mut whole);
                }
            } else {
                self.fold_state(folded, seq);
            }
            seq += 1;
        }
        // A basket whose facts are fewer than it said is folded all the same.
        self.fold_whole(&mut whole);
    }

    /// Puts a new SKU into its warehouse's list.
    fn name(&self, sku: SkuIndex) {
        if let Some((warehouse, name)) = self.keys.names(sku) {
            let shelf = self.shelf_or_new(warehouse.as_str());
            shelf.skus.write().insert(name, sku);
        }
    }

    /// As [`View::fold_all`], for one fact.
    pub(crate) fn fold(&self, folded: Folded, seq: u64) {
        self.fold_all(vec![folded], seq);
    }

    fn fold_state(&self, folded: Folded, seq: u64) {
        self.letter(&folded, seq);
        match folded.fold {
            Fold::Sku {
                sku,
                version,
                changes,
                business,
            } if !changes.is_empty() => {
                let new = self.cells.fold(sku, seq, |stock| {
                    evolve(stock, &changes, business, folded.recorded);
                    stock.version = version;
                });
                if new {
                    self.name(sku);
                }
            }
            Fold::Sku { .. } => {}
            Fold::Reservation {
                warehouse, reservation, ..
            } => {
                let id = reservation.id.clone();
                let shelf = self.shelf_or_new(warehouse.as_str());
                if shelf.baskets.write().put(reservation, seq) {
                    self.dirty.lock().reservations.insert((warehouse, id));
                }
            }
            Fold::Warehouse(warehouse) => {
                let id = warehouse.id.clone();
                if self.put_warehouse(*warehouse, seq) {
                    self.dirty.lock().warehouses.insert(id);
                }
            }
            Fold::Catalogue { sku, entry } => {
                if self.put_catalogue(&sku, &entry, seq) {
                    self.dirty.lock().catalogue.insert(sku);
                }
            }
            Fold::DeadLetter { letter, action } => self.settle(letter, &action, folded.recorded, seq),
            Fold::Noted { .. } => {}
        }
    }

    /// Everything up to `seq` is durable and folded.
    pub(crate) fn set_durable(&self, seq: u64) {
        self.durable.fetch_max(seq, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn warehouse_of(&self, fold: &Fold) -> Id {
        match fold {
            Fold::Sku { sku, .. } => self.keys.names(*sku).map_or_else(Id::no_lot, |(warehouse, _)| warehouse),
            Fold::Reservation { warehouse, .. } | Fold::Noted { warehouse } => warehouse.clone(),
            Fold::Warehouse(warehouse) => warehouse.id.clone(),
            Fold::Catalogue { .. } | Fold::DeadLetter { .. } => Id::no_lot(),
        }
    }

    /// Remembers what is to be remembered of facts, of which the first has the sequence `seq`.
    fn remember_all(&self, mut facts: &[Folded], mut seq: u64) {
        while !facts.is_empty() {
            let room = (((seq >> self.generation_bits) + 1) << self.generation_bits) - seq;
            let (these, rest) = facts.split_at(facts.len().min(room as usize));
            // A sealed one remembers by itself.
            if let Some(generation) = self.live.of(seq) {
                generation.remember(these, seq);
                for (folded, seq) in these.iter().zip(seq..) {
                    let why = folded.noted.as_ref().and_then(Why::of);
                    let noted = why.map(|why| (why, self.warehouse_of(&folded.fold)));
                    generation.note(seq, folded.sku(), noted, folded.recorded);
                }
            }
            facts = rest;
            seq += these.len() as u64;
        }
    }

    fn letter(&self, folded: &Folded, seq: u64) {
        let Some(Outcome::DeadLetter { error }) = &folded.noted else {
            return;
        };
        let names = match &folded.fold {
            Fold::Sku { sku, .. } => self.keys.names(*sku),
            _ => None,
        };
        let letter = DeadLetter {
            warehouse: self.warehouse_of(&folded.fold),
            sku: names.map_or_else(Box::default, |(_, sku)| sku.as_str().into()),
            error: error.clone(),
            state: "open".into(),
            recorded: folded.recorded,
        };
        let mut letters = self.letters.write();
        if let std::collections::btree_map::Entry::Vacant(place) = letters.entry(seq) {
            place.insert((letter, seq));
            self.dirty.lock().letters.insert(seq);
        }
    }

    fn settle(&self, letter: u64, action: &str, recorded: Time, seq: u64) {
        let mut letters = self.letters.write();
        if let Some((known, at)) = letters.get_mut(&letter)
            && *at < seq
        {
            known.state = if action == "restored" { "open" } else { action }.into();
            known.recorded = recorded;
            *at = seq;
            self.dirty.lock().letters.insert(letter);
        }
    }

    fn put_warehouse(&self, warehouse: Warehouse, seq: u64) -> bool {
        let mut seqs = self.warehouse_seqs.lock();
        let known = seqs.entry(warehouse.id.clone()).or_default();
        if *known >= seq {
            return false;
        }
        *known = seq;
        let mut all = BTreeMap::clone(&self.warehouses.load());
        all.insert(warehouse.id.clone(), Arc::new(warehouse));
        self.warehouses.store(Arc::new(all));
        true
    }

    /// A removed entry stays as an empty one until the snapshot has forgotten it, so that its sequence is not lost.
    fn put_catalogue(&self, sku: &Id, entry: &str, seq: u64) -> bool {
        let mut catalogue = self.catalogue.write();
        if catalogue.get(sku).is_some_and(|(_, known)| *known >= seq) {
            return false;
        }
        catalogue.insert(sku.clone(), (entry.into(), seq));
        true
    }
}
