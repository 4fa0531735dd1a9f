//! `PUT`: a new basket, or a held one replaced as one step.
//!
//! Replacing is not cancelling and holding again: between the two somebody else could take what the basket had. So a
//! replacement is judged beside all other claims but its own, and what a line had already is never refused to it while
//! it grows neither in quantity nor in date, even when the shelf has since become short.
//!
//! A line is *the same or smaller* when it asks for as many days as before and not for more units: then it keeps the
//! date that was fixed when it was first held. Anything else gets its date from today. What a line *has* is what is
//! held for it, which after `allow_partial` is less than it had asked for.

use std::collections::{HashMap, HashSet};

use super::{BasketDecision, HoldRequest, Line, LineFact, LineRequest, Reply, Reservation, State, Stocks};
use super::{line_fact, refuse_ended, same};
use crate::domain::available::{available, buffer_of};
use crate::domain::fact::{Change, Changes, Claim};
use crate::domain::refusal::{Code, Refusal, Shortage};
use crate::domain::stock::{Context, Stock};
use crate::domain::units::{Day, MAX_QUANTITY, Time};
use crate::domain::warehouse::{Channel, Warehouse};

/// The most lines in one basket: one journal record and one answer must stay small.
pub const MAX_LINES: usize = 1_000;

/// The most days of shelf life that a line may ask for: a hundred years, so that its date stays one that can be written.
pub const MAX_SHELF_LIFE_DAYS: u32 = 36_500;

/// Holds a basket, or replaces a held one. `existing`: the basket of that id as it stands.
///
/// Refuses `invalid_value` (a field out of bounds, an unknown channel, a SKU named twice, no lines or too many),
/// `already_*` (it has ended), `version_mismatch`, `partly_taken` and `insufficient_stock`; then nothing changes.
pub fn hold(
    existing: Option<&Reservation>,
    request: &HoldRequest,
    warehouse: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    if let Some(old) = existing.filter(|old| old.request == request.fingerprint) {
        return Ok(same(old, "held", ctx));
    }
    let channel = channel_of(request, warehouse)?;
    let expires = expiry(request, channel, ctx.now)?;
    check_lines(&request.lines)?;
    check_standing(existing, request)?;
    let plans = plan(existing, request, warehouse, stocks, ctx);
    check_stock(&plans, request.allow_partial)?;
    let (reply, what) = match existing {
        None => (Reply::Created, "held"),
        Some(_) => (Reply::Replaced, "replaced"),
    };
    let lines = facts(existing, &plans, request, expires, stocks, ctx);
    let after = Reservation {
        id: request.id.clone(),
        channel: request.channel.clone(),
        state: State::Held,
        version: existing.map_or(0, |old| old.version) + 1,
        request: request.fingerprint,
        extended: None,
        lines: plans.into_iter().map(|plan| plan.line).collect(),
        created: existing.map_or(ctx.now, |old| old.created),
        expires,
        end: None,
    };
    Ok(BasketDecision {
        reply,
        what,
        business: ctx.now,
        clock_ahead: false,
        after,
        lines,
    })
}

fn channel_of<'w>(request: &HoldRequest, warehouse: &'w Warehouse) -> Result<&'w Channel, Refusal> {
    warehouse.channels.get(&request.channel).ok_or_else(|| {
        let known: Vec<&str> = warehouse.channels.keys().map(|id| id.as_str()).collect();
        let detail = format!(
            "warehouse {} has no channel {:?}; it has: {}. Name one of them, or leave the field out for \"default\"",
            warehouse.id,
            request.channel,
            known.join(", ")
        );
        Refusal::field(Code::InvalidValue, "/channel", detail)
    })
}

/// The deadline that the request asks for. A channel whose own default is 0 lets its baskets live forever.
fn expiry(request: &HoldRequest, channel: &Channel, now: Time) -> Result<Option<Time>, Refusal> {
    let refuse = |detail: String| Err(Refusal::field(Code::InvalidValue, "/ttl_s", detail));
    match request.ttl_s {
        Some(0) if !channel.allow_no_expiry => refuse(format!(
            "channel {:?} does not allow reservations that never expire (ttl_s 0); ask for 1 to {} seconds",
            request.channel, channel.max_ttl_s
        )),
        Some(ttl_s) if ttl_s > channel.max_ttl_s => refuse(format!(
            "ttl_s {ttl_s} is more than channel {:?} allows; the most is {} seconds",
            request.channel, channel.max_ttl_s
        )),
        asked => Ok(match asked.unwrap_or(channel.ttl_s) {
            0 => None,
            ttl_s => Some(now.plus_ms(i64::from(ttl_s) * 1_000)),
        }),
    }
}

fn check_lines(lines: &[LineRequest]) -> Result<(), Refusal> {
    let refuse = |field: String, detail: String| Err(Refusal::field(Code::InvalidValue, field, detail));
    if lines.is_empty() || lines.len() > MAX_LINES {
        return refuse(
            "/lines".into(),
            format!("a basket has 1 to {MAX_LINES} lines, this one {}", lines.len()),
        );
    }
    let mut seen = HashSet::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        if !seen.insert(&line.sku) {
            return refuse(
                format!("/lines/{i}/sku"),
                format!("SKU {} is in the basket twice; add the two up", line.sku),
            );
        }
        if !(1..=MAX_QUANTITY).contains(&line.quantity) {
            let detail = format!("quantity {} must be 1 to {MAX_QUANTITY}", line.quantity);
            return refuse(format!("/lines/{i}/quantity"), detail);
        }
        if let Some(days) = line.min_shelf_life_days.filter(|days| *days > MAX_SHELF_LIFE_DAYS) {
            let detail = format!("{days} days must be 0 to {MAX_SHELF_LIFE_DAYS}");
            return refuse(format!("/lines/{i}/min_shelf_life_days"), detail);
        }
    }
    Ok(())
}

/// Whether a basket that stands like this may be replaced by such a request.
fn check_standing(existing: Option<&Reservation>, request: &HoldRequest) -> Result<(), Refusal> {
    if let Some(old) = existing {
        refuse_ended(old)?;
    }
    let version = existing.map_or(0, |old| old.version);
    if let Some(expected) = request.expected_version.filter(|expected| *expected != version) {
        let detail = match existing {
            None => format!(
                "version {expected} was expected, but there is no reservation {} yet",
                request.id
            ),
            Some(_) => format!(
                "version {expected} was expected, but reservation {} is at version {version}",
                request.id
            ),
        };
        return Err(Refusal::field(Code::VersionMismatch, "/expected_version", detail));
    }
    match existing.and_then(|old| old.lines.iter().find(|line| line.taken > 0)) {
        None => Ok(()),
        Some(line) => {
            let (taken, sku) = (line.taken, &line.sku);
            let detail = format!("{taken} of {sku} were taken already; confirm or cancel it and hold the rest under a new id");
            Err(Refusal::new(Code::PartlyTaken, detail))
        }
    }
}

/// What one line would get.
struct Plan {
    line: Line,
    /// What could have been promised to it.
    available: i64,
}

fn plan(
    existing: Option<&Reservation>,
    request: &HoldRequest,
    warehouse: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Vec<Plan> {
    let old: HashMap<_, _> = existing
        .iter()
        .flat_map(|old| &old.lines)
        .map(|line| (&line.sku, line))
        .collect();
    let of_line = |wanted: &LineRequest| {
        let old = old.get(&wanted.sku).copied();
        let good_until = date_of(wanted, old, ctx.today);
        let secure = old
            .filter(|old| !grows(good_until, old.good_until, ctx.today))
            .map_or(0, |old| old.held);
        let free = stocks(&wanted.sku).map_or(0, |stock| {
            let buffer = buffer_of(stock, &request.channel, warehouse);
            available(stock, good_until, buffer, ctx.today, ctx.now, Some(&request.id))
        });
        let available = free.max(secure);
        let line = Line {
            sku: wanted.sku.clone(),
            quantity: wanted.quantity,
            held: wanted.quantity.min(available),
            taken: 0,
            matched: 0,
            confirmed: 0,
            min_shelf_life_days: wanted.min_shelf_life_days,
            good_until,
        };
        Plan { line, available }
    };
    request.lines.iter().map(of_line).collect()
}

/// The date of a line: the one that it has when it is the same or smaller, or else counted from today.
fn date_of(wanted: &LineRequest, old: Option<&Line>, today: Day) -> Option<Day> {
    let kept = old.filter(|old| old.min_shelf_life_days == wanted.min_shelf_life_days && wanted.quantity <= old.quantity);
    match kept {
        Some(old) => old.good_until,
        // Bounded by `MAX_SHELF_LIFE_DAYS`, so it fits.
        None => wanted.min_shelf_life_days.map(|days| today.plus(days as i32)),
    }
}

/// Whether a date asks for more than another one, as both count today.
fn grows(new: Option<Day>, old: Option<Day>, today: Day) -> bool {
    new.map(|day| day.max(today)) > old.map(|day| day.max(today))
}

fn check_stock(plans: &[Plan], allow_partial: bool) -> Result<(), Refusal> {
    let short = |plan: &&Plan| plan.line.held < plan.line.quantity;
    let nothing = plans.iter().all(|plan| plan.line.held == 0);
    if plans.iter().find(short).is_none() || (allow_partial && !nothing) {
        return Ok(());
    }
    let lines: Vec<Shortage> = plans
        .iter()
        .filter(short)
        .map(|plan| Shortage {
            sku: plan.line.sku.clone(),
            requested: plan.line.quantity,
            available: plan.available,
        })
        .collect();
    let detail = match &lines[..] {
        [line] => format!(
            "{} of {} were asked for, {} are available",
            line.requested, line.sku, line.available
        ),
        _ => format!("{} of {} lines fall short; see \"lines\"", lines.len(), plans.len()),
    };
    let advice = if allow_partial {
        "there is nothing to give"
    } else {
        "nothing was held; ask for less, or allow_partial"
    };
    Err(Refusal {
        lines,
        ..Refusal::new(Code::InsufficientStock, format!("{detail}; {advice}"))
    })
}

fn facts(
    existing: Option<&Reservation>,
    plans: &[Plan],
    request: &HoldRequest,
    expires: Option<Time>,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Vec<LineFact> {
    let old: HashMap<_, _> = existing
        .iter()
        .flat_map(|old| &old.lines)
        .map(|line| (&line.sku, line))
        .collect();
    let kept: HashSet<_> = plans.iter().map(|plan| &plan.line.sku).collect();
    let mut facts = Vec::with_capacity(plans.len());
    for plan in plans {
        let Some(stock) = stocks(&plan.line.sku) else { continue };
        let had = old.get(&plan.line.sku).map_or(0, |old| old.held);
        let changes = claim_changes(stock, had, plan, request, expires);
        facts.extend(line_fact(&plan.line.sku, stock, changes, had > 0, ctx));
    }
    for line in existing
        .iter()
        .flat_map(|old| &old.lines)
        .filter(|line| line.held > 0 && !kept.contains(&line.sku))
    {
        let Some(stock) = stocks(&line.sku) else { continue };
        let gone = Change::Unclaim {
            reservation: request.id.clone(),
            quantity: line.held,
        };
        facts.extend(line_fact(&line.sku, stock, Changes::from_iter([gone]), true, ctx));
    }
    facts
}

/// From the claim that a SKU has for this basket to the one that it shall have.
fn claim_changes(stock: &Stock, had: i64, plan: &Plan, request: &HoldRequest, expires: Option<Time>) -> Changes {
    let (reservation, line) = (request.id.clone(), &plan.line);
    let old = stock.claims.of(&reservation);
    if line.held == 0 {
        let gone = Change::Unclaim {
            reservation,
            quantity: had,
        };
        return (had > 0).then_some(gone).into_iter().collect();
    }
    let same_terms = |old: &&Claim| (old.quantity, old.good_until) == (line.held, line.good_until);
    match old.filter(same_terms) {
        Some(old) if old.deadline == expires => Changes::new(),
        Some(_) => Changes::from_iter([Change::Deadline {
            reservation,
            deadline: expires,
        }]),
        None => Changes::from_iter([Change::Claim(Box::new(Claim {
            reservation,
            quantity: line.held,
            good_until: line.good_until,
            deadline: expires,
            at_risk: old.is_some_and(|old| old.at_risk),
        }))]),
    }
}
