//! The older rows of a book: chunks, each of which has the one before it, shared by the book and its copies.
//!
//! Who adds rows copies the newest chunk at most, and who changes an old one copies those from it on. One list was what came before: each
//! of two books that share it copied all of it when it added to it.

use std::cmp::Ordering;
use std::sync::Arc;

use super::row::Row;

/// So many rows a chunk has as a rule.
const CHUNK: usize = 64;

/// Room for so many more rows is made at a time.
const MORE: usize = 16;

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

/// One after the other: a damaged file may give a chain that is longer than a thread's stack is deep.
impl Drop for Chunk {
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(mut chunk) = before.and_then(Arc::into_inner) {
            before = chunk.before.take();
        }
    }
}

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
            if own.rows.capacity() < own.rows.len() + rows.len() {
                // A list that doubles would be half empty, with every busy SKU.
                own.rows.reserve_exact(MORE);
            }
            own.rows.extend_from_slice(rows);
            return;
        }
        let mut all = Vec::with_capacity(CHUNK.min(chunk.rows.len() + MORE));
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
        let (mut newer, mut next, mut rest) = (Vec::new(), self.0.take(), None);
        while let Some(mut chunk) = next.take() {
            let own = Arc::make_mut(&mut chunk);
            if own.before.is_some() && order(&own.rows[0]).is_gt() {
                next = own.before.take();
                newer.push(chunk);
                continue;
            }
            let place = own.rows.binary_search_by(order);
            change(&mut own.rows, place);
            rest = own.before.take();
            newer.push(chunk);
            break;
        }
        // What is changed is this book's own by now, and is chained again without a copy.
        while let Some(mut chunk) = newer.pop() {
            let own = Arc::make_mut(&mut chunk);
            let Some(&first) = own.rows.first() else { continue };
            own.oldest = rest.as_ref().map_or(first, |before| before.oldest);
            own.before = rest;
            rest = Some(chunk);
        }
        self.0 = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(places: std::ops::Range<usize>) -> Vec<Row> {
        places.map(Row::wide).collect()
    }

    fn places(older: &Older) -> Vec<usize> {
        let mut chunks: Vec<&[Row]> = older.chunks().collect();
        chunks.reverse();
        chunks.concat().iter().filter_map(|row| row.place()).collect()
    }

    /// The two who add to what they share, a working copy and the view, pay for the newest chunk and not for a day of rows.
    #[test]
    fn who_adds_to_shared_rows_copies_the_newest_chunk_at_most() {
        let mut here = Older::default();
        (0..40).for_each(|four| here.append(&rows(4 * four..4 * four + 4)));
        let mut there = here.clone();
        here.append(&rows(160..164));
        there.append(&rows(260..264));
        let of_both =
            |chunk: usize| here.chunks().nth(chunk).map(<[Row]>::as_ptr) == there.chunks().nth(chunk).map(<[Row]>::as_ptr);
        assert_eq!([of_both(0), of_both(1), of_both(2)], [false, true, true]);
        assert!(places(&here).into_iter().eq(0..164));
        assert!(places(&there).into_iter().eq((0..160).chain(260..264)));
        assert_eq!(here.oldest().and_then(Row::place), Some(0));
    }

    #[test]
    fn a_chain_may_be_longer_than_a_stack_is_deep() {
        let mut older = Older::default();
        let chunk = rows(0..CHUNK);
        (0..200_000).for_each(|_| older.append(&chunk));
        older.change(&|row: &Row| row.place().cmp(&Some(0)).then(Ordering::Greater), |rows, _| {
            rows.remove(0);
        });
        assert_eq!(older.chunks().map(<[Row]>::len).sum::<usize>(), 200_000 * CHUNK - 1);
        assert_eq!(older.oldest().and_then(Row::place), Some(1));
        drop(older);
    }

    /// A late event changes old rows of one book: its copy keeps them as they were.
    #[test]
    fn an_old_row_changes_for_one_book_only_and_a_chunk_without_rows_is_none() {
        let mut here = Older::default();
        (0..40).for_each(|four| here.append(&rows(4 * four..4 * four + 4)));
        let there = here.clone();
        for gone in 0..70 {
            here.change(&|row: &Row| row.place().cmp(&Some(gone)), |rows, place| {
                rows.remove(place.unwrap());
            });
        }
        assert!(places(&here).into_iter().eq(70..160));
        assert_eq!(here.oldest().and_then(Row::place), Some(70));
        assert!(places(&there).into_iter().eq(0..160));
    }
}
