//! The older rows of a book: chunks, each of which has the one before it, shared by the book and its copies.
//!
//! Who adds rows copies the newest chunk at most, and who changes an old one copies those from it on. One list was what came before: each
//! of two books that share it copied all of it when it added to it. A chunk that is full is packed ([`super::packed`]).

use std::cmp::Ordering;
use std::sync::Arc;

use smallvec::SmallVec;

use super::packed::{self, CHUNK, Unpacked};
use super::row::Row;

/// Room for so many more rows is made at a time.
const MORE: usize = 16;

#[derive(Clone)]
enum Rows {
    Open(Vec<Row>),
    Packed(Box<[u8]>),
}

/// Some neighbouring rows, and all before them. Never empty.
#[derive(Clone)]
struct Chunk {
    rows: Rows,
    before: Option<Arc<Chunk>>,
    first: Row,
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

impl Chunk {
    fn rows(&self) -> Unpacked {
        match &self.rows {
            Rows::Open(rows) => SmallVec::from_slice(rows),
            Rows::Packed(bytes) => packed::unpack(bytes),
        }
    }

    fn last(&self) -> Option<Row> {
        match &self.rows {
            Rows::Open(rows) => rows.last().copied(),
            Rows::Packed(_) => self.rows().last().copied(),
        }
    }

    fn count(&self) -> usize {
        match &self.rows {
            Rows::Open(rows) => rows.len(),
            Rows::Packed(bytes) => packed::count(bytes),
        }
    }

    fn has_room(&self, rows: usize) -> bool {
        matches!(&self.rows, Rows::Open(known) if known.len() + rows <= CHUNK)
    }

    /// A chunk of its own with more rows.
    fn with(&self, more: &[Row]) -> Chunk {
        let mut rows = Vec::with_capacity(CHUNK.min(self.count() + MORE));
        match &self.rows {
            Rows::Open(known) => rows.extend_from_slice(known),
            Rows::Packed(bytes) => rows.extend(packed::unpack(bytes)),
        }
        rows.extend_from_slice(more);
        Chunk {
            rows: Rows::Open(rows),
            before: self.before.clone(),
            ..*self
        }
    }

    /// Has these rows from now on, in the form that it had; there must be some.
    fn take(&mut self, rows: Vec<Row>) {
        self.first = rows[0];
        self.rows = match self.rows {
            Rows::Open(_) => Rows::Open(rows),
            Rows::Packed(_) => Rows::Packed(packed::pack(&rows)),
        };
    }
}

/// The chunk, packed.
fn sealed(mut chunk: Arc<Chunk>) -> Arc<Chunk> {
    let Rows::Open(rows) = &chunk.rows else { return chunk };
    let rows = Rows::Packed(packed::pack(rows));
    match Arc::get_mut(&mut chunk) {
        Some(own) => own.rows = rows,
        None => {
            let before = chunk.before.clone();
            chunk = Arc::new(Chunk { rows, before, ..*chunk });
        }
    }
    chunk
}

impl Older {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn oldest(&self) -> Option<Row> {
        self.0.as_ref().map(|chunk| chunk.oldest)
    }

    pub(super) fn newest(&self) -> Option<Row> {
        self.0.as_ref()?.last()
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        std::iter::successors(self.0.as_deref(), |chunk| chunk.before.as_deref())
    }

    /// The rows, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Row> {
        self.chunks().flat_map(|chunk| chunk.rows().into_iter().rev())
    }

    /// The rows, the oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = Row> {
        let mut chunks: SmallVec<[&Chunk; 16]> = self.chunks().collect();
        chunks.reverse();
        chunks.into_iter().flat_map(Chunk::rows)
    }

    /// The row that `order` finds equal.
    pub(super) fn find(&self, order: &impl Fn(&Row) -> Ordering) -> Option<Row> {
        let rows = self.chunks().find(|chunk| order(&chunk.first).is_le())?.rows();
        rows.binary_search_by(order).ok().map(|place| rows[place])
    }

    /// How many books have the newest chunk.
    pub(super) fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }

    /// Adds rows that are newer than all.
    pub(super) fn append(&mut self, rows: &[Row]) {
        let Some(&first) = rows.first() else { return };
        let Some(chunk) = self.0.as_mut().filter(|chunk| chunk.has_room(rows.len())) else {
            let before = self.0.take().map(sealed);
            let oldest = before.as_ref().map_or(first, |before| before.oldest);
            let rows = Rows::Open(rows.to_vec());
            self.0 = Some(Arc::new(Chunk {
                rows,
                before,
                first,
                oldest,
            }));
            return;
        };
        if let Some(Chunk {
            rows: Rows::Open(own), ..
        }) = Arc::get_mut(chunk)
        {
            if own.capacity() < own.len() + rows.len() {
                // A list that doubles would be half empty, with every busy SKU.
                own.reserve_exact(MORE);
            }
            own.extend_from_slice(rows);
        } else {
            *chunk = Arc::new(chunk.with(rows));
        }
    }

    /// Changes the rows at the place that `order` finds, where there is a row that is equal or where it would stand.
    pub(super) fn change(&mut self, order: &impl Fn(&Row) -> Ordering, change: impl FnOnce(&mut Vec<Row>, Result<usize, usize>)) {
        let (mut newer, mut next) = (Vec::new(), self.0.take());
        while let Some(mut chunk) = next.take() {
            let own = Arc::make_mut(&mut chunk);
            if own.before.is_some() && order(&own.first).is_gt() {
                next = own.before.take();
                newer.push(chunk);
                continue;
            }
            let mut rows = own.rows().into_vec();
            let place = rows.binary_search_by(order);
            change(&mut rows, place);
            let rest = own.before.take();
            let rest = if rows.is_empty() {
                rest
            } else {
                own.take(rows);
                Some(chained(chunk, rest))
            };
            self.0 = newer.into_iter().rev().fold(rest, |rest, chunk| Some(chained(chunk, rest)));
            return;
        }
    }

    /// Forgets the oldest rows, those that `is_old` says; says how many they were.
    pub(super) fn cut(&mut self, is_old: impl Fn(&Row) -> bool) -> usize {
        if !self.oldest().is_some_and(|oldest| is_old(&oldest)) {
            return 0;
        }
        let (mut kept, mut next, mut gone) = (Vec::new(), self.0.take(), 0);
        while let Some(mut chunk) = next {
            if !is_old(&chunk.first) {
                next = Arc::make_mut(&mut chunk).before.take();
                kept.push(chunk);
                continue;
            }
            gone += std::iter::successors(chunk.before.as_deref(), |chunk| chunk.before.as_deref())
                .map(Chunk::count)
                .sum::<usize>();
            let rows = chunk.rows();
            let old = rows.iter().take_while(|row| is_old(row)).count();
            gone += old;
            if old < rows.len() {
                let own = Arc::make_mut(&mut chunk);
                own.before = None;
                own.take(rows[old..].to_vec());
                kept.push(chunk);
            }
            break;
        }
        self.0 = kept.into_iter().rev().fold(None, |rest, chunk| Some(chained(chunk, rest)));
        gone
    }
}

/// The chunk with these before it.
fn chained(mut chunk: Arc<Chunk>, before: Option<Arc<Chunk>>) -> Arc<Chunk> {
    // Of whoever changes the chain these are its own by now: no copy is made.
    let own = Arc::make_mut(&mut chunk);
    own.oldest = before.as_ref().map_or(own.first, |before| before.oldest);
    own.before = before;
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(places: std::ops::Range<usize>) -> Vec<Row> {
        places.map(Row::wide).collect()
    }

    fn places(older: &Older) -> Vec<usize> {
        let places: Vec<usize> = older.oldest_first().filter_map(Row::place).collect();
        let backwards = older.newest_first().filter_map(Row::place);
        assert!(backwards.eq(places.iter().rev().copied()));
        places
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
            |chunk: usize| here.chunks().nth(chunk).map(std::ptr::from_ref) == there.chunks().nth(chunk).map(std::ptr::from_ref);
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
        assert_eq!(older.chunks().map(Chunk::count).sum::<usize>(), 200_000 * CHUNK - 1);
        assert_eq!(older.oldest().and_then(Row::place), Some(1));
        drop(older);
    }

    /// Where the packed rows of each chunk lie, the newest first.
    fn packed_at(older: &Older) -> Vec<*const u8> {
        let bytes = |chunk: &Chunk| match &chunk.rows {
            Rows::Packed(bytes) => Some(bytes.as_ptr()),
            Rows::Open(_) => None,
        };
        older.chunks().filter_map(bytes).collect()
    }

    #[test]
    fn what_is_older_is_cut_off_within_one_chunk_and_the_newer_ones_stay_where_they_are() {
        let mut here = Older::default();
        (0..250).for_each(|four| here.append(&rows(4 * four..4 * four + 4)));
        let before = packed_at(&here);
        let is_before = |place: usize| move |row: &Row| row.place() < Some(place);
        assert_eq!(here.cut(is_before(0)), 0);
        assert_eq!(here.cut(is_before(700)), 700);
        let after = packed_at(&here);
        assert_eq!(after.len(), 5, "of fifteen, ten are gone");
        assert_eq!(after[..4], before[..4]);
        assert_eq!(here.oldest().and_then(Row::place), Some(700));
        let there = here.clone();
        assert_eq!(here.cut(is_before(990)), 290);
        assert!(places(&here).into_iter().eq(990..1_000));
        assert!(places(&there).into_iter().eq(700..1_000), "a copy keeps what it had");
        assert_eq!(here.cut(is_before(2_000)), 10);
        assert!(here.is_none());
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
