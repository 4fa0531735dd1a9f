//! What follows from any change: the accounts' bounds, promises that no longer fit (or fit again), and what may be
//! forgotten.
//!
//! Forgetting is decided here and applied blindly by the fold, so that no replay depends on the configuration. It is done
//! only when there is enough to forget: a change on every event would cost more than it frees.

use crate::domain::available::risks_after;
use crate::domain::event::Event;
use crate::domain::fact::{Change, Changes, Outcome};
use crate::domain::refusal::Refusal;
use crate::domain::units::{Id, MAX_QUANTITY, Overflow, Time};

use super::decide::{Context, Decision};
use super::gate::Admitted;
use super::{Lot, Stock, stream, transfer};

/// So many entries, lots or transfers must be past before they are forgotten.
pub(super) const ENOUGH: usize = 32;

/// Makes a decision of an admitted event's outcome: what was learned, what it does, where its stream stands, what follows.
pub(in crate::domain) fn finish(
    stock: &Stock,
    event: &Event,
    admitted: Admitted,
    outcome: Outcome,
    changes: Changes,
    ctx: &Context<'_>,
) -> Result<Decision, Refusal> {
    let stale = outcome == Outcome::Stale;
    let mut all = if stale { Changes::new() } else { admitted.changes };
    if all.is_empty() {
        all = changes;
    } else {
        all.extend(changes);
    }
    all.extend(stream::moved_on(stock, event, !stale));
    settle(stock, &mut all, admitted.business, ctx)?;
    Ok(Decision {
        outcome,
        business: admitted.business,
        changes: all,
        clock_ahead: admitted.clock_ahead,
    })
}

/// Appends what follows from the changes of one fact; refuses them when an account would leave its bounds.
pub(in crate::domain) fn settle(stock: &Stock, changes: &mut Changes, business: Time, ctx: &Context<'_>) -> Result<(), Refusal> {
    if changes.is_empty() {
        return Ok(());
    }
    bounds(stock, changes)?;
    if !stock.claims.is_empty() || changes.iter().any(|change| matches!(change, Change::Claim(_))) {
        let risks = risks_after(stock, changes, ctx.today);
        changes.extend(risks);
    }
    forget(stock, changes, business, ctx);
    Ok(())
}

/// Refuses changes by which an account, or what is owed, would leave its bounds.
pub(super) fn bounds(stock: &Stock, changes: &[Change]) -> Result<(), Overflow> {
    let mut accounts = stock.accounts();
    let mut owed = stock.owed;
    for change in changes {
        match change {
            Change::Move { from, to, quantity, .. } => {
                accounts[*from as usize] = accounts[*from as usize].saturating_sub(*quantity);
                accounts[*to as usize] = accounts[*to as usize].saturating_add(*quantity);
            }
            Change::Owed(more) => owed = owed.saturating_add(*more),
            _ => {}
        }
    }
    let past = |units: i64| units.unsigned_abs() > MAX_QUANTITY.unsigned_abs();
    if accounts.into_iter().any(past) || past(owed) {
        return Err(Overflow);
    }
    Ok(())
}

fn forget(stock: &Stock, changes: &mut Changes, business: Time, ctx: &Context<'_>) {
    if let Some(before) = book_cut(stock, business, ctx) {
        changes.insert(0, Change::BookCut(before));
    }
    // Looked for now and then only: the look is long where there is much.
    if !stock.version.is_multiple_of(ENOUGH as u64) {
        return;
    }
    let horizon = ctx.now.plus_ms(-ctx.limits.id_window_ms.max(ctx.limits.book_ms));
    if stock.lots.len() > ENOUGH {
        let touched = |lot: &Lot| {
            changes.iter().any(|change| match change {
                Change::Move { lot: id, .. } | Change::Lot { lot: id, .. } => *id == lot.id,
                Change::Book { lot: id, .. } | Change::Counted { lot: Some(id), .. } => *id == lot.id,
                _ => false,
            })
        };
        let gone: Vec<_> = stock
            .lots
            .iter()
            .filter(|lot| past(stock, lot, horizon, ctx) && !touched(lot))
            .collect();
        if gone.len() >= ENOUGH {
            changes.extend(gone.into_iter().map(|lot| Change::LotGone(lot.id.clone())));
        }
    }
    if let Some(rare) = stock.rare.as_ref().filter(|rare| rare.transfers.len() > ENOUGH) {
        let touched = |id: &Id| {
            changes
                .iter()
                .any(|change| matches!(change, Change::Transfer { transfer, .. } if transfer == id))
        };
        let over = |known: &&super::Transfer| {
            transfer::open(known.sent, known.arrived) == 0 && known.touched < horizon && !touched(&known.id)
        };
        let gone: Vec<_> = rare.transfers.iter().filter(over).collect();
        if gone.len() >= ENOUGH {
            changes.extend(gone.into_iter().map(|known| Change::TransferGone(known.id.clone())));
        }
    }
}

/// Where the recent book is to be cut: at its span when enough is older (or the event itself is, so that an import of
/// old events does not fill it), and at the newest three quarters when it is full.
fn book_cut(stock: &Stock, business: Time, ctx: &Context<'_>) -> Option<Time> {
    let span = ctx.now.plus_ms(-ctx.limits.book_ms);
    let full = stock.book.len() >= ctx.limits.book_entries.max(4);
    let crowded = full.then(|| stock.book.get(stock.book.len() / 4)).flatten();
    let crowded = crowded.map(|entry| entry.at.plus_ms(1));
    let past = past_entries(stock, stock.book.len().div_ceil(2), span);
    let ancient = business < span && stock.book_floor.get().is_none_or(|floor| floor <= business);
    let before = crowded.max((past || ancient).then_some(span))?;
    stock.book_floor.get().is_none_or(|floor| floor < before).then_some(before)
}

/// Whether enough of the book's entries, and at least so many, are past its span. Looked for now and then only, since the oldest
/// entry of a busy day lies far from what an event needs.
pub(super) fn past_entries(stock: &Stock, least: usize, span: Time) -> bool {
    stock.version.is_multiple_of(ENOUGH as u64) && stock.book.has_before(least.max(ENOUGH), span)
}

/// Whether a lot cannot matter any more: empty, past its date (or without one), out of the recent book, and no event may
/// still come that its count had seen.
fn past(stock: &Stock, lot: &Lot, horizon: Time, ctx: &Context<'_>) -> bool {
    let empty = lot.inside == [0; 3];
    let over = lot.expires_on.is_none() || lot.expired(ctx.today);
    let settled = lot
        .last_count
        .get()
        .is_none_or(|count| count < horizon || Some(count) <= stock.last_count.get());
    empty && over && settled && !stock.book.iter().any(|entry| entry.lot == lot.id.as_str())
}
