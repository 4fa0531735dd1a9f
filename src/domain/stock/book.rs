//! The recent book of one SKU: what moved, by business time and lot, in 8 bytes an entry.
//!
//! Nearly every entry has one figure, and it is small: then it stands in the row itself. What does not fit, an entry with several
//! figures, a large one or a time of another age, lies whole beside the rows; so does a lot's id. A hundred thousand SKUs with a day
//! of movements are the reason: as plain structures (a time, a shared id, three figures: 48 bytes) they took more than all else.
//! Deltas in one byte string would take half of it, and were rejected: each late event and each count would read it all. Only what is
//! old is kept so, in pieces ([`packed`]).
//!
//! A book is copied each time its SKU gets a working copy, and a busy day's is 8 KiB. So a few of the newest rows stand in
//! the book itself, and the older ones are shared with its copies ([`older`]).

mod older;
mod packed;
mod row;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::domain::units::{Id, Time};

use older::Older;
use row::{Base, Few, Row};

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
#[derive(Clone, Default)]
pub struct Book {
    older: Older,
    /// How many they are: every event asks, and would have to wait for their chunk.
    count: u32,
    /// From when the rows count their time.
    base: Base,
    /// The newer ones.
    rows: Few,
    /// Shared with copies until one of them has something new to put there.
    beside: Option<Arc<Beside>>,
}

/// Whether any of the three is there. Compared as arrays they would be three words written and read back as one, for every event.
fn any(figures: [i64; 3]) -> bool {
    figures[0] | figures[1] | figures[2] != 0
}

/// What may lie beside the rows unused before it is tidied up.
const SLACK: usize = 8;

impl Book {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Book::default();
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.count as usize + self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, by time and lot.
    pub fn iter(&self) -> impl Iterator<Item = BookEntry<'_>> {
        self.rows().map(|row| self.entry(row))
    }

    /// The entries, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = BookEntry<'_>> {
        let newer = self.rows.iter().rev().copied();
        newer.chain(self.older.newest_first()).map(|row| self.entry(row))
    }

    /// The entry at a place; 0: the oldest.
    pub fn get(&self, place: usize) -> Option<BookEntry<'_>> {
        self.rows().nth(place).map(|row| self.entry(row))
    }

    /// The time of the newest entry.
    pub fn newest(&self) -> Option<Time> {
        self.last().map(|row| self.at_of(row))
    }

    /// Looks at what a copy of the book reads: for whoever is to make many of them, as [`super::Stock::glance`].
    pub fn glance(&self) -> u64 {
        let holders = self.older.holders() ^ self.beside.as_ref().map_or(0, Arc::strong_count);
        self.newest().map_or(0, |newest| newest.0 as u64) ^ holders as u64
    }

    /// Whether at least so many entries are before a time.
    pub fn has_before(&self, entries: usize, time: Time) -> bool {
        let oldest = self.older.oldest().or_else(|| self.rows.first().copied());
        let Some(last) = entries.checked_sub(1) else { return true };
        // As a rule the oldest one tells.
        let any = oldest.is_some_and(|row| self.at_of(row) < time);
        any && self.get(last).is_some_and(|entry| entry.at < time)
    }

    /// Forgets the entries before a time.
    pub fn cut(&mut self, before: Time) {
        let (base, beside) = (self.base, self.beside.as_deref());
        let is_old = |row: &Row| at_of(base, beside, *row) < before;
        let newer = self.rows.iter().take_while(|row| is_old(row)).count();
        if newer > 0 {
            (self.older, self.count) = (Older::default(), 0);
            (0..newer).for_each(|_| self.rows.remove(0));
        } else {
            self.count -= self.older.cut(is_old) as u32;
        }
        self.tidy();
    }

    /// Adds own, found and set units to the entry of that time and lot; an entry of which nothing is left is none.
    pub fn add(&mut self, at: Time, lot: &Id, figures: [i64; 3]) {
        let newest = self.last().map_or(Ordering::Less, |row| self.order(row, at, lot));
        if newest.is_lt() {
            if any(figures) {
                if self.base.is_outrun_by(at) {
                    self.anew(at);
                }
                let lot = self.number_of(lot);
                let row = self.row(at, lot, figures);
                self.push(row);
            }
            return;
        }
        let newest = self.rows.last().filter(|_| newest.is_eq()).copied();
        let Some(known) = newest.or_else(|| self.find(at, lot)) else {
            if any(figures) {
                let number = self.number_of(lot);
                let row = self.row(at, number, figures);
                self.put(at, lot, Some(row));
            }
            return;
        };
        let BookEntry { own, found, set, .. } = self.entry(known);
        let sum = [
            own.saturating_add(figures[0]),
            found.saturating_add(figures[1]),
            set.saturating_add(figures[2]),
        ];
        let row = any(sum).then(|| self.row(at, self.number_in(known), sum));
        match (self.rows.last_mut().filter(|_| newest.is_some()), row) {
            // As a rule: the first of the newer rows may be far away.
            (Some(newest), Some(row)) => *newest = row,
            _ => self.put(at, lot, row),
        }
        if row.is_none_or(|row| row.place().is_some()) {
            self.tidy_if_much();
        }
    }

    /// Never more beside the rows than about as much again as they need. It may be far away: looked at when it has grown, or the rows
    /// have become fewer.
    fn tidy_if_much(&mut self) {
        let Some(beside) = &self.beside else { return };
        if beside.lots.len().max(beside.wide.len()) > self.len() + SLACK {
            self.tidy();
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        self.older.oldest_first().chain(self.rows.iter().copied())
    }

    fn last(&self) -> Option<Row> {
        self.rows.last().copied().or_else(|| self.older.newest())
    }

    /// Adds a row behind all others.
    fn push(&mut self, row: Row) {
        if self.rows.is_full() {
            self.age();
        }
        self.rows.push(row);
    }

    /// The newer rows become older ones.
    fn age(&mut self) {
        self.older.append(&self.rows);
        self.count += self.rows.len() as u32;
        self.rows = Few::default();
    }

    /// Whether the entry of that time and lot stands, or would stand, among the newer rows.
    fn is_newer(&self, at: Time, lot: &Id) -> bool {
        let first = self.rows.first().map(|row| self.order(*row, at, lot));
        self.older.is_none() || first.is_some_and(Ordering::is_le)
    }

    fn find(&self, at: Time, lot: &Id) -> Option<Row> {
        let order = |row: &Row| self.order(*row, at, lot);
        if self.is_newer(at, lot) {
            return self.rows.binary_search_by(order).ok().map(|place| self.rows[place]);
        }
        self.older.find(&order)
    }

    /// The row of that time and lot is this one from now on; `None`: there is none any more.
    fn put(&mut self, at: Time, lot: &Id, row: Option<Row>) {
        if self.is_newer(at, lot) && self.rows.is_full() && row.is_some() && self.find(at, lot).is_none() {
            self.age();
        }
        let (base, beside) = (self.base, self.beside.take());
        let order = |row: &Row| order(base, beside.as_deref(), *row, at, lot);
        let newer = self.older.is_none() || self.rows.first().is_some_and(|row| order(row).is_le());
        if newer {
            match (self.rows.binary_search_by(order), row) {
                (Ok(place), Some(row)) => self.rows[place] = row,
                (Ok(place), None) => self.rows.remove(place),
                (Err(place), Some(row)) => self.rows.insert(place, row),
                (Err(_), None) => {}
            }
        } else {
            let count = &mut self.count;
            self.older.change(&order, |rows, place| match (place, row) {
                (Ok(place), Some(row)) => rows[place] = row,
                (Ok(place), None) => {
                    rows.remove(place);
                    *count -= 1;
                }
                (Err(place), Some(row)) => {
                    rows.insert(place, row);
                    *count += 1;
                }
                (Err(_), None) => {}
            });
        }
        self.beside = beside;
    }

    fn at_of(&self, row: Row) -> Time {
        at_of(self.base, self.beside.as_deref(), row)
    }

    fn order(&self, row: Row, at: Time, lot: &Id) -> Ordering {
        order(self.base, self.beside.as_deref(), row, at, lot)
    }

    fn number_in(&self, row: Row) -> u32 {
        number_in(self.beside.as_deref(), row)
    }

    fn entry(&self, row: Row) -> BookEntry<'_> {
        let beside = self.beside.as_deref();
        let [own, found, set] = wide(beside, row).map_or_else(|| row.figures(), |wide| wide.figures);
        BookEntry {
            at: at_of(self.base, beside, row),
            lot: lot_of(beside, row),
            own,
            found,
            set,
        }
    }

    /// A row for this entry, which goes beside the rows when it does not fit.
    fn row(&mut self, at: Time, lot: u32, figures: [i64; 3]) -> Row {
        Row::narrow(self.base, at, lot, figures).unwrap_or_else(|| {
            let wide = &mut Arc::make_mut(self.beside.get_or_insert_default()).wide;
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
        let lots = self.beside.as_ref().map_or(&[][..], |beside| &beside.lots);
        // The newest entries are most likely of the newest lot.
        let at = lots.iter().rposition(|known| known == lot).unwrap_or_else(|| {
            let lots = &mut Arc::make_mut(self.beside.get_or_insert_default()).lots;
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
        let mut fresh = Book {
            base: Base::of(newest),
            ..Book::default()
        };
        let old = self.beside.as_ref().map_or(&[][..], |beside| &beside.lots);
        for row in self.rows() {
            let BookEntry { at, own, found, set, .. } = self.entry(row);
            let lot = self.number_in(row).checked_sub(1).and_then(|at| old.get(at as usize));
            let lot = lot.map_or(0, |lot| fresh.number_of(lot));
            let row = fresh.row(at, lot, [own, found, set]);
            fresh.push(row);
        }
        *self = fresh;
    }
}

fn wide(beside: Option<&Beside>, row: Row) -> Option<&Wide> {
    let place = row.place()?;
    beside?.wide.get(place)
}

fn at_of(base: Base, beside: Option<&Beside>, row: Row) -> Time {
    wide(beside, row).map_or_else(|| row.at(base), |wide| wide.at)
}

fn number_in(beside: Option<&Beside>, row: Row) -> u32 {
    wide(beside, row).map_or_else(|| row.lot(), |wide| wide.lot)
}

fn lot_of(beside: Option<&Beside>, row: Row) -> &str {
    match (number_in(beside, row), beside) {
        (0, _) | (_, None) => "",
        (number, Some(beside)) => beside.lots.get(number as usize - 1).map_or("", Id::as_str),
    }
}

/// How a row stands to a time and a lot. Two lots that are both `""`, as nearly all are, are equal without a look at any text.
fn order(base: Base, beside: Option<&Beside>, row: Row, at: Time, lot: &Id) -> Ordering {
    let of_lots = || match (number_in(beside, row), lot.as_str().is_empty()) {
        (0, true) => Ordering::Equal,
        _ => lot_of(beside, row).cmp(lot.as_str()),
    };
    at_of(base, beside, row).cmp(&at).then_with(of_lots)
}

impl PartialEq for Book {
    fn eq(&self, other: &Book) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
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
    fn a_book_takes_seven_words() {
        assert_eq!(size_of::<Book>(), 56);
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
                prop_assert_eq!(book.len(), plain.len());
                let backwards: Vec<_> = book.newest_first().map(|entry| (entry.at, entry.lot)).collect();
                prop_assert!(backwards.iter().rev().copied().eq(plain.keys().copied()));
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
