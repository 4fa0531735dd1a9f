//! Where a SKU's working copy is, and what waits for it.
//!
//! Everything for one SKU passes through its place in one order: rows and operations queue when the copy is not to be had at
//! once. Operations enter the queues of all their SKUs at once, in the warehouse's one order, so they cannot wait for each
//! other in a circle.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::ActorRef;

use super::super::batch::Ticket;
use super::super::desk::{Desk, Prepared};
use super::super::draft::Draft;
use super::super::sku;
use super::queue::Queue;
use super::{Msg, State};
use crate::domain::stock::Stock;
use crate::domain::units::Time;
use crate::planted::{self, Bug};
use crate::storage::append::SkuIndex;

/// Where the working copy is.
///
/// Nearly every copy is here: a box would be one allocation more for each.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every place has its copy here, and is behind a pointer itself"
)]
pub enum Copy {
    /// Here: the SKU sleeps, or its actor has nothing to do and lends it. `None`: the SKU does not exist yet.
    Here(Option<Stock>),
    /// With its actor, which has work, or had some and was not asked since.
    Awake,
    /// Asked back from its actor, which has work; nothing has been sent since.
    Recalled,
    /// With an operation over several SKUs.
    Lent,
    /// Lost with a dead actor; a barrier passes through the journal, then it is read from the view.
    Lost,
}

/// What waits for the copy.
#[derive(Debug)]
pub enum Waiting {
    /// A row.
    Row(Arc<Ticket>, Box<Prepared>),
    /// An operation, by number.
    Operation(u64),
}

/// An actor of a SKU's own.
pub struct Awake {
    /// Its door.
    pub actor: ActorRef<sku::Msg>,
    /// What it shares with the warehouse.
    pub slot: Arc<sku::Slot>,
    /// How many messages of work it was sent.
    pub sent: u64,
    /// What was sent to it and is not yet known to be durable, oldest first.
    pub outstanding: VecDeque<(Arc<Ticket>, Vec<Prepared>)>,
}

/// See the module.
pub struct Place {
    /// Where the copy is.
    pub copy: Copy,
    /// What waits for it, in order.
    pub queue: Queue,
    /// The actor, while it is awake.
    pub awake: Option<Box<Awake>>,
    /// The number of the warehouse's newest journal message that touches it.
    pub touched: u64,
    /// Journal messages of its actor that are not durable yet.
    pub in_flight: u32,
    /// The event that has panicked here.
    pub suspect: Option<Box<Suspect>>,
    /// Messages with a single event, decaying by half each second.
    pub heat: u32,
    /// Seconds without work.
    pub idle_s: u32,
}

/// An event that has panicked.
pub struct Suspect {
    /// The hash of its id.
    pub id: u64,
    /// How often.
    pub deaths: u32,
    /// What its SKU's actor died of last.
    pub error: String,
}

impl Place {
    /// Of a SKU whose state the view has.
    pub(super) fn new(stock: Option<Stock>) -> Place {
        Place {
            copy: Copy::Here(stock),
            queue: Queue::default(),
            awake: None,
            touched: 0,
            in_flight: 0,
            suspect: None,
            heat: 0,
            idle_s: 0,
        }
    }

    pub(super) fn settled(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(awake) = &mut self.awake {
            while awake
                .outstanding
                .front()
                .is_some_and(|(ticket, rows)| rows.iter().all(|prepared| ticket.is_answered(prepared.row)))
            {
                awake.outstanding.pop_front();
            }
        }
    }

    /// Decides rows here, in order, into the draft of that number; nothing is left of them. A panic is the event's first: it is tried
    /// again where it can hurt only its own SKU, what follows it waits, and the copy is lost (`false`).
    pub(super) fn decide(
        &mut self,
        desk: &Desk,
        draft: &mut Draft,
        number: u64,
        ticket: &Arc<Ticket>,
        rows: &mut Vec<Prepared>,
    ) -> bool {
        let Copy::Here(stock) = &mut self.copy else {
            self.wait(ticket, rows);
            return true;
        };
        self.touched = number;
        self.idle_s = 0;
        let (mut decided, mut mark) = (0, draft.mark());
        let whole = catch_unwind(AssertUnwindSafe(|| {
            for prepared in &*rows {
                desk.decide(stock, ticket, prepared, draft);
                decided += 1;
                mark = draft.mark();
            }
        }));
        if whole.is_ok() {
            rows.clear();
            return true;
        }
        let killer = &rows[decided];
        tracing::error!(sku = %ticket.event(killer.row).sku, "deciding an event panicked; its SKU is rebuilt and gets an actor");
        draft.back_to(mark);
        self.suspect = Some(Box::new(Suspect {
            id: killer.id,
            deaths: 1,
            error: String::new(),
        }));
        for prepared in rows.drain(decided..).rev() {
            self.queue.push_front(Waiting::Row(ticket.clone(), Box::new(prepared)));
        }
        rows.clear();
        self.copy = Copy::Lost;
        false
    }

    /// Rows wait for the copy behind what waits already.
    pub(super) fn wait(&mut self, ticket: &Arc<Ticket>, rows: &mut Vec<Prepared>) {
        let waiting = |prepared| Waiting::Row(ticket.clone(), Box::new(prepared));
        rows.drain(..).map(waiting).for_each(|waiting| self.queue.push_back(waiting));
    }

    /// The copy, on loan to an operation; `None`: somebody has it, or waits for it.
    pub(super) fn borrow(&mut self) -> Option<Option<Stock>> {
        if !self.queue.is_empty() {
            return None;
        }
        self.fetch();
        match std::mem::replace(&mut self.copy, Copy::Lent) {
            Copy::Here(stock) => Some(stock),
            elsewhere => {
                self.copy = elsewhere;
                None
            }
        }
    }

    /// An actor with nothing to do needs not be asked for the copy, and has it back with its next work.
    pub(super) fn fetch(&mut self) {
        if matches!(self.copy, Copy::Awake)
            && (self.has_idle_actor() || planted::is(Bug::LentWhileBusy))
            && let Some(awake) = &self.awake
        {
            self.copy = Copy::Here(awake.slot.take());
        }
    }

    /// Whether an actor of its own is to judge so many rows: it has one, and they are worth the message, or one of them may panic again.
    fn hands_over(&self, rows: usize, hand_over_rows: usize) -> bool {
        self.awake.is_some() && (rows >= hand_over_rows || self.suspect.is_some())
    }

    /// Brings the copy to where so many rows are judged, as far as that can be had at once.
    pub(super) fn bring_for(&mut self, rows: usize, hand_over_rows: usize) {
        if !self.hands_over(rows, hand_over_rows) {
            self.fetch();
        } else if let (Copy::Here(stock), Some(awake)) = (&mut self.copy, &self.awake) {
            awake.slot.put(stock.take());
            self.copy = Copy::Awake;
        }
    }

    /// Whether it is awake, and its actor has done all that it was sent.
    pub(super) fn has_idle_actor(&self) -> bool {
        let done = |awake: &Awake| awake.slot.done.load(Ordering::Acquire) == awake.sent;
        self.awake.as_deref().is_some_and(done)
    }

    /// Whether it sleeps, and an actor of its own is worth having: single events come steadily, or one of them has panicked.
    pub(super) fn is_restless(&self, wake_rate: u32) -> bool {
        let worth_it = || self.suspect.is_some() || self.heat >= wake_rate;
        matches!(self.copy, Copy::Here(_)) && self.awake.is_none() && worth_it()
    }

    /// Looks at each part that a row changes, but for the copy's book; see [`Stock::glance`].
    pub(super) fn glance(&self) -> u64 {
        let copy = match &self.copy {
            Copy::Here(Some(stock)) => stock.glance(),
            _ => 0,
        };
        copy ^ self.touched ^ self.queue.len() as u64
    }

    /// The newest entry of the copy's book, when it is here.
    pub(super) fn newest(&self) -> Option<Time> {
        match &self.copy {
            Copy::Here(stock) => stock.as_ref()?.book.newest(),
            _ => None,
        }
    }

    /// Looks at the copy's book, when it is here; see [`crate::domain::stock::Book::glance`].
    pub(super) fn glance_at_book(&self) -> u64 {
        match &self.copy {
            Copy::Here(Some(stock)) => stock.book.glance(),
            _ => 0,
        }
    }

    /// Whether nothing is known here that the view does not know, the warehouse's messages up to `durable` being in it.
    pub(super) fn at_rest(&self, durable: u64) -> bool {
        self.in_flight == 0
            && self.touched <= durable
            && self.awake.is_none()
            && self.queue.is_empty()
            && self.suspect.is_none()
            && matches!(self.copy, Copy::Here(_))
    }
}

impl State {
    /// The place of a SKU, read from the view when it is not here.
    pub(super) fn place(&mut self, sku: SkuIndex) -> &mut Place {
        self.places.of(self.shared.store.view(), sku)
    }

    /// Lets the queues of all SKUs that may go on do so. Every handler ends with it.
    pub(super) fn run(&mut self) {
        loop {
            while let Some(sku) = self.runnable.pop() {
                while self.step(sku) {}
                self.wake_if_needed(sku);
            }
            match self.free.pop() {
                Some(id) => self.next_of(&id),
                None => return,
            }
        }
    }

    /// One step of one SKU's queue; whether there may be another.
    fn step(&mut self, sku: SkuIndex) -> bool {
        let hand_over = self.shared.tuning.hand_over_rows;
        let place = self.places.of(self.shared.store.view(), sku);
        let Some(waiting) = place.queue.pop_front() else {
            return false;
        };
        match &waiting {
            Waiting::Operation(_) => place.fetch(),
            Waiting::Row(..) => place.bring_for(1, hand_over),
        }
        match (waiting, &place.copy) {
            (Waiting::Row(ticket, prepared), Copy::Here(_)) => self.decide_here(sku, &ticket, &mut vec![*prepared]),
            (Waiting::Row(ticket, prepared), Copy::Awake) => self.forward(sku, &ticket, vec![*prepared]),
            (Waiting::Operation(number), Copy::Here(_)) => {
                if let Copy::Here(stock) = std::mem::replace(&mut place.copy, Copy::Lent) {
                    self.lend(number, sku, stock);
                }
            }
            (waiting, copy) => {
                let recall = matches!(copy, Copy::Awake);
                place.queue.push_front(waiting);
                if recall {
                    self.recall(sku);
                }
                return false;
            }
        }
        true
    }

    /// Decides rows in place; see [`Place::decide`].
    pub(super) fn decide_here(&mut self, sku: SkuIndex, ticket: &Arc<Ticket>, rows: &mut Vec<Prepared>) {
        let place = self.places.of(self.shared.store.view(), sku);
        if !place.decide(&self.desk, &mut self.draft, self.number, ticket, rows) {
            self.lost.push(sku);
        }
    }

    /// The working copy is void: once all that was sent before is in the view, it is read from there.
    pub(super) fn lose(&mut self, sku: SkuIndex) {
        self.place(sku).copy = Copy::Lost;
        self.lost.push(sku);
    }

    /// Sends the barriers for copies lost; after the drafts of this message, so that what they hold passes first.
    pub(super) fn barriers(&mut self) {
        for sku in std::mem::take(&mut self.lost) {
            let (myself, epoch) = (self.myself.clone(), self.epoch);
            if planted::is(Bug::BarrierSkipped) {
                drop(myself.cast(Msg::Rebuilt(sku, epoch)));
                continue;
            }
            // A warehouse that has died meanwhile is rebuilt as a whole.
            self.shared
                .journal
                .barrier(Box::new(move || drop(myself.cast(Msg::Rebuilt(sku, epoch)))));
        }
    }

    /// Sends rows to an awake SKU. What was decided about it here must reach the journal before what it decides.
    pub(super) fn forward(&mut self, sku: SkuIndex, ticket: &Arc<Ticket>, rows: Vec<Prepared>) {
        if self.place(sku).touched == self.number {
            self.flush();
        }
        let desk = Arc::clone(&self.desk);
        let place = self.place(sku);
        let Some(awake) = &mut place.awake else { return };
        place.in_flight += 1;
        place.idle_s = 0;
        awake.sent += 1;
        let kept = rows.iter().map(|prepared| prepared.again()).collect();
        awake.outstanding.push_back((ticket.clone(), kept));
        // An actor that has just died is rebuilt, and its outstanding rows are sent again.
        let _ = awake.actor.cast(sku::Msg::Work {
            ticket: ticket.clone(),
            rows,
            desk,
        });
    }

    fn recall(&mut self, sku: SkuIndex) {
        let place = self.place(sku);
        if let Some(awake) = &place.awake {
            place.copy = Copy::Recalled;
            // A dead actor's copy comes back by way of the view.
            let _ = awake.actor.cast(sku::Msg::Recall);
        }
    }

    pub(super) fn on_returned(&mut self, sku: SkuIndex, epoch: u64, stock: Option<Stock>) {
        if epoch != self.epoch || !matches!(self.place(sku).copy, Copy::Recalled) {
            return;
        }
        self.place(sku).copy = Copy::Here(stock);
        self.runnable.push(sku);
    }

    /// Gives the copy to an actor of its own when that is worth it.
    fn wake_if_needed(&mut self, sku: SkuIndex) {
        let rate = self.shared.tuning.wake_rate_per_s;
        let place = self.place(sku);
        if place.queue.is_empty()
            && place.is_restless(rate)
            && self.shared.counters.awake.load(Ordering::Relaxed) < self.shared.tuning.awake_max
        {
            self.wake(sku);
        }
    }

    pub(super) fn wake(&mut self, sku: SkuIndex) {
        let (desk, epoch, warehouse) = (Arc::clone(&self.desk), self.epoch, self.myself.clone());
        let place = self.place(sku);
        let Copy::Here(stock) = &mut place.copy else { return };
        let slot = Arc::new(sku::Slot::default());
        slot.put(stock.take());
        let args = sku::Args {
            desk,
            index: sku,
            epoch,
            slot: Arc::clone(&slot),
            warehouse,
        };
        match ractor::ActorRuntime::spawn_linked_instant(None, sku::Sku, args, self.myself.get_cell()) {
            Ok((actor, _)) => {
                self.actors.insert(actor.get_id(), sku);
                let place = self.place(sku);
                place.awake = Some(Box::new(Awake {
                    actor,
                    slot,
                    sent: 0,
                    outstanding: VecDeque::new(),
                }));
                place.copy = Copy::Awake;
                self.shared.counters.awake.fetch_add(1, Ordering::Relaxed);
            }
            // It goes on asleep, as before.
            Err(error) => {
                tracing::error!(%error, "a SKU could not be given an actor");
                self.place(sku).copy = Copy::Here(slot.take());
            }
        }
    }
}
