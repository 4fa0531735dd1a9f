//! Opening, creating and locking the store; reading facts back from it.
//!
//! One directory holds one store: `LOCK` (whose holder is the only node on it) and `store.redb`. The file is made under another
//! name, synced, renamed, and the directory synced: a power cut while it is being made leaves no half store behind. redb's own
//! lock was not enough: it cannot say who holds it.

mod load;
mod open;
pub(crate) mod overlay;
mod peek;
mod room;
#[cfg(test)]
mod tests;
mod workers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::fact::Fact;
use crate::domain::units::Time;
use parking_lot::Mutex;

use super::append::{Folded, SkuIndex};
use super::backend::Backends;
use super::codec::Stored;
use super::cursor::Cursors;
use super::database::{Handle, parse};
use super::journal::{self, JournalHandle};
use super::keep::Keeper;
use super::opening::{Opening, Stage};
use super::record::Row;
use super::remembered::{GENERATION_BITS, Lookup};
use super::runs::Runs;
use super::tables;
use super::view::View;

pub use super::database::ReadError;
pub use open::OpenError;
#[cfg(test)]
pub(crate) use open::{Place, create};
pub(crate) use open::{initialise, lock};
pub(crate) use peek::refuse_newer;
pub use peek::{Peek, peek};

/// The store's file within its directory.
pub const FILE: &str = "store.redb";

/// Bytes of journal rows in one page of facts: a thousand of the usual ones, or a few large dead letters.
const PAGE_BYTES: usize = 8 << 20;

/// The version of the whole format that this node writes.
pub const FORMAT: u64 = 2;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of redb's page cache.
    pub cache_bytes: usize,
    /// The most (warehouse, SKU) pairs.
    pub max_skus: usize,
    /// Milliseconds for which ids are remembered, and ended reservations and settled dead letters kept.
    pub id_window_ms: i64,
    /// Milliseconds for which the journal is kept.
    pub history_ms: i64,
    /// Facts in one generation, as a power of two; only of a new store, and only tests have a reason to change it.
    pub generation_bits: u32,
    /// What one transaction may hold.
    pub limits: journal::Limits,
    /// A file up to so many bytes is checked page by page when it is opened, whoever closed it: about a second. A larger one only
    /// after a crash, and by `shelfd verify`.
    pub check_bytes: u64,
    /// Free bytes of the disk below which [`Store::is_short_of_room`]; 0: none.
    pub reserve_bytes: u64,
    /// Told how far the opening is.
    pub opening: Arc<Opening>,
}

const DAY_MS: i64 = 86_400_000;

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 4 << 20,
            max_skus: 1_000_000,
            id_window_ms: 7 * DAY_MS,
            history_ms: 400 * DAY_MS,
            generation_bits: GENERATION_BITS,
            limits: journal::Limits::default(),
            check_bytes: 256 << 20,
            reserve_bytes: 0,
            opening: Arc::default(),
        }
    }
}

/// What the journal's thread, the readers and the background steps share.
pub(crate) struct Shared {
    pub(crate) database: Handle,
    pub(crate) view: View,
    pub(crate) runs: Runs,
    pub(crate) options: Options,
    pub(crate) cursors: Cursors,
    pub(crate) generation_bits: u32,
    /// Everything up to this sequence is in snapshot rows.
    snapshot_floor: AtomicU64,
    /// The oldest sequence that the journal holds.
    journal_floor: AtomicU64,
}

/// A row of the journal on its way into the view.
enum Page {
    /// As it was read; of its facts those from the sequence on.
    Read(Row, u64),
    /// What each of those facts does to the view, with the sequence after the last.
    Described(u64, Result<Vec<Folded>, ReadError>),
}

impl Page {
    fn described(self, view: &View) -> (u64, Result<Vec<Folded>, ReadError>) {
        match self {
            Page::Read(row, from) => {
                let facts: Result<Vec<_>, _> = row.for_fold_from(from).collect();
                let facts = facts.map_err(|corrupt| damaged(row.header.first_seq, &corrupt));
                (row.end_seq(), facts.map(|facts| view.folded_all(facts)))
            }
            Page::Described(next, facts) => (next, facts),
        }
    }
}

/// Rows read in one transaction while replaying.
const ROWS_A_PAGE: usize = 256;

impl Shared {
    /// Folds the journal from `from` to its end into the view. Says how many facts were read.
    pub(crate) fn replay(&self, from: u64) -> Result<u64, ReadError> {
        let mut count = 0;
        let mut end = from.max(1);
        let opening = &self.options.opening;
        // A row that cannot be read is told of in its turn.
        let last = self.database.last_seq().unwrap_or(0);
        opening.begin(Stage::Journal, (last + 1).saturating_sub(end));
        // One thread reads, this one folds, and whoever is ahead decodes: a fact's place is its place in the journal.
        let read = |send: &mut dyn FnMut(Page) -> bool| self.read_all(from.max(1), &mut |row, next| send(Page::Read(row, next)));
        let help = |page: Page| {
            let (next, facts) = page.described(&self.view);
            Page::Described(next, facts)
        };
        workers::ahead(read, help, |page| {
            let (next, facts) = page.described(&self.view);
            let facts = facts?;
            let many = facts.len() as u64;
            self.view.fold_all(facts, next - many);
            count += many;
            end = next;
            opening.advance(many);
            Ok(())
        })?;
        self.view.set_durable(end - 1);
        Ok(count)
    }

    /// Reads the journal from `next` to its end: each row, with the sequence from which on its facts are wanted, until nobody wants
    /// more.
    fn read_all(&self, mut next: u64, send: &mut dyn FnMut(Row, u64) -> bool) -> Result<(), ReadError> {
        while let Some(first) = self.database.row_at_or_after(next)? {
            for (key, bytes) in self.page(first.header.first_seq)? {
                let row = parse(key, bytes)?;
                if key > next {
                    return Err(damaged(
                        key,
                        &format!("the facts {next} to {} before it are missing", key - 1),
                    ));
                }
                let end = row.end_seq();
                if end <= next {
                    return Err(damaged(key, &"it is not in order"));
                }
                if !send(row, next) {
                    return Ok(());
                }
                next = end;
            }
        }
        Ok(())
    }

    pub(crate) fn snapshot_floor(&self) -> u64 {
        self.snapshot_floor.load(Ordering::Acquire)
    }

    pub(crate) fn set_snapshot_floor(&self, seq: u64) {
        self.snapshot_floor.store(seq, Ordering::Release);
    }

    pub(crate) fn journal_floor(&self) -> u64 {
        self.journal_floor.load(Ordering::Acquire)
    }

    pub(crate) fn set_journal_floor(&self, seq: u64) {
        self.journal_floor.store(seq, Ordering::Release);
        self.database.forget_rows();
    }

    /// Raw rows of the journal from a key on.
    pub(crate) fn page(&self, from: u64) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let mut page = Vec::new();
            for row in table.range(from..)?.take(ROWS_A_PAGE) {
                let (key, value) = row?;
                page.push((key.value(), value.value().to_vec()));
            }
            Ok(page)
        })
    }

    /// The newest fact below a sequence that has this hash.
    pub(crate) fn newest_below(&self, hash: u64, below: u64) -> Result<Option<u64>, ReadError> {
        self.found(hash, below, || self.runs.newest(&self.database, hash, below))
    }

    fn found(
        &self,
        hash: u64,
        below: u64,
        sealed: impl FnOnce() -> Result<Option<u64>, ReadError>,
    ) -> Result<Option<u64>, ReadError> {
        let live = self.view.live.load();
        match live.iter().rev().find_map(|generation| generation.lookup(hash, below)) {
            None => sealed(),
            found => Ok(found),
        }
    }

    /// One fact, with what is remembered of it.
    pub(crate) fn stored(&self, seq: u64) -> Result<Option<Stored>, ReadError> {
        if seq < self.journal_floor() || seq > self.view.durable_seq() {
            return Ok(None);
        }
        let row = self.database.row_at_or_after(seq)?;
        let stored = row.and_then(|row| row.stored(seq));
        stored.transpose().map_err(|corrupt| damaged(seq, &corrupt))
    }
}

pub(crate) fn damaged(key: u64, why: &dyn std::fmt::Display) -> ReadError {
    ReadError::Damaged {
        table: "journal",
        key: key.to_string(),
        why: why.to_string(),
    }
}

/// The open store of a node.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    journal: JournalHandle,
    running: Mutex<Option<journal::Running>>,
    path: PathBuf,
    room: room::Room,
    /// Released when the process ends, however it ends.
    _lock: Option<std::fs::File>,
}

impl Store {
    /// Opens the store in a directory, which it makes when its parent is there; folds the journal into the view and starts the
    /// journal's thread. Refuses a directory that another node uses, a newer format and a damaged file, each by name.
    pub fn open(directory: &Path, options: Options) -> Result<Store, OpenError> {
        open::directory(directory, options)
    }

    /// As [`Store::open`], on whatever the factory makes, without a lock: for tests that fail the disk on purpose.
    pub fn open_with(backends: Backends, options: Options) -> Result<Store, OpenError> {
        open::with(backends, options, Path::new("(memory)"), None)
    }

    /// The committed state.
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the journal's thread runs. It heals a failing disk by itself; only a defect, or [`Store::close`], ends it.
    pub fn journal_runs(&self) -> bool {
        self.running.lock().as_ref().is_some_and(|running| !running.is_finished())
    }

    /// When the newest fact was recorded; `None` in an empty journal. The node's clock starts no earlier.
    pub fn newest_recorded(&self) -> Result<Option<Time>, ReadError> {
        Ok(self.fact(self.view().durable_seq())?.map(|fact| fact.recorded))
    }

    /// The journal.
    pub fn journal(&self) -> &JournalHandle {
        &self.journal
    }

    /// A random name of this store, made with it: another store counts its facts anew, under another name.
    pub fn id(&self) -> Result<String, ReadError> {
        use std::fmt::Write;
        let id = self.shared.database.read(|transaction| {
            let table = transaction.open_table(tables::META)?;
            Ok(table.get(tables::meta::STORE_ID)?.map(|id| id.value().to_vec()))
        })?;
        let mut text = String::new();
        for byte in id.unwrap_or_default().iter().take(4) {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the disk has less free space than is kept in reserve: nothing new should be taken.
    pub fn is_short_of_room(&self) -> bool {
        self.room.is_short(&self.path)
    }

    /// A fact that has this hash (of `remembered::hash` or `remembered::voided_hash`), where one is likeliest to be found. For
    /// an event's id use [`Store::known`], which compares the texts.
    pub fn lookup(&self, hash: u64) -> Result<Lookup, ReadError> {
        let sealed = || self.shared.runs.any(&self.shared.database, hash);
        Ok(self.shared.found(hash, u64::MAX, sealed)?.map_or(Lookup::New, Lookup::At))
    }

    /// The newest fact below a sequence that has this hash.
    pub(crate) fn lookup_below(&self, hash: u64, below: u64) -> Result<Lookup, ReadError> {
        Ok(self.shared.newest_below(hash, below)?.map_or(Lookup::New, Lookup::At))
    }

    /// One fact; `None` when there is none of that sequence (yet, or any more).
    pub fn fact(&self, seq: u64) -> Result<Option<Fact>, ReadError> {
        Ok(self.shared.stored(seq)?.map(|stored| stored.fact))
    }

    /// The oldest sequence that the journal still holds; facts below it are folded into opening balances.
    pub fn floor(&self) -> u64 {
        self.shared.journal_floor()
    }

    /// Rows that were read from disk to answer whether an id is known: for metrics.
    pub fn id_reads(&self) -> u64 {
        self.shared.runs.id_reads.load(Ordering::Relaxed)
    }

    /// Bytes that the filters of remembered ids take.
    pub fn filter_bytes(&self) -> usize {
        self.shared.runs.filter_bytes()
    }

    /// The background steps over this store: see [`Keeper`]. There must be only one at a time.
    pub fn keeper(&self) -> Keeper {
        Keeper::new(Arc::clone(&self.shared), self.journal.clone())
    }

    /// Up to `limit` durable facts from a sequence on, oldest first; fewer, but at least one where there is one, when they are large:
    /// a dead letter is as large as the message that it keeps.
    pub fn facts(&self, from: u64, limit: usize) -> Result<Vec<Fact>, ReadError> {
        let floor = self.floor();
        if from.max(1) < floor {
            return Err(ReadError::HistoryGone { floor });
        }
        let end = self.shared.view.durable_seq() + 1;
        let mut facts = Vec::new();
        let mut next = from.max(1);
        let mut bytes = 0;
        while next < end && facts.len() < limit && bytes < PAGE_BYTES {
            let Some(row) = self.shared.database.row_at_or_after(next)? else {
                break;
            };
            for stored in row.stored_from(next).take(limit - facts.len()) {
                facts.push(stored.map_err(|corrupt| damaged(row.header.first_seq, &corrupt))?.fact);
            }
            bytes += row.size_bytes();
            next = row.end_seq();
        }
        facts.retain(|fact| fact.seq < end);
        Ok(facts)
    }

    /// The SKUs that durable facts have changed from a sequence on, each with its version after the fact, oldest first; and the sequence
    /// after the last fact that was looked at. Of whole rows: of a few more facts than `limit`.
    pub fn touched(&self, from: u64, limit: usize) -> Result<(Vec<(SkuIndex, u64)>, u64), ReadError> {
        let floor = self.floor();
        if from.max(1) < floor {
            return Err(ReadError::HistoryGone { floor });
        }
        let (view, mut next) = (&self.shared.view, from.max(1));
        let (end, enough) = (view.durable_seq() + 1, next.saturating_add(limit as u64));
        let mut touched = Vec::new();
        while next < end.min(enough) {
            let Some(row) = self.shared.database.row_at_or_after(next)? else {
                break;
            };
            for touch in row.touched_in(next..end) {
                let touch = touch.map_err(|corrupt| damaged(row.header.first_seq, &corrupt))?;
                if let Some(index) = view.keys().find(touch.warehouse, touch.sku) {
                    touched.push((index, touch.version));
                }
            }
            // What is on the disk and not in the view yet is not to be seen.
            next = row.end_seq().min(end);
        }
        Ok((touched, next))
    }

    /// Ends the journal's thread after all that was handed over, and closes the file. Idempotent.
    pub fn close(&self) {
        self.journal.shutdown();
        if let Some(running) = self.running.lock().take() {
            running.join();
        }
        self.shared.database.leave();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
