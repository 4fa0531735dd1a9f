//! Rows of batches: known already? in flight? then to their SKU's place.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::batch::{Ticket, Verdict};
use super::super::desk::{Prepared, VoidOf, matched_of};
use super::super::draft::SkuFact;
use super::super::shared::Sources;
use super::ops::{Operation, Work};
use super::place::Copy;
use super::sift::{NEAR, Sifted};
use super::{InFlight, State};
use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{Fact, Outcome};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, Time};
use crate::planted::{self, Bug};
use crate::storage::answered::Answered;
use crate::storage::append::SkuIndex;
use crate::storage::database::ReadError;
use crate::storage::known::Known as Memory;
use crate::storage::remembered::{Lookup, hash, voided_hash};

/// What the source of a dead letter that is sent in again begins with; the source that it came from follows.
pub const REPLAYED: &str = "dead-letter/";

/// Rows of one batch that are judged in one look: about two milliseconds, which is as long as a single sale waits for them.
const SLICE: u32 = 1_024;

impl State {
    /// Rows of a batch, as many as one look has time for; the others wait for the next look, behind what has come meanwhile.
    pub(super) fn on_events(&mut self, ticket: Arc<Ticket>, range: Range<u32>, now: Time, sources: &Sources) {
        let slice = range.start..range.end.min(range.start + SLICE);
        self.on_slice(&ticket, slice.clone(), now, sources);
        if slice.end < range.end {
            self.rest.push_back((ticket, slice.end..range.end));
        }
    }

    fn on_slice(&mut self, ticket: &Arc<Ticket>, range: Range<u32>, now: Time, sources: &Sources) {
        // With as much again where more waits: a draft that is long enough to be sent is of two slices or more.
        let more = self.draft.is_empty() && !self.rest.is_empty();
        self.draft.reserve(range.len() * if more { 2 } else { 1 });
        let rows = |range: Range<u32>| range.map(|at| (&**ticket, ticket.row_at(at)));
        let sifted = self.sift(rows(range.clone()));
        let mut at = range.start;
        let mut near = range.start;
        while at < range.end {
            if at >= near {
                near = range.end.min(at + NEAR as u32);
                self.bring(rows(at..near));
            }
            let sku = ticket.sku(ticket.row_at(at));
            let mut end = at + 1;
            while end < range.end && ticket.sku(ticket.row_at(end)) == sku {
                end += 1;
            }
            self.on_run(ticket, at..end, &sifted, (at - range.start) as usize, now, sources);
            at = end;
        }
        self.sifted = sifted;
    }

    /// One single event, whose id stands at a place among those sifted.
    pub(super) fn on_single(
        &mut self,
        (ticket, range): (&Arc<Ticket>, Range<u32>),
        (sifted, place): (&Sifted, usize),
        now: Time,
        sources: &Sources,
    ) {
        let sku = ticket.sku(ticket.row_at(range.start));
        self.on_run(ticket, range, sifted, place, now, sources);
        self.place(sku).heat += 1;
    }

    /// Rows of one SKU, whose ids stand among those sifted from a place on.
    fn on_run(&mut self, ticket: &Arc<Ticket>, run: Range<u32>, sifted: &Sifted, place: usize, now: Time, sources: &Sources) {
        let sku = ticket.sku(ticket.row_at(run.start));
        for (at, place) in run.zip(place..) {
            let (row, id) = (ticket.row_at(at), sifted.id(place));
            if !self.is_new(ticket, row, id, sifted.is_surely_new(place), now) {
                continue;
            }
            let Some(prepared) = self.prepare(ticket, row, id, now, sources) else {
                continue;
            };
            let basket = match &ticket.event(row).what {
                What::Sale { reservation, .. } => reservation.clone(),
                What::Void { .. } => matched_of(&prepared.voided).map(|(basket, _)| basket),
                _ => None,
            };
            if let Some(reservation) = basket {
                self.pass_on(sku, ticket);
                let work = Work::Sale {
                    ticket: ticket.clone(),
                    prepared: Box::new(prepared),
                    reservation,
                };
                self.begin(Operation::new(work, now, vec![sku]));
            } else {
                self.rows.push(prepared);
            }
        }
        self.pass_on(sku, ticket);
    }

    /// Passes the rows of the run on: decided here, sent to the SKU's actor, or queued behind what waits already.
    fn pass_on(&mut self, sku: SkuIndex, ticket: &Arc<Ticket>) {
        if self.rows.is_empty() {
            return;
        }
        let tuning = self.shared.tuning;
        let place = self.places.of(self.shared.store.view(), sku);
        if place.queue.is_empty() {
            place.bring_for(self.rows.len(), tuning.hand_over_rows);
        }
        match place.copy {
            Copy::Awake if place.queue.is_empty() => {
                let rows = std::mem::take(&mut self.rows);
                return self.forward(sku, ticket, rows);
            }
            Copy::Here(_) if place.queue.is_empty() => {
                if !place.decide(&self.desk, &mut self.draft, self.number, ticket, &mut self.rows) {
                    self.lost.push(sku);
                }
            }
            _ => place.wait(ticket, &mut self.rows),
        }
        if !place.queue.is_empty() || place.is_restless(tuning.wake_rate_per_s) {
            self.runnable.push(sku);
        }
    }

    /// Looks an id up, unless it is surely new: in flight, remembered, or new. A new one is in flight from here on; any other row is
    /// answered here, or waits for another.
    fn is_new(&mut self, ticket: &Arc<Ticket>, row: u32, id: u64, surely: bool, now: Time) -> bool {
        if planted::is(Bug::InFlightForgotten) {
            self.in_flight.remove(&id);
        }
        let place = match self.in_flight.entry(id) {
            Entry::Vacant(place) => place,
            Entry::Occupied(mut mark) => {
                mark.get_mut().copies.push((ticket.clone(), row));
                self.copies += 1;
                return false;
            }
        };
        // Nothing of this warehouse has become durable, and been forgotten here, since the ids were sifted.
        if surely {
            place.insert(InFlight::default());
            return true;
        }
        let event = ticket.event(row);
        let origin = &event.origin;
        match self.shared.store.known(id, &event.warehouse, &origin.source, &origin.id) {
            Ok(Memory::Nothing) => {
                place.insert(InFlight::default());
                return true;
            }
            Ok(Memory::Fact(fact)) => {
                let answered = Answered {
                    fingerprint: fact.origin.fingerprint,
                    version: version_of(&fact),
                    outcome: fact.outcome,
                };
                self.known_as(ticket, row, fact.seq, answered, now);
            }
            Ok(Memory::Gone { seq, answered }) => {
                // Of what was let go before answers were kept, it is only known that it was taken.
                let taken = || Answered {
                    fingerprint: event.origin.fingerprint,
                    version: 0,
                    outcome: Outcome::APPLIED,
                };
                self.known_as(ticket, row, seq, answered.unwrap_or_else(taken), now);
            }
            Err(error) => ticket.answer(row, Verdict::NotJudged(unreadable(&error).into())),
        }
        false
    }

    /// A row whose id is remembered: the same again is answered as the first time, and anything else is refused.
    fn known_as(&mut self, ticket: &Arc<Ticket>, row: u32, seq: u64, answered: Answered, now: Time) {
        let event = ticket.event(row);
        if answered.fingerprint != event.origin.fingerprint {
            let detail = format!(
                "source {} has used the id {} before with other content (sequence {seq}): give a new event a new id",
                event.origin.source, event.origin.id
            );
            self.refuse(ticket, row, now, Refusal::field(Code::IdReused, "/id", detail));
            return;
        }
        self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        self.shared.duplicates.push(event, seq, now);
        ticket.answer(
            row,
            Verdict::Judged {
                outcome: answered.outcome,
                seq,
                version: answered.version,
                duplicate: true,
            },
        );
    }

    fn prepare(&mut self, ticket: &Arc<Ticket>, row: u32, id: u64, now: Time, sources: &Sources) -> Option<Prepared> {
        let event = ticket.event(row);
        let policy = sources.policy(&event.origin.source);
        let mut prepared = Prepared {
            row,
            id,
            voids: None,
            now,
            today: self.today,
            policy,
            voided: VoidOf::Nothing,
        };
        let What::Void { event: voided } = &event.what else {
            return Some(prepared);
        };
        let mut original = event.origin.clone();
        original.id = voided.clone();
        // A dead letter that is replayed takes back what its own source had said.
        if let Some(source) = original.source.as_str().strip_prefix(REPLAYED) {
            original.source = Id::trusted(source);
        }
        let (warehouse, source) = (event.warehouse.as_str(), original.source.as_str());
        let (target, voids) = (
            hash(warehouse, source, voided.as_str()),
            voided_hash(warehouse, source, voided.as_str()),
        );
        for waits_for in [target, voids] {
            if waits_for != id
                && let Some(mark) = self.in_flight.get_mut(&waits_for)
            {
                mark.copies.push((ticket.clone(), row));
                self.copies += 1;
                self.in_flight.remove(&id);
                return None;
            }
        }
        prepared.voided = match self.void_of(event, &original, target, voids) {
            Ok(voided) => voided,
            Err(error) => {
                self.in_flight.remove(&id);
                ticket.answer(row, Verdict::NotJudged(unreadable(&error).into()));
                return None;
            }
        };
        prepared.voids = Some(voids);
        self.in_flight.insert(voids, InFlight::default());
        Some(prepared)
    }

    fn void_of(&self, event: &Event, original: &Origin, target: u64, voids: u64) -> Result<VoidOf, ReadError> {
        if let Lookup::At(_) = self.shared.store.lookup(voids)? {
            return Ok(VoidOf::Already);
        }
        Ok(
            match self
                .shared
                .store
                .known(target, &event.warehouse, &original.source, &original.id)?
            {
                Memory::Fact(fact) => VoidOf::Fact(fact),
                Memory::Nothing | Memory::Gone { .. } => VoidOf::Unknown,
            },
        )
    }

    /// An event that was on its way could not be judged: it may come again, and so may the copies that waited for it, which are answered
    /// the same, since nobody keeps their tickets.
    pub(super) fn not_judged(&mut self, ticket: &Ticket, prepared: &Prepared, error: &ReadError) {
        ticket.answer(prepared.row, Verdict::NotJudged(unreadable(error).into()));
        let ids = [Some(prepared.id), prepared.voids];
        self.landed(ids.into_iter().flatten().collect(), &mut Vec::new());
    }

    /// A refusal that needs no look at the stock: recorded, and answered when it is durable.
    pub(super) fn refuse(&mut self, ticket: &Arc<Ticket>, row: u32, now: Time, refusal: Refusal) {
        let (today, offer) = (self.today, Arc::clone(&self.desk.offer));
        let event = ticket.event(row);
        let sku = ticket.sku(row);
        let place = self.place(sku);
        // A copy that is elsewhere has newer figures; the view's are right for a fact that changes none.
        let (version, after) = match &place.copy {
            Copy::Here(stock) => (
                stock.as_ref().map_or(0, |stock| stock.version),
                offer.after(stock.as_ref(), today, now),
            ),
            _ => self.shared.store.view().read(sku, |stock, _| {
                let version = stock.map_or(0, |stock| stock.version);
                (version, offer.after(stock, today, now))
            }),
        };
        let outcome = Outcome::Refused(refusal.into());
        let index = self.draft.sku(SkuFact {
            sku: &event.sku,
            index: sku,
            version,
            what: event.what.word(),
            business: event.time.unwrap_or(now),
            recorded: now,
            origin: &event.origin,
            outcome: &outcome,
            changes: Default::default(),
            after,
            payload: None,
            id: None,
            voids: None,
            keep_forever: false,
        });
        self.draft.verdict(ticket, row, index, outcome, version, None);
    }

    /// Copies of ids that were in flight: now that these are durable, they are looked up like any other.
    pub(super) fn on_copies(&mut self, copies: Vec<(Arc<Ticket>, u32)>) {
        if copies.is_empty() {
            return;
        }
        let now = self.stamp();
        let sources = self.shared.sources.load_full();
        for (ticket, row) in copies {
            let at = ticket.place_of(row);
            let sifted = self.sift(std::iter::once((&*ticket, row)));
            self.on_run(&ticket, at..at + 1, &sifted, 0, now, &sources);
            self.sifted = sifted;
        }
    }

    /// An event that has killed its actor twice: a dead letter; its SKU goes on.
    pub(super) fn bury(&mut self, ticket: &Arc<Ticket>, prepared: &Prepared, error: &str) {
        self.shared.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        let mut stock = self.shared.store.view().stock(ticket.sku(prepared.row));
        let event = ticket.event(prepared.row);
        let decision = crate::domain::stock::Decision {
            outcome: Outcome::DeadLetter { error: error.into() },
            business: event.time.unwrap_or(prepared.now),
            changes: Default::default(),
            clock_ahead: false,
        };
        self.desk
            .conclude(&mut stock, ticket, prepared, decision, None, &mut self.draft);
    }
}

/// What is answered when the store has to be read, and cannot be.
pub(super) fn unreadable(error: &ReadError) -> Refusal {
    tracing::error!(%error, "the store could not be read");
    let detail = format!("the store could not be read ({error}): nothing was changed; send it again");
    Refusal::new(Code::Overloaded, detail)
}

fn version_of(fact: &Fact) -> u64 {
    match &fact.subject {
        crate::domain::fact::Subject::Sku { version, .. } => *version,
        _ => 0,
    }
}
