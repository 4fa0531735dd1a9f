//! `cancel`, `extend` and the clock: what ends a basket, or puts its end off, without touching the shelf.
//!
//! An extension only ever moves a deadline later. The alternative, to set whatever time is asked for, was rejected: a
//! retry that arrives after a newer extension would take back a promise. So an `until` that the basket reaches anyway
//! changes nothing, and the answer shows the deadline that holds.

use super::{BasketDecision, End, LineFact, Reply, Reservation, State, Stocks, known, line_fact, refuse_ended, same};
use crate::domain::fact::{Change, Changes};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::stock::Context;
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Channel, Warehouse};

/// Gives back what is held; what sales have taken stays taken. Refuses `unknown_reservation`, and `already_*` unless the
/// same request ended it.
pub fn cancel(
    existing: Option<&Reservation>,
    fingerprint: u64,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    let old = known(existing)?;
    if old.state == State::Cancelled && old.end.as_ref().is_some_and(|end| end.fingerprint == Some(fingerprint)) {
        return Ok(same(old, "cancelled", ctx));
    }
    refuse_ended(old)?;
    let end = End {
        at: ctx.now,
        fingerprint: Some(fingerprint),
    };
    Ok(release(old, State::Cancelled, end, "cancelled", stocks, ctx))
}

/// Gives back what is held, since the deadline has come: as of the deadline, by the business clock. Refuses a basket
/// that has ended, and one whose time has not come.
pub fn expire(existing: Option<&Reservation>, stocks: &Stocks<'_>, ctx: &Context<'_>) -> Result<BasketDecision, Refusal> {
    let old = known(existing)?;
    refuse_ended(old)?;
    match old.expires.filter(|expires| *expires <= ctx.now) {
        None => Err(Refusal::new(
            Code::InvalidValue,
            format!("reservation {} has not expired yet", old.id),
        )),
        Some(expires) => {
            let end = End {
                at: expires,
                fingerprint: None,
            };
            Ok(release(old, State::Expired, end, "expired", stocks, ctx))
        }
    }
}

/// Moves the deadline later, to `until`, which may be at most the channel's `max_ttl_s` from now. Refuses
/// `unknown_reservation`, `already_*`, and `invalid_value` for a time that has passed or is too far away.
pub fn extend(
    existing: Option<&Reservation>,
    until: Time,
    fingerprint: u64,
    warehouse: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    let old = known(existing)?;
    refuse_ended(old)?;
    if old.extended.is_some_and(|(last, _)| last == fingerprint) {
        return Ok(same(old, "extended", ctx));
    }
    if until <= ctx.now {
        return Err(Refusal::field(
            Code::InvalidValue,
            "/until",
            "this time has passed; name one that is still to come",
        ));
    }
    if old.expires.is_none_or(|expires| until <= expires) {
        return Ok(same(old, "extended", ctx));
    }
    let max_ttl_s = most_s(&old.channel, warehouse);
    if until > ctx.now.plus_ms(i64::from(max_ttl_s) * 1_000) {
        let detail = format!(
            "channel {:?} lets a reservation live at most {max_ttl_s} seconds from now",
            old.channel
        );
        return Err(Refusal::field(Code::InvalidValue, "/until", detail));
    }
    let moved = Change::Deadline {
        reservation: old.id.clone(),
        deadline: Some(until),
    };
    let fact = |line: &super::Line| line_fact(&line.sku, stocks(&line.sku)?, Changes::from_iter([moved.clone()]), false, ctx);
    let lines = old.lines.iter().filter(|line| line.held > 0).filter_map(fact).collect();
    let after = Reservation {
        version: old.version + 1,
        expires: Some(until),
        extended: Some((fingerprint, Some(until))),
        ..old.clone()
    };
    Ok(BasketDecision {
        reply: Reply::Changed,
        what: "extended",
        business: ctx.now,
        clock_ahead: false,
        after,
        lines,
    })
}

/// The most seconds that a basket of this channel may live; a channel that is gone since leaves its baskets to `default`.
fn most_s(channel: &Id, warehouse: &Warehouse) -> u32 {
    let found = warehouse.channels.get(channel).or_else(|| warehouse.channels.get("default"));
    found.map_or_else(|| Channel::default().max_ttl_s, |channel| channel.max_ttl_s)
}

fn release(
    old: &Reservation,
    state: State,
    end: End,
    what: &'static str,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> BasketDecision {
    let business = end.at;
    let mut after = Reservation {
        state,
        version: old.version + 1,
        end: Some(end),
        ..old.clone()
    };
    let mut lines: Vec<LineFact> = Vec::with_capacity(after.lines.len());
    for line in after.lines.iter_mut().filter(|line| line.held > 0) {
        let gone = Change::Unclaim {
            reservation: old.id.clone(),
            quantity: line.held,
        };
        line.held = 0;
        if let Some(stock) = stocks(&line.sku) {
            lines.extend(line_fact(&line.sku, stock, Changes::from_iter([gone]), true, ctx));
        }
    }
    BasketDecision {
        reply: Reply::Changed,
        what,
        business,
        clock_ahead: false,
        after,
        lines,
    }
}
