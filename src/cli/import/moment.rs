//! Times as tables write them, made into instants.
//!
//! A time without an offset is read in the mapping's zone, as the clock on the shop's wall showed it. In the hour that a
//! clock repeats in autumn the first is meant; one that it skips in spring is moved on by the skip (RFC 5545, section
//! 3.3.5). Guessing the format from the data was rejected: 03/04 is March or April, and only the shop knows.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::document::{Placed, Problem, Section, did_you_mean};

/// How times are written: every format that occurs, tried in turn.
#[derive(Debug, Clone)]
pub struct TimeFormat {
    zone: Option<TimeZone>,
    formats: Vec<Format>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    /// RFC 3339, or without an offset in the zone.
    Iso,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMillis,
    /// `strftime` letters.
    Letters(String),
}

impl TimeFormat {
    /// Reads `[time]`. Refuses unknown zones and letters, and formats without an offset where no zone is given.
    pub fn read(root: &Section<'_>) -> Result<TimeFormat, Problem> {
        let missing = || root.problem("`[time]` is missing: it says how times are written, for instance `formats = [\"iso\"]`");
        let section = root.section("time", Some(&["zone", "formats"]))?.ok_or_else(missing)?;
        let zone = section.text("zone")?.map(|name| zone(&name)).transpose()?;
        let formats = section
            .texts("formats")?
            .ok_or_else(|| section.problem("`time.formats` is missing, for instance `formats = [\"%Y-%m-%d %H:%M:%S\"]`"))?;
        let formats = formats
            .iter()
            .map(|format| parse_format(format, zone.is_some()))
            .collect::<Result<_, _>>()?;
        Ok(TimeFormat { zone, formats })
    }

    /// The instant of a cell as RFC 3339 with the offset of the zone at that time (`Z` without a zone). Refuses what none of
    /// the formats reads.
    pub fn parse(&self, cell: &str) -> Result<String, String> {
        let cell = cell.trim();
        if cell.is_empty() {
            return Err("the time is empty".to_owned());
        }
        match self.formats.iter().find_map(|format| self.instant(format, cell)) {
            None => Err(format!("time `{cell}` fits none of the formats of the mapping")),
            Some(instant) => Ok(match &self.zone {
                Some(zone) => instant.display_with_offset(zone.to_offset(instant)).to_string(),
                None => instant.to_string(),
            }),
        }
    }

    fn instant(&self, format: &Format, cell: &str) -> Option<Timestamp> {
        match format {
            Format::UnixSeconds => Timestamp::from_second(cell.parse().ok()?).ok(),
            Format::UnixMillis => Timestamp::from_millisecond(cell.parse().ok()?).ok(),
            Format::Iso => cell.parse::<Timestamp>().ok().or_else(|| self.in_zone(cell.parse().ok()?)),
            Format::Letters(letters) => {
                let mut read = BrokenDownTime::parse(letters, cell).ok()?;
                if read.hour().is_none() && read.timestamp().is_none() {
                    // A day without a time is its first hour.
                    read.set_hour(Some(0)).ok()?;
                }
                match read.to_timestamp() {
                    Ok(instant) => Some(instant),
                    Err(_) => self.in_zone(read.to_datetime().ok()?),
                }
            }
        }
    }

    fn in_zone(&self, wall: DateTime) -> Option<Timestamp> {
        self.zone.as_ref()?.to_ambiguous_timestamp(wall).compatible().ok()
    }
}

fn zone(name: &Placed<String>) -> Result<TimeZone, Problem> {
    TimeZone::get(&name.value).map_err(|_| {
        let known = jiff::tz::db()
            .available()
            .map(|name| name.as_str().to_owned())
            .collect::<Vec<_>>();
        let meant = did_you_mean(&name.value, known.iter().map(String::as_str));
        let hint = meant.map_or("; write it as in Europe/Moscow".to_owned(), |meant| {
            format!("; did you mean `{meant}`?")
        });
        name.place
            .problem(format!("`time.zone` `{}` is no time zone{hint}", name.value))
    })
}

fn parse_format(format: &Placed<String>, has_zone: bool) -> Result<Format, Problem> {
    let letters = match format.value.as_str() {
        "iso" => return Ok(Format::Iso),
        "unix_s" => return Ok(Format::UnixSeconds),
        "unix_ms" => return Ok(Format::UnixMillis),
        letters => letters,
    };
    let bad = |why: &str| {
        format.place.problem(format!(
            "time format `{letters}`: {why}; write `iso`, `unix_s`, `unix_ms`, or letters as in `%d.%m.%Y %H:%M`"
        ))
    };
    // What the letters write, they must read back: this finds unknown letters and missing parts before the first row does.
    let sample = Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    let written = jiff::fmt::strtime::format(letters, &sample).map_err(|error| bad(&error.to_string()))?;
    let read = BrokenDownTime::parse(letters, &written).map_err(|error| bad(&error.to_string()))?;
    if read.timestamp().is_none() && read.to_date().is_err() {
        return Err(bad("it has no full date"));
    }
    if read.timestamp().is_none() && read.offset().is_none() && !has_zone {
        return Err(bad("it has no offset, so `time.zone` must say which clock it is"));
    }
    Ok(Format::Letters(letters.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::document::Text;

    fn format(toml: &str) -> Result<TimeFormat, Problem> {
        let text = Text::new("m.toml", toml);
        let document = text.parse()?;
        TimeFormat::read(&Section::root(text, &document, &["time"])?)
    }

    #[test]
    fn a_wall_clock_is_read_in_its_zone() {
        let format =
            format("[time]\nzone = \"Europe/London\"\nformats = [\"%Y-%m-%d %H:%M:%S\", \"%m/%d/%Y %H:%M\", \"%Y-%m-%d\"]")
                .unwrap();
        for (cell, expected) in [
            ("2010-12-01 08:26:00", Some("2010-12-01T08:26:00+00:00")),
            ("2011-06-01 08:26:00", Some("2011-06-01T08:26:00+01:00")),
            ("6/1/2011 8:26", Some("2011-06-01T08:26:00+01:00")),
            ("2011-06-01", Some("2011-06-01T00:00:00+01:00")),
            // Skipped in spring, and repeated in autumn.
            ("2011-03-27 01:30:00", Some("2011-03-27T02:30:00+01:00")),
            ("2011-10-30 01:30:00", Some("2011-10-30T01:30:00+01:00")),
            ("2011-02-30 08:26:00", None),
            ("", None),
            ("yesterday", None),
        ] {
            assert_eq!(format.parse(cell).ok().as_deref(), expected, "{cell}");
        }
    }

    #[test]
    fn offsets_and_counted_times_need_no_zone() {
        let format = format("[time]\nformats = [\"iso\", \"unix_ms\", \"%d.%m.%Y %H:%M %z\"]").unwrap();
        for (cell, expected) in [
            ("2026-11-22T09:14:03+03:00", Some("2026-11-22T06:14:03Z")),
            ("1290000000000", Some("2010-11-17T13:20:00Z")),
            ("22.11.2026 09:14 +0300", Some("2026-11-22T06:14:00Z")),
            ("2026-11-22 09:14", None),
        ] {
            assert_eq!(format.parse(cell).ok().as_deref(), expected, "{cell}");
        }
    }

    #[test]
    fn a_format_that_could_not_work_is_refused_at_once() {
        for (toml, what) in [
            ("[time]\nformats = [\"%d.%m.%Y\"]", "`time.zone` must say"),
            ("[time]\nzone = \"Europe/Moscow\"\nformats = [\"%H:%M\"]", "no full date"),
            ("[time]\nzone = \"Europe/Moscow\"\nformats = [\"%Ü\"]", "time format"),
            (
                "[time]\nzone = \"Europe/Moskow\"\nformats = [\"iso\"]",
                "did you mean `Europe/Moscow`?",
            ),
        ] {
            let problem = format(toml).unwrap_err();
            assert!(problem.to_string().contains(what), "{problem}");
        }
    }
}
