//! Whether the disk still has the room that the node keeps back for stopping well: a last snapshot, what is in flight.
//!
//! It is looked at a few times a second by whoever asks. A background step that looks was rejected: its answer would be as old
//! as its last turn, and it would be one more thing that can die.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::statvfs;

/// How old a look may be, in milliseconds.
const LOOK_EVERY_MS: u64 = 250;

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    reserve_bytes: u64,
    begun: Instant,
    looked_ms: AtomicU64,
    short: AtomicBool,
}

impl Room {
    /// With so many bytes to be kept free; 0: none.
    pub(super) fn new(reserve_bytes: u64, file: &Path) -> Room {
        Room {
            reserve_bytes,
            begun: Instant::now(),
            looked_ms: AtomicU64::new(0),
            short: AtomicBool::new(is_short(reserve_bytes, file)),
        }
    }

    /// Whether less is free beside the file than is to be kept.
    pub(super) fn is_short(&self, file: &Path) -> bool {
        let now = self.begun.elapsed().as_millis() as u64;
        let looked = self.looked_ms.load(Ordering::Relaxed);
        let due = self.reserve_bytes > 0 && now.saturating_sub(looked) >= LOOK_EVERY_MS;
        // One looks, the others take what was seen last.
        let mine = due
            && self
                .looked_ms
                .compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.short.store(is_short(self.reserve_bytes, file), Ordering::Relaxed);
        }
        self.short.load(Ordering::Relaxed)
    }
}

/// A disk that cannot be asked (a store in memory has none) is not short: a commit will tell.
fn is_short(reserve_bytes: u64, file: &Path) -> bool {
    reserve_bytes > 0 && statvfs(file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < reserve_bytes)
}
