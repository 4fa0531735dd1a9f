//! What is true: the facts the node decided. They are deltas, never edited, and carry the state after them.
//!
//! A fact is a list of small [`Change`]s that `stock::evolve` applies blindly. All judgement is in the decision, so the
//! replay cannot judge differently from the day it happened, even when the rules have changed since.

use std::sync::Arc;

use smallvec::SmallVec;

use super::event::Origin;
use super::refusal::Refusal;
use super::reservation::Reservation;
use super::stock::{Belief, StreamMark};
use super::units::{Day, Id, Time, Unit};
use super::warehouse::Warehouse;

/// The seven accounts of a SKU. Inside: sellable, quarantine, in_transit. They always sum to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Account {
    /// On the shelf, may be sold.
    Sellable = 0,
    /// In the building, not to be sold.
    Quarantine = 1,
    /// Underway to here.
    InTransit = 2,
    /// Where goods come from.
    Supply = 3,
    /// Where goods go when sold.
    Demand = 4,
    /// Where goods go when lost for a known reason.
    Waste = 5,
    /// What the book and the shelf disagree about.
    Discrepancy = 6,
}

impl Account {
    /// All seven, in the order of the API.
    pub const ALL: [Account; 7] = [
        Account::Sellable,
        Account::Quarantine,
        Account::InTransit,
        Account::Supply,
        Account::Demand,
        Account::Waste,
        Account::Discrepancy,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        [
            "sellable",
            "quarantine",
            "in_transit",
            "supply",
            "demand",
            "waste",
            "discrepancy",
        ][self as usize]
    }

    /// Whether it is kept per lot and never negative.
    pub fn inside(self) -> bool {
        (self as u8) < 3
    }
}

/// One small, already decided change of one SKU's state. Small in memory, too: what is rare lies behind a pointer, since every
/// event's changes are handed on several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `quantity > 0` units from one account to another, within one lot. `role` says why, which the recent book needs.
    Move {
        /// The lot whose inside account is touched (`""` for stock without one).
        lot: Id,
        /// The account that gives.
        from: Account,
        /// The account that takes.
        to: Account,
        /// Units.
        quantity: i64,
        /// Why.
        role: Role,
    },
    /// A lot is known from now on, or its date is corrected.
    Lot {
        /// Its id.
        lot: Id,
        /// Its expiry date.
        expires_on: Option<Day>,
    },
    /// The SKU's unit is set (first event, or a catalogue change while all accounts are 0).
    Unit(Unit),
    /// What is owed to the next receipt changes by this much.
    Owed(i64),
    /// The recent book is amended at another time than the fact's own: a void takes an entry back, and the leg of a
    /// late event, which sellable never saw, is written at its time and taken out again at the count that had seen it.
    /// No account changes.
    Book {
        /// The business time of the entry.
        at: Time,
        /// The lot.
        lot: Id,
        /// Units more on the event's own leg.
        own: i64,
        /// Units more found.
        found: i64,
        /// Units more that were set or repaid.
        set: i64,
    },
    /// A count was accepted: of one lot, or of the whole SKU (`None`).
    Counted {
        /// The lot, or the SKU.
        lot: Option<Id>,
        /// The time that the count speaks of.
        as_of: Time,
    },
    /// The SKU should be counted, or no longer.
    CountDue(bool),
    /// A claim is made, or replaced with new terms. It keeps its place in the order of age when it was there before.
    Claim(Box<Claim>),
    /// A claim loses units: taken or released. At 0 it is gone.
    Unclaim {
        /// Whose claim.
        reservation: Id,
        /// Units.
        quantity: i64,
    },
    /// A claim's deadline moves.
    Deadline {
        /// Whose claim.
        reservation: Id,
        /// The new deadline; `None`: never.
        deadline: Option<Time>,
    },
    /// A claim no longer fits, or fits again.
    AtRisk {
        /// Whose claim.
        reservation: Id,
        /// Whether it is at risk now.
        at_risk: bool,
    },
    /// The balance of a transfer changes: units told to be underway, and units that came in.
    Transfer {
        /// The transfer's id.
        transfer: Id,
        /// Units more that were sent.
        sent: i64,
        /// Units more that arrived (or were written off underway).
        arrived: i64,
    },
    /// A stream has moved on: where it stands now.
    Stream(Box<StreamMark>),
    /// Another system's belief about sellable stock.
    Belief(Box<Belief>),
    /// This SKU's buffer on a channel is overridden (`None`: the channel's default again).
    Buffer {
        /// The channel.
        channel: Id,
        /// Units kept back.
        buffer: Option<i64>,
    },
    /// The recent book forgets what is before this time, and counts must not speak of it any more.
    BookCut(Time),
    /// An empty lot that cannot matter any more is forgotten.
    LotGone(Id),
    /// A finished transfer that is older than the id window is forgotten.
    TransferGone(Id),
    /// Nothing of the state changed but what may be promised: a day turned, a buffer default moved.
    Turned,
}

/// Why units move: the recent book must tell an event's own leg from what the node found, repaid or corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The event's own leg, at its business time.
    Own = 0,
    /// Found first, since the book was short: discrepancy → the account that the goods leave.
    Found = 1,
    /// A delivery repays what was found earlier: sellable → discrepancy.
    Repaid = 2,
    /// The difference that a count sets.
    Counted = 3,
    /// A short named lot is filled from another lot of the same account (written as two moves through discrepancy).
    Filled = 4,
    /// The opposite movement of a void. The book is amended at the time of the event taken back, by [`Change::Book`].
    Voided = 5,
}

/// Units promised to a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub reservation: Id,
    /// Units still claimed.
    pub quantity: i64,
    /// The least expiry date that serves; `None`: any unexpired stock.
    pub good_until: Option<Day>,
    /// Live while now < deadline; `None`: never expires.
    pub deadline: Option<Time>,
    /// Whether it no longer fits beside the older ones.
    pub at_risk: bool,
}

/// The changes of one fact: nearly always one or two.
pub type Changes = SmallVec<[Change; 2]>;

/// What came of an event. All but [`Outcome::Refused`] bind its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Applied {
        /// Units that had to be found first.
        found: i64,
        /// An expired lot that was taken because it was named (or nothing else was left).
        expired_lot: Option<Id>,
    },
    /// It happened before the newest count, which had seen its effect.
    IncludedInCount,
    /// An absolute figure older than the newest one.
    Stale,
    /// Known now, but it moved nothing.
    Recorded,
    /// Refused; the id may come again and is judged anew.
    Refused(Box<Refusal>),
    /// It kills its actor; a dead letter.
    DeadLetter {
        /// The error, as the actor died with it.
        error: Box<str>,
    },
}

impl Outcome {
    /// `applied` with nothing to add.
    pub const APPLIED: Outcome = Outcome::Applied {
        found: 0,
        expired_lot: None,
    };

    /// The verdict's word on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Applied { .. } => "applied",
            Outcome::IncludedInCount => "included_in_count",
            Outcome::Stale => "stale",
            Outcome::Recorded => "recorded",
            Outcome::Refused(_) => "refused",
            Outcome::DeadLetter { .. } => "dead_letter",
        }
    }

    /// Whether the event's id is remembered with this outcome.
    pub fn binds(&self) -> bool {
        !matches!(self, Outcome::Refused(_))
    }
}

/// The figures of a SKU after a fact, so that a consumer may keep the highest version and drop the rest.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct After {
    /// The seven accounts, in the order of [`Account::ALL`].
    pub accounts: [i64; 7],
    /// Units claimed.
    pub claimed: i64,
    /// Units owed to the next receipt.
    pub owed: i64,
    /// What could be promised without a date and before any buffer, at the fact's recorded time.
    pub available: i64,
    /// What could be promised on each channel.
    pub on_offer: OnOffer,
}

/// What each channel of the warehouse could promise after a fact, without a date, as the warehouse was when it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum OnOffer {
    /// Nobody wrote it down: facts of stores of format 1.
    #[default]
    Unknown,
    /// No channel kept anything back: each of these could promise [`After::available`].
    Alike(Arc<[Id]>),
    /// Each channel with its own figure.
    Each(Box<[(Id, i64)]>),
}

impl After {
    /// Each channel with what it could promise; `None`: nobody wrote it down.
    pub fn per_channel(&self) -> Option<Vec<(&Id, i64)>> {
        match &self.on_offer {
            OnOffer::Unknown => None,
            OnOffer::Alike(channels) => Some(channels.iter().map(|channel| (channel, self.available)).collect()),
            OnOffer::Each(figures) => Some(figures.iter().map(|(channel, units)| (channel, *units)).collect()),
        }
    }
}

/// What a fact speaks of.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every fact is of a SKU: a box would be one allocation more for each"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A SKU in the fact's warehouse.
    Sku {
        /// The SKU.
        sku: Id,
        /// Its version after this fact (unchanged when `changes` is empty).
        version: u64,
        /// What changed.
        changes: Changes,
        /// The figures after it.
        after: After,
    },
    /// A reservation: its whole state after this fact. The lines' claims follow as facts of their SKUs in the same record.
    Reservation(Box<Reservation>),
    /// The warehouse itself, as it is from now on.
    Warehouse(Box<Warehouse>),
    /// A catalogue entry, as one JSON object with the fields of `PUT /v1/skus/{s}`; empty: removed.
    Catalogue {
        /// The SKU.
        sku: Id,
        /// The entry.
        entry: Box<str>,
    },
    /// What was done about a dead letter, named by the sequence of the fact that made it.
    DeadLetter {
        /// Sequence of the dead letter's fact.
        letter: u64,
        /// `replayed`, `discarded`, `restored`.
        action: Box<str>,
    },
    /// Rows of a request that could not be read as events, and were refused at the door. Nothing of the state changes. The
    /// fact's warehouse is the one that they name; empty when they name none of this node.
    Row {
        /// The SKU, as far as it could be read.
        sku: Option<Id>,
        /// How many rows: neighbours without an id that were refused in the same words are one fact.
        rows: u32,
    },
    /// A command about a reservation that the node fails on: a dead letter, with the command as its payload. Nothing changes.
    Command {
        /// The reservation.
        reservation: Id,
    },
}

/// One durable truth, as it is read back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its place in the journal; strictly increasing.
    pub seq: u64,
    /// The warehouse it belongs to (the lot `""`'s empty id for the catalogue).
    pub warehouse: Id,
    /// What was done: an event's word (`receipt`, `sale`, …) or `held`, `confirmed`, `cancelled`, `expired`, `extended`,
    /// `replaced`, `lot_corrected`, `buffers_set`, `day_turned`, `warehouse_set`, `catalogue_set`, `unit_set`, …
    pub what: Box<str>,
    /// When it happened, by the business clock.
    pub business: Time,
    /// When the node decided it.
    pub recorded: Time,
    /// Who said it.
    pub origin: Origin,
    /// What came of it.
    pub outcome: Outcome,
    /// For a dead letter and a refusal: the event as it was received (the JSON of its row), so that it can be replayed.
    pub payload: Option<Box<str>>,
    /// What it is about, and what changed.
    pub subject: Subject,
}
