//! The store under every fault that a disk can have: power cuts, failing reads and writes, files that have been damaged.
//!
//! What may live here: the machine that has the faults ([`machine`], [`disk`]), a store's whole life to be spoilt ([`work`]), what must
//! be true afterwards ([`look`]), and one file for each kind of fault, with the proof that its check can fail. `SHELFD_TORTURE` runs the long versions, and
//! `SHELFD_TEST_SEED` repeats one run.

mod broken;
mod cuts;
mod disk;
mod errors;
mod look;
mod machine;
mod picture;
mod work;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// The seed of this run's choices.
fn seed() -> u64 {
    let wanted = std::env::var("SHELFD_TEST_SEED").ok();
    wanted.and_then(|seed| seed.parse().ok()).unwrap_or(0x5E1F_D001)
}

/// How many cases: `usual`, or `long` where `SHELFD_TORTURE` is set, as `make torture` does; `SHELFD_TORTURE_CASES` asks for another
/// number.
fn cases(usual: u64, long: u64) -> u64 {
    let asked = std::env::var("SHELFD_TORTURE_CASES").ok();
    match asked.and_then(|cases| cases.parse().ok()) {
        Some(cases) => cases,
        None if std::env::var_os("SHELFD_TORTURE").is_some() => long,
        None => usual,
    }
}

/// Cases that are run on every core, counted, and told of at the end.
struct Tally {
    name: &'static str,
    cases: AtomicU64,
    begun: Instant,
    found: Mutex<Vec<String>>,
    spoken: Mutex<Instant>,
}

/// After so many findings the rest would say the same.
const ENOUGH: usize = 5;

impl Tally {
    fn of(name: &'static str) -> Tally {
        Tally {
            name,
            cases: AtomicU64::new(0),
            begun: Instant::now(),
            found: Mutex::default(),
            spoken: Mutex::new(Instant::now()),
        }
    }

    fn case(&self, found: Result<(), String>) {
        let cases = self.cases.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(found) = found {
            self.found.lock().push(found);
        }
        if let Some(mut spoken) = self.spoken.try_lock()
            && spoken.elapsed().as_secs() >= 10
        {
            *spoken = Instant::now();
            eprintln!("{}: {cases} cases in {} s", self.name, self.begun.elapsed().as_secs());
        }
    }

    /// Whether there is no use in going on.
    fn is_enough(&self) -> bool {
        self.found.lock().len() >= ENOUGH
    }

    fn count(&self) -> u64 {
        self.cases.load(Ordering::Relaxed)
    }

    /// What was found, and the line that `make torture` adds up.
    fn report(self) -> Vec<String> {
        let (name, cases) = (self.name, self.count());
        let found = self.found();
        println!("torture: {name}: {cases} cases, {} found", found.len());
        found
    }

    /// What was found.
    fn found(self) -> Vec<String> {
        self.found.into_inner()
    }
}

/// Runs a job for each number below `count`, on every core, with the bug that is planted in this thread.
fn on_every_core(count: u64, job: impl Fn(u64) + Sync) {
    let (next, job) = (AtomicU64::new(0), &job);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(crate::planted::inherited(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    job(number);
                }
            }));
        }
    });
}
