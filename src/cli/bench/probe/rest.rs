//! A node at rest, and what it keeps: processor time, memory, remembered ids, bytes on the disk.
//!
//! Memory is told after a load and again after a restart: what a node needs, and what its allocator has not given back. Rejected:
//! the peak alone, which depends on how the load came.

use std::time::Duration;

use super::{Bench, times};
use crate::cli::bench::load::{Lane, Plan};
use crate::cli::bench::report::{Gauge, Run};
use crate::cli::bench::work::Work;
use crate::cli::bench::{measure, prepare};
use crate::cli::exit::Failure;

/// How long a node is left alone before it is weighed: snapshots and seals come by then.
const SETTLE: Duration = Duration::from_secs(3);
/// Sales a second that wait for a node whose remembered ids grow.
const WAITING_PER_S: f64 = 200.0;

impl Bench<'_> {
    pub(super) async fn idle(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(SETTLE).await;
        let before = self.usage()?;
        tokio::time::sleep(Duration::from_secs(self.args.for_s)).await;
        let after = self.usage()?;
        let cpu = (after.cpu_s - before.cpu_s) / self.args.for_s as f64;
        self.run.gauges.extend([
            Gauge::new("cpu", cpu * 100.0, "% of a core"),
            Gauge::new("resident", after.resident_kib as f64 / 1_024.0, "MiB"),
        ]);
        Ok(())
    }

    pub(super) async fn memory(&mut self) -> Result<(), Failure> {
        if self.args.awake > 0 {
            let plan = self.plan()?;
            prepare::wake_each(plan.address, &plan.terms, self.args.awake).await?;
        }
        let plan = self.plan()?;
        let run = measure::measure(self.args, plan, Some(self.node.pid())).await?;
        (self.run.lines, self.run.usage) = (run.lines, run.usage);
        let after_load = self.resident_mib()?;
        tokio::time::sleep(SETTLE).await;
        let (settled, awake) = (self.resident_mib()?, self.metric("shelfd_skus_awake").await?);
        self.start_again().await?;
        tokio::time::sleep(SETTLE).await;
        self.run.gauges.extend([
            Gauge::new("at_rest", self.resident_mib()?, "MiB"),
            Gauge::new("after_load", after_load, "MiB"),
            Gauge::new("settled", settled, "MiB"),
            Gauge::new("awake", awake, "SKUs"),
        ]);
        Ok(())
    }

    pub(super) async fn ids(&mut self) -> Result<(), Failure> {
        self.start_again().await?;
        tokio::time::sleep(SETTLE).await;
        let base = self.resident_mib()?;
        let plan = self.plan()?;
        let waiting = Lane {
            work: Work::Sale,
            connections: 16,
            rate: Some(WAITING_PER_S),
            from: None,
            until: None,
        };
        let growing = Lane {
            work: Work::Batch,
            ..plan.lanes[0]
        };
        let plan = Plan {
            lanes: vec![growing, waiting],
            ..plan
        };
        let run = measure::measure(self.args, plan, Some(self.node.pid())).await?;
        let fed = self.resident_mib()?;
        let growth = self.metric("shelfd_ids_growth_max_seconds").await? * 1_000.0;
        self.start_again().await?;
        tokio::time::sleep(SETTLE).await;
        let ids = self.metric("shelfd_ids_remembered").await?;
        let rest = self.resident_mib()?;
        let stall = run.beside.first().map_or(0.0, |line| line.latency_us.max / 1_000.0);
        self.run.gauges.extend([
            Gauge::new("ids", ids, ""),
            Gauge::new("at_rest", rest, "MiB"),
            Gauge::new("ids_cost", rest - base, "MiB"),
            Gauge::new("while_fed", fed, "MiB"),
            Gauge::new("longest_growth", growth, "ms"),
            Gauge::new("longest_wait", stall, "ms"),
        ]);
        self.run.gauges.extend(run.gauges);
        let gauges = std::mem::take(&mut self.run.gauges);
        self.run = Run {
            row: self.run.row.clone(),
            gauges,
            ..run
        };
        Ok(())
    }

    pub(super) async fn disk(&mut self) -> Result<(), Failure> {
        let before = self.disk_figures().await?;
        let plan = self.plan()?;
        let run = measure::measure(self.args, plan, Some(self.node.pid())).await?;
        // What followers still owe to these events belongs to them.
        tokio::time::sleep(SETTLE).await;
        let after = self.disk_figures().await?;
        let [written, facts, bytes, store] = [0, 1, 2, 3].map(|index: usize| after[index] - before[index]);
        let per_event = [("written", written), ("fact", bytes), ("file_growth", store)];
        let gauges = per_event.map(|(name, bytes)| Some(Gauge::new(&format!("{name}_per_event"), times(bytes, facts)?, "bytes")));
        self.run.gauges.extend(gauges.into_iter().flatten());
        self.run
            .gauges
            .extend(times(written, bytes).map(|times| Gauge::new("written_to_fact", times, "times")));
        (self.run.lines, self.run.usage) = (run.lines, run.usage);
        Ok(())
    }

    /// Bytes written, facts, bytes of their rows, and the size of the store's file.
    async fn disk_figures(&self) -> Result<[f64; 4], Failure> {
        Ok([
            self.usage()?.written_bytes as f64,
            self.metric("shelfd_journal_seq").await?,
            self.metric("shelfd_journal_bytes_total").await?,
            self.metric("shelfd_store_bytes").await?,
        ])
    }
}
