//! The fold: applies decided changes, blindly. It cannot fail, asks no configuration and no clock, so that a replay gives
//! the same state in every year and under every configuration.
//!
//! The alternative, to let the fold forget by itself what is older than the configured span, was rejected: a replay with
//! another configuration would then differ from the day it happened. Forgetting is decided, too (`settle`).

use crate::domain::fact::{Account, Change, Claim, Role};
use crate::domain::units::{Day, Id, Time};

use super::{Belief, Lot, Rare, Stock, StreamMark, Transfer};

/// Applies the changes of one fact; its version rises by one when there are any.
pub fn evolve(stock: &mut Stock, changes: &[Change], business: Time, recorded: Time) {
    if changes.is_empty() {
        return;
    }
    stock.version += 1;
    for change in changes {
        apply(stock, change, business, recorded);
    }
}

fn apply(stock: &mut Stock, change: &Change, business: Time, recorded: Time) {
    match change {
        Change::Move {
            lot,
            from,
            to,
            quantity,
            role,
        } => {
            shift(stock, lot, *from, quantity.saturating_neg());
            shift(stock, lot, *to, *quantity);
            write(stock, lot, *from, *to, *quantity, *role, business);
        }
        Change::Lot { lot, expires_on } => date(stock, lot, *expires_on),
        Change::Unit(unit) => stock.unit = *unit,
        Change::Owed(more) => stock.owed = stock.owed.saturating_add(*more),
        Change::Book {
            at,
            lot,
            own,
            found,
            set,
        } => amend(stock, *at, lot, [*own, *found, *set]),
        Change::Counted { lot: Some(lot), as_of } => {
            let lot = lot_mut(stock, lot);
            lot.last_count.raise(*as_of);
        }
        Change::Counted { lot: None, as_of } => stock.last_count.raise(*as_of),
        Change::CountDue(due) => stock.count_due = *due,
        Change::Claim(claim) if claim.quantity > 0 => stock.claims.put(Claim::clone(claim)),
        Change::Claim(claim) => stock.claims.end(&claim.reservation),
        Change::Unclaim { reservation, quantity } => stock
            .claims
            .change(reservation, |claim| claim.quantity = claim.quantity.saturating_sub(*quantity)),
        Change::Deadline { reservation, deadline } => stock.claims.change(reservation, |claim| claim.deadline = *deadline),
        Change::AtRisk { reservation, at_risk } => stock.claims.change(reservation, |claim| claim.at_risk = *at_risk),
        Change::BookCut(before) => {
            stock.book_floor.raise(*before);
            stock.book.cut(*before);
        }
        Change::LotGone(lot) => {
            stock.lots.retain(|known| &known.id != lot);
            rarely(stock, |rare| {
                rare.streams.retain(|mark| mark.lot.as_ref() != Some(lot));
                rare.beliefs.retain(|belief| belief.lot.as_ref() != Some(lot));
            });
        }
        Change::Turned => {}
        Change::Transfer { .. } | Change::Stream(_) | Change::Belief(_) | Change::Buffer { .. } | Change::TransferGone(_) => {
            rarely(stock, |rare| apply_rare(rare, change, recorded))
        }
    }
}

fn apply_rare(rare: &mut Rare, change: &Change, recorded: Time) {
    match change.clone() {
        Change::Transfer { transfer, sent, arrived } => {
            if let Some(known) = rare.transfers.iter_mut().find(|known| known.id == transfer) {
                known.sent = known.sent.saturating_add(sent);
                known.arrived = known.arrived.saturating_add(arrived);
                known.touched = recorded;
            } else {
                rare.transfers.push(Transfer {
                    id: transfer,
                    sent,
                    arrived,
                    touched: recorded,
                });
            }
        }
        Change::Stream(mark) => {
            let same =
                |known: &&mut StreamMark| known.source == mark.source && known.stream == mark.stream && known.lot == mark.lot;
            match rare.streams.iter_mut().find(same) {
                Some(known) => *known = *mark,
                None => rare.streams.push(*mark),
            }
        }
        Change::Belief(belief) => {
            let same = |known: &&mut Belief| known.source == belief.source && known.lot == belief.lot;
            match rare.beliefs.iter_mut().find(same) {
                Some(known) => *known = *belief,
                None => rare.beliefs.push(*belief),
            }
        }
        Change::Buffer { channel, buffer } => {
            rare.buffers.retain(|(known, _)| *known != channel);
            rare.buffers.extend(buffer.map(|buffer| (channel, buffer)));
            rare.buffers.sort();
        }
        Change::TransferGone(transfer) => rare.transfers.retain(|known| known.id != transfer),
        _ => {}
    }
}

/// Changes what few SKUs have, and gives the room back when nothing of it is left.
fn rarely(stock: &mut Stock, change: impl FnOnce(&mut Rare)) {
    let mut rare = stock.rare.take().unwrap_or_default();
    change(&mut rare);
    stock.rare = (*rare != Rare::default()).then_some(rare);
}

fn lot_mut<'a>(stock: &'a mut Stock, id: &Id) -> &'a mut Lot {
    let at = stock.place_of(id).unwrap_or_else(|at| {
        stock.lots.insert(at, Lot::new(id.clone(), None));
        at
    });
    &mut stock.lots[at]
}

fn date(stock: &mut Stock, id: &Id, expires_on: Option<Day>) {
    lot_mut(stock, id).expires_on = expires_on;
    stock.dated |= expires_on.is_some();
}

/// A lot is touched only by an inside account: units outside have left their lots.
fn shift(stock: &mut Stock, lot: &Id, account: Account, units: i64) {
    let place = if account.inside() {
        &mut lot_mut(stock, lot).inside[account as usize]
    } else {
        &mut stock.outside[account as usize - 3]
    };
    *place = place.saturating_add(units);
}

/// Writes a movement on sellable into the recent book.
fn write(stock: &mut Stock, lot: &Id, from: Account, to: Account, quantity: i64, role: Role, at: Time) {
    let units = match (from, to) {
        (Account::Sellable, _) => -quantity,
        (_, Account::Sellable) => quantity,
        _ => return,
    };
    match role {
        Role::Own | Role::Filled => amend(stock, at, lot, [units, 0, 0]),
        Role::Found => amend(stock, at, lot, [0, units, 0]),
        Role::Repaid | Role::Counted => amend(stock, at, lot, [0, 0, units]),
        Role::Voided => {}
    }
}

/// Adds own, found and set units to the book's entry of that time and lot. What is below the floor is forgotten already.
fn amend(stock: &mut Stock, at: Time, lot: &Id, figures: [i64; 3]) {
    if stock.book_floor.get().is_some_and(|floor| at < floor) {
        return;
    }
    // The lot's own id, not that of the change: a day of entries shares one text.
    let known = stock.place_of(lot).ok();
    let lot = known.map_or(lot, |at| &stock.lots[at].id);
    stock.book.add(at, lot, figures);
}
