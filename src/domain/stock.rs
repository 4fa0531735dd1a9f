//! One SKU in one warehouse: its state, `decide` and `evolve`.

use std::collections::VecDeque;

use super::fact::Claim;
use super::units::{Day, Id, Time, Unit};

/// One lot's inside accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Its id; `""`: stock without a lot.
    pub id: Id,
    /// Its expiry date: sellable through it, not after it.
    pub expires_on: Option<Day>,
    /// Units in sellable, quarantine, in_transit (the order of `Account::ALL`).
    pub inside: [i64; 3],
    /// The newest count of this lot alone.
    pub last_count: Option<Time>,
}

/// What one event moved, kept for as long as a count may speak of an earlier time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// Business time.
    pub at: Time,
    /// The lot.
    pub lot: Id,
    /// The event's own leg on sellable (negative: left).
    pub own: i64,
    /// Units found in sellable with it.
    pub found: i64,
}

/// The balance of one transfer into this warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id.
    pub id: Id,
    /// Units told to be underway.
    pub sent: i64,
    /// Units that arrived or were written off underway.
    pub arrived: i64,
    /// The newest recorded time at which it changed.
    pub touched: Time,
}

/// Where a numbered stream stands for this SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMark {
    /// The source.
    pub source: Id,
    /// The stream.
    pub stream: Id,
    /// The lot that its events name, if any.
    pub lot: Option<Id>,
    /// The highest number seen.
    pub newest: u64,
    /// The number of the newest absolute figure applied; 0: none.
    pub newest_absolute: u64,
    /// Numbers missing below `newest`.
    pub gaps: u64,
}

/// What another system believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The source.
    pub source: Id,
    /// Units that it believes to be sellable.
    pub believes: i64,
    /// Units on the book at that time.
    pub book: i64,
    /// As of when.
    pub at: Time,
    /// Since when they disagree; `None`: they agree.
    pub since: Option<Time>,
}

/// What few SKUs have; boxed, so that the many pay eight bytes for it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rare {
    /// Transfers underway, oldest first.
    pub transfers: Vec<Transfer>,
    /// Numbered streams.
    pub streams: Vec<StreamMark>,
    /// What other systems believe.
    pub beliefs: Vec<Belief>,
    /// Buffer overrides per channel.
    pub buffers: Vec<(Id, i64)>,
}

/// The state of one SKU in one warehouse: the fold of its facts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stock {
    /// The base unit.
    pub unit: Unit,
    /// Strictly increasing with every fact that changes anything.
    pub version: u64,
    /// The lots, sorted by id. A lot that is empty, uncounted and past is dropped when it cannot matter any more.
    pub lots: Vec<Lot>,
    /// Supply, demand, waste, discrepancy (the order of `Account::ALL`).
    pub outside: [i64; 4],
    /// Units found and not yet repaid.
    pub owed: i64,
    /// Whether a lot with a date was ever known: then `""` serves only claims without a threshold.
    pub dated: bool,
    /// Live claims, oldest first.
    pub claims: Vec<Claim>,
    /// The newest count of the whole SKU.
    pub last_count: Option<Time>,
    /// Whether it should be counted.
    pub count_due: bool,
    /// The recent book, by business time; entries older than the configured span are dropped.
    pub book: VecDeque<BookEntry>,
    /// Counts must not speak of a time before this: the book was cut here to stay bounded.
    pub book_floor: Option<Time>,
    /// Transfers, streams, beliefs and buffer overrides.
    pub rare: Option<Box<Rare>>,
}
