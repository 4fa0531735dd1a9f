//! Which actor a batch goes to. Not an actor: the doors and the forwarder share it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ractor::{ActorRef, ActorStatus};
use tokio::sync::watch;

use super::batch::{Batch, Events, Held, Reach, Row, Ticket, Verdict};
use super::refused;
use super::shared::Shared;
use super::warehouse::{self, Command, Inbox, Incoming};
use crate::domain::event::Event;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::Id;
use crate::storage::append::SkuIndex;

/// From so many events on their names are looked up together.
const MANY: usize = 32;

/// See the module.
#[derive(Clone)]
pub struct Router {
    /// What every actor has.
    pub shared: Arc<Shared>,
    registry: Arc<ArcSwap<HashMap<Id, Home>>>,
}

/// Where a warehouse is decided for.
#[derive(Clone)]
pub struct Home {
    /// Its actor: the one that lives, or the last that did.
    pub actor: ActorRef<warehouse::Msg>,
    /// Where its work comes in.
    pub inbox: Arc<Inbox>,
    /// Closed when neither it nor any of its SKUs can send facts any more.
    pub life: Arc<watch::Sender<()>>,
}

impl Home {
    /// Gives it work. A warehouse that is being rebuilt takes none: the work is dropped, which tells its caller.
    pub fn put(&self, work: Incoming) {
        self.inbox.put(work, &self.actor);
    }

    /// Gives it a command; see [`Home::put`].
    pub fn command(&self, command: Command) {
        self.put(Incoming::Command(Box::new(command)));
    }
}

impl Router {
    /// No warehouse has an actor yet.
    pub fn new(shared: Arc<Shared>) -> Router {
        Router {
            shared,
            registry: Arc::new(ArcSwap::from_pointee(HashMap::new())),
        }
    }

    /// Where a warehouse is decided for, while it has an actor that lives.
    pub fn warehouse(&self, id: &Id) -> Option<Home> {
        let home = self.registry.load().get(id).cloned()?;
        (home.actor.get_status() < ActorStatus::Draining).then_some(home)
    }

    /// All warehouses that were ever started.
    pub fn all(&self) -> Arc<HashMap<Id, Home>> {
        self.registry.load_full()
    }

    /// A warehouse has this actor from now on. Only the supervisor of the warehouses calls this.
    pub fn set(&self, id: &Id, home: &Home) {
        self.registry.rcu(|known| {
            let mut next = HashMap::clone(known);
            next.insert(id.clone(), home.clone());
            next
        });
    }

    /// Judges events; see `Node::events`.
    pub async fn events(&self, events: Events, held: Held) -> Vec<Verdict> {
        self.events_reaching(events, held, Reach::default()).await.0
    }

    /// As [`Router::events`], and whether what they reach to was written with the last of them.
    pub async fn events_reaching(&self, events: Events, held: Held, reach: Reach) -> (Vec<Verdict>, bool) {
        if events.is_empty() {
            return (Vec::new(), false);
        }
        let batch = self.begin(events, held, reach);
        batch.judged().await;
        let verdicts = batch.verdicts().map(Cow::into_owned).collect();
        (verdicts, batch.is_written())
    }

    /// Hands events, at least one, to their warehouses; see [`Batch::judged`]. Not a task's step: a future would carry the events
    /// from level to level.
    pub(super) fn begin(&self, events: Events, held: Held, reach: Reach) -> Arc<Batch> {
        let mut skus = Row::with_capacity(events.len());
        let mut no_room: Vec<(u32, Refusal)> = Vec::new();
        let keys = self.shared.store.view().keys();
        let known = match events.len() {
            MANY.. => keys.find_all(events.iter().map(|event| (event.warehouse.as_str(), event.sku.as_str()))),
            _ => Vec::new(),
        };
        for (row, event) in events.iter().enumerate() {
            let known = known.get(row).copied().flatten();
            let index = known.map_or_else(|| keys.intern(event.warehouse.as_str(), event.sku.as_str()), Ok);
            match index {
                Ok(index) => skus.push(index),
                Err(_) => {
                    no_room.push((row as u32, too_many_skus(event)));
                    skus.push(SkuIndex(u32::MAX));
                }
            }
        }
        let (batch, groups) = Batch::new(events, skus, reach);
        let ticket = Ticket::new(batch.clone(), held);
        if !no_room.is_empty() {
            refused::no_room(&self.shared, &ticket, no_room);
        }
        for (warehouse, mut range) in groups {
            // Rows without an index sort last, and are refused already.
            while range.end > range.start && batch.sku(batch.row_at(range.end - 1)).0 == u32::MAX {
                range.end -= 1;
            }
            if let Some(home) = self.registry.load().get(&warehouse)
                && !range.is_empty()
            {
                home.put(Incoming::Events(ticket.clone(), range));
            }
        }
        batch
    }
}

fn too_many_skus(event: &Event) -> Refusal {
    let detail = format!(
        "SKU {} would be one more than `stock.max_skus` allows: raise the limit, or mend the sender",
        event.sku
    );
    Refusal::field(Code::InvalidValue, "/data/sku", detail)
}
