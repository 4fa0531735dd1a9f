//! A sale that names a basket: the same goods told by the till, before the confirm or after it.
//!
//! While the basket is held, the sale takes at most its line's claim, and anything beyond is a plain sale in the same
//! fact. After a confirm it is what the confirm took already, told once more: it moves nothing, up to what the confirm
//! took and no sale has matched. The alternative, refusing such sales, was rejected: tills report late and in their own
//! order, and the goods are gone either way.
//!
//! A void of such a sale unmatches them: the basket's goods are gone still, and the next sale tells them again.
//!
//! Matching a sale is bookkeeping, not a change of the basket: an ended basket keeps its state, its version and
//! everything that is shown of it.

use std::borrow::Cow;

use super::confirm::sold;
use super::{End, Reservation, State};
use crate::domain::event::{Event, What};
use crate::domain::fact::{Change, Changes, Outcome};
use crate::domain::refusal::Refusal;
use crate::domain::stock::gate::admit;
use crate::domain::stock::leave::{Left, Pick, leave};
use crate::domain::stock::settle::finish;
use crate::domain::stock::{Context, Decision, Stock, Voided, decide, evolve};
use crate::domain::units::{Day, Id, Time};

/// Decides a sale that names `basket`, which the caller has found. Gives the sale's own decision, and the basket after
/// it when the sale was one of its goods; otherwise it is a plain sale: the basket has ended, or has nothing of this SKU.
pub fn sale(basket: &Reservation, stock: Option<&Stock>, event: &Event, ctx: &Context<'_>) -> (Decision, Option<Reservation>) {
    let plain = || (decide(stock, event, Voided::NotAVoid, ctx), None);
    let What::Sale { quantity, .. } = event.what else {
        return plain();
    };
    let Some(place) = basket.lines.iter().position(|line| line.sku == event.sku) else {
        return plain();
    };
    let line = &basket.lines[place];
    let result = match (basket.state, stock) {
        (State::Held, Some(stock)) if line.held > 0 && quantity > 0 => take(basket, place, quantity, stock, event, ctx),
        (State::Confirmed, _) if line.matched < line.confirmed && quantity > 0 => {
            matched(basket, place, quantity, stock, event, ctx)
        }
        _ => return plain(),
    };
    match result {
        Ok((decision, after)) => (decision, Some(after)),
        Err(refusal) => (refused(refusal, event, ctx), None),
    }
}

fn refused(refusal: Refusal, event: &Event, ctx: &Context<'_>) -> Decision {
    let business = event.time.unwrap_or(ctx.now);
    Decision {
        outcome: Outcome::Refused(refusal.into()),
        business,
        changes: Changes::new(),
        clock_ahead: false,
    }
}

/// The sale takes from the held line.
fn take(
    basket: &Reservation,
    place: usize,
    quantity: i64,
    stock: &Stock,
    event: &Event,
    ctx: &Context<'_>,
) -> Result<(Decision, Reservation), Refusal> {
    let line = &basket.lines[place];
    let claimed = quantity.min(line.held);
    let admitted = admit(Some(stock), event, ctx)?;
    let at = admitted.business;
    let known = after(stock, &admitted.changes, at, ctx);
    let mut left = part(&known, event, claimed, line.good_until, at, ctx)?;
    if quantity > claimed {
        let rest = after(&known, &left.changes, at, ctx);
        let more = part(&rest, event, quantity - claimed, None, at, ctx)?;
        left.changes.extend(more.changes);
        left.found += more.found;
        left.late += more.late;
        left.expired_lot = left.expired_lot.or(more.expired_lot);
    }
    let outcome = left.outcome(quantity);
    let mut changes = left.changes;
    changes.push(Change::Unclaim {
        reservation: basket.id.clone(),
        quantity: claimed,
    });
    let decision = finish(stock, event, admitted, outcome, changes, ctx)?;

    let mut basket = Reservation {
        version: basket.version + 1,
        ..basket.clone()
    };
    basket.lines[place].held -= claimed;
    basket.lines[place].taken += claimed;
    if basket.lines.iter().all(|line| line.held == 0) {
        basket.state = State::Confirmed;
        basket.end = Some(End {
            at: ctx.now,
            fingerprint: None,
        });
    }
    Ok((decision, basket))
}

/// Units of the sale that leave for one reason: those claimed by the line's date, the excess by none.
fn part(
    stock: &Stock,
    event: &Event,
    quantity: i64,
    good_until: Option<Day>,
    at: Time,
    ctx: &Context<'_>,
) -> Result<Left, Refusal> {
    let named: Option<(Id, i64)> = event.lot.as_ref().map(|lot| (lot.id.clone(), quantity));
    let pick = Pick {
        named: named.as_slice(),
        good_until,
        expired_first: false,
    };
    leave(stock, &sold(&event.sku, quantity, pick, at), ctx)
}

/// The state after some changes.
fn after<'a>(stock: &'a Stock, changes: &[Change], business: Time, ctx: &Context<'_>) -> Cow<'a, Stock> {
    if changes.is_empty() {
        return Cow::Borrowed(stock);
    }
    let mut after = stock.clone();
    evolve(&mut after, changes, business, ctx.now);
    Cow::Owned(after)
}

/// The basket after the void of a sale of which `units` had told again what the confirm took: they are unmatched, so that the sale
/// that is sent in its place tells them again. `None`: nothing of it is matched.
pub fn unmatched(basket: &Reservation, sku: &Id, units: i64) -> Option<Reservation> {
    let mut after = basket.clone();
    let line = after.lines.iter_mut().find(|line| line.sku == *sku && line.matched > 0)?;
    line.matched -= units.min(line.matched);
    Some(after)
}

/// The sale tells again what the confirm took.
fn matched(
    basket: &Reservation,
    place: usize,
    quantity: i64,
    stock: Option<&Stock>,
    event: &Event,
    ctx: &Context<'_>,
) -> Result<(Decision, Reservation), Refusal> {
    let line = &basket.lines[place];
    let again = quantity.min(line.confirmed - line.matched);
    let decision = if again == quantity {
        let admitted = admit(stock, event, ctx)?;
        let stock = stock.map_or_else(Cow::default, Cow::Borrowed);
        finish(&stock, event, admitted, Outcome::Recorded, Changes::new(), ctx)?
    } else {
        let excess = What::Sale {
            quantity: quantity - again,
            reservation: None,
        };
        decide(
            stock,
            &Event {
                what: excess,
                ..event.clone()
            },
            Voided::NotAVoid,
            ctx,
        )
    };
    if let Outcome::Refused(refusal) = decision.outcome {
        return Err(*refusal);
    }
    let mut after = basket.clone();
    after.lines[place].matched += again;
    Ok((decision, after))
}
