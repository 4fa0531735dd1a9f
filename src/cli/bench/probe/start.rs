//! How soon a node is ready again, and whether it still knows what it had answered.
//!
//! `kill -9` comes while every connection waits for an answer. What had been answered until then is counted by the callers, so a
//! journal that ends before it has lost something. Rejected: killing an idle node, which has nothing half done.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Bench;
use crate::cli::bench::measure::Driving;
use crate::cli::bench::report::Gauge;
use crate::cli::exit::Failure;

/// How long callers may wait on a node that was killed until they are told to give up.
const AFTERMATH: Duration = Duration::from_millis(200);

impl Bench<'_> {
    pub(super) async fn starts(&mut self) -> Result<(), Failure> {
        let stopped = Instant::now();
        self.node.stop();
        let stopping = stopped.elapsed();
        let clean = self.start_again().await?;
        let known = self.metric("shelfd_journal_seq").await?;
        let mut plan = self.plan()?;
        plan.duration += Duration::from_secs(60);
        let driving = Driving::start(plan);
        tokio::time::sleep(Duration::from_secs(self.args.warm_up + self.args.for_s)).await;
        self.node.kill()?;
        tokio::time::sleep(AFTERMATH).await;
        driving.watch.stop.store(true, Ordering::Relaxed);
        let watch = std::sync::Arc::clone(&driving.watch);
        driving.ended().await?;
        let answered = watch.accepted.load(Ordering::Relaxed) as f64;
        let killed = self.start_again().await?;
        let kept = self.metric("shelfd_journal_seq").await? - known;
        self.run.gauges.extend([
            Gauge::new("ready_after_stop", clean.as_secs_f64(), "s"),
            Gauge::new("ready_after_kill", killed.as_secs_f64(), "s"),
            Gauge::new("stopping", stopping.as_secs_f64(), "s"),
            Gauge::new("answered_before_kill", answered, "events"),
            Gauge::new("lost", (answered - kept).max(0.0), "events"),
        ]);
        Ok(())
    }
}
