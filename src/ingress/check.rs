//! One field at a time: from a JSON value to a domain value, or a refusal that names the field, what it holds and what it must.

use super::scalar::Scalar;
use super::suggest;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{BadId, Day, Id, MAX_QUANTITY, Time};
use crate::domain::warehouse::days_of;

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
pub(super) fn optional_text(value: &Scalar<'_>, field: &str) -> Result<Option<Box<str>>, Refusal> {
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
    Ok(Some(text.into()))
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

fn whole(value: &Scalar<'_>, field: &str, must: &str) -> Result<i64, Refusal> {
    match value {
        Scalar::Int(n) => Ok(*n),
        Scalar::Absent => Err(missing(field)),
        other => Err(wrong_kind(field, must, other)),
    }
}

/// A quantity of base units from `least` to 10^12.
pub(super) fn quantity(value: &Scalar<'_>, field: &str, least: i64) -> Result<i64, Refusal> {
    let must = format!("a whole number of base units from {least} to 10^12");
    let n = whole(value, field, &must)?;
    if (least..=MAX_QUANTITY).contains(&n) {
        Ok(n)
    } else {
        Err(invalid(field, format!("must be {must}, is {n}")))
    }
}

/// A difference: a quantity of either sign, and not 0.
pub(super) fn delta(value: &Scalar<'_>, field: &str) -> Result<i64, Refusal> {
    let must = "a whole number of base units from -10^12 to 10^12, and not 0";
    let n = whole(value, field, must)?;
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
    let n = whole(value, field, must)?;
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
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(Time(stamp.as_millisecond()))
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
