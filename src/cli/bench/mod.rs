//! `shelfd bench`: drives a node and prints throughput and percentiles.
//!
//! What lives here: the load generator, its figures, and the table that sets runs of the node and of its peers side by side.
//! Rejected: wrk and its like. They count answers, and a refusal is the quickest answer of all; here only what took effect
//! counts.

pub use self::args::Args;
use self::figures::Line;
use self::report::Run;
use super::Context;
use super::exit::{Code, Failure};
use super::out::Out;
use super::scratch;

pub mod args;
pub mod figures;
pub mod host;
pub mod load;
pub mod measure;
pub mod pick;
pub mod prepare;
pub mod probe;
pub mod report;
pub mod request;
pub mod timeline;
pub mod verdict;
pub mod wire;
pub mod work;

/// Drives a node as the options say and prints the figures.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(directory) = &args.report {
        return report::tell(&args, directory, &context.out);
    }
    if let Some(probe) = args.probe {
        if scratch::url_was_typed() {
            return Err(Failure::usage(
                "a probe stops and kills its node, so it starts one of its own: leave out --url",
            ));
        }
        let begun = host::ticks();
        let run = probe.run(&args, context).await?;
        return show(with_stolen(run, begun), &context.out);
    }
    let own = if scratch::url_was_typed() { None } else { Some(start(&args)?) };
    let url = own.as_ref().map_or(context.api.url(), scratch::Node::url).to_owned();
    let pid = own.as_ref().map(scratch::Node::pid).or(args.pid);
    let plan = measure::plan(&args, &url, context.api.token())?;
    if !args.no_opening {
        prepare::stock_up(plan.address, &plan.terms, args.skus).await?;
    }
    let begun = host::ticks();
    let run = measure::measure(&args, plan, pid).await?;
    show(with_stolen(run, begun), &context.out)
}

/// A run with what the host has taken since it began, its warm-up included.
fn with_stolen(mut run: Run, begun: Option<host::Ticks>) -> Run {
    run.stolen = begun.zip(host::ticks()).and_then(|(begun, now)| begun.stolen_until(now));
    run
}

/// Starts a throw-away node.
fn start(args: &Args) -> Result<scratch::Node, Failure> {
    let parent = args.store_in.clone().unwrap_or_else(std::env::temp_dir);
    let directory = scratch::Directory::new(&parent, "bench", false)?;
    scratch::Node::start(directory, "127.0.0.1:0", args.config.as_deref())
}

fn show(run: Run, out: &Out) -> Result<(), Failure> {
    if out.json {
        out.line(serde_json::to_string(&run).map_err(|error| Failure::new(Code::Io, error.to_string()))?)?;
    } else {
        let how = match run.settings.get("rate").and_then(serde_json::Value::as_f64) {
            Some(rate) => format!("{rate} requests a second due, latency from when they were due"),
            None => "each connection asks when it is answered".to_owned(),
        };
        out.line(format!(
            "{}: {how}; {:.0} s measured on {}",
            run.row, run.seconds, run.machine
        ))?;
        if let Some(usage) = run.usage {
            let cores = usage.cpu_s / run.seconds;
            out.line(format!(
                "the node used {cores:.2} cores and {} MiB; the generator had the rest",
                usage.resident_kib / 1_024
            ))?;
        }
        if let Some(stolen) = run.stolen.filter(|stolen| *stolen >= report::MUCH_STOLEN) {
            out.line(format!(
                "the host gave {:.0} % of the cores' time to others meanwhile: measure again in a quiet hour",
                stolen * 100.0
            ))?;
        }
        for gauge in &run.gauges {
            out.line(format!("  {}: {}", gauge.name, gauge.told()))?;
        }
        let named = |name: &'static str| move |line: &Line| (name.to_owned(), line.clone());
        let lines: Vec<_> = run
            .lines
            .iter()
            .map(named(""))
            .chain(run.beside.iter().map(named("beside:")))
            .collect();
        if !lines.is_empty() {
            figures::print(out, &lines)?;
        }
    }
    // A run of nothing but refusals has measured nothing.
    let worked = run.lines.iter().any(|line| line.accepted > 0) || !run.gauges.is_empty();
    if worked {
        Ok(())
    } else {
        Err(Failure::data("no operation was accepted, so there is no throughput to tell"))
    }
}
