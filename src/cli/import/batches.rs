//! The table cut into batches of events, each row with its id.
//!
//! A batch may have to be sent twice, when its answer was lost with the connection or the process, and must then be judged as
//! it was the first time. Rows that were taken are duplicates; but a row that was refused for want of stock would be judged
//! anew, after rows of the same SKU that came behind it and may have brought stock. So a batch ends before a SKU's next row
//! once it holds a row of that SKU that may be refused (an adjustment downwards, a release). The cuts depend on nothing but
//! the table, the mapping and the size, so a resumed import cuts as the first one did.

use std::collections::HashSet;

use csv::ByteRecord;

use super::claim::{Event, Layout, Rejection};
use super::identity::{CopyCounters, Hasher};
use super::mapping::Copies;
use super::rejects::Refusals;
use super::table::{self, Table};

/// The most bytes of a batch's body, well below the 16 MiB that the API takes.
const BODY_BYTES: usize = 8 << 20;

/// What is to be done with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is sent as this event.
    Send(Box<Event>),
    /// It is not sent, for a reason of its own.
    Reject(Rejection),
    /// It is not sent, since the node refused it in an earlier import: code and reason.
    RefusedBefore(String, String),
}

/// One row with what is to be done with it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The line on which it begins.
    pub line: u64,
    /// The row as it stands in the table.
    pub cells: ByteRecord,
    /// What is to be done with it.
    pub fate: Fate,
}

/// Rows that are answered together.
#[derive(Debug, Default)]
pub struct Batch {
    /// All rows, in order.
    pub rows: Vec<Row>,
    /// The events of those that are sent, one JSON row a line.
    pub body: Vec<u8>,
    /// How many are sent.
    pub sent: usize,
}

/// Reads a table batch by batch.
pub struct Batches {
    table: Table,
    hasher: Hasher,
    copies: CopyCounters,
    layout: Layout,
    refused_before: Refusals,
    size: usize,
    waiting: Option<Row>,
}

impl Batches {
    /// Batches of at most `size` rows.
    pub fn new(table: Table, copies: CopyCounters, layout: Layout, size: usize, refused_before: Refusals) -> Batches {
        let hasher = Hasher::new(table.header());
        Batches {
            table,
            hasher,
            copies,
            layout,
            refused_before,
            size,
            waiting: None,
        }
    }

    /// Another size from the next batch on.
    pub fn resize(&mut self, size: usize) {
        self.size = size;
    }

    /// Passes over rows that are done. They are still counted as copies.
    pub fn skip(&mut self, rows: u64) -> Result<(), table::Error> {
        let mut cells = ByteRecord::new();
        for _ in 0..rows {
            if self.table.next_row(&mut cells)?.is_none() {
                break;
            }
            self.number(&cells);
        }
        Ok(())
    }

    fn number(&mut self, cells: &ByteRecord) -> String {
        let content = self.hasher.content(cells);
        let number = match self.layout.mapping().copies {
            Copies::Several => self.copies.number(content),
            Copies::One => 1,
        };
        content.id(number)
    }

    /// The next batch; `None` at the end of the table.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, table::Error> {
        let mut batch = Batch::default();
        let mut closed = HashSet::new();
        while batch.rows.len() < self.size && batch.body.len() < BODY_BYTES {
            let Some(row) = self.take()? else { break };
            if let Fate::Send(event) = &row.fate {
                let key = (event.warehouse().to_owned(), event.sku().to_owned());
                if closed.contains(&key) {
                    self.waiting = Some(row);
                    break;
                }
                if event.refusable {
                    closed.insert(key);
                }
                // An event is texts and integers: it can always be written.
                batch.body.extend(serde_json::to_vec(event).unwrap_or_default());
                batch.body.push(b'\n');
                batch.sent += 1;
            }
            batch.rows.push(row);
        }
        Ok((!batch.rows.is_empty()).then_some(batch))
    }

    fn take(&mut self) -> Result<Option<Row>, table::Error> {
        if let Some(row) = self.waiting.take() {
            return Ok(Some(row));
        }
        let mut cells = ByteRecord::new();
        let Some(line) = self.table.next_row(&mut cells)? else {
            return Ok(None);
        };
        let id = self.number(&cells);
        let fate = match (self.layout.event(&cells), self.refused_before.remove(&line)) {
            (Err(rejection), _) => Fate::Reject(rejection),
            (Ok(_), Some((code, reason))) => Fate::RefusedBefore(code, reason),
            (Ok(event), None) => Fate::Send(Box::new(event.with_id(id))),
        };
        Ok(Some(Row { line, cells, fate }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::mapping::Mapping;
    use crate::cli::import::table::survey;

    const MAPPING: &str = r#"
warehouse = "main"
copies = "several"
columns = { sku = "sku", quantity = "qty", time = "at" }
time = { formats = ["unix_s"] }
[[rules]]
when = { qty = { sign = "negative" } }
event = "adjustment"
reason = "by hand"
[[rules]]
event = "return"
"#;

    fn batches(csv: &str, mapping: &str, size: usize, refused: Refusals) -> Batches {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.csv");
        std::fs::write(&file, csv).unwrap();
        let table = Table::open(&file, b',').unwrap();
        let layout = Layout::new(
            Mapping::parse("m.toml", mapping).unwrap(),
            "import/m".to_owned(),
            table.header(),
        )
        .unwrap();
        Batches::new(table, survey(&file, b',').unwrap().copies, layout, size, refused)
    }

    fn lines(batches: &mut Batches) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| batches.next_batch().unwrap())
            .map(|batch| batch.rows.iter().map(|row| row.line).collect())
            .collect()
    }

    fn ids(batches: &mut Batches) -> Vec<String> {
        let id = |row: Row| match row.fate {
            Fate::Send(event) => event.id,
            fate => format!("{fate:?}"),
        };
        std::iter::from_fn(|| batches.next_batch().unwrap())
            .flat_map(|batch| batch.rows)
            .map(id)
            .collect()
    }

    #[test]
    fn a_row_that_may_be_refused_is_the_last_of_its_sku_in_its_batch() {
        let csv = "sku,qty,at\nA,-1,1\nB,1,1\nA,5,1\nA,-1,2\nB,2,1\nA,-1,3\nB,3,1\n";
        let cuts = [vec![2, 3], vec![4, 5, 6], vec![7, 8]];
        assert_eq!(lines(&mut batches(csv, MAPPING, 100, Refusals::new())), cuts);
        // Resumed after a batch, the cuts are the same.
        let mut resumed = batches(csv, MAPPING, 100, Refusals::new());
        resumed.skip(2).unwrap();
        assert_eq!(lines(&mut resumed), cuts[1..]);
    }

    #[test]
    fn copies_are_several_events_or_one_and_a_resumed_import_numbers_them_alike() {
        let csv = "sku,qty,at\nA,1,1\nA,1,1\nB,1,1\nA,1,1\n";
        let several = ids(&mut batches(csv, MAPPING, 2, Refusals::new()));
        assert!(
            several[0].ends_with("-1") && several[1].ends_with("-2") && several[3].ends_with("-3"),
            "{several:?}"
        );
        let mut resumed = batches(csv, MAPPING, 2, Refusals::new());
        resumed.skip(3).unwrap();
        assert_eq!(ids(&mut resumed), several[3..]);
        let one = ids(&mut batches(csv, &MAPPING.replace("several", "one"), 2, Refusals::new()));
        assert_eq!([&one[0], &one[0], &several[2], &one[0]].map(String::clone).to_vec(), one);
    }

    #[test]
    fn what_the_node_refused_before_is_not_sent_again() {
        let csv = "sku,qty,at\nA,-1,1\nB,1,1\n";
        let refused = Refusals::from([(2, ("insufficient_stock".to_owned(), "the book has 0".to_owned()))]);
        let batch = batches(csv, MAPPING, 10, refused).next_batch().unwrap().unwrap();
        assert_eq!((batch.rows.len(), batch.sent), (2, 1));
        assert_eq!(
            batch.rows[0].fate,
            Fate::RefusedBefore("insufficient_stock".to_owned(), "the book has 0".to_owned())
        );
    }
}
