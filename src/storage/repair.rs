//! Makes a damaged store anew from its journal: snapshot rows, remembered ids, the ledger's index, the list of what was ignored.
//!
//! The new store is made beside the old one, verified, and only then given its name; the damaged file stays beside it, untouched. So
//! a repair that fails, or that the power cuts short, changes nothing. Mending the file in place was rejected: whoever mends what he
//! does not understand makes it worse, and there would be no way back.
//!
//! What is not in the journal cannot be made from it: opening balances that older facts have been folded into. They are taken over
//! when redb's checks of its pages found nothing; otherwise the repair says so and does nothing.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, Key, TableDefinition, TableError};

use crate::domain::units::Time;

use super::backend::{self, Backend};
use super::database::{Handle, ReadError};
use super::keep::KeepError;
use super::runs::{self, Kind, Sealed};
use super::salvage::{self, About, Reads, Salvage};
use super::store::{FILE, FORMAT, OpenError, Options, Store, initialise, lock, overlay};
use super::tables::{self, meta};
use super::verify::{Report, inspect};

/// The name under which the new store is made.
const FRESH: &str = "store.redb.repaired";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: nothing is wrong.
    Sound(Report),
    /// The store was made anew.
    Repaired {
        /// What was wrong.
        before: Report,
        /// What is there now.
        after: Report,
        /// Where the damaged file is.
        aside: PathBuf,
        /// What an operator should know of it.
        notes: Vec<&'static str>,
    },
    /// Nothing: something is wrong that cannot be made from the journal. The report names it.
    Unrepairable(Report),
}

/// Why a repair broke off. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The store cannot be opened at all, or a node runs on it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something could not be read after all.
    #[error("the store was left as it is: {0}")]
    Read(#[from] ReadError),
    /// The new store could not be written.
    #[error("the new store could not be written to {path}; the old one was left as it is: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system or redb says.
        source: redb::Error,
    },
    /// What was made is not sound: a defect, or a disk that loses what is written.
    #[error("the new store is not sound, so the old one was left as it is: {0}")]
    NotSound(String),
}

const TOLD_AGAIN: &str = "publishers and other followers begin at the oldest fact again, since their places may be damaged; consumers \
                          drop what they know by its version";
const BALANCES: &str = "opening balances were taken over: the facts that they are made of are no longer in the journal";

/// Repairs the stopped store of a directory, when that can be done from its journal alone.
pub fn repair(directory: &Path) -> Result<Outcome, RepairError> {
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    let backends = overlay::backends(&path);
    let before = inspect(backends.clone(), &path)?;
    if before.is_sound() {
        return Ok(Outcome::Sound(before));
    }
    if !before.is_repairable() {
        return Ok(Outcome::Unrepairable(before));
    }
    let fresh = directory.join(FRESH);
    let made = if before.pages_whole {
        let source = Handle::new(backends, Options::default().cache_bytes, u64::MAX);
        source.open().map_err(|error| OpenError::redb(&path, error))?;
        make(&fresh, &source, &before)
    } else {
        let refused = || OpenError::read(&path, ReadError::Unavailable);
        let source = Salvage::of(&backends).ok_or_else(refused)?;
        make(&fresh, &source, &before)
    };
    let made = made.and_then(|()| take_its_place(directory, &path, &fresh, &before));
    if made.is_err() {
        // It would only take room; the error that matters is the one before.
        let _ = fs::remove_file(&fresh);
    }
    let (after, aside) = made?;
    let mut notes = Vec::new();
    if !before.pages_whole {
        notes.push(TOLD_AGAIN);
    }
    if !before.from_zero {
        notes.push(BALANCES);
    }
    Ok(Outcome::Repaired {
        before,
        after,
        aside,
        notes,
    })
}

fn make(fresh: &Path, source: &impl Reads, before: &Report) -> Result<(), RepairError> {
    let write = |error: redb::Error| RepairError::Write {
        path: fresh.to_owned(),
        source: error,
    };
    let about = salvage::about(source)?;
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write(redb::Error::Io(error))),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(fresh);
    let file = file.and_then(|file| FileBackend::new(file).map_err(|error| io::Error::other(error.to_string())));
    let file = file.map_err(|error| write(redb::Error::Io(error)))?;
    let database = Builder::new()
        .set_cache_size(Options::default().cache_bytes)
        .create_with_backend(Backend::new(Box::new(file)))
        .map_err(|error| write(error.into()))?;
    let bits = Options {
        generation_bits: about.generation_bits,
        ..Options::default()
    };
    initialise(&database, &bits).map_err(write)?;
    head(&database, &about, before).map_err(write)?;
    copy(&database, source, tables::JOURNAL, write)?;
    if !before.from_zero {
        balances(&database, source, &about, write)?;
    }
    drop(database);
    derive(fresh).map_err(RepairError::NotSound)
}

/// What the store says of itself, as it said before.
fn head(database: &Database, about: &About, before: &Report) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(tables::META)?;
        table.insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        table.insert(meta::STORE_ID, about.store_id.as_slice())?;
        table.insert(meta::JOURNAL_FLOOR, about.journal_floor.to_le_bytes().as_slice())?;
        for (name, value) in &about.followers {
            // A place that is too far on would be a gap; one that is too far back is only told again.
            let value = if before.pages_whole { value.as_slice() } else { &[0u8; 8][..] };
            table.insert(name.as_str(), value)?;
        }
        let mut positions = transaction.open_table(tables::POSITION)?;
        for (topic, partition, value) in &about.positions {
            // It carries a fingerprint of the message before it, and is believed only beside that message.
            positions.insert((topic.as_str(), *partition), value.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Rows copied in one transaction.
const PAGE: usize = 256;

/// Copies a table, row by row.
fn copy<K: Key + 'static>(
    database: &Database,
    source: &impl Reads,
    table: TableDefinition<'static, K, &'static [u8]>,
    write: impl Fn(redb::Error) -> RepairError,
) -> Result<(), RepairError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = source.read(|transaction| {
            let start = after
                .as_ref()
                .map_or(Bound::Unbounded, |key| Bound::Excluded(K::from_bytes(key)));
            let mut page = Vec::new();
            let table = match transaction.open_table(table) {
                // Some tables are there only since something was put into them.
                Err(TableError::TableDoesNotExist(_)) => return Ok(page),
                table => table?,
            };
            for row in table.range::<K::SelfType<'_>>((start, Bound::Unbounded))?.take(PAGE) {
                let (key, value) = row?;
                page.push((K::as_bytes(&key.value()).as_ref().to_vec(), value.value().to_vec()));
            }
            Ok(page)
        })?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        if after.as_ref().is_some_and(|after| !K::compare(after, last).is_lt()) {
            return Err(RepairError::NotSound("the rows of a table are not in order".to_owned()));
        }
        put(database, table, &page).map_err(&write)?;
        after = Some(last.clone());
    }
}

fn put<K: Key + 'static>(
    database: &Database,
    table: TableDefinition<'static, K, &'static [u8]>,
    page: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(table)?;
        for (key, value) in page {
            table.insert(K::from_bytes(key), value.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Takes over what older facts were folded into, and the ids that are kept for ever though their facts are gone.
fn balances(
    database: &Database,
    source: &impl Reads,
    about: &About,
    write: impl Fn(redb::Error) -> RepairError,
) -> Result<(), RepairError> {
    copy(database, source, tables::STOCK, &write)?;
    copy(database, source, tables::RESERVATION, &write)?;
    copy(database, source, tables::WAREHOUSE, &write)?;
    copy(database, source, tables::CATALOGUE, &write)?;
    copy(database, source, tables::DEAD_LETTER, &write)?;
    copy(database, source, tables::ANSWERED, &write)?;
    let first_live = about.journal_floor >> about.generation_bits;
    let generations = source.read(|transaction| {
        let table = transaction.open_table(tables::GENERATION)?;
        let mut rows = Vec::new();
        for row in table.range(..first_live)? {
            let (key, value) = row?;
            rows.push((key.value(), value.value().to_vec()));
        }
        Ok(rows)
    })?;
    // The last one that is gone says where those begin that are not.
    let mut kept = vec![(first_live.saturating_sub(1), Sealed::GONE)];
    let mut runs = Vec::new();
    for (number, bytes) in generations {
        let Ok(sealed) = Sealed::decode(&bytes) else { continue };
        if sealed.forever > 0 {
            kept.retain(|(known, _)| *known != number);
            kept.push((
                number,
                Sealed {
                    forever: sealed.forever,
                    newest: sealed.newest,
                    ..Sealed::GONE
                },
            ));
            let pairs = source.read(|transaction| runs::pairs_of(transaction, Kind::Forever, number))?;
            runs.extend(runs::rows(Kind::Forever, number, &pairs));
        }
    }
    let written = (|| -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction
            .open_table(tables::META)?
            .insert(meta::SNAPSHOT_FLOOR, about.snapshot_floor.to_le_bytes().as_slice())?;
        for (number, sealed) in kept {
            transaction
                .open_table(tables::GENERATION)?
                .insert(number, sealed.encode().as_slice())?;
        }
        for (key, row) in runs {
            transaction.open_table(tables::RUN)?.insert(key, row.as_slice())?;
        }
        Ok(transaction.commit()?)
    })();
    written.map_err(&write)
}

/// Opens the new store as a node does, has everything derived written, and closes it.
fn derive(fresh: &Path) -> Result<(), String> {
    let keep_all = Options {
        max_skus: usize::MAX,
        id_window_ms: i64::MAX / 2,
        history_ms: i64::MAX / 2,
        ..Options::default()
    };
    let store = Store::open_with(backend::file(fresh), keep_all).map_err(|error| error.to_string())?;
    let newest = store.newest_recorded().map_err(|error| error.to_string())?.unwrap_or(Time(0));
    let mut keeper = store.keeper();
    let kept = (|| -> Result<(), KeepError> {
        keeper.finish(newest)?;
        while keeper.seal()? {}
        Ok(())
    })();
    kept.map_err(|error| error.to_string())
}

/// Verifies the new store and gives it the name; the old one has another beside it from then on.
fn take_its_place(directory: &Path, path: &Path, fresh: &Path, before: &Report) -> Result<(Report, PathBuf), RepairError> {
    let after = inspect(overlay::backends(fresh), fresh)?;
    if !after.is_sound() {
        return Err(RepairError::NotSound(after.problems.join("; ")));
    }
    if (after.floor, after.last, after.facts) != (before.floor, before.last, before.facts) {
        return Err(RepairError::NotSound("it does not have the same facts".to_owned()));
    }
    let named = (|| -> io::Result<PathBuf> {
        File::open(fresh)?.sync_all()?;
        let aside = aside(directory, path)?;
        fs::rename(fresh, path)?;
        File::open(directory)?.sync_all()?;
        Ok(aside)
    })();
    let aside = named.map_err(|error| OpenError::io(path, error))?;
    Ok((after, aside))
}

/// A second name for the damaged file, so that there is no moment at which the store has none.
fn aside(directory: &Path, path: &Path) -> io::Result<PathBuf> {
    for number in 0u32.. {
        let name = match number {
            0 => format!("{FILE}.damaged"),
            number => format!("{FILE}.damaged.{number}"),
        };
        let aside = directory.join(name);
        match fs::hard_link(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map(|()| aside),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
