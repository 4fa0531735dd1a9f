//! What became of the rows: one number for each fate, which together are the rows of the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of rows by fate. Every row is in exactly one of them, [`Tally::found_units`] apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Moved stock now.
    pub applied: u64,
    /// Had been taken before.
    pub duplicates: u64,
    /// Came after a count that includes them.
    pub included_in_count: u64,
    /// Older than what the node knows.
    pub stale: u64,
    /// Noted, and moved nothing.
    pub recorded: u64,
    /// Put aside by the node after they killed their actor.
    pub dead_letters: u64,
    /// Refused by the node, by code.
    pub refused: BTreeMap<String, u64>,
    /// Refused in an earlier, finished import of the same file, and not sent again, by code.
    pub refused_before: BTreeMap<String, u64>,
    /// Never sent, by code.
    pub rejected: BTreeMap<String, u64>,
    /// Units that had to be found, since the book held fewer than left. Units, not rows.
    pub found_units: i64,
}

impl Tally {
    /// Rows accounted for.
    pub fn rows(&self) -> u64 {
        self.applied + self.duplicates + self.included_in_count + self.stale + self.recorded + self.left_out()
    }

    /// Rows that the stock does not have: they stand in the file of rejected rows.
    pub fn left_out(&self) -> u64 {
        let sum = |codes: &BTreeMap<String, u64>| codes.values().sum::<u64>();
        sum(&self.refused) + sum(&self.refused_before) + sum(&self.rejected) + self.dead_letters
    }

    /// Counts one row more under a code.
    pub fn count(codes: &mut BTreeMap<String, u64>, code: &str) {
        *codes.entry(code.to_owned()).or_default() += 1;
    }
}
