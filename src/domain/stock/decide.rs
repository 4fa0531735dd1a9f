//! What follows from an event: its verdict and the changes that make it true. Pure, total, and never a panic: a refusal is
//! an outcome.
//!
//! The alternative, `Result<Changes, Refusal>`, was rejected: a refusal has a place in the ledger like any other outcome,
//! and a caller that forgets it must not compile.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::domain::event::{Event, Inside, What};
use crate::domain::fact::{Account, Change, Changes, Fact, Outcome, Role};
use crate::domain::refusal::Refusal;
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::Calendar;

use super::gate::{self, Admitted};
use super::leave::{Leave, Pick, Short, leave};
use super::quick::quick;
use super::settle::finish;
use super::{Stock, arrive, count, snapshot, stream, transfer, void};

/// How a source is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Gets a refusal in place of finding what is missing.
    pub strict: bool,
    /// Looks at the shelf: its snapshots are counts.
    pub authoritative: bool,
    /// Its ids are remembered for ever, so its events may be older than the window.
    pub keep_forever: bool,
}

/// What is remembered for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far back a count may speak, in milliseconds.
    pub book_ms: i64,
    /// The most entries of one SKU's recent book.
    pub book_entries: usize,
    /// For how long ids are remembered, in milliseconds.
    pub id_window_ms: i64,
    /// How far ahead of the node's clock a time may be, in milliseconds.
    pub max_ahead_ms: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            book_ms: 24 * 3_600_000,
            book_entries: 1024,
            id_window_ms: 7 * 24 * 3_600_000,
            max_ahead_ms: 300_000,
        }
    }
}

/// What a decision may know beside the state and the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The warehouse's stamp on this command; never goes back.
    pub now: Time,
    /// The warehouse's day at `now`.
    pub today: Day,
    /// The warehouse's calendar.
    pub calendar: &'a Calendar,
    /// How the event's source is configured.
    pub policy: Policy,
    /// What is remembered for how long.
    pub limits: &'a Limits,
    /// The catalogue's unit, for a SKU that is new in this warehouse; `None`: the catalogue does not name one.
    pub unit: Option<Unit>,
}

/// What the caller found under the id that a void names.
#[derive(Clone, Copy, Debug)]
pub enum Voided<'a> {
    /// The event is no void.
    NotAVoid,
    /// Nothing.
    Unknown,
    /// An event that was voided before.
    Already,
    /// Its fact.
    Fact(&'a Fact),
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub outcome: Outcome,
    /// The business time of the fact: what `evolve` must be given.
    pub business: Time,
    /// The changes; none when refused.
    pub changes: Changes,
    /// Whether the event was dated too far ahead and taken at its arrival: the source's clock is to be reported.
    pub clock_ahead: bool,
}

/// Decides an event about one SKU. `None`: the SKU is not known in this warehouse. A sale that names a basket is decided
/// here as a plain sale; the basket's part is `reservation`'s.
pub fn decide(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    quick(stock, event, ctx).unwrap_or_else(|| at_length(stock, event, voided, ctx))
}

/// As [`decide`], rule by rule.
pub(super) fn at_length(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    judge(stock, event, voided, ctx).unwrap_or_else(|refusal| Decision {
        outcome: Outcome::Refused(refusal.into()),
        business: event.time.unwrap_or(ctx.now),
        changes: Changes::new(),
        clock_ahead: false,
    })
}

fn judge(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Result<Decision, Refusal> {
    let mut admitted = gate::admit(stock, event, ctx)?;
    let stock = stock.map_or_else(|| Cow::Owned(Stock::default()), Cow::Borrowed);
    if let What::Void { .. } = event.what {
        admitted.business = ctx.now;
    }
    let (outcome, changes) = if stream::stale(&stock, event) {
        (Outcome::Stale, Changes::new())
    } else {
        let known = learned(&stock, event, &admitted, ctx);
        outcome(&known, event, &admitted, voided, ctx)?
    };
    finish(&stock, event, admitted, outcome, changes, ctx)
}

/// The state with what the event tells of its lot, for events that must know lots' dates.
fn learned<'a>(stock: &'a Stock, event: &Event, admitted: &Admitted, ctx: &Context<'_>) -> Cow<'a, Stock> {
    let arrives = matches!(event.what, What::Receipt { .. } | What::Return { .. });
    if arrives || !admitted.changes.iter().any(|change| matches!(change, Change::Lot { .. })) {
        return Cow::Borrowed(stock);
    }
    let mut learned = stock.clone();
    super::evolve(&mut learned, &admitted.changes, admitted.business, ctx.now);
    Cow::Owned(learned)
}

fn outcome(
    stock: &Stock,
    event: &Event,
    admitted: &Admitted,
    voided: Voided<'_>,
    ctx: &Context<'_>,
) -> Result<(Outcome, Changes), Refusal> {
    let at = admitted.business;
    let lot = || event.lot.as_ref().map_or_else(|| stock.no_lot(), |lot| lot.id.clone());
    let leaves = |from, quantity, to, short| {
        leaves(
            stock,
            event,
            at,
            ctx,
            Movement {
                from,
                quantity,
                to,
                short,
            },
        )
    };
    match &event.what {
        What::Receipt { quantity } => Ok(arrive::receipt(stock, &lot(), *quantity, at)),
        What::Return { quantity, to } => Ok(arrive::returned(stock, &lot(), *quantity, *to, at)),
        What::Sale { quantity, .. } => leaves(Inside::Sellable, *quantity, Account::Demand, Short::Find),
        What::Quarantine { quantity } => leaves(Inside::Sellable, *quantity, Account::Quarantine, Short::Find),
        What::Release { quantity } => leaves(Inside::Quarantine, *quantity, Account::Sellable, Short::Refuse),
        What::WriteOff { quantity, from } => {
            let (outcome, mut changes) = leaves(*from, *quantity, Account::Waste, Short::Find)?;
            if *from == Inside::InTransit {
                transfer::written_off(stock, *quantity, &mut changes);
            }
            Ok((outcome, changes))
        }
        What::TransferOut { quantity, .. } => leaves(Inside::Sellable, *quantity, Account::Supply, Short::Find),
        What::TransferIn { quantity, transfer } => transfer::transfer_in(stock, event, *quantity, transfer, at, ctx),
        What::Underway { lots, transfer, .. } => transfer::underway(stock, event, lots, transfer, at, ctx),
        What::Adjustment { delta } if *delta < 0 => leaves(Inside::Sellable, -delta, Account::Discrepancy, Short::Refuse),
        What::Adjustment { delta } => Ok(arrive::arrive(
            stock,
            &lot(),
            Account::Discrepancy,
            Account::Sellable,
            *delta,
            at,
        )),
        What::Count { quantity } => counts(stock, event, *quantity, at, ctx),
        What::Snapshot { quantity } if ctx.policy.authoritative => counts(stock, event, *quantity, at, ctx),
        What::Snapshot { .. } if snapshot::stale(stock, event, at) => Ok((Outcome::Stale, Changes::new())),
        What::Snapshot { quantity } => Ok((Outcome::Recorded, snapshot::snapshot(stock, event, *quantity, at))),
        What::Void { .. } => void::void(stock, event, voided, ctx),
    }
}

fn counts(stock: &Stock, event: &Event, quantity: i64, as_of: Time, ctx: &Context<'_>) -> Result<(Outcome, Changes), Refusal> {
    let lot = event.lot.as_ref().map(|lot| &lot.id);
    if count::stale(stock, lot, as_of) {
        return Ok((Outcome::Stale, Changes::new()));
    }
    let changes = count::count(stock, lot, quantity, as_of, ctx.today)?;
    Ok((Outcome::APPLIED, changes))
}

/// From where, how much, and to where.
struct Movement {
    from: Inside,
    quantity: i64,
    to: Account,
    short: Short,
}

fn leaves(stock: &Stock, event: &Event, at: Time, ctx: &Context<'_>, movement: Movement) -> Result<(Outcome, Changes), Refusal> {
    let Movement {
        from,
        quantity,
        to,
        short,
    } = movement;
    let named: SmallVec<[(Id, i64); 1]> = event.lot.iter().map(|lot| (lot.id.clone(), quantity)).collect();
    let reason = event.origin.reason.as_deref().unwrap_or_default().trim();
    let pick = Pick {
        named: &named,
        good_until: None,
        expired_first: to == Account::Waste && reason.eq_ignore_ascii_case("expired"),
    };
    let left = leave(
        stock,
        &Leave {
            sku: &event.sku,
            from,
            quantity,
            to,
            pick,
            at,
            role: Role::Own,
            short,
        },
        ctx,
    )?;
    Ok((left.outcome(quantity), left.changes))
}
