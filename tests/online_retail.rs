//! Seven months of a real shop, row by row through the real binary, against an independent computation.
//!
//! Where the data folder is absent, the two days of `examples/online_retail` take its place.

#[path = "online_retail/model.rs"]
mod model;

use std::path::{Path, PathBuf};

use crate::harness::data::{shared_file, tally};
use crate::harness::node::{Node, wait_until};
use model::{Model, Outcome, Row};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const SHARED: &str = "online_retail/online_retail_2010-12_2011-06.csv.gz";

/// The mapping of the example, which is what a user would begin with.
fn mapping() -> String {
    format!("{}/examples/online_retail/mapping.toml", env!("CARGO_MANIFEST_DIR"))
}

/// The table: all seven months, or the project's own sample; and how it is called in the tally.
fn table() -> (PathBuf, &'static str) {
    match shared_file(SHARED) {
        Some(file) => (file, "online_retail"),
        None => (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/online_retail/online_retail.csv"),
            "online_retail_sample",
        ),
    }
}

/// The first rows of the table, at most so many, as a file of their own.
fn part(node: &Node, rows: usize) -> (Vec<Row>, String) {
    let mut all = model::read(&table().0);
    all.truncate(rows);
    let file = node.work().join("part.csv");
    model::write(&all, &file);
    (all, file.display().to_string())
}

fn import(node: &Node, file: &str, mapping: &str, more: &[&str]) -> (i32, Value) {
    let work = node.work().display().to_string();
    let args = [&["import", file, "--mapping", mapping, "--work-dir", &work, "--json"], more].concat();
    let ran = node.cli(&args);
    (ran.code.unwrap_or(-1), ran.json())
}

fn number(report: &Value, key: &str) -> u64 {
    let value = &report[key];
    value.as_u64().unwrap_or_else(|| {
        value
            .as_object()
            .expect("a number, or numbers by code")
            .values()
            .filter_map(Value::as_u64)
            .sum()
    })
}

/// Every row under exactly one heading.
fn adds_up(report: &Value, rows: usize) {
    let headings = [
        "applied",
        "duplicates",
        "included_in_count",
        "stale",
        "recorded",
        "dead_letters",
        "refused",
        "refused_before",
        "rejected",
    ];
    assert_eq!(
        headings.iter().map(|key| number(report, key)).sum::<u64>(),
        rows as u64,
        "{report}"
    );
    assert_eq!(
        (number(report, "rows"), &report["finished"]),
        (rows as u64, &Value::Bool(true)),
        "{report}"
    );
}

fn all_skus(node: &Node) -> Vec<Value> {
    node.list("/v1/warehouses/main/skus?limit=500")
}

/// The file of rejected rows holds the refused rows, each with its line and its cells.
fn rejected_rows_are(model: &Model, rows: &[Row], file: &Path) {
    let expected = rows
        .iter()
        .zip(&model.outcomes)
        .filter(|(_, outcome)| **outcome == Outcome::Refused)
        .map(|(row, _)| row);
    let mut reader = csv::Reader::from_path(file).expect("a file of rejected rows");
    let found = reader
        .records()
        .map(|record| record.expect("a rejected row"))
        .collect::<Vec<_>>();
    assert_eq!(found.len() as u64, model.refused());
    for (row, record) in expected.zip(&found) {
        let cells = record.iter().collect::<Vec<_>>();
        assert_eq!(
            (cells[0], cells[1], cells[2]),
            (row.line.to_string().as_str(), "node", "insufficient_stock")
        );
        assert!(!cells[3].is_empty(), "no reason on line {}", row.line);
        assert_eq!(&cells[4..], &row.cells);
    }
}

#[test]
fn seven_months_as_they_stand_agree_row_by_row_and_a_second_time_changes_nothing() {
    let (file, name) = table();
    let rows = model::read(&file);
    let model = Model::after(&rows);
    let node = Node::start();
    let path = file.display().to_string();

    let (code, report) = import(&node, &path, &mapping(), &[]);
    adds_up(&report, rows.len());
    assert_eq!(code, if model.refused() > 0 { 65 } else { 0 }, "{report}");
    assert_eq!(
        (number(&report, "applied"), number(&report, "refused")),
        (model.applied(), model.refused()),
        "{report}"
    );
    assert_eq!(report["found_units"].as_i64(), Some(model.found()), "{report}");
    let skus = all_skus(&node);
    model::compare(&model, &skus);
    let rejected = node.work().join(format!(
        "{}.rejected.csv",
        file.file_name().expect("a name").to_string_lossy()
    ));
    rejected_rows_are(&model, &rows, &rejected);
    the_ledger_explains_the_busiest_sku(&node, &model, &rows);

    let (code, report) = import(&node, &path, &mapping(), &[]);
    adds_up(&report, rows.len());
    assert_eq!(code, if model.refused() > 0 { 65 } else { 0 }, "{report}");
    assert_eq!(
        (number(&report, "duplicates"), number(&report, "refused_before")),
        (model.applied(), model.refused()),
        "{report}"
    );
    assert!(skus == all_skus(&node), "the second import has changed something");
    rejected_rows_are(&model, &rows, &rejected);

    println!(
        "{} rows: {} applied, {} refused, {} units found",
        rows.len(),
        model.applied(),
        model.refused(),
        model.found()
    );
    tally(name, rows.len() as u64, "rows");
}

/// Line by line: what moved is what the balance changed by, from nothing up to what is there now; and the lines are the rows.
fn the_ledger_explains_the_busiest_sku(node: &Node, model: &Model, rows: &[Row]) {
    let (busiest, sku) = model.skus.iter().max_by_key(|(_, sku)| sku.applied).expect("a SKU");
    let ran = node.cli(&["ledger", busiest, "--json", "--all"]).expect_code(0);
    let lines = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
        .collect::<Vec<_>>();
    let (mut balance, mut seq) = (0, 0);
    for line in lines.iter().rev() {
        for movement in line["moves"].as_array().unwrap_or_else(|| panic!("no moves: {line}")) {
            let quantity = movement["quantity"].as_i64().unwrap_or_else(|| panic!("no quantity: {line}"));
            balance += if movement["to"] == "sellable" { quantity } else { 0 };
            balance -= if movement["from"] == "sellable" { quantity } else { 0 };
        }
        assert_eq!(
            line["accounts"]["sellable"].as_i64(),
            Some(balance),
            "the balance does not follow from the moves: {line}"
        );
        let at = line["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {line}"));
        assert!(at > seq, "the ledger is not newest first: {line}");
        seq = at;
    }
    assert_eq!(balance, sku.sellable, "{busiest}");
    let told = lines
        .iter()
        .rev()
        .filter(|line| line["verdict"] != "refused")
        .map(|line| line["document"].as_str().unwrap_or_default().to_owned());
    let newest = rows.iter().rfind(|row| row.sku == *busiest).map(|row| row.cells[5].as_str());
    assert_eq!(
        lines[0]["extensions"]["price"].as_str(),
        newest,
        "the kept column is not in the ledger"
    );
    let applied = rows
        .iter()
        .zip(&model.outcomes)
        .filter(|(row, outcome)| row.sku == *busiest && **outcome != Outcome::Refused);
    assert_eq!(
        told.collect::<Vec<_>>(),
        applied.map(|(row, _)| row.invoice.clone()).collect::<Vec<_>>(),
        "the lines are not the rows"
    );
}

#[test]
fn with_opening_receipts_that_cover_the_lowest_points_stock_is_the_plain_sum() {
    let node = Node::start();
    let (rows, file) = part(&node, 60_000);
    let openings = model::lowest_points(&rows);
    let opening_file = node.work().join("opening.csv").display().to_string();
    let opening_mapping = node.work().join("opening.toml").display().to_string();
    let mut table = "sku,quantity,time\n".to_owned();
    openings
        .iter()
        .for_each(|(sku, quantity)| table += &format!("{sku},{quantity},2010-11-30T18:00:00Z\n"));
    std::fs::write(&opening_file, table).expect("a file of openings");
    let opening = "source = \"import/opening\"\nwarehouse = \"main\"\ncopies = \"several\"\n\
                   columns = { sku = \"sku\", quantity = \"quantity\", time = \"time\" }\n\
                   time = { formats = [\"iso\"] }\n[[rules]]\nevent = \"receipt\"\n";
    std::fs::write(&opening_mapping, opening).expect("a mapping of openings");

    let (code, report) = import(&node, &opening_file, &opening_mapping, &[]);
    assert_eq!((code, number(&report, "applied")), (0, openings.len() as u64), "{report}");
    let (code, report) = import(&node, &file, &mapping(), &[]);
    adds_up(&report, rows.len());
    assert_eq!(
        (code, number(&report, "applied"), &report["found_units"]),
        (0, rows.len() as u64, &Value::from(0)),
        "{report}"
    );

    let mut model = Model::default();
    openings.iter().for_each(|(sku, quantity)| model.receive(sku, *quantity));
    rows.iter().for_each(|row| model.row(row));
    assert_eq!(
        (model.refused(), model.found()),
        (0, 0),
        "the openings do not cover the lowest points"
    );
    let skus = all_skus(&node);
    model::compare(&model, &skus);
    let mut sums = openings.clone();
    rows.iter()
        .for_each(|row| *sums.entry(row.sku.clone()).or_default() += model::plain(row));
    let sellable = |sku: &Value| {
        (
            sku["sku"].as_str().unwrap_or_default().to_owned(),
            sku["accounts"]["sellable"].as_i64().unwrap_or(-1),
        )
    };
    assert_eq!(skus.iter().map(sellable).collect::<std::collections::BTreeMap<_, _>>(), sums);
    tally(&format!("{}_with_openings", self::table().1), rows.len() as u64, "rows");
}

/// The rows that the state file says are done.
fn rows_done(node: &Node) -> u64 {
    let file = node.work().join("part.csv.import-state.json");
    let state = std::fs::read(file)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    state.and_then(|state| state["rows_done"].as_u64()).unwrap_or(0)
}

#[test]
fn an_import_that_is_killed_ten_times_ends_as_if_it_had_not_been() {
    const SEED: u64 = 20_101_201;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut node = Node::start();
    let (rows, file) = part(&node, 40_000);
    let model = Model::after(&rows);
    let mapping = mapping();
    let work = node.work().display().to_string();
    let args = ["import", &file, "--mapping", &mapping, "--work-dir", &work, "--batch", "200"];
    let mut places = (0..10)
        .map(|_| random.random_range(1..rows.len() as u64 * 9 / 10))
        .collect::<Vec<_>>();
    places.sort_unstable();
    println!("seed {SEED}, killed at rows {places:?}");

    let spawn = |node: &Node| {
        node.command(&args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the import starts")
    };
    let mut importer = spawn(&node);
    for (round, place) in places.iter().enumerate() {
        let mut ended = None;
        wait_until(&format!("row {place}"), || {
            ended = importer.try_wait().expect("the import is ours to wait for");
            ended.is_some() || rows_done(&node) >= *place
        });
        assert_eq!(ended, None, "the import ended before row {place}");
        // In turn: the import, the node under a running import, and both.
        if round % 3 != 1 {
            importer.kill().expect("the import can be killed");
            importer.wait().expect("the import is gone");
        }
        if round % 3 != 0 {
            node.kill();
            node.restart();
        }
        if round % 3 != 1 {
            importer = spawn(&node);
        }
    }
    let status = importer.wait().expect("the import ends");
    assert_eq!(status.code(), Some(if model.refused() > 0 { 65 } else { 0 }));
    assert_eq!(rows_done(&node), rows.len() as u64);
    model::compare(&model, &all_skus(&node));
    rejected_rows_are(&model, &rows, &node.work().join("part.csv.rejected.csv"));

    // Once more from the start: everything is known.
    let (_, report) = import(&node, &file, &mapping, &["--batch", "1000"]);
    adds_up(&report, rows.len());
    assert_eq!(
        (number(&report, "duplicates"), number(&report, "refused_before")),
        (model.applied(), model.refused()),
        "{report}"
    );
    tally(&format!("{}_interrupted", table().1), rows.len() as u64, "rows");
}

/// The computation alone, on the table alone: the figures that the tests above compare with are themselves sound.
#[test]
fn the_independent_computation_is_sound_on_the_table_itself() {
    let rows = model::read(&table().0);
    let model = Model::after(&rows);
    for (name, sku) in &model.skus {
        assert_eq!(sku.sellable + sku.supply + sku.demand + sku.discrepancy, 0, "{name}");
        assert!(sku.sellable >= 0 && sku.owed == sku.found, "{name}: {sku:?}");
    }
    assert_eq!(model.applied() + model.refused(), rows.len() as u64);
    if rows.len() == 245_903 {
        // Computed once by hand with another program.
        assert_eq!(
            (model.skus.len(), model.applied(), model.refused(), model.found()),
            (3_651, 245_156, 747, 2_494_287)
        );
        let mut copies = std::collections::HashMap::new();
        rows.iter().for_each(|row| *copies.entry(&row.cells).or_insert(0) += 1);
        assert_eq!(copies.values().map(|count| count - 1).sum::<i32>(), 2_012, "exact copies");
    }
}
