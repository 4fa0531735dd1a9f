//! The root of the tree: journal, warehouses, followers, in this order.
//!
//! Owns: the order of start, and its reverse. Dies when: a child passes its own limit and then the root's; the process then
//! ends with an error, and the service manager starts it again. Invariant: nobody runs on top of a journal that has ended.
//! (Restarting the journal's thread inside the process was rejected: it heals a failing disk by itself, so its death is a
//! defect, and a fresh process is the only state known to be good.)

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::Instant;

use super::follower::{Followers, Job};
use super::router::Router;
use super::supervise::{ROOT, Restarts};
use super::warehouses::{self, Warehouses};
use crate::doom;

/// The followers by name, as `status` shows them.
pub const FOLLOWER_NAMES: &[&str] = &["sealer", "snapshots", "retention", "auditor", "forwarder"];

/// What the root is started with.
pub struct Args {
    /// Everything the children need.
    pub router: Router,
    /// The followers.
    pub jobs: Vec<Job>,
    /// Told when the tree can go on no longer, with the reason.
    pub fatal: watch::Sender<Option<String>>,
    /// Told the supervisor of the warehouses, whenever there is a new one.
    pub started: watch::Sender<Option<ActorRef<warehouses::Msg>>>,
}

/// What the root is told.
pub enum Msg {
    /// Start the children from this one on.
    Start(Child),
}

/// The children, in the order of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Child {
    /// Watches the journal's thread.
    Journal,
    /// The warehouses.
    Warehouses,
    /// The followers.
    Followers,
}

/// See the module.
pub struct Root;

/// What it keeps.
pub struct State {
    args: Args,
    children: Vec<(Child, ActorCell)>,
    restarts: Restarts,
}

impl Actor for Root {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            args,
            children: Vec::new(),
            restarts: Restarts::new(ROOT),
        };
        state.start_from(&myself, Child::Journal).await?;
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, Msg::Start(child): Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Err(error) = state.start_from(&myself, child).await {
            state.give_up(&error.to_string());
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, error) = event {
            doom::may_die("root");
            state.on_death(&myself, &cell, &error.to_string()).await;
        }
        Ok(())
    }
}

impl State {
    async fn start_from(&mut self, myself: &ActorRef<Msg>, first: Child) -> Result<(), ActorProcessingErr> {
        let router = self.args.router.clone();
        for child in [Child::Journal, Child::Warehouses, Child::Followers]
            .into_iter()
            .filter(|child| *child >= first)
        {
            let cell = match child {
                Child::Journal => Actor::spawn_linked(None, JournalWatch, router.clone(), myself.get_cell())
                    .await?
                    .0
                    .get_cell(),
                Child::Warehouses => {
                    let (actor, _) = Actor::spawn_linked(None, Warehouses, router.clone(), myself.get_cell()).await?;
                    self.args.started.send_replace(Some(actor.clone()));
                    actor.get_cell()
                }
                Child::Followers => {
                    let args = (router.clone(), self.args.jobs.clone());
                    Actor::spawn_linked(None, Followers, args, myself.get_cell())
                        .await?
                        .0
                        .get_cell()
                }
            };
            self.children.push((child, cell));
        }
        Ok(())
    }

    async fn on_death(&mut self, myself: &ActorRef<Msg>, cell: &ActorCell, error: &str) {
        let Some(at) = self.children.iter().position(|(_, known)| known.get_id() == cell.get_id()) else {
            return;
        };
        let child = self.children[at].0;
        tracing::error!(?child, error, "a part of the node died");
        let wait = self.restarts.died(Instant::now());
        let (Some(wait), true) = (wait, child != Child::Journal) else {
            return self.give_up(&format!("{child:?}: {error}"));
        };
        // Those started after it depend on it: down in reverse order, then all up again.
        for (_, later) in self.children.drain(at..).rev() {
            // One that is dead already has nothing to stop.
            let _ = later.stop_and_wait(Some("rest_for_one".to_owned()), None).await;
        }
        // What a dead part had sent, and what its children still send, must be in the view before its successor reads it.
        let (myself, journal) = (myself.clone(), self.args.router.shared.journal.clone());
        let homes = self.args.router.all();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            for home in homes.values().filter(|_| child == Child::Warehouses) {
                home.life.closed().await;
            }
            journal.barrier(Box::new(move || drop(myself.cast(Msg::Start(child)))));
        });
    }

    fn give_up(&self, error: &str) {
        tracing::error!(error, "the node cannot go on; the process ends, to be started afresh");
        self.args.fatal.send_replace(Some(error.to_owned()));
    }
}

/// Watches the journal's thread, which does the work: an actor's mailbox in front of it would only add a hop.
pub struct JournalWatch;

impl Actor for JournalWatch {
    type Msg = super::follower::Look;
    type State = Router;
    type Arguments = Router;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, router: Router) -> Result<Router, ActorProcessingErr> {
        myself.send_interval(Duration::from_millis(500), || super::follower::Look);
        Ok(router)
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, _: Self::Msg, router: &mut Router) -> Result<(), ActorProcessingErr> {
        doom::may_die("journal_watch");
        match router.shared.store.journal_runs() {
            true => Ok(()),
            false => Err("the journal's thread has ended".into()),
        }
    }
}
