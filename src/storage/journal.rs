//! The one writer: group commit on a thread of its own.
//!
//! What arrived during the last sync is the next transaction: its facts become rows, redb commits once, the view is folded,
//! everybody who waits is told, and the cursors are woken without payload. Background writers (snapshots, runs, retention)
//! put their rows into the same transactions ([`SideWrite`]), so that nothing ever waits for another writer
//! (docs/adr/0002-one-writer.md). A task on the async runtime was rejected: a sync blocks its thread for as long as the disk
//! likes.
//!
//! **A failed commit is a state, not a death.** redb is reopened and its last sequence read: a transaction that had landed
//! after all is folded and answered as durable; otherwise the epoch rises, and all that was decided on top of it is answered
//! [`CommitFailure`]. While the disk refuses, every append fails at once, and a tiny write each half second finds out when it
//! works again. Whenever an append of the current epoch is not made durable, the epoch rises: so nothing decided on top of it
//! can ever be committed.

mod commit;
#[cfg(test)]
mod crank;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use redb::WriteTransaction;
use tokio::sync::watch;
use tokio::time::Instant;

use super::append::{Append, CommitFailure};
use super::store::Shared;
#[cfg(test)]
use crate::host;
use crate::planted::{self, Bug};

pub(crate) use commit::Batch;

/// Rows of a background writer, to ride along in the journal's next transaction.
pub trait SideWrite: Send {
    /// About how many bytes it will write. What goes along in one transaction is bounded by their sum.
    fn bytes(&self) -> usize;
    /// Writes its rows. An error fails the whole transaction.
    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error>;
    /// Told what became of them. Called on the journal's thread: must be short and must not block.
    fn done(self: Box<Self>, result: Result<(), CommitFailure>);
}

/// Whether the journal can commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ok,
    /// It cannot; it tries again by itself.
    Failing {
        /// Since when.
        since: SystemTime,
        /// Why.
        why: CommitFailure,
    },
}

/// What the journal has done, for the watchdog (progress, not only life) and for metrics.
#[derive(Debug, Default)]
pub struct Progress {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Facts made durable.
    pub facts: AtomicU64,
    /// Bytes of the rows that hold them.
    pub bytes: AtomicU64,
    /// Appends handed over and not yet answered.
    pub pending: AtomicU64,
    /// Commits that failed.
    pub failures: AtomicU64,
}

/// What a journal transaction may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of facts.
    pub commit_bytes: usize,
    /// Appends.
    pub commit_appends: usize,
    /// Bytes of background rows.
    pub side_bytes: usize,
    /// How often a store that refuses writes is asked whether it works again.
    pub probe_every: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            commit_bytes: 4 << 20,
            commit_appends: 8_192,
            side_bytes: 256 << 10,
            probe_every: Duration::from_millis(500),
        }
    }
}

enum Message {
    Append(Append),
    Side(Box<dyn SideWrite>),
    Barrier(Box<dyn FnOnce() + Send>),
    /// A read of that opening has failed.
    Unreadable(u64),
    Shutdown,
}

type EpochObserver = Box<dyn Fn(u64) + Send>;

struct Outside {
    epoch: AtomicU64,
    health: Mutex<Health>,
    progress: Progress,
    observers: Mutex<Vec<EpochObserver>>,
    durable: watch::Sender<u64>,
    #[cfg(test)]
    crank: std::sync::OnceLock<std::sync::Weak<crank::Crank>>,
}

/// The journal, as everybody else holds it.
#[derive(Clone)]
pub struct JournalHandle {
    sender: Sender<Message>,
    outside: Arc<Outside>,
}

impl JournalHandle {
    /// Hands over decided facts. Never blocks; `done` tells what became of them.
    pub fn append(&self, append: Append) {
        self.outside.progress.pending.fetch_add(1, Ordering::Relaxed);
        if let Err(back) = self.send(Message::Append(append))
            && let Message::Append(append) = back.0
        {
            self.outside.progress.pending.fetch_sub(1, Ordering::Relaxed);
            append.done.done(Err(CommitFailure::Stopping));
        }
    }

    /// Hands over background rows.
    pub fn side(&self, rows: Box<dyn SideWrite>) {
        if let Err(back) = self.send(Message::Side(rows))
            && let Message::Side(rows) = back.0
        {
            rows.done(Err(CommitFailure::Stopping));
        }
    }

    /// Runs after every append handed over before has been committed or has failed, on the journal's thread.
    pub fn barrier(&self, after: Box<dyn FnOnce() + Send>) {
        if let Err(back) = self.send(Message::Barrier(after))
            && let Message::Barrier(after) = back.0
        {
            after();
        }
    }

    /// The epoch in which facts must be decided now.
    pub fn epoch(&self) -> u64 {
        self.outside.epoch.load(Ordering::Acquire)
    }

    /// Calls `observer` with every new epoch, on the journal's thread, when the view is what to roll back to, and before the
    /// appends that failed are answered.
    pub fn on_epoch(&self, observer: Box<dyn Fn(u64) + Send>) {
        self.outside.observers.lock().push(observer);
    }

    /// The newest durable sequence, and a wake-up whenever it rises.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.outside.durable.subscribe()
    }

    /// Whether it can commit.
    pub fn health(&self) -> Health {
        self.outside.health.lock().clone()
    }

    /// Appends handed over and not yet answered.
    pub fn pending(&self) -> u64 {
        self.outside.progress.pending.load(Ordering::Relaxed)
    }

    /// What it has done.
    pub fn progress(&self) -> &Progress {
        &self.outside.progress
    }

    /// Ends the thread after all that was handed over before.
    pub fn shutdown(&self) {
        // An error says that it has ended already.
        let _ = self.send(Message::Shutdown);
    }

    /// Waits for what the journal will tell, on a thread that may block; `None`: it will never tell.
    pub(crate) fn wait<T>(&self, told: &Receiver<T>) -> Option<T> {
        #[cfg(test)]
        if let Some(crank) = self.outside.crank.get().and_then(std::sync::Weak::upgrade) {
            return crank.turn_until(told);
        }
        told.recv().ok()
    }

    fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        self.sender.send(message)?;
        #[cfg(test)]
        if let Some(crank) = self.outside.crank.get().and_then(std::sync::Weak::upgrade) {
            crank.ring();
        }
        Ok(())
    }
}

/// What runs the journal: a thread of its own, except where there is only one.
pub(crate) enum Running {
    Thread(JoinHandle<()>),
    #[cfg(test)]
    Crank(Arc<crank::Crank>),
}

impl Running {
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Running::Thread(thread) => thread.is_finished(),
            #[cfg(test)]
            Running::Crank(crank) => crank.is_finished(),
        }
    }

    /// Waits until all that was handed over before the shutdown is done.
    pub(crate) fn join(self) {
        match self {
            // A panic of the thread has been reported by the panic hook; the store closes all the same.
            Running::Thread(thread) => drop(thread.join()),
            #[cfg(test)]
            Running::Crank(crank) => crank.turn_to_the_end(),
        }
    }
}

/// Starts the thread. The store must be open and the view up to date.
pub(crate) fn start(shared: Arc<Shared>, limits: Limits) -> std::io::Result<(JournalHandle, Running)> {
    let (sender, receiver) = channel();
    let last = shared.view.durable_seq();
    let outside = Arc::new(Outside {
        epoch: AtomicU64::new(1),
        health: Mutex::new(Health::Ok),
        progress: Progress::default(),
        observers: Mutex::default(),
        durable: watch::Sender::new(last),
        #[cfg(test)]
        crank: std::sync::OnceLock::new(),
    });
    let handle = JournalHandle {
        sender,
        outside: Arc::clone(&outside),
    };
    let journal = Journal {
        shared,
        outside,
        limits,
        receiver,
        next_seq: last + 1,
        sides: Vec::new(),
        probe_at: None,
        unreadable: 0,
        stopping: false,
    };
    let tell = handle.clone();
    // An error says that the thread has ended, and nobody opens the store anew.
    let unreadable = move |opening| drop(tell.send(Message::Unreadable(opening)));
    journal.shared.database.on_failure(Box::new(unreadable));
    #[cfg(test)]
    if host::one_thread() {
        let crank = crank::start(journal);
        // Nobody else has this handle yet.
        let _ = handle.outside.crank.set(Arc::downgrade(&crank));
        return Ok((handle, Running::Crank(crank)));
    }
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(planted::inherited(move || journal.run()))?;
    Ok((handle, Running::Thread(thread)))
}

struct Journal {
    shared: Arc<Shared>,
    outside: Arc<Outside>,
    limits: Limits,
    receiver: Receiver<Message>,
    next_seq: u64,
    /// Background rows that wait for a transaction with room for them.
    sides: Vec<Box<dyn SideWrite>>,
    /// When to ask the disk again; `None`: it works.
    probe_at: Option<Instant>,
    /// At which opening somebody could not read: redb refuses everything from then on.
    unreadable: u64,
    stopping: bool,
}

impl Journal {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let batch = self.gather(first);
            self.settle(batch);
            if self.stopping {
                break;
            }
        }
        self.end();
    }

    /// One turn: what was gathered is committed, or answered that it cannot be.
    fn settle(&mut self, batch: Batch) {
        if self.probe_at.is_some() {
            let why = self.why();
            self.reject(batch, &why);
        } else {
            self.commit(batch);
        }
        self.probe();
    }

    /// Whoever is left hears that nothing more will come.
    fn end(&mut self) {
        for rows in self.sides.drain(..) {
            rows.done(Err(CommitFailure::Stopping));
        }
        while let Ok(message) = self.receiver.try_recv() {
            self.turn_away(message);
        }
    }

    /// Waits for something to do. `Some(None)`: only the probe or waiting background rows.
    fn next(&mut self) -> Option<Option<Message>> {
        if !self.sides.is_empty() && self.probe_at.is_none() {
            return Some(self.receiver.try_recv().ok());
        }
        match self.probe_at {
            None => self.receiver.recv().ok().map(Some),
            Some(at) => match self.receiver.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(message) => Some(Some(message)),
                Err(RecvTimeoutError::Timeout) => Some(None),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        }
    }

    /// Takes what is there, up to the limits.
    fn gather(&mut self, first: Option<Message>) -> Batch {
        let mut batch = Batch::default();
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Append(append) => batch.push(append, self.outside.epoch.load(Ordering::Relaxed)),
                Message::Barrier(after) => batch.barrier(after),
                Message::Unreadable(opening) => self.unreadable = opening,
                Message::Side(rows) => self.sides.push(rows),
                Message::Shutdown => {
                    self.stopping = true;
                    break;
                }
            }
            if batch.bytes >= self.limits.commit_bytes || batch.appends >= self.limits.commit_appends {
                break;
            }
            next = self.receiver.try_recv().ok();
        }
        let mut room = self.limits.side_bytes;
        // At least one goes, however large, or a large one would wait for ever.
        while let Some(rows) = self.sides.first()
            && (self.stopping || batch.sides.is_empty() || rows.bytes() <= room)
        {
            room = room.saturating_sub(rows.bytes());
            batch.sides.push(self.sides.remove(0));
        }
        if planted::is(Bug::AnswerBeforeSync) {
            self.tell_early(&mut batch);
        }
        batch
    }

    fn why(&self) -> CommitFailure {
        match &*self.outside.health.lock() {
            Health::Failing { why, .. } => why.clone(),
            Health::Ok => CommitFailure::Disk("the store is being reopened".into()),
        }
    }

    fn raise_epoch(&self) {
        let epoch = self.outside.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        for observer in self.outside.observers.lock().iter() {
            commit::guarded(|| observer(epoch));
        }
    }

    fn turn_away(&self, message: Message) {
        match message {
            Message::Append(append) => {
                self.outside.progress.pending.fetch_sub(1, Ordering::Relaxed);
                commit::guarded(|| append.done.done(Err(CommitFailure::Stopping)));
            }
            Message::Side(rows) => commit::guarded(|| rows.done(Err(CommitFailure::Stopping))),
            Message::Barrier(after) => commit::guarded(after),
            Message::Unreadable(_) | Message::Shutdown => {}
        }
    }
}
