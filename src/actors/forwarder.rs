//! Tells the receiving warehouse of goods that have left for it, when both are this node's.
//!
//! Owns: the cursor up to which all transfers were told. Receives: one message for each `transfer_out` that became durable.
//! Sends: the event `underway` to the other warehouse, known there by the sending event's id, so that telling it twice is
//! telling it once. Dies when: its own code panics; its successor reads the journal from the cursor on. Invariant: the cursor
//! never passes a transfer that was not told. (A transaction over both warehouses was rejected: two actors would have to wait
//! for each other.)

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::batch::{Ticket, Verdict};
use super::desk;
use super::router::Router;
use crate::domain::event::Event;

/// The name of its cursor in the store.
pub const CURSOR: &str = "transfers";
/// Facts read at a time while catching up.
const PAGE: usize = 1_000;

/// What it is told.
pub enum Msg {
    /// Goods have left.
    Tell {
        /// What the other warehouse must hear.
        event: Box<Event>,
        /// The sequence of the `transfer_out`.
        seq: u64,
        /// Who is answered when it has heard.
        answer: Option<(Arc<Ticket>, u32, Verdict)>,
    },
}

/// See the module.
pub struct Forwarder;

/// What it keeps.
pub struct State {
    router: Router,
}

impl Actor for Forwarder {
    type Msg = Msg;
    type State = State;
    type Arguments = Router;

    async fn pre_start(&self, myself: ActorRef<Msg>, router: Router) -> Result<State, ActorProcessingErr> {
        let mut from = router.shared.store.cursor(CURSOR)?.unwrap_or(0) + 1;
        loop {
            let facts = router.shared.store.facts(from, PAGE)?;
            let Some(last) = facts.last() else { break };
            from = last.seq + 1;
            for fact in &facts {
                if let Some(event) = desk::underway_of(fact) {
                    myself.cast(Msg::Tell {
                        event,
                        seq: fact.seq,
                        answer: None,
                    })?;
                }
            }
        }
        Ok(State { router })
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let Msg::Tell { event, seq, mut answer } = message;
        let mut wait = Duration::from_millis(20);
        loop {
            let verdicts = state.router.events(vec![Event::clone(&event)]).await;
            // What was sent is durable whatever the other side says now.
            if let Some((ticket, row, verdict)) = answer.take() {
                ticket.answer(row, verdict);
            }
            match verdicts.into_iter().next() {
                Some(Verdict::NotJudged(refusal)) => {
                    tracing::warn!(%refusal, transfer_seq = seq, "the receiving warehouse could not be told yet");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                Some(Verdict::Judged { outcome, .. }) if !outcome.binds() => {
                    tracing::error!(
                        ?outcome,
                        transfer_seq = seq,
                        "the receiving warehouse refused goods that have left"
                    );
                    break;
                }
                _ => break,
            }
        }
        state.router.shared.store.set_cursor(CURSOR, seq);
        Ok(())
    }
}
