//! `shelfd bench`: drives a node and prints throughput and percentiles.
//!
//! What lives here: the load generator, its figures, and the table that sets runs of the node and of its peers side by side.
//! Rejected: wrk and its like. They count answers, and a refusal is the quickest answer of all; here only what took effect
//! counts.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::ArgAction;
use serde_json::json;

use self::figures::Line;
use self::load::{Lane, Plan, Watch};
use self::pick::Picker;
use self::report::{NODE, Run};
use self::request::Terms;
use self::work::Work;
use super::Context;
use super::exit::{Code, Failure};
use super::out::{Out, note};
use super::scratch;

pub mod figures;
pub mod host;
pub mod load;
pub mod pick;
pub mod prepare;
pub mod report;
pub mod request;
pub mod verdict;
pub mod wire;
pub mod work;

/// More SKUs than this would need wider ids.
const MOST_SKUS: i64 = 10_000_000;

const EXAMPLES: &str = "\
Examples:
  shelfd bench                                          sales on a throw-away node, 64 connections
  shelfd bench --work batch --batch 1000 --skus 100000  a bulk load
  shelfd bench --work sale --rate 2100                  latency when 2,100 sales a second are due
  shelfd bench --work read --beside sale                reads while sales are committed
  shelfd bench --url http://127.0.0.1:7480 --work mixed a node that runs already; it keeps what it is told

Only operations that took effect are counted. The generator shares the machine with a node on it.";

/// Options of `shelfd bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What the connections do
    #[arg(long, value_enum, default_value_t = Work::Sale, value_name = "WORK")]
    work: Work,
    /// How many connections ask at a time
    #[arg(long, short, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Requests due in a second (open loop); without it, each connection asks as soon as it is answered
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// A second load beside the first, with figures of its own
    #[arg(long, value_enum, value_name = "WORK")]
    beside: Option<Work>,
    /// Connections of the load beside
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    beside_connections: u32,
    /// Requests due in a second of the load beside
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, requires = "beside")]
    beside_rate: Option<f64>,
    /// Events in a batch
    #[arg(long, default_value_t = 1_000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Lines in a basket
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    lines: u32,
    /// Seconds for which baskets are held; without it, as the channel says
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// How many SKUs there are
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_SKUS))]
    skus: u32,
    /// How popular the popular ones are: rank r is drawn 1/r^S as often as the first; 0 makes all alike
    #[arg(long, default_value_t = 0.0, value_name = "S", value_parser = skew)]
    zipf: f64,
    /// The warehouse that everything happens in
    #[arg(long, short, default_value = "main", value_name = "ID", value_parser = super::arg::id)]
    warehouse: String,
    /// Measured seconds
    #[arg(long = "for", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    for_s: u64,
    /// Seconds before the measuring
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    warm_up: u64,
    /// Threads that drive
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Where chance begins
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Does not receive opening stock first; sales may then have to find their units
    #[arg(long, action = ArgAction::SetTrue)]
    no_opening: bool,
    /// Where the throw-away node keeps its store; the disk matters
    #[arg(long, value_name = "DIR")]
    store_in: Option<PathBuf>,
    /// The configuration of the throw-away node
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The process of a node that runs already, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The row that this run belongs to in a report
    #[arg(long, value_name = "TEXT")]
    row: Option<String>,
    /// Who is measured, for a report
    #[arg(long, value_name = "TEXT", default_value = NODE)]
    subject: String,
    /// Drives nothing: prints the table of the results (`--json`) in a directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected requests a second, from 0.1 to 10000000".to_owned()),
    }
}

fn skew(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(skew) if (0.0..=4.0).contains(&skew) => Ok(skew),
        _ => Err("expected a number from 0 to 4".to_owned()),
    }
}

/// Drives a node as the options say and prints the figures.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(directory) = &args.report {
        return report::print(&context.out, &report::read(directory)?);
    }
    let own = if scratch::url_was_typed() { None } else { Some(start(&args)?) };
    let url = own.as_ref().map_or(context.api.url(), scratch::Node::url).to_owned();
    let pid = own.as_ref().map(scratch::Node::pid).or(args.pid);
    let plan = plan(&args, &url, context.api.token())?;
    if !args.no_opening {
        prepare::stock_up(plan.address, &plan.terms, args.skus).await?;
    }
    let run = measure(&args, plan, pid).await?;
    show(&run, &context.out)
}

fn start(args: &Args) -> Result<scratch::Node, Failure> {
    let parent = args.store_in.clone().unwrap_or_else(std::env::temp_dir);
    let directory = scratch::Directory::new(&parent, "bench", false)?;
    scratch::Node::start(directory, "127.0.0.1:0", args.config.as_deref())
}

fn plan(args: &Args, url: &str, token: Option<&str>) -> Result<Plan, Failure> {
    let (address, host) = prepare::address_of(url)?;
    let mut lanes = vec![Lane {
        work: args.work,
        connections: args.connections as usize,
        rate: args.rate,
    }];
    lanes.extend(args.beside.map(|work| Lane {
        work,
        connections: args.beside_connections as usize,
        rate: args.beside_rate,
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
    })
}

async fn measure(args: &Args, plan: Plan, pid: Option<u32>) -> Result<Run, Failure> {
    let (watch, seconds) = (Arc::new(Watch::default()), plan.duration.as_secs_f64());
    let window = (plan.warm_up, plan.duration);
    let mut driving = {
        let watch = Arc::clone(&watch);
        tokio::task::spawn_blocking(move || load::drive(&plan, &watch))
    };
    let (mut before, mut after) = (None, None);
    let mut clock = Box::pin(async {
        tokio::time::sleep(window.0).await;
        before = pid.and_then(host::usage);
        tokio::time::sleep(window.1).await;
        after = pid.and_then(host::usage);
        std::future::pending::<()>().await;
    });
    let mut progress = tokio::time::interval(Duration::from_secs(1));
    let mut seen = 0;
    let driven = loop {
        tokio::select! {
            driven = &mut driving => break driven,
            () = &mut clock => {}
            _ = progress.tick() => {
                let accepted = watch.accepted.load(Ordering::Relaxed);
                if std::io::stderr().is_terminal() && accepted > 0 {
                    note(format!("  {} accepted in the last second", figures::thousands((accepted - seen) as f64)));
                }
                seen = accepted;
            }
            typed = tokio::signal::ctrl_c() => {
                typed?;
                watch.stop.store(true, Ordering::Relaxed);
                return Err(Failure::new(Code::TryAgain, "interrupted: a run that was cut short has no figures"));
            }
        }
    };
    drop(clock);
    // The load may have ended in the instant in which the clock was to look.
    let after = after.or_else(|| pid.and_then(host::usage));
    let figures = driven.map_err(|error| Failure::new(Code::Io, error.to_string()))??;
    let usage = before
        .zip(after)
        .map(|(before, after): (host::Usage, host::Usage)| host::Usage {
            cpu_s: after.cpu_s - before.cpu_s,
            ..after
        });
    let mut lines = figures.iter().map(|figures| figures.lines(seconds));
    Ok(Run {
        row: args
            .row
            .clone()
            .unwrap_or_else(|| format!("{}, {} connections", args.work.name(), args.connections)),
        subject: args.subject.clone(),
        at: jiff::Timestamp::now().to_string(),
        machine: host::machine(),
        settings: settings(args),
        seconds,
        usage,
        lines: lines.next().unwrap_or_default(),
        beside: lines.next().unwrap_or_default(),
    })
}

fn settings(args: &Args) -> BTreeMap<String, serde_json::Value> {
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
    }
    settings
}

fn show(run: &Run, out: &Out) -> Result<(), Failure> {
    if out.json {
        out.line(serde_json::to_string(run).map_err(|error| Failure::new(Code::Io, error.to_string()))?)?;
    } else {
        let how = match run.settings.get("rate").and_then(serde_json::Value::as_f64) {
            Some(rate) => format!("{rate} requests a second due, latency from when they were due"),
            None => "each connection asks when it is answered".to_owned(),
        };
        out.line(format!("{}: {how}; {} s measured on {}", run.row, run.seconds, run.machine))?;
        if let Some(usage) = run.usage {
            let cores = usage.cpu_s / run.seconds;
            out.line(format!(
                "the node used {cores:.2} cores and {} MiB; the generator had the rest",
                usage.resident_kib / 1_024
            ))?;
        }
        let named = |name: &'static str| move |line: &Line| (name.to_owned(), line.clone());
        let lines: Vec<_> = run
            .lines
            .iter()
            .map(named(""))
            .chain(run.beside.iter().map(named("beside:")))
            .collect();
        figures::print(out, &lines)?;
    }
    // A run of nothing but refusals has measured nothing.
    let worked = run.lines.iter().any(|line| line.accepted > 0);
    if worked {
        Ok(())
    } else {
        Err(Failure::data("no operation was accepted, so there is no throughput to tell"))
    }
}
