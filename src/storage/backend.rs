//! What redb stands on: a file, or whatever a test puts in its place to fail reads, writes and syncs.
//!
//! A feature flag with a fake file system was rejected: redb has a trait for exactly this, so the tests run the very code
//! that runs in production.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::BackendError;
pub(crate) use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::planted::{self, Bug};

use super::database::is_full;

/// Where the backend of a store comes from, each time that it is opened or reopened.
pub trait Origin: Send + Sync {
    /// Opens it.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Notes whether a sync has failed and not been made good, for a process that is started while the system still shows what the
    /// disk may not have. Whether that can be noted is not certain: it is on a disk that fails.
    fn set_in_doubt(&self, _in_doubt: bool) {}

    /// Whether that is noted.
    fn is_in_doubt(&self) -> bool {
        false
    }
}

impl<F: Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync> Origin for F {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        self()
    }
}

/// See [`Origin`].
pub type Backends = Arc<dyn Origin>;

/// What was written and may not be on the disk.
///
/// After a sync that failed the kernel goes on to show what was written, though the disk may never get it: no later sync writes it
/// (on Linux the pages are marked clean). Whoever opens the file anew would build on what a power cut takes away. So the parts are
/// remembered across the reopening and written once more first. (To write only the journal's rows once more was rejected: pages of
/// other tables in the same transaction stayed in doubt, and one such page makes the whole file unreadable after a power cut.) A process
/// that ends before that leaves a note, and the next one, which does not know the parts, writes the whole file once more.
#[derive(Debug, Default)]
pub(crate) struct Unsynced(Mutex<Written>);

/// Parts of the file, by offset and length.
type Parts = BTreeMap<u64, u64>;

#[derive(Debug, Default)]
struct Written {
    /// Since the last sync.
    since: Parts,
    /// Before a sync that failed. One that succeeds later, such as redb's own when it closes the file, says nothing of these.
    in_doubt: Parts,
}

fn note(parts: &mut Parts, offset: u64, length: u64) {
    // Pages are written at their own places again and again, so this is never more than the file has pages.
    let known = parts.entry(offset).or_default();
    *known = (*known).max(length);
}

/// Bytes that a disk has room for, or not.
const BLOCK: usize = 4_096;
/// Bytes read at once.
const PART: u64 = 1 << 20;

impl Unsynced {
    fn written(&self, offset: u64, length: usize) {
        note(&mut self.0.lock().since, offset, length as u64);
    }

    /// Writes all of it once more, as it reads now, and syncs.
    fn settle(&self, file: &dyn StorageBackend, origin: &dyn Origin) -> io::Result<()> {
        let written = &mut *self.0.lock();
        for (offset, length) in std::mem::take(&mut written.since) {
            note(&mut written.in_doubt, offset, length);
        }
        let noted = origin.is_in_doubt();
        if (written.in_doubt.is_empty() && !noted) || planted::is(Bug::UnsyncedTrusted) {
            return Ok(());
        }
        let end = file.len()?;
        if written.in_doubt.is_empty() {
            tracing::warn!(
                bytes = end,
                "a sync of the store had failed when it was closed last; all of it is written once more"
            );
            written.in_doubt = (0..end).step_by(PART as usize).map(|offset| (offset, PART)).collect();
        }
        for (offset, length) in &written.in_doubt {
            let length = end.saturating_sub(*offset).min(*length);
            let mut bytes = vec![0; length as usize];
            file.read(*offset, &mut bytes)?;
            for (block, at) in bytes.chunks(BLOCK).zip((*offset..).step_by(BLOCK)) {
                match file.write(at, block) {
                    // What a full disk has no room for, and reads as nothing, was never written: there is nothing to lose.
                    Err(error) if is_full(&error) && block.iter().all(|byte| *byte == 0) => {}
                    written => written?,
                }
            }
        }
        file.sync_data()?;
        written.in_doubt.clear();
        if noted {
            origin.set_in_doubt(false);
        }
        Ok(())
    }
}

/// A backend of any kind, for redb's generic door.
pub(crate) struct Backend {
    file: Box<dyn StorageBackend>,
    unsynced: Arc<Unsynced>,
    /// Who is told of a sync that failed.
    origin: Option<Backends>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Backend").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Backend {
    /// One whose file was never open before.
    pub(crate) fn new(file: Box<dyn StorageBackend>) -> Backend {
        Backend {
            file,
            unsynced: Arc::default(),
            origin: None,
        }
    }

    /// One whose file may have been open before; what was in doubt then is on the disk now.
    pub(crate) fn again(origin: &Backends, unsynced: &Arc<Unsynced>) -> io::Result<Backend> {
        let file = origin.open()?;
        unsynced.settle(&*file, &**origin)?;
        Ok(Backend {
            file,
            unsynced: Arc::clone(unsynced),
            origin: Some(Arc::clone(origin)),
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is written meanwhile belongs to the next one.
        let parts = std::mem::take(&mut self.unsynced.0.lock().since);
        let synced = self.file.sync_data();
        if synced.is_err() {
            if let Some(origin) = &self.origin {
                origin.set_in_doubt(true);
            }
            let in_doubt = &mut self.unsynced.0.lock().in_doubt;
            parts.into_iter().for_each(|(offset, length)| note(in_doubt, offset, length));
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.written(offset, data.len());
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// The file of that name, which must be there and must not be empty: redb would take an empty file for a new store.
pub(crate) fn file(path: &Path) -> Backends {
    Arc::new(OnDisk { path: path.to_owned() })
}

struct OnDisk {
    path: PathBuf,
}

impl OnDisk {
    /// The note that a sync has failed: a file beside the store. It need not be durable: after a power cut the system shows what the
    /// disk has.
    fn note(&self) -> PathBuf {
        self.path.with_extension("in-doubt")
    }
}

impl Origin for OnDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
        }
        let backend = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend) as Box<dyn StorageBackend>)
    }

    fn set_in_doubt(&self, in_doubt: bool) {
        let noted = match in_doubt {
            true => std::fs::write(self.note(), b""),
            false => std::fs::remove_file(self.note()),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, in_doubt, "the note that a sync has failed could not be written or taken away");
        }
    }

    fn is_in_doubt(&self) -> bool {
        self.note().exists()
    }
}
