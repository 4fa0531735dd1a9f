//! What a broker's consumer asks of the node: events whose place in their topic is written with them, and messages that cannot
//! be taken, kept as dead letters.
//!
//! A message's dead letter is a fact like any other (its journal row is the letter), and the place after the message is written
//! in the same commit: so a letter is neither lost nor written twice. A table of raw messages beside the journal was rejected: it
//! would be a second truth with a retention of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::answers::{Heard, Reply};
use super::batch::{Bearer, Held, Reach, not_durable};
use super::draft::Draft;
use super::node::{Node, Underway, Verdict, lost};
use super::once::origin;
use crate::domain::event::{Event, Origin};
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::domain::units::{Id, Time};
use crate::storage::append::{Fold, Mark, Position};
use crate::storage::codec::{FactParts, Memory, SubjectRef};
use crate::storage::known::Known;
use crate::storage::remembered;

/// What a fact about a letter says it did when it is the letter itself.
pub const RECEIVED: &str = "received";

/// A message that cannot be taken.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Under which source it is told.
    pub source: Id,
    /// Which message of that source it is: its topic's place, and a fingerprint of it.
    pub id: Id,
    /// Why: a code, and after a colon the words.
    pub error: Box<str>,
    /// Its `traceparent`.
    pub trace: Option<TraceParent>,
    /// The message as JSON, whole enough to be taken again.
    pub payload: Box<str>,
}

/// Positions that are written with the letters, whatever else waits.
struct Stated(Vec<Position>);

impl Mark for Stated {
    fn completes(&self, _: usize) -> bool {
        true
    }
    fn positions(&self) -> &[Position] {
        &self.0
    }
    fn written(&self) {}
}

impl Node {
    /// As [`Node::judged`]; `positions` is where their topics go on, written in the commit that completes the last of them.
    /// Says whether it was: not when one was refused or not judged, nor when there was nothing left to commit. `bearer` tells the
    /// message of a row, for its dead letter.
    pub async fn events_reaching(
        &self,
        events: Vec<Event>,
        held: Held,
        positions: Vec<Position>,
        bearer: Option<Bearer>,
    ) -> (Vec<Verdict>, bool) {
        if let Err(refusal) = self.room() {
            return (vec![Verdict::NotJudged(refusal.into()); events.len()], false);
        }
        let _inside = Underway::new(&self.inflight, events.len() as u32);
        let reach = Reach::to(positions, bearer);
        self.router.events_reaching(events.into(), held, reach).await
    }

    /// Writes positions by themselves.
    pub async fn reached(&self, positions: Vec<Position>) -> Result<(), Refusal> {
        let written = self.store().set_positions(positions).await;
        written.map_err(|failure| not_durable(&failure))
    }

    /// Keeps messages as dead letters, and writes `positions` in the same commit. A message that is kept already is not kept again.
    pub async fn keep_letters(&self, letters: Vec<Letter>, positions: Vec<Position>) -> Result<(), Refusal> {
        self.room()?;
        let mut new = Vec::with_capacity(letters.len());
        for letter in letters {
            let hash = remembered::hash("", letter.source.as_str(), letter.id.as_str());
            let known = self.store().known(hash, &Id::no_lot(), &letter.source, &letter.id);
            match known.map_err(|error| Refusal::new(Code::Overloaded, error.to_string()))? {
                Known::Nothing => new.push((letter, hash)),
                Known::Fact(_) | Known::Gone { .. } => {}
            }
        }
        if new.is_empty() {
            return self.reached(positions).await;
        }
        let (reply, answer) = oneshot::channel();
        let mut draft = Draft::new(Id::no_lot());
        let now = self.now();
        for (letter, hash) in &new {
            self.write_letter(&mut draft, letter, *hash, now);
        }
        draft.states(Arc::new(Stated(positions)));
        draft.reply(Reply::Setting(reply, Ok(0)));
        let shared = self.shared();
        draft.send(shared, shared.journal.epoch(), Heard::Nobody);
        answer.await.unwrap_or_else(|_| Err(lost()))?;
        shared.counters.dead_letters.fetch_add(new.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write_letter(&self, draft: &mut Draft, letter: &Letter, hash: u64, now: Time) {
        let said = Origin {
            trace: letter.trace.clone(),
            ..origin(letter.source.as_str(), letter.id.clone())
        };
        let outcome = Outcome::DeadLetter {
            error: letter.error.clone(),
        };
        let fold = Fold::DeadLetter {
            letter: 0,
            action: RECEIVED.into(),
        };
        let parts = FactParts {
            warehouse: "",
            what: "message",
            business: now,
            recorded: now,
            origin: &said,
            outcome: &outcome,
            payload: Some(&letter.payload),
            subject: SubjectRef::DeadLetter {
                letter: 0,
                action: RECEIVED,
            },
            memory: Memory {
                id: true,
                ..Memory::default()
            },
        };
        draft.other(fold, now, Some(hash), parts);
    }
}
