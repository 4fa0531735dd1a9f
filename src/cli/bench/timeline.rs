//! A run second by second: what was accepted, how long it took, and what the node weighed.
//!
//! One percentile for half an hour hides a minute in which nothing went. Rejected: a log line a second, which nobody plots.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::host::Usage;
use super::verdict::Outcome;

/// The longest latency that is told apart from longer ones, in µs.
const LONGEST_US: u64 = 120_000_000;
/// Significant digits of a latency: enough for a plot, and a tenth of the memory of three.
const DIGITS: u8 = 2;

/// What was seen in one stretch of time.
#[derive(Clone, Debug)]
struct Stretch {
    accepted: u64,
    missed: u64,
    latency_us: Histogram<u64>,
}

/// Collects what one thread saw.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    step: Duration,
    stretches: BTreeMap<u64, Stretch>,
}

impl Timeline {
    /// A timeline with this step; none is kept for a step of zero.
    pub fn new(step: Duration) -> Timeline {
        Timeline {
            step,
            stretches: BTreeMap::new(),
        }
    }

    /// Notes an answer that came so long after the beginning of the measuring.
    pub fn note(&mut self, at: Duration, latency: Duration, outcome: &Outcome) {
        if self.step.is_zero() {
            return;
        }
        let number = (at.as_nanos() / self.step.as_nanos()) as u64;
        let stretch = self.stretches.entry(number).or_insert_with(Stretch::new);
        stretch.accepted += outcome.accepted;
        stretch.missed += outcome.missed();
        if outcome.accepted > 0 {
            stretch
                .latency_us
                .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Adds that of another thread.
    pub fn add(&mut self, other: &Timeline) {
        self.step = self.step.max(other.step);
        for (number, theirs) in &other.stretches {
            let mine = self.stretches.entry(*number).or_insert_with(Stretch::new);
            mine.accepted += theirs.accepted;
            mine.missed += theirs.missed;
            // Both have the same bounds, so none of it can fail to fit.
            let _ = mine.latency_us.add(&theirs.latency_us);
        }
    }

    /// One entry for each step in which something was answered, with the node's weight where it was looked at, and the host's share.
    pub fn ticks(&self, usage: &BTreeMap<u64, Usage>, stolen: &BTreeMap<u64, f64>) -> Vec<Tick> {
        let at = |number: u64| self.step.as_secs_f64() * number as f64;
        let tick = |(number, stretch): (&u64, &Stretch)| Tick {
            at_s: at(*number),
            accepted: stretch.accepted,
            missed: stretch.missed,
            p50_us: stretch.latency_us.value_at_quantile(0.5) as f64,
            p99_us: stretch.latency_us.value_at_quantile(0.99) as f64,
            resident_kib: usage.get(number).map(|usage| usage.resident_kib),
            stolen: stolen.get(number).copied(),
        };
        self.stretches.iter().map(tick).collect()
    }
}

impl Stretch {
    fn new() -> Stretch {
        Stretch {
            accepted: 0,
            missed: 0,
            latency_us: Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants that fit each other"),
        }
    }
}

/// One step of a timeline, as it is written to files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// When it began, in seconds since the measuring did.
    pub at_s: f64,
    /// Operations that took effect.
    pub accepted: u64,
    /// Operations that did not.
    pub missed: u64,
    /// Half of the requests were faster, in µs.
    pub p50_us: f64,
    /// 99 % were faster, in µs.
    pub p99_us: f64,
    /// The node's resident memory, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_kib: Option<u64>,
    /// The share of all cores' time, 0 to 1, that the host gave to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_into_the_step_in_which_they_came() {
        let (mut mine, mut theirs) = (Timeline::new(Duration::from_secs(1)), Timeline::new(Duration::from_secs(1)));
        let (mut good, mut bad) = (Outcome::default(), Outcome::default());
        good.accepted = 10;
        bad.miss("overloaded", 3);
        mine.note(Duration::from_millis(999), Duration::from_millis(5), &good);
        theirs.note(Duration::from_millis(100), Duration::from_millis(7), &good);
        theirs.note(Duration::from_millis(2_500), Duration::from_millis(1), &bad);
        mine.add(&theirs);
        let ticks = mine.ticks(&BTreeMap::new(), &BTreeMap::from([(2, 0.5)]));
        assert_eq!((ticks[0].stolen, ticks[1].stolen), (None, Some(0.5)));
        let seen: Vec<_> = ticks.iter().map(|tick| (tick.at_s, tick.accepted, tick.missed)).collect();
        assert_eq!(seen, [(0.0, 20, 0), (2.0, 0, 3)]);
        assert!(ticks[0].p99_us > 6_900.0 && ticks[1].p99_us < 1.0, "{ticks:?}");
    }

    #[test]
    fn nothing_is_kept_when_nobody_asked() {
        let mut timeline = Timeline::default();
        timeline.note(Duration::ZERO, Duration::ZERO, &Outcome::default());
        assert!(timeline.ticks(&BTreeMap::new(), &BTreeMap::new()).is_empty());
    }
}
