//! One entry of a book in eight bytes.

use std::ops::{Deref, DerefMut};

use crate::domain::units::Time;

/// One entry, from the highest bit on: milliseconds since the book's [`Base`] (34 bits, 198 days), which figure it has (2: own, found,
/// set), the lot's number (6; 0: `""`), whether the units are thousands (1), and the units (21, with a sign). Or, of an entry that has no
/// room there, [`WIDE`] in place of the figure's kind, and where the whole of it lies beside the rows (21).
#[derive(Clone, Copy, Default)]
pub(super) struct Row(u64);

const AT_SHIFT: u32 = 30;
const KIND_SHIFT: u32 = 28;
const LOT_SHIFT: u32 = 22;
const THOUSANDS: u64 = 1 << UNIT_BITS;
pub(super) const UNIT_BITS: u32 = 21;

/// The greatest [`Row::parts`] of time and of units.
pub(super) const SINCE: u64 = (1 << (64 - AT_SHIFT)) - 1;
pub(super) const UNITS: u64 = THOUSANDS - 1;

const LOTS: u32 = 1 << (KIND_SHIFT - LOT_SHIFT);
/// Units of either sign that a row has no room for.
const TOO_MANY: i64 = 1 << (UNIT_BITS - 1);
const WIDE: u64 = 3;
const HEAD: u64 = (1 << (AT_SHIFT - UNIT_BITS)) - 1;
const PLACES: u64 = 1 << UNIT_BITS;
/// Milliseconds that a row can count.
const SPAN: i64 = 1 << (64 - AT_SHIFT);

/// From when a book's rows count their time: in units of 2^20 milliseconds since 1970, some 17 minutes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Base(u32);

impl Base {
    /// For a book whose newest entry is of that time: a quarter of what rows can say is for late ones.
    pub(super) fn of(newest: Time) -> Base {
        Base(u32::try_from(newest.0.saturating_sub(SPAN / 4).max(0) >> 20).unwrap_or(u32::MAX))
    }

    fn ms(self) -> i64 {
        i64::from(self.0) << 20
    }

    /// Whether rows are too old to say that time.
    pub(super) fn is_outrun_by(self, at: Time) -> bool {
        at.0.saturating_sub(self.ms()) >= SPAN
    }
}

impl Row {
    /// A row of one figure; `None`: it does not fit.
    pub(super) fn narrow(base: Base, at: Time, lot: u32, figures: [i64; 3]) -> Option<Row> {
        let since = at.0.checked_sub(base.ms()).filter(|since| (0..SPAN).contains(since))?;
        let (kind, units) = match figures {
            [own, 0, 0] => (0, own),
            [0, found, 0] => (1, found),
            [0, 0, set] => (2, set),
            _ => return None,
        };
        let fit = |units: i64| (-TOO_MANY..TOO_MANY).contains(&units).then_some(units as u64 & UNITS);
        let in_thousands = || fit(units / 1_000).filter(|_| units % 1_000 == 0);
        let units = fit(units).or_else(|| Some(in_thousands()? | THOUSANDS))?;
        let head = (since as u64) << AT_SHIFT | kind << KIND_SHIFT;
        (lot < LOTS).then_some(Row(head | u64::from(lot) << LOT_SHIFT | units))
    }

    /// A row for an entry that lies whole beside the rows: fewer than two million do, since a book is bounded.
    pub(super) fn wide(place: usize) -> Row {
        Row(WIDE << KIND_SHIFT | (place as u64).min(PLACES - 1))
    }

    fn kind(self) -> u64 {
        self.0 >> KIND_SHIFT & 3
    }

    /// Where the whole entry is, of one that is not narrow.
    pub(super) fn place(self) -> Option<usize> {
        (self.kind() == WIDE).then_some((self.0 & (PLACES - 1)) as usize)
    }

    /// When, of a narrow one.
    pub(super) fn at(self, base: Base) -> Time {
        Time(base.ms() + (self.0 >> AT_SHIFT) as i64)
    }

    /// The number of its lot, of a narrow one.
    pub(super) fn lot(self) -> u32 {
        (self.0 >> LOT_SHIFT) as u32 & (LOTS - 1)
    }

    /// The last field, with its sign.
    fn units(self) -> i64 {
        // Up to the highest bit and back, for the sign.
        (self.0 << (64 - UNIT_BITS)) as i64 >> (64 - UNIT_BITS)
    }

    /// What a row consists of, of any kind: its time, what lies between, and its units with the sign in the lowest bit.
    pub(super) fn parts(self) -> (u64, u64, u64) {
        let units = self.units();
        let signed = (units << 1 ^ units >> 63) as u64;
        (self.0 >> AT_SHIFT, self.0 >> UNIT_BITS & HEAD, signed)
    }

    /// The row of these parts.
    pub(super) fn of_parts((since, head, signed): (u64, u64, u64)) -> Row {
        let units = (signed >> 1) as i64 ^ -((signed & 1) as i64);
        Row(since << AT_SHIFT | (head & HEAD) << UNIT_BITS | units as u64 & UNITS)
    }

    /// Own, found and set units, of a narrow one.
    pub(super) fn figures(self) -> [i64; 3] {
        let units = self.units();
        let mut figures = [0; 3];
        figures[self.kind() as usize % 3] = if self.0 & THOUSANDS == 0 { units } else { units * 1_000 };
        figures
    }
}

/// So many rows a book has within itself: they take no more room than a list's head and its first allocation did.
const FEW: usize = 4;

/// A few rows, by age. A place without one is zero, which no row is: a row has units, or is wide.
#[derive(Clone, Copy, Default)]
pub(super) struct Few([Row; FEW]);

impl Few {
    fn count(&self) -> usize {
        self.0.iter().filter(|row| row.0 != 0).count()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0[FEW - 1].0 != 0
    }

    /// Adds the newest. There must be room.
    pub(super) fn push(&mut self, row: Row) {
        self.0[self.count()] = row;
    }

    /// Puts a row at a place. There must be room.
    pub(super) fn insert(&mut self, place: usize, row: Row) {
        self.0.copy_within(place..FEW - 1, place + 1);
        self.0[place] = row;
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.0.copy_within(place + 1.., place);
        self.0[FEW - 1] = Row::default();
    }
}

impl Deref for Few {
    type Target = [Row];

    fn deref(&self) -> &[Row] {
        &self.0[..self.count()]
    }
}

impl DerefMut for Few {
    fn deref_mut(&mut self) -> &mut [Row] {
        let count = self.count();
        &mut self.0[..count]
    }
}

#[cfg(test)]
impl Row {
    pub(super) fn of_bits(bits: u64) -> Row {
        Row(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_what_fits_and_takes_nothing_else() {
        assert_eq!(size_of::<Row>(), 8);
        let base = Base::of(Time(1_764_460_800_123));
        let (first, last) = (Time(base.ms()), Time(base.ms() + SPAN - 1));
        for at in [first, Time(1_764_460_800_123), last] {
            for lot in [0, 1, LOTS - 1] {
                for units in [
                    -TOO_MANY,
                    -1,
                    1,
                    TOO_MANY - 1,
                    -TOO_MANY * 1_000,
                    1_000_000_000,
                    (TOO_MANY - 1) * 1_000,
                ] {
                    for kind in 0..3 {
                        let mut figures = [0; 3];
                        figures[kind] = units;
                        let row = Row::narrow(base, at, lot, figures).unwrap();
                        let told = (row.at(base), row.lot(), row.figures(), row.place());
                        assert_eq!(told, (at, lot, figures, None));
                    }
                }
            }
        }
        for (at, lot, figures) in [
            (first.plus_ms(-1), 0, [1, 0, 0]),
            (last.plus_ms(1), 0, [1, 0, 0]),
            (Time(i64::MIN), 0, [1, 0, 0]),
            (Time(i64::MAX), 0, [1, 0, 0]),
            (first, LOTS, [1, 0, 0]),
            (first, 0, [TOO_MANY + 1, 0, 0]),
            (first, 0, [TOO_MANY * 1_000, 0, 0]),
            (first, 0, [-TOO_MANY - 1, 0, 0]),
            (first, 0, [i64::MIN, 0, 0]),
            (first, 0, [1, 1, 0]),
        ] {
            assert!(Row::narrow(base, at, lot, figures).is_none(), "{at:?} {lot} {figures:?}");
        }
        assert_eq!(
            [0, 1, 2_000_000].map(|place| Row::wide(place).place()),
            [0, 1, 2_000_000].map(Some)
        );
    }

    #[test]
    fn the_newest_entry_fits_whatever_its_time_is_from_1970_on() {
        for newest in [0, 1, SPAN, 1_764_460_800_123, i64::from(u32::MAX) << 20].map(Time) {
            let base = Base::of(newest);
            assert!(!base.is_outrun_by(newest));
            assert!(Row::narrow(base, newest, 0, [1, 0, 0]).is_some(), "{newest:?}");
        }
        for far in [i64::MIN, -1, i64::MAX].map(Time) {
            assert!(
                Row::narrow(Base::of(far), far, 0, [1, 0, 0]).is_none(),
                "it lies beside the rows"
            );
        }
    }
}
