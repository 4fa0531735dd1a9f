//! The expected stock, computed straight from the rules as they are written for people: seven accounts, what is found when
//! the book is short, what is owed, and what is refused. Nothing of the engine is used, so that both would have to be wrong in
//! the same way.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// The line in the file, from 1; the header is the first.
    pub line: u64,
    /// `InvoiceNo`.
    pub invoice: String,
    /// `StockCode`.
    pub sku: String,
    /// `Quantity`, with its sign.
    pub quantity: i64,
    /// Every cell, as it stands.
    pub cells: Vec<String>,
}

/// What a row must have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It moved stock, and so many units had to be found first.
    Applied { found: i64 },
    /// It was refused, since the book held less.
    Refused,
}

/// One SKU. `in_transit`, `quarantine` and `waste` stay at 0: nothing in the table touches them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sku {
    pub sellable: i64,
    pub supply: i64,
    pub demand: i64,
    pub discrepancy: i64,
    pub owed: i64,
    /// Units found so far, which asks for a count.
    pub found: i64,
    /// Rows that were applied.
    pub applied: u64,
}

/// All SKUs, and what became of each row.
#[derive(Debug, Default)]
pub struct Model {
    pub skus: BTreeMap<String, Sku>,
    pub outcomes: Vec<Outcome>,
}

/// Reads the table, packed or not.
pub fn read(file: &Path) -> Vec<Row> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut text = String::new();
    if file.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .expect("a gzip file of UTF-8");
    } else {
        text = String::from_utf8(bytes).expect("a file of UTF-8");
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.records().zip(2..).map(|(record, line)| {
        let cells = record.expect("a row").iter().map(str::to_owned).collect::<Vec<_>>();
        let quantity = cells[3]
            .parse()
            .unwrap_or_else(|e| panic!("line {line}: quantity {:?}: {e}", cells[3]));
        Row {
            line,
            invoice: cells[0].clone(),
            sku: cells[1].clone(),
            quantity,
            cells,
        }
    });
    rows.collect()
}

/// Writes the first rows of the table into a file of their own.
pub fn write(rows: &[Row], file: &Path) {
    let mut writer = csv::Writer::from_path(file).expect("a file for the rows");
    let header = [
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    ];
    writer.write_record(header).expect("the header");
    rows.iter().for_each(|row| writer.write_record(&row.cells).expect("a row"));
    writer.flush().expect("the rows are on disk");
}

impl Model {
    /// A delivery before everything else.
    pub fn receive(&mut self, sku: &str, quantity: i64) {
        let sku = self.skus.entry(sku.to_owned()).or_default();
        sku.supply -= quantity;
        sku.sellable += quantity;
        // What was found is owed, and a receipt repays it first.
        let repaid = quantity.min(sku.owed);
        sku.owed -= repaid;
        sku.sellable -= repaid;
        sku.discrepancy += repaid;
        sku.applied += 1;
    }

    /// One row of the table.
    pub fn row(&mut self, row: &Row) {
        let sku = self.skus.entry(row.sku.clone()).or_default();
        let mut found = 0;
        if row.invoice.starts_with('C') {
            // demand → sellable; a return repays nothing.
            sku.demand -= row.quantity.abs();
            sku.sellable += row.quantity.abs();
        } else if row.quantity < 0 {
            // sellable → discrepancy, refused beyond the book.
            if sku.sellable + row.quantity < 0 {
                self.outcomes.push(Outcome::Refused);
                return;
            }
            sku.sellable += row.quantity;
            sku.discrepancy -= row.quantity;
        } else {
            // What is missing is found first (discrepancy → sellable) and owed; then all of it leaves (sellable → demand).
            found = (row.quantity - sku.sellable).max(0);
            sku.discrepancy -= found;
            sku.owed += found;
            sku.found += found;
            sku.sellable += found - row.quantity;
            sku.demand += row.quantity;
        }
        sku.applied += 1;
        self.outcomes.push(Outcome::Applied { found });
    }

    /// The model after these rows.
    pub fn after(rows: &[Row]) -> Model {
        let mut model = Model::default();
        rows.iter().for_each(|row| model.row(row));
        model
    }

    /// Rows that were applied.
    pub fn applied(&self) -> u64 {
        self.outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Applied { .. }))
            .count() as u64
    }

    /// Rows that were refused.
    pub fn refused(&self) -> u64 {
        self.outcomes.len() as u64 - self.applied()
    }

    /// Units that were found.
    pub fn found(&self) -> i64 {
        self.skus.values().map(|sku| sku.found).sum()
    }
}

/// How many of each SKU must stand there at the beginning, so that its plain running sum never goes below zero.
pub fn lowest_points(rows: &[Row]) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::<String, (i64, i64)>::new();
    for row in rows {
        let (sum, lowest) = sums.entry(row.sku.clone()).or_default();
        *sum += plain(row);
        *lowest = (*lowest).min(*sum);
    }
    sums.into_iter()
        .map(|(sku, (_, lowest))| (sku, -lowest))
        .filter(|(_, need)| *need > 0)
        .collect()
}

/// What a row does to the shelf, taken plainly: a sale takes, a return brings, a correction does what it says.
pub fn plain(row: &Row) -> i64 {
    if row.invoice.starts_with('C') {
        row.quantity.abs()
    } else if row.quantity < 0 {
        row.quantity
    } else {
        -row.quantity
    }
}

/// Compares every SKU of the node with the model, and checks what holds of every SKU: the seven accounts sum to zero, and
/// no inside account is below it, nor that of any lot.
pub fn compare(model: &Model, skus: &[Value]) {
    let accounts = [
        "sellable",
        "quarantine",
        "in_transit",
        "supply",
        "demand",
        "waste",
        "discrepancy",
    ];
    let mut seen = BTreeMap::new();
    for sku in skus {
        let name = sku["sku"].as_str().unwrap_or_else(|| panic!("no SKU: {sku}"));
        let account = |account: &str| {
            sku["accounts"][account]
                .as_i64()
                .unwrap_or_else(|| panic!("{name} has no {account}: {sku}"))
        };
        assert_eq!(accounts.iter().map(|a| account(a)).sum::<i64>(), 0, "conservation: {sku}");
        assert!(accounts[..3].iter().all(|a| account(a) >= 0), "no_negative: {sku}");
        for lot in sku["lots"].as_array().into_iter().flatten() {
            assert!(
                accounts[..3].iter().all(|a| lot[a].as_i64().unwrap_or(0) >= 0),
                "no_negative in a lot: {sku}"
            );
        }
        let expected = model.skus.get(name).copied().unwrap_or_default();
        let found = Sku {
            sellable: account("sellable"),
            supply: account("supply"),
            demand: account("demand"),
            discrepancy: account("discrepancy"),
            owed: sku["owed"]
                .as_i64()
                .unwrap_or_else(|| panic!("{name} owes nothing known: {sku}")),
            ..expected
        };
        assert_eq!(found, expected, "{name}: {sku}");
        let is_due = sku["flags"]
            .as_array()
            .is_some_and(|flags| flags.iter().any(|flag| flag == "count_due"));
        assert!(
            is_due || expected.found == 0,
            "{name} had to find units and asks for no count: {sku}"
        );
        assert!(seen.insert(name.to_owned(), ()).is_none(), "{name} is listed twice");
    }
    for (name, sku) in &model.skus {
        assert!(seen.contains_key(name) || sku.applied == 0, "{name} is not listed");
    }
}
