//! Facts being put together for one journal message, and the completion that answers for them.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::batch::{Held, Ticket, Verdict, not_durable};
use super::shared::Shared;
use super::{forwarder, warehouse};
use crate::domain::event::{Event, Origin};
use crate::domain::fact::{After, Changes, Outcome};
use crate::domain::refusal::Refusal;
use crate::domain::reservation::Reservation;
use crate::domain::units::{Id, Time};
use crate::storage::append::{Append, CommitFailure, Done, Fold, Folded, SkuIndex};
use crate::storage::codec::{FactParts, Memory, SubjectRef, encode_fact};

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

impl Reply {
    /// The same, when its draft's facts stand behind so many others.
    fn behind(mut self, facts: u32) -> Reply {
        match &mut self {
            Reply::Row { index, .. } | Reply::Buried(_, index, _) | Reply::Setting(_, Ok(index)) => *index += facts,
            Reply::Basket(..) | Reply::Setting(_, Err(_)) | Reply::Rows(..) => {}
        }
        self
    }
}

/// One SKU fact, borrowed from wherever it was decided.
pub struct SkuFact<'a> {
    /// The SKU's id …
    pub sku: &'a Id,
    /// … and its index.
    pub index: SkuIndex,
    /// Its version after the fact.
    pub version: u64,
    /// What was done.
    pub what: &'a str,
    /// Business time.
    pub business: Time,
    /// Stamp.
    pub recorded: Time,
    /// Who said it.
    pub origin: &'a Origin,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What changes.
    pub changes: Changes,
    /// The figures after it.
    pub after: After,
    /// The event as JSON, for a dead letter.
    pub payload: Option<&'a str>,
    /// The id to remember.
    pub id: Option<u64>,
    /// The id of the event that it voids.
    pub voids: Option<u64>,
    /// Whether the id is kept for ever.
    pub keep_forever: bool,
}

/// A place in a draft.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    facts: usize,
    replies: usize,
    skus: usize,
    ids: usize,
}

/// See the module.
pub struct Draft {
    warehouse: Id,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    folds: Vec<Folded>,
    replies: Vec<Reply>,
    skus: Vec<SkuIndex>,
    ids: Vec<u64>,
    baskets: Vec<Id>,
    frees: Vec<Id>,
}

impl Draft {
    /// Nothing yet.
    pub fn new(warehouse: Id) -> Draft {
        Draft {
            warehouse,
            bytes: Vec::new(),
            ends: Vec::new(),
            folds: Vec::new(),
            replies: Vec::new(),
            skus: Vec::new(),
            ids: Vec::new(),
            baskets: Vec::new(),
            frees: Vec::new(),
        }
    }

    /// Whether nobody waits for it and nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.replies.is_empty()
    }

    /// Adds a SKU's fact and returns its place.
    pub fn sku(&mut self, fact: SkuFact<'_>) -> u32 {
        let parts = FactParts {
            warehouse: self.warehouse.as_str(),
            what: fact.what,
            business: fact.business,
            recorded: fact.recorded,
            origin: fact.origin,
            outcome: fact.outcome,
            payload: fact.payload,
            subject: SubjectRef::Sku {
                sku: fact.sku.as_str(),
                version: fact.version,
                changes: &fact.changes,
                after: &fact.after,
            },
            memory: Memory {
                id: fact.id.is_some(),
                voids: fact.voids,
                keep_forever: fact.keep_forever,
            },
        };
        encode_fact(&mut self.bytes, parts);
        let noted = noted(fact.outcome);
        let fold = Fold::Sku {
            sku: fact.index,
            version: fact.version,
            changes: fact.changes,
            business: fact.business,
        };
        let folded = Folded {
            fold,
            recorded: fact.recorded,
            id: fact.id,
            voids: fact.voids,
            keep_forever: fact.keep_forever,
            noted,
        };
        if self.skus.last() != Some(&fact.index) {
            self.skus.push(fact.index);
        }
        self.push(folded)
    }

    /// Adds a reservation's fact.
    pub fn reservation(&mut self, what: &str, business: Time, recorded: Time, origin: &Origin, after: &Reservation) {
        let parts = FactParts {
            warehouse: self.warehouse.as_str(),
            what,
            business,
            recorded,
            origin,
            outcome: &Outcome::APPLIED,
            payload: None,
            subject: SubjectRef::Reservation(after),
            memory: Memory::default(),
        };
        encode_fact(&mut self.bytes, parts);
        self.baskets.push(after.id.clone());
        let fold = Fold::Reservation {
            warehouse: self.warehouse.clone(),
            reservation: Box::new(after.clone()),
        };
        self.push(Folded {
            fold,
            recorded,
            id: None,
            voids: None,
            keep_forever: false,
            noted: None,
        });
    }

    /// Adds a fact about something else than a SKU or a reservation, described by the caller.
    /// `id`: the hash to remember, as [`FactParts::memory`] says it too.
    pub fn other(&mut self, fold: Fold, recorded: Time, id: Option<u64>, parts: FactParts<'_>) -> u32 {
        encode_fact(&mut self.bytes, parts);
        self.push(Folded {
            fold,
            recorded,
            id,
            voids: None,
            keep_forever: false,
            noted: noted(parts.outcome),
        })
    }

    fn push(&mut self, folded: Folded) -> u32 {
        self.ends.push(self.bytes.len() as u32);
        self.folds.push(folded);
        self.ends.len() as u32 - 1
    }

    /// Adds what is said when it is durable.
    pub fn reply(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    /// Where it stands, to come back to when a decision panics half-way.
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            facts: self.ends.len(),
            replies: self.replies.len(),
            skus: self.skus.len(),
            ids: self.ids.len(),
        }
    }

    /// Forgets all that was added since the mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.ends.truncate(mark.facts);
        self.folds.truncate(mark.facts);
        self.replies.truncate(mark.replies);
        self.skus.truncate(mark.skus);
        self.ids.truncate(mark.ids);
    }

    /// The SKUs of its facts, each as often as it will be reported settled.
    pub fn touched(&self) -> &[SkuIndex] {
        &self.skus
    }

    /// Adds all of another draft of the same warehouse behind this one's, as one atomic unit.
    pub fn append(&mut self, other: Draft) {
        let (bytes, facts) = (self.bytes.len() as u32, self.ends.len() as u32);
        self.bytes.extend(other.bytes);
        self.ends.extend(other.ends.into_iter().map(|end| bytes + end));
        self.folds.extend(other.folds);
        self.replies
            .extend(other.replies.into_iter().map(|reply| reply.behind(facts)));
        self.skus.extend(other.skus);
        self.ids.extend(other.ids);
        self.baskets.extend(other.baskets);
        self.frees.extend(other.frees);
    }

    /// A reservation whose next command may go on once this is durable.
    pub fn frees(&mut self, id: Id) {
        self.frees.push(id);
    }

    /// An id that is no longer in flight once this is done.
    pub fn settles(&mut self, id: u64) {
        self.ids.push(id);
    }

    /// Sends it to the journal. `back` hears when it is durable.
    pub fn send(self, shared: &Arc<Shared>, epoch: u64, back: Option<ActorRef<warehouse::Msg>>) {
        if self.is_empty() {
            return;
        }
        let settled = Settled {
            epoch,
            skus: self.skus,
            ids: self.ids,
            baskets: self.baskets,
            frees: self.frees,
        };
        let done = Completion {
            replies: self.replies,
            settled,
            back,
            forwarder: shared.forwarder.clone(),
        };
        shared.journal.append(Append {
            epoch,
            bytes: self.bytes,
            ends: self.ends,
            folds: self.folds,
            done: Box::new(done),
        });
    }
}

/// What a warehouse hears when one of its journal messages is durable.
#[derive(Debug)]
pub struct Settled {
    /// The epoch in which it was decided.
    pub epoch: u64,
    /// The SKUs with one message less in flight.
    pub skus: Vec<SkuIndex>,
    /// Ids no longer in flight.
    pub ids: Vec<u64>,
    /// Reservations with one fact less in flight.
    pub baskets: Vec<Id>,
    /// Reservations whose next command may go on.
    pub frees: Vec<Id>,
}

/// What of an outcome people ask for.
fn noted(outcome: &Outcome) -> Option<Outcome> {
    match outcome {
        Outcome::Applied { .. } => None,
        other => Some(other.clone()),
    }
}

struct Completion {
    replies: Vec<Reply>,
    settled: Settled,
    back: Option<ActorRef<warehouse::Msg>>,
    forwarder: Arc<ArcSwapOption<ActorRef<forwarder::Msg>>>,
}

impl Done for Completion {
    fn done(self: Box<Self>, result: Result<u64, CommitFailure>) {
        let this = *self;
        for reply in this.replies {
            match &result {
                Ok(first) => say(reply, *first, &this.forwarder),
                Err(failure) => say_not(reply, failure),
            }
        }
        // After a failure the whole epoch is rolled back, and the warehouse hears of that instead.
        if let (Ok(_), Some(back)) = (&result, this.back) {
            // A warehouse that has died is rebuilt from the view, and needs no telling.
            let _ = back.cast(warehouse::Msg::Settled(this.settled));
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
                answer: Some((ticket, row, verdict)),
            });
            // Asked for now, when it is durable: one that is not there yet reads the journal up to here when it is.
            let unheard = match forwarder.load().as_deref() {
                Some(forwarder) => match forwarder.cast(told) {
                    Err(ractor::MessagingErr::SendErr(told)) => Some(told),
                    _ => None,
                },
                None => Some(told),
            };
            if let Some(forwarder::Msg::Tell(forwarder::Told {
                answer: Some((ticket, row, verdict)),
                ..
            })) = unheard
            {
                ticket.answer(row, verdict);
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
        Reply::Row { ticket, row, .. } => ticket.answer(row, Verdict::NotJudged(not_durable(failure))),
        Reply::Basket(to, _) | Reply::Buried(to, ..) => drop(to.send(Err(not_durable(failure).into()))),
        Reply::Setting(to, _) | Reply::Rows(to, _) => drop(to.send(Err(not_durable(failure)))),
    }
}
