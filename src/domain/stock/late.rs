//! What a count had seen already. A late event never breaks a count, and never loses its other leg: its leg on sellable
//! has the account discrepancy instead, and the shrinkage that the count had found is thereby explained.
//!
//! The alternative, to correct the count by the late event, was rejected: the shelf was looked at, the event was only
//! reported, and the two would be subtracted twice.

use crate::domain::fact::{Account, Change, Changes, Role};
use crate::domain::units::{Id, Time};

use super::Stock;

/// The newest count that speaks of a lot: its own, or that of the SKU.
pub(in crate::domain) fn counted(stock: &Stock, lot: &Id) -> Option<Time> {
    stock
        .lot(lot)
        .and_then(|lot| lot.last_count.get())
        .max(stock.last_count.get())
}

/// Whether what happened to a lot's sellable units at `at` was seen by a count: at or before the newest one.
pub(in crate::domain) fn late(stock: &Stock, lot: &Id, at: Time) -> bool {
    counted(stock, lot).is_some_and(|as_of| at <= as_of)
}

/// Units that stood in a lot's sellable account at a time, by the recent book; never below zero.
pub(in crate::domain) fn stood(stock: &Stock, lot: &Id, at: Time) -> i64 {
    let now = stock.lot(lot).map_or(0, super::Lot::sellable);
    let since: i64 = later(stock, at)
        .filter(|entry| entry.lot == lot.as_str())
        .fold(0, |sum, entry| sum.saturating_add(entry.own + entry.found + entry.set));
    now.saturating_sub(since).max(0)
}

/// The entries of the recent book after a time, newest first.
pub(super) fn later(stock: &Stock, at: Time) -> impl Iterator<Item = super::BookEntry<'_>> {
    stock.book.newest_first().take_while(move |entry| entry.at > at)
}

/// Writes a late leg of `units` (negative: left) into the book without touching sellable: at its time it moved the lot,
/// and the count that had seen it set so much less. A second late event then picks among what the first one left.
pub(super) fn explain(stock: &Stock, lot: &Id, at: Time, units: i64, changes: &mut Changes) {
    let entry = |at, own, set| Change::Book {
        at,
        lot: lot.clone(),
        own,
        found: 0,
        set,
    };
    if let Some(as_of) = counted(stock, lot).filter(|&as_of| as_of != at) {
        changes.push(entry(at, units, 0));
        changes.push(entry(as_of, 0, -units));
    } else {
        changes.push(entry(at, units, -units));
    }
}

/// One leg of a movement: writes it, with discrepancy in the place of sellable when a count had seen it. Tells whether it
/// was late. A void's leg stands in the book at `at`, the time of the event that it takes back.
pub(super) fn leg(stock: &Stock, leg: Leg<'_>, changes: &mut Changes) -> bool {
    let Leg {
        lot,
        from,
        to,
        quantity,
        role,
        at,
    } = leg;
    let units = match (from, to) {
        (Account::Sellable, _) => -quantity,
        (_, Account::Sellable) => quantity,
        _ => 0,
    };
    let late = units != 0 && late(stock, lot, at);
    let counted = |account| match account {
        Account::Sellable if late => Account::Discrepancy,
        account => account,
    };
    let (from, to) = (counted(from), counted(to));
    if from != to && quantity > 0 {
        changes.push(Change::Move {
            lot: lot.clone(),
            from,
            to,
            quantity,
            role,
        });
    }
    if late {
        explain(stock, lot, at, units, changes);
    } else if role == Role::Voided && units != 0 {
        changes.push(Change::Book {
            at,
            lot: lot.clone(),
            own: units,
            found: 0,
            set: 0,
        });
    }
    late
}

/// A movement within one lot, before it is known whether a count had seen it.
pub(super) struct Leg<'a> {
    /// The lot.
    pub lot: &'a Id,
    /// The account that gives.
    pub from: Account,
    /// The account that takes.
    pub to: Account,
    /// Units.
    pub quantity: i64,
    /// [`Role::Own`] or [`Role::Voided`].
    pub role: Role,
    /// The time by which it is late or not.
    pub at: Time,
}
