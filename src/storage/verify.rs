//! Is a stopped store what it claims to be: every row's checksum, every sequence, every invariant, and the snapshot against
//! the journal.
//!
//! It takes the directory's lock, so it never looks at a store that a node is writing, and leaves the store's file as it is: what has
//! to be mended before it can be read is mended in memory. Verifying a running node from within was
//! rejected here: that is the auditor's work, on the view.

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::domain::stock::check;

use super::database::{Handle, ReadError, parse};
use super::store::{FILE, OpenError, Options, Shared, lock, overlay};
use super::tables::{self, meta};
use super::view::View;

/// The most problems that a report lists one by one.
const LISTED: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of the journal that were read.
    pub rows: u64,
    /// Facts in them.
    pub facts: u64,
    /// The oldest sequence that is retained.
    pub floor: u64,
    /// The newest durable sequence.
    pub last: u64,
    /// SKUs whose invariants were checked.
    pub skus: u64,
    /// Whether the journal reaches back to the first fact, so that everything could be folded from zero.
    pub from_zero: bool,
    /// What is wrong, each with its place; at most a hundred.
    pub problems: Vec<String>,
    /// How many more there were.
    pub unlisted: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// What it means, and what to do.
    pub fn advice(&self) -> &'static str {
        if self.is_sound() {
            "The store is sound: every checksum, sequence and invariant holds."
        } else {
            "The store is damaged. Do not start a node on it. Copy the directory aside, put back the newest backup, and let the \
             sources send again what came after it: what is known already is answered as a duplicate. Facts outside the places \
             listed are whole and can still be read."
        }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < LISTED {
            self.problems.push(text);
        } else {
            self.unlisted += 1;
        }
    }
}

/// Reads a stopped store from end to end. An error says why it cannot even be opened.
pub fn verify(directory: &Path) -> Result<Report, OpenError> {
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    let database = Handle::new(overlay::backends(&path), Options::default().cache_bytes);
    database.open().map_err(|error| OpenError::redb(&path, error))?;
    let number = |name| database.number(name).map_err(|error| OpenError::read(&path, error));
    let format = number(meta::FORMAT)?.unwrap_or(0);
    if format > super::store::FORMAT {
        return Err(OpenError::Newer {
            path,
            found: format,
            known: super::store::FORMAT,
        });
    }
    let bits = number(meta::GENERATION_BITS)?.unwrap_or(u64::from(super::remembered::GENERATION_BITS)) as u32;
    let mut report = Report {
        floor: number(meta::JOURNAL_FLOOR)?.unwrap_or(1),
        ..Report::default()
    };
    report.from_zero = report.floor <= 1;
    let zero = View::new(usize::MAX, bits.clamp(4, 24), 0);
    let damaged = |report: &mut Report, error: ReadError| report.problem(error.to_string());
    if let Err(error) = walk(&database, &zero, &mut report) {
        damaged(&mut report, error);
    }
    match Shared::load(database, Options::default(), bits.clamp(4, 24)) {
        Err(error) => damaged(&mut report, error),
        Ok(shared) => {
            invariants(&shared.view, &mut report);
            if report.from_zero && report.is_sound() {
                for difference in shared.view.differences(&zero, true) {
                    report.problem(format!("the snapshot differs from the fold of the journal: {difference}"));
                }
            }
        }
    }
    Ok(report)
}

/// Reads every row of the journal in order, and folds them when they begin at the first fact.
fn walk(database: &Handle, zero: &View, report: &mut Report) -> Result<(), ReadError> {
    let mut from = 0;
    let mut expected: Option<u64> = None;
    loop {
        let page = database.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let mut page = Vec::new();
            for row in table.range(from..)?.take(256) {
                let (key, value) = row?;
                page.push((key.value(), value.value().to_vec()));
            }
            Ok(page)
        })?;
        let Some((last, _)) = page.last() else { break };
        from = last + 1;
        for (key, bytes) in &page {
            report.rows += 1;
            let row = match parse(*key, bytes) {
                Ok(row) => row,
                Err(error) => {
                    report.problem(error.to_string());
                    expected = None;
                    continue;
                }
            };
            match expected {
                Some(expected) if expected != *key => {
                    report.problem(format!("journal: facts {expected} to {} are missing", key.saturating_sub(1)))
                }
                None if report.rows == 1 && *key > report.floor => {
                    report.problem(format!("journal: facts {} to {} are missing", report.floor, key - 1));
                }
                _ => {}
            }
            expected = Some(row.end_seq());
            report.last = row.end_seq() - 1;
            for stored in row.stored_from(0) {
                report.facts += 1;
                match stored {
                    Ok(stored) if report.from_zero => zero.fold_stored(stored),
                    Ok(_) => {}
                    Err(corrupt) => report.problem(format!("journal row {key}: {corrupt}")),
                }
            }
        }
    }
    Ok(())
}

fn invariants(view: &View, report: &mut Report) {
    for index in 0..view.keys().len() as u32 {
        let index = super::append::SkuIndex(index);
        let Some(stock) = view.stock(index) else { continue };
        report.skus += 1;
        if let Err(violation) = check(&stock) {
            let names = view.keys().names(index);
            let place = names.map_or_else(String::new, |(warehouse, sku)| format!("{warehouse}/{sku}"));
            report.problem(format!("{place}: {violation:?}"));
        }
    }
}
