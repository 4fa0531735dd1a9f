//! One warehouse: routes batches, owns its baskets and its SKUs.
//!
//! Owns: the working copies of its sleeping SKUs and of its reservations, as far as they run ahead of the disk, and the marks
//! of ids in flight. Receives: batches and commands from the doors, working copies from its SKUs, what became durable from the
//! journal. Sends: facts to the journal, work to awake SKUs. Dies when: its own code panics; it is then rebuilt from the view,
//! behind a barrier. Invariant: it is the only sender to its SKUs, and everything for one SKU passes through that SKU's place
//! in one order.
//!
//! A SKU's copy is in one place at a time: here, with its actor, or with an operation over several SKUs. The plan had SKUs
//! make tentative holds and park what follows; lending the copy to the operation does the same with one concept less, and lets
//! the domain judge a basket as one pure function over all its SKUs (ADR 3).

mod basket;
mod inbox;
mod ops;
mod place;
mod places;
mod queue;
mod rows;
mod setting;
mod sift;
mod stumble;
mod tick;
mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

pub use self::basket::judge;
use self::inbox::Work;
pub use self::inbox::{Inbox, Work as Incoming};
use self::ops::Operation;
pub use self::ops::{BasketCommand, Command, SkuSetting};
use self::places::Places;
pub use self::rows::REPLAYED;
use self::sift::Sifted;
use self::stumble::Stumble;
use self::turn::Turn;
use super::answers::{Heard, Marks, Settled};
use super::batch::Ticket;
use super::desk::{Desk, Prepared};
use super::draft::Draft;
use super::shared::Shared;
use super::supervise::{Restarts, SKUS};
use crate::domain::offer::Offer;
use crate::domain::reservation::{Reservation, State as Basket};
use crate::domain::stock::Stock;
use crate::domain::units::{Day, Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse as Site};
use crate::doom;
use crate::storage::append::SkuIndex;
use crate::storage::database::ReadError;

/// How often deadlines, midnight and sleepers are looked at.
pub const TICK_MS: u64 = 200;

/// A draft is sent when it has so many bytes of facts, however much is still to be done: the journal can begin.
const DRAFT_BYTES: usize = 256 << 10;

/// What a warehouse is told.
pub enum Msg {
    /// Something is in the inbox, or something awaited is durable.
    Look,
    /// A journal message of one of its SKUs is durable.
    Settled(Settled),
    /// A SKU gives its working copy back.
    Returned {
        /// Which.
        sku: SkuIndex,
        /// The epoch that its actor lived in.
        epoch: u64,
        /// The copy; `None`: the SKU does not exist.
        stock: Option<Box<Stock>>,
    },
    /// All that a dead SKU had sent is in the view now.
    Rebuilt(SkuIndex, u64),
    /// Look whether the store has failed, so that everything ahead of the disk is void. Every message looks first.
    Epoch,
    /// Look at the clock.
    Tick,
}

/// What it is started with.
pub struct Args {
    /// What every actor has.
    pub shared: Arc<Shared>,
    /// Its id.
    pub warehouse: Id,
    /// The sign of its life.
    pub life: watch::Receiver<()>,
    /// Where its work comes in.
    pub inbox: Arc<Inbox>,
}

/// An id whose verdict is not durable yet, and the copies that wait for it.
#[derive(Default)]
struct InFlight {
    copies: Vec<(Arc<Ticket>, u32)>,
}

/// A reservation's working copy, while facts of it are in flight.
struct Working {
    reservation: Arc<Reservation>,
    /// The number of the journal message with its newest fact.
    touched: u64,
}

/// A journal message of its own that is not known to be durable, and what is in flight with it.
struct Sent {
    number: u64,
    marks: Marks,
}

/// What it keeps.
pub struct State {
    myself: ActorRef<Msg>,
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    site: Arc<Site>,
    /// The current day, and the instant at which it ends.
    today: Day,
    tomorrow: Time,
    /// The epoch whose view the working copies were built from.
    epoch: u64,
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox, to be done; empty between messages.
    work: Vec<Work>,
    /// What is left of batches too long for one look.
    rest: VecDeque<(Arc<Ticket>, Range<u32>)>,
    /// What has been decided and not yet sent: one record, so that an expiry and what relies on it stand together. Empty between
    /// messages.
    draft: Draft,
    /// The number that the draft will have as a journal message.
    number: u64,
    /// The newest of its own journal messages that is known to be durable.
    durable: u64,
    /// Its own journal messages after that, oldest first.
    sent: VecDeque<Sent>,
    /// Rows of one run, on their way to their SKU; empty between runs.
    rows: Vec<Prepared>,
    /// What was found out about the ids of a slice; its room is kept from one to the next.
    sifted: Sifted,
    places: Places,
    /// Ids in flight.
    in_flight: HashMap<u64, InFlight, foldhash::fast::FixedState>,
    /// How many rows wait for one of them.
    copies: usize,
    /// Reservations ahead of the disk.
    baskets: HashMap<Id, Working>,
    /// Commands that wait for an earlier one of the same reservation.
    busy: HashMap<Id, VecDeque<Box<Command>>>,
    /// Reservations whose next command may go on; empty between messages.
    free: Vec<Id>,
    /// Operations that wait for working copies, by number.
    operations: HashMap<u64, Operation>,
    next_operation: u64,
    /// Held reservations by deadline.
    deadlines: BTreeSet<(Time, Id)>,
    /// Reservations whose expiry has panicked, to be tried again.
    stumbles: BTreeMap<Id, Stumble>,
    /// SKUs still to be told that the day, or a buffer, has turned.
    turning: VecDeque<(SkuIndex, Turn)>,
    /// The newest fact of the warehouse of which all SKUs were told.
    told: u64,
    /// SKUs whose queues may go on; empty between messages.
    runnable: Vec<SkuIndex>,
    /// SKUs whose copies were lost during this message.
    lost: Vec<SkuIndex>,
    /// Which SKU an actor is.
    actors: HashMap<ActorId, SkuIndex>,
    restarts: Restarts,
    ticks: u64,
}

/// See the module.
pub struct Warehouse;

impl Actor for Warehouse {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        // Whoever starts it has passed a barrier through the journal, so the view has all that a predecessor sent.
        let state = State::from_view(myself.clone(), args)?;
        myself.send_interval(std::time::Duration::from_millis(TICK_MS), || Msg::Tick);
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        if matches!(message, Msg::Look) {
            // Whoever is ready to run now puts its work in first: a task that is woken runs next, and would find one request each
            // time, with a draft, a message to the journal and a receipt for it alone. Where nobody is ready it costs nothing.
            tokio::task::yield_now().await;
        }
        state.look_at_epoch();
        match message {
            Msg::Look => state.on_look(),
            Msg::Settled(settled) => state.on_settled(settled),
            Msg::Returned { sku, epoch, stock } => state.on_returned(sku, epoch, stock.map(|stock| *stock)),
            Msg::Rebuilt(sku, epoch) => state.on_rebuilt(sku, epoch),
            Msg::Epoch => {}
            Msg::Tick => state.on_tick(),
        }
        state.finish();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let heard = match event {
            SupervisionEvent::ActorFailed(cell, error) => state.on_sku_death(cell.get_id(), &error.to_string()),
            SupervisionEvent::ActorTerminated(cell, ..) => state.on_sku_gone(cell.get_id()),
            _ => Ok(()),
        };
        state.finish();
        heard
    }
}

impl State {
    fn from_view(myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let Args {
            shared,
            warehouse,
            life,
            inbox,
        } = args;
        let epoch = shared.journal.epoch();
        let site = shared.store.view().warehouses().get(&warehouse).cloned();
        let site = site.ok_or_else(|| format!("warehouse {warehouse} is not in the view"))?;
        let calendar = Arc::new(Calendar::new(&site.time_zone).unwrap_or_else(Calendar::utc));
        let today = calendar.day_of(shared.clock.now());
        let tomorrow = calendar.start_of(today.plus(1));
        let mut deadlines = BTreeSet::new();
        shared.store.view().each_held(&warehouse, |basket| {
            if let Some(deadline) = basket.expires {
                deadlines.insert((deadline, basket.id.clone()));
            }
        });
        let mut state = State {
            myself,
            inbox,
            work: Vec::new(),
            rest: VecDeque::new(),
            draft: Draft::new(warehouse.clone()),
            number: 1,
            durable: 0,
            sent: VecDeque::new(),
            rows: Vec::new(),
            sifted: Sifted::default(),
            copies: 0,
            desk: Arc::new(Desk {
                shared: shared.clone(),
                warehouse,
                offer: Arc::new(Offer::of(&site)),
                calendar,
                life,
            }),
            shared,
            site,
            today,
            tomorrow,
            epoch,
            places: Places::default(),
            in_flight: HashMap::default(),
            baskets: HashMap::new(),
            busy: HashMap::new(),
            free: Vec::new(),
            operations: HashMap::new(),
            next_operation: 0,
            deadlines,
            stumbles: BTreeMap::new(),
            turning: VecDeque::new(),
            told: 0,
            runnable: Vec::new(),
            lost: Vec::new(),
            actors: HashMap::new(),
            restarts: Restarts::new(SKUS),
            ticks: 0,
        };
        // The node may have been down at midnight, or have gone down before everybody was told of it. A journal that cannot be
        // read now is no reason to stay away: reads and the wait for the disk go on.
        let newest = state.shared.store.newest_recorded().ok().flatten();
        let newest = newest.map_or(today, |newest| state.desk.calendar.day_of(newest));
        state.turn_day(newest.min(today.plus(-1))..today);
        state.turn_untold();
        Ok(state)
    }

    /// Stamps a command: the node's clock, which never goes back; notices that the day has turned.
    fn stamp(&mut self) -> Time {
        let now = self.shared.clock.now();
        if now >= self.tomorrow {
            let before = std::mem::replace(&mut self.today, self.desk.calendar.day_of(now));
            self.tomorrow = self.desk.calendar.start_of(self.today.plus(1));
            self.turn_day(before..self.today);
        }
        now
    }

    /// The day of a stamp. Of one that is older than this message it is not always the current one: an operation may have waited for its
    /// copies past midnight.
    fn day(&self, now: Time) -> Day {
        self.desk.calendar.day_of(now)
    }

    /// What ends every message: queues go on, all that was decided is sent, and barriers follow it.
    fn finish(&mut self) {
        self.run();
        self.flush();
        self.barriers();
        self.places.trim(self.shared.tuning.copies_max, self.durable);
        let awaited = |sent: &Sent| !sent.marks.frees.is_empty();
        if self.copies > 0 || !self.turning.is_empty() || self.sent.iter().any(awaited) {
            self.inbox.await_more_than(self.durable, &self.myself);
        }
    }

    /// Sends what has been decided to the journal, as one message.
    fn flush(&mut self) {
        if self.draft.is_empty() {
            return;
        }
        let mut draft = std::mem::replace(&mut self.draft, Draft::new(self.desk.warehouse.clone()));
        let marks = draft.take_marks();
        self.sent.push_back(Sent {
            number: self.number,
            marks,
        });
        let heard = Heard::Warehouse(self.inbox.clone(), self.myself.clone(), self.number);
        self.number += 1;
        doom::may_die("warehouse");
        draft.send(&self.shared, self.epoch, heard);
        doom::may_die("warehouse_sent");
    }

    /// A reservation as it is, the disk's last word or ahead of it. One that ended a while ago is read from the disk.
    fn basket(&self, id: &Id) -> Result<Option<Arc<Reservation>>, ReadError> {
        match self.baskets.get(id) {
            Some(working) => Ok(Some(working.reservation.clone())),
            None => self.shared.store.reservation(self.desk.warehouse.as_str(), id.as_str()),
        }
    }

    /// As [`State::basket`], only of one that is held.
    fn held(&self, id: &Id) -> Option<Arc<Reservation>> {
        let basket = match self.baskets.get(id) {
            Some(working) => Some(working.reservation.clone()),
            None => self.shared.store.view().held(self.desk.warehouse.as_str(), id.as_str()),
        };
        basket.filter(|basket| basket.state == Basket::Held)
    }

    fn keep_basket(&mut self, before: Option<&Reservation>, reservation: &Arc<Reservation>) {
        let after = &**reservation;
        if let Some(deadline) = before.and_then(|before| before.expires) {
            self.deadlines.remove(&(deadline, after.id.clone()));
        }
        if let (Basket::Held, Some(deadline)) = (after.state, after.expires) {
            self.deadlines.insert((deadline, after.id.clone()));
        }
        let working = self.baskets.entry(reservation.id.clone()).or_insert_with(|| Working {
            reservation: reservation.clone(),
            touched: 0,
        });
        working.reservation = reservation.clone();
        working.touched = self.number;
    }

    /// Forgets what is no longer ahead of the disk; copies of ids that were in flight are judged.
    fn settle(&mut self) {
        let durable = self.inbox.newest_durable();
        self.durable = durable;
        let mut copies = Vec::new();
        while let Some(sent) = self.sent.front()
            && sent.number <= durable
            && let Some(sent) = self.sent.pop_front()
        {
            let Marks { ids, baskets, frees } = sent.marks;
            for id in baskets {
                if self.baskets.get(&id).is_some_and(|working| working.touched <= durable) {
                    self.baskets.remove(&id);
                }
            }
            self.free.extend(frees);
            self.landed(ids, &mut copies);
        }
        self.on_copies(copies);
    }

    fn on_settled(&mut self, settled: Settled) {
        self.settle();
        if settled.epoch != self.epoch {
            return;
        }
        if let Some(place) = self.places.get_mut(settled.sku) {
            place.settled();
        }
        let mut copies = Vec::new();
        self.landed(settled.ids, &mut copies);
        self.on_copies(copies);
    }

    /// Ids are no longer in flight; who waited for them goes on.
    fn landed(&mut self, ids: Vec<u64>, copies: &mut Vec<(Arc<Ticket>, u32)>) {
        for id in ids {
            if let Some(mark) = self.in_flight.remove(&id) {
                self.copies -= mark.copies.len();
                copies.extend(mark.copies);
            }
        }
    }

    /// The epoch is read and not told: a message that comes late, twice, or to a predecessor must not roll back what was decided
    /// since, nor leave it standing.
    fn look_at_epoch(&mut self) {
        let epoch = self.shared.journal.epoch();
        if epoch != self.epoch {
            self.on_epoch(epoch);
        }
    }

    fn on_epoch(&mut self, epoch: u64) {
        tracing::warn!(warehouse = %self.desk.warehouse, epoch, "the store failed: all that ran ahead of it is rolled back");
        self.epoch = epoch;
        for awake in self.places.iter().filter_map(|(_, place)| place.awake.as_ref()) {
            awake.actor.stop(Some("epoch".to_owned()));
        }
        self.count_out();
        // Dropping tickets and reply channels answers everyone who waits: not judged, send it again.
        self.actors.clear();
        self.places.clear();
        self.in_flight.clear();
        self.copies = 0;
        self.sent.clear();
        self.rest.clear();
        self.baskets.clear();
        self.busy.clear();
        self.operations.clear();
        self.free.clear();
        self.turning.clear();
        self.stumbles.clear();
        self.deadlines.clear();
        let deadlines = &mut self.deadlines;
        self.shared.store.view().each_held(&self.desk.warehouse, |basket| {
            if let Some(deadline) = basket.expires {
                deadlines.insert((deadline, basket.id.clone()));
            }
        });
        self.on_configured();
        // What was to be told of a new day, or of new buffers, is told again.
        self.turn_day(self.today.plus(-1)..self.today);
        self.turn_untold();
    }

    /// Its actors are no longer counted as awake.
    fn count_out(&self) {
        let awake = self.actors.len() as u32;
        self.shared.counters.awake.fetch_sub(awake, Ordering::Relaxed);
    }
}

/// A warehouse that dies takes its awake SKUs with it.
impl Drop for State {
    fn drop(&mut self) {
        self.inbox.close();
        self.count_out();
    }
}
