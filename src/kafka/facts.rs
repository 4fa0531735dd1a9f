//! Every fact of one kind, in the order of the journal: changes of SKUs, of baskets, disagreements, dead letters.
//!
//! A fact that changed nothing (refused, stale) is no change and is not published, except as a dead letter.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::actors::node::Node;
use crate::domain::fact::{Fact, Outcome, Subject};
use crate::storage::database::ReadError;

use super::body::{self, Sites};
use super::cloud::{About, Cloud};
use super::flight::{Failure, Sender};
use super::gauge::OutGauge;
use super::publisher::Source;
use super::shadow::Shadows;
use super::{Out, What};

/// Facts read at once: one flight.
const PAGE: usize = 1_000;

/// See the module.
pub(super) struct Facts {
    node: Node,
    what: What,
    /// The next sequence to read.
    next: u64,
    store: String,
    sites: Sites,
    shadows: Shadows,
    cloud: Cloud,
    body: Vec<u8>,
    id: String,
    gauge: Arc<OutGauge>,
}

/// What a store that cannot be read means for a publisher.
pub(super) fn unreadable(error: &ReadError) -> Failure {
    match error {
        // Only a person can mend it, and skipping a damaged row would lose it.
        ReadError::Damaged { .. } | ReadError::Pages(_) => Failure::Forever(error.to_string()),
        other => Failure::Again(other.to_string()),
    }
}

impl Facts {
    /// From the fact after `known`, or from the oldest that there is.
    pub(super) fn new(node: &Node, out: &Out, known: Option<u64>, gauge: Arc<OutGauge>) -> Result<Facts, Failure> {
        let kind = match out.what {
            What::Updated => "inventory.updated",
            What::Availability => "inventory.availability",
            What::Reservations => "inventory.reservation",
            What::Drift => "inventory.drift",
            What::DeadLetters => "inventory.dead_letter",
        };
        let store = node.store();
        Ok(Facts {
            node: node.clone(),
            what: out.what,
            next: known.map_or_else(|| store.floor().max(1), |known| known + 1),
            store: store.id().map_err(|error| unreadable(&error))?,
            sites: Sites::default(),
            shadows: Shadows::default(),
            cloud: Cloud::new(&node.about().name, kind, out.structured),
            body: Vec::with_capacity(2_048),
            id: String::new(),
            gauge,
        })
    }

    fn publish(&mut self, sender: &mut Sender, fact: &Fact) -> Result<(), Failure> {
        match (&fact.subject, &fact.outcome) {
            (_, Outcome::DeadLetter { error }) if self.what == What::DeadLetters => {
                self.body.clear();
                body::put_letter(&mut self.body, fact, error);
                self.send(sender, fact, (&fact.seq.to_string(), ""), 0);
            }
            (Subject::Sku { changes, .. }, _) if self.what == What::Updated && !changes.is_empty() => {
                return self.updated(sender, fact);
            }
            (Subject::Sku { .. }, _) if self.what == What::Drift => self.drift(sender, fact),
            (Subject::Reservation(of), _) if self.what == What::Reservations => {
                let Some(site) = self.sites.get(&fact.warehouse) else {
                    return Ok(());
                };
                self.body.clear();
                body::put_reservation(&mut self.body, site, of, fact);
                self.send(sender, fact, (fact.warehouse.as_str(), of.id.as_str()), 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn updated(&mut self, sender: &mut Sender, fact: &Fact) -> Result<(), Failure> {
        let Subject::Sku { sku, after, .. } = &fact.subject else {
            return Ok(());
        };
        let stock = self
            .shadows
            .after(self.node.store(), fact)
            .map_err(|error| unreadable(&error))?;
        let (Some(stock), Some(site)) = (stock, self.sites.get(&fact.warehouse)) else {
            return Err(Failure::Forever(format!(
                "fact {} speaks of a SKU that nobody knows; stop the node and run `shelfd verify`",
                fact.seq
            )));
        };
        self.body.clear();
        body::put_updated(&mut self.body, site, sku.as_str(), stock, fact, after);
        self.send(sender, fact, (fact.warehouse.as_str(), sku.as_str()), 0);
        Ok(())
    }

    fn drift(&mut self, sender: &mut Sender, fact: &Fact) {
        let Subject::Sku {
            sku, version, changes, ..
        } = &fact.subject
        else {
            return;
        };
        let mut told = 0;
        for change in changes {
            let Some(site) = self.sites.get(&fact.warehouse) else {
                return;
            };
            self.body.clear();
            if body::put_drift(&mut self.body, site, sku.as_str(), *version, fact, change) {
                self.send(sender, fact, (fact.warehouse.as_str(), sku.as_str()), told);
                told += 1;
            }
        }
    }

    fn send(&mut self, sender: &mut Sender, fact: &Fact, key: (&str, &str), nth: usize) {
        self.id.clear();
        let _ = write!(self.id, "{}-{}-{}", self.what.as_str(), self.store, fact.seq);
        if nth > 0 {
            let _ = write!(self.id, ".{nth}");
        }
        let about = About {
            key,
            id: &self.id,
            time: fact.recorded,
            trace: fact.origin.trace.as_ref(),
        };
        self.cloud.send(sender, &about, &self.body);
    }
}

impl Source for Facts {
    fn more(&mut self, sender: &mut Sender) -> Result<bool, Failure> {
        let facts = match self.node.store().facts(self.next, PAGE) {
            Ok(facts) => facts,
            Err(ReadError::HistoryGone { floor }) => {
                let missed = floor.saturating_sub(self.next);
                tracing::error!(
                    part = %self.gauge.line.name,
                    missed,
                    "retention has overtaken this topic: facts were cut before they were published; it goes on with the oldest that is left"
                );
                self.gauge.missed.fetch_add(missed, Ordering::Relaxed);
                self.next = floor;
                return Ok(true);
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let Some(last) = facts.last() else { return Ok(false) };
        let end = last.seq;
        // After the facts: a fact's warehouse is in the view by then.
        self.sites.look(&self.node);
        sender.begin(Some(end));
        for fact in &facts {
            self.publish(sender, fact)?;
        }
        self.next = end + 1;
        Ok(true)
    }
}
