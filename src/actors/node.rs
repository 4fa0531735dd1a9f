//! The handle of the running node: everything the doors may ask of it.
//!
//! Writes go to the warehouse's actor and come back when they are durable; reads come from the view and the journal and
//! never ask an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ractor::ActorRef;
use tokio::sync::{Mutex, oneshot, watch};

pub use super::answers::{BasketAnswer, CommandError};
use super::answers::{Heard, Reply};
pub use super::batch::Verdict;
use super::batch::{Batch, Events, Held, Reach, not_durable};
use super::draft::Draft;
use super::once::{self, origin};
use super::router::{Home, Router};
use super::shared::Shared;
pub use super::warehouse::BasketCommand;
use super::warehouse::{Command, SkuSetting};
use super::warehouses;
use crate::domain::event::{Event, Origin};
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::Warehouse;
use crate::storage::append::{CommitFailure, Fold};
use crate::storage::codec::{FactParts, Memory, SubjectRef};
use crate::storage::journal::Health;
use crate::storage::store::Store;
use crate::storage::view::View;

/// What an operator sets; recorded as facts like everything else.
#[derive(Clone, Debug)]
pub enum Setting {
    /// Declares a warehouse, or changes it.
    Warehouse(Warehouse),
    /// A catalogue entry as JSON; `unit` is given apart since it must agree with the stock.
    Catalogue {
        /// The SKU.
        sku: Id,
        /// The entry as JSON.
        entry: String,
        /// The unit, where the entry names one.
        unit: Option<Unit>,
    },
    /// Corrects a lot's expiry date.
    LotDate {
        /// Where.
        warehouse: Id,
        /// Of what.
        sku: Id,
        /// The lot.
        lot: Id,
        /// The date; `None`: it has none.
        expires_on: Option<Day>,
    },
    /// Overrides a SKU's buffers; a channel that is not named goes back to its default.
    Buffers {
        /// Where.
        warehouse: Id,
        /// Of what.
        sku: Id,
        /// Per channel.
        buffers: Vec<(Id, i64)>,
    },
    /// Ends a dead letter (`discarded`), or undoes that (`restored`).
    DeadLetter {
        /// Its sequence.
        letter: u64,
        /// `discarded`, `restored` or `replayed`.
        action: &'static str,
        /// Why.
        reason: Option<String>,
    },
}

/// Whether a node that has started takes work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Takes everything.
    Ready,
    /// Reads only; the text says why.
    Degraded(String),
    /// Finishing what it took.
    Stopping,
}

/// See the module. Cheap to clone: every request has one.
#[derive(Clone)]
pub struct Node(Arc<Inside>);

impl std::ops::Deref for Node {
    type Target = Inside;
    fn deref(&self) -> &Inside {
        &self.0
    }
}

/// What the handle leads to.
pub struct Inside {
    pub(super) router: Router,
    pub(super) warehouses: watch::Receiver<Option<ActorRef<warehouses::Msg>>>,
    stopping: AtomicBool,
    pub(super) inflight: AtomicU32,
    /// Settings with a key, one after the other: a copy in flight waits for the first to be durable.
    pub(super) keyed: Mutex<()>,
    about: About,
}

/// What the node says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// The node's name.
    pub name: String,
    /// When this process started.
    pub started: std::time::Instant,
}

impl Node {
    /// The handle of a running tree.
    pub fn new(router: Router, warehouses: watch::Receiver<Option<ActorRef<warehouses::Msg>>>, about: About) -> Node {
        Node(Arc::new(Inside {
            router,
            warehouses,
            stopping: AtomicBool::default(),
            inflight: AtomicU32::default(),
            keyed: Mutex::default(),
            about,
        }))
    }

    /// Judges events, in their order per SKU; the verdicts come in the order of the events, when all are durable.
    pub async fn events(&self, events: Vec<Event>) -> Vec<Verdict> {
        if let Err(refusal) = self.room() {
            return vec![Verdict::NotJudged(refusal.into()); events.len()];
        }
        let _inside = Underway::new(&self.inflight, events.len() as u32);
        self.router.events(events.into(), None).await
    }

    /// As [`Node::events`], for at least one, and gives the events back with their verdicts. `held` is let go when the work has
    /// ended, not when the caller goes away before that. Refused as a whole when nothing can be written at all.
    /// The work begins with the call, and is not waited for before that.
    pub fn judged(&self, events: Events, held: Held) -> impl Future<Output = Result<Arc<Batch>, Refusal>> + Send + '_ {
        let begun = self.room().map(|()| {
            // Counted out also when the caller goes away before the answer.
            let inside = Underway::new(&self.inflight, events.len() as u32);
            (self.router.begin(events, held, Reach::default()), inside)
        });
        async move {
            let (batch, _inside) = begun?;
            batch.judged().await;
            Ok(batch)
        }
    }

    /// Carries out a command about a reservation.
    pub async fn basket(
        &self,
        warehouse: &Id,
        id: &Id,
        command: BasketCommand,
        trace: Option<TraceParent>,
    ) -> Result<BasketAnswer, CommandError> {
        self.basket_of(warehouse, id, command, trace, None).await
    }

    /// As [`Node::basket`], for a command that may be a dead letter's.
    pub(super) async fn basket_of(
        &self,
        warehouse: &Id,
        id: &Id,
        command: BasketCommand,
        trace: Option<TraceParent>,
        letter: Option<u64>,
    ) -> Result<BasketAnswer, CommandError> {
        self.room()?;
        let actor = self.actor(warehouse)?;
        let keys = self.view().keys();
        let index = |sku: &Id| keys.find(warehouse.as_str(), sku.as_str()).map(|index| (sku.clone(), index));
        let skus = match &command {
            BasketCommand::Hold(request) => request.lines.iter().filter_map(|line| index(&line.sku)).collect(),
            _ => Vec::new(),
        };
        let (reply, answer) = oneshot::channel();
        let origin = Origin {
            trace,
            ..origin("reservations", id.clone())
        };
        let command = Command::Basket {
            id: id.clone(),
            command,
            skus,
            origin,
            reply,
            letter,
        };
        actor.command(command);
        answer.await.unwrap_or_else(|_| Err(lost().into()))
    }

    /// Records a setting, and answers with the fact's sequence.
    pub(super) async fn write(&self, setting: Setting, origin: Origin) -> Result<u64, Refusal> {
        self.room_for(&setting)?;
        let now = self.now();
        match setting {
            Setting::Warehouse(site) => self.set_warehouse(site, origin, now).await,
            Setting::Catalogue { sku, entry, unit } => {
                if let Some(unit) = unit {
                    self.set_unit(&sku, unit, &origin).await?;
                }
                let fold = Fold::Catalogue {
                    sku: sku.clone(),
                    entry: entry.as_str().into(),
                };
                let subject = SubjectRef::Catalogue {
                    sku: sku.as_str(),
                    entry: &entry,
                };
                self.record(Id::no_lot(), "catalogue_set", origin, now, fold, subject).await
            }
            Setting::LotDate {
                warehouse,
                sku,
                lot,
                expires_on,
            } => {
                self.set_sku(&warehouse, &sku, SkuSetting::LotDate(lot, expires_on), origin)
                    .await
            }
            Setting::Buffers { warehouse, sku, buffers } => {
                self.set_sku(&warehouse, &sku, SkuSetting::Buffers(buffers), origin).await
            }
            Setting::DeadLetter { letter, action, reason } => {
                let warehouse = self.letter(letter)?.warehouse;
                let origin = Origin {
                    reason: reason.map(String::into_boxed_str),
                    ..origin
                };
                let fold = Fold::DeadLetter {
                    letter,
                    action: action.into(),
                };
                self.record(
                    warehouse,
                    action,
                    origin,
                    now,
                    fold,
                    SubjectRef::DeadLetter { letter, action },
                )
                .await
            }
        }
    }

    /// Refuses when the disk's reserve is touched.
    pub(super) fn room(&self) -> Result<(), Refusal> {
        if self.store().is_short_of_room() {
            let detail = "the disk has less free space than storage.reserve_bytes keeps back: nothing new is taken until there is room, reads go on";
            return Err(Refusal::new(Code::StorageFull, detail));
        }
        Ok(())
    }

    /// A warehouse is small, and without it nothing could be taken when there is room again.
    fn room_for(&self, setting: &Setting) -> Result<(), Refusal> {
        if matches!(setting, Setting::Warehouse(_)) {
            Ok(())
        } else {
            self.room()
        }
    }

    pub(super) fn actor(&self, warehouse: &Id) -> Result<Home, Refusal> {
        if let Some(actor) = self.router.warehouse(warehouse) {
            return Ok(actor);
        }
        match self.view().warehouses().contains_key(warehouse) {
            true => Err(lost()),
            false => Err(Refusal::new(
                Code::UnknownWarehouse,
                format!("warehouse {warehouse} is not declared on this node"),
            )),
        }
    }

    /// Records a fact that no warehouse has to judge.
    pub(super) async fn record(
        &self,
        warehouse: Id,
        what: &str,
        origin: Origin,
        now: Time,
        fold: Fold,
        subject: SubjectRef<'_>,
    ) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        let mut draft = Draft::new(warehouse.clone());
        let id = once::remembered(&warehouse, &origin);
        let parts = FactParts {
            warehouse: warehouse.as_str(),
            what,
            business: now,
            recorded: now,
            origin: &origin,
            outcome: &Outcome::APPLIED,
            payload: None,
            subject,
            memory: Memory {
                id: id.is_some(),
                ..Memory::default()
            },
        };
        let index = draft.other(fold, now, id, parts);
        draft.reply(Reply::Setting(reply, Ok(index)));
        let shared = &self.router.shared;
        draft.send(shared, shared.journal.epoch(), Heard::Nobody);
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The committed state.
    pub fn view(&self) -> &View {
        self.router.shared.store.view()
    }

    /// The journal: facts, ledger, time travel.
    pub fn store(&self) -> &Store {
        &self.router.shared.store
    }

    /// What every actor has: counters, rules, the clock.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.router.shared
    }

    /// The newest durable sequence, and a wake-up for whoever follows it.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.router.shared.journal.durable()
    }

    /// What the node says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The node's clock: the wall clock, never going back.
    pub fn now(&self) -> Time {
        self.router.shared.clock.now()
    }

    /// No new work from here on: `readiness` says so, and the doors turn it away.
    pub fn stop_taking(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether it takes nothing any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether it takes work.
    pub fn readiness(&self) -> Readiness {
        if self.is_stopping() {
            return Readiness::Stopping;
        }
        match self.router.shared.journal.health() {
            Health::Ok if self.store().is_short_of_room() => {
                Readiness::Degraded("the disk is down to its reserve: writes are refused, reads go on".to_owned())
            }
            Health::Ok => Readiness::Ready,
            Health::Failing { why, .. } => Readiness::Degraded(match why {
                CommitFailure::StorageFull => "the disk is full: writes are refused, reads go on".to_owned(),
                other => format!("writes are refused, reads go on: {}", not_durable(&other).detail),
            }),
        }
    }

    /// Everything `shelfd status` shows.
    pub fn status(&self) -> serde_json::Value {
        let inflight = self.inflight.load(Ordering::Relaxed);
        super::status::status(&self.router, &self.about, &self.readiness(), inflight)
    }
}

/// Events inside, for as long as somebody waits for them.
pub(super) struct Underway<'a>(&'a AtomicU32, u32);

impl Underway<'_> {
    pub(super) fn new(inside: &AtomicU32, events: u32) -> Underway<'_> {
        inside.fetch_add(events, Ordering::Relaxed);
        Underway(inside, events)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

pub(super) fn lost() -> Refusal {
    Refusal::new(
        Code::Overloaded,
        "whoever worked on it has failed or is being rebuilt: nothing was changed; send it again",
    )
}
