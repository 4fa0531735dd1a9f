//! Reservations: `held → confirmed | cancelled | expired`, all lines or none.
//!
//! Each command is a function of the basket as it stands, the request, the stocks of its SKUs and one instant; it gives
//! the basket after it and, per SKU, the changes of that SKU's fact. Whoever calls it makes them true together. What may
//! live here: the types, and a file per command. How units leave the shelf is `stock`'s, what may be promised is
//! `available`'s.
//!
//! The alternative, a small state machine per line, was rejected: a basket is whole, so its lines cannot be judged one
//! by one, and a half-held basket would have to be undone.
//!
//! Where the rules leave room:
//!
//! - A command that repeats the content which made the basket what it is (`PUT`), or which ended it, or the last
//!   `extend`, answers [`Reply::Same`] with the basket as it is now, and changes nothing, whatever has happened since.
//! - An id that has ended is used up: another `PUT` on it is refused with `already_*`.
//! - `expected_version` 0 asks for a basket that is not there yet.
//! - By contract the caller has expired what is due before it asks: a decision never meets a dead claim.

use super::available::risks_after;
use super::fact::Changes;
use super::refusal::{Code, Refusal};
use super::stock::{Context, Stock};
use super::units::{Day, Id, Time};

mod confirm;
mod end;
mod hold;
mod sale;

#[cfg(test)]
mod tests;

pub use confirm::confirm;
pub use end::{cancel, expire, extend};
pub use hold::{MAX_LINES, MAX_SHELF_LIFE_DAYS, hold};
pub use sale::{sale, unmatched};

/// Where a command finds the stock of each SKU of the basket, of its lines before and after; `None`: a SKU of which
/// nothing is known, so that nothing of it is available.
pub type Stocks<'a> = dyn Fn(&Id) -> Option<&'a Stock> + 'a;

/// Where a reservation stands. The three ends are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its claims are live.
    Held,
    /// Taken.
    Confirmed,
    /// Given back by the caller.
    Cancelled,
    /// Given back by the clock.
    Expired,
}

impl State {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Confirmed => "confirmed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }
}

/// One SKU of a basket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The SKU.
    pub sku: Id,
    /// Units asked for.
    pub quantity: i64,
    /// Units promised and not yet taken or released.
    pub held: i64,
    /// Units taken by confirm and by sales naming the basket.
    pub taken: i64,
    /// Of the units taken by a confirm, those that a sale has since matched.
    pub matched: i64,
    /// Of the units taken, those taken by the confirm (what later sales may match).
    pub confirmed: i64,
    /// Days of shelf life asked for.
    pub min_shelf_life_days: Option<u32>,
    /// The least expiry date that serves, fixed when it was held.
    pub good_until: Option<Day>,
}

/// How a reservation ended, to answer a repetition as the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Time,
    /// Fingerprint of the request that ended it; `None`: the clock, or a sale that took the last of it.
    pub fingerprint: Option<u64>,
}

/// A basket of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, unique in its warehouse.
    pub id: Id,
    /// The channel it was promised on.
    pub channel: Id,
    /// Where it stands.
    pub state: State,
    /// 1 when new, one more with each change.
    pub version: u64,
    /// Fingerprint of the request that made it what it is (the `PUT`): the same again answers as the first time.
    pub request: u64,
    /// Fingerprint and result deadline of the last `extend`, if any.
    pub extended: Option<(u64, Option<Time>)>,
    /// The lines, in the order of the request.
    pub lines: Vec<Line>,
    /// When it was first held.
    pub created: Time,
    /// When it expires; `None`: never.
    pub expires: Option<Time>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// One line of a `PUT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRequest {
    /// The SKU; one line per SKU.
    pub sku: Id,
    /// Base units wanted, more than 0.
    pub quantity: i64,
    /// Days of shelf life that the goods must still have, counted from the day of the request: 0 is good today.
    pub min_shelf_life_days: Option<u32>,
}

/// A `PUT`: hold a basket, or replace a held one as one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// The basket's id.
    pub id: Id,
    /// The channel that promises; it says what is kept back and how long a basket may live.
    pub channel: Id,
    /// What is wanted.
    pub lines: Vec<LineRequest>,
    /// Seconds to live; 0: never expires; `None`: the channel's default.
    pub ttl_s: Option<u32>,
    /// Whether less than wanted is welcome.
    pub allow_partial: bool,
    /// The version that the basket must have; 0: it must be new.
    pub expected_version: Option<u64>,
    /// Of what the caller wrote: equal content, equal fingerprint.
    pub fingerprint: u64,
}

/// One line of a `confirm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmLine {
    /// The SKU.
    pub sku: Id,
    /// Base units taken, 0 to what is held; the rest of the line is released.
    pub quantity: i64,
    /// Lots that they were taken from, and base units of each; what no lot is named for is picked first-expired-first-out.
    pub lots: Vec<(Id, i64)>,
}

/// A `confirm`: the goods have left the shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmRequest {
    /// The business time; `None`: the time of arrival.
    pub time: Option<Time>,
    /// What was taken; `None`: everything held. A line that is not listed is released whole.
    pub lines: Option<Vec<ConfirmLine>>,
    /// Of what the caller wrote.
    pub fingerprint: u64,
}

/// How a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The basket is new.
    Created,
    /// The same content again: nothing changed.
    Same,
    /// The held basket was replaced.
    Replaced,
    /// The basket was confirmed, cancelled, extended or has expired.
    Changed,
}

/// What a basket's command does to one SKU: the makings of that SKU's fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFact {
    /// The SKU.
    pub sku: Id,
    /// What changes; never empty.
    pub changes: Changes,
    /// Base units that had to be found first.
    pub found: i64,
    /// An expired lot that was taken because it was named, or because nothing else was left.
    pub expired_lot: Option<Id>,
    /// Whether a count had already seen the goods leave.
    pub included_in_count: bool,
}

/// What follows from a basket's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasketDecision {
    /// How it is answered.
    pub reply: Reply,
    /// The fact's word: `held`, `replaced`, `confirmed`, `cancelled`, `expired` or `extended`.
    pub what: &'static str,
    /// When it happened, by the business clock.
    pub business: Time,
    /// Whether its time was too far ahead, so that it was taken at its arrival: the caller's clock is to be reported.
    pub clock_ahead: bool,
    /// The basket after it.
    pub after: Reservation,
    /// One for each SKU that it changes; empty for a repetition. They are true together or not at all.
    pub lines: Vec<LineFact>,
}

/// The basket, or the refusal of a command on one that nobody knows.
fn known(existing: Option<&Reservation>) -> Result<&Reservation, Refusal> {
    let detail = "this warehouse knows no reservation of that id; it may be older than what is remembered";
    existing.ok_or_else(|| Refusal::new(Code::UnknownReservation, detail))
}

/// Refuses a basket that has ended: the three ends are final.
fn refuse_ended(basket: &Reservation) -> Result<(), Refusal> {
    let code = match basket.state {
        State::Held => return Ok(()),
        State::Confirmed => Code::AlreadyConfirmed,
        State::Cancelled => Code::AlreadyCancelled,
        State::Expired => Code::AlreadyExpired,
    };
    let (id, state) = (&basket.id, basket.state.as_str());
    Err(Refusal::new(
        code,
        format!("reservation {id} is {state}, which is final; hold a new one under a new id"),
    ))
}

/// The answer to a repetition: the basket as it is now.
fn same(basket: &Reservation, what: &'static str, ctx: &Context<'_>) -> BasketDecision {
    BasketDecision {
        reply: Reply::Same,
        what,
        business: ctx.now,
        clock_ahead: false,
        after: basket.clone(),
        lines: Vec::new(),
    }
}

/// The makings of a SKU's fact, `None` when nothing changes. With `resettle`, what the changes mean for the promises of
/// others follows them; without, the caller knows that they mean nothing.
fn line_fact(sku: &Id, stock: &Stock, mut changes: Changes, resettle: bool, ctx: &Context<'_>) -> Option<LineFact> {
    if changes.is_empty() {
        return None;
    }
    if resettle {
        let risks = risks_after(stock, &changes, ctx.today);
        changes.extend(risks);
    }
    Some(LineFact {
        sku: sku.clone(),
        changes,
        found: 0,
        expired_lot: None,
        included_in_count: false,
    })
}
