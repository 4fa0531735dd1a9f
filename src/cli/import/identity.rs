//! Who a row is: its columns, and its number among its exact copies.
//!
//! Exported tables rarely have a key: in *Online Retail* 3,938 rows share invoice and code with another, and 2,012 are exact
//! copies. A row's own content is the only name that survives a new export, a sorted one, or one with a day added. The line
//! number was rejected for that reason.
//!
//! Copies are numbered in the order of the rows, which needs a count for each distinct row: far too much memory for a big
//! table. So the table is read once before: a fixed field of bits says which rows are seen for the second time, and only
//! those few (and, harmlessly, a few that only look like it) are counted when the table is imported.

use std::collections::{HashMap, HashSet};

use csv::ByteRecord;
use xxhash_rust::xxh3::Xxh3;

/// The content of a row in 128 bits (XXH3). Two different rows of one table collide with a probability of about
/// rows² / 2^129: for a hundred million rows, 10^-23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content(u128);

/// How rows are hashed: by column name, so that the order of the columns does not matter.
#[derive(Debug, Clone)]
pub struct Hasher {
    header: Vec<String>,
    /// Indices of the columns in the order of their names.
    order: Vec<usize>,
}

impl Hasher {
    /// A hasher for tables with this header.
    pub fn new(header: &[String]) -> Hasher {
        let mut order = (0..header.len()).collect::<Vec<_>>();
        order.sort_by_key(|at| (&header[*at], *at));
        Hasher {
            header: header.to_vec(),
            order,
        }
    }

    /// The content of a row: each cell with its column's name and both lengths, so that no two rows flow into one.
    pub fn content(&self, row: &ByteRecord) -> Content {
        let mut hash = Xxh3::new();
        for &at in &self.order {
            let (name, cell) = (self.header[at].as_bytes(), row.get(at).unwrap_or_default());
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(&(cell.len() as u64).to_le_bytes());
            hash.update(cell);
        }
        Content(hash.digest128())
    }
}

impl Content {
    /// The event id of the `number`th row with this content, from 1.
    pub fn id(self, number: u32) -> String {
        format!("{:032x}-{number}", self.0)
    }
}

/// Bits in the field: 2^26 (8 MiB). A table of a million rows has about 7,500 false suspects, one of ten million about
/// 740,000.
const FIELD_BITS: u32 = 26;

/// Finds the rows that may have copies, in one pass before the import.
#[derive(Debug)]
pub struct CopyFinder {
    field: Vec<u64>,
    suspects: HashSet<Content>,
}

impl Default for CopyFinder {
    fn default() -> CopyFinder {
        CopyFinder {
            field: vec![0; 1 << (FIELD_BITS - 6)],
            suspects: HashSet::new(),
        }
    }
}

impl CopyFinder {
    /// Takes notice of a row.
    pub fn see(&mut self, content: Content) {
        let bit = (content.0 >> (128 - FIELD_BITS)) as usize;
        let word = &mut self.field[bit >> 6];
        let mask = 1_u64 << (bit & 63);
        if *word & mask != 0 {
            self.suspects.insert(content);
        }
        *word |= mask;
    }

    /// The counters for the import itself.
    pub fn into_counters(self) -> CopyCounters {
        CopyCounters {
            seen: self.suspects.into_iter().map(|content| (content, 0)).collect(),
        }
    }
}

/// Numbers the copies of each row as the table is read from its beginning.
#[derive(Debug, Clone, Default)]
pub struct CopyCounters {
    seen: HashMap<Content, u32>,
}

impl CopyCounters {
    /// The number of this row among its equals so far, from 1.
    pub fn number(&mut self, content: Content) -> u32 {
        match self.seen.get_mut(&content) {
            None => 1,
            Some(count) => {
                *count += 1;
                *count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn copies_are_numbered_in_row_order_and_others_are_first() {
        let hasher = Hasher::new(&header(&["a", "b"]));
        let rows = [["1", "x"], ["1", "x"], ["2", "x"], ["1", "x"]].map(|row| hasher.content(&ByteRecord::from(row.to_vec())));
        let mut finder = CopyFinder::default();
        rows.iter().for_each(|row| finder.see(*row));
        let mut counters = finder.into_counters();
        assert_eq!(rows.map(|row| counters.number(row)), [1, 2, 1, 3]);
    }

    #[test]
    fn a_crowd_of_distinct_rows_is_all_first_though_many_look_alike_to_the_field() {
        let hasher = Hasher::new(&header(&["n"]));
        let content = |n: u32| hasher.content(&ByteRecord::from(vec![n.to_string()]));
        let mut finder = CopyFinder::default();
        (0..200_000).for_each(|n| finder.see(content(n)));
        assert!(
            !finder.suspects.is_empty(),
            "the field is too small to tell all of these apart"
        );
        let mut counters = finder.into_counters();
        assert!((0..200_000).all(|n| counters.number(content(n)) == 1));
    }

    #[test]
    fn the_order_of_columns_does_not_matter_but_which_cell_is_where_does() {
        let row = |names: &[&str], cells: &[&str]| Hasher::new(&header(names)).content(&ByteRecord::from(cells.to_vec()));
        assert_eq!(row(&["a", "b"], &["1", "2"]), row(&["b", "a"], &["2", "1"]));
        assert_ne!(row(&["a", "b"], &["1", "2"]), row(&["a", "b"], &["2", "1"]));
        assert_ne!(row(&["a", "b"], &["12", ""]), row(&["a", "b"], &["1", "2"]));
    }

    #[test]
    fn an_id_stays_what_it_is_from_version_to_version() {
        let hasher = Hasher::new(&header(&["InvoiceNo", "StockCode"]));
        let content = hasher.content(&ByteRecord::from(vec!["536365", "85123A"]));
        assert_eq!(content.id(1), "f75a478d1ac5816508e2715a1f6a3797-1");
    }
}
