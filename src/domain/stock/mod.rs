//! One SKU in one warehouse: its state, `decide` (what follows from an event) and `evolve` (the fold of what followed).
//!
//! What may live here: the rules about the units of one SKU. Baskets over several SKUs are `reservation`'s, what may be
//! promised is `available`'s, who was seen before is the dedupe's.
//!
//! One file per idea: `gate` admits an event (version, unit, lot, time), `leave` and `arrive` move units, `count`,
//! `snapshot`, `transfer` and `void` are the events with rules of their own, `late` knows what a count had seen already,
//! `stream` numbers, `settle` what follows from any change (promises at risk, forgetting what cannot matter).
//!
//! The alternative, one table of rules per event type that `evolve` interprets, was rejected: then a replay would judge
//! again, with today's rules, what had been decided long ago. All judgement is in `decide`; `evolve` is blind.
//!
//! # The recent book
//!
//! A count speaks of an earlier time, so a SKU can tell its [`Book`] for the last day: one entry per business time
//! and lot. `own` is what events moved on sellable at that time, `found` what had to be found for them, `set` what counts
//! set and deliveries repaid. Then, for a time `t`,
//!
//! - what events moved after `t` is the sum of `own` over later entries (this is what a count adds);
//! - how a lot stood at `t` is its sellable less all three over later entries (this is what a late event picks among).
//!
//! A lot that fills a short one moves `own` between the two, so it sums to zero over the SKU.
//!
//! # Where the rules leave room
//!
//! - A count clears the flag `count_due`, also when it is of one lot.
//! - A count of the SKU takes in the order of a pick (`""` first among dated lots, then soonest first, expired last).
//! - An adjustment or a release that names a lot is judged against that lot; it is a correction, not a physical report.
//! - What is found for an event that names no lot is found in `""`.
//! - A late event is late leg by leg: when only some of the lots that it touches were counted since, the others move as
//!   usual, and the verdict is `applied`. It is `included_in_count` when every counted leg was late.
//! - Only the leg on sellable can be late, because a count counts sellable: a late write-off from quarantine is none.
//! - A void's fact stands at its arrival; in the book it takes the entry back at the time of the event that it takes back,
//!   so a count gives the same book whether it comes before or after the void.
//! - A snapshot may name a lot: then it is a belief about that lot (from an authoritative source: a count of it).

use smallvec::SmallVec;

use super::available::available;
use super::event::Inside;
use super::fact::{Account, After, OnOffer};
use super::units::{Day, Id, MaybeTime, Time, Unit};

mod arrive;
mod book;
mod check;
mod claims;
mod count;
mod decide;
mod evolve;
pub(in crate::domain) mod gate;
pub(in crate::domain) mod late;
pub(in crate::domain) mod leave;
mod quick;
pub(in crate::domain) mod settle;
mod snapshot;
mod stream;
mod transfer;
mod void;

#[cfg(test)]
mod tests;

pub use book::{Book, BookEntry};
pub use check::{Violation, check, check_promises};
pub use claims::Claims;
pub use decide::{Context, Decision, Limits, Policy, Voided, decide};
pub use evolve::evolve;
pub use transfer::left_lots;

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
    pub last_count: MaybeTime,
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
    /// The lot that it speaks of; `None`: the SKU.
    pub lot: Option<Id>,
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
    /// The lots, sorted by id; most SKUs have one. A lot that is empty, uncounted and past is dropped when it cannot matter any more.
    pub lots: SmallVec<[Lot; 1]>,
    /// Supply, demand, waste, discrepancy (the order of `Account::ALL`).
    pub outside: [i64; 4],
    /// Units found and not yet repaid.
    pub owed: i64,
    /// Whether a lot with a date was ever known: then `""` serves only claims without a threshold.
    pub dated: bool,
    /// Live claims, oldest first.
    pub claims: Claims,
    /// The newest count of the whole SKU.
    pub last_count: MaybeTime,
    /// Whether it should be counted.
    pub count_due: bool,
    /// The recent book, by business time; entries older than the configured span are dropped.
    pub book: Book,
    /// Counts must not speak of a time before this: the book was cut here to stay bounded.
    pub book_floor: MaybeTime,
    /// Transfers, streams, beliefs and buffer overrides.
    pub rare: Option<Box<Rare>>,
}

impl Lot {
    /// An empty lot.
    pub fn new(id: Id, expires_on: Option<Day>) -> Lot {
        Lot {
            id,
            expires_on,
            inside: [0; 3],
            last_count: MaybeTime::NONE,
        }
    }

    /// Units on the shelf.
    pub fn sellable(&self) -> i64 {
        self.inside[0]
    }

    /// Units in one inside account.
    pub fn units(&self, account: Inside) -> i64 {
        self.inside[account as usize]
    }

    /// Whether its last day is over on `today`. A lot without a date never expires.
    pub fn expired(&self, today: Day) -> bool {
        self.expires_on.is_some_and(|last| last < today)
    }
}

impl From<Inside> for Account {
    fn from(inside: Inside) -> Account {
        match inside {
            Inside::Sellable => Account::Sellable,
            Inside::Quarantine => Account::Quarantine,
            Inside::InTransit => Account::InTransit,
        }
    }
}

impl Stock {
    /// The seven accounts, in the order of [`Account::ALL`].
    pub fn accounts(&self) -> [i64; 7] {
        let [supply, demand, waste, discrepancy] = self.outside;
        let inside = self.lots.iter().fold([0i64; 3], |sum, lot| {
            std::array::from_fn(|i| sum[i].saturating_add(lot.inside[i]))
        });
        [inside[0], inside[1], inside[2], supply, demand, waste, discrepancy]
    }

    /// Units in one inside account, over all lots.
    pub fn units(&self, account: Inside) -> i64 {
        self.lots
            .iter()
            .fold(0, |sum: i64, lot| sum.saturating_add(lot.units(account)))
    }

    /// Units claimed by reservations.
    pub fn claimed(&self) -> i64 {
        self.claims.units()
    }

    /// The figures that every fact carries, as of an instant and its day in the warehouse, as far as the stock alone knows
    /// them: `available` is what could be promised without a date and before any buffer. [`super::offer`] adds the channels.
    pub fn after(&self, today: Day, now: Time) -> After {
        After {
            accounts: self.accounts(),
            claimed: self.claimed(),
            owed: self.owed,
            available: available(self, None, 0, today, now, None),
            on_offer: OnOffer::Unknown,
        }
    }

    /// When it, or a lot of it, was counted last.
    fn newest_count(&self) -> Option<Time> {
        let lots = self.lots.iter().map(|lot| lot.last_count);
        lots.fold(self.last_count, MaybeTime::max).get()
    }

    /// Looks at what the usual event reads and changes, but for the book's newest entry: for whoever wants many of them in the
    /// processor's cache before it begins, these first and then all the entries, which are found through them.
    pub fn glance(&self) -> u64 {
        let lot = self.lots.first().map_or(0, Lot::sellable);
        let few = u64::from(self.claims.is_empty()) ^ u64::from(self.rare.is_some()) ^ u64::from(self.last_count.get().is_some());
        (lot ^ self.outside[1] ^ self.owed) as u64 ^ self.version ^ few
    }

    /// A copy without the recent book, for whoever only follows the figures: the book of a busy SKU is most of its size.
    pub fn without_book(&self) -> Stock {
        Stock {
            unit: self.unit,
            version: self.version,
            lots: self.lots.clone(),
            outside: self.outside,
            owed: self.owed,
            dated: self.dated,
            claims: self.claims.clone(),
            last_count: self.last_count,
            count_due: self.count_due,
            book: Book::default(),
            book_floor: self.book_floor,
            rare: self.rare.clone(),
        }
    }

    /// The lot of that id, when it is known. The id `""` is the stock without a lot.
    pub fn lot(&self, id: &Id) -> Option<&Lot> {
        self.place_of(id).ok().map(|i| &self.lots[i])
    }

    /// The place of a lot, or where it would stand.
    fn place_of(&self, id: &Id) -> Result<usize, usize> {
        // Nearly every SKU has one lot, and every event asks for it several times.
        match &self.lots[..] {
            [only] if only.id == *id => Ok(0),
            lots => lots.binary_search_by(|lot| lot.id.cmp(id)),
        }
    }

    /// The id `""`: the one that is known already, so that the usual event allocates nothing for it.
    fn no_lot(&self) -> Id {
        let first = self.lots.first().filter(|lot| lot.id.as_str().is_empty());
        first.map_or_else(Id::no_lot, |lot| lot.id.clone())
    }

    /// The balance of a transfer into this warehouse, when it is known.
    pub fn transfer(&self, id: &Id) -> Option<&Transfer> {
        self.rare.as_ref()?.transfers.iter().find(|transfer| &transfer.id == id)
    }
}
