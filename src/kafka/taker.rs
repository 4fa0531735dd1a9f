//! What becomes of a batch of messages: each has its effect or is a dead letter, and with the last of it the place after it is written.

use std::sync::Arc;

use crate::actors::node::{Node, Verdict};
use crate::domain::refusal::Refusal;
use crate::ingress::admission::Valve;
use crate::planted::{self, Bug};
use crate::storage::append::Position;

use super::In;
use super::taken::Batch;

/// Takes the batches of one class of topics.
pub(super) struct Taker {
    pub(super) node: Node,
    pub(super) heavy: bool,
    pub(super) ins: Arc<[In]>,
    /// The most rows and bytes of one message.
    pub(super) limits: (usize, usize),
    pub(super) valve: Valve,
}

impl Taker {
    /// One try of the whole batch: what was taken by an earlier one is a duplicate.
    pub(super) async fn once(&self, batch: &Arc<Batch>, positions: &[Position]) -> Result<(), Refusal> {
        let mut decoded = batch.decode(&self.node, &self.ins, self.limits);
        let events = std::mem::take(&mut decoded.events);
        if planted::is(Bug::PlaceAhead) {
            self.node.reached(positions.to_vec()).await?;
        }
        if planted::is(Bug::LetterSkipped) {
            decoded.letters.clear();
        }
        let mut permit = self.valve.permit();
        match self.heavy {
            true => permit.take_heavy_events(events.len())?,
            false => permit.take_events(events.len())?,
        }
        // What needs a letter first must not have its place written before.
        let reach = if decoded.letters.is_empty() {
            positions.to_vec()
        } else {
            Vec::new()
        };
        let (verdicts, written) = match events.is_empty() {
            true => (Vec::new(), false),
            false => {
                let bearer = batch.bearer(&decoded, &self.ins, self.limits.1);
                let judged = self.node.events_reaching(events, Some(Box::new(permit)), reach, Some(bearer));
                judged.await
            }
        };
        tally(&verdicts);
        batch.tell_poison(&decoded, &verdicts, &self.ins);
        for verdict in &verdicts {
            if let Verdict::NotJudged(refusal) = verdict {
                return Err(Refusal::clone(refusal));
            }
        }
        let mut letters = batch.refused(&decoded, &verdicts, &self.ins, self.limits.1);
        letters.append(&mut decoded.letters);
        match (letters.is_empty(), written) {
            (true, true) => Ok(()),
            (true, false) => self.node.reached(positions.to_vec()).await,
            (false, _) => {
                metrics::counter!("shelfd_kafka_in_letters_total").increment(letters.len() as u64);
                self.node.keep_letters(letters, positions.to_vec()).await
            }
        }
    }
}

/// Counts verdicts as the HTTP door does.
fn tally(verdicts: &[Verdict]) {
    let mut words: Vec<(&'static str, u64)> = Vec::new();
    for verdict in verdicts {
        let word = match verdict {
            Verdict::Judged { duplicate: true, .. } => "duplicate",
            Verdict::Judged { outcome, .. } => outcome.word(),
            Verdict::NotJudged(_) => "not_judged",
        };
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => words.push((word, 1)),
        }
    }
    for (word, count) in words {
        metrics::counter!("shelfd_events_total", "verdict" => word).increment(count);
    }
}
