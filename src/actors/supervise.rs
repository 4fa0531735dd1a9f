//! Restart strategies as data, and the one place that counts restarts.
//!
//! ractor reports deaths and leaves the rest to us: no strategy, no intensity, no back-off, and its default supervisor stops
//! itself when a child exits. So every supervisor here overrides that, asks [`Restarts`] what to do, and does only that.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Which siblings a death concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Only the one that died.
    OneForOne,
    /// The one that died and those started after it.
    RestForOne,
}

impl Strategy {
    /// The name in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::OneForOne => "one_for_one",
            Strategy::RestForOne => "rest_for_one",
        }
    }
}

/// How one supervisor treats deaths.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The supervisor's name in the tree.
    pub name: &'static str,
    /// Which siblings a death concerns.
    pub strategy: Strategy,
    /// At most this many deaths …
    pub intensity: u32,
    /// … within this time; past it the supervisor gives up and its own supervisor decides.
    pub period: Duration,
    /// The wait before the first restart …
    pub backoff_first: Duration,
    /// … doubling up to this.
    pub backoff_most: Duration,
}

/// Past its limit the process exits, and the service manager restarts it.
pub const ROOT: Plan = plan("root", Strategy::RestForOne, 3, 60, 100, 2_000);
/// A warehouse is rebuilt from the view.
pub const WAREHOUSES: Plan = plan("warehouses", Strategy::OneForOne, 10, 60, 0, 1_000);
/// A SKU is rebuilt from the view; a poisonous event is gone after two deaths, so this is far more than one event can cause.
pub const SKUS: Plan = plan("skus", Strategy::OneForOne, 1_000, 60, 0, 0);
/// A follower that dies costs stock nothing.
pub const FOLLOWERS: Plan = plan("followers", Strategy::OneForOne, 20, 60, 50, 5_000);

/// Every plan, for `status` and the documentation's test.
pub const PLANS: &[Plan] = &[ROOT, WAREHOUSES, SKUS, FOLLOWERS];

const fn plan(name: &'static str, strategy: Strategy, intensity: u32, period_s: u64, first_ms: u64, most_ms: u64) -> Plan {
    Plan {
        name,
        strategy,
        intensity,
        period: Duration::from_secs(period_s),
        backoff_first: Duration::from_millis(first_ms),
        backoff_most: Duration::from_millis(most_ms),
    }
}

/// The deaths that one supervisor has seen lately.
#[derive(Debug)]
pub struct Restarts {
    plan: Plan,
    recent: VecDeque<Instant>,
    total: u64,
}

impl Restarts {
    /// None so far.
    pub fn new(plan: Plan) -> Restarts {
        Restarts {
            plan,
            recent: VecDeque::new(),
            total: 0,
        }
    }

    /// A child died at `now`: how long to wait before its successor starts, or `None` when the limit is passed.
    pub fn died(&mut self, now: Instant) -> Option<Duration> {
        while self
            .recent
            .front()
            .is_some_and(|first| now.duration_since(*first) > self.plan.period)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.total += 1;
        let deaths = self.recent.len() as u32;
        if deaths > self.plan.intensity {
            return None;
        }
        // The first restart may be at once; what dies again waits, from a millisecond on.
        let least = if deaths > 1 {
            Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        let doubled = self.plan.backoff_first.max(least).saturating_mul(1 << (deaths - 1).min(16));
        Some(doubled.min(self.plan.backoff_most))
    }

    /// Deaths since the start of the process.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_doubling_up_to_the_most() {
        let mut restarts = Restarts::new(ROOT);
        let now = Instant::now();
        assert_eq!(restarts.died(now), Some(Duration::from_millis(100)));
        assert_eq!(restarts.died(now), Some(Duration::from_millis(200)));
    }

    #[test]
    fn a_plan_that_restarts_at_once_waits_when_it_dies_again() {
        let mut restarts = Restarts::new(WAREHOUSES);
        let now = Instant::now();
        let waits: Vec<_> = (0..10).map(|_| restarts.died(now).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(restarts.died(now), None);
        let mut skus = Restarts::new(SKUS);
        assert!((0..1_000).all(|_| skus.died(now) == Some(Duration::ZERO)));
    }

    #[test]
    fn gives_up_past_the_intensity_and_forgets_after_the_period() {
        let mut restarts = Restarts::new(ROOT);
        let now = Instant::now();
        for _ in 0..3 {
            assert!(restarts.died(now).is_some());
        }
        assert_eq!(restarts.died(now), None);
        assert!(restarts.died(now + ROOT.period + Duration::from_secs(1)).is_some());
        assert_eq!(restarts.total(), 5);
    }
}
