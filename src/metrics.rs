//! The gauges that are read off the node when somebody asks for the metrics, rather than kept up to date all the time.

use std::time::Duration;

use metrics::{counter, gauge};

use crate::actors::node::{Node, Readiness};
use crate::storage::journal::JournalHandle;
use crate::systemd::Progress;

/// Sets every gauge to what the node says now.
pub fn observe(node: &Node) {
    let shared = node.shared();
    let view = node.view();
    let progress = shared.journal.progress();
    let read = |number: &std::sync::atomic::AtomicU64| number.load(std::sync::atomic::Ordering::Relaxed);
    gauge!("shelfd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("shelfd_ready").set(if node.readiness() == Readiness::Ready { 1.0 } else { 0.0 });
    counter!("shelfd_commits_total").absolute(read(&progress.commits));
    counter!("shelfd_commit_failures_total").absolute(read(&progress.failures));
    counter!("shelfd_journal_bytes_total").absolute(read(&progress.bytes));
    gauge!("shelfd_journal_seq").set(view.durable_seq() as f64);
    gauge!("shelfd_epoch").set(shared.journal.epoch() as f64);
    let awake = shared.counters.awake.load(std::sync::atomic::Ordering::Relaxed);
    counter!("shelfd_clocks_ahead_total").absolute(read(&shared.counters.clocks_ahead));
    gauge!("shelfd_ids_growth_max_seconds").set(view.longest_growth_us() as f64 / 1e6);
    gauge!("shelfd_skus_awake").set(f64::from(awake));
    for (actor, deaths) in [
        ("sku", read(&shared.counters.sku_deaths)),
        ("warehouse", read(&shared.counters.warehouse_deaths)),
        ("follower", read(&shared.counters.follower_deaths)),
    ] {
        counter!("shelfd_actor_restarts_total", "actor" => actor).absolute(deaths);
    }
    for warehouse in view.warehouses().keys() {
        let label = warehouse.to_string();
        gauge!("shelfd_skus", "warehouse" => label.clone()).set(view.sku_count(warehouse.as_str()) as f64);
        gauge!("shelfd_reservations_held", "warehouse" => label).set(view.held_count(warehouse.as_str()) as f64);
    }
    gauge!("shelfd_dead_letters").set(view.dead_letters(None, None, usize::MAX).len() as f64);
    gauge!("shelfd_store_bytes").set(std::fs::metadata(shared.store.path()).map_or(0.0, |file| file.len() as f64));
    // While the store is being reopened there is nothing to say of it.
    if let Ok(figures) = shared.store.figures() {
        gauge!("shelfd_ids_remembered").set(figures.ids as f64);
        gauge!("shelfd_ledger_index_seq").set(figures.indexed_seq as f64);
        gauge!("shelfd_snapshot_seq").set(figures.snapshot_seq as f64);
        counter!("shelfd_id_disk_reads_total").absolute(figures.id_reads);
    }
    let audit = shared.findings.report();
    counter!("shelfd_audit_rounds_total").absolute(audit.rounds);
    counter!("shelfd_audit_facts_total").absolute(audit.facts);
    gauge!("shelfd_audit_findings").set(audit.found as f64);
    if let Ok(disk) = rustix::fs::statvfs(shared.store.path()) {
        gauge!("shelfd_disk_free_bytes").set((disk.f_bavail * disk.f_frsize) as f64);
    }
}

/// How long the start took.
pub fn started(took: Duration) {
    gauge!("shelfd_start_seconds").set(took.as_secs_f64());
}

/// What the watchdog is told: commits, failed ones included, and whether anything waits for one.
pub fn progress(journal: &JournalHandle) -> Progress {
    let progress = journal.progress();
    let read = |number: &std::sync::atomic::AtomicU64| number.load(std::sync::atomic::Ordering::Relaxed);
    Progress {
        commits: read(&progress.commits) + read(&progress.failures),
        waiting: read(&progress.pending) > 0,
    }
}
