//! A batch of events underway: shared by all who work on it, its verdicts written in place.
//!
//! One `Arc` travels instead of one message per event; whoever decides a row writes the verdict into the row's own cell, and
//! the last one wakes the one who waits. A channel per event was measured and rejected: a wake-up costs more than a decision.
//!
//! A [`Ticket`] is the promise of an answer. It is shared by everything that may still answer; when the last holder is gone
//! (a dead actor, a closed mailbox) the rows without a verdict are answered as not judged, so that nobody waits for ever.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::Id;
use crate::storage::append::{CommitFailure, SkuIndex};

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was judged, and the judgement is durable (a refusal: the state that it was judged against is).
    Judged {
        /// What came of it: now, or the first time when it is a duplicate.
        outcome: Outcome,
        /// The sequence of its fact; a dead letter's id. 0 when there is none.
        seq: u64,
        /// The SKU's version after it; 0 when the SKU does not exist.
        version: u64,
        /// Whether this only repeats what was answered the first time.
        duplicate: bool,
    },
    /// It was not judged: nothing happened, send it again (`overloaded`, `storage_full`, `stopping`).
    NotJudged(Refusal),
}

/// The refusal that tells a caller why nothing could be made durable.
pub fn not_durable(failure: &CommitFailure) -> Refusal {
    match failure {
        CommitFailure::StorageFull => Refusal::new(
            Code::StorageFull,
            "the disk is full: nothing was changed; reads go on, writes resume by themselves when there is space",
        ),
        CommitFailure::Disk(error) => Refusal::new(
            Code::Overloaded,
            format!("the store cannot commit ({error}): nothing was changed; send it again"),
        ),
        CommitFailure::Stale => Refusal::new(
            Code::Overloaded,
            "decided just before the store failed, and rolled back: nothing was changed; send it again",
        ),
        CommitFailure::Stopping => Refusal::new(Code::Stopping, "the node is stopping: nothing was changed; send it again"),
    }
}

/// The rows of one request. Rows are reached through `order`, which groups them by warehouse and SKU and keeps the order of
/// the request within a SKU.
#[derive(Debug)]
pub struct Batch {
    events: Vec<Event>,
    skus: Vec<SkuIndex>,
    order: Vec<u32>,
    verdicts: Vec<OnceLock<Verdict>>,
    open: AtomicUsize,
    answered: Notify,
}

impl Batch {
    /// A batch of events and the index of each one's SKU (same length), and the groups of `order` per warehouse.
    pub fn new(events: Vec<Event>, skus: Vec<SkuIndex>) -> (Arc<Batch>, Vec<(Id, Range<u32>)>) {
        let mut order: Vec<u32> = (0..events.len() as u32).collect();
        let one_warehouse = events.windows(2).all(|pair| pair[0].warehouse == pair[1].warehouse);
        if one_warehouse {
            order.sort_by_key(|row| skus[*row as usize]);
        } else {
            order.sort_by(|a, b| {
                let key = |row: u32| (&events[row as usize].warehouse, skus[row as usize]);
                key(*a).cmp(&key(*b))
            });
        }
        let mut groups: Vec<(Id, Range<u32>)> = Vec::new();
        for (at, row) in order.iter().enumerate() {
            let warehouse = &events[*row as usize].warehouse;
            match groups.last_mut() {
                Some((last, range)) if last == warehouse => range.end = at as u32 + 1,
                _ => groups.push((warehouse.clone(), at as u32..at as u32 + 1)),
            }
        }
        let verdicts = events.iter().map(|_| OnceLock::new()).collect();
        let open = AtomicUsize::new(events.len());
        (
            Arc::new(Batch {
                events,
                skus,
                order,
                verdicts,
                open,
                answered: Notify::new(),
            }),
            groups,
        )
    }

    /// The row at a place of the working order.
    pub fn row_at(&self, place: u32) -> u32 {
        self.order[place as usize]
    }

    /// The place of a row in the working order: a search, for the rare row that must be taken up again.
    pub fn place_of(&self, row: u32) -> u32 {
        self.order.iter().position(|known| *known == row).map_or(0, |at| at as u32)
    }

    /// A row's event.
    pub fn event(&self, row: u32) -> &Event {
        &self.events[row as usize]
    }

    /// A row's SKU.
    pub fn sku(&self, row: u32) -> SkuIndex {
        self.skus[row as usize]
    }

    /// A row's verdict, once it has one.
    pub fn verdict(&self, row: u32) -> Option<&Verdict> {
        self.verdicts[row as usize].get()
    }

    /// Gives a row its verdict. The first one stands.
    pub fn answer(&self, row: u32, verdict: Verdict) {
        if self.verdicts[row as usize].set(verdict).is_ok() && self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answered.notify_one();
        }
    }

    /// Waits until every row has its verdict, and takes them in the order of the rows.
    pub async fn verdicts(self: Arc<Batch>) -> Vec<Verdict> {
        if self.open.load(Ordering::Acquire) > 0 {
            self.answered.notified().await;
        }
        match Arc::try_unwrap(self) {
            Ok(batch) => batch
                .verdicts
                .into_iter()
                .map(|cell| cell.into_inner().unwrap_or_else(lost))
                .collect(),
            Err(batch) => batch
                .verdicts
                .iter()
                .map(|cell| cell.get().cloned().unwrap_or_else(lost))
                .collect(),
        }
    }
}

fn lost() -> Verdict {
    Verdict::NotJudged(Refusal::new(
        Code::Overloaded,
        "whoever worked on it has failed: nothing was changed; send it again",
    ))
}

/// Whatever must not be let go before the work on a batch has ended, whoever still waits for it: the door's share of the valve.
pub type Held = Option<Box<dyn std::any::Any + Send + Sync>>;

/// The promise of an answer to every row of a batch; see the module.
pub struct Ticket {
    batch: Arc<Batch>,
    _held: Held,
}

impl Ticket {
    /// A ticket for a batch, and what is held until the last of those who work on it has let go.
    pub fn new(batch: Arc<Batch>, held: Held) -> Arc<Ticket> {
        Arc::new(Ticket { batch, _held: held })
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.batch.fmt(f)
    }
}

impl std::ops::Deref for Ticket {
    type Target = Batch;
    fn deref(&self) -> &Batch {
        &self.batch
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.batch.open.load(Ordering::Acquire) == 0 {
            return;
        }
        for row in 0..self.batch.events.len() as u32 {
            if self.batch.verdict(row).is_none() {
                self.batch.answer(row, lost());
            }
        }
    }
}
