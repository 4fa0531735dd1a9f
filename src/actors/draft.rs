//! Facts being put together for one journal message.

use std::sync::Arc;

use ractor::ActorRef;

use super::answers::{Completion, Heard, Marks, Plain, Reply, Settled};
use super::batch::Ticket;
use super::shared::Shared;
use super::warehouse;
use crate::domain::event::{Event, Origin};
use crate::domain::fact::{After, Changes, Outcome};
use crate::domain::reservation::Reservation;
use crate::domain::units::{Id, Time};
use crate::planted::{self, Bug};
use crate::storage::append::{self, Append, Fold, Folded, SkuIndex};
use crate::storage::codec::{FactParts, Memory, SubjectRef, encode_fact};

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

/// About as many bytes as a fact has.
const USUAL_FACT_BYTES: usize = 192;

/// A place in a draft.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    facts: usize,
    replies: usize,
    plain: usize,
    batches: usize,
    ids: usize,
    baskets: usize,
}

/// See the module.
pub struct Draft {
    warehouse: Id,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    folds: Vec<Folded>,
    replies: Vec<Reply>,
    plain: Vec<Plain>,
    /// Whose the plain rows are: each batch with the end of its rows.
    batches: Vec<(Arc<Ticket>, usize)>,
    ids: Vec<u64>,
    baskets: Vec<Id>,
    frees: Vec<Id>,
    stated: Option<Arc<dyn append::Mark>>,
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
            plain: Vec::new(),
            batches: Vec::new(),
            ids: Vec::new(),
            baskets: Vec::new(),
            frees: Vec::new(),
            stated: None,
        }
    }

    /// A place that is written with it, whatever else waits.
    pub fn states(&mut self, mark: Arc<dyn append::Mark>) {
        self.stated = Some(mark);
    }

    /// Makes room for so many facts more, so that a batch's vectors are not copied as they grow.
    pub fn reserve(&mut self, facts: usize) {
        self.bytes.reserve(facts * USUAL_FACT_BYTES);
        self.ends.reserve(facts);
        self.folds.reserve(facts);
        self.plain.reserve(facts);
        self.ids.reserve(facts);
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
        self.push(folded)
    }

    /// Adds a reservation's fact. The facts of its lines follow, and [`Draft::lines_follow`] says how many.
    pub fn reservation(&mut self, what: &str, business: Time, recorded: Time, origin: &Origin, after: &Arc<Reservation>) {
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
            reservation: Arc::clone(after),
            lines: 0,
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

    /// All facts after the newest one of a reservation are of its lines: they are seen together with it, or not at all.
    pub fn lines_follow(&mut self) {
        let reservation = |folded: &Folded| matches!(folded.fold, Fold::Reservation { .. });
        if let Some(place) = self.folds.iter().rposition(reservation) {
            let following = (self.folds.len() - place - 1) as u32;
            if let Fold::Reservation { lines, .. } = &mut self.folds[place].fold {
                *lines = following;
            }
        }
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

    /// Adds a row's verdict, said when its fact, the `index`th here, is durable.
    pub fn verdict(
        &mut self,
        ticket: &Arc<Ticket>,
        row: u32,
        index: u32,
        outcome: Outcome,
        version: u64,
        follow: Option<Box<Event>>,
    ) {
        let plain = follow.is_none() && outcome == Outcome::APPLIED;
        if !outcome.binds() && ticket.reaches() {
            ticket.spoil();
        }
        if !plain {
            return self.replies.push(Reply::Row {
                ticket: ticket.clone(),
                row,
                index,
                outcome,
                version,
                follow,
            });
        }
        self.plain.push(Plain { row, index, version });
        match self.batches.last_mut() {
            Some((last, end)) if Arc::ptr_eq(last, ticket) => *end = self.plain.len(),
            _ => self.batches.push((ticket.clone(), self.plain.len())),
        }
    }

    /// Where it stands, to come back to when a decision panics half-way.
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            facts: self.ends.len(),
            replies: self.replies.len(),
            plain: self.plain.len(),
            batches: self.batches.len(),
            ids: self.ids.len(),
            baskets: self.baskets.len(),
        }
    }

    /// Forgets all that was added since the mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.ends.truncate(mark.facts);
        self.folds.truncate(mark.facts);
        self.replies.truncate(mark.replies);
        self.plain.truncate(mark.plain);
        self.batches.truncate(mark.batches);
        if let Some((_, end)) = self.batches.last_mut() {
            *end = mark.plain;
        }
        self.ids.truncate(mark.ids);
        self.baskets.truncate(mark.baskets);
    }

    /// A reservation whose next command may go on once this is durable.
    pub fn frees(&mut self, id: Id) {
        self.frees.push(id);
    }

    /// An id that is no longer in flight once this is done.
    pub fn settles(&mut self, id: u64) {
        self.ids.push(id);
    }

    /// What changes for its warehouse when it is durable.
    pub fn take_marks(&mut self) -> Marks {
        Marks {
            ids: std::mem::take(&mut self.ids),
            baskets: std::mem::take(&mut self.baskets),
            frees: std::mem::take(&mut self.frees),
        }
    }

    /// How many bytes of facts it has.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Sends a SKU's draft to the journal; its warehouse is told when it is durable.
    pub fn send_of_sku(mut self, shared: &Arc<Shared>, epoch: u64, sku: SkuIndex, warehouse: ActorRef<warehouse::Msg>) {
        let settled = Settled {
            epoch,
            sku,
            ids: std::mem::take(&mut self.ids),
        };
        self.send(shared, epoch, Heard::Sku(warehouse, settled));
    }

    /// Sends it to the journal.
    pub fn send(mut self, shared: &Arc<Shared>, epoch: u64, heard: Heard) {
        if self.is_empty() {
            return;
        }
        if planted::is(Bug::BasketInTwo) && self.ends.len() > 1 && matches!(self.folds[0].fold, Fold::Reservation { .. }) {
            self.send_the_first_alone(shared, epoch);
        }
        let done = Completion {
            replies: self.replies,
            plain: self.plain,
            batches: self.batches,
            stated: self.stated,
            heard,
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

/// See [`Bug::BasketInTwo`].
impl Draft {
    fn send_the_first_alone(&mut self, shared: &Arc<Shared>, epoch: u64) {
        let rest = self.bytes.split_off(self.ends[0] as usize);
        let mut first = Draft::new(self.warehouse.clone());
        first.bytes = std::mem::replace(&mut self.bytes, rest);
        let end = self.ends.remove(0);
        self.ends.iter_mut().for_each(|later| *later -= end);
        first.ends.push(end);
        first.folds.push(self.folds.remove(0));
        first.send(shared, epoch, Heard::Nobody);
    }
}

/// What of an outcome people ask for.
fn noted(outcome: &Outcome) -> Option<Outcome> {
    match outcome {
        Outcome::Applied { .. } => None,
        other => Some(other.clone()),
    }
}
