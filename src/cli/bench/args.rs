//! The options of `shelfd bench`.
//!
//! Rejected: a file of scenarios. What is measured stands on the command line, and a line of a script is a row of the table.

use std::path::PathBuf;

use clap::ArgAction;

use super::probe::Probe;
use super::report::NODE;
use super::report::goal::Goal;
use super::work::Work;

/// More SKUs than this would need wider ids.
const MOST_SKUS: i64 = 10_000_000;

const EXAMPLES: &str = "\
Examples:
  shelfd bench                                          sales on a throw-away node, 64 connections
  shelfd bench --work batch --batch 1000 --skus 100000  a bulk load
  shelfd bench --work sale --rate 2100                  latency when 2,100 sales a second are due
  shelfd bench --work read --beside sale                reads while sales are committed
  shelfd bench --probe start --skus 1000000             how soon a node is ready after a stop and after kill -9
  shelfd bench --url http://127.0.0.1:7480 --work mixed a node that runs already; it keeps what it is told

Only operations that took effect are counted. The generator shares the machine with a node on it.";

/// Options of `shelfd bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What the connections do
    #[arg(long, value_enum, default_value_t = Work::Sale, value_name = "WORK")]
    pub(super) work: Work,
    /// How many connections ask at a time
    #[arg(long, short, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) connections: u32,
    /// Requests due in a second (open loop); without it, each connection asks as soon as it is answered
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// A second load beside the first, with figures of its own
    #[arg(long, value_enum, value_name = "WORK")]
    pub(super) beside: Option<Work>,
    /// Connections of the load beside
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) beside_connections: u32,
    /// Requests due in a second of the load beside
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, requires = "beside")]
    pub(super) beside_rate: Option<f64>,
    /// When the load beside begins, in seconds since the measuring did; without it, with the warm-up
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "beside")]
    pub(super) beside_from: Option<f64>,
    /// When the load beside ends, in seconds since the measuring began
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "beside")]
    pub(super) beside_until: Option<f64>,
    /// Events in a batch
    #[arg(long, default_value_t = 1_000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) batch: u32,
    /// Lines in a basket
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) lines: u32,
    /// Seconds for which baskets are held; without it, as the channel says
    #[arg(long, value_name = "SECONDS")]
    pub(super) ttl: Option<u64>,
    /// How many SKUs there are
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_SKUS))]
    pub(super) skus: u32,
    /// How popular the popular ones are: rank r is drawn 1/r^S as often as the first; 0 makes all alike
    #[arg(long, default_value_t = 0.0, value_name = "S", value_parser = skew)]
    pub(super) zipf: f64,
    /// The warehouse that everything happens in
    #[arg(long, short, default_value = "main", value_name = "ID", value_parser = crate::cli::arg::id)]
    pub(super) warehouse: String,
    /// Measured seconds
    #[arg(long = "for", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) for_s: u64,
    /// Seconds before the measuring
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub(super) warm_up: u64,
    /// Ends the run when so many operations were accepted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) enough: Option<u64>,
    /// Also tells the run in steps of so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeline: Option<f64>,
    /// Threads that drive
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: u32,
    /// Where chance begins
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(super) seed: u64,
    /// Does not receive opening stock first; sales may then have to find their units
    #[arg(long, action = ArgAction::SetTrue)]
    pub(super) no_opening: bool,
    /// Where the throw-away node keeps its store; the disk matters
    #[arg(long, value_name = "DIR")]
    pub(super) store_in: Option<PathBuf>,
    /// The configuration of the throw-away node
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The process of a node that runs already, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// The row that this run belongs to in a report
    #[arg(long, value_name = "TEXT")]
    pub(super) row: Option<String>,
    /// Who is measured, for a report
    #[arg(long, value_name = "TEXT", default_value = NODE)]
    pub(super) subject: String,
    /// What makes the answers of who is measured durable, for a report
    #[arg(long, value_name = "TEXT", default_value = "fsync before the answer")]
    pub(super) durability: String,
    /// What the row shall reach, as `p99_ms <= 20`, `per_s >= 500000` or `ratio:bare loop >= 0.85`; for a report
    #[arg(long, value_name = "GOAL")]
    pub(super) goal: Vec<Goal>,
    /// The plot over the number of SKUs that this run is a point of
    #[arg(long, value_name = "TEXT")]
    pub(super) growth: Option<String>,
    /// Measures something else than a load: rests, starts, ends, or is overloaded, on a throw-away node
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "pid")]
    pub(super) probe: Option<Probe>,
    /// SKUs that a probe of memory keeps awake
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=MOST_SKUS))]
    pub(super) awake: u32,
    /// Drives nothing: prints the table of the results (`--json`) in a directory
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    /// The report as Markdown
    #[arg(long, requires = "report")]
    pub(super) markdown: bool,
    /// Also writes a plot of every row of the report into this directory (SVG)
    #[arg(long, value_name = "DIR", requires = "report")]
    pub(super) plots: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected requests a second, from 0.1 to 10000000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, from 0.01 to 86400".to_owned()),
    }
}

fn skew(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(skew) if (0.0..=4.0).contains(&skew) => Ok(skew),
        _ => Err("expected a number from 0 to 4".to_owned()),
    }
}
