//! How heavy work gives way to light: what a light event finds ahead of it is what heavy work has put there.
//!
//! While light events come, heavy batches are small, and the next one waits until the publishers have all but caught up with those
//! before: so a light event waits for one small batch, wherever that is on its way. While none come, the batches are large and
//! the publishers may be far behind, since nobody waits. The cores are a queue, too: a light event passes a dozen threads, the broker's
//! among them, so heavy work rests after each small batch, and half of the box is idle. A share of the valve alone was rejected: it bounds
//! how much of an import is on its way, and not how busy the box is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Messages and bytes of one batch.
pub(super) const BATCH: (usize, usize) = (2_000, 4 << 20);
/// Messages of a heavy batch while light events come.
const SMALL: usize = 200;
/// Facts that publishers may be behind before heavy batches wait for them: while nothing else comes, and while light events do.
const BEHIND: [u64; 2] = [8_000, 300];
/// How long heavy work rests after a batch while light events come, as a multiple of what the batch took.
const RESTS: u32 = 4;
/// The longest rest: a batch that waited for room on the disk has rested already.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How long light events are still expected after the last one.
const LIGHT: Duration = Duration::from_secs(60);

/// What the consumers share.
pub(super) struct Way {
    begun: Instant,
    /// A light batch is underway.
    light: AtomicBool,
    /// When light events were last seen, in milliseconds since the start; 0: never.
    seen: AtomicU64,
}

impl Default for Way {
    fn default() -> Way {
        Way {
            begun: Instant::now(),
            light: AtomicBool::default(),
            seen: AtomicU64::default(),
        }
    }
}

impl Way {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }

    /// Whether light events come, or have come so lately that more are expected.
    fn is_shared(&self, now: u64) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        seen > 0 && now.saturating_sub(seen) < LIGHT.as_millis() as u64
    }

    /// A light batch begins or ends.
    pub(super) fn light(&self, underway: bool) {
        self.light.store(underway, Ordering::Release);
        self.seen.store(self.now(), Ordering::Relaxed);
    }

    /// The most messages of the next heavy batch.
    pub(super) fn heavy_batch(&self) -> usize {
        if self.is_shared(self.now()) { SMALL } else { BATCH.0 }
    }

    /// How long heavy work rests after a batch that took so long.
    pub(super) fn rest(&self, took: Duration) -> Duration {
        match self.is_shared(self.now()) {
            true => took.saturating_mul(RESTS).min(LONGEST_REST),
            false => Duration::ZERO,
        }
    }

    /// Whether the next heavy batch waits, while publishers are so many facts behind.
    pub(super) fn is_busy(&self, behind: u64) -> bool {
        let most = BEHIND[usize::from(self.is_shared(self.now()))];
        self.light.load(Ordering::Acquire) || behind > most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_is_alone_has_large_batches_and_far_publishers() {
        let way = Way::default();
        assert_eq!(way.heavy_batch(), BATCH.0);
        assert!(!way.is_busy(BEHIND[0]) && way.is_busy(BEHIND[0] + 1));
        assert_eq!(way.rest(LONGEST_REST), Duration::ZERO);
    }

    #[test]
    fn while_light_events_come_an_import_is_small_portions_behind_publishers_that_follow() {
        let way = Way::default();
        way.light(true);
        assert!(way.is_busy(0), "a light batch is underway");
        assert_eq!(way.heavy_batch(), SMALL);
        way.light(false);
        // As if it were now.
        way.seen.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(way.heavy_batch(), SMALL);
        assert!(!way.is_busy(BEHIND[1]) && way.is_busy(BEHIND[1] + 1));
        let batch = Duration::from_millis(2);
        assert_eq!(way.rest(batch), batch * RESTS);
        assert_eq!(way.rest(LONGEST_REST), LONGEST_REST);
    }

    #[test]
    fn light_events_that_have_ceased_hold_an_import_back_no_longer() {
        let way = Way::default();
        way.light(true);
        way.light(false);
        let seen = way.seen.load(Ordering::Relaxed);
        let past = LIGHT.as_millis() as u64;
        assert!(way.is_shared(seen + past - 1) && !way.is_shared(seen + past));
    }
}
