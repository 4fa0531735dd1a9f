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

/// All cursors, as far as their followers have come, and how far behind each still holds the journal.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<BTreeMap<String, Held>>);

#[derive(Clone, Copy, Debug)]
struct Held {
    seq: u64,
    /// The most facts behind the newest that it holds back.
    facts: u64,
}

impl Held {
    fn all(seq: u64) -> Held {
        Held { seq, facts: u64::MAX }
    }
}

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
                known.insert(name.to_owned(), Held::all(seq));
            }
            Ok(known)
        })?;
        Ok(Cursors(Mutex::new(known)))
    }

    /// The lowest of them that still holds the journal, whose newest fact is `newest`; `None`: there are none.
    pub(crate) fn lowest(&self, newest: u64) -> Option<u64> {
        let cursors = self.0.lock();
        let holding = cursors.values().filter(|held| newest.saturating_sub(held.seq) <= held.facts);
        let lowest = holding.map(|held| held.seq).min();
        // Cursors that have all lost their hold are not the same as none: the newest facts are nobody's to cut.
        lowest.or_else(|| (!cursors.is_empty()).then_some(newest))
    }
}

struct Moved {
    name: String,
    /// `None`: it is forgotten.
    seq: Option<u64>,
}

impl SideWrite for Moved {
    fn bytes(&self) -> usize {
        64
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(tables::META)?;
        let row = tables::meta::cursor(&self.name);
        match self.seq {
            Some(seq) => meta.insert(row.as_str(), seq.to_le_bytes().as_slice())?,
            None => meta.remove(row.as_str())?,
        };
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), CommitFailure>) {
        if let Err(failure) = result {
            // The follower will see some facts again after a restart; nothing is lost.
            tracing::debug!(cursor = %self.name, ?failure, "a cursor was not written");
        }
    }
}

impl Store {
    /// How far a follower had come; `None`: it has never said. From now on retention keeps what lies above it.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, ReadError> {
        let seq = self.shared().database.number(&tables::meta::cursor(name))?;
        let mut cursors = self.shared().cursors.0.lock();
        let held = cursors.entry(name.to_owned()).or_insert(Held::all(0));
        held.seq = seq.unwrap_or(0);
        Ok(seq)
    }

    /// How many facts behind the newest a follower still holds the journal; past them it may be overtaken by retention.
    pub fn hold_at_most(&self, name: &str, facts: u64) {
        if let Some(held) = self.shared().cursors.0.lock().get_mut(name) {
            held.facts = facts;
        }
    }

    /// The names of all cursors that begin so.
    pub fn cursors(&self, beginning: &str) -> Vec<String> {
        let cursors = self.shared().cursors.0.lock();
        cursors.keys().filter(|name| name.starts_with(beginning)).cloned().collect()
    }

    /// Forgets a cursor whose follower is no more, so that it holds nothing.
    pub fn drop_cursor(&self, name: &str) {
        self.shared().cursors.0.lock().remove(name);
        self.journal().side(Box::new(Moved {
            name: name.to_owned(),
            seq: None,
        }));
    }

    /// A follower has come this far.
    pub fn set_cursor(&self, name: &str, seq: u64) {
        let mut cursors = self.shared().cursors.0.lock();
        cursors.entry(name.to_owned()).or_insert(Held::all(seq)).seq = seq;
        drop(cursors);
        self.journal().side(Box::new(Moved {
            name: name.to_owned(),
            seq: Some(seq),
        }));
    }
}
