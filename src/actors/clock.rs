//! The node's clock: wall time that never goes back, restarts included.
//!
//! It follows the wall clock forward and runs on by the monotonic clock when the wall clock is set back, so that stamps
//! are strictly usable as an order; at the start it is lifted to the newest time in the journal.

use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

use crate::domain::units::Time;
use crate::host::wall_ms;

/// One per node, shared.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// The greatest of (wall − monotonic) seen: what to add to the monotonic clock, in ms.
    offset: AtomicI64,
}

impl Clock {
    /// A clock that starts no earlier than `newest`, the newest recorded time of the journal.
    pub fn starting_at(newest: Time) -> Clock {
        Clock {
            started: Instant::now(),
            offset: AtomicI64::new(wall_ms().max(newest.0)),
        }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        let elapsed = self.started.elapsed().as_millis() as i64;
        let offset = wall_ms() - elapsed;
        // Looked at first: it hardly ever rises, and all cores write it for each request otherwise.
        let known = self.offset.load(Ordering::Acquire);
        let greatest = match offset > known {
            true => self.offset.fetch_max(offset, Ordering::AcqRel).max(offset),
            false => known,
        };
        Time(greatest + elapsed)
    }

    /// How far the wall clock is behind this one, in ms: more than a few say that it was set back.
    pub fn behind_ms(&self) -> i64 {
        self.now().0 - wall_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_below_the_newest_recorded_time() {
        let future = Time(wall_ms() + 3_600_000);
        let clock = Clock::starting_at(future);
        assert!(clock.now() >= future);
        assert!(clock.behind_ms() >= 3_599_000);
    }

    #[test]
    fn never_goes_back() {
        let clock = Clock::starting_at(Time(0));
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
