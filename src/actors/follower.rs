//! The supervisor of the followers, and the follower itself: a step of background work, again and again.
//!
//! A follower owns nothing that stock needs: it looks at the view and the journal and writes what can be derived from them
//! (snapshots, sealed runs, what may be forgotten). It takes no input: a wake-up says "look", never "what". It dies when its
//! step fails or panics, and its successor looks again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::forwarder::Forwarder;
use super::router::Router;
use super::shared::Shared;
use super::supervise::{FOLLOWERS, Restarts};
use crate::doom;
use crate::host;

/// A step; how long the next one may wait: not at all while there is more to do. Runs where it may block.
pub type Step = Box<dyn FnMut(&Shared) -> Result<Duration, String> + Send>;

/// What a follower does.
#[derive(Clone, Copy)]
pub struct Job {
    /// Its name in the tree.
    pub name: &'static str,
    /// Makes its step, anew for each successor.
    pub step: fn(&Shared) -> Step,
    /// The wait before the first step.
    pub first: Duration,
}

/// "Look."
pub struct Look;

/// See the module.
pub struct Follower;

/// A step, and the sign that it is alive: it may still run when its follower has been stopped.
struct Live {
    step: Step,
    /// Dropped after the step: see [`Shared::steps`].
    _sign: Arc<()>,
}

/// What a follower keeps: its step is away while it runs.
pub struct Following {
    shared: Arc<Shared>,
    job: Job,
    live: Option<Live>,
}

impl Actor for Follower {
    type Msg = Look;
    type State = Following;
    type Arguments = (Arc<Shared>, Job);

    async fn pre_start(&self, myself: ActorRef<Look>, (shared, job): Self::Arguments) -> Result<Following, ActorProcessingErr> {
        // Not at once: a start has better things to do than to look back.
        myself.send_after(job.first, || Look);
        let live = Some(Live {
            step: (job.step)(&shared),
            _sign: shared.steps.clone(),
        });
        Ok(Following { shared, job, live })
    }

    async fn handle(&self, myself: ActorRef<Look>, _: Look, state: &mut Following) -> Result<(), ActorProcessingErr> {
        let Some(mut live) = state.live.take() else { return Ok(()) };
        let (shared, name) = (state.shared.clone(), state.job.name);
        let (live, wait) = host::blocking(move || {
            let wait = (live.step)(&shared);
            doom::may_die(name);
            (live, wait)
        })
        .await?;
        state.live = Some(live);
        match wait? {
            Duration::ZERO => myself.cast(Look)?,
            wait => drop(myself.send_after(wait, || Look)),
        }
        Ok(())
    }
}

/// The supervisor's messages.
pub enum Msg {
    /// Start this one again.
    Start(Option<Job>),
}

/// The supervisor of the followers.
pub struct Followers;

/// What it keeps: which actor does what (`None`: the forwarder).
pub struct State {
    router: Router,
    running: HashMap<ActorId, Option<Job>>,
    restarts: Restarts,
}

impl Actor for Followers {
    type Msg = Msg;
    type State = State;
    type Arguments = (Router, Vec<Job>);

    async fn pre_start(&self, myself: ActorRef<Msg>, (router, jobs): Self::Arguments) -> Result<State, ActorProcessingErr> {
        for job in jobs {
            myself.cast(Msg::Start(Some(job)))?;
        }
        myself.cast(Msg::Start(None))?;
        Ok(State {
            router,
            running: HashMap::new(),
            restarts: Restarts::new(FOLLOWERS),
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, Msg::Start(job): Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        doom::may_die("followers");
        let (supervisor, router) = (myself.get_cell(), state.router.clone());
        let started = match job {
            Some(job) => Actor::spawn_linked(None, Follower, (router.shared, job), supervisor)
                .await
                .map(|(actor, _)| actor.get_id()),
            None => Actor::spawn_linked(None, Forwarder, router, supervisor)
                .await
                .map(|(actor, _)| actor.get_id()),
        };
        match started {
            Ok(id) => drop(state.running.insert(id, job)),
            // A disk that cannot be read now is no more than a death.
            Err(error) => state.again(&myself, job, &error.to_string())?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(cell, error) = event else {
            return Ok(());
        };
        let Some(job) = state.running.remove(&cell.get_id()) else {
            return Ok(());
        };
        state.again(&myself, job, &error.to_string())
    }
}

impl State {
    fn again(&mut self, myself: &ActorRef<Msg>, job: Option<Job>, error: &str) -> Result<(), ActorProcessingErr> {
        let name = job.map_or("forwarder", |job| job.name);
        tracing::error!(follower = name, error, "a follower died; it starts again");
        self.router.shared.counters.follower_deaths.fetch_add(1, Ordering::Relaxed);
        match self.restarts.died(Instant::now()) {
            Some(wait) => {
                myself.send_after(wait, move || Msg::Start(job));
                Ok(())
            }
            None => Err(format!("followers died too often; the last was {name}: {error}").into()),
        }
    }
}
