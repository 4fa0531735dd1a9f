//! The runs of sealed generations against what the journal's facts make of them: ids, ledger, what was ignored.
//!
//! A generation is compared as soon as its last fact has been folded, and let go, so that the memory does not grow with the journal.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::storage::database::Handle;
use crate::storage::runs::{self, Kind, Pairs, Sealed};
use crate::storage::seal;
use crate::storage::view::View;

use super::Report;

/// See the module.
pub(super) struct Derived<'a> {
    database: &'a Handle,
    fold: &'a View,
    bits: u32,
    sealed: BTreeMap<u64, Sealed>,
    /// The generation of the fact that was folded last.
    at: Cell<Option<u64>>,
    problems: RefCell<Vec<String>>,
}

impl<'a> Derived<'a> {
    pub(super) fn of(database: &'a Handle, fold: &'a View, bits: u32) -> Derived<'a> {
        let (sealed, problems) = match runs::sealed(database) {
            Ok(sealed) => (sealed.into_iter().collect(), Vec::new()),
            Err(error) => (BTreeMap::new(), vec![error.to_string()]),
        };
        Derived {
            database,
            fold,
            bits,
            sealed,
            at: Cell::new(None),
            problems: RefCell::new(problems),
        }
    }

    /// The fact of this sequence has been folded: what came before its generation is complete.
    pub(super) fn look(&self, seq: u64) {
        let generation = seq >> self.bits;
        if let Some(before) = self.at.replace(Some(generation))
            && before != generation
        {
            self.compare(before);
        }
    }

    /// All facts have been folded.
    pub(super) fn end(self, report: &mut Report) {
        if let Some(last) = self.at.get() {
            self.compare(last);
            let missing = (report.floor >> self.bits..self.sealed.last_key_value().map_or(0, |(number, _)| *number))
                .filter(|number| !self.sealed.contains_key(number));
            let missing = missing.map(|number| format!("generation {number} is not called sealed, and later ones are"));
            self.problems.borrow_mut().extend(missing);
        }
        self.problems.into_inner().into_iter().for_each(|text| report.problem(text));
    }

    fn compare(&self, number: u64) {
        let live = self.fold.live.load();
        let generation = live.iter().find(|generation| generation.number == number);
        if let (Some(generation), Some(sealed)) = (generation, self.sealed.get(&number)) {
            // What has been let go need not be there, and what is left of it is nobody's.
            let kept = [sealed.ids > 0, sealed.forever > 0, sealed.facts, sealed.facts];
            for (kind, _) in Kind::ALL.into_iter().zip(kept).filter(|(_, kept)| *kept) {
                let expected = seal::pairs(self.fold.keys(), generation, kind);
                if let Some(why) = self.differs(kind, number, &expected) {
                    let (first, last) = (number << self.bits, ((number + 1) << self.bits) - 1);
                    let text = format!("{} of facts {first} to {last}: {why}", kind.as_str());
                    self.problems.borrow_mut().push(text);
                }
            }
        }
        self.fold.live.retire(number);
    }

    fn differs(&self, kind: Kind, number: u64, expected: &Pairs) -> Option<String> {
        match runs::pairs(self.database, kind, number) {
            Err(error) => Some(error.to_string()),
            Ok(found) if found == *expected => None,
            Ok(found) => Some(format!(
                "the run has {} entries and is not what the {} of the journal make of it",
                found.len(),
                expected.len()
            )),
        }
    }
}
