//! The running tree as one value: how it is started on an open store, and how it is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};
use tokio::sync::watch;

use super::clock::Clock;
use super::node::{About, Node};
use super::root::{self, Root};
use super::router::Router;
use super::shared::{Counters, Decide, Judge, Shared, Sources, Tuning};
use super::{jobs, warehouses};
use crate::domain::stock::Limits;
use crate::domain::units::Time;
use crate::host;
use crate::storage::ahead::ClocksAhead;
use crate::storage::recent::RecentDuplicates;
use crate::storage::store::Store;

/// The values that a tree is started with.
pub struct Plan {
    /// The node's name.
    pub name: String,
    /// How events are decided: `domain::stock::decide`, or a test's own.
    pub decide: Decide,
    /// How commands about reservations are decided: `actors::warehouse::judge`, or a test's own.
    pub judge: Judge,
    /// The domain's limits.
    pub limits: Limits,
    /// The rules per source.
    pub sources: Sources,
    /// When SKUs wake and sleep, and what is done behind.
    pub tuning: Tuning,
}

/// See the module.
pub struct Tree {
    /// The handle of the node.
    pub node: Node,
    /// Told when the tree can go on no longer, with the reason.
    pub fatal: watch::Receiver<Option<String>>,
    root: ActorRef<root::Msg>,
}

impl Tree {
    /// Starts the tree. The error is for the log and the operator.
    pub async fn start(store: Store, plan: Plan) -> Result<Tree, String> {
        let newest = store.newest_recorded().map_err(|error| error.to_string())?;
        let journal = store.journal().clone();
        let shared = Arc::new(Shared {
            store: Arc::new(store),
            journal: journal.clone(),
            clock: Clock::starting_at(newest.unwrap_or(Time(0))),
            limits: plan.limits,
            sources: ArcSwap::from_pointee(plan.sources),
            decide: plan.decide,
            judge: plan.judge,
            tuning: plan.tuning,
            counters: Counters::default(),
            duplicates: RecentDuplicates::default(),
            ahead: ClocksAhead::default(),
            findings: Arc::default(),
            steps: Arc::default(),
            forwarder: Arc::default(),
        });
        let router = Router::new(shared);
        let (fatal, fatal_seen) = watch::channel(None);
        let (started, mut starting) = watch::channel(None);
        let running = starting.clone();
        journal.on_epoch(Box::new(move |_| {
            if let Some(actor) = running.borrow().as_ref() {
                // Warehouses started later read the view as it is then.
                let _: Result<(), _> = ActorRef::cast(actor, warehouses::Msg::Epoch);
            }
        }));
        let args = root::Args {
            router: router.clone(),
            jobs: jobs::all(&plan.tuning),
            fatal,
            started,
        };
        let (root, _) = Actor::spawn(None, Root, args).await.map_err(|error| error.to_string())?;
        starting.wait_for(Option::is_some).await.map_err(|error| error.to_string())?;
        let about = About {
            name: plan.name,
            started: Instant::now(),
        };
        Ok(Tree {
            node: Node::new(router, starting, about),
            fatal: fatal_seen,
            root,
        })
    }

    /// Stops the tree and closes the store, with a whole snapshot, so that the next start is short.
    pub async fn stop(self, within: Duration) {
        // A tree that has died already has nothing to stop.
        let _ = self.root.stop_and_wait(Some("shutdown".to_owned()), Some(within)).await;
        let shared = self.node.shared().clone();
        let closed = host::blocking(move || jobs::finish(&shared)).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the last snapshot failed; the next start reads more of the journal");
        }
    }
}
