//! Operations: whatever needs the copies of one or several SKUs at once, and is judged as a whole.
//!
//! An operation borrows the working copies of its SKUs, in the warehouse's one order; when it has them all the domain judges
//! it as one pure function, its facts go to the journal as one message, and the copies go back.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::batch::Ticket;
use super::super::desk::{Prepared, apply};
use super::super::draft::{BasketAnswer, BasketReply, Draft, Reply, SettingReply, SkuFact};
use super::State;
use super::place::{Copy, Waiting};
use crate::domain::available::at_risk_changes;
use crate::domain::event::Origin;
use crate::domain::fact::{Change, Changes, Outcome};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{self, BasketDecision, ConfirmRequest, HoldRequest, LineFact, Reservation, State as Basket};
use crate::domain::stock::{Context, Policy, Stock};
use crate::domain::units::{Day, Id, Time, Unit};
use crate::storage::append::SkuIndex;

/// A command about one reservation.
#[derive(Clone, Debug)]
pub enum BasketCommand {
    /// `PUT`: hold, or replace.
    Hold(HoldRequest),
    /// `confirm`.
    Confirm(ConfirmRequest),
    /// `cancel`; the fingerprint of the request.
    Cancel(u64),
    /// `extend` until; the fingerprint of the request.
    Extend {
        /// The new deadline.
        until: Time,
        /// Fingerprint of the request.
        fingerprint: u64,
    },
}

/// What is set on one SKU.
#[derive(Clone, Debug)]
pub enum SkuSetting {
    /// A lot's expiry date.
    LotDate(Id, Option<Day>),
    /// The whole list of buffer overrides.
    Buffers(Vec<(Id, i64)>),
    /// The unit.
    Unit(Unit),
}

/// What a door asks of a warehouse beside events.
pub enum Command {
    /// About a reservation.
    Basket {
        /// Its id.
        id: Id,
        /// What.
        command: BasketCommand,
        /// The SKUs that the command names, with their indexes.
        skus: Vec<(Id, SkuIndex)>,
        /// Who said it.
        origin: Origin,
        /// Who waits.
        reply: BasketReply,
    },
    /// About one SKU.
    Sku {
        /// Which.
        sku: SkuIndex,
        /// Its id.
        id: Id,
        /// What.
        setting: SkuSetting,
        /// Who said it.
        origin: Origin,
        /// Who waits.
        reply: SettingReply,
    },
    /// The warehouse's own data have changed, in the view already.
    Configured,
}

/// What an operation does when it has its copies.
pub(super) enum Work {
    /// A reservation command.
    Basket {
        id: Id,
        command: BasketCommand,
        origin: Origin,
        reply: BasketReply,
    },
    /// A reservation's deadline has passed.
    Expire { id: Id },
    /// A sale that names a reservation.
    Sale {
        ticket: Arc<Ticket>,
        prepared: Box<Prepared>,
        reservation: Id,
    },
    /// A setting of one SKU.
    Sku {
        id: Id,
        setting: SkuSetting,
        origin: Origin,
        reply: SettingReply,
    },
    /// What may be promised has changed without an event.
    Turn { what: &'static str },
}

/// See the module.
pub(super) struct Operation {
    work: Work,
    now: Time,
    skus: Vec<SkuIndex>,
    copies: HashMap<SkuIndex, Option<Stock>>,
}

impl Operation {
    pub(super) fn new(work: Work, now: Time, skus: Vec<SkuIndex>) -> Operation {
        Operation {
            work,
            now,
            skus,
            copies: HashMap::new(),
        }
    }
}

impl State {
    pub(super) fn on_command(&mut self, command: Box<Command>) {
        let now = self.stamp();
        self.expire_due(now);
        match *command {
            Command::Configured => self.on_configured(),
            Command::Sku {
                sku,
                id,
                setting,
                origin,
                reply,
            } => {
                self.begin(Operation::new(
                    Work::Sku {
                        id,
                        setting,
                        origin,
                        reply,
                    },
                    now,
                    vec![sku],
                ));
            }
            Command::Basket {
                id,
                command,
                skus,
                origin,
                reply,
            } => {
                if let Some(waiting) = self.busy.get_mut(&id) {
                    waiting.push_back(Box::new(Command::Basket {
                        id,
                        command,
                        skus,
                        origin,
                        reply,
                    }));
                    return;
                }
                let mut needed: Vec<SkuIndex> = skus.into_iter().map(|(_, index)| index).collect();
                self.add_lines(&id, &mut needed);
                self.busy.insert(id.clone(), Default::default());
                self.begin(Operation::new(
                    Work::Basket {
                        id,
                        command,
                        origin,
                        reply,
                    },
                    now,
                    needed,
                ));
            }
        }
    }

    /// Adds the SKUs of a basket as it is now.
    pub(super) fn add_lines(&self, id: &Id, needed: &mut Vec<SkuIndex>) {
        if let Some(basket) = self.basket(id) {
            let keys = self.shared.store.view().keys();
            needed.extend(
                basket
                    .lines
                    .iter()
                    .filter_map(|line| keys.find(self.desk.warehouse.as_str(), line.sku.as_str())),
            );
        }
        needed.sort_unstable();
        needed.dedup();
    }

    /// Enters the queues of all its SKUs at once; carried out when it has all their copies.
    pub(super) fn begin(&mut self, operation: Operation) {
        let number = self.next_operation;
        self.next_operation += 1;
        if operation.skus.is_empty() {
            self.perform(operation);
            return;
        }
        for sku in operation.skus.clone() {
            self.place(sku).queue.push_back(Waiting::Operation(number));
            self.runnable.push(sku);
        }
        self.operations.insert(number, operation);
    }

    /// A copy for an operation; the last one sets it going.
    pub(super) fn lend(&mut self, number: u64, sku: SkuIndex, stock: Option<Stock>) {
        let Some(operation) = self.operations.get_mut(&number) else {
            return;
        };
        operation.copies.insert(sku, stock);
        if operation.copies.len() == operation.skus.len()
            && let Some(operation) = self.operations.remove(&number)
        {
            self.perform(operation);
        }
    }

    fn perform(&mut self, operation: Operation) {
        let Operation {
            work,
            now,
            skus,
            mut copies,
        } = operation;
        let mut draft = self.draft();
        let named = match &work {
            Work::Basket { id, .. } => Some(id.clone()),
            _ => None,
        };
        match work {
            Work::Basket {
                id,
                command,
                origin,
                reply,
            } => {
                let answer = self.basket_command(&id, command, &origin, now, &mut copies, &mut draft);
                draft.reply(Reply::Basket(reply, answer));
            }
            Work::Expire { id } => self.expire(&id, now, &mut copies, &mut draft),
            Work::Sale {
                ticket,
                prepared,
                reservation,
            } => {
                self.sale(&ticket, &prepared, &reservation, &mut copies, &mut draft);
            }
            Work::Sku {
                id,
                setting,
                origin,
                reply,
            } => {
                let sku = skus[0];
                let answer = self.set_sku(sku, &id, setting, &origin, now, &mut copies, &mut draft);
                draft.reply(Reply::Setting(reply, answer));
            }
            Work::Turn { what } => self.turn(skus[0], what, now, &mut copies, &mut draft),
        }
        for (sku, stock) in copies {
            self.place(sku).copy = Copy::Here(stock);
            self.runnable.push(sku);
        }
        self.send(draft);
        if let Some(id) = named {
            self.next_of(&id);
        }
    }

    /// The next command that waited for this reservation.
    fn next_of(&mut self, id: &Id) {
        let next = match self.busy.get_mut(id) {
            Some(waiting) => waiting.pop_front(),
            None => return,
        };
        let waiting = self.busy.remove(id).unwrap_or_default();
        if let Some(command) = next {
            self.on_command(command);
            if let Some(queue) = self.busy.get_mut(id) {
                queue.extend(waiting);
            }
        }
    }

    fn context<'a>(&'a self, now: Time) -> Context<'a> {
        Context {
            now,
            today: self.calendar.day_of(now),
            calendar: &self.calendar,
            policy: Policy::default(),
            limits: &self.shared.limits,
        }
    }

    fn basket_command(
        &mut self,
        id: &Id,
        command: BasketCommand,
        origin: &Origin,
        now: Time,
        copies: &mut HashMap<SkuIndex, Option<Stock>>,
        draft: &mut Draft,
    ) -> Result<BasketAnswer, Refusal> {
        let before = self.basket(id);
        let existing = before.as_deref();
        let decision = {
            let keys = self.shared.store.view().keys();
            let warehouse = &self.desk.warehouse;
            let stocks = |sku: &Id| {
                keys.find(warehouse.as_str(), sku.as_str())
                    .and_then(|index| copies.get(&index))
                    .and_then(Option::as_ref)
            };
            let context = self.context(now);
            match &command {
                BasketCommand::Hold(request) => reservation::hold(existing, request, &self.site, &stocks, &context)?,
                BasketCommand::Confirm(request) => reservation::confirm(existing, request, &stocks, &context)?,
                BasketCommand::Cancel(fingerprint) => reservation::cancel(existing, *fingerprint, &stocks, &context)?,
                BasketCommand::Extend { until, fingerprint } => {
                    reservation::extend(existing, *until, *fingerprint, &self.site, &stocks, &context)?
                }
            }
        };
        let created = matches!(decision.reply, reservation::Reply::Created);
        if matches!(decision.reply, reservation::Reply::Same) {
            return Ok(BasketAnswer {
                reservation: Arc::new(decision.after),
                created: false,
            });
        }
        let reservation = self.write_basket(decision, origin, now, copies, draft);
        Ok(BasketAnswer { reservation, created })
    }

    /// Puts a basket's decision into the draft: the reservation's fact first, then those of its SKUs.
    fn write_basket(
        &mut self,
        decision: BasketDecision,
        origin: &Origin,
        now: Time,
        copies: &mut HashMap<SkuIndex, Option<Stock>>,
        draft: &mut Draft,
    ) -> Arc<Reservation> {
        let BasketDecision {
            what,
            business,
            after,
            lines,
            ..
        } = decision;
        draft.reservation(what, business, now, origin, &after);
        for LineFact {
            sku,
            changes,
            found,
            expired_lot,
            included_in_count,
        } in lines
        {
            let outcome = match included_in_count {
                true => Outcome::IncludedInCount,
                false => Outcome::Applied { found, expired_lot },
            };
            self.write_sku(&sku, what, business, now, origin, outcome, changes, copies, draft);
        }
        self.keep_basket(after)
    }

    /// Changes one borrowed copy and puts its fact into the draft.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one fact; a struct would only be taken apart again"
    )]
    fn write_sku(
        &self,
        sku: &Id,
        what: &str,
        business: Time,
        now: Time,
        origin: &Origin,
        outcome: Outcome,
        changes: Changes,
        copies: &mut HashMap<SkuIndex, Option<Stock>>,
        draft: &mut Draft,
    ) -> Option<u32> {
        let index = self
            .shared
            .store
            .view()
            .keys()
            .find(self.desk.warehouse.as_str(), sku.as_str())?;
        let stock = copies.get_mut(&index)?;
        let version = apply(stock, &changes, business, now);
        let after = stock.as_ref().map(|stock| stock.after(self.today, now)).unwrap_or_default();
        Some(draft.sku(SkuFact {
            sku,
            index,
            version,
            what,
            business,
            recorded: now,
            origin,
            outcome: &outcome,
            changes,
            after,
            payload: None,
            id: None,
            voids: None,
            keep_forever: false,
        }))
    }

    fn expire(&mut self, id: &Id, now: Time, copies: &mut HashMap<SkuIndex, Option<Stock>>, draft: &mut Draft) {
        let Some(basket) = self.basket(id) else { return };
        // Confirmed, cancelled or extended while this waited for its copies.
        if basket.state != Basket::Held || basket.expires.is_none_or(|deadline| deadline > now) {
            return;
        }
        let decision = {
            let keys = self.shared.store.view().keys();
            let warehouse = &self.desk.warehouse;
            let stocks = |sku: &Id| {
                keys.find(warehouse.as_str(), sku.as_str())
                    .and_then(|index| copies.get(&index))
                    .and_then(Option::as_ref)
            };
            reservation::expire(Some(&basket), &stocks, &self.context(now))
        };
        match decision {
            Ok(decision) => {
                let origin = node_origin(format!("expired/{id}/{}", basket.version));
                self.write_basket(decision, &origin, now, copies, draft);
            }
            Err(refusal) => tracing::error!(reservation = %id, %refusal, "a held reservation could not be expired"),
        }
    }

    fn sale(
        &mut self,
        ticket: &Arc<Ticket>,
        prepared: &Prepared,
        reservation: &Id,
        copies: &mut HashMap<SkuIndex, Option<Stock>>,
        draft: &mut Draft,
    ) {
        let desk = self.desk.clone();
        let sku = ticket.sku(prepared.row);
        let Some(stock) = copies.get_mut(&sku) else { return };
        let Some(basket) = self.basket(reservation) else {
            return desk.decide(stock, ticket, prepared, draft);
        };
        let event = ticket.event(prepared.row);
        let (decision, after) = reservation::sale(&basket, stock.as_ref(), event, &desk.context(prepared));
        if let Some(after) = after {
            let what = if after.state == basket.state {
                "sold_from"
            } else {
                after.state.as_str()
            };
            draft.reservation(what, decision.business, prepared.now, &event.origin, &after);
            self.keep_basket(after);
        }
        desk.conclude(stock, ticket, prepared, decision, draft);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one fact; a struct would only be taken apart again"
    )]
    fn set_sku(
        &mut self,
        sku: SkuIndex,
        id: &Id,
        setting: SkuSetting,
        origin: &Origin,
        now: Time,
        copies: &mut HashMap<SkuIndex, Option<Stock>>,
        draft: &mut Draft,
    ) -> Result<u32, Refusal> {
        let unknown = || {
            Refusal::new(
                Code::UnknownSku,
                format!("SKU {id} is not known in warehouse {}", self.desk.warehouse),
            )
        };
        let stock = copies.get(&sku).and_then(Option::as_ref);
        let (what, changes) = match setting {
            SkuSetting::LotDate(lot, expires_on) => {
                let known = stock
                    .ok_or_else(unknown)?
                    .lots
                    .iter()
                    .any(|known| known.id == lot && !lot.as_str().is_empty());
                if !known {
                    let detail = format!("lot {lot} of SKU {id} is not known in warehouse {}", self.desk.warehouse);
                    return Err(Refusal::new(Code::NotFound, detail));
                }
                ("lot_corrected", Changes::from_iter([Change::Lot { lot, expires_on }]))
            }
            SkuSetting::Buffers(buffers) => ("buffers_set", buffer_changes(stock, buffers)),
            SkuSetting::Unit(unit) => ("unit_set", unit_changes(id, stock, unit)?),
        };
        let settled = self.with_risks(stock, changes, now);
        let missing = unknown();
        self.write_sku(id, what, now, now, origin, Outcome::APPLIED, settled, copies, draft)
            .ok_or(missing)
    }

    /// The changes, and those of the promises that no longer fit, or fit again, because of them.
    fn with_risks(&self, stock: Option<&Stock>, mut changes: Changes, now: Time) -> Changes {
        let mut after = stock.cloned().unwrap_or_default();
        crate::domain::stock::evolve(&mut after, &changes, now, now);
        changes.extend(at_risk_changes(&after, self.today));
        changes
    }

    fn turn(&mut self, sku: SkuIndex, what: &str, now: Time, copies: &mut HashMap<SkuIndex, Option<Stock>>, draft: &mut Draft) {
        let Some((_, id)) = self.shared.store.view().keys().names(sku) else {
            return;
        };
        let Some(Some(stock)) = copies.get(&sku) else { return };
        let changes = self.with_risks(Some(stock), Changes::from_iter([Change::Turned]), now);
        let origin = node_origin(format!("{what}/{}/{id}", now.0));
        self.write_sku(&id, what, now, now, &origin, Outcome::APPLIED, changes, copies, draft);
    }
}

fn buffer_changes(stock: Option<&Stock>, buffers: Vec<(Id, i64)>) -> Changes {
    let before = stock
        .and_then(|stock| stock.rare.as_deref())
        .map(|rare| rare.buffers.as_slice())
        .unwrap_or_default();
    let dropped = before
        .iter()
        .filter(|(channel, _)| !buffers.iter().any(|(named, _)| named == channel));
    let mut changes: Changes = dropped
        .map(|(channel, _)| Change::Buffer {
            channel: channel.clone(),
            buffer: None,
        })
        .collect();
    changes.extend(buffers.into_iter().map(|(channel, buffer)| Change::Buffer {
        channel,
        buffer: Some(buffer),
    }));
    changes
}

fn unit_changes(id: &Id, stock: Option<&Stock>, unit: Unit) -> Result<Changes, Refusal> {
    let zero = stock.is_none_or(|stock| stock.accounts().iter().all(|units| *units == 0));
    if !zero && stock.is_some_and(|stock| stock.unit != unit) {
        let detail = format!("SKU {id} has units on its accounts: its unit can be changed only while all accounts are 0");
        return Err(Refusal::field(Code::UnitMismatch, "/unit", detail));
    }
    Ok(Changes::from_iter([Change::Unit(unit)]))
}

/// The origin of what the node does by itself.
pub(super) fn node_origin(id: String) -> Origin {
    Origin {
        source: Id::trusted("node"),
        id: Id::trusted(&id),
        actor: None,
        reason: None,
        document: None,
        trace: None,
        extensions: None,
        fingerprint: 0,
    }
}
