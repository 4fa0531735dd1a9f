//! The figures of a run: accepted operations, latencies, and what was not accepted; for people and for programs.
//!
//! Latencies are those of requests of which something was accepted; the others are counted by code and have no place in a
//! percentile of these: how fast a refusal comes is told apart. Rejected: averages alone, which hide exactly the requests that somebody waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::verdict::Outcome;
use super::work::Kind;
use crate::cli::exit::Failure;
use crate::cli::out::{Out, Tone};
use crate::cli::table::{Align, Sheet, text, toned};

/// The longest latency that is told apart from longer ones, in ns.
const LONGEST_NS: u64 = 120_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What was seen of one kind of request.
#[derive(Clone, Debug)]
struct Seen {
    requests: u64,
    outcome: Outcome,
    latency_ns: Histogram<u64>,
    refused_ns: Histogram<u64>,
}

/// What was seen in one lane.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    kinds: BTreeMap<Kind, Seen>,
}

impl Figures {
    /// Counts one request: how long its caller waited since it was due, and how long its answer took.
    pub fn record(&mut self, kind: Kind, (latency, asked): (Duration, Duration), outcome: &Outcome) {
        let seen = self.kinds.entry(kind).or_insert_with(Seen::new);
        seen.requests += 1;
        seen.outcome.add(outcome);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if outcome.accepted > 0 {
            seen.latency_ns.saturating_record(nanoseconds(latency));
        } else if !asked.is_zero() {
            // A caller that keeps it waiting before it asks, or never asks, is not the node's doing: a refusal is timed from the asking.
            seen.refused_ns.saturating_record(nanoseconds(asked));
        }
    }

    /// Adds those of another thread.
    pub fn add(&mut self, other: &Figures) {
        for (kind, theirs) in &other.kinds {
            let seen = self.kinds.entry(*kind).or_insert_with(Seen::new);
            seen.requests += theirs.requests;
            seen.outcome.add(&theirs.outcome);
            // Both have the same bounds, so none of it can fail to fit.
            let _ = seen.latency_ns.add(&theirs.latency_ns);
            let _ = seen.refused_ns.add(&theirs.refused_ns);
        }
    }

    /// The lines of the report, for a window of so many seconds.
    pub fn lines(&self, seconds: f64) -> Vec<Line> {
        self.kinds.iter().map(|(kind, seen)| seen.line(*kind, seconds)).collect()
    }
}

impl Seen {
    fn new() -> Seen {
        let empty: Histogram<u64> =
            Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are constants that fit each other");
        Seen {
            requests: 0,
            outcome: Outcome::default(),
            latency_ns: empty.clone(),
            refused_ns: empty,
        }
    }

    fn line(&self, kind: Kind, seconds: f64) -> Line {
        Line {
            kind: kind.name().to_owned(),
            requests: self.requests,
            accepted: self.outcome.accepted,
            accepted_per_s: self.outcome.accepted as f64 / seconds,
            found: self.outcome.found,
            not_accepted: self.outcome.not_accepted.clone(),
            latency_us: Latency::of(&self.latency_ns),
            refused_us: (!self.refused_ns.is_empty()).then(|| Latency::of(&self.refused_ns)),
        }
    }
}

/// The figures of one kind of request, as they are written to files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// `sale`, `batch`, …
    pub kind: String,
    /// Requests answered or failed.
    pub requests: u64,
    /// Operations that took effect.
    pub accepted: u64,
    /// The same a second.
    pub accepted_per_s: f64,
    /// Accepted sales that had to find units.
    pub found: u64,
    /// Operations that took no effect, by code.
    pub not_accepted: BTreeMap<String, u64>,
    /// Of requests with at least one accepted operation, in µs; in an open loop from when the request was due.
    pub latency_us: Latency,
    /// Of requests of which nothing was accepted, in µs since they were sent; none: there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_us: Option<Latency>,
}

/// Percentiles in µs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half were faster.
    pub p50: f64,
    /// 90 % were faster.
    pub p90: f64,
    /// 99 % were faster.
    pub p99: f64,
    /// 99.9 % were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency {
            mean: histogram.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// Prints lines as a table; the text before each names what it belongs to.
pub fn print(out: &Out, lines: &[(String, Line)]) -> Result<(), Failure> {
    use Align::{Left, Right};
    let columns = [
        ("work", Left),
        ("accepted/s", Right),
        ("p50 ms", Right),
        ("p90", Right),
        ("p99", Right),
        ("p99.9", Right),
        ("max", Right),
        ("accepted", Right),
        ("not accepted", Left),
    ];
    let mut sheet = Sheet::new(out, &columns);
    for (group, line) in lines {
        let at = &line.latency_us;
        let throughput = if line.accepted == 0 {
            toned("none", Tone::Bad)
        } else {
            toned(thousands(line.accepted_per_s), Tone::Strong)
        };
        let missed: Vec<String> = line
            .not_accepted
            .iter()
            .map(|(code, count)| format!("{count} {code}"))
            .collect();
        let found = if line.found > 0 {
            vec![format!("({} had to find units)", line.found)]
        } else {
            Vec::new()
        };
        let tone = if missed.is_empty() { Tone::Dim } else { Tone::Bad };
        let missed = if missed.is_empty() && found.is_empty() {
            "none".to_owned()
        } else {
            [missed, found].concat().join(", ")
        };
        let mut row = vec![text(format!("{group} {}", line.kind).trim()), throughput];
        row.extend([at.p50, at.p90, at.p99, at.p999, at.max].map(|us| text(format!("{:.2}", us / 1_000.0))));
        row.extend([text(thousands(line.accepted as f64)), toned(missed, tone)]);
        sheet.row(row);
    }
    Ok(sheet.print(out)?)
}

/// A number as people read it: `1,234,567`.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_in_no_throughput_and_no_percentile() {
        let (mut figures, mut good, mut bad) = (Figures::default(), Outcome::default(), Outcome::default());
        good.accepted = 10;
        bad.miss("overloaded", 10);
        let both = |time: Duration| (time, time);
        figures.record(Kind::Batch, both(Duration::from_millis(8)), &good);
        let mut other = Figures::default();
        other.record(Kind::Batch, (Duration::from_secs(9), Duration::from_micros(100)), &bad);
        figures.add(&other);
        let line = &figures.lines(2.0)[0];
        assert_eq!((line.requests, line.accepted, line.not_accepted["overloaded"]), (2, 10, 10));
        assert!((line.accepted_per_s - 5.0).abs() < 1e-9);
        assert!(
            line.latency_us.p50 > 7_900.0 && line.latency_us.p50 < 8_100.0,
            "{}",
            line.latency_us.p50
        );
        let refused = line.refused_us.expect("one was refused");
        assert!((99.0..101.0).contains(&refused.max), "{refused:?}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
    }
}
