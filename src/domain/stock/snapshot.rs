//! What another system believes. It moves nothing: the difference is drift, shown with the time since which it has lasted.
//! From a source that looks at the shelf (`authoritative`) it is a count, and `decide` treats it so.
//!
//! The alternative, to correct the book by every snapshot, was rejected: an ERP that computes would overwrite what the
//! shelf has shown.

use crate::domain::event::Event;
use crate::domain::fact::{Change, Changes};
use crate::domain::units::Time;

use super::{Belief, Stock, late};

fn known<'a>(stock: &'a Stock, event: &Event) -> Option<&'a Belief> {
    let lot = event.lot.as_ref().map(|lot| &lot.id);
    let beliefs = &stock.rare.as_ref()?.beliefs;
    beliefs
        .iter()
        .find(|belief| belief.source == event.origin.source && belief.lot.as_ref() == lot)
}

/// Whether the source has told a newer belief. Where it numbers its events, the numbers decide, and not the time.
pub(super) fn stale(stock: &Stock, event: &Event, at: Time) -> bool {
    event.stream.is_none() && known(stock, event).is_some_and(|belief| at < belief.at)
}

/// The belief, beside what stood on the node's book at its time.
pub(super) fn snapshot(stock: &Stock, event: &Event, believes: i64, at: Time) -> Changes {
    let book = match &event.lot {
        Some(lot) => late::stood(stock, &lot.id, at),
        None => stock
            .lots
            .iter()
            .fold(0, |sum: i64, lot| sum.saturating_add(late::stood(stock, &lot.id, at))),
    };
    let since = (believes != book).then(|| known(stock, event).and_then(|belief| belief.since).unwrap_or(at));
    Changes::from_iter([Change::Belief(Box::new(Belief {
        source: event.origin.source.clone(),
        lot: event.lot.as_ref().map(|lot| lot.id.clone()),
        believes,
        book,
        at,
        since,
    }))])
}
