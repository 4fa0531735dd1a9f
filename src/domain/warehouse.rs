//! A warehouse's own facts: its name, its zone, its channels; and the calendar that turns instants into its days.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::units::{Day, Id, Time};

/// How one sales channel may promise stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Base units kept back from this channel for every SKU without an override.
    pub buffer: i64,
    /// Seconds a reservation lives when it names no `ttl_s`.
    pub ttl_s: u32,
    /// The most seconds a reservation may ask for.
    pub max_ttl_s: u32,
    /// Whether `ttl_s: 0` (never expires) is allowed.
    pub allow_no_expiry: bool,
}

impl Default for Channel {
    fn default() -> Channel {
        Channel {
            buffer: 0,
            ttl_s: 900,
            max_ttl_s: 86_400,
            allow_no_expiry: false,
        }
    }
}

impl Channel {
    /// The channels of a new warehouse that names none, declared by whatever means.
    pub fn usual() -> BTreeMap<Id, Channel> {
        ["default", "web"].map(|name| (Id::trusted(name), Channel::default())).into()
    }
}

/// One physical site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warehouse {
    /// Its id.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// IANA time zone (`Europe/Moscow`); days and expiry dates are its.
    pub time_zone: String,
    /// The channels; `default` is always there.
    pub channels: BTreeMap<Id, Channel>,
}

/// The calendar of one warehouse.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// The calendar of an IANA zone; `None` when nobody knows the zone.
    pub fn new(time_zone: &str) -> Option<Calendar> {
        TimeZone::get(time_zone).ok().map(|zone| Calendar { zone })
    }

    /// UTC's calendar.
    pub fn utc() -> Calendar {
        Calendar { zone: TimeZone::UTC }
    }

    /// The zone itself, for printing instants.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The day on which an instant falls.
    pub fn day_of(&self, time: Time) -> Day {
        let stamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
        Day(days_of(self.zone.to_datetime(stamp).date()))
    }

    /// The first instant of a day: not always midnight, since some zones skip it.
    pub fn start_of(&self, day: Day) -> Time {
        let start = date_of(day).and_then(|date| date.to_zoned_datetime(self.zone.clone()).ok());
        start.map_or(Time(i64::MAX), |start| Time(start.timestamp().as_millisecond()))
    }
}

/// Days since 1970-01-01 of a civil date.
pub fn days_of(date: jiff::civil::Date) -> i32 {
    // Whole eras are added first, so that no year is negative; the years -9999 to 9999 always fit.
    let year = i64::from(date.year()) + 10_000;
    (days_from_civil(year, i64::from(date.month()), i64::from(date.day())) - 25 * DAYS_OF_400_YEARS) as i32
}

/// The Gregorian calendar repeats after so many days.
const DAYS_OF_400_YEARS: i64 = 146_097;

/// Days since 1970-01-01 of a date in the year 0 or later (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `days_from_civil`): the difference of two dates, as the calendar's library finds it, goes by way of years and months.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_OF_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The civil date of a day; `None` outside the years -9999 to 9999.
pub fn date_of(day: Day) -> Option<jiff::civil::Date> {
    jiff::civil::date(1970, 1, 1)
        .checked_add(jiff::Span::new().try_days(day.0).ok()?)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let epoch = jiff::civil::date(1970, 1, 1);
        let mut day = jiff::civil::date(-9999, 1, 1);
        while let Ok(next) = day.checked_add(jiff::Span::new().days(97)) {
            let days = day.since(epoch).map(|span| span.get_days());
            assert_eq!(Ok(days_of(day)), days.map_err(|_| ()), "{day}");
            assert_eq!(date_of(Day(days_of(day))), Some(day));
            day = next;
        }
        assert_eq!(days_of(jiff::civil::date(2024, 2, 29)), 19_782);
    }
}
