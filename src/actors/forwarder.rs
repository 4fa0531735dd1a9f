//! Tells the receiving warehouse of goods that have left for it, when both are this node's.
//!
//! Owns: the cursor up to which all transfers were told. Receives: one message for each `transfer_out` that became durable.
//! Sends: the event `underway` to the other warehouse, known there by the sending event's id, so that telling it twice is
//! telling it once; what came while the last ones were told is the next batch. Dies when: its own code panics; its successor
//! reads the journal from the cursor on. Invariant: the cursor never passes a transfer that was not told, and does not stay
//! behind when there is none: retention waits for it. (A transaction over both warehouses was rejected: two actors would have
//! to wait for each other.)

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::batch::{Ticket, Verdict};
use super::desk;
use super::router::Router;
use crate::domain::event::Event;
use crate::doom;
use crate::host;
use crate::planted::{self, Bug};
use crate::storage::database::ReadError;
use crate::storage::store::Store;

/// The name of its cursor in the store.
pub const CURSOR: &str = "transfers";
/// Facts read at a time while catching up.
const PAGE: usize = 1_000;
/// How often the cursor moves.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest wait before a warehouse that could not be told is told again.
const WAIT: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(5)];

/// Goods that have left.
pub struct Told {
    /// What the other warehouse must hear.
    pub event: Box<Event>,
    /// Answered when it has heard.
    pub answer: Option<Answer>,
}

/// The answer to whoever sent the goods. It is given when this is dropped, however that comes: what was sent is durable, and a
/// forwarder that dies with it in its hands leaves the telling to its successor. (To wait for the ticket's last holder is not
/// enough: the warehouse of an awake SKU holds it until every row is answered.)
pub struct Answer {
    ticket: Arc<Ticket>,
    row: u32,
    verdict: Option<Verdict>,
}

impl Answer {
    /// That row's verdict.
    pub fn new(ticket: Arc<Ticket>, row: u32, verdict: Verdict) -> Answer {
        let verdict = Some(verdict);
        Answer { ticket, row, verdict }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(verdict) = self.verdict.take() {
            self.ticket.answer(self.row, verdict);
        }
    }
}

/// What it is told.
pub enum Msg {
    /// Goods have left.
    Tell(Told),
    /// Tell what has come.
    Go,
    /// Look how far the journal is.
    Look,
    /// All that was durable up to this sequence has come.
    Passed(u64),
}

/// See the module.
pub struct Forwarder;

/// What it keeps.
pub struct State {
    router: Router,
    /// What has come and was not told, in order; not empty: `Go` is on its way.
    waiting: Vec<Told>,
    wait: Duration,
    cursor: u64,
    /// The epoch up to which nothing can have become durable without its being told.
    epoch: u64,
}

impl Actor for Forwarder {
    type Msg = Msg;
    type State = State;
    type Arguments = Router;

    async fn pre_start(&self, myself: ActorRef<Msg>, router: Router) -> Result<State, ActorProcessingErr> {
        // First known, then reading: what becomes durable in between comes twice, and never not at all.
        router.shared.forwarder.store(Some(Arc::new(myself.clone())));
        let cursor = router.shared.store.cursor(CURSOR)?.unwrap_or(0);
        let mut state = State {
            router,
            waiting: Vec::new(),
            wait: WAIT[0],
            cursor,
            epoch: 0,
        };
        state.read_again(&myself).await?;
        myself.send_interval(MOVE_EVERY, || Msg::Look);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Tell(told) => {
                if state.waiting.is_empty() {
                    myself.cast(Msg::Go)?;
                }
                state.waiting.push(told);
            }
            Msg::Go => {
                if let Some(wait) = state.on_go().await {
                    myself.send_after(wait, || Msg::Go);
                }
            }
            Msg::Look => state.on_look(&myself).await?,
            Msg::Passed(seq) => state.on_passed(seq),
        }
        Ok(())
    }
}

/// What lies above the cursor.
fn untold(store: &Store, cursor: u64) -> Result<Vec<Event>, ReadError> {
    let mut from = (cursor + 1).max(store.floor());
    let mut events = Vec::new();
    loop {
        let facts = store.facts(from, PAGE)?;
        let Some(last) = facts.last() else { break };
        from = last.seq + 1;
        events.extend(facts.iter().filter_map(desk::underway_of).map(|event| *event));
    }
    Ok(events)
}

impl State {
    async fn on_look(&mut self, myself: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let journal = &self.router.shared.journal;
        // In this order: what is told of by nobody raises the epoch before it counts as durable.
        let durable = *journal.durable().borrow();
        if journal.epoch() != self.epoch
            && let Err(error) = self.read_again(myself).await
        {
            tracing::warn!(%error, "the journal cannot be read again yet; transfers are told again later");
            return Ok(());
        }
        // What became durable before is in the mailbox already, so this comes after it.
        Ok(myself.cast(Msg::Passed(durable))?)
    }

    /// Tells itself what the journal has above the cursor: at the start, and after a failure of the disk, when something may
    /// have landed that was answered as lost.
    async fn read_again(&mut self, myself: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let (epoch, mut cursor) = (self.router.shared.journal.epoch(), self.cursor);
        if planted::is(Bug::TransfersForgotten) {
            cursor = self.router.shared.store.view().durable_seq();
        }
        let store = self.router.shared.store.clone();
        for event in host::blocking(move || untold(&store, cursor)).await?? {
            let event = Box::new(event);
            myself.cast(Msg::Tell(Told { event, answer: None }))?;
        }
        self.epoch = epoch;
        Ok(())
    }

    /// Tells all that waits; the wait before the next try, when a warehouse could not be told.
    async fn on_go(&mut self) -> Option<Duration> {
        let mut batch = std::mem::take(&mut self.waiting);
        let events = batch.iter().map(|told| Event::clone(&told.event)).collect();
        let verdicts = self.router.events(events, None).await;
        doom::may_die("forwarder");
        // What was sent is durable whatever the other side says now.
        for told in &mut batch {
            told.answer = None;
        }
        let not_yet = verdicts.iter().position(|verdict| matches!(verdict, Verdict::NotJudged(_)));
        for (told, verdict) in batch.iter().zip(&verdicts).take(not_yet.unwrap_or(batch.len())) {
            if let Verdict::Judged { outcome, .. } = verdict
                && !outcome.binds()
            {
                tracing::error!(?outcome, event = %told.event.origin.id, "the receiving warehouse refused goods that have left");
            }
        }
        let Some(first) = not_yet else {
            self.wait = WAIT[0];
            return None;
        };
        if let Verdict::NotJudged(refusal) = &verdicts[first] {
            tracing::warn!(%refusal, "the receiving warehouse could not be told yet");
        }
        // From there on all again, so that they come in order; whoever has heard already hears a duplicate.
        self.waiting = batch.split_off(first);
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT[1]);
        Some(wait)
    }

    fn on_passed(&mut self, seq: u64) {
        let seq = seq + u64::from(planted::is(Bug::CursorSkips));
        if self.waiting.is_empty() && seq > self.cursor {
            self.router.shared.store.set_cursor(CURSOR, seq);
            self.cursor = seq;
        }
    }
}
