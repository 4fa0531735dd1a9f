//! What happens because time passes: deadlines, midnight, sleep; and what happens when a SKU's actor dies.

use std::sync::atomic::Ordering;

use ractor::{ActorId, ActorProcessingErr};
use tokio::time::Instant;

use super::ops::{Operation, Work};
use super::place::{Copy, Suspect, Waiting};
use super::{State, TICK_MS};
use crate::domain::units::Time;
use crate::planted::{self, Bug};
use crate::storage::append::SkuIndex;

/// Seconds for which the working copy of a SKU at rest is kept: the next event of a busy one finds it here, and the view has all
/// that it says.
const KEEP_IDLE_S: u32 = 2;

impl State {
    /// Begins the expiry of every reservation whose deadline has passed, before anything else is judged at this time.
    pub(super) fn expire_due(&mut self, now: Time) {
        let now = if planted::is(Bug::ExpiryLate) {
            now.plus_ms(-2_000)
        } else {
            now
        };
        let mut due = Vec::new();
        while self.deadlines.first().is_some_and(|(deadline, _)| *deadline <= now)
            && let Some((_, id)) = self.deadlines.pop_first()
        {
            due.push(id);
        }
        for id in due {
            let mut skus = Vec::new();
            self.add_lines(&id, &mut skus);
            self.begin(Operation::new(Work::Expire { id }, now, skus));
        }
    }

    pub(super) fn on_tick(&mut self) {
        self.settle();
        let now = self.stamp();
        self.expire_due(now);
        self.expire_again(now);
        if !self.turning.is_empty() {
            self.turn_some();
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(1_000 / TICK_MS) {
            self.on_second();
        }
    }

    /// Once a second: what has had nothing to do for long falls asleep, and copies that nobody has asked for are dropped.
    fn on_second(&mut self) {
        let idle_s = self.shared.tuning.idle_sleep_s;
        let mut sleepy = Vec::new();
        for (sku, place) in self.places.iter_mut() {
            place.heat /= 2;
            place.idle_s = place.idle_s.saturating_add(1);
            if place.idle_s >= idle_s && place.queue.is_empty() && place.has_idle_actor() {
                sleepy.push(sku);
            }
        }
        sleepy.into_iter().for_each(|sku| self.fall_asleep(sku));
        self.places.let_go_idle(KEEP_IDLE_S, self.durable);
        self.note_told();
    }

    /// An awake SKU with nothing to do: its actor goes, the copy stays.
    fn fall_asleep(&mut self, sku: SkuIndex) {
        let place = self.place(sku);
        place.suspect = None;
        place.fetch();
        if let Some(awake) = place.awake.take() {
            self.actors.remove(&awake.actor.get_id());
            self.shared.counters.awake.fetch_sub(1, Ordering::Relaxed);
            awake.actor.stop(Some("asleep".to_owned()));
        }
    }

    /// A SKU's actor has died. Its rows without a verdict are tried again; the one that killed it twice is buried.
    pub(super) fn on_sku_death(&mut self, actor: ActorId, error: &str) -> Result<(), ActorProcessingErr> {
        let Some(sku) = self.actors.remove(&actor) else {
            return Ok(());
        };
        self.shared.counters.awake.fetch_sub(1, Ordering::Relaxed);
        self.shared.counters.sku_deaths.fetch_add(1, Ordering::Relaxed);
        let place = self.place(sku);
        let Some(awake) = place.awake.take() else { return Ok(()) };
        let killer = awake.slot.deciding.load(Ordering::Acquire);
        let known = place.suspect.take().filter(|suspect| suspect.id == killer);
        let deaths = known.map_or(1, |suspect| suspect.deaths + 1);
        place.suspect = Some(Box::new(Suspect {
            id: killer,
            deaths,
            error: error.to_owned(),
        }));
        tracing::error!(sku = ?sku, error, deaths, "a SKU's actor died; the SKU is rebuilt");
        for (ticket, rows) in awake.outstanding.into_iter().rev() {
            for prepared in rows.into_iter().rev() {
                place.queue.push_front(Waiting::Row(ticket.clone(), Box::new(prepared)));
            }
        }
        place.in_flight = 0;
        self.lose(sku);
        match self.restarts.died(Instant::now()) {
            Some(_) => Ok(()),
            None => Err("too many SKU actors died: the warehouse is rebuilt as a whole".into()),
        }
    }

    /// An actor that was told to stop has stopped.
    pub(super) fn on_sku_gone(&mut self, actor: ActorId) -> Result<(), ActorProcessingErr> {
        match self.actors.contains_key(&actor) {
            true => self.on_sku_death(actor, "stopped without being told to"),
            false => Ok(()),
        }
    }

    /// All that a lost SKU had sent is in the view: read it, drop what has been answered, bury what killed it twice, go on.
    pub(super) fn on_rebuilt(&mut self, sku: SkuIndex, epoch: u64) {
        if epoch != self.epoch || !matches!(self.place(sku).copy, Copy::Lost) {
            return;
        }
        let stock = self.shared.store.view().stock(sku);
        let Some(place) = self.places.get_mut(sku) else { return };
        place.copy = Copy::Here(stock);
        // What is durable is no longer in flight, even when its answer still waits for the other warehouse of a transfer.
        let in_flight = &self.in_flight;
        place.queue.retain(|waiting| match waiting {
            Waiting::Row(ticket, prepared) => !ticket.is_answered(prepared.row) && in_flight.contains_key(&prepared.id),
            Waiting::Operation(_) => true,
        });
        let Some(killer) = place.suspect.take_if(|suspect| suspect.deaths > 1) else {
            // An event that has panicked once is tried again in an actor of its SKU's own, where it can hurt nobody else.
            if place.suspect.is_some() && place.awake.is_none() {
                self.wake(sku);
            }
            self.runnable.push(sku);
            return;
        };
        let is_killer = |waiting: &Waiting| matches!(waiting, Waiting::Row(_, prepared) if prepared.id == killer.id);
        if let Some(Waiting::Row(ticket, prepared)) = place.queue.take(is_killer) {
            self.bury(&ticket, &prepared, &killer.error);
        }
        self.runnable.push(sku);
    }
}
