//! Units come in from outside: receipts and returns. A delivery first repays what was found before it came.
//!
//! The alternative, to let a return repay as well, was rejected: goods sold before their delivery was booked come from
//! that delivery, never from what a customer brings back.

use crate::domain::event::ReturnTo;
use crate::domain::fact::{Account, Change, Changes, Outcome, Role};
use crate::domain::units::{Id, Time};

use super::Stock;
use super::late::{self, Leg};

/// `receipt`: supply → sellable, repaying first.
pub(super) fn receipt(stock: &Stock, lot: &Id, quantity: i64, at: Time) -> (Outcome, Changes) {
    let (outcome, mut changes) = arrive(stock, lot, Account::Supply, Account::Sellable, quantity, at);
    repay(stock, &mut changes);
    (outcome, changes)
}

/// `return`: demand → sellable, or → quarantine.
pub(super) fn returned(stock: &Stock, lot: &Id, quantity: i64, to: ReturnTo, at: Time) -> (Outcome, Changes) {
    let to = match to {
        ReturnTo::Sellable => Account::Sellable,
        ReturnTo::Quarantine => Account::Quarantine,
    };
    arrive(stock, lot, Account::Demand, to, quantity, at)
}

/// Units from an outside account into a lot.
pub(super) fn arrive(stock: &Stock, lot: &Id, from: Account, to: Account, quantity: i64, at: Time) -> (Outcome, Changes) {
    let mut changes = Changes::new();
    let leg = Leg {
        lot,
        from,
        to,
        quantity,
        role: Role::Own,
        at,
    };
    let late = late::leg(stock, leg, &mut changes);
    let outcome = if late { Outcome::IncludedInCount } else { Outcome::APPLIED };
    (outcome, changes)
}

/// Repays what is owed out of what the changes bring into sellable, lot by lot in their order.
pub(super) fn repay(stock: &Stock, changes: &mut Changes) {
    let mut owed = stock.owed;
    let mut repaid = Changes::new();
    for change in changes.iter() {
        let Change::Move {
            lot,
            to: Account::Sellable,
            quantity,
            role: Role::Own,
            ..
        } = change
        else {
            continue;
        };
        let quantity = owed.min(*quantity);
        if quantity > 0 {
            owed -= quantity;
            repaid.push(Change::Move {
                lot: lot.clone(),
                from: Account::Sellable,
                to: Account::Discrepancy,
                quantity,
                role: Role::Repaid,
            });
        }
    }
    if owed < stock.owed {
        repaid.push(Change::Owed(owed - stock.owed));
    }
    changes.extend(repaid);
}
