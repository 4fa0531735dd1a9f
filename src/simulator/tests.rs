//! The seeds of `make test`, and the proof that the checks can fail.
//!
//! `make torture` runs more of them and searches for the bugs anew; one seed is repeated with `SHELFD_SIM_SEED`. See
//! docs/simulator.md.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run::{Report, STEPS, run};
use crate::planted::Bug;

/// Seeds that `make test` runs, and that each planted bug must be found within.
const SEEDS: u64 = 500;
/// Seeds that `make torture` runs.
const TORTURE_SEEDS: u64 = 20_000;

/// The page with the seed that finds each bug and the invariant by which it does, as `make torture` found them last.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/simulator.md");

/// The rows of that page's table: `| bug | seed | invariant |`.
fn recorded() -> Vec<(Bug, u64, String)> {
    let page = std::fs::read_to_string(PAGE).expect("docs/simulator.md is there");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let bug = Bug::SIMULATED
            .iter()
            .find(|bug| cells.get(1) == Some(&&*format!("`{bug:?}`")))?;
        Some((*bug, cells.get(2)?.parse().ok()?, (*cells.get(3)?).to_owned()))
    });
    rows.collect()
}

fn whole(seed: u64, bug: Option<Bug>) -> Report {
    run(seed, bug, &|_| true)
}

/// Whether the long versions are wanted.
fn torture() -> bool {
    std::env::var_os("SHELFD_TORTURE").is_some()
}

/// Says something past the harness, which holds a test's words back.
fn say(line: &str) {
    // Nobody has to read it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The steps without which the same thing does not break: leaves out ever smaller parts while it still breaks.
fn fewest(seed: u64, bug: Option<Bug>, invariant: &str) -> BTreeSet<u32> {
    let mut steps: BTreeSet<u32> = (1..=STEPS).collect();
    let mut part = steps.len() / 2;
    while part > 0 {
        let all: Vec<u32> = steps.iter().copied().collect();
        for chunk in all.chunks(part) {
            let fewer: BTreeSet<u32> = steps.iter().copied().filter(|step| !chunk.contains(step)).collect();
            let report = run(seed, bug, &|step| fewer.contains(&step));
            if report.broken.is_some_and(|(_, broken)| broken.invariant == invariant) {
                steps = fewer;
            }
        }
        part /= 2;
    }
    steps
}

/// What is needed to look at a seed that fails: the fewest steps that still do, their trace, and how to repeat it.
fn explain(seed: u64, bug: Option<Bug>, report: &Report) -> String {
    let Some((_, broken)) = &report.broken else {
        return String::new();
    };
    let steps = fewest(seed, bug, broken.invariant);
    let least = run(seed, bug, &|step| steps.contains(&step));
    let names: Vec<String> = steps.iter().map(u32::to_string).collect();
    let (step, least_broken) = least.broken.unwrap_or_else(|| (0, broken.clone()));
    let planted = bug.map_or(String::new(), |bug| format!("SHELFD_SIM_BUG={bug:?} "));
    format!(
        "seed {seed} breaks {} at step {step}: {}\n  {}\nto repeat it:\n  {planted}SHELFD_SIM_SEED={seed} SHELFD_SIM_STEPS={} cargo test --lib simulator::tests::one_seed_again -- --nocapture",
        broken.invariant,
        least_broken.what,
        least.trace.join("\n  "),
        names.join(",")
    )
}

/// Gives the seeds of a range to two threads, and says which of them broke.
fn sweep(seeds: std::ops::Range<u64>, bug: Option<Bug>, each: &(dyn Fn(u64, &Report) -> bool + Sync)) -> Vec<(u64, Report)> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = whole(seed, bug);
                    let more = each(seed, &report);
                    if report.broken.is_some() {
                        failed.lock().expect("nobody panics while holding it").push((seed, report));
                    }
                    if !more {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("nobody panics while holding it");
    failed.sort_by_key(|(seed, _)| *seed);
    failed
}

#[test]
fn a_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..4 {
        let first = whole(seed, None);
        let again = std::thread::spawn(move || whole(seed, None)).join().unwrap();
        for (a, b) in first.trace.iter().zip(&again.trace) {
            assert_eq!(a, b);
        }
        assert_eq!(first.hash, again.hash, "seed {seed}");
    }
}

#[test]
fn all_invariants_hold_in_every_seed() {
    let most = match torture() {
        true => number("SHELFD_TORTURE_CASES").unwrap_or(TORTURE_SEEDS),
        false => SEEDS,
    };
    let (done, facts, lives, answers) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = std::time::Instant::now();
    let first = number("SHELFD_SIM_FROM").unwrap_or(0);
    let failed = sweep(first..most, None, &|_, report| {
        facts.fetch_add(report.facts, Ordering::Relaxed);
        lives.fetch_add(u64::from(report.lives), Ordering::Relaxed);
        answers.fetch_add(report.answers, Ordering::Relaxed);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if torture() && done.is_multiple_of(500) {
            say(&format!(
                "torture: simulator: {done} of {} seeds, {} s",
                most.saturating_sub(first),
                begun.elapsed().as_secs()
            ));
        }
        report.broken.is_none()
    });
    println!(
        "simulator: {done:?} seeds, {facts:?} facts, {lives:?} lives, {answers:?} answers, {:?}",
        begun.elapsed()
    );
    if torture() {
        say(&format!(
            "torture: simulator: {} cases, {} found",
            done.into_inner(),
            failed.len()
        ));
    }
    if let Some((seed, report)) = failed.first() {
        panic!("{}", explain(*seed, None, report));
    }
}

/// Beyond the seeds of `make test`, one that has found something, for as long as a run has the same in it: a basket that had waited for
/// its copies past midnight said the new day's figures under the old day's stamp.
#[test]
fn a_basket_that_waits_past_midnight_says_the_figures_of_its_stamp() {
    let report = whole(5_180, None);
    assert!(report.broken.is_none(), "{}", explain(5_180, None, &report));
}

/// Another: goods that had left were told of five seconds after the store had failed for the last time, and the checks at rest came just
/// before that.
#[test]
fn goods_that_have_left_are_underway_when_everything_is_at_rest() {
    let report = whole(6_067, None);
    assert!(report.broken.is_none(), "{}", explain(6_067, None, &report));
}

#[test]
fn every_planted_bug_is_found_by_its_recorded_seed() {
    let recorded = recorded();
    for (bug, seed, invariant) in &recorded {
        let report = whole(*seed, Some(*bug));
        let by = report.broken.as_ref().map(|(_, broken)| broken.invariant);
        assert_eq!(
            by,
            Some(invariant.as_str()),
            "{bug:?} by seed {seed}; `make torture` searches for another"
        );
    }
    let missing: Vec<_> = Bug::SIMULATED
        .iter()
        .filter(|bug| !recorded.iter().any(|(of, ..)| of == *bug))
        .collect();
    assert!(missing.is_empty(), "no seed is recorded for {missing:?} in {PAGE}");
}

/// Searches every planted bug anew, when it is asked to: the rows of the table in docs/simulator.md.
#[test]
fn every_planted_bug_is_found_within_500_seeds() {
    if !torture() {
        return;
    }
    let mut lost = Vec::new();
    for bug in Bug::SIMULATED {
        let found = sweep(0..SEEDS, Some(*bug), &|_, report| report.broken.is_none());
        let line = match found.first() {
            Some((seed, report)) => {
                let (step, broken) = report.broken.as_ref().expect("only what broke is listed");
                let what: String = broken.what.chars().take(120).collect();
                format!("| `{bug:?}` | {seed} | {} | step {step}: {what} |", broken.invariant)
            }
            None => {
                lost.push(bug);
                format!("{bug:?} is not found within {SEEDS} seeds")
            }
        };
        say(&line);
    }
    say(&format!(
        "torture: planted bugs: {} cases, {} found",
        Bug::SIMULATED.len(),
        lost.len()
    ));
    assert!(lost.is_empty(), "not found: {lost:?}");
}

/// `SHELFD_SIM_SEED`, with `SHELFD_SIM_STEPS` only these steps, with `SHELFD_SIM_BUG` that bug.
#[test]
fn one_seed_again() {
    let seed = number("SHELFD_SIM_SEED").unwrap_or_default();
    let steps = std::env::var("SHELFD_SIM_STEPS").ok();
    let steps: Option<BTreeSet<u32>> = steps.map(|text| text.split(',').filter_map(|step| step.parse().ok()).collect());
    let bug = std::env::var("SHELFD_SIM_BUG").ok();
    let bug = bug.map(|name| {
        let known = Bug::SIMULATED.iter().find(|bug| format!("{bug:?}") == name);
        *known.unwrap_or_else(|| panic!("nobody knows the bug {name}; they are {:?}", Bug::SIMULATED))
    });
    let report = run(seed, bug, &|step| steps.as_ref().is_none_or(|steps| steps.contains(&step)));
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("hash {:016x}, {} lives, {} facts", report.hash, report.lives, report.facts);
    if let Some((step, broken)) = report.broken {
        panic!("seed {seed}, step {step}: {}: {}", broken.invariant, broken.what);
    }
}
