//! Operations: whatever needs the copies of one or several SKUs at once, and is judged as a whole.
//!
//! An operation borrows the working copies of its SKUs, in the warehouse's one order; when it has them all the domain judges
//! it as one pure function, its facts go to the journal as one message, and the copies go back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::answers::{BasketReply, Reply, SettingReply};
use super::super::batch::Ticket;
use super::super::desk::Prepared;
use super::super::draft::Draft;
use super::super::once;
use super::State;
use super::place::{Copy, Waiting};
use super::queue::Queue;
use super::stumble::said;
use super::turn::Turn;
use crate::domain::event::Origin;
use crate::domain::reservation::{ConfirmRequest, HoldRequest};
use crate::domain::stock::Stock;
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::Warehouse as Site;
use crate::planted::{self, Bug};
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
    /// The deadline has passed: what the clock says by itself, and what a dead letter of that says again.
    Expire,
}

impl BasketCommand {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            BasketCommand::Hold(_) => "hold",
            BasketCommand::Confirm(_) => "confirm",
            BasketCommand::Cancel(_) => "cancel",
            BasketCommand::Extend { .. } => "extend",
            BasketCommand::Expire => "expire",
        }
    }

    /// Fingerprint of the request.
    pub fn fingerprint(&self) -> u64 {
        match self {
            BasketCommand::Hold(request) => request.fingerprint,
            BasketCommand::Confirm(request) => request.fingerprint,
            BasketCommand::Cancel(fingerprint) | BasketCommand::Extend { fingerprint, .. } => *fingerprint,
            BasketCommand::Expire => 0,
        }
    }
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
        /// The dead letter that is tried again with it.
        letter: Option<u64>,
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
    /// The warehouse's own data change.
    Configure {
        /// As they are from now on.
        site: Box<Site>,
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
        /// Who waits, until the answer is in the draft.
        reply: Option<BasketReply>,
        letter: Option<u64>,
    },
    /// A reservation's deadline has passed.
    Expire { id: Id },
    /// A sale that names a reservation, or the void of one that told again what was confirmed.
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
        reply: Option<SettingReply>,
    },
    /// The warehouse's own data change; with the copies of those that decide elsewhere.
    Configure {
        site: Box<Site>,
        origin: Origin,
        reply: Option<SettingReply>,
    },
    /// What may be promised has changed without an event.
    Turn { turns: BTreeMap<SkuIndex, Turn> },
}

/// Working copies on loan; `None`: the SKU does not exist.
pub(super) type Copies = HashMap<SkuIndex, Option<Stock>, foldhash::fast::FixedState>;

/// The working copies that an operation has borrowed, and what comes of them.
pub(super) struct Borrowed {
    /// The operation's stamp.
    pub(super) now: Time,
    /// The copies; `None`: the SKU does not exist.
    pub(super) copies: Copies,
    /// The facts and the answers.
    pub(super) draft: Draft,
}

/// See the module.
pub(super) struct Operation {
    pub(super) work: Work,
    pub(super) now: Time,
    skus: Vec<SkuIndex>,
    copies: Copies,
    /// How often it has panicked.
    pub(super) deaths: u32,
}

impl Operation {
    pub(super) fn new(work: Work, now: Time, skus: Vec<SkuIndex>) -> Operation {
        Operation::with(work, now, skus, Copies::default())
    }

    /// One that has its copies already.
    pub(super) fn with(work: Work, now: Time, skus: Vec<SkuIndex>, copies: Copies) -> Operation {
        Operation {
            work,
            now,
            skus,
            copies,
            deaths: 0,
        }
    }
}

impl State {
    pub(super) fn on_command(&mut self, command: Box<Command>, now: Time) {
        match *command {
            Command::Configured => self.on_configured(),
            Command::Configure { site, origin, reply } => {
                let mut awake: Vec<SkuIndex> = self.actors.values().copied().collect();
                awake.sort_unstable();
                let reply = Some(reply);
                self.begin(Operation::new(Work::Configure { site, origin, reply }, now, awake));
            }
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
                        reply: Some(reply),
                    },
                    now,
                    vec![sku],
                ));
            }
            basket @ Command::Basket { .. } => self.on_basket(basket, now),
        }
    }

    fn on_basket(&mut self, command: Command, now: Time) {
        let Command::Basket { id, .. } = &command else { return };
        if let Some(waiting) = self.busy.get_mut(id) {
            waiting.push_back(Box::new(command));
            return;
        }
        self.busy.insert(id.clone(), VecDeque::new());
        self.begin_basket(command, now);
    }

    fn begin_basket(&mut self, command: Command, now: Time) {
        let Command::Basket {
            id,
            command,
            skus,
            origin,
            reply,
            letter,
        } = command
        else {
            return;
        };
        if letter.is_none()
            && let Some(dead) = self.buried(&id, &command)
        {
            // A caller that has gone away does not change what is known.
            let _ = reply.send(Err(dead));
            self.free.push(id);
            return;
        }
        let mut needed: Vec<SkuIndex> = skus.into_iter().map(|(_, index)| index).collect();
        self.add_lines(&id, &mut needed);
        let work = Work::Basket {
            id,
            command,
            origin,
            reply: Some(reply),
            letter,
        };
        self.begin(Operation::new(work, now, needed));
    }

    /// Adds the SKUs of a basket as it is held now. Of one that has ended nothing changes any more by a command.
    pub(super) fn add_lines(&self, id: &Id, needed: &mut Vec<SkuIndex>) {
        if let Some(basket) = self.held(id) {
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

    /// Carries it out when all its copies are to be had at once, and else enters the queues of all its SKUs; it is carried out when it
    /// has them all.
    pub(super) fn begin(&mut self, mut operation: Operation) {
        match self.borrow_all(&operation.skus) {
            Some(copies) => {
                operation.copies = copies;
                self.perform(operation);
            }
            None => self.enter(operation, Queue::push_back),
        }
    }

    /// The copies of all those SKUs, if nobody has one of them or waits for it.
    fn borrow_all(&mut self, skus: &[SkuIndex]) -> Option<Copies> {
        let mut copies = Copies::with_capacity_and_hasher(skus.len(), Default::default());
        for sku in skus {
            match self.place(*sku).borrow() {
                Some(stock) => drop(copies.insert(*sku, stock)),
                None => {
                    for (sku, stock) in copies {
                        self.place(sku).copy = Copy::Here(stock);
                        // It may have been an actor's.
                        self.runnable.push(sku);
                    }
                    return None;
                }
            }
        }
        Some(copies)
    }

    /// As [`State::begin`], before all that waits: it had all its copies once, so nobody who waits can have one of them.
    pub(super) fn begin_again(&mut self, operation: Operation) {
        self.enter(operation, Queue::push_front);
    }

    fn enter(&mut self, operation: Operation, queue: fn(&mut Queue, Waiting)) {
        let number = self.next_operation;
        self.next_operation += 1;
        if operation.skus.is_empty() {
            self.perform(operation);
            return;
        }
        for sku in operation.skus.clone() {
            queue(&mut self.place(sku).queue, Waiting::Operation(number));
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

    pub(super) fn perform(&mut self, mut operation: Operation) {
        let mark = self.draft.mark();
        let mut borrowed = Borrowed {
            now: operation.now,
            copies: std::mem::take(&mut operation.copies),
            draft: std::mem::replace(&mut self.draft, Draft::new(self.desk.warehouse.clone())),
        };
        let (work, skus) = (&mut operation.work, &operation.skus);
        let performed = catch_unwind(AssertUnwindSafe(|| self.carry_out(work, skus, &mut borrowed)));
        self.draft = borrowed.draft;
        if let Err(panic) = performed {
            // Nothing of it is sent; the copies may be half changed, and are read from the view again.
            self.draft.back_to(mark);
            operation.skus.iter().for_each(|sku| self.lose(*sku));
            self.stumbled(operation, said(panic.as_ref()));
            return;
        }
        let (number, rate) = (self.number, self.shared.tuning.wake_rate_per_s);
        for (sku, stock) in borrowed.copies {
            let place = self.place(sku);
            place.copy = Copy::Here(stock);
            place.touched = number;
            place.idle_s = 0;
            if !place.queue.is_empty() || place.is_restless(rate) {
                self.runnable.push(sku);
            }
        }
        match operation.work {
            Work::Expire { id } => drop(self.stumbles.remove(&id)),
            // Not at once: a long queue of commands would be as deep a stack.
            Work::Basket { id, .. } => self.free.push(id),
            Work::Sale { .. } | Work::Sku { .. } | Work::Configure { .. } | Work::Turn { .. } => {}
        }
    }

    fn carry_out(&mut self, work: &mut Work, skus: &[SkuIndex], borrowed: &mut Borrowed) {
        match work {
            Work::Basket {
                id,
                command,
                origin,
                reply,
                ..
            } => {
                let answer = self.basket_command(id, command, origin, borrowed);
                if let Some(reply) = reply.take() {
                    if planted::is(Bug::RefusalAtOnce) && answer.is_err() {
                        return drop(reply.send(answer.map_err(Into::into)));
                    }
                    borrowed.draft.reply(Reply::Basket(reply, answer));
                }
            }
            Work::Expire { id } => self.expire(id, borrowed),
            Work::Sale {
                ticket,
                prepared,
                reservation,
            } => self.sale(ticket, prepared, reservation, borrowed),
            Work::Sku {
                id,
                setting,
                origin,
                reply,
            } => {
                let answer = self.set_sku(skus[0], id, setting.clone(), origin, borrowed);
                if let Some(reply) = reply.take() {
                    borrowed.draft.reply(Reply::Setting(reply, answer));
                }
            }
            Work::Configure { site, origin, reply } => {
                let index = self.configure(site, origin, borrowed);
                if let Some(reply) = reply.take() {
                    borrowed.draft.reply(Reply::Setting(reply, Ok(index)));
                }
            }
            Work::Turn { turns } => {
                for sku in skus {
                    self.turn(*sku, turns[sku], borrowed);
                }
            }
        }
    }

    /// The next command that waited for this reservation.
    pub(super) fn next_of(&mut self, id: &Id) {
        let Some(next) = self.busy.get_mut(id).and_then(VecDeque::pop_front) else {
            self.busy.remove(id);
            return;
        };
        let now = self.stamp();
        self.expire_due(now);
        self.begin_basket(*next, now);
    }
}

/// The origin of what the node does by itself.
pub(super) fn node_origin(id: String) -> Origin {
    once::origin("node", Id::trusted(&id))
}
