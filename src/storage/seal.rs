//! Seals full generations: what they remember becomes sorted runs on disk, off the hot path.
//!
//! A generation stays live, and answers from memory, until its runs are durable as a whole; a crash half-way leaves rows that
//! the next attempt writes again under the same keys. Sealing on the journal's thread was rejected: sorting 262,144 ids would
//! hold up a commit by 20 ms.

use std::sync::Arc;

use crate::domain::units::Id;

use super::append::CommitFailure;
use super::journal::JournalHandle;
use super::remembered::{Generation, noted_hash, sku_hash};
use super::rows::{self, Put};
use super::runs::{self, Kind, Pairs, Sealed};
use super::store::Shared;

/// Rows in one portion: about 128 KiB.
const PORTION: usize = 8;

struct Underway {
    generation: Arc<Generation>,
    pairs: [Pairs; 4],
    /// Rows written of all kinds together.
    written: usize,
}

/// The one who seals. There must be only one.
pub(crate) struct Sealer {
    shared: Arc<Shared>,
    journal: JournalHandle,
    underway: Option<Underway>,
}

impl Sealer {
    pub(crate) fn new(shared: Arc<Shared>, journal: JournalHandle) -> Sealer {
        Sealer {
            shared,
            journal,
            underway: None,
        }
    }

    /// Writes one portion, if any generation is full. Says whether there is more to do.
    pub(crate) fn step(&mut self) -> Result<bool, CommitFailure> {
        if self.underway.is_none() {
            self.underway = self.begin();
        }
        let Some(underway) = &mut self.underway else {
            return Ok(false);
        };
        let number = underway.generation.number;
        let all = Kind::ALL.iter().zip(&underway.pairs);
        let all = all.flat_map(|(kind, pairs)| runs::rows(*kind, number, pairs));
        let portion: Vec<Put> = all
            .skip(underway.written)
            .take(PORTION)
            .map(|(key, row)| Put::Run(key, Some(row)))
            .collect();
        if !portion.is_empty() {
            let count = portion.len();
            rows::write(&self.journal, portion)?;
            underway.written += count;
            return Ok(true);
        }
        let sealed = Sealed {
            newest: underway.generation.newest(),
            ids: underway.pairs[0].len() as u64,
            forever: underway.pairs[1].len() as u64,
            facts: true,
        };
        rows::write(&self.journal, vec![Put::Generation(number, Some(sealed.encode()))])?;
        // First known as sealed, then no longer live: in between it is answered twice, and never not at all.
        self.shared.runs.add(number, sealed, &underway.pairs[0], &underway.pairs[1]);
        self.shared.view.retire(number);
        self.underway = None;
        Ok(true)
    }

    fn begin(&self) -> Option<Underway> {
        let live = self.shared.view.live.load();
        // A generation is full when there is a newer one; what is in the newer one is durable, hence so is all of it.
        let generation = if live.len() > 1 { Arc::clone(&live[0]) } else { return None };
        let [ids, forever] = generation.sorted_ids();
        let keys = self.shared.view.keys();
        let mut hashes = hashbrown::HashMap::new();
        let mut ledger = Pairs::new();
        for (sku, offset) in generation.skus() {
            let hash = *hashes.entry(sku).or_insert_with(|| {
                let names = keys.names(sku);
                names.map_or(0, |(warehouse, sku)| sku_hash(warehouse.as_str(), sku.as_str()))
            });
            ledger.push((hash, offset));
        }
        let mut noted = Pairs::new();
        for entry in generation.noted() {
            let warehouse: &Id = &entry.warehouse;
            noted.push((noted_hash(warehouse.as_str(), Some(entry.why)), entry.offset));
            noted.push((noted_hash(warehouse.as_str(), None), entry.offset));
        }
        ledger.sort_unstable();
        noted.sort_unstable();
        Some(Underway {
            generation,
            pairs: [ids, forever, ledger, noted],
            written: 0,
        })
    }
}
