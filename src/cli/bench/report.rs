//! Runs side by side: the files that `shelfd bench --json` wrote, as one table with the ratio to a peer.
//!
//! A figure without its peer in the same run is no result: machines differ, and one machine differs from hour to hour. So rounds
//! are interleaved (node, peer, node, peer), each round gives one ratio, and the median of these is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::figures::{Line, thousands};
use super::host::Usage;
use crate::cli::exit::Failure;
use crate::cli::out::Out;
use crate::cli::table::{Align, Sheet, text};

/// The name of the node itself among the subjects.
pub const NODE: &str = "shelfd";

/// One run, as it is written to a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What was measured, in a few words: the row of the table.
    pub row: String,
    /// Who was measured: `shelfd` or the name of a peer.
    pub subject: String,
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
    /// The figures of the lane in question.
    pub lines: Vec<Line>,
    /// The figures of the load beside it.
    #[serde(default)]
    pub beside: Vec<Line>,
}

impl Run {
    fn accepted_per_s(&self) -> f64 {
        self.lines.iter().map(|line| line.accepted_per_s).sum()
    }

    fn missed(&self) -> u64 {
        self.lines.iter().flat_map(|line| line.not_accepted.values()).sum()
    }

    /// The latency of the kind that was asked most.
    fn latency_ms(&self, of: impl Fn(&Line) -> f64) -> f64 {
        self.lines
            .iter()
            .max_by_key(|line| line.requests)
            .map_or(0.0, |line| of(line) / 1_000.0)
    }
}

/// Reads all runs of a directory, in the order of their file names.
pub fn read(directory: &Path) -> Result<Vec<Run>, Failure> {
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

/// Prints the table of all rows, each with its subjects, and the node's ratio to each peer.
pub fn print(out: &Out, runs: &[Run]) -> Result<(), Failure> {
    use Align::{Left, Right};
    let columns = [
        ("row", Left),
        ("subject", Left),
        ("accepted/s", Right),
        ("p50 ms", Right),
        ("p99 ms", Right),
        ("cpu s/s", Right),
        ("MiB", Right),
        ("not accepted", Right),
        ("node : peer", Right),
    ];
    let mut sheet = Sheet::new(out, &columns);
    for (row, subjects) in grouped(runs) {
        let node = subjects
            .iter()
            .find(|(subject, _)| *subject == NODE)
            .map(|(_, runs)| runs.as_slice());
        for (subject, runs) in &subjects {
            let ratio = node.filter(|_| *subject != NODE).and_then(|node| ratio(node, runs));
            let cpu = median(runs.iter().filter_map(|run| Some(run.usage?.cpu_s / run.seconds)));
            let peak = median(runs.iter().filter_map(|run| Some(run.usage?.peak_kib as f64 / 1_024.0)));
            sheet.row([
                text(row),
                text(subject),
                text(median(runs.iter().map(|run| run.accepted_per_s())).map_or("none".to_owned(), thousands)),
                text(number(
                    median(runs.iter().map(|run| run.latency_ms(|line| line.latency_us.p50))),
                    2,
                )),
                text(number(
                    median(runs.iter().map(|run| run.latency_ms(|line| line.latency_us.p99))),
                    2,
                )),
                text(number(cpu, 2)),
                text(number(peak, 0)),
                text(thousands(runs.iter().map(|run| run.missed()).sum::<u64>() as f64)),
                text(number(ratio, 2)),
            ]);
        }
    }
    Ok(sheet.print(out)?)
}

type Subjects<'a> = Vec<(&'a str, Vec<&'a Run>)>;

/// The runs by row and subject, each in the order of its first appearance.
fn grouped(runs: &[Run]) -> Vec<(&str, Subjects<'_>)> {
    let mut rows: Vec<(&str, Subjects<'_>)> = Vec::new();
    for run in runs {
        let row = match rows.iter_mut().position(|(row, _)| *row == run.row) {
            Some(at) => &mut rows[at],
            None => rows.push_mut((&run.row, Vec::new())),
        };
        match row.1.iter_mut().find(|(subject, _)| *subject == run.subject) {
            Some((_, runs)) => runs.push(run),
            None => row.1.push((&run.subject, vec![run])),
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

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or(String::new(), |number| format!("{number:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(row: &str, subject: &str, accepted_per_s: f64) -> Run {
        let latency_us = super::super::figures::Latency {
            mean: 1.0,
            p50: 1_000.0,
            p90: 1.0,
            p99: 1.0,
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
        };
        Run {
            row: row.to_owned(),
            subject: subject.to_owned(),
            at: String::new(),
            machine: String::new(),
            settings: BTreeMap::new(),
            seconds: 1.0,
            usage: None,
            lines: vec![line],
            beside: Vec::new(),
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
        assert_eq!((rows.len(), rows[0].1.len()), (1, 2));
        let ratio = ratio(&rows[0].1[0].1, &rows[0].1[1].1).expect("three rounds");
        assert!((ratio - 0.9).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn a_median_of_two_is_between_them() {
        assert_eq!(median([4.0, 2.0].into_iter()), Some(3.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
