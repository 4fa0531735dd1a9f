//! What the auditor has found and how far it is, for `status` and the metrics: read by anybody, at any time.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::domain::units::Time;

/// The most findings that are kept one by one; more are counted and logged.
const KEPT: usize = 100;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When it was found last.
    pub at: Time,
    /// The invariant, by its name in `stock.md`.
    pub invariant: &'static str,
    /// The warehouse; empty when it is none's.
    pub warehouse: String,
    /// The SKU, or `reservation …`, or the journal.
    pub subject: String,
    /// What was seen, in words.
    pub detail: String,
}

/// How far the auditor is, and what it has found since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rounds completed: each has folded the whole journal and compared everything.
    pub rounds: u64,
    /// When the last of them was completed.
    pub last_round: Option<Time>,
    /// The slice of the SKUs that is looked at, from 1.
    pub slice: u32,
    /// How many there are.
    pub slices: u32,
    /// The journal has been read up to this sequence for this slice.
    pub seq: u64,
    /// Facts read, over all sweeps.
    pub facts: u64,
    /// States of SKUs compared.
    pub skus: u64,
    /// Different findings, those not listed included.
    pub found: u64,
    /// The first hundred of them, in the order of warehouse and subject.
    pub findings: Vec<Finding>,
}

#[derive(Default)]
struct Inner {
    report: Report,
    /// By warehouse, subject and invariant: the finding, and the round in which it was logged.
    findings: BTreeMap<(String, String, &'static str), (Finding, u64)>,
}

/// See the module.
#[derive(Default)]
pub struct Findings(Mutex<Inner>);

impl Findings {
    /// What is known now.
    pub fn report(&self) -> Report {
        let inner = self.0.lock();
        let mut report = inner.report.clone();
        report.findings = inner.findings.values().map(|(finding, _)| finding.clone()).collect();
        report
    }

    /// Tells a finding: it is logged once a round for as long as it is found.
    pub(super) fn found(&self, finding: Finding) {
        let mut inner = self.0.lock();
        let round = inner.report.rounds;
        let key = (finding.warehouse.clone(), finding.subject.clone(), finding.invariant);
        let known = inner.findings.get(&key).map(|(_, logged)| *logged);
        if known == Some(round) {
            return;
        }
        tracing::error!(
            invariant = finding.invariant,
            warehouse = finding.warehouse,
            subject = finding.subject,
            detail = finding.detail,
            "the auditor found what must not be; sales go on, and somebody has to look"
        );
        if known.is_none() {
            inner.report.found += 1;
        }
        if known.is_some() || inner.findings.len() < KEPT {
            inner.findings.insert(key, (finding, round));
        }
    }

    pub(super) fn read(&self, facts: u64, seq: u64) {
        let report = &mut self.0.lock().report;
        report.facts += facts;
        report.seq = seq;
    }

    pub(super) fn compared(&self, skus: u64) {
        self.0.lock().report.skus += skus;
    }

    pub(super) fn sweep(&self, slice: u32, slices: u32) {
        let report = &mut self.0.lock().report;
        (report.slice, report.slices, report.seq) = (slice + 1, slices, 0);
    }

    pub(super) fn round(&self, now: Time) {
        let report = &mut self.0.lock().report;
        report.rounds += 1;
        report.last_round = Some(now);
    }
}
