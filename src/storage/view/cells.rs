//! The committed state of every SKU, by index: written by the journal's thread alone, read by anybody.
//!
//! A reader locks one of 64 shards for as long as it looks at one SKU, and the journal's thread for as long as it folds one
//! fact, or of one basket: nobody waits for a commit. A persistent map was rejected: it copies on every fact what a lock of 50 ns protects.

use parking_lot::{RwLock, RwLockWriteGuard};
use smallvec::SmallVec;

use crate::domain::stock::{Book, Stock};
use crate::planted::{self, Bug};
use crate::storage::append::SkuIndex;

const SHARDS: usize = 64;

/// A SKU's state, the last fact in it, and how much of it the snapshot rows have.
struct Cell {
    stock: Stock,
    seq: u64,
    saved: u64,
}

type Slots = Vec<Option<Box<Cell>>>;
type Shard = RwLock<Slots>;

/// All cells, sharded by index.
pub(crate) struct Cells {
    shards: Box<[Shard]>,
}

/// Some shards that nobody else can look at; in the order of their numbers.
pub(crate) struct Locked<'a> {
    shards: Vec<(usize, RwLockWriteGuard<'a, Slots>)>,
}

impl Locked<'_> {
    /// As [`Cells::fold`], for one of the SKUs that were named.
    pub(crate) fn fold(&mut self, index: SkuIndex, seq: u64, change: impl FnOnce(&mut Stock)) -> bool {
        let (shard, at) = (index.0 as usize % SHARDS, index.0 as usize / SHARDS);
        let place = self.shards.binary_search_by_key(&shard, |(number, _)| *number);
        let place = place.expect("a SKU is folded under the lock that was taken for it");
        fold(&mut self.shards[place].1, at, seq, change)
    }
}

fn fold(shard: &mut Slots, at: usize, seq: u64, change: impl FnOnce(&mut Stock)) -> bool {
    if shard.len() <= at {
        shard.resize_with(at + 1, || None);
    }
    let new = shard[at].is_none();
    let cell = shard[at].get_or_insert_with(|| {
        Box::new(Cell {
            stock: Stock::default(),
            seq: 0,
            saved: 0,
        })
    });
    if seq > cell.seq || planted::is(Bug::FoldedTwice) {
        change(&mut cell.stock);
        cell.seq = seq;
    }
    new
}

impl Cells {
    pub(crate) fn new() -> Cells {
        Cells {
            shards: (0..SHARDS).map(|_| RwLock::new(Vec::new())).collect(),
        }
    }

    /// Makes room for so many SKUs.
    pub(crate) fn reserve(&self, skus: usize) {
        for shard in &self.shards {
            shard.write().reserve(skus / SHARDS + 1);
        }
    }

    fn place(&self, index: SkuIndex) -> (&Shard, usize) {
        let index = index.0 as usize;
        (&self.shards[index % SHARDS], index / SHARDS)
    }

    pub(crate) fn read<R>(&self, index: SkuIndex, look: impl FnOnce(Option<&Stock>, u64) -> R) -> R {
        let (shard, at) = self.place(index);
        let shard = shard.read();
        match shard.get(at).and_then(Option::as_deref) {
            Some(cell) => look(Some(&cell.stock), cell.seq),
            None => look(None, 0),
        }
    }

    /// Has the processor fetch what the next facts of some SKUs will change, many at a time: between the locks of one fold after the
    /// other it waits for each line of memory. Changes nothing.
    pub(crate) fn bring(&self, skus: impl Iterator<Item = SkuIndex>) {
        self.bring_with(skus, |book| book.newest().map_or(0, |newest| newest.0 as u64));
    }

    /// As [`Cells::bring`], for whoever is to copy their states.
    pub(crate) fn bring_to_copy(&self, skus: impl Iterator<Item = SkuIndex>) {
        self.bring_with(skus, Book::glance);
    }

    fn bring_with(&self, skus: impl Iterator<Item = SkuIndex>, look: impl Fn(&Book) -> u64) {
        let shards: SmallVec<[_; SHARDS]> = self.shards.iter().map(|shard| shard.read()).collect();
        let cell = |sku: SkuIndex| shards[sku.0 as usize % SHARDS].get(sku.0 as usize / SHARDS)?.as_deref();
        let cells: Vec<&Cell> = skus.filter_map(cell).collect();
        let seen = cells.iter().fold(0, |seen, cell| seen ^ cell.seq ^ cell.stock.glance());
        std::hint::black_box(cells.iter().fold(seen, |seen, cell| seen ^ look(&cell.stock.book)));
    }

    /// Changes a SKU by the fact `seq`, unless that fact is in it already. Says whether the SKU is new.
    pub(crate) fn fold(&self, index: SkuIndex, seq: u64, change: impl FnOnce(&mut Stock)) -> bool {
        let (shard, at) = self.place(index);
        fold(&mut shard.write(), at, seq, change)
    }

    /// Keeps every reader away from some SKUs until what is given back is gone.
    pub(crate) fn lock(&self, skus: impl Iterator<Item = SkuIndex>) -> Locked<'_> {
        let mut shards: Vec<usize> = skus.map(|sku| sku.0 as usize % SHARDS).collect();
        shards.sort_unstable();
        shards.dedup();
        let shards = shards.into_iter().map(|shard| (shard, self.shards[shard].write()));
        Locked {
            shards: shards.collect(),
        }
    }

    /// Puts SKUs as rows of a snapshot have them, each as of the fact with that sequence.
    pub(crate) fn restore(&self, skus: impl Iterator<Item = (SkuIndex, Stock, u64)>) {
        let cell = |(index, stock, seq)| (index, Box::new(Cell { stock, seq, saved: seq }));
        let mut cells: Vec<(SkuIndex, Box<Cell>)> = skus.map(cell).collect();
        let shard_of = |index: &SkuIndex| index.0 as usize % SHARDS;
        cells.sort_unstable_by_key(|(index, _)| (shard_of(index), *index));
        let mut cells = cells.into_iter().peekable();
        while let Some((index, _)) = cells.peek() {
            let number = shard_of(index);
            let mut shard = self.shards[number].write();
            while let Some((index, cell)) = cells.next_if(|(index, _)| shard_of(index) == number) {
                let at = index.0 as usize / SHARDS;
                if shard.len() <= at {
                    shard.resize_with(at + 1, || None);
                }
                shard[at] = Some(cell);
            }
        }
    }

    /// The state of a SKU that has changed since it was last saved.
    pub(crate) fn unsaved<R>(&self, index: SkuIndex, look: impl FnOnce(&Stock, u64) -> R) -> Option<R> {
        let (shard, at) = self.place(index);
        let shard = shard.read();
        let cell = shard.get(at)?.as_deref()?;
        (cell.seq > cell.saved).then(|| look(&cell.stock, cell.seq))
    }

    /// A snapshot row up to `seq` is durable.
    pub(crate) fn saved(&self, index: SkuIndex, seq: u64) {
        let (shard, at) = self.place(index);
        if let Some(Some(cell)) = shard.write().get_mut(at) {
            cell.saved = cell.saved.max(seq);
        }
    }
}
