//! Whether an event may be judged at all: the version that it expects, its quantity, its unit, its lot's date and its time.
//!
//! The alternative, each event type with its own checks, was rejected: a check that twelve places must remember is
//! forgotten in the thirteenth.

use crate::domain::event::{Event, LotRef, What};
use crate::domain::fact::{Change, Changes};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, MAX_QUANTITY, Time, Unit};
use crate::domain::warehouse::date_of;

use super::decide::Context;
use super::{Stock, count, late};

/// An event that may be judged.
#[derive(Clone, Debug)]
pub(in crate::domain) struct Admitted {
    /// When it happened: its time, or its arrival.
    pub business: Time,
    /// Whether its time was too far ahead, so that it is taken at its arrival and the source's clock is reported.
    pub clock_ahead: bool,
    /// What is learned from it in any case: the SKU's unit, the lot's date.
    pub changes: Changes,
}

/// Checks an event against the SKU. `None`: the SKU is not known here yet, and this event would set its unit.
pub(in crate::domain) fn admit(stock: Option<&Stock>, event: &Event, ctx: &Context<'_>) -> Result<Admitted, Refusal> {
    let version = stock.map_or(0, |stock| stock.version);
    if let Some(expected) = event.expected_version.filter(|expected| *expected != version) {
        let detail = format!("the SKU is at version {version}, not {expected}; read it again and decide anew");
        return Err(Refusal::field(Code::VersionMismatch, "/data/expected_version", detail));
    }
    quantity(&event.what)?;
    if let What::TransferOut { to_warehouse, .. } = &event.what
        && *to_warehouse == event.warehouse
    {
        let detail = "the goods are in that warehouse already; name the one that they go to";
        return Err(Refusal::field(Code::InvalidValue, "/data/to_warehouse", detail));
    }
    let mut changes = Changes::new();
    changes.extend(unit(stock, event.unit, ctx.unit)?);
    if let Some(lot) = &event.lot {
        changes.extend(dated(stock, lot)?);
    }
    let (business, clock_ahead) = time(stock, event, ctx)?;
    Ok(Admitted {
        business,
        clock_ahead,
        changes,
    })
}

/// The door checks quantities, too; nothing past ±10^12 may reach the arithmetic.
fn quantity(what: &What) -> Result<(), Refusal> {
    let (field, units, least) = match what {
        What::Receipt { quantity }
        | What::Sale { quantity, .. }
        | What::Return { quantity, .. }
        | What::Quarantine { quantity }
        | What::Release { quantity }
        | What::WriteOff { quantity, .. }
        | What::TransferOut { quantity, .. }
        | What::TransferIn { quantity, .. } => ("/data/quantity", *quantity, 1),
        What::Count { quantity } | What::Snapshot { quantity } => ("/data/quantity", *quantity, 0),
        What::Adjustment { delta } => ("/data/delta", *delta, -MAX_QUANTITY),
        What::Underway { .. } | What::Void { .. } => return Ok(()),
    };
    if (least..=MAX_QUANTITY).contains(&units) && (units, least) != (0, -MAX_QUANTITY) {
        return Ok(());
    }
    let but = if least < 0 { ", and not 0" } else { "" };
    let detail = format!("must be from {least} to {MAX_QUANTITY} base units{but}");
    Err(Refusal::field(Code::InvalidValue, field, detail))
}

fn unit(stock: Option<&Stock>, named: Option<Unit>, catalogue: Option<Unit>) -> Result<Option<Change>, Refusal> {
    let kept = stock.map(|stock| stock.unit).or(catalogue);
    match (kept, named) {
        (Some(kept), Some(named)) if named != kept => Err(Refusal::field(
            Code::UnitMismatch,
            "/data/unit",
            format!(
                "this SKU is kept in {:?}, not in {:?}; convert the quantity, or change the SKU's unit while all its accounts are 0",
                kept.as_str(),
                named.as_str()
            ),
        )),
        _ if stock.is_some() => Ok(None),
        (kept, named) => Ok(named.or(kept).filter(|unit| *unit != Unit::default()).map(Change::Unit)),
    }
}

fn dated(stock: Option<&Stock>, lot: &LotRef) -> Result<Option<Change>, Refusal> {
    let Some(date) = lot.expires_on else {
        return Ok(None);
    };
    let field = "/data/lot/expires_on";
    if lot.id.as_str().is_empty() {
        let detail = "stock without a lot has no expiry date; name the lot, or leave the date out";
        return Err(Refusal::field(Code::InvalidValue, field, detail));
    }
    let known = stock.and_then(|stock| stock.lot(&lot.id)).and_then(|known| known.expires_on);
    match known {
        Some(known) if known != date => {
            let known = date_of(known).map_or_else(|| "another day".to_string(), |known| known.to_string());
            let detail = format!(
                "lot {:?} expires on {known}; leave the date out, or correct it with PUT …/lots/{{lot}} first",
                lot.id.as_str()
            );
            Err(Refusal::field(Code::LotMismatch, field, detail))
        }
        Some(_) => Ok(None),
        None => Ok(Some(Change::Lot {
            lot: lot.id.clone(),
            expires_on: lot.expires_on,
        })),
    }
}

fn time(stock: Option<&Stock>, event: &Event, ctx: &Context<'_>) -> Result<(Time, bool), Refusal> {
    let counts = match event.what {
        What::Count { .. } => true,
        What::Snapshot { .. } => ctx.policy.authoritative,
        _ => false,
    };
    let Some(time) = event.time else {
        if counts && matches!(event.what, What::Snapshot { .. }) {
            let detail = "a snapshot of a source that looks at the shelf is a count, and must carry its time";
            return Err(Refusal::field(Code::InvalidValue, "/time", detail));
        }
        return Ok((arrival(stock, event.lot.as_ref().map(|lot| &lot.id), counts, ctx.now), false));
    };
    if matches!(event.what, What::Underway { .. }) {
        return Ok((time, false));
    }
    if time < ctx.now.plus_ms(-ctx.limits.id_window_ms) && !ctx.policy.keep_forever {
        let detail = format!(
            "older than the {} s for which ids are remembered, so nobody can know whether it came before; import it from a source with keep_ids = \"forever\"",
            ctx.limits.id_window_ms / 1000
        );
        return Err(Refusal::field(Code::TimeOutOfRange, "/time", detail));
    }
    if counts {
        let fresh = Stock::default();
        count::in_range(stock.unwrap_or(&fresh), time, ctx)?;
    } else if time > ctx.now.plus_ms(ctx.limits.max_ahead_ms) {
        return Ok((ctx.now, true));
    }
    Ok((time, false))
}

/// How far the arrivals of one moment may run ahead of its stamp, in milliseconds.
const MOMENT_MS: i64 = 1000;

/// The time of what carries none: its arrival. Commands of one moment carry one stamp, and happen in the order of their
/// arrival: a count after all that the book has of this moment, a movement after a count of this moment. Otherwise a batch
/// of a count and a sale would take the sale for one that the count had seen.
pub(in crate::domain) fn arrival(stock: Option<&Stock>, lot: Option<&Id>, counts: bool, now: Time) -> Time {
    let Some(stock) = stock else {
        return now;
    };
    let counted = match lot {
        Some(lot) => late::counted(stock, lot),
        None => stock.newest_count(),
    };
    let moment = |time: &Time| (now..=now.plus_ms(MOMENT_MS)).contains(time);
    let moved = stock.book.newest().filter(|_| counts);
    let after = counted.map(|as_of| as_of.plus_ms(i64::from(!counts)));
    now.max(moved.filter(moment).unwrap_or(now))
        .max(after.filter(moment).unwrap_or(now))
}
