//! Reads what can be read of a store that redb refuses to open: the journal's rows, each of which has a checksum of its own.
//!
//! redb opens a file for reading alone without looking at its pages, if the file says that it was closed; so that is what it is
//! told. Reading redb's pages by ourselves was rejected: it would be a second implementation of somebody else's format.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    BackendError, Builder, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, TableError,
};

use super::backend::Backends;
use super::database::{Handle, ReadError};
use super::tables::{self, meta};

/// Rows with their keys.
pub(crate) type Page = Vec<(u64, Vec<u8>)>;

/// Rows read at a time.
const ROWS_A_PAGE: usize = 256;

/// A page of the journal's rows from a key on, oldest first.
pub(crate) fn page(transaction: &ReadTransaction, from: u64) -> Result<Page, redb::Error> {
    let table = transaction.open_table(tables::JOURNAL)?;
    let mut page = Vec::new();
    for row in table.range(from..)?.take(ROWS_A_PAGE) {
        let (key, value) = row?;
        page.push((key.value(), value.value().to_vec()));
    }
    Ok(page)
}

/// A file that may be damaged, open for reading.
pub(crate) struct Salvage(ReadOnlyDatabase);

impl Salvage {
    /// Opens what the factory makes; `None` when not even its beginning can be read.
    pub(crate) fn of(backends: &Backends) -> Option<Salvage> {
        let file = backends.open().ok()?;
        let open = || Builder::new().open_read_only_with_backend(Closed(file));
        let opened = catch_unwind(AssertUnwindSafe(open)).ok()?;
        opened.ok().map(Salvage)
    }
}

/// Something from which rows can be read.
pub(crate) trait Reads {
    /// One short read, which answers with an error whatever happens.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, ReadError>;
}

impl Reads for Handle {
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, ReadError> {
        Handle::read(self, read)
    }
}

impl Reads for Salvage {
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, ReadError> {
        let read = catch_unwind(AssertUnwindSafe(|| read(&self.0.begin_read()?)));
        let read = read.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())));
        Ok(read?)
    }
}

/// What a store says of itself, as far as it can be read.
pub(crate) struct About {
    pub(crate) format: u64,
    pub(crate) generation_bits: u32,
    pub(crate) journal_floor: u64,
    pub(crate) snapshot_floor: u64,
    /// How many rows the journal had when it was last written; `None`: that cannot be read.
    pub(crate) journal_rows: Option<u64>,
    /// The newest fact that anything derived speaks of.
    pub(crate) newest_known: u64,
    /// Its random name.
    pub(crate) store_id: Vec<u8>,
    /// The rows of `meta` that say how far followers have come.
    pub(crate) followers: Vec<(String, Vec<u8>)>,
    /// How far each partition of a broker has been taken.
    pub(crate) positions: Vec<(String, i32, Vec<u8>)>,
}

/// What the store says of itself. An error when that cannot be read, or is not what a store says.
pub(crate) fn about(source: &impl Reads) -> Result<About, ReadError> {
    let meta = source.read(|transaction| {
        let table = transaction.open_table(tables::META)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(rows)
    })?;
    let value = |name: &str| meta.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let number = |name: &str| value(name).and_then(|value| value.try_into().ok().map(u64::from_le_bytes));
    let followers = meta.iter().filter(|(key, _)| is_follower(key));
    let followers = followers.filter_map(|(_, value)| value.as_slice().try_into().ok().map(u64::from_le_bytes));
    let newest_known = followers.chain(number(meta::SNAPSHOT_FLOOR)).max().unwrap_or(0);
    let missing = |what: &str| ReadError::Damaged {
        table: "meta",
        key: what.to_owned(),
        why: "it is not there, or not what a store has there".to_owned(),
    };
    let bits = number(meta::GENERATION_BITS).filter(|bits| (4..=24).contains(bits));
    let id = value(meta::STORE_ID).filter(|id| id.len() == 16);
    Ok(About {
        format: number(meta::FORMAT)
            .filter(|format| *format > 0)
            .ok_or_else(|| missing(meta::FORMAT))?,
        generation_bits: bits.ok_or_else(|| missing(meta::GENERATION_BITS))? as u32,
        journal_floor: number(meta::JOURNAL_FLOOR).unwrap_or(1),
        snapshot_floor: number(meta::SNAPSHOT_FLOOR).unwrap_or(0),
        journal_rows: source
            .read(|transaction| Ok(transaction.open_table(tables::JOURNAL)?.len()?))
            .ok(),
        newest_known,
        store_id: id.ok_or_else(|| missing(meta::STORE_ID))?,
        followers: meta.into_iter().filter(|(key, _)| is_follower(key)).collect(),
        positions: source.read(positions).unwrap_or_default(),
    })
}

/// Whether a row of `meta` says how far somebody has come.
fn is_follower(name: &str) -> bool {
    name.starts_with(&meta::cursor("")) || name.starts_with(&meta::told(""))
}

/// The places of brokers, where any were written.
fn positions(transaction: &ReadTransaction) -> Result<Vec<(String, i32, Vec<u8>)>, redb::Error> {
    let table = match transaction.open_table(tables::POSITION) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut found = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let (topic, partition) = key.value();
        found.push((topic.to_owned(), partition, value.value().to_vec()));
    }
    Ok(found)
}

/// The byte of redb's header in which a bit says that the file was not closed (redb, docs/design.md, "God byte").
const STATE_BYTE: u64 = 9;
const NOT_CLOSED: u8 = 2;

/// A file that says it was closed, and cannot be written.
#[derive(Debug)]
struct Closed(Box<dyn StorageBackend>);

impl StorageBackend for Closed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)?;
        let place = STATE_BYTE.checked_sub(offset).and_then(|place| out.get_mut(place as usize));
        if let Some(state) = place {
            *state &= !NOT_CLOSED;
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
