//! Past the limit, and at half of it for long.
//!
//! First the most that the node carries is found, with callers that wait for their answers; then the same work is *due* twice and
//! ten times as fast, beside a few single sales that tell how an ordinary caller fares and when it is over; then the most is found
//! once more, and the better of the two is what the overloads are compared with. The generator shares the cores and may not manage
//! ten times: what it did send is told, too. Rejected: a fixed rate, which is past the limit of one
//! machine and a quiet day for another.

use std::time::Duration;

use super::{Bench, times};
use crate::cli::bench::load::{Lane, Plan};
use crate::cli::bench::measure;
use crate::cli::bench::report::{Gauge, Run};
use crate::cli::bench::timeline::Tick;
use crate::cli::bench::work::Work;
use crate::cli::exit::Failure;

/// Connections that keep it busy: with these its best is found.
const BUSY: usize = 64;
/// Connections of the overload: more than the node lets in of batches of a thousand.
const CROWD: usize = 512;
/// Single sales a second that go on before, during and after it.
const ORDINARY_PER_S: f64 = 200.0;
/// The step in which the end of an overload is looked for.
const STEP: Duration = Duration::from_millis(100);
/// How long there is no overload, before and after.
const CALM: Duration = Duration::from_secs(3);
/// An ordinary wait, however quick the node was before.
const ORDINARY_US: f64 = 5_000.0;

impl Bench<'_> {
    /// The most that the node carries of the work, with the connections of the options, or more.
    async fn best(&self) -> Result<Run, Failure> {
        let mut plan = self.plan()?;
        plan.lanes[0].rate = None;
        plan.lanes.truncate(1);
        // With too few callers the node would wait for them, and its best would be theirs.
        plan.lanes[0].connections = plan.lanes[0].connections.max(BUSY);
        (plan.step, plan.enough) = (Duration::ZERO, None);
        plan.duration = plan.duration.min(Duration::from_secs(10));
        measure::measure(self.args, plan, Some(self.node.pid())).await
    }

    pub(super) async fn overload(&mut self) -> Result<(), Failure> {
        let before = self.best().await?.accepted_per_s();
        let mut runs = Vec::new();
        for factor in [2.0, 10.0] {
            runs.push((factor, self.overloaded(before * factor).await?));
        }
        // Once more, so that a moment in which the machine was slow is not taken for the most that it can do.
        let best = self.best().await?.accepted_per_s().max(before);
        self.run.gauges.push(Gauge::new("best", best, "a second"));
        for (factor, run) in runs {
            self.tell_overload(&format!("x{factor}"), &run, best);
            (self.run.lines, self.run.beside) = (run.lines, run.beside);
            (self.run.timeline, self.run.beside_timeline) = (run.timeline, run.beside_timeline);
        }
        Ok(())
    }

    /// One overload of so many operations a second, with calm before and after it.
    async fn overloaded(&self, operations_per_s: f64) -> Result<Run, Failure> {
        let plan = self.plan()?;
        let rows = if plan.lanes[0].work == Work::Batch {
            plan.terms.batch as f64
        } else {
            1.0
        };
        let (during, ordinary) = (
            plan.duration,
            Lane {
                work: Work::Sale,
                connections: 16,
                rate: Some(ORDINARY_PER_S),
                from: None,
                until: None,
            },
        );
        let crowd = Lane {
            work: plan.lanes[0].work,
            connections: CROWD,
            rate: Some(operations_per_s / rows),
            from: Some(CALM),
            until: Some(CALM + during),
        };
        let plan = Plan {
            lanes: vec![ordinary, crowd],
            duration: CALM + during + CALM,
            step: STEP,
            ..plan
        };
        measure::measure(self.args, plan, Some(self.node.pid())).await
    }

    fn tell_overload(&mut self, name: &str, run: &Run, best: f64) {
        let during = self.args.for_s as f64;
        let (from, until) = (CALM.as_secs_f64(), CALM.as_secs_f64() + during);
        let within = |tick: &&Tick| tick.at_s >= from && tick.at_s < until;
        let sum = |of: fn(&Tick) -> u64| run.beside_timeline.iter().filter(within).map(of).sum::<u64>() as f64;
        let (accepted, missed) = (sum(|tick| tick.accepted), sum(|tick| tick.missed));
        let refused = run.beside.iter().filter_map(|line| line.refused_us);
        let refused_ms = refused.map(|latency| latency.p99 / 1_000.0).fold(0.0, f64::max);
        let mut tell =
            |gauge: &str, value: f64, unit: &str| self.run.gauges.push(Gauge::new(&format!("{name}_{gauge}"), value, unit));
        tell("sent", (accepted + missed) / during, "a second");
        tell("to_best", times(accepted / during, best).unwrap_or(0.0), "times");
        tell("refused_p99", refused_ms, "ms");
        tell("recovered_after", recovery(&run.timeline, from, until), "s");
    }

    pub(super) async fn soak(&mut self) -> Result<(), Failure> {
        let best = self.best().await?.accepted_per_s();
        let mut plan = self.plan()?;
        let rows = if plan.lanes[0].work == Work::Batch {
            plan.terms.batch as f64
        } else {
            1.0
        };
        plan.lanes[0].rate = Some(best / 2.0 / rows);
        plan.step = if plan.step.is_zero() {
            Duration::from_secs(1)
        } else {
            plan.step
        };
        let before = self.metric("shelfd_store_bytes").await?;
        let run = measure::measure(self.args, plan, Some(self.node.pid())).await?;
        let grown = self.metric("shelfd_store_bytes").await? - before;
        let accepted: u64 = run.lines.iter().map(|line| line.accepted).sum();
        let inflight = self.metric("shelfd_inflight_events").await?;
        self.run = Run {
            row: self.run.row.clone(),
            ..run
        };
        self.run.gauges.push(Gauge::new("best", best, "a second"));
        let growth = times(grown, accepted as f64).map(|bytes| Gauge::new("file_growth_per_event", bytes, "bytes"));
        self.run.gauges.extend(growth);
        self.run.gauges.push(Gauge::new("left_in_flight", inflight, "events"));
        Ok(())
    }
}

/// Seconds after the end of the overload until the sales beside it wait no longer than an ordinary sale does, and none is refused.
fn recovery(timeline: &[Tick], from: f64, until: f64) -> f64 {
    let calm = timeline.iter().filter(|tick| tick.at_s < from).map(|tick| tick.p50_us);
    let ordinary = calm.fold(0.0, f64::max).max(ORDINARY_US);
    let after = timeline.iter().filter(|tick| tick.at_s >= until);
    let troubled = after.filter(|tick| tick.missed > 0 || tick.p50_us > ordinary);
    troubled
        .map(|tick| tick.at_s + STEP.as_secs_f64() - until)
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_the_last_caller_waits_no_longer() {
        let tick = |number: u32| Tick {
            at_s: f64::from(number) / 10.0,
            accepted: 20,
            missed: u64::from(number == 52),
            p50_us: if (30..54).contains(&number) { 800_000.0 } else { 900.0 },
            p99_us: 0.0,
            resident_kib: None,
            stolen: None,
        };
        let timeline: Vec<Tick> = (0..80).map(tick).collect();
        assert!(
            (recovery(&timeline, 3.0, 5.0) - 0.4).abs() < 1e-6,
            "{}",
            recovery(&timeline, 3.0, 5.0)
        );
        assert!(recovery(&timeline, 3.0, 6.0).abs() < 1e-6);
    }
}
