//! What the followers do: one line each. The steps themselves are storage's; here is only how often.
//!
//! A store that refuses writes is a state that heals by itself, not a reason to die: a step that meets it waits for the next look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::follower::{Job, Step};
use super::shared::{Shared, Tuning};
use crate::storage::append::CommitFailure;
use crate::storage::database::ReadError;
use crate::storage::keep::{KeepError, Keeper};

/// How often the auditor takes a step: often, so that each is short.
const AUDIT_EVERY: Duration = Duration::from_millis(100);
/// Its steps in a second.
const AUDITS_A_SECOND: u32 = 10;
/// The longest that it is not looked at while it rests: a node with nothing to do is woken for as little as possible, and the clock may be
/// set meanwhile.
const AUDIT_RESTS: Duration = Duration::from_secs(10);
const SEAL_EVERY: Duration = Duration::from_secs(1);
const RETAIN_EVERY: Duration = Duration::from_secs(60);

/// Every follower but the forwarder, which has messages of its own; the auditor only when it is wanted.
pub fn all(tuning: &Tuning) -> Vec<Job> {
    let job = |name, step, first| Job { name, step, first };
    let mut jobs = vec![
        job("sealer", sealer, SEAL_EVERY),
        job("snapshots", snapshots, tuning.snapshot_every),
        job("retention", retention, RETAIN_EVERY),
    ];
    let audit = tuning.audit_facts_per_s > 0;
    jobs.extend(audit.then(|| job("auditor", auditor, AUDIT_EVERY)));
    jobs
}

fn sealer(shared: &Shared) -> Step {
    let mut keeper = shared.store.keeper();
    Box::new(move |_| heard(keeper.seal(), SEAL_EVERY))
}

fn snapshots(shared: &Shared) -> Step {
    let (mut keeper, every) = (shared.store.keeper(), shared.tuning.snapshot_every);
    Box::new(move |shared| heard(keeper.snapshot(shared.clock.now()), every))
}

fn retention(shared: &Shared) -> Step {
    let mut keeper = shared.store.keeper();
    Box::new(move |shared| heard(keeper.retain(shared.clock.now()), RETAIN_EVERY))
}

/// Reads only: a disk that fails is looked at again with the next step.
fn auditor(shared: &Shared) -> Step {
    let mut auditor = shared.store.auditor(shared.findings.clone(), shared.tuning.audit_rest_ms);
    let mut seen = shared.store.view().durable_seq();
    Box::new(move |shared| {
        let durable = shared.store.view().durable_seq();
        let came = durable.saturating_sub(std::mem::replace(&mut seen, durable));
        let facts = audited(shared.tuning.audit_facts_per_s, came);
        if let Err(error) = auditor.step(facts, shared.clock.now()) {
            tracing::debug!(%error, "the auditor waits for the store");
        }
        Ok(auditor.rests_for(shared.clock.now()).clamp(AUDIT_EVERY, AUDIT_RESTS))
    })
}

/// The facts that the auditor folds in one step. What has come since the last one is taken off: the processor belongs to those who wait
/// for an answer. A tenth is left, so that a round ends also under a load that never ends.
fn audited(facts_per_s: u32, came: u64) -> u32 {
    let facts = (facts_per_s / AUDITS_A_SECOND).max(1);
    let came = u32::try_from(came).unwrap_or(u32::MAX);
    facts.saturating_sub(came).max(facts.div_ceil(10))
}

/// How long the next step may wait: `every`, when there is nothing more to do.
fn heard(step: Result<bool, KeepError>, every: Duration) -> Result<Duration, String> {
    match step {
        Ok(true) => Ok(Duration::ZERO),
        Ok(false) => Ok(every),
        Err(KeepError::Write(failure)) if failure != CommitFailure::Stopping => {
            tracing::debug!(?failure, "a background step waits for the store to write again");
            Ok(every)
        }
        Err(KeepError::Write(_) | KeepError::Read(ReadError::Unavailable | ReadError::Disk(_))) => Ok(every),
        Err(error) => Err(error.to_string()),
    }
}

/// How long a stop waits for background steps that are underway.
const STEPS_WITHIN: Duration = Duration::from_secs(3);

/// The last steps before the store is closed: a whole snapshot, so that the next start is short. It must not run beside a step
/// that was underway when the tree was stopped, so it waits for that; when it takes too long, the snapshot is left out.
pub fn finish(shared: &Shared) {
    let until = Instant::now() + STEPS_WITHIN;
    while Arc::strong_count(&shared.steps) > 1 {
        if Instant::now() > until {
            tracing::warn!(
                "a background step is still running; the last snapshot is left out, the next start reads more of the journal"
            );
            return shared.store.close();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut keeper: Keeper = shared.store.keeper();
    if let Err(error) = keeper.finish(shared.clock.now()) {
        tracing::warn!(%error, "the last snapshot was not written; the next start reads more of the journal, and nothing is lost");
    }
    shared.store.close();
}

#[cfg(test)]
mod tests {
    use super::audited;

    #[test]
    fn the_auditor_steps_back_for_what_comes_and_never_stands_still() {
        assert_eq!(audited(20_000, 0), 2_000);
        assert_eq!(audited(20_000, 700), 1_300);
        assert_eq!([1_900, 50_000, u64::MAX].map(|came| audited(20_000, came)), [200; 3]);
        assert_eq!(audited(1, 9), 1);
    }
}
