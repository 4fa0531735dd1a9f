//! What every actor of the stock path is given: the store, the clock, the rules, and the function that decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::ActorRef;

use super::warehouse::BasketCommand;
use super::{clock::Clock, forwarder};
use crate::domain::event::{Event, Origin};
use crate::domain::refusal::Refusal;
use crate::domain::reservation::{BasketDecision, Reservation, Stocks};
use crate::domain::stock::{Context, Decision, Limits, Policy, Stock, Voided};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Warehouse;
use crate::storage::ahead::ClocksAhead;
use crate::storage::audit::Findings;
use crate::storage::journal::JournalHandle;
use crate::storage::recent::RecentDuplicates;
use crate::storage::store::Store;

/// How one event is decided. A value, so that a test can plant a decider that dies.
pub type Decide = fn(Option<&Stock>, &Event, Voided<'_>, &Context<'_>) -> Decision;

/// How one command about a reservation is decided; as [`Decide`], a value.
pub type Judge =
    fn(Option<&Reservation>, &BasketCommand, &Warehouse, &Stocks<'_>, &Context<'_>) -> Result<BasketDecision, Refusal>;

/// One configured source: its exact name, or a prefix.
#[derive(Clone, Debug)]
pub struct SourceRule {
    /// The name, or what it begins with.
    pub name: String,
    /// Whether `name` is a prefix.
    pub prefix: bool,
    /// The rules for it.
    pub policy: Policy,
}

/// Which rules hold for which source. The longest match wins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    exact: HashMap<String, Policy>,
    prefixes: Vec<(String, Policy)>,
}

impl Sources {
    /// From the configuration's list.
    pub fn new(rules: Vec<SourceRule>) -> Sources {
        let (prefixes, exact): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.prefix);
        let mut prefixes: Vec<(String, Policy)> = prefixes.into_iter().map(|rule| (rule.name, rule.policy)).collect();
        prefixes.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Sources {
            exact: exact.into_iter().map(|rule| (rule.name, rule.policy)).collect(),
            prefixes,
        }
    }

    /// The rules for one source.
    pub fn policy(&self, source: &Id) -> Policy {
        let text = source.as_str();
        // Hashing the name costs more than all else here, and few nodes have a rule for one.
        if !self.exact.is_empty()
            && let Some(policy) = self.exact.get(text)
        {
            return *policy;
        }
        self.prefixes
            .iter()
            .find(|(prefix, _)| text.starts_with(prefix.as_str()))
            .map_or(Policy::default(), |(_, policy)| *policy)
    }
}

/// When SKUs get and lose an actor of their own.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Messages with a single event in one second that wake a SKU.
    pub wake_rate_per_s: u32,
    /// Rows of an awake SKU in one batch from which its actor judges them. A message to the actor, its own one to the journal and its
    /// receipt cost more than judging a few rows where they are.
    pub hand_over_rows: usize,
    /// Seconds without work after which an awake SKU with nothing to mind falls asleep.
    pub idle_sleep_s: u32,
    /// The most SKUs awake at once, over the node.
    pub awake_max: u32,
    /// The most working copies a warehouse keeps of SKUs that have nothing in flight.
    pub copies_max: usize,
    /// The most facts that the auditor folds in a second; 0: there is no auditor.
    pub audit_facts_per_s: u32,
    /// How long the auditor rests after each round, ms.
    pub audit_rest_ms: i64,
    /// The wait between two passes of the snapshots.
    pub snapshot_every: Duration,
}

/// Counters that `status` and the metrics read.
#[derive(Debug, Default)]
pub struct Counters {
    /// SKUs with an actor of their own now.
    pub awake: AtomicU32,
    /// SKU actors that died.
    pub sku_deaths: AtomicU64,
    /// Warehouse actors that died.
    pub warehouse_deaths: AtomicU64,
    /// Followers that died.
    pub follower_deaths: AtomicU64,
    /// Events whose source's clock was ahead by more than the allowance.
    pub clocks_ahead: AtomicU64,
    /// Events answered as duplicates.
    pub duplicates: AtomicU64,
    /// Dead letters made.
    pub dead_letters: AtomicU64,
}

/// See the module.
pub struct Shared {
    /// The store: view, facts, remembered ids.
    pub store: Arc<Store>,
    /// The journal's door.
    pub journal: JournalHandle,
    /// The node's clock.
    pub clock: Clock,
    /// The domain's limits.
    pub limits: Limits,
    /// The rules per source; swapped on reload.
    pub sources: ArcSwap<Sources>,
    /// How events are decided.
    pub decide: Decide,
    /// How commands about reservations are decided.
    pub judge: Judge,
    /// When SKUs wake and sleep.
    pub tuning: Tuning,
    /// What has been counted.
    pub counters: Counters,
    /// The newest duplicates, for those who ask what was ignored.
    pub duplicates: RecentDuplicates,
    /// Whose clocks are ahead.
    pub ahead: ClocksAhead,
    /// What the auditor has found.
    pub findings: Arc<Findings>,
    /// Held by every background step that is alive, so that a stop can wait for the last one.
    pub steps: Arc<()>,
    /// Who tells the other warehouse of a transfer.
    pub forwarder: Arc<ArcSwapOption<ActorRef<forwarder::Msg>>>,
}

impl Shared {
    /// Reports the clock of a source: what it said was dated too far ahead, and taken at its arrival.
    pub fn clock_ahead(&self, warehouse: &Id, origin: &Origin, claimed: Option<Time>, now: Time) {
        self.counters.clocks_ahead.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(source = %origin.source, id = %origin.id, "the source's clock is ahead; taken at its arrival");
        let claimed = claimed.unwrap_or(now);
        self.ahead.heard(warehouse, &origin.source, &origin.id, claimed, now);
    }
}
