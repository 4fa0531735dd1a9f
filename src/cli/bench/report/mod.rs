//! Runs side by side: the files that `shelfd bench --json` wrote, as one table with the ratio to a peer, the goals, and plots.
//!
//! A figure without its peer in the same run is no result: machines differ, and one machine differs from hour to hour. So rounds
//! are interleaved (node, peer, node, peer), each round gives one ratio, and the median of these is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::goal::Goal;
use super::args::Args;
use super::figures::Line;
use super::host::{self, Usage};
use super::measure;
use super::timeline::Tick;
use crate::cli::exit::{Code, Failure};
use crate::cli::out::Out;

pub mod goal;
mod page;
mod plot;
mod svg;

/// The name of the node itself among the subjects.
pub const NODE: &str = "shelfd";

/// From this share on (0 to 1), what the host gave to others is said beside a goal that was missed.
pub const MUCH_STOLEN: f64 = 0.05;

/// One run, as it is written to a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What was measured, in a few words: the row of the table.
    pub row: String,
    /// Who was measured: `shelfd` or the name of a peer.
    pub subject: String,
    /// Its version, when it is known.
    #[serde(default)]
    pub version: Option<String>,
    /// What makes its answers durable.
    #[serde(default)]
    pub durability: Option<String>,
    /// When (RFC 3339).
    pub at: String,
    /// Where.
    pub machine: String,
    /// How: work, connections, rate, SKUs, and so on.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// The measured seconds.
    pub seconds: f64,
    /// What the process used while it was measured, when its process is known.
    pub usage: Option<Usage>,
    /// The share of all cores' time, 0 to 1, that the host gave to others meanwhile, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen: Option<f64>,
    /// The figures of the lane in question.
    pub lines: Vec<Line>,
    /// The figures of the load beside it.
    #[serde(default)]
    pub beside: Vec<Line>,
    /// Figures of another kind than throughput and latency.
    #[serde(default)]
    pub gauges: Vec<Gauge>,
    /// What the row shall reach.
    #[serde(default)]
    pub goals: Vec<Goal>,
    /// The plot over the number of SKUs that it is a point of.
    #[serde(default)]
    pub growth: Option<String>,
    /// The lane in question in steps of time.
    #[serde(default)]
    pub timeline: Vec<Tick>,
    /// The lane beside it likewise.
    #[serde(default)]
    pub beside_timeline: Vec<Tick>,
}

/// A figure with a name and a unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gauge {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what; empty for a number of things.
    pub unit: String,
}

impl Gauge {
    /// A figure.
    pub fn new(name: &str, value: f64, unit: &str) -> Gauge {
        Gauge {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
        }
    }

    /// The figure as people read it.
    pub fn told(&self) -> String {
        format!("{} {}", readable(self.value), self.unit).trim_end().to_owned()
    }
}

impl Run {
    /// A run of the options with no figures yet.
    pub fn of(args: &Args, seconds: f64) -> Run {
        let is_node = args.subject == NODE;
        Run {
            row: args
                .row
                .clone()
                .unwrap_or_else(|| format!("{}, {} connections", args.work.name(), args.connections)),
            subject: args.subject.clone(),
            version: is_node.then(|| env!("CARGO_PKG_VERSION").to_owned()),
            durability: Some(args.durability.clone()),
            at: jiff::Timestamp::now().to_string(),
            machine: host::machine(),
            settings: measure::settings(args),
            seconds,
            usage: None,
            stolen: None,
            lines: Vec::new(),
            beside: Vec::new(),
            gauges: Vec::new(),
            goals: args.goal.clone(),
            growth: args.growth.clone(),
            timeline: Vec::new(),
            beside_timeline: Vec::new(),
        }
    }

    /// Accepted operations a second of the lane in question.
    pub fn accepted_per_s(&self) -> f64 {
        self.lines.iter().map(|line| line.accepted_per_s).sum()
    }

    fn missed(&self) -> u64 {
        self.lines.iter().flat_map(|line| line.not_accepted.values()).sum()
    }

    /// The latency of the kind that was asked most; nothing when none was.
    fn latency_ms(&self, of: impl Fn(&Line) -> f64) -> Option<f64> {
        let most = self.lines.iter().max_by_key(|line| line.requests)?;
        Some(of(most) / 1_000.0)
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        self.gauges.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value)
    }
}

/// Prints the report of a directory, and writes its plots when they are asked for.
pub fn tell(args: &Args, directory: &Path, out: &Out) -> Result<(), Failure> {
    let runs = read(directory)?;
    if runs.is_empty() {
        return Err(Failure::data(format!(
            "{} holds no result; `shelfd bench --json >FILE.json` writes one",
            directory.display()
        )));
    }
    let rows = grouped(&runs);
    if args.markdown {
        out.raw(page::markdown(&rows).as_bytes())?;
    } else {
        page::print(out, &rows)?;
    }
    if let Some(plots) = &args.plots {
        let failed = |error: std::io::Error| Failure::new(Code::Io, format!("cannot write into {}: {error}", plots.display()));
        fs::create_dir_all(plots).map_err(failed)?;
        for (name, picture) in plot::all(&rows) {
            fs::write(plots.join(name), picture).map_err(failed)?;
        }
    }
    Ok(())
}

/// Reads all runs of a directory, in the order of their file names.
fn read(directory: &Path) -> Result<Vec<Run>, Failure> {
    let mut files: Vec<_> = fs::read_dir(directory)?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
        .iter()
        .map(|path| {
            serde_json::from_slice(&fs::read(path)?)
                .map_err(|error| Failure::data(format!("{} is no result of `shelfd bench --json`: {error}", path.display())))
        })
        .collect()
}

/// All runs of one row, by subject.
struct Row<'a> {
    name: &'a str,
    subjects: Vec<(&'a str, Vec<&'a Run>)>,
}

impl<'a> Row<'a> {
    fn of(&self, subject: &str) -> Option<&[&'a Run]> {
        self.subjects
            .iter()
            .find(|(name, _)| *name == subject)
            .map(|(_, runs)| runs.as_slice())
    }

    /// The median over the rounds of node / peer.
    fn ratio(&self, peer: &str) -> Option<f64> {
        ratio(self.of(NODE)?, self.of(peer)?)
    }
}

/// The runs by row and subject, each in the order of its first appearance.
fn grouped(runs: &[Run]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for run in runs {
        let row = match rows.iter_mut().position(|row| row.name == run.row) {
            Some(at) => &mut rows[at],
            None => rows.push_mut(Row {
                name: &run.row,
                subjects: Vec::new(),
            }),
        };
        match row.subjects.iter_mut().find(|(subject, _)| *subject == run.subject) {
            Some((_, runs)) => runs.push(run),
            None => row.subjects.push((&run.subject, vec![run])),
        }
    }
    rows
}

/// The median over the rounds of node / peer; rounds are paired in their order.
fn ratio(node: &[&Run], peer: &[&Run]) -> Option<f64> {
    median(
        node.iter()
            .zip(peer)
            .map(|(node, peer)| node.accepted_per_s() / peer.accepted_per_s())
            .filter(|ratio| ratio.is_finite()),
    )
}

/// The median; the mean of the middle two of an even number.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers.get(middle).copied()?;
    Some(if numbers.len().is_multiple_of(2) {
        f64::midpoint(numbers[middle - 1], upper)
    } else {
        upper
    })
}

/// A number with about three digits that say something.
fn readable(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        100.0.. => super::figures::thousands(number),
        10.0.. => format!("{number:.1}"),
        0.01.. => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Latency;
    use super::*;

    pub fn run(row: &str, subject: &str, accepted_per_s: f64) -> Run {
        let latency_us = Latency {
            mean: 1.0,
            p50: 1_000.0,
            p90: 1.0,
            p99: 5_000.0,
            p999: 1.0,
            max: 1.0,
        };
        let line = Line {
            kind: "sale".to_owned(),
            requests: 1,
            accepted: 1,
            accepted_per_s,
            found: 0,
            not_accepted: BTreeMap::new(),
            latency_us,
            refused_us: None,
        };
        Run {
            row: row.to_owned(),
            subject: subject.to_owned(),
            version: None,
            durability: None,
            at: String::new(),
            machine: "2 cores".to_owned(),
            settings: BTreeMap::new(),
            seconds: 1.0,
            usage: None,
            stolen: None,
            lines: vec![line],
            beside: Vec::new(),
            gauges: Vec::new(),
            goals: Vec::new(),
            growth: None,
            timeline: Vec::new(),
            beside_timeline: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let runs = [
            run("a", NODE, 90.0),
            run("a", "bare", 100.0),
            run("a", NODE, 50.0),
            run("a", "bare", 100.0),
            run("a", NODE, 99.0),
            run("a", "bare", 90.0),
        ];
        let rows = grouped(&runs);
        assert_eq!((rows.len(), rows[0].subjects.len()), (1, 2));
        let ratio = rows[0].ratio("bare").expect("three rounds");
        assert!((ratio - 0.9).abs() < 1e-9, "{ratio}");
        assert_eq!(rows[0].ratio("nobody"), None);
    }

    #[test]
    fn a_median_of_two_is_between_them() {
        assert_eq!(median([4.0, 2.0].into_iter()), Some(3.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn a_result_of_before_is_still_read() {
        let old = r#"{"row":"a","subject":"shelfd","at":"","machine":"","settings":{},"seconds":1,"usage":null,"lines":[]}"#;
        let run: Run = serde_json::from_str(old).expect("a run");
        assert!(run.goals.is_empty() && run.gauges.is_empty());
    }
}
