//! The journal where there is only one thread: its turns are taken by a task, and by whoever has to wait for it.
//!
//! The turns are those of the thread; only the waiting differs. A commit takes simulated time between the gathering of a batch and
//! its transaction, so that everybody else goes on meanwhile, as they do beside a disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Batch, Journal, Message};
use crate::host::world;

/// The journal, and the batch that is on its way to the disk.
struct Turning {
    journal: Journal,
    gathered: Option<Batch>,
    ended: bool,
}

/// See the module.
pub(crate) struct Crank {
    turning: Mutex<Turning>,
    bell: Notify,
}

/// Gives the journal to a task of this thread's runtime.
pub(super) fn start(journal: Journal) -> Arc<Crank> {
    let turning = Turning {
        journal,
        gathered: None,
        ended: false,
    };
    let crank = Arc::new(Crank {
        turning: Mutex::new(turning),
        bell: Notify::new(),
    });
    tokio::spawn(drive(Arc::downgrade(&crank)));
    crank
}

async fn drive(crank: std::sync::Weak<Crank>) {
    loop {
        let Some(here) = crank.upgrade() else { return };
        if here.is_finished() {
            return;
        }
        if here.begin() {
            drop(here);
            tokio::time::sleep(world::commit_time()).await;
            let Some(here) = crank.upgrade() else { return };
            here.finish();
            continue;
        }
        let probe_at = here.turning.lock().journal.probe_at;
        match probe_at {
            Some(at) => drop(tokio::time::timeout_at(at, here.bell.notified()).await),
            None => here.bell.notified().await,
        }
    }
}

impl Crank {
    /// Something has been handed over.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.turning.lock().ended
    }

    /// Gathers what is there, unless something is on its way already; whether there is anything.
    fn begin(&self) -> bool {
        let turning = &mut *self.turning.lock();
        if turning.ended || turning.gathered.is_some() {
            return turning.gathered.is_some();
        }
        let journal = &mut turning.journal;
        let first: Option<Message> = match journal.receiver.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => {
                turning.ended = true;
                journal.end();
                return false;
            }
            Err(TryRecvError::Empty) => None,
        };
        let sides = !journal.sides.is_empty() && journal.probe_at.is_none();
        let probes = journal.probe_at.is_some_and(|at| at <= Instant::now());
        if first.is_none() && !sides && !probes {
            return false;
        }
        turning.gathered = Some(journal.gather(first));
        true
    }

    /// Takes the turn for what was gathered.
    fn finish(&self) {
        let turning = &mut *self.turning.lock();
        let Some(batch) = turning.gathered.take() else { return };
        // A journal that dies is a thread that has ended: nobody answers any more, and the root sees it.
        if catch_unwind(AssertUnwindSafe(|| turning.journal.settle(batch))).is_err() {
            turning.ended = true;
        } else if turning.journal.stopping {
            turning.ended = true;
            turning.journal.end();
        }
    }

    /// Takes turns until somebody has been told.
    pub(super) fn turn_until<T>(&self, told: &Receiver<T>) -> Option<T> {
        loop {
            match told.try_recv() {
                Ok(told) => return Some(told),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.begin() => self.finish(),
                Err(TryRecvError::Empty) if self.is_finished() => return None,
                // Rows that wait for a disk that refuses are told when it has been asked again, which time alone does.
                Err(TryRecvError::Empty) => self.give_up_sides(),
            }
        }
    }

    fn give_up_sides(&self) {
        let turning = &mut *self.turning.lock();
        let why = turning.journal.why();
        for rows in turning.journal.sides.drain(..) {
            rows.done(Err(why.clone()));
        }
    }

    /// Takes turns until the shutdown that was asked for.
    pub(super) fn turn_to_the_end(&self) {
        while !self.is_finished() {
            self.begin();
            self.finish();
        }
    }
}
