//! The generations that are still in memory, and the next one, made ahead.
//!
//! Room for the ids of a generation is some megabytes; to make it when the first of its facts is folded held up that commit by up to
//! six milliseconds. So whoever seals makes it when the newest one is half full, on its own thread. A fold that gets there first makes
//! it itself, as it does after a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::storage::remembered::Generation;

/// See the module. Never empty.
pub(crate) struct Live {
    generations: ArcSwap<Vec<Arc<Generation>>>,
    next: Mutex<Option<Generation>>,
    bits: u32,
    /// The longest that a fold has waited for room for more ids, in microseconds.
    longest_growth_us: AtomicU64,
}

impl Live {
    /// With one empty generation, of that number.
    pub(super) fn new(first: u64, bits: u32) -> Live {
        Live {
            generations: ArcSwap::from_pointee(vec![Arc::new(Generation::new(first, bits))]),
            next: Mutex::default(),
            bits,
            longest_growth_us: AtomicU64::new(0),
        }
    }

    /// All of them, oldest first.
    pub(crate) fn load(&self) -> Guard<Arc<Vec<Arc<Generation>>>> {
        self.generations.load()
    }

    /// The generation of a sequence, made when it is the next one; `None` when it is sealed.
    pub(super) fn of(&self, seq: u64) -> Option<Arc<Generation>> {
        let number = seq >> self.bits;
        let live = self.generations.load();
        match live.iter().rev().find(|generation| generation.number <= number) {
            Some(generation) if generation.number == number => Some(Arc::clone(generation)),
            Some(_) => Some(self.grow(number)),
            None => None,
        }
    }

    fn grow(&self, number: u64) -> Arc<Generation> {
        let began = Instant::now();
        let ready = self.next.lock().take().filter(|next| next.number == number);
        let new = Arc::new(ready.unwrap_or_else(|| Generation::new(number, self.bits)));
        // The sealer may drop an old one at the same time.
        self.generations.rcu(|live| {
            let mut longer = Vec::clone(live);
            longer.push(Arc::clone(&new));
            longer
        });
        let took = began.elapsed().as_micros() as u64;
        self.longest_growth_us.fetch_max(took, Ordering::Relaxed);
        new
    }

    /// Makes the next generation when the newest one is half full, `durable` being the newest fact. Blocks nobody else.
    pub(crate) fn make_ahead(&self, durable: u64) {
        let number = (durable >> self.bits) + 1;
        let half_full = (durable >> (self.bits - 1)) & 1 == 1;
        let newest = self.generations.load().last().map(|newest| newest.number);
        let made = self.next.lock().as_ref().map(|next| next.number);
        if !half_full || newest != Some(number - 1) || made == Some(number) {
            return;
        }
        let made = Generation::new(number, self.bits);
        *self.next.lock() = Some(made);
    }

    /// Drops a generation: its runs answer for it now.
    pub(crate) fn retire(&self, number: u64) {
        // The journal's thread may add a generation at the same time.
        self.generations.rcu(|live| {
            let rest = live.iter().filter(|generation| generation.number != number);
            rest.cloned().collect::<Vec<_>>()
        });
    }

    pub(super) fn longest_growth_us(&self) -> u64 {
        self.longest_growth_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_generation_is_made_when_the_newest_is_half_full() {
        let live = Live::new(0, 4);
        live.make_ahead(7);
        assert!(live.next.lock().is_none());
        live.make_ahead(8);
        assert_eq!(live.next.lock().as_ref().map(|next| next.number), Some(1));
        let next = live.of(16).expect("it is live");
        assert_eq!((next.number, live.load().len()), (1, 2));
        assert!(live.next.lock().is_none(), "it was taken");
        live.make_ahead(24);
        // What was made for a generation that did not come next is not taken for another.
        assert_eq!(live.of(60).map(|next| next.number), Some(3));
        live.retire(0);
        assert!(live.of(3).is_none());
    }
}
