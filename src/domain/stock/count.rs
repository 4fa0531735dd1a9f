//! A count sets what stood there as of its time: `V = counted + all that events after it moved`. Sellable becomes `V` and
//! nothing is owed; a negative `V` leaves nothing on the shelf and `−V` owed. The difference goes sellable ↔ discrepancy
//! and stands in the ledger at the time that the count speaks of.
//!
//! A count of one lot `L` sets that lot. What is owed for `L` is settled by it, whenever it was found: what was found after
//! the count is in `V` already, and what was found before it, the shelf has shown. When the count adds units, it repays
//! with them what was found in other lots since its time and is still owed. Deliveries repay the oldest finding first, so
//! what is still owed is the newest that was found; of what is older than the recent book nobody knows the lot, and it
//! stays owed.
//!
//! The alternative, to set the book to the figure at its arrival, was rejected: what was sold between the look at the
//! shelf and the report would be lost.

use crate::domain::fact::{Account, Change, Changes, Role};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{self, Day, Id, Time};

use super::leave::{Pick, order};
use super::{Context, Stock, late};

/// Refuses a time that the book cannot speak of: older than its span, cut off to stay bounded, or ahead of the clock.
pub(super) fn in_range(stock: &Stock, as_of: Time, ctx: &Context<'_>) -> Result<(), Refusal> {
    let oldest = ctx
        .now
        .plus_ms(-ctx.limits.book_ms)
        .max(stock.book_floor.get().unwrap_or(Time(i64::MIN)));
    let refusal = |detail: String| Err(Refusal::field(Code::TimeOutOfRange, "/time", detail));
    if as_of > ctx.now.plus_ms(ctx.limits.max_ahead_ms) {
        refusal(format!(
            "a count cannot speak of a time more than {} s ahead of the node's clock; set the clock of the source",
            ctx.limits.max_ahead_ms / 1000
        ))
    } else if as_of < oldest {
        refusal(format!(
            "the book of this SKU reaches back {} s, so what moved since that count is not known; count again",
            ctx.now.0.saturating_sub(oldest.0) / 1000
        ))
    } else {
        Ok(())
    }
}

/// Whether a newer count was accepted: of the SKU, of the lot, or, for a count of the SKU, of any lot.
pub(super) fn stale(stock: &Stock, lot: Option<&Id>, as_of: Time) -> bool {
    let newest = match lot {
        Some(lot) => late::counted(stock, lot),
        None => stock.newest_count(),
    };
    newest.is_some_and(|newest| as_of < newest)
}

/// What follows from a count that is in range and not stale.
pub(super) fn count(stock: &Stock, lot: Option<&Id>, counted: i64, as_of: Time, today: Day) -> Result<Changes, Refusal> {
    let mut changes = Changes::new();
    let owed = match lot {
        Some(lot) => of_lot(stock, lot, counted, as_of, &mut changes)?,
        None => of_sku(stock, counted, as_of, today, &mut changes)?,
    };
    if owed != stock.owed {
        changes.push(Change::Owed(owed - stock.owed));
    }
    changes.push(Change::Counted {
        lot: lot.cloned(),
        as_of,
    });
    if stock.count_due {
        changes.push(Change::CountDue(false));
    }
    Ok(changes)
}

fn of_sku(stock: &Stock, counted: i64, as_of: Time, today: Day, changes: &mut Changes) -> Result<i64, Refusal> {
    let moved = late::later(stock, as_of).fold(0, |sum: i64, entry| sum.saturating_add(entry.own));
    let stands = units::add(counted, moved)?;
    let mut difference = stands.max(0) - stock.units(crate::domain::event::Inside::Sellable);
    if difference > 0 {
        set(&adds_to(stock, today), difference, changes);
    }
    for i in order(stock, today, &Pick::default()) {
        let lot = &stock.lots[i];
        let taken = lot.sellable().min(-difference);
        if taken > 0 {
            difference += taken;
            set(&lot.id, -taken, changes);
        }
    }
    Ok((-stands).max(0))
}

fn of_lot(stock: &Stock, lot: &Id, counted: i64, as_of: Time, changes: &mut Changes) -> Result<i64, Refusal> {
    let moved = late::later(stock, as_of)
        .filter(|entry| entry.lot == lot.as_str())
        .fold(0, |sum: i64, entry| sum.saturating_add(entry.own));
    let stands = units::add(counted, moved)?;
    let before = stock.lot(lot).map_or(0, super::Lot::sellable);
    let (owed_here, owed_since_elsewhere) = owed_for(stock, lot, as_of);
    let mut owed = stock.owed - owed_here;
    if stands < 0 {
        set(lot, -before, changes);
        // What this count adds to the debt is this lot's as much as if it had been found for it: the next count settles it.
        let more = -stands - owed_here;
        if more > 0 {
            changes.push(Change::Book {
                at: as_of,
                lot: lot.clone(),
                own: 0,
                found: more,
                set: -more,
            });
        }
        return Ok(units::sub(owed, stands)?);
    }
    let added = stands - before;
    set(lot, added, changes);
    let repaid = added.min(owed_since_elsewhere);
    if repaid > 0 {
        owed -= repaid;
        changes.push(Change::Move {
            lot: lot.clone(),
            from: Account::Sellable,
            to: Account::Discrepancy,
            quantity: repaid,
            role: Role::Repaid,
        });
    }
    Ok(owed)
}

/// Of what is owed: what was found in this lot, and what was found in others after a time.
fn owed_for(stock: &Stock, lot: &Id, since: Time) -> (i64, i64) {
    let (mut rest, mut here, mut elsewhere) = (stock.owed, 0, 0);
    for entry in stock.book.newest_first().filter(|entry| entry.found > 0) {
        let units = entry.found.min(rest);
        rest -= units;
        if entry.lot == lot.as_str() {
            here += units;
        } else if entry.at > since {
            elsewhere += units;
        }
        if rest == 0 {
            break;
        }
    }
    (here, elsewhere)
}

/// Where a count of the SKU puts what it adds: the unexpired lot with the soonest date, else `""`.
fn adds_to(stock: &Stock, today: Day) -> Id {
    let dated = stock
        .lots
        .iter()
        .filter(|lot| lot.expires_on.is_some() && !lot.expired(today));
    dated
        .min_by_key(|lot| lot.expires_on)
        .map_or_else(Id::no_lot, |lot| lot.id.clone())
}

/// The difference that a count sets in one lot.
fn set(lot: &Id, difference: i64, changes: &mut Changes) {
    let (from, to) = if difference < 0 {
        (Account::Sellable, Account::Discrepancy)
    } else {
        (Account::Discrepancy, Account::Sellable)
    };
    if difference != 0 {
        changes.push(Change::Move {
            lot: lot.clone(),
            from,
            to,
            quantity: difference.abs(),
            role: Role::Counted,
        });
    }
}
