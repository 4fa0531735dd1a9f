//! One field at a time: from a JSON value to a domain value, or a refusal that names the field, what it holds and what it must.

use super::scalar::Scalar;
use super::suggest;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{BadId, Day, Id, MAX_QUANTITY, Time};
use crate::domain::warehouse::{days_from_civil, days_of};

/// The longest reason, document, actor: what a ledger line can show.
pub(super) const MAX_TEXT_BYTES: usize = 1024;

pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Refusal {
    Refusal::field(Code::InvalidValue, field, detail)
}

fn missing(field: &str) -> Refusal {
    invalid(field, "the field is required and is not there")
}

fn wrong_kind(field: &str, must: &str, is: &Scalar<'_>) -> Refusal {
    invalid(field, format!("must be {must}, is {}", is.kind()))
}

/// A required string.
pub(super) fn text<'v>(value: &'v Scalar<'_>, field: &str) -> Result<&'v str, Refusal> {
    match value {
        Scalar::Text(text) => Ok(text),
        Scalar::Absent => Err(missing(field)),
        other => Err(wrong_kind(field, "a string", other)),
    }
}

/// A string that may be left out or null, of bounded length.
pub(super) fn short_text<'v>(value: &'v Scalar<'_>, field: &str) -> Result<Option<&'v str>, Refusal> {
    if value.is_none() {
        return Ok(None);
    }
    let text = text(value, field)?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(invalid(
            field,
            format!("must be at most {MAX_TEXT_BYTES} bytes, is {}", text.len()),
        ));
    }
    Ok(Some(text))
}

/// As [`short_text`], to be kept.
pub(super) fn optional_text(value: &Scalar<'_>, field: &str) -> Result<Option<Box<str>>, Refusal> {
    Ok(short_text(value, field)?.map(Into::into))
}

fn bad_id(field: &str, text: &str, why: BadId) -> Refusal {
    invalid(field, format!("{} is no id: it {why}", suggest::quoted(text)))
}

/// A required id.
pub(super) fn id(value: &Scalar<'_>, field: &str) -> Result<Id, Refusal> {
    let text = text(value, field)?;
    Id::new(text).map_err(|why| bad_id(field, text, why))
}

/// A required id of a source or an event, where `/` is allowed.
pub(super) fn source_id(value: &Scalar<'_>, field: &str) -> Result<Id, Refusal> {
    let text = text(value, field)?;
    Id::source(text).map_err(|why| bad_id(field, text, why))
}

/// An id that may be left out or null.
pub(super) fn optional_id(value: &Scalar<'_>, field: &str) -> Result<Option<Id>, Refusal> {
    if value.is_none() {
        Ok(None)
    } else {
        id(value, field).map(Some)
    }
}

/// `must` says what the number has to be; it is asked only when that has to be told.
fn whole(value: &Scalar<'_>, field: &str, must: impl Fn() -> String) -> Result<i64, Refusal> {
    match value {
        Scalar::Int(n) => Ok(*n),
        Scalar::Absent => Err(missing(field)),
        other => Err(wrong_kind(field, &must(), other)),
    }
}

/// A quantity of base units from `least` to 10^12.
pub(super) fn quantity(value: &Scalar<'_>, field: &str, least: i64) -> Result<i64, Refusal> {
    let must = || format!("a whole number of base units from {least} to 10^12");
    let n = whole(value, field, must)?;
    if (least..=MAX_QUANTITY).contains(&n) {
        Ok(n)
    } else {
        Err(invalid(field, format!("must be {}, is {n}", must())))
    }
}

/// A difference: a quantity of either sign, and not 0.
pub(super) fn delta(value: &Scalar<'_>, field: &str) -> Result<i64, Refusal> {
    let must = "a whole number of base units from -10^12 to 10^12, and not 0";
    let n = whole(value, field, || must.to_owned())?;
    if n != 0 && n.unsigned_abs() <= MAX_QUANTITY as u64 {
        Ok(n)
    } else {
        Err(invalid(field, format!("must be {must}, is {n}")))
    }
}

/// A count of something, from 0, that may be left out.
pub(super) fn optional_number(value: &Scalar<'_>, field: &str) -> Result<Option<u64>, Refusal> {
    if value.is_none() {
        return Ok(None);
    }
    let must = "a whole number from 0 to 2^63-1";
    let n = whole(value, field, || must.to_owned())?;
    u64::try_from(n)
        .map(Some)
        .map_err(|_| invalid(field, format!("must be {must}, is {n}")))
}

/// One of a few words, or the default when it is left out.
pub(super) fn word<T: Copy>(value: &Scalar<'_>, field: &str, words: &[(&'static str, T)], default: T) -> Result<T, Refusal> {
    if value.is_none() {
        return Ok(default);
    }
    let text = text(value, field)?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, it)| *it)
        .ok_or_else(|| {
            let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            invalid(field, format!("must be one of {list}; is {}", suggest::quoted(text)))
        })
}

/// An RFC 3339 instant with an offset, cut to milliseconds.
pub fn parse_time(text: &str) -> Option<Time> {
    // RFC 3339 has its `T` (or `t`) in the eleventh place; ISO 8601's other forms are refused, since half of them mean
    // different things to different readers. A zone in brackets is RFC 9557, not 3339.
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 64 || !matches!(bytes[10], b'T' | b't' | b' ') || text.contains('[') {
        return None;
    }
    if let Some(time) = usual_time(bytes) {
        return Some(time);
    }
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(Time(stamp.as_millisecond()))
}

/// A time as nearly everybody writes it: `2026-11-22T09:14:03`, perhaps milliseconds, and `Z` or `±hh:mm`, from 1970 on. What is not
/// of this form, or no real time, is left to the calendar's own parser, which knows many forms and tries them.
fn usual_time(bytes: &[u8]) -> Option<Time> {
    let number = |from: usize, digits: usize| {
        let digit = |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
        bytes.get(from..from + digits)?.iter().try_fold(0, digit)
    };
    let (Some(b'-'), Some(b'-'), Some(b'T'), Some(b':'), Some(b':')) =
        (bytes.get(4), bytes.get(7), bytes.get(10), bytes.get(13), bytes.get(16))
    else {
        return None;
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let (ms, zone) = match bytes.get(19)? {
        b'.' => (number(20, 3)?, 23),
        _ => (0, 19),
    };
    let offset = match (bytes.get(zone)?, bytes.len() - zone) {
        (b'Z', 1) => 0,
        (sign @ (b'+' | b'-'), 6) if bytes[zone + 3] == b':' => {
            let (hours, minutes) = (number(zone + 1, 2)?, number(zone + 4, 2)?);
            // RFC 3339, 4.3: `-00:00` says that the zone is unknown.
            let real = hours < 24 && minutes < 60 && (*sign == b'+' || hours + minutes > 0);
            (if *sign == b'+' { 60 } else { -60 }) * real.then_some(hours * 60 + minutes)?
        }
        _ => return None,
    };
    let real = (1970..=9998).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    // Before 1970 fractions of a second would be cut the other way.
    (seconds >= 0).then_some(Time(seconds * 1_000 + ms))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// An instant that may be left out.
pub(super) fn optional_time(value: &Scalar<'_>, field: &str) -> Result<Option<Time>, Refusal> {
    if value.is_none() {
        return Ok(None);
    }
    let text = text(value, field)?;
    parse_time(text).map(Some).ok_or_else(|| {
        invalid(
            field,
            format!(
                "{} is no time: it must be a real date and time in RFC 3339 with an offset, like 2026-11-22T09:14:03+03:00",
                suggest::quoted(text)
            ),
        )
    })
}

/// A calendar date, `2026-12-01`.
pub fn parse_day(text: &str) -> Option<Day> {
    if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None;
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(Day(days_of(date)))
}

/// A date that may be left out.
pub(super) fn optional_day(value: &Scalar<'_>, field: &str) -> Result<Option<Day>, Refusal> {
    if value.is_none() {
        return Ok(None);
    }
    let text = text(value, field)?;
    parse_day(text).map(Some).ok_or_else(|| {
        invalid(
            field,
            format!("{} is no date: it must be a real date like 2026-12-01", suggest::quoted(text)),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_calendar(text: &str) -> Option<Time> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        Some(Time(stamp.as_millisecond()))
    }

    #[test]
    fn the_usual_times_need_no_calendar() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-22T09:14:03+03:00",
            "2024-02-29T23:59:59.999-11:30",
            "2000-02-29T00:00:00.5Z",
            "9998-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_time(text), by_the_calendar(text), "{text}");
            assert_eq!(usual_time(text.as_bytes()).is_some(), !text.contains(".5Z"), "{text}");
        }
        for text in [
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(usual_time(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_read_without_the_calendar_is_the_calendars(
            year in 1960i64..=10_000, month in 0i64..=13, day in 0i64..=32, hour in 0i64..=25, minute in 0i64..=61, second in 0i64..=61,
            rest in "(\\.[0-9]{0,4})?(Z|[+-][0-2][0-9]:[0-6][0-9]|z|)",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{rest}");
            if let Some(time) = usual_time(text.as_bytes()) {
                prop_assert_eq!(Some(time), by_the_calendar(&text), "{}", text);
            }
        }
    }
}
