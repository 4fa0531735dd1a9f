//! The older rows of a book: chunks, each of which has the one before it, shared by the book and its copies.
//!
//! Who adds rows copies the newest chunk at most, and who changes an old one copies those from it on. One list was what came before: each
//! of two books that share it copied all of it when it added to it.

use std::cmp::Ordering;
use std::sync::Arc;

use super::row::Row;

/// So many rows a chunk has as a rule.
const CHUNK: usize = 64;

/// Some neighbouring rows, and all before them. Never empty.
#[derive(Clone)]
pub(super) struct Chunk {
    rows: Vec<Row>,
    before: Option<Arc<Chunk>>,
    /// The first row of all: to find it at the end of the chain would cost a wait for memory at each chunk.
    oldest: Row,
}

/// The rows, of which there may be none.
#[derive(Clone, Default)]
pub(super) struct Older(Option<Arc<Chunk>>);

impl Older {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn oldest(&self) -> Option<Row> {
        self.0.as_ref().map(|chunk| chunk.oldest)
    }

    pub(super) fn newest(&self) -> Option<Row> {
        self.0.as_ref()?.rows.last().copied()
    }

    /// The chunks, the newest first; each has its rows by age.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[Row]> {
        let chunks = std::iter::successors(self.0.as_deref(), |chunk| chunk.before.as_deref());
        chunks.map(|chunk| &chunk.rows[..])
    }

    /// How many books have the newest chunk.
    pub(super) fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }

    /// Adds rows that are newer than all.
    pub(super) fn append(&mut self, rows: &[Row]) {
        let Some(&first) = rows.first() else { return };
        let Some(chunk) = self.0.as_mut().filter(|chunk| chunk.rows.len() + rows.len() <= CHUNK) else {
            let before = self.0.take();
            let oldest = before.as_ref().map_or(first, |before| before.oldest);
            let rows = rows.to_vec();
            self.0 = Some(Arc::new(Chunk { rows, before, oldest }));
            return;
        };
        if let Some(own) = Arc::get_mut(chunk) {
            // A list that doubles would be half empty, with every busy SKU.
            own.rows.reserve_exact(rows.len());
            own.rows.extend_from_slice(rows);
            return;
        }
        let mut all = Vec::with_capacity(chunk.rows.len() + rows.len());
        all.extend_from_slice(&chunk.rows);
        all.extend_from_slice(rows);
        *chunk = Arc::new(Chunk {
            rows: all,
            before: chunk.before.clone(),
            oldest: chunk.oldest,
        });
    }

    /// Changes the rows at the place that `order` finds, where there is a row that is equal or where it would stand.
    pub(super) fn change(&mut self, order: &impl Fn(&Row) -> Ordering, change: impl FnOnce(&mut Vec<Row>, Result<usize, usize>)) {
        let Some(chunk) = self.0.as_mut().map(Arc::make_mut) else {
            return;
        };
        if chunk.before.is_some() && order(&chunk.rows[0]).is_gt() {
            let mut before = Older(chunk.before.take());
            before.change(order, change);
            chunk.before = before.0;
        } else {
            let place = chunk.rows.binary_search_by(order);
            change(&mut chunk.rows, place);
        }
        match (chunk.rows.first(), &chunk.before) {
            (_, Some(before)) if !chunk.rows.is_empty() => chunk.oldest = before.oldest,
            (Some(first), _) => chunk.oldest = *first,
            (None, _) => self.0 = chunk.before.take(),
        }
    }
}
