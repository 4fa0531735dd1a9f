//! Is a stopped store what it claims to be: every page's and every row's checksum, every sequence, every invariant, and all that is
//! derived, snapshots and runs, against the journal.
//!
//! It takes the directory's lock, so it never looks at a store that a node is writing, and leaves the store's file as it is: what has
//! to be mended before it can be read is mended in memory. Of a file that redb refuses the journal is read all the same, so that it is
//! known what is safe. Verifying a running node from within was rejected here: that is the auditor's work, on the view.

mod derived;
mod differences;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::domain::stock::check;

use super::backend::Backends;
use super::database::{Handle, ReadError, parse};
use super::salvage::{self, Page, Reads, Salvage};
use super::store::{FILE, OpenError, Options, Shared, lock, overlay};
use super::tables::meta;
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
    /// Whether the journal itself is whole: every row from the oldest that is retained to the newest.
    pub journal_whole: bool,
    /// Whether redb's own checks of its pages found nothing.
    pub pages_whole: bool,
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

    /// Whether everything that is wrong can be made anew from what is whole.
    pub fn is_repairable(&self) -> bool {
        self.journal_whole && (self.from_zero || self.pages_whole)
    }

    /// What it means, what is safe, and what to do.
    pub fn advice(&self) -> &'static str {
        if self.is_sound() {
            "The store is sound: every checksum, sequence and invariant holds."
        } else if self.is_repairable() {
            "The journal is whole: every fact is safe. What is damaged is made from it. Do not start a node on it. Run \
             `shelfd verify --repair` on the directory: it makes the store anew from the journal, and keeps the damaged file beside it."
        } else if self.journal_whole {
            "The journal is whole: every fact that is retained is safe. But older facts have been folded into opening balances, and \
             those may be damaged; they cannot be made from anything else. Do not start a node on it. Copy the directory aside, and put \
             back the newest backup; or count what the problems name."
        } else {
            "The journal is damaged. Do not start a node on it. Copy the directory aside, put back the newest backup, and let the \
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

/// Reads a stopped store from end to end. An error says why not even the journal can be read.
pub fn verify(directory: &Path) -> Result<Report, OpenError> {
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    inspect(overlay::backends(&path), &path)
}

/// As [`verify`], of what the factory makes, which is called `path`.
pub(crate) fn inspect(backends: Backends, path: &Path) -> Result<Report, OpenError> {
    let database = Handle::new(backends.clone(), Options::default().cache_bytes, u64::MAX);
    if let Err(error) = database.open() {
        let error = OpenError::redb(path, error);
        if matches!(error, OpenError::Damaged { .. })
            && let Some(salvage) = Salvage::of(&backends)
        {
            return salvaged(&salvage, error, path);
        }
        return Err(error);
    }
    let number = |name| database.number(name).map_err(|error| OpenError::read(path, error));
    refuse_newer(number(meta::FORMAT)?, path)?;
    let bits = number(meta::GENERATION_BITS)?.unwrap_or(u64::from(super::remembered::GENERATION_BITS)) as u32;
    let bits = bits.clamp(4, 24);
    let mut report = Report {
        floor: number(meta::JOURNAL_FLOOR)?.unwrap_or(1),
        pages_whole: true,
        ..Report::default()
    };
    report.from_zero = report.floor <= 1;
    let fold = View::new(usize::MAX, bits, report.floor >> bits);
    let read = |from| database.read(|transaction| salvage::page(transaction, from));
    let derived = derived::Derived::of(&database, &fold, bits);
    walk(read, |seq| derived.look(seq), &fold, &mut report);
    derived.end(&mut report);
    match Shared::load(database, Options::default(), bits) {
        Err(error) => report.problem(error.to_string()),
        Ok(shared) => {
            invariants(&shared.view, &mut report);
            if report.last < shared.snapshot_floor() {
                report.journal_whole = false;
                let (last, saved) = (report.last, shared.snapshot_floor());
                report.problem(format!("journal: facts {} to {saved} are missing", last + 1));
            }
            if report.from_zero && report.is_sound() {
                match shared.differences(&fold, true) {
                    Ok(found) => found
                        .iter()
                        .for_each(|what| report.problem(format!("the snapshot differs from the fold of the journal: {what}"))),
                    Err(error) => report.problem(error.to_string()),
                }
            }
        }
    }
    Ok(report)
}

fn refuse_newer(found: Option<u64>, path: &Path) -> Result<(), OpenError> {
    match found.unwrap_or(0) {
        found if found > super::store::FORMAT => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: super::store::FORMAT,
        }),
        _ => Ok(()),
    }
}

/// What is safe in a file that redb refuses.
fn salvaged(salvage: &Salvage, refused: OpenError, path: &Path) -> Result<Report, OpenError> {
    let OpenError::Damaged { detail, .. } = &refused else {
        return Err(refused);
    };
    // Not even what the store says of itself can be read.
    let Ok(about) = salvage::about(salvage) else {
        return Err(refused);
    };
    refuse_newer(Some(about.format), path)?;
    let mut report = Report {
        floor: about.journal_floor,
        from_zero: about.journal_floor <= 1,
        ..Report::default()
    };
    report.problem(format!("pages: {detail}"));
    let fold = View::new(
        usize::MAX,
        about.generation_bits,
        about.journal_floor >> about.generation_bits,
    );
    let bits = about.generation_bits;
    let retire = |seq: u64| {
        if seq & ((1 << bits) - 1) == 0 {
            fold.live.retire((seq >> bits).wrapping_sub(1));
        }
    };
    walk(
        |from| salvage.read(|transaction| salvage::page(transaction, from)),
        retire,
        &fold,
        &mut report,
    );
    let least = about.newest_known;
    let complete = about.journal_rows == Some(report.rows) && report.last >= least;
    if report.journal_whole && !complete {
        report.journal_whole = false;
        report.problem(format!("journal: it ends at fact {}, and there were more", report.last));
    }
    Ok(report)
}

/// Reads every row of the journal in order, and folds its facts; `folded` is told of each.
fn walk(read: impl Fn(u64) -> Result<Page, ReadError>, folded: impl Fn(u64), fold: &View, report: &mut Report) {
    let mut from = 0;
    let mut expected: Option<u64> = None;
    let bad = |report: &mut Report, text: String| {
        report.journal_whole = false;
        report.problem(text);
    };
    report.journal_whole = true;
    loop {
        let page = match read(from) {
            Ok(page) => page,
            Err(error) => return bad(report, format!("journal, from fact {from} on: {error}")),
        };
        let Some((last, _)) = page.last() else { return };
        // In a damaged file the keys may go back, and would be read for ever.
        from = match last.checked_add(1) {
            Some(next) if next > from => next,
            _ => return bad(report, format!("journal, from fact {from} on: its rows are not in order")),
        };
        for (key, bytes) in page {
            report.rows += 1;
            let row = match parse(key, bytes) {
                Ok(row) => row,
                Err(error) => {
                    bad(report, error.to_string());
                    expected = None;
                    continue;
                }
            };
            match expected {
                Some(expected) if expected != key => {
                    bad(
                        report,
                        format!("journal: facts {expected} to {} are missing", key.saturating_sub(1)),
                    );
                }
                None if report.rows == 1 && key > report.floor => {
                    let floor = report.floor;
                    bad(report, format!("journal: facts {floor} to {} are missing", key - 1));
                }
                _ => {}
            }
            expected = Some(row.end_seq());
            report.last = row.end_seq() - 1;
            for (fact, seq) in row.for_fold_from(0).zip(key..) {
                report.facts += 1;
                match fact {
                    Ok(fact) => fold.fold(fold.folded(fact), seq),
                    Err(corrupt) => bad(report, format!("journal row {key}: {corrupt}")),
                }
                folded(seq);
            }
        }
    }
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
