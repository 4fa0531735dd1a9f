//! A batch of events underway: shared by all who work on it, its verdicts written in place.
//!
//! One `Arc` travels instead of one message per event; whoever decides a row writes the verdict into the row's own cell, and
//! the last one wakes the one who waits. A channel per event was measured and rejected: a wake-up costs more than a decision.
//!
//! A [`Ticket`] is the promise of an answer. It is shared by everything that may still answer; when the last holder is gone
//! (a dead actor, a closed mailbox) the rows without a verdict are answered as not judged, so that nobody waits for ever.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::Id;
use crate::storage::append::{CommitFailure, Mark, Position, SkuIndex};

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
    NotJudged(Box<Refusal>),
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

/// Where a row's verdict is written: a plain `applied` as two numbers, and anything else behind a pointer. Nearly all are plain,
/// and a batch has a thousand of them.
#[derive(Debug, Default)]
struct Cell {
    /// 0: open; [`OTHER`]: see `other`; otherwise the sequence of the fact.
    seq: AtomicU64,
    version: AtomicU64,
    other: OnceLock<Box<Verdict>>,
}

const OTHER: u64 = u64::MAX;
const LAST: u64 = OTHER - 1;

impl Cell {
    fn plain(&self, seq: u64, version: u64) -> bool {
        if self.seq.load(Ordering::Acquire) != 0 {
            return false;
        }
        self.version.store(version, Ordering::Relaxed);
        self.seq.compare_exchange(0, seq, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn other(&self, verdict: Verdict) -> bool {
        let mine = self
            .seq
            .compare_exchange(0, OTHER, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        mine && self.other.set(Box::new(verdict)).is_ok()
    }

    fn verdict(&self) -> Option<Cow<'_, Verdict>> {
        match self.seq.load(Ordering::Acquire) {
            0 => None,
            OTHER => self.other.get().map(|verdict| Cow::Borrowed(&**verdict)),
            seq => Some(Cow::Owned(Verdict::Judged {
                outcome: Outcome::APPLIED,
                seq,
                version: self.version.load(Ordering::Relaxed),
                duplicate: false,
            })),
        }
    }
}

/// One thing for each row. A single event, the usual request, needs no room of its own for it.
pub type Row<T> = SmallVec<[T; 1]>;
/// The events of one request.
pub type Events = Row<Event>;
/// The rows of each warehouse, as ranges of the working order: nearly always those of one.
pub type Groups = SmallVec<[(Id, Range<u32>); 1]>;

/// The rows of one request. Rows are reached through `order`, which groups them by warehouse and SKU and keeps the order of
/// the request within a SKU.
#[derive(Debug)]
pub struct Batch {
    events: Events,
    skus: Row<SkuIndex>,
    order: Row<u32>,
    verdicts: Row<Cell>,
    open: AtomicUsize,
    answered: Notify,
    reach: Reach,
}

/// Tells of a row the message that it came with, as JSON. Asked only when the row becomes a dead letter, so that nobody writes down
/// a million messages for the one that kills.
pub type Bearer = Box<dyn Fn(u32) -> String + Send + Sync>;

/// How far into their source the rows reach: written in the commit that completes the last of them, unless one of them needs
/// a word elsewhere first.
#[derive(Default)]
pub struct Reach {
    positions: Vec<Position>,
    spoilt: AtomicBool,
    written: AtomicBool,
    bearer: Option<Bearer>,
}

impl Reach {
    /// Up to these positions; `bearer` tells how each row came.
    pub fn to(positions: Vec<Position>, bearer: Option<Bearer>) -> Reach {
        Reach {
            positions,
            bearer,
            ..Reach::default()
        }
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// A batch of events and the index of each one's SKU (same length), and the groups of `order` per warehouse.
    pub fn new(events: Events, skus: Row<SkuIndex>, reach: Reach) -> (Arc<Batch>, Groups) {
        let one_warehouse = events.windows(2).all(|pair| pair[0].warehouse == pair[1].warehouse);
        let order: Row<u32> = if one_warehouse {
            // A SKU and a row in one number: it is compared as it lies there, and no two are equal.
            let rows = skus.iter().zip(0u64..);
            let mut keys: Row<u64> = rows.map(|(sku, row)| u64::from(sku.0) << 32 | row).collect();
            keys.sort_unstable();
            keys.into_iter().map(|key| key as u32).collect()
        } else {
            let mut order: Row<u32> = (0..events.len() as u32).collect();
            order.sort_by(|a, b| {
                let key = |row: u32| (&events[row as usize].warehouse, skus[row as usize]);
                key(*a).cmp(&key(*b))
            });
            order
        };
        let mut groups = Groups::new();
        for (at, row) in order.iter().enumerate() {
            let warehouse = &events[*row as usize].warehouse;
            match groups.last_mut() {
                Some((last, range)) if last == warehouse => range.end = at as u32 + 1,
                _ => groups.push((warehouse.clone(), at as u32..at as u32 + 1)),
            }
        }
        let verdicts = events.iter().map(|_| Cell::default()).collect();
        let open = AtomicUsize::new(events.len());
        (
            Arc::new(Batch {
                events,
                skus,
                order,
                verdicts,
                open,
                answered: Notify::new(),
                reach,
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

    /// The message that a row came with, as JSON, when it came with one.
    pub fn message(&self, row: u32) -> Option<String> {
        self.reach.bearer.as_ref().map(|bearer| bearer(row))
    }

    /// A row's SKU.
    pub fn sku(&self, row: u32) -> SkuIndex {
        self.skus[row as usize]
    }

    /// Whether a row has its verdict.
    pub fn is_answered(&self, row: u32) -> bool {
        self.verdicts[row as usize].seq.load(Ordering::Acquire) != 0
    }

    /// Whether a position waits for its rows.
    pub fn reaches(&self) -> bool {
        !self.reach.positions.is_empty()
    }

    /// A row was not taken: what it reaches to is not written with it, since somebody has to be told of the row first.
    pub fn spoil(&self) {
        self.reach.spoilt.store(true, Ordering::Release);
    }

    /// Whether the positions were written in the commit of its last row.
    pub fn is_written(&self) -> bool {
        self.reach.written.load(Ordering::Acquire)
    }

    /// Gives a row its verdict. The first one stands.
    pub fn answer(&self, row: u32, verdict: Verdict) {
        if self.reaches() && !verdict.is_taken() {
            self.spoil();
        }
        let fresh = match verdict {
            Verdict::Judged {
                outcome: Outcome::APPLIED,
                seq: seq @ 1..=LAST,
                version,
                duplicate: false,
            } => self.verdicts[row as usize].plain(seq, version),
            other => self.verdicts[row as usize].other(other),
        };
        self.count(usize::from(fresh));
    }

    /// Gives rows the verdict `applied` with nothing to add, each with its sequence and version; counted once for all.
    pub fn applied(&self, rows: impl Iterator<Item = (u32, u64, u64)>) {
        let fresh = rows.filter(|(row, seq, version)| self.verdicts[*row as usize].plain(*seq, *version));
        self.count(fresh.count());
    }

    fn count(&self, fresh: usize) {
        if fresh > 0 && self.open.fetch_sub(fresh, Ordering::AcqRel) == fresh {
            self.answered.notify_one();
        }
    }

    /// Waits until every row has its verdict.
    pub(super) async fn judged(&self) {
        if self.open.load(Ordering::Acquire) > 0 {
            self.answered.notified().await;
        }
    }

    /// What became of each row, in the order of the request.
    pub fn verdicts(&self) -> impl Iterator<Item = Cow<'_, Verdict>> {
        self.verdicts
            .iter()
            .map(|cell| cell.verdict().unwrap_or_else(|| Cow::Owned(lost())))
    }

    /// The events, in the order of the request.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl Mark for Batch {
    fn completes(&self, rows: usize) -> bool {
        !self.reach.spoilt.load(Ordering::Acquire) && self.open.load(Ordering::Acquire) == rows
    }

    fn positions(&self) -> &[Position] {
        &self.reach.positions
    }

    fn written(&self) {
        self.reach.written.store(true, Ordering::Release);
    }
}

impl Verdict {
    /// Whether the event took effect, now or before, or is kept as a dead letter: its sender has nothing more to do.
    pub fn is_taken(&self) -> bool {
        matches!(self, Verdict::Judged { outcome, .. } if outcome.binds())
    }
}

fn lost() -> Verdict {
    Verdict::NotJudged(Box::new(Refusal::new(
        Code::Overloaded,
        "whoever worked on it has failed: nothing was changed; send it again",
    )))
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

    /// The batch itself, for whoever must not hold the promise.
    pub fn batch(&self) -> Arc<Batch> {
        self.batch.clone()
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
            if !self.batch.is_answered(row) {
                self.batch.answer(row, lost());
            }
        }
    }
}
