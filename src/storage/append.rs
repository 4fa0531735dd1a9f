//! What is handed to the journal: facts already decided and already encoded, and who waits for them.
//!
//! Deciders encode (they run on every core); the journal thread only copies, commits and folds. A fact's sequence is its
//! row's first sequence plus its index, so nothing has to be patched into the bytes. One message carries what one decider
//! made of one batch, with one completion: not one wake-up per event.

use std::sync::Arc;

use crate::domain::fact::{Changes, Outcome};
use crate::domain::reservation::Reservation;
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse;

/// A SKU in a warehouse, as an index into the view's tables; stable while the process lives, never written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SkuIndex(pub u32);

/// What the journal could not make durable, and whether it is worth trying again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// The disk is full.
    StorageFull,
    /// The disk failed otherwise; the text is for the log and the operator.
    Disk(String),
    /// Decided against a state that has been rolled back (an older epoch): decide anew.
    Stale,
    /// The node is stopping.
    Stopping,
}

/// What one fact does to the view, in memory: the same as decoding and folding its bytes, without decoding them.
#[derive(Clone, Debug)]
pub enum Fold {
    /// A fact of a SKU. With empty `changes` only the id is remembered.
    Sku {
        /// Which SKU.
        sku: SkuIndex,
        /// Its version after the fact.
        version: u64,
        /// What changes.
        changes: Changes,
        /// Business time.
        business: Time,
    },
    /// A reservation's state after the fact.
    Reservation {
        /// Its warehouse.
        warehouse: Id,
        /// The reservation, shared with whoever decided about it.
        reservation: Arc<Reservation>,
        /// How many of the facts that follow are of its lines: they become visible together with it.
        lines: u32,
    },
    /// A warehouse, as it is from now on.
    Warehouse(Box<Warehouse>),
    /// A catalogue entry.
    Catalogue {
        /// The SKU.
        sku: Id,
        /// The entry as JSON; empty: removed.
        entry: Box<str>,
    },
    /// What was done about a dead letter.
    DeadLetter {
        /// Sequence of the dead letter's fact.
        letter: u64,
        /// `replayed`, `discarded`, `restored`.
        action: Box<str>,
    },
    /// Nothing changes but what people ask for: rows refused at the door, a command that the node fails on.
    Noted {
        /// Whose list it stands in; empty: the node's own.
        warehouse: Id,
    },
}

/// One fact of an [`Append`]: its fold, and what of it must be remembered.
#[derive(Clone, Debug)]
pub struct Folded {
    /// What it does.
    pub fold: Fold,
    /// When it was decided.
    pub recorded: Time,
    /// `remembered::hash` of (warehouse, source, id) to be remembered; `None` for refusals and for what the node does by itself.
    pub id: Option<u64>,
    /// A second mark to remember with it: `remembered::voided_hash` of the event that a void takes back.
    pub voids: Option<u64>,
    /// Whether the id must be kept for ever (its source is configured so).
    pub keep_forever: bool,
    /// The outcome when it is one of those that people ask for (stale, refused, …); `None` for a plain `applied`.
    pub noted: Option<Outcome>,
}

impl Folded {
    /// The SKU that it is a fact of.
    pub(crate) fn sku(&self) -> Option<SkuIndex> {
        match self.fold {
            Fold::Sku { sku, .. } => Some(sku),
            _ => None,
        }
    }
}

/// Facts of one decider, in the order of decision: one atomic unit of the journal.
pub struct Append {
    /// The epoch in which they were decided.
    pub epoch: u64,
    /// The encoded facts, one after the other.
    pub bytes: Vec<u8>,
    /// The end of each fact in `bytes`.
    pub ends: Vec<u32>,
    /// What each fact does, in the same order.
    pub folds: Vec<Folded>,
    /// Told when they are durable and visible, or why not. Called on the journal's thread: must be short and must not block.
    pub done: Box<dyn Done>,
}

impl Append {
    /// Whether each fact has its bytes and its fold. The journal takes nothing else: sequences would shift.
    pub fn is_consistent(&self) -> bool {
        let whole = self.ends.last().map_or(0, |end| *end as usize) == self.bytes.len();
        let rising = self.ends.first() != Some(&0) && self.ends.windows(2).all(|ends| ends[0] < ends[1]);
        whole && rising && self.ends.len() == self.folds.len()
    }
}

/// A place in a source of events, to be written in the commit that completes all that was taken up to it.
pub trait Mark: Send + Sync {
    /// Whether everything up to it is durable once `rows` more of its rows are, and nothing of it waits for something else.
    fn completes(&self, rows: usize) -> bool;
    /// What is written then.
    fn positions(&self) -> &[Position];
    /// They are written.
    fn written(&self);
}

/// A place in one partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: std::sync::Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the next message to be taken.
    pub next: i64,
    /// A fingerprint of the last message taken: a topic that was made anew has another there.
    pub print: u64,
}

/// Who waits for an [`Append`]. Dropped without a call only when the process is going down.
pub trait Done: Send {
    /// The facts are durable and in the view; the first has sequence `first_seq`, the others follow without gaps. Or not.
    fn done(self: Box<Self>, result: Result<u64, CommitFailure>);

    /// The marks that these facts bring forward, each with how many of its rows are among them. Asked before the commit.
    fn marks(&self, _each: &mut dyn FnMut(std::sync::Arc<dyn Mark>, usize)) {}
}
