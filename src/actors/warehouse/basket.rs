//! Reservations: what the domain decides about a basket over borrowed copies, written as one atomic group of facts.

use std::sync::Arc;

use super::super::answers::BasketAnswer;
use super::super::batch::Ticket;
use super::super::desk::{Prepared, apply, matched_of};
use super::super::draft::SkuFact;
use super::State;
use super::ops::{BasketCommand, Borrowed, node_origin};
use super::rows::unreadable;
use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{Changes, Outcome};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{self, BasketDecision, LineFact, Reservation, State as Basket, Stocks};
use crate::domain::stock::{Context, Policy, Stock};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse as Site;
use crate::storage::append::SkuIndex;
use crate::storage::view::Keys;

/// What is common to the facts of one group.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// What was done.
    pub(super) what: &'a str,
    /// Business time.
    pub(super) business: Time,
    /// Who said it.
    pub(super) origin: &'a Origin,
    /// The hash of its key, to be remembered.
    pub(super) id: Option<u64>,
}

/// The borrowed copies by the SKU's id, as the domain asks for them.
fn by_id<'a>(keys: &'a Keys, warehouse: &'a Id, borrowed: &'a Borrowed) -> impl Fn(&Id) -> Option<&'a Stock> {
    move |sku| {
        let index = keys.find(warehouse.as_str(), sku.as_str())?;
        borrowed.copies.get(&index)?.as_ref()
    }
}

/// How a command about a reservation is decided: by the domain's function of that name.
pub fn judge(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Site,
    stocks: &Stocks<'_>,
    context: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    match command {
        BasketCommand::Hold(request) => reservation::hold(existing, request, site, stocks, context),
        BasketCommand::Confirm(request) => reservation::confirm(existing, request, stocks, context),
        BasketCommand::Cancel(fingerprint) => reservation::cancel(existing, *fingerprint, stocks, context),
        BasketCommand::Extend { until, fingerprint } => {
            reservation::extend(existing, *until, *fingerprint, site, stocks, context)
        }
        BasketCommand::Expire => reservation::expire(existing, stocks, context),
    }
}

/// Whether a basket that is written as held has ended by the clock: its expiry is underway, or the node fails on it.
fn is_over(basket: &Reservation, now: Time) -> bool {
    basket.state == Basket::Held && basket.expires.is_some_and(|deadline| deadline <= now)
}

impl State {
    fn context(&self, now: Time) -> Context<'_> {
        let today = self.day(now);
        let (calendar, limits) = (&*self.desk.calendar, &self.shared.limits);
        Context {
            now,
            today,
            calendar,
            policy: Policy::default(),
            limits,
            // Baskets and settings never make a SKU.
            unit: None,
        }
    }

    pub(super) fn basket_command(
        &mut self,
        id: &Id,
        command: &BasketCommand,
        origin: &Origin,
        borrowed: &mut Borrowed,
    ) -> Result<BasketAnswer, Refusal> {
        let before = self.basket(id).map_err(|error| unreadable(&error))?;
        let existing = before.as_deref();
        let decision = {
            let stocks = by_id(self.shared.store.view().keys(), &self.desk.warehouse, borrowed);
            let context = self.context(borrowed.now);
            if !matches!(command, BasketCommand::Expire)
                && let Some(late) = existing.filter(|basket| is_over(basket, borrowed.now))
            {
                let detail = format!(
                    "the deadline of reservation {} has passed; hold a new one under a new id",
                    late.id
                );
                return Err(Refusal::new(Code::AlreadyExpired, detail));
            }
            (self.shared.judge)(existing, command, &self.site, &stocks, &context)?
        };
        let created = matches!(decision.reply, reservation::Reply::Created);
        if matches!(decision.reply, reservation::Reply::Same) {
            let reservation = Arc::new(decision.after);
            return Ok(BasketAnswer { reservation, created });
        }
        if let BasketCommand::Confirm(request) = command
            && decision.clock_ahead
        {
            self.shared
                .clock_ahead(&self.desk.warehouse, origin, request.time, borrowed.now);
        }
        let reservation = self.write_basket(existing, decision, origin, borrowed);
        Ok(BasketAnswer { reservation, created })
    }

    /// Puts a basket's decision into the draft: the reservation's fact first, then those of its SKUs.
    fn write_basket(
        &mut self,
        before: Option<&Reservation>,
        decision: BasketDecision,
        origin: &Origin,
        borrowed: &mut Borrowed,
    ) -> Arc<Reservation> {
        let BasketDecision {
            what,
            business,
            after,
            lines,
            ..
        } = decision;
        let said = Said {
            what,
            business,
            origin,
            id: None,
        };
        let after = Arc::new(after);
        borrowed.draft.reservation(what, business, borrowed.now, origin, &after);
        for line in lines {
            let LineFact {
                sku,
                changes,
                found,
                expired_lot,
                included_in_count,
            } = line;
            let outcome = match included_in_count {
                true => Outcome::IncludedInCount,
                false => Outcome::Applied { found, expired_lot },
            };
            self.write_sku(&sku, said, outcome, changes, borrowed);
        }
        borrowed.draft.lines_follow();
        self.keep_basket(before, &after);
        after
    }

    /// Changes one borrowed copy and puts its fact into the draft; the fact's place there.
    pub(super) fn write_sku(
        &self,
        sku: &Id,
        said: Said<'_>,
        outcome: Outcome,
        changes: Changes,
        borrowed: &mut Borrowed,
    ) -> Option<u32> {
        let keys = self.shared.store.view().keys();
        let index: SkuIndex = keys.find(self.desk.warehouse.as_str(), sku.as_str())?;
        let stock = borrowed.copies.get_mut(&index)?;
        let version = apply(stock, &changes, said.business, borrowed.now);
        let after = self.desk.offer.after(stock.as_ref(), self.day(borrowed.now), borrowed.now);
        Some(borrowed.draft.sku(SkuFact {
            sku,
            index,
            version,
            what: said.what,
            business: said.business,
            recorded: borrowed.now,
            origin: said.origin,
            outcome: &outcome,
            changes,
            after,
            payload: None,
            id: said.id,
            voids: None,
            keep_forever: false,
        }))
    }

    pub(super) fn expire(&mut self, id: &Id, borrowed: &mut Borrowed) {
        let Some(basket) = self.held(id) else { return };
        // Extended while this waited for its copies.
        let Some(due) = basket.expires.filter(|deadline| *deadline <= borrowed.now) else {
            return;
        };
        let keys = self.shared.store.view().keys();
        let lent = |sku: &Id| {
            let index = keys.find(self.desk.warehouse.as_str(), sku.as_str());
            index.is_some_and(|index| borrowed.copies.contains_key(&index))
        };
        if basket.lines.iter().any(|line| line.held > 0 && !lent(&line.sku)) {
            // Replaced meanwhile, and due again: this time with the copies of its new lines.
            self.deadlines.insert((due, id.clone()));
            return;
        }
        let decision = {
            let stocks = by_id(self.shared.store.view().keys(), &self.desk.warehouse, borrowed);
            let context = self.context(borrowed.now);
            (self.shared.judge)(Some(&basket), &BasketCommand::Expire, &self.site, &stocks, &context)
        };
        match decision {
            Ok(decision) => {
                let origin = node_origin(format!("expired/{id}/{}", basket.version));
                self.write_basket(Some(&basket), decision, &origin, borrowed);
            }
            Err(refusal) => tracing::error!(reservation = %id, %refusal, "a held reservation could not be expired"),
        }
    }

    /// A sale that names a reservation, or the void of one that told again what was confirmed.
    pub(super) fn sale(&mut self, ticket: &Arc<Ticket>, prepared: &Prepared, reservation: &Id, borrowed: &mut Borrowed) {
        let desk = Arc::clone(&self.desk);
        let event = ticket.event(prepared.row);
        let live = |basket: &Arc<Reservation>| !is_over(basket, borrowed.now);
        let basket = match self.basket(reservation) {
            Ok(basket) => basket.filter(live),
            Err(error) => return self.not_judged(ticket, prepared, &error),
        };
        let Some(stock) = borrowed.copies.get_mut(&ticket.sku(prepared.row)) else {
            return;
        };
        let Some(basket) = basket else {
            return desk.decide(stock, ticket, prepared, &mut borrowed.draft);
        };
        let (decision, after) = if let Some((_, units)) = matched_of(&prepared.voided) {
            let decision = desk.judge(stock.as_ref(), event, prepared);
            let taken_back = decision.outcome.binds();
            let after = taken_back.then(|| reservation::unmatched(&basket, &event.sku, units));
            (decision, after.flatten())
        } else {
            let context = desk.context(prepared, stock.as_ref(), &event.sku);
            reservation::sale(&basket, stock.as_ref(), event, &context)
        };
        let after = after.map(Arc::new);
        let mut kept = None;
        if let Some(after) = &after {
            let what = if after.state == basket.state {
                "sold_from"
            } else {
                after.state.as_str()
            };
            let draft = &mut borrowed.draft;
            draft.reservation(what, decision.business, prepared.now, &event.origin, after);
            kept = told_again(&basket, after, event);
        }
        desk.conclude(stock, ticket, prepared, decision, kept.as_ref(), &mut borrowed.draft);
        if after.is_some() {
            borrowed.draft.lines_follow();
        }
        // Last, since nothing of an operation that panics may stay.
        if let Some(after) = after {
            self.keep_basket(Some(&basket), &after);
        }
    }
}

/// What a sale has told again of what the basket's confirm took, as a sale of just that; for who takes the sale back.
fn told_again(before: &Reservation, after: &Reservation, sale: &Event) -> Option<Event> {
    let matched = |basket: &Reservation| -> i64 {
        let of_sku = basket.lines.iter().filter(|line| line.sku == sale.sku);
        of_sku.map(|line| line.matched).sum()
    };
    let quantity = matched(after) - matched(before);
    let what = What::Sale {
        quantity,
        reservation: Some(after.id.clone()),
    };
    (quantity > 0).then(|| Event { what, ..sale.clone() })
}
