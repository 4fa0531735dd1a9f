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
    let epoch = jiff::civil::date(1970, 1, 1);
    // `since` in days of two dates in the years -9999..=9999 always fits.
    date.since(epoch).map_or(0, |span| span.get_days())
}

/// The civil date of a day; `None` outside the years -9999 to 9999.
pub fn date_of(day: Day) -> Option<jiff::civil::Date> {
    jiff::civil::date(1970, 1, 1)
        .checked_add(jiff::Span::new().try_days(day.0).ok()?)
        .ok()
}
