//! Transfers between warehouses have a balance by their id: what was `sent`, and what has `arrived` (or was written off
//! underway). What is open of it stands in transit.
//!
//! The two sides may come in any order. What arrives before anything was sent comes from supply, and the late out then
//! puts only the rest in transit. What arrives beyond what was sent is a surplus: found (discrepancy), and not owed, since
//! it lies on the shelf. So after both sides, in either order, supply shows what was sent, and discrepancy the surplus.
//!
//! The alternative, a transfer as one event of both warehouses, was rejected: the two sides are seen by different people,
//! days apart, and perhaps by different nodes.

use smallvec::SmallVec;

use crate::domain::event::{Event, Inside, LotRef};
use crate::domain::fact::{Account, Change, Changes, Outcome, Role};
use crate::domain::refusal::Refusal;
use crate::domain::units::{self, Id, Time};

use super::late::{self, Leg};
use super::leave::{Leave, Pick, Short, leave};
use super::{Context, Stock, arrive};

/// Units told to be underway, and units that came in.
pub(super) fn balance(stock: &Stock, transfer: &Id) -> (i64, i64) {
    stock.transfer(transfer).map_or((0, 0), |known| (known.sent, known.arrived))
}

/// Units still underway.
pub(super) fn open(sent: i64, arrived: i64) -> i64 {
    sent.saturating_sub(arrived).max(0)
}

/// Units that arrived beyond what was sent. As long as nothing was sent there is no surplus: the out is only late.
pub(super) fn surplus(sent: i64, arrived: i64) -> i64 {
    if sent > 0 { arrived.saturating_sub(sent).max(0) } else { 0 }
}

/// `transfer_in`: in_transit → sellable up to the balance. Beyond it supply → sellable while nothing was sent; else a
/// surplus, discrepancy → sellable. It repays like a receipt.
pub(super) fn transfer_in(
    stock: &Stock,
    event: &Event,
    quantity: i64,
    transfer: &Id,
    at: Time,
    ctx: &Context<'_>,
) -> Result<(Outcome, Changes), Refusal> {
    let (sent, arrived) = balance(stock, transfer);
    let underway = open(sent, arrived).min(stock.units(Inside::InTransit)).min(quantity);
    let named: SmallVec<[(Id, i64); 1]> = event.lot.iter().map(|lot| (lot.id.clone(), underway)).collect();
    let mut changes = Changes::new();
    let (mut late, mut expired_lot) = (0, None);
    if underway > 0 {
        let left = leave(
            stock,
            &Leave {
                sku: &event.sku,
                from: Inside::InTransit,
                quantity: underway,
                to: Account::Sellable,
                pick: Pick {
                    named: &named,
                    ..Pick::default()
                },
                at,
                role: Role::Own,
                short: Short::Find,
            },
            ctx,
        )?;
        late += left.late;
        expired_lot = left.expired_lot;
        changes.extend(left.changes);
    }
    let beyond = quantity - underway;
    let lot = event.lot.as_ref().map_or_else(Id::no_lot, |lot| lot.id.clone());
    let leg = Leg {
        lot: &lot,
        from: if sent > 0 { Account::Discrepancy } else { Account::Supply },
        to: Account::Sellable,
        quantity: beyond,
        role: Role::Own,
        at,
    };
    if beyond > 0 && late::leg(stock, leg, &mut changes) {
        late += beyond;
    }
    changes.push(Change::Transfer {
        transfer: transfer.clone(),
        sent: 0,
        arrived: quantity,
    });
    arrive::repay(stock, &mut changes);
    let found = if sent > 0 { beyond } else { 0 };
    let outcome = if late == quantity {
        Outcome::IncludedInCount
    } else {
        Outcome::Applied { found, expired_lot }
    };
    Ok((outcome, changes))
}

/// The other leg of a `transfer_out`: supply → in_transit, as far as it has not arrived yet. Negative units call back what
/// a voided `transfer_out` had sent.
pub(super) fn underway(
    stock: &Stock,
    event: &Event,
    lots: &[(LotRef, i64)],
    transfer: &Id,
    at: Time,
    ctx: &Context<'_>,
) -> Result<(Outcome, Changes), Refusal> {
    let mut total = 0;
    for (_, units) in lots {
        total = units::add(total, *units)?;
    }
    let (sent, arrived) = balance(stock, transfer);
    let sends = units::add(sent, total)?;
    let transit = open(sends, arrived) - open(sent, arrived);
    let over = surplus(sends, arrived) - surplus(sent, arrived);
    let mut changes = Changes::new();
    if transit < 0 {
        let named: SmallVec<[(Id, i64); 2]> = lots
            .iter()
            .map(|(lot, units)| {
                (
                    lot.id.clone(),
                    (-units).min(stock.lot(&lot.id).map_or(0, |lot| lot.inside[2])),
                )
            })
            .collect();
        let call_back = Leave {
            sku: &event.sku,
            from: Inside::InTransit,
            quantity: -transit,
            to: Account::Supply,
            pick: Pick {
                named: &named,
                ..Pick::default()
            },
            at,
            role: Role::Own,
            short: Short::Find,
        };
        changes.extend(leave(stock, &call_back, ctx)?.changes);
    }
    // What has arrived already is not underway any more: the first lots of the list.
    let mut here = (total - transit).max(0);
    for (lot, units) in lots {
        let skipped = here.min(*units).max(0);
        here -= skipped;
        let known = stock.lot(&lot.id).and_then(|known| known.expires_on);
        if lot.expires_on.is_some() && known.is_none() {
            changes.push(Change::Lot {
                lot: lot.id.clone(),
                expires_on: lot.expires_on,
            });
        }
        if units - skipped > 0 {
            changes.push(moved(lot.id.clone(), Account::Supply, Account::InTransit, units - skipped));
        }
    }
    if over > 0 {
        changes.push(moved(Id::no_lot(), Account::Discrepancy, Account::Supply, over));
    } else if over < 0 {
        changes.push(moved(Id::no_lot(), Account::Supply, Account::Discrepancy, -over));
    }
    if total != 0 {
        changes.push(Change::Transfer {
            transfer: transfer.clone(),
            sent: total,
            arrived: 0,
        });
    }
    Ok((Outcome::APPLIED, changes))
}

fn moved(lot: Id, from: Account, to: Account, quantity: i64) -> Change {
    Change::Move {
        lot,
        from,
        to,
        quantity,
        role: Role::Own,
    }
}

/// What a `write_off` from in_transit ends: open balances, oldest first.
pub(super) fn written_off(stock: &Stock, quantity: i64, changes: &mut Changes) {
    let mut rest = quantity;
    for transfer in stock.rare.iter().flat_map(|rare| &rare.transfers) {
        let arrived = open(transfer.sent, transfer.arrived).min(rest);
        if arrived > 0 {
            rest -= arrived;
            changes.push(Change::Transfer {
                transfer: transfer.id.clone(),
                sent: 0,
                arrived,
            });
        }
    }
}

/// The lots that left with the changes of a `transfer_out`, for [`crate::domain::event::What::Underway`] in the warehouse
/// that they go to; negative for those of its `void`. `stock` is the state before or after them: it knows the dates.
pub fn left_lots(stock: &Stock, changes: &[Change]) -> Vec<(LotRef, i64)> {
    let mut lots: Vec<(LotRef, i64)> = Vec::new();
    for change in changes {
        let (lot, units) = match change {
            Change::Move {
                lot,
                to: Account::Supply,
                quantity,
                role: Role::Own,
                ..
            } => (lot, *quantity),
            Change::Move {
                lot,
                from: Account::Supply,
                quantity,
                role: Role::Voided,
                ..
            } => (lot, -quantity),
            _ => continue,
        };
        match lots.iter_mut().find(|(known, _)| &known.id == lot) {
            Some((_, sum)) => *sum += units,
            None => lots.push((
                LotRef {
                    id: lot.clone(),
                    expires_on: stock.lot(lot).and_then(|lot| lot.expires_on),
                },
                units,
            )),
        }
    }
    lots
}
