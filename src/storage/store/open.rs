//! The way from a directory to an open store, and every reason why it may end early, each with what to do about it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};
use rustix::fs::{FlockOperation, flock};

use crate::host;
use crate::planted::{self, Bug};
use crate::storage::backend::{self, Backend, Backends};
use crate::storage::database::{Handle, ReadError, is_damaged, is_full};
use crate::storage::journal;
use crate::storage::tables::{self, meta};

use super::room::Room;
use super::{FILE, FORMAT, Options, Shared, Store};

/// Why a store could not be opened. Each says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory and its parent are not there.
    #[error(
        "the data directory {path} is missing, or the directory around it: create it, mount its disk, or name another with --data"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It is a file or something else.
    #[error("the data directory {path} is not a directory: name another with --data")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("the data directory {path} cannot be written: give this user write access to it, or mount it read-write")]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// There is no room.
    #[error("the disk of {path} is full: free some space, then start again; nothing was lost")]
    Full {
        /// The path.
        path: PathBuf,
    },
    /// Another node runs on it.
    #[error(
        "the data directory {path} is in use by another node, pid {pid}: stop that one first, or name another directory with --data"
    )]
    Locked {
        /// The path.
        path: PathBuf,
        /// Its process id, or `unknown`.
        pid: String,
    },
    /// A newer node wrote it.
    #[error("the store {path} has format {found}, and this node knows formats up to {known}: run the newer shelfd that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest this node knows.
        known: u64,
    },
    /// It is cut short, overwritten, or no store at all.
    #[error("the store {path} is damaged ({detail}): run `shelfd verify` on it, which says what is safe and what to do")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// Anything else the system says.
    #[error("the store {path} cannot be opened")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> OpenError {
        let path = path.to_owned();
        match source.kind() {
            _ if is_full(&source) => OpenError::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
            io::ErrorKind::NotADirectory => OpenError::NotADirectory { path },
            io::ErrorKind::NotFound => OpenError::Missing { path },
            _ => OpenError::Io { path, source },
        }
    }

    pub(crate) fn redb(path: &Path, error: redb::Error) -> OpenError {
        if is_damaged(&error) {
            return OpenError::Damaged {
                path: path.to_owned(),
                detail: error.to_string(),
            };
        }
        match error {
            redb::Error::Io(source) => OpenError::io(path, source),
            redb::Error::DatabaseAlreadyOpen => OpenError::Locked {
                path: path.to_owned(),
                pid: "unknown".into(),
            },
            other => OpenError::Io {
                path: path.to_owned(),
                source: io::Error::other(other.to_string()),
            },
        }
    }

    pub(crate) fn read(path: &Path, error: ReadError) -> OpenError {
        match error {
            // The disk failed; nothing says that what lies on it is wrong.
            ReadError::Disk(_) | ReadError::Unavailable => OpenError::Io {
                path: path.to_owned(),
                source: io::Error::other(error.to_string()),
            },
            ReadError::Damaged { .. } | ReadError::Pages(_) | ReadError::HistoryGone { .. } => OpenError::Damaged {
                path: path.to_owned(),
                detail: error.to_string(),
            },
        }
    }
}

/// Opens, or first makes, the store of a directory.
pub(super) fn directory(directory: &Path, options: Options) -> Result<Store, OpenError> {
    prepare(directory)?;
    let lock = lock(directory)?;
    let file = directory.join(FILE);
    match fs::metadata(&file) {
        Ok(_) => super::refuse_newer(&file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(directory, &options).map_err(|error| OpenError::redb(directory, error))?
        }
        Err(error) => return Err(OpenError::io(&file, error)),
    }
    with(backend::file(&file), options, &file, Some(lock))
}

fn prepare(directory: &Path) -> Result<(), OpenError> {
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory {
            path: directory.to_owned(),
        }),
        // Only the last step of the path is made: a whole missing path is more likely a disk that is not mounted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(directory).map_err(|error| OpenError::io(directory, error))
        }
        Err(error) => Err(OpenError::io(directory, error)),
    }
}

/// Takes the directory's lock for as long as the file is open, and writes the pid into it for whoever comes second.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("LOCK");
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut file = opened.map_err(|error| OpenError::io(directory, error))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(in_use(directory, &mut file));
    }
    // Over what stands there, and cut only then: on a full disk there would be no room for what was given up a moment before.
    let pid = format!("{}\n", std::process::id());
    let written = file
        .rewind()
        .and_then(|()| file.write_all(pid.as_bytes()))
        .and_then(|()| file.set_len(pid.len() as u64));
    match written {
        // The lock is held all the same; only its holder's name is missing.
        Err(error) if is_full(&error) => Ok(file),
        written => written.map(|()| file).map_err(|error| OpenError::io(directory, error)),
    }
}

/// Says who holds the lock.
pub(super) fn in_use(directory: &Path, lock: &mut File) -> OpenError {
    let mut pid = String::new();
    // Whoever holds it may not have written its pid yet.
    let _ = lock.read_to_string(&mut pid);
    let pid = pid.trim();
    OpenError::Locked {
        path: directory.to_owned(),
        pid: if pid.is_empty() { "unknown".into() } else { pid.into() },
    }
}

/// Where a store's file is made: a directory, or what a test puts in its place to cut the power meanwhile.
pub(crate) trait Place {
    /// A new, empty file under another name; what an earlier attempt left under it is gone.
    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Waits until the file is on the disk.
    fn sync_fresh(&self) -> io::Result<()>;
    /// Gives the file the store's name.
    fn give_name(&self) -> io::Result<()>;
    /// Waits until the name is on the disk.
    fn sync_directory(&self) -> io::Result<()>;
    /// Removes what was made, as far as it is there.
    fn discard(&self);
}

const FRESH: &str = "store.redb.new";

impl Place for Path {
    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.join(FRESH);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let backend = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend))
    }

    fn sync_fresh(&self) -> io::Result<()> {
        File::open(self.join(FRESH))?.sync_all()
    }

    fn give_name(&self) -> io::Result<()> {
        fs::rename(self.join(FRESH), self.join(FILE))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self)?.sync_all()
    }

    fn discard(&self) {
        // It would only take room; the error that matters is the one before.
        let _ = fs::remove_file(self.join(FRESH));
    }
}

/// Makes a store, which has its name only when it is whole.
pub(crate) fn create(place: &(impl Place + ?Sized), options: &Options) -> Result<(), redb::Error> {
    let made = (|| -> Result<(), redb::Error> {
        let backend = place.fresh().map_err(redb::Error::Io)?;
        let early = planted::is(Bug::NamedEarly);
        if early {
            place.give_name().map_err(redb::Error::Io)?;
        }
        let database = Builder::new()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(Backend::new(backend))?;
        initialise(&database, options)?;
        drop(database);
        if !early {
            place.sync_fresh().map_err(redb::Error::Io)?;
            place.give_name().map_err(redb::Error::Io)?;
        }
        if planted::is(Bug::DirectoryNotSynced) {
            return Ok(());
        }
        place.sync_directory().map_err(redb::Error::Io)
    })();
    if made.is_err() {
        place.discard();
    }
    made
}

/// Makes every table, and writes what the store says about itself.
pub(crate) fn initialise(database: &Database, options: &Options) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(tables::META)?;
        table.insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        let bits = u64::from(options.generation_bits.clamp(4, 24));
        table.insert(meta::GENERATION_BITS, bits.to_le_bytes().as_slice())?;
        table.insert(meta::STORE_ID, host::random().as_slice())?;
    }
    transaction.open_table(tables::JOURNAL)?;
    transaction.open_table(tables::STOCK)?;
    transaction.open_table(tables::RESERVATION)?;
    transaction.open_table(tables::WAREHOUSE)?;
    transaction.open_table(tables::CATALOGUE)?;
    transaction.open_table(tables::DEAD_LETTER)?;
    transaction.open_table(tables::RUN)?;
    transaction.open_table(tables::GENERATION)?;
    transaction.open_table(tables::POSITION)?;
    transaction.commit()?;
    Ok(())
}

/// Opens what the factory makes, brings it up to date, and starts the journal.
pub(super) fn with(backends: Backends, options: Options, path: &Path, lock: Option<File>) -> Result<Store, OpenError> {
    let database = Handle::new(backends, options.cache_bytes, options.check_bytes).telling(Arc::clone(&options.opening));
    database.open().map_err(|error| OpenError::redb(path, error))?;
    if lock.is_none() {
        // Only a backend of a test can be empty here: the file of a directory is made whole before it has its name.
        fresh(&database, &options).map_err(|error| OpenError::redb(path, error))?;
    }
    let number = |name| database.number(name).map_err(|error| OpenError::read(path, error));
    migrate(&database, path, number(meta::FORMAT)?)?;
    let bits = number(meta::GENERATION_BITS)?.filter(|bits| (4..=24).contains(bits));
    let bits = bits.ok_or_else(|| OpenError::Damaged {
        path: path.to_owned(),
        detail: "it does not say how its generations are cut".into(),
    })?;
    let limits = options.limits;
    let room = Room::new(options.reserve_bytes, path);
    let shared = Shared::load(database, options, bits as u32).map_err(|error| OpenError::read(path, error))?;
    let shared = Arc::new(shared);
    let started = journal::start(Arc::clone(&shared), limits);
    let (journal, running) = started.map_err(|error| OpenError::io(path, error))?;
    Ok(Store {
        shared,
        journal,
        running: Mutex::new(Some(running)),
        path: path.to_owned(),
        room,
        _lock: lock,
    })
}

/// Brings a store from one format to the next; `MIGRATIONS[n]` leads from format n + 1. Each is one transaction.
type Migration = fn(&Database) -> Result<(), redb::Error>;
const MIGRATIONS: [Migration; FORMAT as usize - 1] = [to_2];

/// Format 2: the facts of SKUs may say what each channel has on offer. Older ones are read as they are, and say nothing of it.
fn to_2(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction
        .open_table(tables::META)?
        .insert(meta::FORMAT, 2u64.to_le_bytes().as_slice())?;
    transaction.commit()?;
    Ok(())
}

fn migrate(database: &Handle, path: &Path, found: Option<u64>) -> Result<(), OpenError> {
    let path = path.to_owned();
    match found {
        Some(found) if found > FORMAT => Err(OpenError::Newer {
            path,
            found,
            known: FORMAT,
        }),
        Some(found @ 1..) => {
            let Some(open) = database.get() else { return Ok(()) };
            let mut steps = MIGRATIONS.iter().skip(found as usize - 1);
            steps
                .try_for_each(|step| step(&open))
                .map_err(|error| OpenError::redb(&path, error))
        }
        _ => Err(OpenError::Damaged {
            path,
            detail: "it has no format number of any version".into(),
        }),
    }
}

fn fresh(database: &Handle, options: &Options) -> Result<(), redb::Error> {
    use redb::ReadableDatabase;
    let Some(open) = database.get() else { return Ok(()) };
    let empty = open.begin_read()?.list_tables()?.next().is_none();
    if empty { initialise(&open, options) } else { Ok(()) }
}
