//! What the node takes from its machine, beside the disk and the network: the wall clock, threads that may block, and chance.
//!
//! This is the one seam at which the simulator (docs/simulator.md) puts its own machine in the place of the real one: within a
//! simulated world everything runs on one thread, time passes only when nothing else can happen, and chance comes from a seed. What
//! waits uses tokio's clock, which the simulator owns as well. Generics or trait objects through the whole house were rejected:
//! these are four questions, and in a build without tests each of them is a plain call.

use tokio::task::JoinHandle;

/// The wall clock, in milliseconds since 1970. Before 1970 it is certainly wrong: 0 keeps it usable until the journal's newest time
/// lifts it.
pub(crate) fn wall_ms() -> i64 {
    #[cfg(test)]
    if let Some(ms) = world::wall_ms() {
        return ms;
    }
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// Runs what may block where it keeps nobody waiting.
pub(crate) fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    match one_thread() {
        true => tokio::spawn(async move { work() }),
        false => tokio::task::spawn_blocking(work),
    }
}

/// Whether no other thread may be started. A constant outside tests.
pub(crate) fn one_thread() -> bool {
    #[cfg(test)]
    return world::is_here();
    #[cfg(not(test))]
    false
}

/// Bytes that nobody can guess: for names that must differ.
pub(crate) fn random() -> [u8; 16] {
    #[cfg(test)]
    if let Some(bytes) = world::random() {
        return bytes;
    }
    rand::random()
}

/// A name of its own for something that nobody has named: a UUID of version 7, which sorts by time.
pub(crate) fn fresh_name() -> uuid::Uuid {
    let ms = u64::try_from(wall_ms()).unwrap_or_default();
    let [rest @ .., _, _, _, _, _, _] = random();
    uuid::Builder::from_unix_timestamp_millis(ms, &rest).into_uuid()
}

/// The machine that a simulator puts in the place of the real one, for one thread.
#[cfg(test)]
pub(crate) mod world {
    use std::cell::RefCell;
    use std::time::Duration;

    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};
    use tokio::time::Instant;

    /// A simulated machine.
    pub(crate) struct World {
        /// The wall clock at `since`.
        wall_ms: i64,
        since: Instant,
        chance: Xoshiro256PlusPlus,
        /// The least and the most that a commit takes, in milliseconds.
        commit_ms: (u64, u64),
        /// Who dies next, at which of its steps from now.
        doomed: Option<(&'static str, u32)>,
    }

    thread_local! {
        static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    }

    fn ask<R>(question: impl FnOnce(&mut World) -> R) -> Option<R> {
        WORLD.with_borrow_mut(|world| world.as_mut().map(question))
    }

    /// This thread is a simulated machine from now on, until [`end`]. Called within the runtime whose clock it shares.
    pub(crate) fn begin(wall_ms: i64, seed: u64) {
        let world = World {
            wall_ms,
            since: Instant::now(),
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            commit_ms: (0, 0),
            doomed: None,
        };
        WORLD.set(Some(world));
    }

    /// The thread is an ordinary one again.
    pub(crate) fn end() {
        WORLD.set(None);
    }

    pub(super) fn is_here() -> bool {
        WORLD.with_borrow(Option::is_some)
    }

    /// The simulated wall clock; `None`: this thread is an ordinary one.
    pub(crate) fn wall_ms() -> Option<i64> {
        ask(|world| world.wall_ms + world.since.elapsed().as_millis() as i64)
    }

    pub(super) fn random() -> Option<[u8; 16]> {
        ask(|world| world.chance.random())
    }

    /// The wall clock jumps.
    pub(crate) fn jump(ms: i64) {
        ask(|world| world.wall_ms += ms);
    }

    /// A commit takes between `least` and `most` milliseconds from now on.
    pub(crate) fn commits_take(least: u64, most: u64) {
        ask(|world| world.commit_ms = (least, most));
    }

    /// How long the next commit takes.
    pub(crate) fn commit_time() -> Duration {
        let ms = ask(|world| {
            let (least, most) = world.commit_ms;
            world.chance.random_range(least..=most)
        });
        Duration::from_millis(ms.unwrap_or_default())
    }

    /// Whoever has that name dies at the `step`th of its steps from now.
    pub(crate) fn doom(who: &'static str, step: u32) {
        ask(|world| world.doomed = Some((who, step)));
    }

    /// Whether it is this one's turn to die.
    pub(crate) fn dooms(who: &str) -> bool {
        let turn = ask(|world| match &mut world.doomed {
            Some((doomed, steps)) if *doomed == who => {
                *steps = steps.saturating_sub(1);
                let dies = *steps == 0;
                if dies {
                    world.doomed = None;
                }
                dies
            }
            _ => false,
        });
        turn.unwrap_or_default()
    }
}
