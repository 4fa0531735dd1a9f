//! The newest duplicates, in memory: they change nothing and are not facts, but people ask what was ignored, and why.
//!
//! Writing them to the journal was rejected: a file sent twice would double it, and would change state.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::domain::event::{Event, Origin};
use crate::domain::units::{Id, Time};

/// How many are kept over all warehouses.
pub const KEPT: usize = 4_096;

/// One duplicate.
#[derive(Clone, Debug)]
pub struct Duplicate {
    /// Where.
    pub warehouse: Id,
    /// Of what.
    pub sku: Id,
    /// What kind of event.
    pub what: &'static str,
    /// Who said it again.
    pub origin: Origin,
    /// The sequence of the first.
    pub first: u64,
    /// When it came.
    pub at: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub struct RecentDuplicates(Mutex<VecDeque<Duplicate>>);

impl RecentDuplicates {
    /// Keeps one; the oldest goes when there are too many.
    pub fn push(&self, event: &Event, first: u64, at: Time) {
        let duplicate = Duplicate {
            warehouse: event.warehouse.clone(),
            sku: event.sku.clone(),
            what: event.what.word(),
            origin: event.origin.clone(),
            first,
            at,
        };
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(duplicate);
    }

    /// The newest of a warehouse, newest first.
    pub fn newest(&self, warehouse: &Id, limit: usize) -> Vec<Duplicate> {
        self.0
            .lock()
            .iter()
            .rev()
            .filter(|duplicate| duplicate.warehouse == *warehouse)
            .take(limit)
            .cloned()
            .collect()
    }
}
