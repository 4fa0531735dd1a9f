//! Deciding one row: the same steps whether the SKU is asleep in its warehouse's table or has an actor of its own.

use std::sync::Arc;

use tokio::sync::watch;

use super::batch::Ticket;
use super::draft::{Draft, SkuFact};
use super::shared::Shared;
use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{Change, Fact, Outcome};
use crate::domain::offer::Offer;
use crate::domain::stock::{Context, Decision, Policy, Stock, Voided, evolve, left_lots};
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::Calendar;
use crate::planted::{self, Bug};
use crate::storage::payload;

/// What the warehouse found out for a void before it is decided.
#[derive(Debug)]
pub enum VoidOf {
    /// It is no void.
    Nothing,
    /// The event that it names is not known.
    Unknown,
    /// That event was voided before.
    Already,
    /// The fact of that event.
    Fact(Box<Fact>),
}

impl Prepared {
    /// The same again, for a row that must be tried anew.
    pub fn again(&self) -> Prepared {
        let voided = match &self.voided {
            VoidOf::Nothing => VoidOf::Nothing,
            VoidOf::Unknown => VoidOf::Unknown,
            VoidOf::Already => VoidOf::Already,
            VoidOf::Fact(fact) => VoidOf::Fact(fact.clone()),
        };
        Prepared { voided, ..*self }
    }
}

impl VoidOf {
    fn as_voided(&self) -> Voided<'_> {
        match self {
            VoidOf::Nothing => Voided::NotAVoid,
            VoidOf::Unknown => Voided::Unknown,
            VoidOf::Already => Voided::Already,
            VoidOf::Fact(fact) => Voided::Fact(fact),
        }
    }
}

/// A row that is no duplicate, with its stamp and all that deciding it needs.
#[derive(Debug)]
pub struct Prepared {
    /// The row of its batch.
    pub row: u32,
    /// Hash of (warehouse, source, id).
    pub id: u64,
    /// For a void: the hash that remembers what it voids.
    pub voids: Option<u64>,
    /// The stamp.
    pub now: Time,
    /// The stamp's day in the warehouse.
    pub today: Day,
    /// The source's rules.
    pub policy: Policy,
    /// What a void refers to.
    pub voided: VoidOf,
}

/// See the module.
#[derive(Clone)]
pub struct Desk {
    /// What every actor has.
    pub shared: Arc<Shared>,
    /// The warehouse.
    pub warehouse: Id,
    /// Its channels, as every fact that is decided now says them.
    pub offer: Arc<Offer>,
    /// Its calendar.
    pub calendar: Arc<Calendar>,
    /// Held by the warehouse and by each of its SKUs while they live: a successor waits for the last of them to let go.
    pub life: watch::Receiver<()>,
}

impl Desk {
    /// The domain's context of a row.
    pub fn context<'a>(&'a self, prepared: &'a Prepared, stock: Option<&Stock>, sku: &Id) -> Context<'a> {
        // Only a SKU that is new here has to ask the catalogue.
        let unit = if stock.is_none() { self.catalogue_unit(sku) } else { None };
        Context {
            unit,
            now: prepared.now,
            today: prepared.today,
            calendar: &self.calendar,
            policy: prepared.policy,
            limits: &self.shared.limits,
        }
    }

    /// The unit that the catalogue names for a SKU, or else the one that its first event gave it in another warehouse.
    fn catalogue_unit(&self, sku: &Id) -> Option<Unit> {
        let view = self.shared.store.view();
        let named = || {
            let entry: serde_json::Value = serde_json::from_str(&view.catalogue_entry(sku.as_str())?).ok()?;
            Unit::parse(entry.get("unit")?.as_str()?)
        };
        named().or_else(|| view.unit_of(sku.as_str()))
    }

    /// Decides a row, changes the working copy, and adds the fact and the answer to the draft.
    pub fn decide(&self, stock: &mut Option<Stock>, ticket: &Arc<Ticket>, prepared: &Prepared, draft: &mut Draft) {
        let decision = self.judge(stock.as_ref(), ticket.event(prepared.row), prepared);
        self.conclude(stock, ticket, prepared, decision, None, draft);
    }

    /// The first half of [`Desk::decide`]: what follows.
    pub fn judge(&self, stock: Option<&Stock>, event: &Event, prepared: &Prepared) -> Decision {
        let context = self.context(prepared, stock, &event.sku);
        (self.shared.decide)(stock, event, prepared.voided.as_voided(), &context)
    }

    /// The second half of [`Desk::decide`], for a decision made elsewhere (a sale that names a basket). `kept` is what a later
    /// void of the event must know beside its changes.
    pub fn conclude(
        &self,
        stock: &mut Option<Stock>,
        ticket: &Arc<Ticket>,
        prepared: &Prepared,
        decision: Decision,
        kept: Option<&Event>,
        draft: &mut Draft,
    ) {
        let event = ticket.event(prepared.row);
        if decision.clock_ahead {
            self.shared
                .clock_ahead(&self.warehouse, &event.origin, event.time, prepared.now);
        }
        let follow = self.follow(event, prepared, &decision, stock.as_ref());
        let Decision {
            outcome,
            business,
            changes,
            ..
        } = decision;
        let version = apply(stock, &changes, business, prepared.now);
        let after = self.offer.after(stock.as_ref(), prepared.today, prepared.now);
        let payload = match (&outcome, &follow) {
            (Outcome::DeadLetter { .. }, _) => Some(payload::render_with(event, ticket.message(prepared.row))),
            (_, Some(underway)) => Some(payload::render(underway)),
            _ => kept.map(payload::render),
        };
        let binds = outcome.binds();
        let dead = matches!(outcome, Outcome::DeadLetter { .. });
        let index = draft.sku(SkuFact {
            sku: &event.sku,
            index: ticket.sku(prepared.row),
            version,
            what: event.what.word(),
            business,
            recorded: prepared.now,
            origin: &event.origin,
            outcome: &outcome,
            changes,
            after,
            payload: payload.as_deref(),
            id: binds.then_some(prepared.id),
            // A dead letter has taken nothing back.
            voids: prepared.voids.filter(|_| binds && !dead),
            keep_forever: prepared.policy.keep_forever,
        });
        draft.settles(prepared.id);
        if let Some(voids) = prepared.voids {
            draft.settles(voids);
        }
        draft.verdict(ticket, prepared.row, index, outcome, version, follow);
    }

    /// What the receiving warehouse must be told when goods have left for it, or a departure is taken back, and it is ours.
    fn follow(&self, event: &Event, prepared: &Prepared, decision: &Decision, stock: Option<&Stock>) -> Option<Box<Event>> {
        let told;
        let (transfer, to) = match (&event.what, &prepared.voided) {
            (
                What::TransferOut {
                    transfer, to_warehouse, ..
                },
                _,
            ) => (transfer, to_warehouse),
            (What::Void { .. }, VoidOf::Fact(fact)) if &*fact.what == "transfer_out" => {
                told = underway_of(fact)?;
                let What::Underway { transfer, .. } = &told.what else {
                    return None;
                };
                (transfer, &told.warehouse)
            }
            _ => return None,
        };
        if !matches!(decision.outcome, Outcome::Applied { .. } | Outcome::IncludedInCount) {
            return None;
        }
        let lots = left_lots(stock.unwrap_or(&Stock::default()), &decision.changes);
        if *to == event.warehouse || lots.is_empty() || !self.shared.store.view().warehouses().contains_key(to) {
            return None;
        }
        // Known by the sending event, so that it is told once however often it is said.
        let origin = Origin {
            source: Id::trusted(&format!("node/transfer/{}", event.warehouse)),
            id: Id::trusted(&told_id(event.origin.source.as_str(), event.origin.id.as_str())),
            fingerprint: 0,
            ..event.origin.clone()
        };
        let what = What::Underway {
            lots,
            transfer: transfer.clone(),
            from_warehouse: event.warehouse.clone(),
        };
        Some(Box::new(Event {
            origin,
            warehouse: to.clone(),
            sku: event.sku.clone(),
            time: Some(decision.business),
            // A SKU that is new over there is counted in the same unit.
            unit: stock.map(|stock| stock.unit).or(event.unit),
            lot: None,
            stream: None,
            expected_version: None,
            what,
        }))
    }
}

/// A source and an id as one id. Both may hold a `/`; that of the event's is escaped, so that no two pairs read alike.
fn told_id(source: &str, id: &str) -> String {
    format!("{source}/{}", id.replace('%', "%25").replace('/', "%2F"))
}

/// What a `transfer_out` read back from the journal, or its void, has to tell the receiving warehouse, when that is ours.
pub fn underway_of(fact: &Fact) -> Option<Box<Event>> {
    let binds = fact.outcome.binds() && !matches!(fact.outcome, Outcome::DeadLetter { .. });
    let event = payload::parse(fact.payload.as_deref().filter(|_| binds)?)?;
    matches!(event.what, What::Underway { .. }).then(|| Box::new(event))
}

/// The basket and the units of a sale read back from the journal that had told again what the basket's confirm took.
pub fn matched_of(voided: &VoidOf) -> Option<(Id, i64)> {
    let VoidOf::Fact(fact) = voided else { return None };
    let told = &*fact.what == "sale"
        && matches!(
            fact.outcome,
            Outcome::Applied { .. } | Outcome::Recorded | Outcome::IncludedInCount
        );
    let kept = fact.payload.as_deref().filter(|_| told)?;
    match payload::parse(kept)?.what {
        What::Sale {
            quantity,
            reservation: Some(basket),
        } => Some((basket, quantity)),
        _ => None,
    }
}

/// Applies changes to a working copy and returns its version.
pub fn apply(stock: &mut Option<Stock>, changes: &[Change], business: Time, recorded: Time) -> u64 {
    if !changes.is_empty() {
        let stock = stock.get_or_insert_with(Stock::default);
        evolve(stock, changes, business, recorded);
        if planted::is(Bug::VersionRepeats) && stock.version.is_multiple_of(5) {
            stock.version -= 1;
        }
    }
    stock.as_ref().map_or(0, |stock| stock.version)
}
