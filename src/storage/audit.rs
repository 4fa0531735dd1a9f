//! The running auditor: folds the journal anew, a slice of the SKUs at a time, and compares what comes out with what the node
//! answers from.
//!
//! A *sweep* reads the whole journal once and keeps in memory only one slice of the SKUs and of the baskets ([`SLICE`] of each);
//! a *round* is as many sweeps as there are slices. Baskets that come while a round is underway are the next round's: a busy node
//! makes them faster than a sweep reads. So memory is bounded whatever the store holds and takes meanwhile, every fact is folded again in
//! each round, and a step costs what it was allowed to cost, counted in facts and not in time, so that a simulated node takes the
//! same steps in each run.
//!
//! It writes nothing, holds no lock for longer than one look, and its own panic is a finding like any other: it never stops sales.
//! Rejected: a second copy of all states that follows the journal (it doubles the memory of a million SKUs); reading each SKU's
//! facts through the ledger's index (a random read for every fact, where a sweep reads in order); comparing with the snapshot
//! rows (they are made from the view, and repeat its mistakes).
//!
//! What it holds to, by the names of `stock.md`: conservation and no_negative (of every state that a fact makes and of every state
//! that is answered from), no_oversell (of each promise when it was made, and of what stands now), once, whole_basket,
//! final_ends, ordered_publication (versions without a gap, and the figures that each fact carries), and replay. What only a
//! caller can see, durable_reply and committed_reads, it cannot check.

mod compare;
mod report;
mod sweep;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::units::Time;

use super::database::ReadError;
use super::store::{Shared, Store};

pub use report::{Finding, Findings, Report};

use sweep::{Next, Sweep};

/// The most SKUs, and the most baskets, that one sweep keeps in memory: some twenty megabytes.
const SLICE: usize = 32_768;

/// See the module. There is one, on a thread that may block.
pub struct Auditor {
    shared: Arc<Shared>,
    findings: Arc<Findings>,
    slice_of: usize,
    rest_ms: i64,
    rest_until: Time,
    /// The slice that is looked at.
    slice: u32,
    round: Round,
    sweep: Option<Sweep>,
}

/// What was there when a round began.
#[derive(Clone, Copy, Default)]
struct Round {
    slices: u32,
    skus: u32,
    /// The last durable fact.
    until: u64,
}

impl Store {
    /// The auditor over this store, which tells `findings` what it finds and rests for `rest_ms` after each round.
    pub fn auditor(&self, findings: Arc<Findings>, rest_ms: i64) -> Auditor {
        Auditor {
            shared: Arc::clone(&self.shared),
            findings,
            slice_of: SLICE,
            rest_ms,
            rest_until: Time(i64::MIN),
            slice: 0,
            round: Round::default(),
            sweep: None,
        }
    }
}

impl Auditor {
    /// Goes on by about `facts` facts. An error of the disk is nothing that it says anything about: the next step tries again.
    pub fn step(&mut self, facts: u32, now: Time) -> Result<(), ReadError> {
        if now < self.rest_until {
            return Ok(());
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.go(i64::from(facts), now)));
        stepped.unwrap_or_else(|_| {
            // The panic itself has been reported by the panic hook.
            let at = self.sweep.take().map_or(0, |sweep| sweep.position());
            self.found_in_journal(now, format!("the auditor failed on the facts from {at} on"));
            self.rest(now);
            Ok(())
        })
    }

    /// How long it has nothing to do.
    pub fn rests_for(&self, now: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.rest_until.0.saturating_sub(now.0)).unwrap_or(0))
    }

    fn go(&mut self, mut left: i64, now: Time) -> Result<(), ReadError> {
        while left > 0 {
            let mut sweep = match self.sweep.take() {
                Some(sweep) => sweep,
                None => self.begin(),
            };
            let next = sweep.go(&self.shared, &self.findings, &mut left, now);
            match next {
                Ok(Next::More) => self.sweep = Some(sweep),
                Ok(Next::Wait) => {
                    self.sweep = Some(sweep);
                    return Ok(());
                }
                // What it began with has been cut from the journal.
                Ok(Next::Overtaken) => return Ok(()),
                Ok(Next::Done) => {
                    self.slice += 1;
                    if self.slice >= self.round.slices {
                        self.findings.round(now);
                        self.rest(now);
                        return Ok(());
                    }
                }
                Err(ReadError::Damaged { table, key, why }) => {
                    self.found_in_journal(now, format!("{table} row {key} is damaged: {why}"));
                    sweep.skip(&self.shared);
                    self.sweep = Some(sweep);
                }
                Err(error) => {
                    self.sweep = Some(sweep);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Sweep {
        let view = &self.shared.view;
        if self.slice == 0 {
            let until = view.durable_seq();
            let skus = view.keys().len();
            let shelves = view.shelf_names();
            let baskets: usize = shelves.iter().map(|w| view.reservation_count(w.as_str())).sum();
            self.round = Round {
                slices: skus.max(baskets).div_ceil(self.slice_of).max(1) as u32,
                skus: skus as u32,
                until,
            };
        }
        let Round { slices, skus, until } = self.round;
        let each = skus.div_ceil(slices);
        let range = (self.slice * each).min(skus)..((self.slice + 1) * each).min(skus);
        self.findings.sweep(self.slice, slices);
        Sweep::new(&self.shared, range, (self.slice, slices), until)
    }

    fn rest(&mut self, now: Time) {
        self.slice = 0;
        self.rest_until = now.plus_ms(self.rest_ms);
    }

    fn found_in_journal(&self, now: Time, detail: String) {
        self.findings.found(Finding {
            at: now,
            invariant: "replay",
            warehouse: String::new(),
            subject: "the journal".to_owned(),
            detail,
        });
    }
}
