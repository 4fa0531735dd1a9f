//! What words on the command line may be: addresses, ids, times. A wrong one is refused before anything is sent, with what
//! was expected.
//!
//! Rejected: sending whatever was typed and letting the node refuse it. A path cannot carry `..`, and a time without a zone
//! would be read in the node's zone instead of the person's.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

use crate::domain::units::Id;

/// The address of a node: `http://host[:port][/prefix]`.
pub fn url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("{error}; expected http://host:port"))?;
    match url.scheme() {
        "http" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(text.trim_end_matches('/').to_owned()),
        "https" => {
            Err("this version speaks plain http only; put a TLS proxy before it, or use http:// on this machine".to_owned())
        }
        _ => Err("expected http://host:port".to_owned()),
    }
}

/// The id of a warehouse, SKU, lot, channel or reservation.
pub fn id(text: &str) -> Result<String, String> {
    Id::check(text)
        .map(|()| text.to_owned())
        .map_err(|why| format!("an id {why}"))
}

/// The id of a source or an event: `/` is allowed.
pub fn source(text: &str) -> Result<String, String> {
    Id::check_source(text)
        .map(|()| text.to_owned())
        .map_err(|why| format!("an id {why}"))
}

/// A calendar day: `2026-12-01`.
pub fn date(text: &str) -> Result<String, String> {
    let day = text.parse::<civil::Date>().ok().filter(|_| text.len() == 10);
    day.map(|day| day.to_string())
        .ok_or_else(|| "expected a date such as 2026-12-01".to_owned())
}

/// A moment, as people write it: RFC 3339, a local date and time, a time of today, `now`, or an age (`90m`, `2h`, `3d`).
/// Answers RFC 3339 with an offset, which is what the API takes.
pub fn moment(text: &str) -> Result<String, String> {
    moment_at(text, &ZonedDateTime::now())
}

/// A moment to come: as [`moment`], but an age is how far ahead (`15m` is in a quarter of an hour).
pub fn deadline(text: &str) -> Result<String, String> {
    deadline_at(text, &ZonedDateTime::now())
}

fn deadline_at(text: &str, now: &ZonedDateTime) -> Result<String, String> {
    match age(text.trim().trim_start_matches('+')) {
        Some(ahead) => now
            .checked_add(ahead)
            .map(|then| rfc3339(&then))
            .map_err(|error| error.to_string()),
        None => moment_at(text, now).map_err(|why| why.replace("(ago)", "(ahead)")),
    }
}

fn moment_at(text: &str, now: &ZonedDateTime) -> Result<String, String> {
    const EXPECTED: &str =
        "expected a time such as 2026-11-22T14:05:00+03:00, '2026-11-22 14:05', 14:05 (today), 90m, 2h, 3d (ago) or now";
    let text = text.trim();
    if text == "now" {
        return Ok(rfc3339(now));
    }
    if let Ok(zoned) = text.parse::<ZonedDateTime>() {
        return Ok(rfc3339(&zoned));
    }
    if text.parse::<Timestamp>().is_ok() {
        return Ok(text.replacen(' ', "T", 1));
    }
    if let Some(ago) = age(text) {
        return now
            .checked_sub(ago)
            .map(|then| rfc3339(&then))
            .map_err(|_| EXPECTED.to_owned());
    }
    let local = text
        .parse::<civil::DateTime>()
        .ok()
        .or_else(|| text.parse::<civil::Time>().ok().map(|time| now.date().to_datetime(time)))
        .ok_or(EXPECTED)?;
    local
        .to_zoned_datetime(now.time_zone().clone())
        .map(|zoned| rfc3339(&zoned))
        .map_err(|error| error.to_string())
}

fn age(text: &str) -> Option<jiff::Span> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: i64 = number.parse().ok().filter(|count| (0..=1_000_000).contains(count))?;
    match &text[number.len()..] {
        "s" => Some(count.seconds()),
        "m" | "min" => Some(count.minutes()),
        "h" => Some(count.hours()),
        "d" => Some(count.days()),
        _ => None,
    }
}

fn rfc3339(zoned: &ZonedDateTime) -> String {
    zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

/// A time of the API as a person at this machine reads it: local, to the second. What is no time stays as it is.
pub fn local_time(text: &str) -> String {
    local_time_in(text, &TimeZone::system())
}

fn local_time_in(text: &str, zone: &TimeZone) -> String {
    match text.parse::<Timestamp>() {
        Ok(stamp) => stamp
            .to_zoned_datetime(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        "2026-11-22T15:00:00+03:00[Europe/Moscow]".parse().expect("a time")
    }

    #[test]
    fn a_moment_is_read_as_people_write_it() {
        for (text, expected) in [
            ("2026-11-22T14:05:00+03:00", "2026-11-22T14:05:00+03:00"),
            ("2026-11-22T11:05:00Z", "2026-11-22T11:05:00Z"),
            ("2026-11-22 14:05", "2026-11-22T14:05:00+03:00"),
            ("2026-11-22T14:05:07", "2026-11-22T14:05:07+03:00"),
            ("2026-11-22", "2026-11-22T00:00:00+03:00"),
            ("14:05", "2026-11-22T14:05:00+03:00"),
            ("90m", "2026-11-22T13:30:00+03:00"),
            ("1d", "2026-11-21T15:00:00+03:00"),
            ("now", "2026-11-22T15:00:00+03:00"),
        ] {
            assert_eq!(moment_at(text, &now()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_deadline_lies_ahead() {
        assert_eq!(deadline_at("15m", &now()).as_deref(), Ok("2026-11-22T15:15:00+03:00"));
        assert_eq!(deadline_at("+2h", &now()).as_deref(), Ok("2026-11-22T17:00:00+03:00"));
        assert_eq!(deadline_at("18:00", &now()).as_deref(), Ok("2026-11-22T18:00:00+03:00"));
        assert!(deadline_at("soon", &now()).is_err_and(|why| why.contains("(ahead)")));
    }

    #[test]
    fn what_is_no_moment_is_refused_with_what_was_expected() {
        for text in ["", "yesterday", "25:00", "2026-02-30 10:00", "-3h", "99999999999999d", "5x"] {
            assert!(moment_at(text, &now()).is_err_and(|why| why.contains("expected")), "{text}");
        }
    }

    #[test]
    fn an_address_is_http_with_a_host() {
        assert_eq!(url("http://127.0.0.1:7480/").as_deref(), Ok("http://127.0.0.1:7480"));
        for text in ["127.0.0.1:7480", "https://x", "ftp://x", "http://", ""] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_that_no_path_can_carry_are_refused() {
        for text in ["", ".", "..", "a/b", "a\nb"] {
            assert!(id(text).is_err(), "{text:?}");
        }
        assert!(id("молоко 3,2 %").is_ok());
        assert!(source("wms/7").is_ok());
    }

    #[test]
    fn a_time_is_shown_in_the_zone_of_the_reader() {
        let zone = TimeZone::get("Europe/Moscow").expect("a zone");
        assert_eq!(local_time_in("2026-11-22T11:05:00.120Z", &zone), "2026-11-22 14:05:00");
        assert_eq!(local_time_in("soon", &zone), "soon");
    }
}
