//! Rows that are refused before any warehouse has seen them: recorded like every other refusal, and answered when that is durable.
//!
//! A row that cannot be read belongs to nobody's stock, so no actor judges it: all of one request go to the journal as one message
//! of facts that change nothing. Those that name a warehouse of this node stand in its ignored list, the others in the node's own.
//! Only counting them was rejected: whoever looks for a report that never arrived would find a number.
//!
//! A flood of garbage stays bounded: neighbours without an id that were refused in the same words are one fact that says how many,
//! and of the texts no more is kept than [`KEPT_ROW_BYTES`] of each fact and [`KEPT_BYTES`] of each request.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::answers::{Heard, Reply};
use super::batch::{Held, Ticket};
use super::draft::Draft;
use super::node::{Node, lost};
use super::once::origin;
use super::shared::Shared;
use crate::domain::event::Origin;
use crate::domain::fact::Outcome;
use crate::domain::refusal::Refusal;
pub use crate::domain::rejected::{KEPT_ROW_BYTES, Rejected};
use crate::domain::trace::TraceParent;
use crate::domain::units::{Id, Time};
use crate::storage::append::Fold;
use crate::storage::codec::{FactParts, Memory, SubjectRef};
use crate::storage::payload;

/// The most bytes of text that the facts of one request keep together.
pub const KEPT_BYTES: usize = 256 << 10;

impl Rejected {
    /// Whether two rows are told apart by nothing that could be read.
    fn is_like(&self, other: &Rejected) -> bool {
        let nameless = self.id.is_none() && other.id.is_none();
        nameless
            && self.refusal == other.refusal
            && (&self.warehouse, &self.source, &self.sku) == (&other.warehouse, &other.source, &other.sku)
    }
}

/// What of a request's texts may still be kept.
struct Room(usize);

impl Room {
    /// As much of the texts as may be kept, one a line; `None`: nothing.
    fn keep<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> Option<String> {
        let mut kept = String::new();
        for text in texts {
            let room = self.0.min(KEPT_ROW_BYTES).saturating_sub(kept.len() + 1);
            let cut = text.floor_char_boundary(room);
            if cut == 0 {
                break;
            }
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(&text[..cut]);
        }
        self.0 -= kept.len();
        (!kept.is_empty()).then_some(kept)
    }
}

/// One fact of refused rows, added to a draft; its place there.
fn put(draft: &mut Draft, now: Time, row: &Rejected, rows: u32, text: Option<&str>, trace: Option<&TraceParent>) -> u32 {
    let warehouse = row.warehouse.clone().unwrap_or_else(Id::no_lot);
    let outcome = Outcome::Refused(row.refusal.clone());
    let id = |text: &Option<Box<str>>| text.as_deref().map_or_else(Id::no_lot, Id::trusted);
    let origin = Origin {
        trace: trace.cloned(),
        ..origin(row.source.as_deref().unwrap_or_default(), id(&row.id))
    };
    let parts = FactParts {
        warehouse: warehouse.as_str(),
        what: row.what,
        business: now,
        recorded: now,
        origin: &origin,
        outcome: &outcome,
        payload: text,
        subject: SubjectRef::Row {
            sku: row.sku.as_deref(),
            rows,
        },
        memory: Memory::default(),
    };
    let fold = Fold::Noted {
        warehouse: warehouse.clone(),
    };
    draft.other(fold, now, None, parts)
}

/// Records rows of a batch that have no room for their SKU, and answers them when that is durable.
pub(super) fn no_room(shared: &Arc<Shared>, ticket: &Arc<Ticket>, rows: Vec<(u32, Refusal)>) {
    let (now, mut room) = (shared.clock.now(), Room(KEPT_BYTES));
    let mut draft = Draft::new(Id::no_lot());
    for (row, refusal) in rows {
        let event = ticket.event(row);
        let rejected = Rejected {
            id: Some(event.origin.id.as_str().into()),
            source: Some(event.origin.source.as_str().into()),
            warehouse: Some(event.warehouse.clone()),
            sku: Some(event.sku.as_str().into()),
            what: event.what.word(),
            text: None,
            refusal: Box::new(refusal),
        };
        let text = (room.0 > 0).then(|| payload::render(event));
        let text = room.keep(text.as_deref().into_iter());
        let index = put(&mut draft, now, &rejected, 1, text.as_deref(), event.origin.trace.as_ref());
        draft.verdict(ticket, row, index, Outcome::Refused(rejected.refusal), 0, None);
    }
    draft.send(shared, shared.journal.epoch(), Heard::Nobody);
}

impl Node {
    /// Records rows refused at the door, all in one message; gives the sequence of each one's fact when they are durable.
    /// `held` is let go then, and not before, also when the caller has gone.
    pub async fn record_refused<'r>(
        &self,
        rows: impl Iterator<Item = &'r Rejected>,
        trace: Option<&TraceParent>,
        held: impl FnOnce() -> Held,
    ) -> Result<Vec<u64>, Refusal> {
        let rows: Vec<&Rejected> = rows.collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.room()?;
        let (shared, mut room) = (self.shared(), Room(KEPT_BYTES));
        let now = shared.clock.now();
        let mut draft = Draft::new(Id::no_lot());
        let mut places = Vec::with_capacity(rows.len());
        for like in rows.chunk_by(|a, b| a.is_like(b)) {
            let text = room.keep(like.iter().filter_map(|row| row.text.as_deref()));
            let index = put(&mut draft, now, like[0], like.len() as u32, text.as_deref(), trace);
            places.extend(like.iter().map(|_| u64::from(index)));
        }
        let (reply, answer) = oneshot::channel();
        draft.reply(Reply::Rows(reply, held()));
        draft.send(shared, shared.journal.epoch(), Heard::Nobody);
        let first = answer.await.unwrap_or_else(|_| Err(lost()))?;
        Ok(places.into_iter().map(|place| first + place).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::refusal::Code;

    #[test]
    fn of_a_requests_texts_only_so_much_is_kept() {
        let mut room = Room(10_000);
        let long = "ы".repeat(3_000);
        let first = room.keep([long.as_str()].into_iter()).unwrap();
        assert_eq!(first.len(), 4_094, "cut between two characters");
        assert_eq!(room.keep(["{", "}"].into_iter()).as_deref(), Some("{\n}"));
        assert_eq!(room.keep([long.as_str()].into_iter()).map(|kept| kept.len()), Some(4_094));
        assert_eq!(room.keep([long.as_str()].into_iter()).map(|kept| kept.len()), Some(1_808));
        assert_eq!(room.keep([long.as_str()].into_iter()), None);
    }

    #[test]
    fn rows_that_have_an_id_are_never_lumped_together() {
        let nameless = Rejected::from(Refusal::new(Code::MalformedRow, "the row is not JSON"));
        assert!(nameless.is_like(&nameless));
        let named = Rejected {
            id: Some("e-1".into()),
            ..nameless.clone()
        };
        assert!(!named.is_like(&named) && !named.is_like(&nameless));
    }
}
