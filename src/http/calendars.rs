//! The calendars of the warehouses' zones, kept at hand, and instants written with them: every answer needs one or the other.
//!
//! To look a zone up by its name takes a lock and a search. Keeping the calendar with the warehouse in the view was
//! rejected: the view is the fold of facts, and a fact has the zone's name.

use std::cell::RefCell;

use crate::domain::units::Time;
use crate::domain::warehouse::{Calendar, Warehouse};

/// Calendars that one thread keeps at hand: a node has a few zones.
const CALENDARS: usize = 8;

thread_local! {
    static KEPT: RefCell<Vec<(Box<str>, Calendar)>> = const { RefCell::new(Vec::new()) };
}

/// A warehouse's calendar; a zone that this node's tables have lost is shown as UTC.
pub fn calendar(warehouse: &Warehouse) -> Calendar {
    let zone = warehouse.time_zone.as_str();
    KEPT.with_borrow_mut(|kept| {
        if let Some((_, calendar)) = kept.iter().find(|(known, _)| **known == *zone) {
            return calendar.clone();
        }
        let calendar = Calendar::new(zone).unwrap_or_else(Calendar::utc);
        if kept.len() == CALENDARS {
            kept.remove(0);
        }
        kept.push((zone.into(), calendar.clone()));
        calendar
    })
}

/// An instant in a warehouse's zone, RFC 3339 with milliseconds.
pub fn time(at: Time, calendar: &Calendar) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX);
    let offset = calendar.zone().to_offset(stamp);
    usual(at, i64::from(offset.seconds())).unwrap_or_else(|| {
        let zoned = stamp.to_zoned_datetime(calendar.zone().clone());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    })
}

const DAY_MS: i64 = 86_400_000;

/// The text of an instant from 1970 to 9998, where clocks are so many seconds ahead of UTC, in whole minutes: digit by digit, since
/// the formatter reads its pattern anew each time, and a basket's answer has two or three of them.
fn usual(at: Time, offset_s: i64) -> Option<String> {
    let local = at.0.checked_add(offset_s * 1_000)?;
    let (days, ms) = (local.div_euclid(DAY_MS), local.rem_euclid(DAY_MS));
    if offset_s % 60 != 0 || !(0..2_932_532).contains(&days) {
        return None;
    }
    let (year, month, day) = civil(days);
    let mut text = String::with_capacity(29);
    let mut put = |number: i64, digits: u32, after: &str| {
        for place in (0..digits).rev() {
            text.push(char::from(b'0' + (number / 10_i64.pow(place) % 10) as u8));
        }
        text.push_str(after);
    };
    put(year, 4, "-");
    put(month, 2, "-");
    put(day, 2, "T");
    put(ms / 3_600_000, 2, ":");
    put(ms / 60_000 % 60, 2, ":");
    put(ms / 1_000 % 60, 2, ".");
    put(ms % 1_000, 3, if offset_s < 0 { "-" } else { "+" });
    let minutes = offset_s.abs() / 60;
    put(minutes / 60, 2, ":");
    put(minutes % 60, 2, "");
    Some(text)
}

/// The date of a day since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_is_written_as_the_formatter_writes_it(ms in -100_000_000_000_000i64..253_402_000_000_000, zone in 0usize..4) {
            let zone = ["UTC", "Europe/Moscow", "America/St_Johns", "Asia/Kathmandu"][zone];
            let calendar = Calendar::new(zone).expect("a zone of the tables");
            let stamp = jiff::Timestamp::from_millisecond(ms).expect("within the years of the calendar");
            let text = stamp.to_zoned_datetime(calendar.zone().clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
            prop_assert_eq!(time(Time(ms), &calendar), text);
        }
    }
}
