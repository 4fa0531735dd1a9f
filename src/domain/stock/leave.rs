//! Units leave an inside account: which lots they leave, what must be found first, and what a count had seen already.
//!
//! Physical reports are never refused for want of book stock: what is missing is found first, in the account that it
//! leaves. A short named lot is filled from the other lots before anything is found. What was found in sellable is owed.
//!
//! The alternative, to let accounts go negative and mend them later, was rejected: a negative shelf is promised to nobody
//! and hides which event was wrong, while a finding is a movement that the ledger shows.

use smallvec::{SmallVec, smallvec};

use crate::domain::available::serves;
use crate::domain::event::Inside;
use crate::domain::fact::{Account, Change, Changes, Outcome, Role};
use crate::domain::refusal::{Code, Refusal, Shortage};
use crate::domain::units::{Day, Id, Time};

use super::late::{self, Leg};
use super::{Context, Lot, Stock};

/// Which lots units leave.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::domain) struct Pick<'a> {
    /// Lots that are named, with units of each; what they do not cover is picked first-expired-first-out.
    pub named: &'a [(Id, i64)],
    /// The least expiry date that serves; lots that do not serve it come after those that do.
    pub good_until: Option<Day>,
    /// Expired lots first, in place of last.
    pub expired_first: bool,
}

/// What to do when the book is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Short {
    /// Fill from other lots, then find (a strict source: refuse).
    Find,
    /// Refuse; a named lot must hold it all by itself.
    Refuse,
}

/// Units that leave.
#[derive(Clone, Copy, Debug)]
pub(in crate::domain) struct Leave<'a> {
    /// The SKU, for the refusal's lines.
    pub sku: &'a Id,
    /// The account that they leave.
    pub from: Inside,
    /// Units, above zero.
    pub quantity: i64,
    /// The account that takes them.
    pub to: Account,
    /// Which lots.
    pub pick: Pick<'a>,
    /// The time by which a leg is late or not, and lots are expired or not.
    pub at: Time,
    /// [`Role::Own`], or [`Role::Voided`] for what a void takes back.
    pub role: Role,
    /// What to do when the book is short.
    pub short: Short,
}

/// What leaving comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::domain) struct Left {
    /// The changes, in their order.
    pub changes: Changes,
    /// Units that had to be found first.
    pub found: i64,
    /// The first expired lot that was taken.
    pub expired_lot: Option<Id>,
    /// Units whose leg on sellable a count had seen.
    pub late: i64,
}

impl Left {
    /// The verdict on an event of `quantity` units.
    pub(in crate::domain) fn outcome(&self, quantity: i64) -> Outcome {
        if self.late >= quantity && quantity > 0 {
            return Outcome::IncludedInCount;
        }
        Outcome::Applied {
            found: self.found,
            expired_lot: self.expired_lot.clone(),
        }
    }
}

/// Units of one lot that leave; `short` of them are not on its book.
struct Part {
    lot: Id,
    units: i64,
    short: i64,
}

/// Picks the lots, fills and finds what is missing, and moves. See the module for the rules.
pub(in crate::domain) fn leave(stock: &Stock, leave: &Leave<'_>, ctx: &Context<'_>) -> Result<Left, Refusal> {
    let day = day_at(stock, leave.at, ctx);
    let order = order(stock, day, &leave.pick);
    let seen = |lot: &Id| leave.from == Inside::Sellable && late::late(stock, lot, leave.at);
    let room = |lot: &Lot| {
        if seen(&lot.id) {
            late::stood(stock, &lot.id, leave.at)
        } else {
            lot.units(leave.from)
        }
    };
    let mut room: SmallVec<[i64; 8]> = stock.lots.iter().map(room).collect();
    let mut parts = parts(stock, leave, &order, &mut room, &seen);

    let mut left = Left::default();
    let from = Account::from(leave.from);
    for part in parts.iter_mut().filter(|part| part.short > 0 && leave.short == Short::Find) {
        for &i in &order {
            let other = &stock.lots[i];
            let units = room[i].min(part.short);
            if units > 0 && other.id != part.lot && !seen(&other.id) {
                room[i] -= units;
                part.short -= units;
                fill(&other.id, &part.lot, from, units, &mut left.changes);
                note_expired(Some(other), day, &mut left);
            }
        }
    }
    left.found = parts.iter().map(|part| part.short).sum();
    if left.found > 0 && (ctx.policy.strict || leave.short == Short::Refuse) {
        return Err(short(leave, leave.quantity - left.found));
    }
    for part in &parts {
        if part.short > 0 {
            left.changes.push(Change::Move {
                lot: part.lot.clone(),
                from: Account::Discrepancy,
                to: from,
                quantity: part.short,
                role: Role::Found,
            });
        }
        let leg = Leg {
            lot: &part.lot,
            from,
            to: leave.to,
            quantity: part.units,
            role: leave.role,
            at: leave.at,
        };
        if late::leg(stock, leg, &mut left.changes) {
            left.late += part.units;
        }
        note_expired(stock.lot(&part.lot), day, &mut left);
    }
    if left.found > 0 {
        if leave.from == Inside::Sellable {
            left.changes.push(Change::Owed(left.found));
        }
        if !stock.count_due {
            left.changes.push(Change::CountDue(true));
        }
    }
    Ok(left)
}

/// The parts of each lot: first the named ones, then what lots hold, and the rest from `""`, where it must be found.
fn parts(stock: &Stock, leave: &Leave<'_>, order: &[usize], room: &mut [i64], seen: &dyn Fn(&Id) -> bool) -> SmallVec<[Part; 2]> {
    let mut parts: SmallVec<[Part; 2]> = smallvec![];
    let mut rest = leave.quantity;
    for (lot, units) in leave.pick.named {
        let units = (*units).min(rest);
        if units <= 0 {
            continue;
        }
        rest -= units;
        let place = stock.place_of(lot).ok();
        let held = place.map_or(0, |i| room[i].min(units));
        if let Some(i) = place {
            room[i] -= held;
        }
        let short = if seen(lot) { 0 } else { units - held };
        put(&mut parts, lot, units, short);
    }
    for &i in order {
        let units = room[i].min(rest);
        if units > 0 {
            room[i] -= units;
            rest -= units;
            put(&mut parts, &stock.lots[i].id, units, 0);
        }
    }
    if rest > 0 {
        let lot = stock.no_lot();
        let short = if seen(&lot) { 0 } else { rest };
        put(&mut parts, &lot, rest, short);
    }
    parts
}

fn put(parts: &mut SmallVec<[Part; 2]>, lot: &Id, units: i64, short: i64) {
    if let Some(part) = parts.iter_mut().find(|part| &part.lot == lot) {
        part.units += units;
        part.short += short;
        return;
    }
    parts.push(Part {
        lot: lot.clone(),
        units,
        short,
    });
}

/// The lots in the order of a pick: those that serve the date, then other unexpired ones, then expired ones (or these
/// first). Within each, `""` first, then the soonest, then what has no date.
pub(super) fn order(stock: &Stock, day: Day, pick: &Pick<'_>) -> SmallVec<[usize; 8]> {
    let rank = |lot: &Lot| match lot.expired(day) {
        true => 3 * u8::from(!pick.expired_first),
        false => 2 - u8::from(serves(lot, stock.dated, pick.good_until, day)),
    };
    let mut order: SmallVec<[usize; 8]> = (0..stock.lots.len()).collect();
    if order.len() > 1 {
        order.sort_by_key(|&i| {
            let lot = &stock.lots[i];
            (
                rank(lot),
                !lot.id.as_str().is_empty(),
                lot.expires_on.unwrap_or(Day(i32::MAX)),
            )
        });
    }
    order
}

/// The warehouse's day at a time; asked of the calendar only where a date can matter.
pub(super) fn day_at(stock: &Stock, at: Time, ctx: &Context<'_>) -> Day {
    if stock.dated { ctx.calendar.day_of(at) } else { ctx.today }
}

/// A lot fills another one: two moves through discrepancy, which they leave as it was.
fn fill(giver: &Id, taker: &Id, account: Account, quantity: i64, changes: &mut Changes) {
    for (lot, from, to) in [(giver, account, Account::Discrepancy), (taker, Account::Discrepancy, account)] {
        changes.push(Change::Move {
            lot: lot.clone(),
            from,
            to,
            quantity,
            role: Role::Filled,
        });
    }
}

fn note_expired(lot: Option<&Lot>, day: Day, left: &mut Left) {
    if left.expired_lot.is_none() {
        left.expired_lot = lot.filter(|lot| lot.expired(day)).map(|lot| lot.id.clone());
    }
}

fn short(leave: &Leave<'_>, available: i64) -> Refusal {
    let account = Account::from(leave.from).as_str();
    let place = match leave.pick.named {
        [(lot, _)] if leave.short == Short::Refuse => format!("lot {:?} of {account}", lot.as_str()),
        _ => account.to_string(),
    };
    let field = match (leave.role, leave.to) {
        (Role::Voided, _) => "/data/event",
        (_, Account::Discrepancy) => "/data/delta",
        _ => "/data/quantity",
    };
    Refusal {
        lines: vec![Shortage {
            sku: leave.sku.clone(),
            requested: leave.quantity,
            available,
        }],
        field: Some(field.to_string()),
        ..Refusal::new(
            Code::InsufficientStock,
            format!(
                "{} units are to leave {place}, and the book holds {available}; report what is missing first, or send a count",
                leave.quantity
            ),
        )
    }
}
