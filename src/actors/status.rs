//! What the node says of itself: one JSON document, made from counters only, so that it is there in a millisecond.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::node::{About, Readiness};
use super::router::Router;
use super::shared::Shared;
use super::supervise::{FOLLOWERS, PLANS, Plan, ROOT, SKUS, WAREHOUSES};
use crate::domain::units::Id;
use crate::storage::ahead::Ahead;

/// See the module.
pub fn status(router: &Router, about: &About, readiness: &Readiness, inflight: u32) -> Value {
    let shared = &router.shared;
    let (state, reason) = match readiness {
        Readiness::Ready => ("ready", None),
        Readiness::Degraded(why) => ("degraded", Some(why.clone())),
        Readiness::Stopping => ("stopping", None),
    };
    let progress = shared.journal.progress();
    let commits = progress.commits.load(Ordering::Relaxed);
    let facts = progress.facts.load(Ordering::Relaxed);
    let view = shared.store.view();
    let warehouses: Vec<Value> = view
        .warehouses()
        .iter()
        .map(|(id, site)| {
            json!({
                "id": id.as_str(),
                "name": site.name,
                "time_zone": site.time_zone,
                "skus": view.sku_count(id.as_str()),
                "held": view.held_count(id.as_str()),
                "running": router.warehouse(id).is_some(),
            })
        })
        .collect();
    // While the store is being opened again there is nothing to say of it.
    let (seq, figures) = (view.durable_seq(), shared.store.figures().ok());
    json!({
        "node": about.name,
        "version": env!("CARGO_PKG_VERSION"),
        "state": state,
        "reason": reason,
        "uptime_s": about.started.elapsed().as_secs(),
        "restored": 0,
        "epoch": shared.journal.epoch(),
        "seq": seq,
        "journal": {
            "commits": commits,
            "facts": facts,
            "facts_per_commit": facts.checked_div(commits).unwrap_or(0),
            "pending": progress.pending.load(Ordering::Relaxed),
            "failures": progress.failures.load(Ordering::Relaxed),
        },
        "disk": figures.map(|figures| json!({ "store_bytes": figures.file_bytes, "free_bytes": figures.free_bytes })),
        // What a start would have to read again.
        "lag": figures.map(|figures| json!({ "snapshot_facts": seq.saturating_sub(figures.snapshot_seq) })),
        "clock_behind_ms": shared.clock.behind_ms(),
        "inflight": { "events": inflight },
        "dead_letters": shared.counters.dead_letters.load(Ordering::Relaxed),
        "clocks_ahead": shared.counters.clocks_ahead.load(Ordering::Relaxed),
        // Whose clocks they were, as of the newest event of each.
        "sources_ahead": sources_ahead(shared),
        "duplicates": shared.counters.duplicates.load(Ordering::Relaxed),
        "audit": audit(router),
        // Named only when there are any, so that whoever prints the document cannot miss them.
        "findings": findings(router),
        "warehouses": warehouses,
        "actors": tree(router),
        "plans": PLANS.iter().map(plan).collect::<Vec<_>>(),
    })
}

fn sources_ahead(shared: &Shared) -> Vec<Value> {
    let told = |((warehouse, source), ahead): ((Id, Id), Ahead)| {
        let at = jiff::Timestamp::from_millisecond(ahead.at.0);
        json!({
            "warehouse": warehouse.as_str(),
            "source": source.as_str(),
            "events": ahead.events,
            "ahead_s": ahead.by_ms / 1_000,
            "last_event": ahead.last.as_str(),
            "last_at": at.map_or_else(|_| String::new(), |at| at.to_string()),
        })
    };
    shared.ahead.all().into_iter().map(told).collect()
}

/// How far the auditor is; null where there is none.
fn audit(router: &Router) -> Value {
    let shared = &router.shared;
    if shared.tuning.audit_facts_per_s == 0 {
        return Value::Null;
    }
    let report = shared.findings.report();
    json!({
        "rounds": report.rounds,
        "slice": report.slice,
        "slices": report.slices,
        "seq": report.seq,
        "facts": report.facts,
        "skus": report.skus,
        "found": report.found,
        "last_round_ms_ago": report.last_round.map(|at| shared.clock.now().0.saturating_sub(at.0)),
    })
}

/// What the auditor has found since the start; null when that is nothing.
fn findings(router: &Router) -> Value {
    let report = router.shared.findings.report();
    let one = |finding: &crate::storage::audit::Finding| {
        json!({
            "invariant": finding.invariant,
            "warehouse": finding.warehouse,
            "subject": finding.subject,
            "detail": finding.detail,
            "at": finding.at.0,
        })
    };
    match report.findings.is_empty() {
        true => Value::Null,
        false => report.findings.iter().map(one).collect(),
    }
}

fn plan(plan: &Plan) -> Value {
    json!({
        "name": plan.name,
        "strategy": plan.strategy.as_str(),
        "intensity": plan.intensity,
        "period_s": plan.period.as_secs(),
        "backoff_first_ms": plan.backoff_first.as_millis() as u64,
        "backoff_most_ms": plan.backoff_most.as_millis() as u64,
    })
}

fn tree(router: &Router) -> Value {
    let shared = &router.shared;
    let counters = &shared.counters;
    let running = router.all();
    let warehouses: Vec<Value> = running.keys().map(|id| json!({ "name": id.as_str() })).collect();
    let audited = shared.tuning.audit_facts_per_s > 0;
    let followers: Vec<Value> = super::root::FOLLOWER_NAMES
        .iter()
        .filter(|name| audited || **name != "auditor")
        .map(|name| json!({ "name": name }))
        .collect();
    json!({
        "name": ROOT.name,
        "strategy": ROOT.strategy.as_str(),
        "children": [
            { "name": "journal" },
            {
                "name": WAREHOUSES.name,
                "strategy": WAREHOUSES.strategy.as_str(),
                "deaths": counters.warehouse_deaths.load(Ordering::Relaxed),
                "children": warehouses,
                "skus": {
                    "name": SKUS.name,
                    "strategy": SKUS.strategy.as_str(),
                    "awake": counters.awake.load(Ordering::Relaxed),
                    "deaths": counters.sku_deaths.load(Ordering::Relaxed),
                },
            },
            {
                "name": FOLLOWERS.name,
                "strategy": FOLLOWERS.strategy.as_str(),
                "deaths": counters.follower_deaths.load(Ordering::Relaxed),
                "children": followers,
            },
        ],
    })
}
