//! Who hears that a journal message is durable, and what they are told.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::batch::{Held, Ticket, Verdict, not_durable};
use super::warehouse::Inbox;
use super::{forwarder, warehouse};
use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::Refusal;
use crate::domain::reservation::Reservation;
use crate::domain::units::Id;
use crate::storage::append::{CommitFailure, Done, Mark, SkuIndex};

/// What became of a reservation command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasketAnswer {
    /// The basket as it is now.
    pub reservation: Arc<Reservation>,
    /// Whether it is new (201), or was there before (200).
    pub created: bool,
}

/// Why a reservation command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// It was refused, or could not be made durable.
    Refused(Refusal),
    /// The node fails on it; it is kept as a dead letter.
    Dead {
        /// The letter's sequence.
        letter: u64,
        /// What the decider died with.
        error: Box<str>,
    },
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> CommandError {
        CommandError::Refused(refusal)
    }
}

/// Who waits for a reservation command.
pub type BasketReply = oneshot::Sender<Result<BasketAnswer, CommandError>>;
/// Who waits for a setting: the sequence of its fact.
pub type SettingReply = oneshot::Sender<Result<u64, Refusal>>;

/// What is said when the facts are durable.
pub enum Reply {
    /// A row's verdict; `index` is its fact's place in the draft.
    Row {
        /// The batch.
        ticket: Arc<Ticket>,
        /// The row.
        row: u32,
        /// Place of its fact.
        index: u32,
        /// What came of it.
        outcome: Outcome,
        /// The SKU's version after it.
        version: u64,
        /// What the other warehouse of a transfer must be told first.
        follow: Option<Box<Event>>,
    },
    /// A reservation command's answer, good or bad.
    Basket(BasketReply, Result<BasketAnswer, Refusal>),
    /// A reservation command is a dead letter: the place of its fact, and what the decider died with.
    Buried(BasketReply, u32, Box<str>),
    /// A setting's answer; the place of its fact, or why not.
    Setting(SettingReply, Result<u32, Refusal>),
    /// The sequence of the draft's first fact; and what is held until it is durable.
    Rows(SettingReply, Held),
}

/// A row whose verdict is a plain `applied`: most are, and sixteen bytes say it.
pub(super) struct Plain {
    pub(super) row: u32,
    pub(super) index: u32,
    pub(super) version: u64,
}

/// What a warehouse keeps of a draft that it has sent, until that is durable.
#[derive(Debug, Default)]
pub struct Marks {
    /// Ids in flight.
    pub ids: Vec<u64>,
    /// Reservations with facts in it.
    pub baskets: Vec<Id>,
    /// Reservations whose next command may go on then.
    pub frees: Vec<Id>,
}

/// Who hears that a journal message is durable. After a failure the whole epoch is rolled back, and the warehouse hears of that
/// instead; one that has died is rebuilt from the view, and needs no telling.
pub enum Heard {
    /// The warehouse that sent it, by the message's number.
    Warehouse(Arc<Inbox>, ActorRef<warehouse::Msg>, u64),
    /// The warehouse of the SKU that sent it.
    Sku(ActorRef<warehouse::Msg>, Settled),
    /// Nobody.
    Nobody,
}

/// What a warehouse hears when a journal message of one of its SKUs is durable.
#[derive(Debug)]
pub struct Settled {
    /// The epoch in which it was decided.
    pub epoch: u64,
    /// The SKU.
    pub sku: SkuIndex,
    /// Ids no longer in flight.
    pub ids: Vec<u64>,
}

/// What is done when the journal has answered.
pub(super) struct Completion {
    pub(super) replies: Vec<Reply>,
    pub(super) plain: Vec<Plain>,
    pub(super) batches: Vec<(Arc<Ticket>, usize)>,
    /// A place that is written with it.
    pub(super) stated: Option<Arc<dyn Mark>>,
    pub(super) heard: Heard,
    pub(super) forwarder: Arc<ArcSwapOption<ActorRef<forwarder::Msg>>>,
}

impl Done for Completion {
    fn marks(&self, each: &mut dyn FnMut(Arc<dyn Mark>, usize)) {
        if let Some(mark) = &self.stated {
            each(mark.clone(), 0);
        }
        let mut start = 0;
        for (ticket, end) in &self.batches {
            if ticket.reaches() {
                each(ticket.batch(), end - start);
            }
            start = *end;
        }
        for reply in &self.replies {
            // What waits for another warehouse is answered later, and its batch is not complete before.
            if let Reply::Row {
                ticket, follow: None, ..
            } = reply
                && ticket.reaches()
            {
                each(ticket.batch(), 1);
            }
        }
    }

    fn done(self: Box<Self>, result: Result<u64, CommitFailure>) {
        let this = *self;
        let mut start = 0;
        for (ticket, end) in &this.batches {
            let rows = &this.plain[start..*end];
            start = *end;
            match &result {
                Ok(first) => ticket.applied(
                    rows.iter()
                        .map(|plain| (plain.row, first + u64::from(plain.index), plain.version)),
                ),
                Err(failure) => {
                    let refusal = not_durable(failure);
                    rows.iter()
                        .for_each(|plain| ticket.answer(plain.row, Verdict::NotJudged(refusal.clone().into())));
                }
            }
        }
        drop(this.batches);
        for reply in this.replies {
            match &result {
                Ok(first) => say(reply, *first, &this.forwarder),
                Err(failure) => say_not(reply, failure),
            }
        }
        match this.heard {
            Heard::Warehouse(inbox, warehouse, number) if result.is_ok() => inbox.durable(number, &warehouse),
            Heard::Sku(warehouse, settled) if result.is_ok() => drop(warehouse.cast(warehouse::Msg::Settled(settled))),
            _ => {}
        }
    }
}

fn say(reply: Reply, first: u64, forwarder: &ArcSwapOption<ActorRef<forwarder::Msg>>) {
    match reply {
        Reply::Row {
            ticket,
            row,
            index,
            outcome,
            version,
            follow,
        } => {
            let verdict = Verdict::Judged {
                outcome,
                seq: first + u64::from(index),
                version,
                duplicate: false,
            };
            let Some(event) = follow else {
                return ticket.answer(row, verdict);
            };
            let told = forwarder::Msg::Tell(forwarder::Told {
                event,
                answer: Some(forwarder::Answer::new(ticket, row, verdict)),
            });
            // Asked for now, when it is durable: one that is not there yet reads the journal up to here when it is. What nobody
            // hears is dropped, and answered with that.
            if let Some(forwarder) = forwarder.load().as_deref() {
                let _ = forwarder.cast(told);
            }
        }
        // A caller that has gone away does not change what happened.
        Reply::Basket(to, answer) => drop(to.send(answer.map_err(CommandError::Refused))),
        Reply::Buried(to, index, error) => {
            let letter = first + u64::from(index);
            drop(to.send(Err(CommandError::Dead { letter, error })));
        }
        Reply::Setting(to, answer) => drop(to.send(answer.map(|index| first + u64::from(index)))),
        Reply::Rows(to, _) => drop(to.send(Ok(first))),
    }
}

fn say_not(reply: Reply, failure: &CommitFailure) {
    match reply {
        Reply::Row { ticket, row, .. } => ticket.answer(row, Verdict::NotJudged(not_durable(failure).into())),
        Reply::Basket(to, _) | Reply::Buried(to, ..) => drop(to.send(Err(not_durable(failure).into()))),
        Reply::Setting(to, _) | Reply::Rows(to, _) => drop(to.send(Err(not_durable(failure)))),
    }
}
