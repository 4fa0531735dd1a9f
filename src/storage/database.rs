//! The open redb database, which may be closed and opened again under everybody who reads it.
//!
//! After a failed write redb wants to be reopened. Every read goes through [`Handle::read`] and holds the database only for
//! one page, so that the journal's thread can take it away, and gives it back, without anybody noticing more than a pause.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend};

use crate::planted::{self, Bug};

use super::append::CommitFailure;
use super::backend::{Backend, Backends, Unsynced};
use super::opening::Opening;
use super::record::Row;
use super::tables;

/// Why something durable could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store is being reopened after a failure; what is in memory can still be read.
    #[error("the store is being reopened after a disk failure; try again in a second")]
    Unavailable,
    /// The disk or redb failed.
    #[error("the store cannot be read: {0}")]
    Disk(String),
    /// A row is damaged.
    #[error("{table} row {key} is damaged: {why}; stop the node and run `shelfd verify`")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key, as text.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A page of redb's is damaged, and with it rows of some table.
    #[error("the store's pages are damaged: {0}; stop the node and run `shelfd verify`")]
    Pages(String),
    /// The journal no longer reaches back that far.
    #[error("the journal begins at {floor}: what was before is folded into the opening balance")]
    HistoryGone {
        /// The oldest sequence that is retained.
        floor: u64,
    },
}

impl From<redb::Error> for ReadError {
    fn from(error: redb::Error) -> ReadError {
        match is_damaged(&error) {
            true => ReadError::Pages(error.to_string()),
            false => ReadError::Disk(error.to_string()),
        }
    }
}

/// Says what a failed write means to those who wait for it.
pub(crate) fn failure_of(error: &redb::Error) -> CommitFailure {
    match error {
        redb::Error::Io(error) if is_full(error) => CommitFailure::StorageFull,
        other => CommitFailure::Disk(other.to_string()),
    }
}

/// Whether an error says that there is no room left: on the disk, in the quota, or under the size limit.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

const ROWS_CACHED: usize = 16;

/// The database, or the place where it will be again.
pub(crate) struct Handle {
    open: RwLock<Option<Arc<Database>>>,
    /// Taken away, but still read by somebody.
    leaving: Mutex<Option<Arc<Database>>>,
    backends: Backends,
    cache_bytes: usize,
    /// Files up to so many bytes are checked page by page whenever they are opened.
    check_bytes: u64,
    unsynced: Arc<Unsynced>,
    /// Who waits for its file to be checked.
    opening: Arc<Opening>,
    /// Told when a read has failed: redb then refuses everything until it is opened anew.
    failed: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
    /// How often it has been opened, and at which of these openings that was told last.
    openings: AtomicU64,
    told: AtomicU64,
    /// The rows read last: files sent twice come in order, and a page of a ledger has neighbours.
    rows: Mutex<Vec<Arc<Row>>>,
}

impl Handle {
    pub(crate) fn new(backends: Backends, cache_bytes: usize, check_bytes: u64) -> Handle {
        Handle {
            open: RwLock::new(None),
            leaving: Mutex::new(None),
            backends,
            cache_bytes,
            check_bytes,
            unsynced: Arc::default(),
            opening: Arc::default(),
            failed: OnceLock::new(),
            openings: AtomicU64::new(0),
            told: AtomicU64::new(0),
            rows: Mutex::new(Vec::new()),
        }
    }

    /// Tells these how far the checking of its file is.
    pub(crate) fn telling(self, opening: Arc<Opening>) -> Handle {
        Handle { opening, ..self }
    }

    /// Who is told of reads that failed, once for each opening, and of which; the first who says so.
    pub(crate) fn on_failure(&self, tell: Box<dyn Fn(u64) + Send + Sync>) {
        let _ = self.failed.set(tell);
    }

    /// Which opening this is.
    pub(crate) fn opening(&self) -> u64 {
        self.openings.load(Ordering::Acquire)
    }

    /// Opens the database; what was open before must have been [`Handle::leave`]d.
    pub(crate) fn open(&self) -> Result<(), redb::Error> {
        let mut leaving = self.leaving.lock();
        if leaving.as_ref().is_some_and(|old| Arc::strong_count(old) > 1) {
            return Err(redb::Error::DatabaseAlreadyOpen);
        }
        *leaving = None;
        let backend = Backend::again(&self.backends, &self.unsynced).map_err(redb::Error::Io)?;
        let checked = backend.len().map_err(redb::Error::Io)? <= self.check_bytes && !planted::is(Bug::PagesUnchecked);
        // redb asserts in debug builds where it answers `Corrupted` in release builds; a damaged file must not end the process.
        let opening = Arc::clone(&self.opening);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Builder::new()
                .set_repair_callback(move |repair| opening.checked(repair.progress()))
                .set_cache_size(self.cache_bytes)
                .set_check_integrity_on_open(checked)
                .create_with_backend(backend)
        }));
        let database = match opened {
            Ok(database) => database?,
            Err(_) => return Err(redb::Error::Corrupted("its pages contradict each other".into())),
        };
        self.openings.fetch_add(1, Ordering::AcqRel);
        *self.open.write() = Some(Arc::new(database));
        Ok(())
    }

    /// Takes the database away; it is closed when its last reader has finished.
    pub(crate) fn leave(&self) {
        let mut leaving = self.leaving.lock();
        if let Some(open) = self.open.write().take() {
            *leaving = Some(open);
        }
        drop(leaving);
        // What was read while a commit was in doubt may not be there any more.
        self.forget_rows();
    }

    /// The database, for the journal's thread.
    pub(crate) fn get(&self) -> Option<Arc<Database>> {
        self.open.read().clone()
    }

    /// One short read transaction. Long reads must be paged: a transaction held open makes the file grow.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, ReadError> {
        let opening = self.opening();
        let database = self.get().ok_or(ReadError::Unavailable)?;
        // redb trusts what it reads, and panics at a page that is damaged.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let transaction = database.begin_read()?;
            read(&transaction)
        }));
        let read = read.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())));
        if let Err(error) = &read
            && matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
            && self.told.swap(opening, Ordering::AcqRel) != opening
            && let Some(tell) = self.failed.get()
        {
            tell(opening);
        }
        Ok(read?)
    }

    /// The row of the journal that has the fact `seq`, or the next one after it; `None` past the end.
    pub(crate) fn row_at_or_after(&self, seq: u64) -> Result<Option<Arc<Row>>, ReadError> {
        if let Some(row) = self.cached(seq) {
            return Ok(Some(row));
        }
        let found = self.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let mut candidates = Vec::new();
            if let Some(before) = table.range(..=seq)?.next_back() {
                let (key, value) = before?;
                candidates.push((key.value(), value.value().to_vec()));
            }
            if let Some(after) = table.range(seq..)?.next() {
                let (key, value) = after?;
                candidates.push((key.value(), value.value().to_vec()));
            }
            Ok(candidates)
        })?;
        for (key, bytes) in found {
            let row = parse(key, bytes)?;
            if row.end_seq() > seq {
                let row = Arc::new(row);
                let mut rows = self.rows.lock();
                if rows.len() == ROWS_CACHED {
                    rows.remove(0);
                }
                rows.push(Arc::clone(&row));
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn cached(&self, seq: u64) -> Option<Arc<Row>> {
        let rows = self.rows.lock();
        let has = |row: &&Arc<Row>| row.header.first_seq <= seq && seq < row.end_seq();
        rows.iter().rev().find(has).cloned()
    }

    /// Forgets rows that may have been dropped from the journal.
    pub(crate) fn forget_rows(&self) {
        self.rows.lock().clear();
    }

    /// The sequence of the newest fact in the journal; 0: none.
    pub(crate) fn last_seq(&self) -> Result<u64, ReadError> {
        let last = self.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let last = table.last()?;
            Ok(last.map(|(key, value)| (key.value(), value.value().to_vec())))
        })?;
        last.map_or(Ok(0), |(key, bytes)| parse(key, bytes).map(|row| row.end_seq() - 1))
    }

    /// A number of the table `meta`; `None` when it was never written.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ReadError> {
        self.read(|transaction| {
            let table = transaction.open_table(tables::META)?;
            let value = table.get(name)?;
            Ok(value.and_then(|value| value.value().try_into().ok().map(u64::from_le_bytes)))
        })
    }
}

/// Checks a row that was read, and that it stands under its own sequence.
pub(crate) fn parse(key: u64, bytes: Vec<u8>) -> Result<Row, ReadError> {
    let damaged = |why: String| ReadError::Damaged {
        table: "journal",
        key: key.to_string(),
        why,
    };
    let row = Row::parse(bytes).map_err(|bad| damaged(bad.to_string()))?;
    if row.header.first_seq == key {
        Ok(row)
    } else {
        Err(damaged(format!("it says that it begins at {}", row.header.first_seq)))
    }
}

/// Whether opening failed because the file is no store, or no longer one.
pub(crate) fn is_damaged(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
        ),
        redb::Error::Corrupted(_)
        | redb::Error::RepairAborted
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. } => true,
        _ => false,
    }
}
