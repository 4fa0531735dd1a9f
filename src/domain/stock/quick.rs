//! The usual case, decided in a few steps: a plain sale that the shelf covers, or a plain receipt, of a SKU of which nothing else is
//! to be minded.
//!
//! Nearly all events are of this kind, and what `decide` asks of the others (lots, claims, counts, debts, streams) took three quarters of
//! their time. Nothing is decided otherwise here: where anything is to be minded the answer is `None`, and the tests hold every answer
//! to that of the long way. To make the long way itself as short was rejected: its steps are the rules, one by one.

use crate::domain::event::{Event, What};
use crate::domain::fact::{Account, Change, Changes, Outcome, Role};

use super::decide::{Context, Decision};
use super::settle::{bounds, past_entries};
use super::{Lot, Stock};

/// The decision of the usual case; `None`: it is not the usual case.
pub(super) fn quick(stock: Option<&Stock>, event: &Event, ctx: &Context<'_>) -> Option<Decision> {
    let stock = stock?;
    let [lot] = &stock.lots[..] else { return None };
    if !plain(stock, lot) || event.lot.is_some() || event.stream.is_some() || event.expected_version.is_some() {
        return None;
    }
    if event.unit.is_some_and(|unit| unit != stock.unit) {
        return None;
    }
    let (from, to, quantity) = match event.what {
        What::Sale {
            quantity,
            reservation: None,
        } if quantity <= lot.sellable() => (Account::Sellable, Account::Demand, quantity),
        What::Receipt { quantity } => (Account::Supply, Account::Sellable, quantity),
        _ => return None,
    };
    let counted = stock.last_count.max(lot.last_count).get();
    let business = match event.time {
        Some(time) => time,
        None if counted.is_none() => ctx.now,
        None => return None,
    };
    let (limits, span) = (ctx.limits, ctx.now.plus_ms(-ctx.limits.book_ms));
    let late = counted.is_some_and(|as_of| business <= as_of);
    let old = business < span || business < ctx.now.plus_ms(-limits.id_window_ms);
    let ahead = business > ctx.now.plus_ms(limits.max_ahead_ms);
    // Of a book that has to be cut more follows.
    let long = stock.book.len() >= limits.book_entries.max(4) || past_entries(stock, 0, span);
    if quantity <= 0 || late || old || ahead || long {
        return None;
    }
    let mut changes = Changes::new();
    changes.push(Change::Move {
        lot: lot.id.clone(),
        from,
        to,
        quantity,
        role: Role::Own,
    });
    bounds(stock, &changes).ok()?;
    Some(Decision {
        outcome: Outcome::APPLIED,
        business,
        changes,
        clock_ahead: false,
    })
}

/// Whether all that a SKU has is units without a lot, promised to nobody and owed to nobody.
fn plain(stock: &Stock, lot: &Lot) -> bool {
    let undated = lot.id.as_str().is_empty() && lot.expires_on.is_none() && !stock.dated;
    undated && stock.owed == 0 && stock.claims.is_empty() && stock.rare.is_none()
}
