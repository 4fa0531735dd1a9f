//! Everything the store does behind the hot path, one small step at a time: seal, snapshot, let go.
//!
//! Steps block until their rows are durable, so they belong on a thread that may block, never in a task. They are safe to
//! stop between any two steps, and after a crash they go on from what is durable.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::domain::units::Time;

use super::journal::JournalHandle;
use super::retention::Retention;
use super::seal::Sealer;
use super::snapshot::Snapshotter;
use super::store::Shared;

pub use super::retention::KeepError;

/// The background steps of one store.
pub struct Keeper {
    sealer: Sealer,
    snapshotter: Snapshotter,
    retention: Retention,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, journal: JournalHandle) -> Keeper {
        Keeper {
            sealer: Sealer::new(Arc::clone(&shared), journal.clone()),
            snapshotter: Snapshotter::new(Arc::clone(&shared), journal.clone()),
            retention: Retention::new(shared, journal),
        }
    }

    /// Seals one portion of a full generation. Says whether there is more; call it again at once then, else in a second.
    pub fn seal(&mut self) -> Result<bool, KeepError> {
        Ok(self.sealer.step()?)
    }

    /// Writes one portion of a snapshot pass, which it begins when none is underway. Says whether the pass goes on; after one is
    /// complete the next may wait for some seconds.
    pub fn snapshot(&mut self, now: Time) -> Result<bool, KeepError> {
        Ok(self.snapshotter.portion(now)?)
    }

    /// Lets one portion go. Says whether there is more; else once a minute is enough.
    pub fn retain(&mut self, now: Time) -> Result<bool, KeepError> {
        self.retention.step(now)
    }

    /// A whole snapshot, for a clean shutdown: the next start replays nothing but unsealed generations.
    pub fn finish(&mut self, now: Time) -> Result<(), KeepError> {
        Ok(self.snapshotter.whole(now)?)
    }
}
