//! One measured run: the plan from the options, the load with somebody who watches it, and the result with its figures.
//!
//! Rejected: measuring within the load threads, which have a clock but cannot see the node's memory.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::args::Args;
use super::load::{self, Lane, Plan, Seen, Watch};
use super::pick::Picker;
use super::report::{Gauge, Run};
use super::request::Terms;
use super::timeline::Tick;
use super::{figures, host, prepare};
use crate::cli::exit::{Code, Failure};
use crate::cli::out::note;

/// How often somebody looks at the node when no timeline is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the options ask for, at a node.
pub fn plan(args: &Args, url: &str, token: Option<&str>) -> Result<Plan, Failure> {
    let (address, host) = prepare::address_of(url)?;
    let mut lanes = vec![Lane {
        work: args.work,
        connections: args.connections as usize,
        rate: args.rate,
        from: None,
        until: None,
    }];
    lanes.extend(args.beside.map(|work| Lane {
        work,
        connections: args.beside_connections as usize,
        rate: args.beside_rate,
        from: args.beside_from.map(Duration::from_secs_f64),
        until: args.beside_until.map(Duration::from_secs_f64),
    }));
    let terms = Terms {
        host,
        warehouse: args.warehouse.clone(),
        tag: uuid::Uuid::now_v7().simple().to_string()[4..12].to_owned(),
        batch: args.batch as usize,
        lines: args.lines as usize,
        ttl_s: args.ttl,
        token: token.map(str::to_owned),
    };
    Ok(Plan {
        address,
        terms,
        picker: Arc::new(Picker::new(args.skus, args.zipf)),
        lanes,
        threads: args.threads as usize,
        warm_up: Duration::from_secs(args.warm_up),
        duration: Duration::from_secs(args.for_s),
        seed: args.seed,
        step: args.timeline.map_or(Duration::ZERO, Duration::from_secs_f64),
        enough: args.enough,
    })
}

/// A load that runs.
pub struct Driving {
    /// What the load tells while it runs.
    pub watch: Arc<Watch>,
    threads: JoinHandle<std::io::Result<Vec<Seen>>>,
}

impl Driving {
    /// Starts the load on threads of its own.
    pub fn start(plan: Plan) -> Driving {
        let watch = Arc::new(Watch::default());
        let threads = {
            let watch = Arc::clone(&watch);
            tokio::task::spawn_blocking(move || load::drive(&plan, &watch))
        };
        Driving { watch, threads }
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> Result<Vec<Seen>, Failure> {
        let seen = self
            .threads
            .await
            .map_err(|error| Failure::new(Code::Io, error.to_string()))?;
        Ok(seen?)
    }
}

/// What was seen of the node's process during a run.
#[derive(Default)]
struct Looks {
    before: Option<host::Usage>,
    after: Option<host::Usage>,
    /// By step of the timeline.
    steps: BTreeMap<u64, host::Usage>,
    /// What the host took, likewise.
    stolen: BTreeMap<u64, f64>,
}

/// Drives the plan and answers with its figures.
pub async fn measure(args: &Args, plan: Plan, pid: Option<u32>) -> Result<Run, Failure> {
    let (step, warm_up, duration) = (plan.step, plan.warm_up, plan.duration);
    let mut looks = Looks::default();
    let mut driving = Driving::start(plan);
    let watch = Arc::clone(&driving.watch);
    let begun = Instant::now();
    let mut look = tokio::time::interval(if step.is_zero() { LOOK_EVERY } else { step });
    let mut measured_from = Box::pin(tokio::time::sleep(warm_up));
    let mut measured_until = Box::pin(tokio::time::sleep(warm_up + duration));
    let mut told = (Instant::now(), 0);
    let mut ticks = host::ticks();
    let driven = loop {
        tokio::select! {
            driven = &mut driving.threads => break driven,
            () = &mut measured_from, if looks.before.is_none() && pid.is_some() => {
                looks.before = Some(pid.and_then(host::usage).ok_or_else(gone)?);
            }
            () = &mut measured_until, if looks.after.is_none() && pid.is_some() => {
                looks.after = Some(pid.and_then(host::usage).ok_or_else(gone)?);
            }
            _ = look.tick() => {
                let at = begun.elapsed().checked_sub(warm_up);
                if let (Some(at), false) = (at, step.is_zero()) {
                    let number = (at.as_nanos() / step.as_nanos()) as u64;
                    looks.steps.extend(pid.and_then(host::usage).map(|usage| (number, usage)));
                    // What was taken since the look before belongs to the step that ends now.
                    let (before, now) = (ticks, host::ticks());
                    let stolen = before.zip(now).and_then(|(before, now)| before.stolen_until(now));
                    looks.stolen.extend(number.checked_sub(1).zip(stolen));
                    ticks = now;
                }
                told = progress(&watch, told);
            }
            typed = tokio::signal::ctrl_c() => {
                typed?;
                watch.stop.store(true, Ordering::Relaxed);
                return Err(Failure::new(Code::TryAgain, "interrupted: a run that was cut short has no figures"));
            }
        }
    };
    // The load may have ended in the instant in which somebody was to look.
    looks.after = looks.after.or_else(|| pid.and_then(host::usage));
    let seen = driven.map_err(|error| Failure::new(Code::Io, error.to_string()))??;
    let seconds = duration.min(begun.elapsed().saturating_sub(warm_up)).as_secs_f64();
    let seconds = if args.enough.is_some() {
        seconds
    } else {
        duration.as_secs_f64()
    };
    Ok(told_by(args, &seen, &looks, seconds))
}

fn gone() -> Failure {
    Failure::new(
        Code::Unavailable,
        "the process of the node is gone, or is not of this machine",
    )
}

/// Says how far it is, to a person, once a second.
fn progress(watch: &Watch, (when, seen): (Instant, u64)) -> (Instant, u64) {
    if when.elapsed() < LOOK_EVERY {
        return (when, seen);
    }
    let accepted = watch.accepted.load(Ordering::Relaxed);
    if std::io::stderr().is_terminal() && accepted > 0 {
        let rate = (accepted - seen) as f64 / when.elapsed().as_secs_f64();
        note(format!("  {} accepted a second", figures::thousands(rate)));
    }
    (Instant::now(), accepted)
}

fn told_by(args: &Args, seen: &[Seen], looks: &Looks, seconds: f64) -> Run {
    let mut run = Run::of(args, seconds);
    run.usage = looks.before.zip(looks.after).map(|(before, after)| host::Usage {
        cpu_s: after.cpu_s - before.cpu_s,
        written_bytes: after.written_bytes - before.written_bytes,
        ..after
    });
    let mut lines = seen.iter().map(|seen| seen.figures.lines(seconds));
    run.lines = lines.next().unwrap_or_default();
    run.beside = lines.next().unwrap_or_default();
    let mut timelines = seen.iter().map(|seen| seen.timeline.ticks(&looks.steps, &looks.stolen));
    run.timeline = timelines.next().unwrap_or_default();
    run.beside_timeline = timelines.next().unwrap_or_default();
    run.gauges.extend(drift(&run.timeline));
    run
}

/// How the last tenth of a long run compares with its first.
fn drift(timeline: &[Tick]) -> Vec<Gauge> {
    let tenth = timeline.len() / 10;
    if tenth == 0 {
        return Vec::new();
    }
    // The last step is cut off wherever the run ended.
    let (first, last) = (&timeline[..tenth], &timeline[timeline.len() - 1 - tenth..timeline.len() - 1]);
    let mean = |ticks: &[Tick], of: fn(&Tick) -> f64| ticks.iter().map(of).sum::<f64>() / ticks.len() as f64;
    let times = |of: fn(&Tick) -> f64| Some(mean(last, of) / mean(first, of)).filter(|times| times.is_finite());
    let kib = |tick: &Tick| tick.resident_kib.unwrap_or(0) as f64;
    let slower = times(|tick| tick.accepted as f64).map(|times| 1.0 / times);
    [
        ("slower_at_the_end", slower),
        ("p99_at_the_end", times(|tick| tick.p99_us)),
        ("memory_at_the_end", times(kib)),
    ]
    .into_iter()
    .filter_map(|(name, times)| Some(Gauge::new(name, times.filter(|times| times.is_finite())?, "times")))
    .collect()
}

/// The options that a figure depends on.
pub fn settings(args: &Args) -> BTreeMap<String, Value> {
    let mut settings = BTreeMap::from([
        ("work".to_owned(), json!(args.work.name())),
        ("connections".to_owned(), json!(args.connections)),
        ("rate".to_owned(), json!(args.rate)),
        ("batch".to_owned(), json!(args.batch)),
        ("lines".to_owned(), json!(args.lines)),
        ("skus".to_owned(), json!(args.skus)),
        ("zipf".to_owned(), json!(args.zipf)),
        ("threads".to_owned(), json!(args.threads)),
        ("warm_up_s".to_owned(), json!(args.warm_up)),
        ("seed".to_owned(), json!(args.seed)),
    ]);
    if let Some(beside) = args.beside {
        settings.insert("beside".to_owned(), json!(beside.name()));
        settings.insert("beside_connections".to_owned(), json!(args.beside_connections));
        settings.insert("beside_rate".to_owned(), json!(args.beside_rate));
        settings.insert("beside_from_s".to_owned(), json!(args.beside_from));
        settings.insert("beside_until_s".to_owned(), json!(args.beside_until));
    }
    if let Some(enough) = args.enough {
        settings.insert("enough".to_owned(), json!(enough));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_slows_down_is_seen_at_the_end() {
        let tick = |number: u64| Tick {
            at_s: number as f64,
            accepted: if number < 50 { 200 } else { 100 },
            missed: 0,
            p50_us: 1.0,
            p99_us: 10.0,
            resident_kib: Some(1_000 + number),
            stolen: None,
        };
        let timeline: Vec<Tick> = (0..100).map(tick).collect();
        let told = drift(&timeline);
        let of = |name: &str| told.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value);
        assert_eq!((of("slower_at_the_end"), of("p99_at_the_end")), (Some(2.0), Some(1.0)));
        assert!(
            of("memory_at_the_end").is_some_and(|times| (1.08..1.1).contains(&times)),
            "{told:?}"
        );
        assert!(drift(&timeline[..9]).is_empty());
    }
}
