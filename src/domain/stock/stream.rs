//! Numbered streams: a source may number its events, judged per (source, stream, warehouse, SKU, lot). An absolute figure
//! older than the newest applied is stale; gaps are counted and shown.
//!
//! The alternative, to hold events back until the gap before them is filled, was rejected: a lost number would then stop a
//! SKU for ever, and movements need no order.

use crate::domain::event::{Event, What};
use crate::domain::fact::Change;

use super::{Stock, StreamMark};

/// Whether an event tells how much there is, rather than what moved.
pub(super) fn absolute(what: &What) -> bool {
    matches!(what, What::Count { .. } | What::Snapshot { .. })
}

fn mark<'a>(stock: &'a Stock, event: &Event) -> Option<&'a StreamMark> {
    let position = event.stream.as_ref()?;
    let lot = event.lot.as_ref().map(|lot| &lot.id);
    stock
        .rare
        .as_ref()?
        .streams
        .iter()
        .find(|mark| mark.source == event.origin.source && mark.stream == position.stream && mark.lot.as_ref() == lot)
}

/// Whether an absolute figure is older, by its number, than the newest of its stream that was applied.
pub(super) fn stale(stock: &Stock, event: &Event) -> bool {
    let Some(position) = &event.stream else {
        return false;
    };
    absolute(&event.what) && mark(stock, event).is_some_and(|mark| position.seq < mark.newest_absolute)
}

/// Where the stream stands after this event; `None` when the event carries no number, or nothing moves on. A number below
/// the highest fills a gap. The first number of a stream is its start: what was before it is no gap.
pub(super) fn moved_on(stock: &Stock, event: &Event, applied: bool) -> Option<Change> {
    let position = event.stream.as_ref()?;
    let seq = position.seq;
    let known = mark(stock, event);
    let (mut newest, mut newest_absolute, mut gaps) =
        known.map_or((seq, 0, 0), |mark| (mark.newest, mark.newest_absolute, mark.gaps));
    if seq > newest {
        gaps = gaps.saturating_add(seq - newest - 1);
        newest = seq;
    } else if seq < newest {
        gaps = gaps.saturating_sub(1);
    }
    if applied && absolute(&event.what) {
        newest_absolute = newest_absolute.max(seq);
    }
    let same = |mark: &StreamMark| (mark.newest, mark.newest_absolute, mark.gaps) == (newest, newest_absolute, gaps);
    if known.is_some_and(same) {
        return None;
    }
    Some(Change::Stream(Box::new(StreamMark {
        source: event.origin.source.clone(),
        stream: position.stream.clone(),
        lot: event.lot.as_ref().map(|lot| lot.id.clone()),
        newest,
        newest_absolute,
        gaps,
    })))
}
