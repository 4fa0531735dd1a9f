//! The newest state of each SKU that changed, for a compacted topic: what may be promised, per channel.
//!
//! Not every fact, but every SKU, as the view has it now; a busy one once in a round, however busy it is ([`super::rounds`]). A publisher that is
//! far behind does not read its backlog at all; it walks over all SKUs, and looks for fresh changes between two steps, so that a
//! day's outage delays no change of now. (A queue per SKU was rejected: the journal is one already.)

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::actors::node::Node;
use crate::domain::units::{Id, Time};
use crate::storage::append::SkuIndex;
use crate::storage::database::ReadError;

use super::Out;
use super::body::{Sites, put_latest};
use super::cloud::{About, Cloud};
use super::facts::unreadable;
use super::flight::{Failure, Sender};
use super::gauge::OutGauge;
use super::publisher::Source;
use super::rounds::Rounds;

/// Facts read at once.
const PAGE: usize = 4_000;
/// Facts behind from which on all SKUs are walked over instead.
const FAR: u64 = 200_000;
/// SKUs of one step of the walk.
const STEP: usize = 500;

/// Where a walk over all SKUs stands.
struct Walk {
    warehouses: Vec<Id>,
    after: Option<Id>,
}

/// See the module.
pub(super) struct Latest {
    node: Node,
    next: u64,
    walk: Option<Walk>,
    store: String,
    sites: Sites,
    rounds: Rounds,
    cloud: Cloud,
    body: Vec<u8>,
    gauge: Arc<OutGauge>,
}

impl Latest {
    pub(super) fn new(node: &Node, out: &Out, known: Option<u64>, gauge: Arc<OutGauge>) -> Result<Latest, Failure> {
        let mut latest = Latest {
            node: node.clone(),
            next: known.unwrap_or(0) + 1,
            walk: None,
            store: node.store().id().map_err(|error| unreadable(&error))?,
            sites: Sites::default(),
            rounds: Rounds::new(),
            cloud: Cloud::new(&node.about().name, "inventory.availability", out.structured),
            body: Vec::with_capacity(1_024),
            gauge,
        };
        let newest = node.view().durable_seq();
        if latest.next < node.store().floor() || newest.saturating_sub(latest.next) > FAR {
            latest.walk_over_all();
        }
        Ok(latest)
    }

    fn walk_over_all(&mut self) {
        let warehouses: Vec<Id> = self.node.view().warehouses().keys().cloned().collect();
        tracing::info!(part = %self.gauge.line.name, "far behind: it publishes every SKU as it is now, and fresh changes first");
        self.next = self.node.view().durable_seq() + 1;
        self.walk = Some(Walk { warehouses, after: None });
    }

    /// One step of the walk, one flight.
    fn step(&mut self, sender: &mut Sender) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        let Some(warehouse) = walk.warehouses.last().cloned() else {
            self.walk = None;
            // Confirmed only when all flights of the walk are: this one comes behind them.
            sender.begin(self.rounds.is_empty().then_some(self.next - 1));
            return true;
        };
        let page = self
            .node
            .view()
            .skus_of(warehouse.as_str(), walk.after.as_ref().map(Id::as_str), STEP);
        walk.after = page.last().map(|(sku, _)| sku.clone());
        if page.len() < STEP {
            walk.warehouses.pop();
            walk.after = None;
        }
        sender.begin(None);
        let now = self.node.now();
        for (sku, index) in page {
            self.publish(sender, index, &warehouse, &sku, now);
        }
        true
    }

    fn publish(&mut self, sender: &mut Sender, index: SkuIndex, warehouse: &Id, sku: &Id, now: Time) {
        let Some(site) = self.sites.get(warehouse) else {
            return;
        };
        let (body, rounds) = (&mut self.body, &mut self.rounds);
        body.clear();
        let seq = self.node.view().read(index, |stock, seq| {
            let stock = stock.filter(|stock| rounds.show(index, stock.version))?;
            put_latest(body, site, sku.as_str(), stock, seq, now);
            Some(seq)
        });
        let Some(seq) = seq else { return };
        let id = format!("availability-{}-{seq}", self.store);
        let about = About {
            key: (warehouse.as_str(), sku.as_str()),
            id: &id,
            time: now,
            trace: None,
        };
        self.cloud.send(sender, &about, &self.body);
    }

    fn publish_known(&mut self, sender: &mut Sender, index: SkuIndex, now: Time) {
        if let Some((warehouse, sku)) = self.node.view().keys().names(index) {
            self.publish(sender, index, &warehouse, &sku, now);
        }
    }

    /// The round's end, when it has come: what was held is published.
    fn turn(&mut self, sender: &mut Sender) -> bool {
        if !self.rounds.is_due() {
            return false;
        }
        let held = self.rounds.turn();
        if held.is_empty() {
            return false;
        }
        sender.begin(self.walk.is_none().then_some(self.next - 1));
        let now = self.node.now();
        for index in held {
            self.publish_known(sender, index, now);
        }
        true
    }
}

impl Source for Latest {
    fn more(&mut self, sender: &mut Sender) -> Result<bool, Failure> {
        if self.node.view().durable_seq().saturating_sub(self.next) > FAR && self.walk.is_none() {
            self.walk_over_all();
        }
        self.sites.look(&self.node);
        let turned = self.turn(sender);
        let (touched, next) = match self.node.store().touched(self.next, PAGE) {
            Ok(touched) => touched,
            Err(ReadError::HistoryGone { .. }) => {
                // Nothing is missed: the newest of every SKU is what this topic promises.
                self.walk_over_all();
                return Ok(true);
            }
            Err(error) => return Err(unreadable(&error)),
        };
        if next == self.next {
            return Ok(self.step(sender) || turned);
        }
        // After the facts: a fact's warehouse is in the view by then.
        self.sites.look(&self.node);
        self.next = next;
        sender.begin(None);
        let now = self.node.now();
        for (index, version) in touched {
            if self.rounds.touch(index, version) {
                self.publish_known(sender, index, now);
            }
        }
        // What is held is said to be published by the round's end, and during a walk the end of the walk speaks for all.
        if self.rounds.is_empty() && self.walk.is_none() {
            sender.ends(next - 1);
        }
        self.gauge.read.store(next - 1, Ordering::Relaxed);
        // A walk goes on also while there is always something fresh.
        if self.walk.is_some() {
            self.step(sender);
        }
        Ok(true)
    }

    fn rests(&self) -> Option<Duration> {
        self.rounds.rests()
    }
}
