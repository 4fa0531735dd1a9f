//! The supervisor of the warehouses.
//!
//! Owns: which warehouse has which actor. Receives: warehouses that were declared or changed, deaths. Sends: nothing on the
//! stock path. Dies when: warehouses die faster than its plan allows; the root then ends the process. Invariant: a successor
//! starts only when nobody of the dead one's can send any more, and then behind a barrier, so that the view has all that was sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::router::{Home, Router};
use super::supervise::{Restarts, WAREHOUSES};
use super::warehouse::{self, Command, Inbox};
use crate::domain::units::Id;
use crate::doom;

/// What it is told.
pub enum Msg {
    /// The warehouse is in the view: give it an actor, or tell the one it has; then say so.
    Declared(Id, oneshot::Sender<()>),
    /// All that a dead warehouse had sent is in the view.
    Rebuild(Id),
    /// The store has failed; everything ahead of the disk is void.
    Epoch,
}

/// See the module.
pub struct Warehouses;

/// What it keeps.
pub struct State {
    router: Router,
    actors: HashMap<ActorId, Id>,
    restarts: Restarts,
}

impl Actor for Warehouses {
    type Msg = Msg;
    type State = State;
    type Arguments = Router;

    async fn pre_start(&self, myself: ActorRef<Msg>, router: Router) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            router,
            actors: HashMap::new(),
            restarts: Restarts::new(WAREHOUSES),
        };
        let declared: Vec<Id> = state.router.shared.store.view().warehouses().keys().cloned().collect();
        for id in declared {
            state.start(&myself, id).await?;
        }
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        doom::may_die("warehouses");
        match message {
            Msg::Declared(id, told) => {
                match state.router.all().get(&id) {
                    // One that is dead is rebuilt from the view, which has it already.
                    Some(home) => home.command(Command::Configured),
                    None => state.start(&myself, id).await?,
                }
                // A caller that has gone away does not change what was declared.
                let _ = told.send(());
            }
            Msg::Rebuild(id) => state.start(&myself, id).await?,
            Msg::Epoch => {
                let all = state.router.all();
                // In one order, whatever the table's: a run that is repeated must be the same run.
                for home in BTreeMap::from_iter(all.iter()).values() {
                    // One that is dead is rebuilt from the view anyway.
                    let _ = home.actor.cast(warehouse::Msg::Epoch);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => state.on_death(&myself, cell.get_id(), &error.to_string()),
            SupervisionEvent::ActorTerminated(cell, ..) => {
                state.on_death(&myself, cell.get_id(), "stopped without being told to")
            }
            _ => Ok(()),
        }
    }
}

impl State {
    async fn start(&mut self, myself: &ActorRef<Msg>, id: Id) -> Result<(), ActorProcessingErr> {
        let (life, alive) = watch::channel(());
        let inbox = Arc::new(Inbox::default());
        let args = warehouse::Args {
            shared: self.router.shared.clone(),
            warehouse: id.clone(),
            life: alive,
            inbox: inbox.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, warehouse::Warehouse, args, myself.get_cell()).await?;
        self.actors.insert(actor.get_id(), id.clone());
        let life = Arc::new(life);
        self.router.set(&id, &Home { actor, inbox, life });
        Ok(())
    }

    fn on_death(&mut self, myself: &ActorRef<Msg>, actor: ActorId, error: &str) -> Result<(), ActorProcessingErr> {
        let Some(id) = self.actors.remove(&actor) else { return Ok(()) };
        tracing::error!(warehouse = %id, error, "a warehouse died; it is rebuilt from the view");
        self.router.shared.counters.warehouse_deaths.fetch_add(1, Ordering::Relaxed);
        let Some(wait) = self.restarts.died(Instant::now()) else {
            return Err(format!("warehouse {id} and others died too often; the last of: {error}").into());
        };
        let (myself, journal) = (myself.clone(), self.router.shared.journal.clone());
        let home = self.router.all().get(&id).cloned();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(home) = home {
                home.life.closed().await;
            }
            journal.barrier(Box::new(move || drop(myself.cast(Msg::Rebuild(id)))));
        });
        Ok(())
    }
}
