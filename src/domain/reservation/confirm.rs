//! `confirm`: the goods have left the shelf, and what was not taken is given back.
//!
//! It is a physical report, so it is never refused for want of stock: what is missing is found, the SKU is flagged, and a
//! count that had seen the goods leave keeps its figure, as with any sale. What it can be refused for is its own content:
//! more than held, a line that is not there, lots that do not add up.
//!
//! The alternative, confirming lots that were fixed when the basket was held, was rejected: the picker takes what is in
//! front of them, and the book must follow the shelf.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{
    BasketDecision, ConfirmLine, ConfirmRequest, End, Line, LineFact, Reply, Reservation, State, Stocks, known, refuse_ended,
    same,
};
use crate::domain::event::Inside;
use crate::domain::fact::{Account, Change, Role};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::stock::Context;
use crate::domain::stock::leave::{Leave, Left, Pick, Short, leave};
use crate::domain::stock::settle::settle;
use crate::domain::units::{Id, Time};

/// Takes what was confirmed from the shelf and releases the rest. A line that is not listed is released whole; without
/// lines everything held is taken.
///
/// Refuses `unknown_reservation`, `already_*` unless the same request ended it, `exceeds_held`, `invalid_value` (a SKU
/// that is not in the basket or listed twice, lots that are more than the line), `time_out_of_range` (older than what
/// is remembered of events) and `quantity_overflow`. A time too far ahead is taken as the arrival.
pub fn confirm(
    existing: Option<&Reservation>,
    request: &ConfirmRequest,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    let old = known(existing)?;
    let ended_by = old.end.as_ref().and_then(|end| end.fingerprint);
    if old.state == State::Confirmed && ended_by == Some(request.fingerprint) {
        return Ok(same(old, "confirmed", ctx));
    }
    refuse_ended(old)?;
    let (business, clock_ahead) = time_of(request, ctx)?;
    let listed = match &request.lines {
        None => None,
        Some(lines) => Some(check_lines(old, lines)?),
    };
    let mut after = Reservation {
        state: State::Confirmed,
        version: old.version + 1,
        end: Some(End {
            at: ctx.now,
            fingerprint: Some(request.fingerprint),
        }),
        ..old.clone()
    };
    let mut lines = Vec::with_capacity(after.lines.len());
    for line in after.lines.iter_mut().filter(|line| line.held > 0) {
        let (quantity, lots): (i64, &[(Id, i64)]) = match &listed {
            None => (line.held, &[]),
            Some(listed) => listed.get(&line.sku).map_or((0, &[]), |taken| (taken.quantity, &taken.lots)),
        };
        lines.push(take(&old.id, line, quantity, lots, business, stocks, ctx)?);
        line.held = 0;
        line.taken += quantity;
        line.confirmed = quantity;
    }
    Ok(BasketDecision {
        reply: Reply::Changed,
        what: "confirmed",
        business,
        clock_ahead,
        after,
        lines,
    })
}

/// The business time, and whether it was too far ahead and gave way to the arrival.
fn time_of(request: &ConfirmRequest, ctx: &Context<'_>) -> Result<(Time, bool), Refusal> {
    let Some(time) = request.time else {
        return Ok((ctx.now, false));
    };
    if time < ctx.now.plus_ms(-ctx.limits.id_window_ms) {
        let seconds = ctx.limits.id_window_ms / 1_000;
        let detail = format!("the goods left more than {seconds} s ago, longer than anything is remembered; leave the time out");
        return Err(Refusal::field(Code::TimeOutOfRange, "/time", detail));
    }
    let ahead = time > ctx.now.plus_ms(ctx.limits.max_ahead_ms);
    Ok((if ahead { ctx.now } else { time }, ahead))
}

fn check_lines<'r>(old: &Reservation, lines: &'r [ConfirmLine]) -> Result<HashMap<&'r Id, &'r ConfirmLine>, Refusal> {
    let held: HashMap<&Id, &Line> = old.lines.iter().map(|line| (&line.sku, line)).collect();
    let mut listed = HashMap::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let refuse = |code, field: &str, detail| Err(Refusal::field(code, format!("/lines/{i}/{field}"), detail));
        let sku = &line.sku;
        if listed.insert(sku, line).is_some() {
            return refuse(
                Code::InvalidValue,
                "sku",
                format!("SKU {sku} is listed twice; add the two up"),
            );
        }
        let Some(held) = held.get(sku).map(|line| line.held) else {
            return refuse(
                Code::InvalidValue,
                "sku",
                format!("reservation {} has no line of SKU {sku}", old.id),
            );
        };
        if line.quantity < 0 {
            return refuse(
                Code::InvalidValue,
                "quantity",
                format!("quantity {} must be 0 or more", line.quantity),
            );
        }
        if line.quantity > held {
            let detail = format!(
                "{} of {sku} were taken, {held} are held; report the rest as a sale",
                line.quantity
            );
            return refuse(Code::ExceedsHeld, "quantity", detail);
        }
        let mut rest = line.quantity;
        for (n, (lot, units)) in line.lots.iter().enumerate() {
            if *units <= 0 || line.lots[..n].iter().any(|(other, _)| other == lot) {
                return refuse(
                    Code::InvalidValue,
                    "lots",
                    format!("lot {lot:?} must stand there once, with 1 unit or more"),
                );
            }
            rest = rest.saturating_sub(*units);
        }
        if rest < 0 {
            return refuse(
                Code::InvalidValue,
                "lots",
                format!("the lots add up to more than the line's {}", line.quantity),
            );
        }
    }
    Ok(listed)
}

/// One line's goods leave the shelf, and its claim ends.
fn take(
    basket: &Id,
    line: &Line,
    quantity: i64,
    lots: &[(Id, i64)],
    business: Time,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<LineFact, Refusal> {
    // A held line has a stock; if it were gone the goods would have left all the same, and would be found.
    let stock = stocks(&line.sku).map_or_else(Cow::default, Cow::Borrowed);
    let left = if quantity > 0 {
        let pick = Pick {
            named: lots,
            good_until: line.good_until,
            expired_first: false,
        };
        leave(&stock, &sold(&line.sku, quantity, pick, business), ctx)?
    } else {
        Left::default()
    };
    let mut changes = left.changes;
    changes.push(Change::Unclaim {
        reservation: basket.clone(),
        quantity: line.held,
    });
    settle(&stock, &mut changes, business, ctx)?;
    Ok(LineFact {
        sku: line.sku.clone(),
        changes,
        found: left.found,
        expired_lot: left.expired_lot,
        included_in_count: quantity > 0 && left.late >= quantity,
    })
}

/// Units that leave the shelf for a customer.
pub(super) fn sold<'a>(sku: &'a Id, quantity: i64, pick: Pick<'a>, at: Time) -> Leave<'a> {
    Leave {
        sku,
        from: Inside::Sellable,
        quantity,
        to: Account::Demand,
        pick,
        at,
        role: Role::Own,
        short: Short::Find,
    }
}
