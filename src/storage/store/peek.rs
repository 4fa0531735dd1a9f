//! A look into a store without opening it for writing: whether a start would take it, and what it says of itself.
//!
//! Nothing is changed, not even by a repair. Opening it as a node does was rejected: that mends what a power cut left, migrates, and
//! writes into `LOCK`, and who only asks wants none of that.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, DatabaseError, ReadableDatabase};
use rustix::fs::{FlockOperation, flock};

use crate::storage::tables::{self, meta};

use super::open::{self, OpenError};
use super::{FILE, FORMAT, overlay};

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// The file's size in bytes.
    pub bytes: u64,
    /// Its format.
    pub format: u64,
    /// Whether the last node closed it; after a power cut or `kill -9` the next start mends it first.
    pub closed: bool,
}

/// Looks into the store of a directory; `None` when there is none yet. While a node runs on it, says which: a store in use is not
/// looked into.
pub fn peek(directory: &Path) -> Result<Option<Peek>, OpenError> {
    let file = directory.join(FILE);
    let bytes = match fs::metadata(&file) {
        Ok(found) => found.len(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(OpenError::io(&file, error)),
    };
    // Held until the look is over, so that no node begins to write meanwhile.
    let _held = match File::open(directory.join("LOCK")) {
        Ok(mut lock) => {
            if flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
                return Err(open::in_use(directory, &mut lock));
            }
            Some(lock)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(OpenError::io(directory, error)),
    };
    let damaged = |error| OpenError::redb(&file, error);
    let (format, closed) = match read(&file, |file| Builder::new().open_read_only(file)) {
        // It has to be mended before it can be read; in memory.
        Err(redb::Error::RepairAborted) => (read(&file, overlay::open).map_err(damaged)?, false),
        read => (read.map_err(damaged)?, true),
    };
    match format {
        0 => Err(OpenError::Damaged {
            path: file,
            detail: "it has no format number of any version".into(),
        }),
        found if found > FORMAT => Err(newer(&file, found)),
        format => Ok(Some(Peek { bytes, format, closed })),
    }
}

/// Refuses a store of a newer format before anything is opened for writing, so that the newer node finds it as it was.
pub(crate) fn refuse_newer(file: &Path) -> Result<(), OpenError> {
    match read(file, |file| Builder::new().open_read_only(file)) {
        Ok(found) if found > FORMAT => Err(newer(file, found)),
        // Whatever else is wrong is told by whoever opens it.
        _ => Ok(()),
    }
}

fn newer(file: &Path, found: u64) -> OpenError {
    OpenError::Newer {
        path: file.to_owned(),
        found,
        known: FORMAT,
    }
}

/// The format number, 0 without one, of what `open` opens.
fn read<D: ReadableDatabase>(file: &Path, open: impl FnOnce(&Path) -> Result<D, DatabaseError>) -> Result<u64, redb::Error> {
    // redb asserts in debug builds where it answers `Corrupted` in release builds.
    let read = catch_unwind(AssertUnwindSafe(|| {
        // It closes when it is dropped, whoever reads from it.
        let database = open(file)?;
        let transaction = database.begin_read()?;
        let table = transaction.open_table(tables::META)?;
        let value = table.get(meta::FORMAT)?;
        let number = value.and_then(|value| value.value().try_into().ok().map(u64::from_le_bytes));
        Ok(number.unwrap_or(0))
    }));
    read.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())))
}
