//! Which picture a row gets: bars of its subjects or its gauges, lines when it was watched over time, and one for each growth.
//!
//! Rejected: one page with all of them. A row's picture is looked at beside the row.

use super::svg::{Bar, Panel, Series, bars, lines};
use super::{NODE, Row, Run, median};
use crate::cli::bench::figures::thousands;
use crate::cli::bench::timeline::Tick;

/// All pictures of a report, by file name.
pub fn all(rows: &[Row<'_>]) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    for row in rows {
        let name = file_name(row.name);
        let speed = speeds(row);
        if !speed.is_empty() {
            pictures.push((
                format!("{name}.svg"),
                bars(&format!("{}: accepted a second", row.name), &speed),
            ));
        }
        let gauges = gauges(row);
        if !gauges.is_empty() {
            let name = if speed.is_empty() {
                name.clone()
            } else {
                format!("{name}-figures")
            };
            pictures.push((format!("{name}.svg"), bars(row.name, &gauges)));
        }
        pictures.extend(over_time(row).map(|picture| (format!("{name}-over-time.svg"), picture)));
    }
    pictures.extend(growths(rows));
    pictures
}

fn file_name(row: &str) -> String {
    let plain = row.replace(',', "");
    let words = plain
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

fn bounds(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(*value), most.max(*value))
    })
}

fn speeds(row: &Row<'_>) -> Vec<Bar> {
    let bar = |(subject, runs): &(&str, Vec<&Run>)| {
        let rates: Vec<f64> = runs
            .iter()
            .filter(|run| !run.lines.is_empty())
            .map(|run| run.accepted_per_s())
            .collect();
        let value = median(rates.iter().copied())?;
        let p99 = median(runs.iter().filter_map(|run| run.latency_ms(|line| line.latency_us.p99)));
        Some(Bar {
            name: (*subject).to_owned(),
            value,
            range: bounds(&rates),
            told: format!("{}/s, p99 {:.1} ms", thousands(value), p99.unwrap_or(0.0)),
            group: String::new(),
        })
    };
    row.subjects.iter().filter_map(bar).collect()
}

fn gauges(row: &Row<'_>) -> Vec<Bar> {
    let runs = row.of(NODE).unwrap_or_default();
    let Some(first) = runs.first() else { return Vec::new() };
    let bar = |gauge: &super::Gauge| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.gauge(&gauge.name)).collect();
        let value = median(values.iter().copied())?;
        Some(Bar {
            name: gauge.name.replace('_', " "),
            value,
            range: bounds(&values),
            told: super::Gauge { value, ..gauge.clone() }.told(),
            group: gauge.unit.clone(),
        })
    };
    first.gauges.iter().filter_map(bar).collect()
}

/// The last run of the node that was watched in steps of time.
fn over_time(row: &Row<'_>) -> Option<String> {
    let run = row.of(NODE)?.iter().rev().find(|run| run.timeline.len() > 1)?;
    let step = run.timeline[1].at_s - run.timeline[0].at_s;
    let series = |name: &str, ticks: &[Tick], of: &dyn Fn(&Tick) -> f64| Series {
        name: name.to_owned(),
        points: ticks.iter().map(|tick| (tick.at_s, of(tick))).collect(),
    };
    let panel = |title: &str, of: &dyn Fn(&Tick) -> f64| {
        let lanes = [("", &run.timeline), ("beside", &run.beside_timeline)];
        Panel {
            title: title.to_owned(),
            series: lanes
                .iter()
                .filter(|(_, ticks)| !ticks.is_empty())
                .map(|(name, ticks)| series(name, ticks, of))
                .collect(),
        }
    };
    let mut panels = vec![
        panel("accepted/s", &|tick| tick.accepted as f64 / step),
        panel("not accepted/s", &|tick| tick.missed as f64 / step),
        panel("p99 ms", &|tick| tick.p99_us / 1_000.0),
    ];
    if run.timeline.iter().any(|tick| tick.resident_kib.is_some()) {
        panels.push(panel("resident MiB", &|tick| tick.resident_kib.unwrap_or(0) as f64 / 1_024.0));
    }
    if run.timeline.iter().any(|tick| tick.stolen.is_some()) {
        panels.push(panel("host took %", &|tick| tick.stolen.unwrap_or(0.0) * 100.0));
    }
    Some(lines(run.row.as_str(), "seconds", false, &panels))
}

/// For each growth the speed of each subject over the number of SKUs.
fn growths(rows: &[Row<'_>]) -> Vec<(String, String)> {
    let mut grown: Vec<(&str, Vec<Series>)> = Vec::new();
    for row in rows {
        for (subject, runs) in &row.subjects {
            let named = runs
                .first()
                .and_then(|run| Some((run.growth.as_deref()?, run.settings.get("skus")?.as_f64()?)));
            let speed = median(runs.iter().map(|run| run.accepted_per_s()));
            let (Some((growth, skus)), Some(speed)) = (named, speed) else {
                continue;
            };
            let lines = match grown.iter_mut().position(|(name, _)| *name == growth) {
                Some(at) => &mut grown[at].1,
                None => &mut grown.push_mut((growth, Vec::new())).1,
            };
            match lines.iter_mut().find(|line| line.name == *subject) {
                Some(line) => line.points.push((skus, speed)),
                None => lines.push(Series {
                    name: (*subject).to_owned(),
                    points: vec![(skus, speed)],
                }),
            }
        }
    }
    let picture = |(name, mut series): (&str, Vec<Series>)| {
        for line in &mut series {
            line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let panel = Panel {
            title: "accepted/s".to_owned(),
            series,
        };
        (format!("growth-{}.svg", file_name(name)), lines(name, "SKUs", true, &[panel]))
    };
    grown.into_iter().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::run;
    use super::super::{Gauge, grouped};
    use super::*;

    #[test]
    fn every_row_has_a_picture_and_every_growth_one_line_a_subject() {
        let sized = |subject: &str, skus: u32, speed: f64| {
            let mut run = run(&format!("batches, {skus} SKUs"), subject, speed);
            run.growth = Some("batches by SKUs".to_owned());
            run.settings.insert("skus".to_owned(), json!(skus));
            run
        };
        let mut idle = run("idle", NODE, 0.0);
        idle.lines.clear();
        idle.gauges.push(Gauge::new("cpu", 0.3, "% of a core"));
        let runs = [
            sized(NODE, 100_000, 200.0),
            sized(NODE, 1_000, 300.0),
            sized("bare loop", 1_000, 400.0),
            idle,
        ];
        let rows = grouped(&runs);
        let names: Vec<String> = all(&rows).into_iter().map(|(name, _)| name).collect();
        let expected = [
            "batches-100000-skus.svg",
            "batches-1000-skus.svg",
            "idle.svg",
            "growth-batches-by-skus.svg",
        ];
        assert_eq!(names, expected);
        let growth = &all(&rows)[3].1;
        assert_eq!(growth.matches("<polyline").count(), 2);
    }
}
