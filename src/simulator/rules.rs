//! The deciders that the simulated node is given: the domain's own, made to die now and then, and with bugs planted in what they
//! decide, since the domain itself has no place for such a thing.

use crate::actors::node::BasketCommand;
use crate::actors::warehouse;
use crate::domain::event::{Event, What};
use crate::domain::fact::{Change, Outcome, Role};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{BasketDecision, Reservation, State, Stocks};
use crate::domain::stock::{self, Context, Decision, Stock, Voided};
use crate::domain::units::{Id, MaybeTime};
use crate::domain::warehouse::Warehouse;
use crate::doom;
use crate::planted::{self, Bug};

/// The document of an event that always kills whoever decides it.
pub(super) const POISON: &str = "poison";
/// The channel-less id of a basket whose commands always kill whoever decides them begins so.
pub(super) const POISONED: &str = "poison-";

pub(super) fn decide(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    doom::may_die("decide");
    assert_ne!(event.origin.document.as_deref(), Some(POISON), "planted: poison");
    let mut decision = stock::decide(stock, event, voided, ctx);
    if planted::is(Bug::StaleApplied) && decision.outcome == Outcome::Stale {
        let mut forgetful = stock.cloned().unwrap_or_default();
        forgetful.last_count = MaybeTime::NONE;
        forgetful.lots.iter_mut().for_each(|lot| lot.last_count = MaybeTime::NONE);
        let event = Event {
            stream: None,
            ..event.clone()
        };
        decision = stock::decide(Some(&forgetful), &event, voided, ctx);
    }
    let found = |change: &Change| matches!(change, Change::Move { role: Role::Found, .. });
    if planted::is(Bug::BelowZero) && matches!(event.what, What::Sale { .. }) {
        decision.changes.retain(|change| !found(change));
    }
    decision
}

pub(super) fn judge(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    doom::may_die("judge");
    let poisoned = matches!(command, BasketCommand::Hold(request) if request.id.as_str().starts_with(POISONED));
    assert!(!poisoned, "planted: poison");
    let judged = warehouse::judge(existing, command, site, stocks, ctx);
    match (judged, command) {
        (Err(refusal), BasketCommand::Hold(request)) if planted::is(Bug::OversellByOne) => {
            let one_more: Vec<(Id, Stock)> = request
                .lines
                .iter()
                .filter_map(|line| Some((line.sku.clone(), with_one_more(stocks(&line.sku)?))))
                .collect();
            let stocks = |sku: &Id| one_more.iter().find(|(of, _)| of == sku).map(|(_, stock)| stock);
            warehouse::judge(existing, command, site, &stocks, ctx).map_err(|_| refusal)
        }
        (Err(refusal), BasketCommand::Confirm(_)) if refusal.code == Code::ExceedsHeld && planted::is(Bug::ConfirmTooMuch) => {
            let mut more = existing.cloned().ok_or(refusal)?;
            more.lines.iter_mut().for_each(|line| line.held += 1_000);
            warehouse::judge(Some(&more), command, site, stocks, ctx)
        }
        (Err(refusal), BasketCommand::Cancel(_)) if refusal.code == Code::AlreadyConfirmed && planted::is(Bug::EndNotFinal) => {
            let mut held = existing.cloned().ok_or(refusal)?;
            held.state = State::Held;
            warehouse::judge(Some(&held), command, site, stocks, ctx)
        }
        (Ok(mut decision), BasketCommand::Confirm(_)) if planted::is(Bug::ReleaseLost) => {
            for change in decision.lines.iter_mut().flat_map(|line| &mut line.changes) {
                if let Change::Unclaim { quantity, .. } = change {
                    *quantity -= 1;
                }
            }
            Ok(decision)
        }
        (Ok(mut decision), BasketCommand::Hold(_)) if planted::is(Bug::HalfBasket) && decision.lines.len() > 1 => {
            decision.lines.pop();
            Ok(decision)
        }
        (Ok(mut decision), BasketCommand::Extend { .. }) if planted::is(Bug::ExtendHalf) => {
            decision.lines.clear();
            Ok(decision)
        }
        (judged, _) => judged,
    }
}

fn with_one_more(stock: &Stock) -> Stock {
    let mut stock = stock.clone();
    if let Some(lot) = stock.lots.first_mut() {
        lot.inside[0] += 1;
    }
    stock
}
