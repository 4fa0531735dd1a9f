//! One transaction of the journal, its failure, and the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use redb::{Durability, ReadableTable, WriteTransaction};
use tokio::time::Instant;

use crate::domain::units::Time;
use crate::doom;
use crate::planted::{self, Bug};
use crate::storage::append::{Append, CommitFailure, Done, Folded};
use crate::storage::database::{ReadError, failure_of};
use crate::storage::position::Marks;
use crate::storage::record::Packer;
use crate::storage::tables::{self, meta};

use super::{Health, Journal, SideWrite};

/// Who is told, in the order in which they came.
enum Waiting {
    /// An append, with the number of its facts.
    Append(Box<dyn Done>, usize),
    /// An append that is not taken.
    Refused(Box<dyn Done>, CommitFailure),
    /// A barrier.
    Barrier(Box<dyn FnOnce() + Send>),
}

/// What goes into one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    /// The facts as each append has them: put together, they would be copied once more.
    facts: Vec<(Vec<u8>, Vec<u32>, Vec<Folded>)>,
    /// How many they are.
    count: usize,
    waiting: Vec<Waiting>,
    marks: Marks,
    epoch: u64,
    pub(super) sides: Vec<Box<dyn SideWrite>>,
    pub(super) bytes: usize,
    pub(super) appends: usize,
}

impl Batch {
    pub(super) fn push(&mut self, append: Append, epoch: u64) {
        self.appends += 1;
        if append.epoch != epoch && !planted::is(Bug::EpochIgnored) {
            self.waiting.push(Waiting::Refused(append.done, CommitFailure::Stale));
            return;
        }
        if !append.is_consistent() {
            // A fact without its fold would shift every sequence after it.
            let why = "an append whose facts and folds do not match was not taken; this is a defect of its decider";
            self.waiting
                .push(Waiting::Refused(append.done, CommitFailure::Disk(why.into())));
            return;
        }
        self.epoch = epoch;
        self.bytes += append.bytes.len();
        append.done.marks(&mut |mark, rows| self.marks.add(mark, rows));
        self.waiting.push(Waiting::Append(append.done, append.folds.len()));
        self.count += append.folds.len();
        self.facts.push((append.bytes, append.ends, append.folds));
    }

    pub(super) fn barrier(&mut self, after: Box<dyn FnOnce() + Send>) {
        self.waiting.push(Waiting::Barrier(after));
    }

    fn rows(&self, first_seq: u64) -> Vec<(u64, Vec<u8>)> {
        let newest = self.facts.iter().rev().find_map(|(.., folds)| folds.last());
        let recorded = newest.map_or(Time(0), |folded| folded.recorded);
        let mut packer = Packer::new(first_seq, self.epoch, recorded, self.bytes);
        for (bytes, ends, _) in &self.facts {
            let mut start = 0;
            for end in ends {
                packer.push(&bytes[start..*end as usize]);
                start = *end as usize;
            }
        }
        packer.finish()
    }

    fn has_facts(&self) -> bool {
        self.count > 0
    }
}

/// A caller's code must not end the journal; its panic has been reported by the panic hook.
pub(super) fn guarded(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

impl Journal {
    pub(super) fn commit(&mut self, mut batch: Batch) {
        if !batch.has_facts() && batch.sides.is_empty() {
            self.tell(batch, &Ok(()));
            return;
        }
        let (began, facts) = (Instant::now(), batch.count);
        let written = self.write(&mut batch);
        metrics::histogram!("shelfd_commit_seconds").record(began.elapsed().as_secs_f64());
        match written {
            Ok(()) => {
                metrics::histogram!("shelfd_commit_facts").record(facts as f64);
                self.landed(batch);
            }
            Err(error) => self.failed(batch, &error),
        }
    }

    fn write(&self, batch: &mut Batch) -> Result<(), redb::Error> {
        let rows = batch.rows(self.next_seq);
        let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
        self.transact(|transaction| {
            let mut table = transaction.open_table(tables::JOURNAL)?;
            for (key, row) in rows {
                table.insert(key, row.as_slice())?;
            }
            drop(table);
            batch.marks.write(transaction)?;
            batch.sides.iter_mut().try_for_each(|rows| rows.write(transaction))
        })?;
        self.outside.progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn landed(&mut self, mut batch: Batch) {
        let progress = &self.outside.progress;
        progress.commits.fetch_add(1, Ordering::Relaxed);
        progress.facts.fetch_add(batch.count as u64, Ordering::Relaxed);
        let seq = self.next_seq + batch.count as u64;
        doom::may_die("journal");
        let mut first = self.next_seq;
        for (.., folds) in batch.facts.drain(..) {
            let facts = folds.len() as u64;
            self.shared.view.fold_all(folds, first);
            first += facts;
        }
        self.shared.view.set_durable(seq - 1);
        batch.marks.landed();
        self.tell(batch, &Ok(()));
        self.next_seq = seq;
        self.outside.durable.send_if_modified(|durable| {
            let rises = *durable < seq - 1;
            *durable = seq - 1;
            rises
        });
    }

    /// Answers everybody, in order.
    fn tell(&self, batch: Batch, result: &Result<(), CommitFailure>) {
        let mut seq = self.next_seq;
        let progress = &self.outside.progress;
        for waiting in batch.waiting {
            match waiting {
                Waiting::Append(done, facts) => {
                    progress.pending.fetch_sub(1, Ordering::Relaxed);
                    let first = result.clone().map(|()| seq);
                    seq += facts as u64;
                    guarded(|| done.done(first));
                }
                Waiting::Refused(done, why) => {
                    progress.pending.fetch_sub(1, Ordering::Relaxed);
                    guarded(|| done.done(Err(why)));
                }
                Waiting::Barrier(after) => guarded(after),
            }
        }
        for rows in batch.sides {
            let result = result.clone();
            guarded(|| rows.done(result));
        }
    }

    /// What [`Bug::AnswerBeforeSync`] does.
    pub(super) fn tell_early(&self, batch: &mut Batch) {
        let early = Batch {
            waiting: std::mem::take(&mut batch.waiting),
            ..Batch::default()
        };
        self.tell(early, &Ok(()));
    }

    /// The transaction failed, as far as anybody can tell now.
    fn failed(&mut self, batch: Batch, error: &redb::Error) {
        self.outside.progress.failures.fetch_add(1, Ordering::Relaxed);
        let why = failure_of(error);
        *self.outside.health.lock() = Health::Failing {
            since: SystemTime::now(),
            why: why.clone(),
        };
        self.probe_at = Some(Instant::now() + self.limits.probe_every);
        self.shared.database.leave();
        let facts = batch.count as u64;
        let landed = facts > 0 && self.reopened_with(self.next_seq + facts);
        if landed || planted::is(Bug::FailureAnsweredDone) {
            self.landed(batch)
        } else {
            self.reject(batch, &why)
        }
    }

    /// Opens the store anew and says whether it has all facts below `end` after all, durably: what a failed sync left in doubt is
    /// written and synced once more when the file is opened.
    fn reopened_with(&self, end: u64) -> bool {
        self.shared.database.open().is_ok() && self.shared.database.last_seq() == Ok(end - 1)
    }

    /// Answers a batch that will not be durable. Nothing decided on top of it may be, either: the epoch rises first.
    pub(super) fn reject(&mut self, batch: Batch, why: &CommitFailure) {
        if batch.has_facts() {
            self.raise_epoch();
        }
        self.tell(batch, &Err(why.clone()));
    }

    /// Asks a store that has failed whether it works again, when it is time.
    pub(super) fn probe(&mut self) {
        if self.unreadable == self.shared.database.opening() && self.probe_at.is_none() {
            self.suspect();
        }
        if self.probe_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.probe_at = match self.recover() {
            Ok(()) => {
                *self.outside.health.lock() = Health::Ok;
                None
            }
            Err(why) => {
                if let Health::Failing { why: known, .. } = &mut *self.outside.health.lock() {
                    *known = why;
                }
                // redb refuses every write after a failed one until it is opened anew.
                self.shared.database.leave();
                // Reads go on meanwhile, if the disk lets them; the next look tells.
                let _ = self.shared.database.open();
                Some(Instant::now() + self.limits.probe_every)
            }
        };
    }

    /// After a read that failed redb refuses everything, writes too: it is opened anew before anybody has to fail.
    fn suspect(&mut self) {
        self.shared.database.leave();
        *self.outside.health.lock() = Health::Failing {
            since: SystemTime::now(),
            why: CommitFailure::Disk("a read failed".into()),
        };
        self.probe_at = Some(Instant::now());
    }

    fn recover(&mut self) -> Result<(), CommitFailure> {
        if self.shared.database.get().is_none() {
            self.shared.database.open().map_err(|error| failure_of(&error))?;
        }
        let unreadable = |error: ReadError| CommitFailure::Disk(error.to_string());
        self.touch().map_err(|error| failure_of(&error))?;
        let last = self.shared.database.last_seq().map_err(unreadable)?;
        if last >= self.next_seq {
            // Answered as failed, since nobody could know then; it is true now, and whoever repeats it hears `duplicate`.
            self.shared.replay(self.next_seq).map_err(unreadable)?;
            self.next_seq = last + 1;
            self.raise_epoch();
            self.outside.durable.send_replace(last);
        }
        Ok(())
    }

    /// A tiny durable write.
    fn touch(&self) -> Result<(), redb::Error> {
        self.transact(|transaction| {
            let mut table = transaction.open_table(tables::META)?;
            let known = table.get(meta::PROBE)?;
            let known = known.and_then(|value| value.value().try_into().ok().map(u64::from_le_bytes));
            let next = known.unwrap_or(0).wrapping_add(1).to_le_bytes();
            table.insert(meta::PROBE, next.as_slice())?;
            Ok(())
        })
    }

    fn transact(&self, write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
        let database = self.shared.database.get().ok_or(redb::Error::DatabaseClosed)?;
        // redb panics at a page that is damaged; the journal says that it cannot write, and reads from memory go on.
        let written = catch_unwind(AssertUnwindSafe(|| -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            let unsynced = planted::is(Bug::CommitWithoutSync);
            transaction.set_durability(if unsynced { Durability::None } else { Durability::Immediate })?;
            write(&transaction)?;
            transaction.commit()?;
            Ok(())
        }));
        written.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())))
    }
}
