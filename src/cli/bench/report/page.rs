//! The report as a page: one table of rows and subjects, one of gauges, one of goals; for a terminal or as Markdown.
//!
//! Rejected: only the rows that are won. A row that the node loses stands there like any other.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::goal::Goal;
use super::{MUCH_STOLEN, NODE, Row, Run, median, readable};
use crate::cli::bench::figures::thousands;
use crate::cli::exit::Failure;
use crate::cli::out::{Out, Tone};
use crate::cli::table::{Align, Sheet, text, toned};

const COLUMNS: [(&str, Align); 10] = [
    ("row", Align::Left),
    ("subject", Align::Left),
    ("accepted/s", Align::Right),
    ("p50 ms", Align::Right),
    ("p99 ms", Align::Right),
    ("cpu s/s", Align::Right),
    ("MiB", Align::Right),
    ("host %", Align::Right),
    ("not accepted", Align::Right),
    ("node : peer", Align::Right),
];

/// Another's figure, for its order of magnitude: it was not run here.
const QUOTED: &str = "TigerBeetle is not run here: its own benchmark on 2 cores, in batches of 8,189 transfers, was seen at 324,000 \
    transfers/s (19 ms p50 a batch, 3.0 GB resident; version of 2026-07, `tigerbeetle benchmark`).";

fn cells<'a>(row: &'a Row<'_>) -> impl Iterator<Item = [String; 10]> + 'a {
    let told = |number: Option<f64>, digits: usize| number.map_or(String::new(), |number| format!("{number:.digits$}"));
    row.subjects
        .iter()
        .filter(|(_, runs)| runs.iter().any(|run| !run.lines.is_empty()))
        .map(move |(subject, runs)| {
            let ratio = if *subject == NODE { None } else { row.ratio(subject) };
            let of = |figure: &dyn Fn(&Run) -> Option<f64>| median(runs.iter().filter_map(|run| figure(run)));
            [
                row.name.to_owned(),
                (*subject).to_owned(),
                of(&|run| Some(run.accepted_per_s())).map_or("none".to_owned(), thousands),
                told(of(&|run| run.latency_ms(|line| line.latency_us.p50)), 2),
                told(of(&|run| run.latency_ms(|line| line.latency_us.p99)), 2),
                told(of(&|run| Some(run.usage?.cpu_s / run.seconds)), 2),
                told(of(&|run| Some(run.usage?.peak_kib as f64 / 1_024.0)), 0),
                told(of(&|run| Some(run.stolen? * 100.0)), 0),
                thousands(runs.iter().map(|run| run.missed()).sum::<u64>() as f64),
                told(ratio, 2),
            ]
        })
}

/// Each gauge of a row with the median of its rounds.
fn gauges(row: &Row<'_>) -> Vec<(String, String)> {
    let node = row.of(NODE).unwrap_or_default();
    let Some(first) = node.first() else { return Vec::new() };
    first
        .gauges
        .iter()
        .filter_map(|gauge| {
            let value = median(node.iter().filter_map(|run| run.gauge(&gauge.name)))?;
            Some((gauge.name.clone(), super::Gauge { value, ..gauge.clone() }.told()))
        })
        .collect()
}

/// Every goal with its row and the figure; nothing for a figure that was not measured.
fn goals<'a>(rows: &'a [Row<'a>]) -> Vec<(&'a Row<'a>, &'a Goal, Option<f64>)> {
    let of_row = |row: &'a Row<'a>| {
        let goals = row.of(NODE).and_then(|runs| runs.first()).map_or(&[][..], |run| &run.goals);
        goals.iter().map(move |goal| (row, goal, goal.value(row, rows)))
    };
    rows.iter().flat_map(of_row).collect()
}

/// Whether a goal is met, and where it is not, what the host took of the cores meanwhile, when that was much.
fn verdict(row: &Row<'_>, goal: &Goal, value: Option<f64>) -> (String, Tone) {
    match value {
        None => ("not measured".to_owned(), Tone::Bad),
        Some(value) if goal.is_met(value) => ("met".to_owned(), Tone::Good),
        Some(_) => {
            let node = row.of(NODE).unwrap_or_default();
            let stolen = median(node.iter().filter_map(|run| run.stolen)).filter(|stolen| *stolen >= MUCH_STOLEN);
            let host = stolen.map_or(String::new(), |stolen| format!(", the host took {:.0} %", stolen * 100.0));
            (format!("missed{host}"), Tone::Bad)
        }
    }
}

/// Who was measured where and when, and what makes each subject's answers durable.
fn circumstances(rows: &[Row<'_>]) -> Vec<String> {
    let runs = || {
        rows.iter()
            .flat_map(|row| row.subjects.iter().flat_map(|(_, runs)| runs.iter()))
    };
    let machines: BTreeSet<&str> = runs()
        .map(|run| run.machine.as_str())
        .filter(|machine| !machine.is_empty())
        .collect();
    let mut lines = vec![format!(
        "Measured on {}, from {} to {}. The generator shared the cores with what it measured.",
        machines.into_iter().collect::<Vec<_>>().join(" and "),
        runs().map(|run| run.at.as_str()).min().unwrap_or_default(),
        runs().map(|run| run.at.as_str()).max().unwrap_or_default()
    )];
    let subjects: BTreeSet<String> = runs()
        .map(|run| {
            let version = run
                .version
                .as_deref()
                .map_or(String::new(), |version| format!(" ({version})"));
            let durability = run
                .durability
                .as_deref()
                .map_or(String::new(), |durable| format!(": {durable}"));
            format!("{}{version}{durability}", run.subject)
        })
        .collect();
    lines.extend(subjects);
    lines.push(QUOTED.to_owned());
    lines
}

/// Prints the page.
pub fn print(out: &Out, rows: &[Row<'_>]) -> Result<(), Failure> {
    let mut sheet = Sheet::new(out, &COLUMNS);
    rows.iter().flat_map(cells).for_each(|cells| sheet.row(cells.map(text)));
    if !sheet.is_empty() {
        sheet.print(out)?;
    }
    let mut sheet = Sheet::new(out, &[("row", Align::Left), ("figure", Align::Left), ("", Align::Right)]);
    for row in rows {
        for (name, told) in gauges(row) {
            sheet.row([text(row.name), text(name), text(told)]);
        }
    }
    if !sheet.is_empty() {
        out.line("")?;
        sheet.print(out)?;
    }
    let columns = [
        ("row", Align::Left),
        ("goal", Align::Left),
        ("measured", Align::Right),
        ("", Align::Left),
    ];
    let mut sheet = Sheet::new(out, &columns);
    for (row, goal, value) in goals(rows) {
        let (word, tone) = verdict(row, goal, value);
        sheet.row([
            text(row.name),
            text(goal),
            text(value.map_or(String::new(), readable)),
            toned(word, tone),
        ]);
    }
    if !sheet.is_empty() {
        out.line("")?;
        sheet.print(out)?;
    }
    out.line("")?;
    for line in circumstances(rows) {
        out.line(line)?;
    }
    Ok(())
}

/// The page as Markdown.
pub fn markdown(rows: &[Row<'_>]) -> String {
    let mut page = String::new();
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let rule = COLUMNS.map(|(_, align)| if align == Align::Right { "--:" } else { "---" });
    // Writing to a text cannot fail.
    let _ = writeln!(page, "| {} |\n|{}|", names.join(" | "), rule.join("|"));
    for cells in rows.iter().flat_map(cells) {
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    let told: Vec<_> = rows
        .iter()
        .flat_map(|row| gauges(row).into_iter().map(move |(name, told)| (row.name, name, told)))
        .collect();
    if !told.is_empty() {
        page.push_str("\n| row | figure | |\n|---|---|--:|\n");
        for (row, name, told) in told {
            let _ = writeln!(page, "| {row} | {} | {told} |", name.replace('_', " "));
        }
    }
    let goals = goals(rows);
    if !goals.is_empty() {
        page.push_str("\n| row | goal | measured | |\n|---|---|--:|---|\n");
        for (row, goal, value) in goals {
            let told = value.map_or(String::new(), readable);
            let _ = writeln!(page, "| {} | `{goal}` | {told} | {} |", row.name, verdict(row, goal, value).0);
        }
    }
    page.push('\n');
    for line in circumstances(rows) {
        let _ = writeln!(page, "- {line}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::super::{Gauge, grouped};
    use super::*;

    #[test]
    fn a_row_that_is_lost_stands_on_the_page_with_its_ratio() {
        let mut node = run("sales", NODE, 90.0);
        node.goals = vec![
            "ratio:Redis >= 1".parse().expect("a goal"),
            "lost <= 0".parse().expect("a goal"),
        ];
        node.stolen = Some(0.31);
        node.gauges = vec![Gauge::new("at_rest", 59.5, "MiB")];
        let mut peer = run("sales", "Redis", 120.0);
        peer.durability = Some("appendfsync always".to_owned());
        let runs = [node, peer];
        let page = markdown(&grouped(&runs));
        for line in [
            "| sales | shelfd | 90 | 1.00 | 5.00 |  |  | 31 | 0 |  |",
            "| sales | Redis | 120 | 1.00 | 5.00 |  |  |  | 0 | 0.75 |",
            "| sales | at rest | 59.5 MiB |",
            "| sales | `ratio:Redis >= 1` | 0.75 | missed, the host took 31 % |",
            "| sales | `lost <= 0` |  | not measured |",
            "- Redis: appendfsync always",
        ] {
            assert!(page.contains(line), "no {line:?} in\n{page}");
        }
    }
}
