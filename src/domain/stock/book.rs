//! The recent book of one SKU: what moved, by business time and lot, in 8 bytes an entry.
//!
//! Nearly every entry has one figure, and it is small: then it stands in the row itself. What does not fit, an entry with several
//! figures, a large one or a time of another age, lies whole beside the rows; so does a lot's id. A hundred thousand SKUs with a day
//! of movements are the reason: as plain structures (a time, a shared id, three figures: 48 bytes) they took more than all else.
//! Deltas in one byte string would take half of it, and were rejected: each late event and each count would read it all.
//!
//! A book is copied each time its SKU gets a working copy, and a busy day's is 8 KiB. So all but the newest entries are shared by a
//! book and its copies, and who adds a newer entry writes it beside them; only who changes an older one pays for a copy.

mod row;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::domain::units::{Id, Time};

use row::{Base, Row};

/// What one event moved, kept for as long as a count may speak of an earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookEntry<'a> {
    /// Business time.
    pub at: Time,
    /// The lot.
    pub lot: &'a str,
    /// The event's own leg on sellable (negative: left).
    pub own: i64,
    /// Units found in sellable with it.
    pub found: i64,
    /// Units that a count set or a delivery repaid at that time: no event's leg, but needed to tell how a lot stood.
    pub set: i64,
}

/// An entry that no row has room for.
#[derive(Clone, Copy)]
struct Wide {
    at: Time,
    lot: u32,
    figures: [i64; 3],
}

/// What rows refer to.
#[derive(Clone, Default)]
struct Beside {
    lots: Vec<Id>,
    wide: Vec<Wide>,
}

/// See the module. Equal books have equal entries, however they are kept.
#[derive(Default)]
pub struct Book {
    /// The older rows, as they were when `rows` was last full.
    shared: Option<Arc<Vec<Row>>>,
    /// How many they are: every event asks, and would have to wait for their list.
    older: u32,
    /// From when the rows count their time.
    base: Base,
    /// The newer ones.
    rows: Vec<Row>,
    beside: Option<Box<Beside>>,
}

/// Whether any of the three is there. Compared as arrays they would be three words written and read back as one, for every event.
fn any(figures: [i64; 3]) -> bool {
    figures[0] | figures[1] | figures[2] != 0
}

/// What may lie beside the rows unused before it is tidied up.
const SLACK: usize = 8;

/// So many rows of its own has a book before they join the shared ones.
const OWN: usize = 64;

impl Clone for Book {
    /// With room for what a copy is made for: a few entries more.
    fn clone(&self) -> Book {
        let mut rows = Vec::new();
        if !self.is_empty() {
            rows.reserve_exact(self.rows.len() + 3);
            rows.extend_from_slice(&self.rows);
        }
        Book {
            shared: self.shared.clone(),
            older: self.older,
            base: self.base,
            rows,
            beside: self.beside.clone(),
        }
    }
}

impl Book {
    /// An empty book with room for exactly so many entries.
    pub fn with_room(entries: usize) -> Book {
        Book {
            rows: Vec::with_capacity(entries),
            ..Book::default()
        }
    }

    fn older(&self) -> &[Row] {
        self.shared.as_ref().map_or(&[], |rows| rows)
    }

    fn row_at(&self, place: usize) -> Option<&Row> {
        let older = self.older();
        older.get(place).or_else(|| self.rows.get(place - older.len()))
    }

    fn last(&self) -> Option<&Row> {
        self.rows.last().or_else(|| self.older().last())
    }

    /// Makes all rows the book's own.
    fn own_all(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut rows = Arc::try_unwrap(shared).unwrap_or_else(|shared| {
                let mut rows = Vec::with_capacity(shared.len() + self.rows.len() + 1);
                rows.extend_from_slice(&shared);
                rows
            });
            rows.append(&mut self.rows);
            self.rows = rows;
            self.older = 0;
        }
    }

    /// Adds a row behind all others.
    fn push(&mut self, row: Row) {
        if self.rows.len() >= OWN {
            self.share();
        }
        // Many SKUs have an entry or two for ever.
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(2);
        }
        self.rows.push(row);
    }

    /// Lets the book's own rows join the shared ones.
    fn share(&mut self) {
        self.older += self.rows.len() as u32;
        match self.shared.as_mut().map(Arc::get_mut) {
            Some(Some(shared)) => {
                // A list that doubles would be half empty, with every busy SKU.
                shared.reserve_exact(self.rows.len().max(shared.len() / 8));
                shared.append(&mut self.rows);
            }
            None => self.shared = Some(Arc::new(std::mem::take(&mut self.rows))),
            Some(None) => {
                // A copy has the shared ones too: this one gets some of its own, with room for those to come.
                let mut rows = Vec::with_capacity(self.older as usize + OWN);
                rows.extend_from_slice(self.older());
                rows.append(&mut self.rows);
                self.shared = Some(Arc::new(rows));
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Book::default();
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.older as usize + self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, by time and lot.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = BookEntry<'_>> + ExactSizeIterator {
        let older = self.older();
        (0..self.len()).map(move |place| self.entry(older.get(place).unwrap_or_else(|| &self.rows[place - older.len()])))
    }

    /// The entry at a place; 0: the oldest.
    pub fn get(&self, place: usize) -> Option<BookEntry<'_>> {
        self.row_at(place).map(|row| self.entry(row))
    }

    /// The time of the newest entry.
    pub fn newest(&self) -> Option<Time> {
        self.last().map(|row| self.at_of(row))
    }

    /// Looks at what a copy of the book reads: for whoever is to make many of them, as [`super::Stock::glance`].
    pub fn glance(&self) -> u64 {
        let holders = self.shared.as_ref().map_or(0, Arc::strong_count);
        self.newest().map_or(0, |newest| newest.0 as u64) ^ holders as u64
    }

    /// Whether at least so many entries are before a time: one entry is enough to tell.
    pub fn has_before(&self, entries: usize, time: Time) -> bool {
        let last = entries.checked_sub(1);
        last.is_none_or(|last| self.row_at(last).is_some_and(|row| self.at_of(row) < time))
    }

    /// Forgets the entries before a time.
    pub fn cut(&mut self, before: Time) {
        self.own_all();
        let old = self.rows.partition_point(|row| self.at_of(row) < before);
        self.rows.drain(..old);
        if self.rows.len() * 4 < self.rows.capacity() {
            self.rows.shrink_to(self.rows.len() * 2);
        }
        self.tidy();
    }

    /// Adds own, found and set units to the entry of that time and lot; an entry of which nothing is left is none.
    pub fn add(&mut self, at: Time, lot: &Id, figures: [i64; 3]) {
        let order = |row: &Row| self.at_of(row).cmp(&at).then_with(|| self.order_of_lots(row, lot));
        let place = match (self.last().map_or(Ordering::Less, order), self.rows.len().checked_sub(1)) {
            (Ordering::Less, _) if any(figures) => {
                if self.base.is_outrun_by(at) {
                    self.anew(at);
                }
                let lot = self.number_of(lot);
                let row = self.row(at, lot, figures);
                return self.push(row);
            }
            (Ordering::Less, _) => return,
            (Ordering::Equal, Some(newest)) => Ok(newest),
            _ => {
                if self.older().last().is_some_and(|row| order(row).is_ge()) {
                    self.own_all();
                }
                let order = |row: &Row| self.at_of(row).cmp(&at).then_with(|| self.order_of_lots(row, lot));
                self.rows.binary_search_by(order)
            }
        };
        match place {
            Ok(place) => {
                let BookEntry { own, found, set, .. } = self.entry(&self.rows[place]);
                let sum = [
                    own.saturating_add(figures[0]),
                    found.saturating_add(figures[1]),
                    set.saturating_add(figures[2]),
                ];
                if !any(sum) {
                    self.rows.remove(place);
                } else {
                    let lot = self.number_in(&self.rows[place]);
                    self.rows[place] = self.row(at, lot, sum);
                }
                // Never more beside the rows than about as much again as they need.
                let beside = self
                    .beside
                    .as_ref()
                    .map_or(0, |beside| beside.lots.len().max(beside.wide.len()));
                if beside > self.len() + SLACK {
                    self.tidy();
                }
            }
            Err(place) if any(figures) => {
                let lot = self.number_of(lot);
                let row = self.row(at, lot, figures);
                self.rows.insert(place, row);
            }
            Err(_) => {}
        }
    }

    fn wide(&self, row: &Row) -> Option<&Wide> {
        let place = row.place()?;
        self.beside.as_ref()?.wide.get(place)
    }

    fn at_of(&self, row: &Row) -> Time {
        self.wide(row).map_or_else(|| row.at(self.base), |wide| wide.at)
    }

    fn number_in(&self, row: &Row) -> u32 {
        self.wide(row).map_or_else(|| row.lot(), |wide| wide.lot)
    }

    /// Two that are both `""`, as nearly all are, are equal without a look at any text.
    fn order_of_lots(&self, row: &Row, lot: &Id) -> Ordering {
        match (self.number_in(row), lot.as_str().is_empty()) {
            (0, true) => Ordering::Equal,
            _ => self.lot_of(row).cmp(lot.as_str()),
        }
    }

    fn lot_of(&self, row: &Row) -> &str {
        match (self.number_in(row), &self.beside) {
            (0, _) | (_, None) => "",
            (number, Some(beside)) => beside.lots.get(number as usize - 1).map_or("", Id::as_str),
        }
    }

    fn entry(&self, row: &Row) -> BookEntry<'_> {
        let [own, found, set] = self.wide(row).map_or_else(|| row.figures(), |wide| wide.figures);
        BookEntry {
            at: self.at_of(row),
            lot: self.lot_of(row),
            own,
            found,
            set,
        }
    }

    /// A row for this entry, which goes beside the rows when it does not fit.
    fn row(&mut self, at: Time, lot: u32, figures: [i64; 3]) -> Row {
        Row::narrow(self.base, at, lot, figures).unwrap_or_else(|| {
            let wide = &mut self.beside.get_or_insert_default().wide;
            // Of one large delivery there is one for ever.
            if wide.capacity() == 0 {
                wide.reserve_exact(1);
            }
            wide.push(Wide { at, lot, figures });
            Row::wide(wide.len() - 1)
        })
    }

    fn number_of(&mut self, lot: &Id) -> u32 {
        if lot.as_str().is_empty() {
            return 0;
        }
        let lots = &mut self.beside.get_or_insert_default().lots;
        // The newest entries are most likely of the newest lot.
        let known = lots.iter().rposition(|known| known == lot);
        let at = known.unwrap_or_else(|| {
            // The id itself, not its text: a day of entries shares one with the lot.
            lots.push(lot.clone());
            lots.len() - 1
        });
        at as u32 + 1
    }

    /// Drops what lies beside the rows and is of no entry.
    fn tidy(&mut self) {
        if let (Some(_), Some(newest)) = (&self.beside, self.newest()) {
            self.anew(newest);
        }
    }

    /// Writes all rows anew, with times counted as a book has them whose newest entry is of that time.
    fn anew(&mut self, newest: Time) {
        let base = Base::of(newest);
        if self.is_empty() {
            (self.base, self.beside) = (base, None);
            return;
        }
        self.own_all();
        let mut fresh = Book::with_room(self.rows.len() + 1);
        fresh.base = base;
        let old = self.beside.as_ref().map_or(&[][..], |beside| &beside.lots);
        for row in &self.rows {
            let BookEntry { at, own, found, set, .. } = self.entry(row);
            let lot = self.number_in(row).checked_sub(1).and_then(|at| old.get(at as usize));
            let lot = lot.map_or(0, |lot| fresh.number_of(lot));
            let row = fresh.row(at, lot, [own, found, set]);
            fresh.rows.push(row);
        }
        *self = fresh;
    }
}

impl PartialEq for Book {
    fn eq(&self, other: &Book) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Book {}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_book_takes_six_words() {
        assert_eq!(size_of::<Book>(), 48);
    }

    #[test]
    fn what_is_of_no_entry_any_more_is_not_kept_beside_the_book() {
        let mut book = Book::default();
        for day in 0..1_000 {
            book.add(Time(day), &Id::trusted(&format!("L{day}")), [1 << 40, 0, 0]);
            book.add(Time(day), &Id::trusted(&format!("L{day}")), [1 << 40, 1, 0]);
            book.cut(Time(day - 10));
        }
        let beside = book.beside.as_ref().unwrap();
        assert_eq!(book.len(), 11);
        assert!(beside.lots.len() <= 11 + SLACK && beside.wide.len() <= 11 + 2 * SLACK);
        assert!(book.rows.capacity() <= 64);
    }

    const START: i64 = 1_764_460_800_000;

    #[test]
    fn a_book_of_more_lots_than_a_row_can_number_tells_them_apart() {
        let mut book = Book::default();
        let lots: Vec<String> = (0..200).map(|number| format!("L{number:03}")).collect();
        for lot in &lots {
            book.add(Time(START + 1_000), &Id::trusted(lot), [3, 0, 0]);
        }
        book.add(Time(START + 1_000), &Id::trusted(&lots[150]), [-3, 0, 0]);
        let told: Vec<_> = book.iter().map(|entry| (entry.lot, entry.own)).collect();
        let left = lots.iter().enumerate().filter(|(number, _)| *number != 150);
        assert_eq!(told, left.map(|(_, lot)| (lot.as_str(), 3)).collect::<Vec<_>>());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(i64, usize, [i64; 3]),
        Newer(i64, usize, [i64; 3]),
        Cut(i64),
        /// Goes on with a copy, and keeps the book as it was.
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        let units =
            || prop_oneof![4 => Just(0), 6 => -3i64..3, 1 => Just(1i64 << 33), 1 => Just(-(1i64 << 14)), 1 => Just(1i64 << 14)];
        prop_oneof![
            4 => (START..START + 400, 0usize..6, [units(), units(), units()]).prop_map(|(at, lot, figures)| Step::Add(at, lot, figures)),
            30 => (prop_oneof![40 => 0i64..3, 1 => Just(10_000_000_000i64), 1 => Just(20_000_000_000i64)], 0usize..6, [units(), units(), units()]).prop_map(|(later, lot, figures)| Step::Newer(later, lot, figures)),
            1 => (START..START + 400).prop_map(Step::Cut),
            2 => Just(Step::Copy),
        ]
    }

    proptest! {
        /// The same steps on the book and on a plain table of the same entries.
        #[test]
        fn compact_book_tells_what_a_plain_one_would(steps in prop::collection::vec(step(), 1..300)) {
            const LOTS: [&str; 6] = ["", "A", "B", "L1", "L2", "milk"];
            let (mut book, mut plain) = (Book::default(), BTreeMap::<(Time, &str), [i64; 3]>::new());
            let mut copies = Vec::new();
            for step in steps {
                let step = match step {
                    Step::Newer(later, lot, figures) => Step::Add(book.newest().map_or(START, |newest| newest.0) + later, lot, figures),
                    other => other,
                };
                match step {
                    Step::Newer(..) => unreachable!("it has become an Add"),
                    Step::Copy => {
                        let copy = book.clone();
                        copies.push((std::mem::replace(&mut book, copy), plain.clone()));
                    }
                    Step::Add(at, lot, figures) => {
                        book.add(Time(at), &Id::trusted(LOTS[lot]), figures);
                        let entry = plain.entry((Time(at), LOTS[lot])).or_default();
                        (0..3).for_each(|i| entry[i] = entry[i].saturating_add(figures[i]));
                        plain.retain(|_, figures| *figures != [0; 3]);
                    }
                    Step::Cut(before) => {
                        let older = plain.range(..(Time(before), "")).count();
                        prop_assert!(book.has_before(older, Time(before)) && !book.has_before(older + 1, Time(before)));
                        book.cut(Time(before));
                        plain.retain(|(at, _), _| *at >= Time(before));
                    }
                }
                let told: Vec<_> = book.iter().map(|entry| ((entry.at, entry.lot), [entry.own, entry.found, entry.set])).collect();
                let wanted: Vec<_> = plain.iter().map(|(key, figures)| (*key, *figures)).collect();
                prop_assert_eq!(told, wanted);
                prop_assert_eq!(book.newest(), plain.keys().next_back().map(|(at, _)| *at));
                let mut again = Book::default();
                book.iter().for_each(|entry| again.add(entry.at, &Id::trusted(entry.lot), [entry.own, entry.found, entry.set]));
                prop_assert_eq!(&again, &book);
            }
            for (copied, plain) in copies {
                let told: Vec<_> = copied.iter().map(|entry| ((entry.at, entry.lot), [entry.own, entry.found, entry.set])).collect();
                prop_assert_eq!(told, plain.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
