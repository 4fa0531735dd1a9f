//! What the store lets go, a small portion at a time: ids past their window, and facts past `history_days`.
//!
//! Facts go by whole generations, and only below the snapshot, every reader's cursor and the id window. What they did stays
//! folded in the snapshot rows: it is the opening balance of every ledger. Deleting fact by fact was rejected: rows would have
//! to be written anew only to be shorter.

use std::sync::Arc;

use crate::domain::units::Time;
use crate::planted::{self, Bug};

use super::answered::{self, CHUNK};
use super::append::CommitFailure;
use super::database::ReadError;
use super::journal::JournalHandle;
use super::rows::{self, Put};
use super::runs::{Kind, Sealed};
use super::store::{Shared, damaged};
use super::tables::{self, meta};

/// Rows removed in one portion.
const PORTION: usize = 32;

/// Why a portion was not removed: it is tried again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They could not be written.
    #[error("background rows were not written: {0:?}")]
    Write(CommitFailure),
}

impl From<CommitFailure> for KeepError {
    fn from(failure: CommitFailure) -> KeepError {
        KeepError::Write(failure)
    }
}

/// The one who lets go. There must be only one.
pub(crate) struct Retention {
    shared: Arc<Shared>,
    journal: JournalHandle,
    /// Up to where the answers to ids kept for ever are written, of the generation whose facts are to go next.
    answered: u64,
}

impl Retention {
    pub(crate) fn new(shared: Arc<Shared>, journal: JournalHandle) -> Retention {
        Retention {
            shared,
            journal,
            answered: 0,
        }
    }

    /// Removes one portion. Says whether there is more.
    pub(crate) fn step(&mut self, now: Time) -> Result<bool, KeepError> {
        // Leftovers first: rows of what has been given up already, also by an earlier life of the process.
        if self.sweep_journal()? {
            return Ok(true);
        }
        for (number, sealed) in self.shared.runs.all() {
            if self.sweep_runs(number, sealed)? || self.give_up(number, sealed, now)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives up what of a generation is past its time; its rows are swept afterwards.
    fn give_up(&mut self, number: u64, sealed: Sealed, now: Time) -> Result<bool, KeepError> {
        let options = &self.shared.options;
        let end = (number + 1) << self.shared.generation_bits;
        let past_window = sealed.newest < now.plus_ms(-options.id_window_ms);
        let past_history = sealed.newest < now.plus_ms(-options.history_ms);
        let unread = self
            .shared
            .cursors
            .lowest(self.shared.view.durable_seq())
            .is_none_or(|cursor| cursor + 1 >= end);
        let mut left = sealed;
        if past_window {
            left.ids = 0;
        }
        // Facts go in order, so that the journal has one floor.
        let oldest = self.shared.journal_floor() >= number << self.shared.generation_bits;
        let saved = end <= self.shared.snapshot_floor() + 1 || planted::is(Bug::CutAboveFloor);
        if past_window && past_history && unread && oldest && saved {
            left.facts = false;
        }
        if left == sealed {
            return Ok(false);
        }
        if !left.facts && sealed.facts && sealed.forever > 0 && self.keep_answers(number << self.shared.generation_bits, end)? {
            return Ok(true);
        }
        let mut puts = vec![Put::Generation(number, Some(left.encode()))];
        if !left.facts && sealed.facts {
            puts.push(Put::Meta(meta::JOURNAL_FLOOR, end));
        }
        rows::write(&self.journal, puts)?;
        self.shared.runs.change(number, Some(left));
        if !left.facts && sealed.facts {
            self.shared.set_journal_floor(end);
        }
        Ok(true)
    }

    /// Writes one row of answers to the ids that outlive the facts from `base` to `end`. Says whether it did; no: all are written.
    /// The rows begin at the same places however often it is begun anew.
    fn keep_answers(&mut self, base: u64, end: u64) -> Result<bool, KeepError> {
        let first = self.answered.max(base);
        if first >= end {
            return Ok(false);
        }
        let until = end.min(first + CHUNK);
        let mut facts = Vec::new();
        let mut next = first;
        while next < until {
            let Some(row) = self.shared.database.row_at_or_after(next)? else {
                break;
            };
            for stored in row.stored_from(next) {
                facts.push(stored.map_err(|why| damaged(row.header.first_seq, &why))?);
            }
            next = row.end_seq();
        }
        let row = answered::row(first, facts.iter().filter(|stored| stored.fact.seq < until));
        rows::write(&self.journal, row.map(|row| Put::Answered(first, row)).into_iter().collect())?;
        self.answered = until;
        Ok(true)
    }

    /// Removes rows of the journal that lie wholly below its floor.
    fn sweep_journal(&self) -> Result<bool, KeepError> {
        let floor = self.shared.journal_floor();
        let keys = self.shared.database.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let mut keys = Vec::new();
            for row in table.range(..=floor)?.take(PORTION + 1) {
                keys.push(row?.0.value());
            }
            Ok(keys)
        })?;
        // The last of them may reach up to the floor and past it.
        let gone: Vec<Put> = keys.windows(2).map(|keys| Put::Journal(keys[0])).collect();
        let more = !gone.is_empty();
        rows::write(&self.journal, gone)?;
        Ok(more)
    }

    /// Removes rows of runs that have been given up; then, when nothing is left of a generation, its own row.
    fn sweep_runs(&self, number: u64, sealed: Sealed) -> Result<bool, KeepError> {
        let kept = [sealed.ids > 0, sealed.forever > 0, sealed.facts, sealed.facts];
        for (kind, _) in Kind::ALL.into_iter().zip(kept).filter(|(_, kept)| !kept) {
            let kind = kind as u8;
            let keys = self.shared.database.read(|transaction| {
                let table = transaction.open_table(tables::RUN)?;
                let mut keys = Vec::new();
                for row in table
                    .range((kind, number, 0, 0)..=(kind, number, u64::MAX, u32::MAX))?
                    .take(PORTION)
                {
                    keys.push(row?.0.value());
                }
                Ok(keys)
            })?;
            if !keys.is_empty() {
                rows::write(&self.journal, keys.into_iter().map(|key| Put::Run(key, None)).collect())?;
                return Ok(true);
            }
        }
        if kept == [false; 4] && number + 1 < self.shared.runs.first_live() {
            rows::write(&self.journal, vec![Put::Generation(number, None)])?;
            self.shared.runs.change(number, None);
            return Ok(true);
        }
        Ok(false)
    }
}
