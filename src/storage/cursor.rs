//! Named places in the journal: how far a follower that must not miss anything has come.
//!
//! A cursor is written behind its follower's work, with the journal's next transaction: after a crash the follower sees some
//! facts again, and never misses one. Retention keeps what lies above every cursor.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use redb::WriteTransaction;

use super::append::CommitFailure;
use super::database::{Handle, ReadError};
use super::journal::SideWrite;
use super::store::Store;
use super::tables;

/// All cursors, as far as their followers have come.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<BTreeMap<String, u64>>);

impl Cursors {
    /// Those that were written before, so that nothing is dropped before their followers have spoken.
    pub(crate) fn load(database: &Handle) -> Result<Cursors, ReadError> {
        let prefix = tables::meta::cursor("");
        let known = database.read(|transaction| {
            let meta = transaction.open_table(tables::META)?;
            let mut known = BTreeMap::new();
            for row in meta.range(prefix.as_str()..)? {
                let (key, value) = row?;
                let Some(name) = key.value().strip_prefix(&prefix) else {
                    break;
                };
                let seq = value.value().try_into().map_or(0, u64::from_le_bytes);
                known.insert(name.to_owned(), seq);
            }
            Ok(known)
        })?;
        Ok(Cursors(Mutex::new(known)))
    }

    /// The lowest of them; `None`: there are none.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.0.lock().values().min().copied()
    }
}

struct Moved {
    name: &'static str,
    seq: u64,
}

impl SideWrite for Moved {
    fn bytes(&self) -> usize {
        64
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(tables::META)?;
        meta.insert(tables::meta::cursor(self.name).as_str(), self.seq.to_le_bytes().as_slice())?;
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), CommitFailure>) {
        if let Err(failure) = result {
            // The follower will see some facts again after a restart; nothing is lost.
            tracing::debug!(cursor = self.name, ?failure, "a cursor was not written");
        }
    }
}

impl Store {
    /// How far a follower had come; `None`: it has never said. From now on retention keeps what lies above it.
    pub fn cursor(&self, name: &'static str) -> Result<Option<u64>, ReadError> {
        let seq = self.shared().database.number(&tables::meta::cursor(name))?;
        self.shared().cursors.0.lock().insert(name.to_owned(), seq.unwrap_or(0));
        Ok(seq)
    }

    /// A follower has come this far.
    pub fn set_cursor(&self, name: &'static str, seq: u64) {
        self.shared().cursors.0.lock().insert(name.to_owned(), seq);
        self.journal().side(Box::new(Moved { name, seq }));
    }
}
