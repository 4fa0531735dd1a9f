//! Seals full generations: what they remember becomes sorted runs on disk, off the hot path.
//!
//! A generation stays live, and answers from memory, until its runs are durable as a whole; a crash half-way leaves rows that
//! the next attempt writes again under the same keys. Sealing on the journal's thread was rejected: sorting 262,144 ids would
//! hold up a commit by 20 ms.

use std::sync::Arc;

use crate::planted::{self, Bug};

use super::append::CommitFailure;
use super::journal::JournalHandle;
use super::remembered::{Generation, Noted, noted_hash};
use super::rows::{self, Put};
use super::runs::{self, Growth, Kind, Pairs, Sealed};
use super::store::Shared;
use super::view::Keys;

/// Rows in one portion: about 128 KiB.
const PORTION: usize = 8;

struct Underway {
    generation: Arc<Generation>,
    /// How many pairs each run has; those that are written so far.
    counts: [u64; 4],
    /// The run in hand: its place among all kinds, its pairs, and how many rows of it are written. One at a time, since a run is half
    /// the size of what it is made from.
    run: usize,
    pairs: Pairs,
    written: usize,
    /// The filter that the run's ids want.
    growth: Option<Growth>,
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
        let view = &self.shared.view;
        view.live.make_ahead(view.durable_seq());
        if self.underway.is_none() {
            self.underway = self.begin();
        }
        let Some(underway) = &mut self.underway else {
            return Ok(false);
        };
        let number = underway.generation.number;
        if let Some(kind) = Kind::ALL.get(underway.run) {
            // What has been written is passed over before it becomes rows: otherwise each portion would make all before it once more.
            let from = underway.pairs.len().min(underway.written * runs::ROW_PAIRS);
            let rows = runs::rows(*kind, number, &underway.pairs[from..]).take(PORTION);
            let portion: Vec<Put> = rows.map(|(key, row)| Put::Run(key, Some(row))).collect();
            if portion.is_empty() {
                let (run, growth) = ((*kind, number), &mut underway.growth);
                let filtered = self
                    .shared
                    .runs
                    .filter_in(&self.shared.database, run, &underway.pairs, growth);
                if !filtered.map_err(|error| CommitFailure::Disk(error.to_string()))? {
                    return Ok(true);
                }
                underway.counts[underway.run] = underway.pairs.len() as u64;
                underway.run += 1;
                underway.written = 0;
                underway.pairs = Kind::ALL
                    .get(underway.run)
                    .map_or_else(Pairs::new, |kind| pairs(self.shared.view.keys(), &underway.generation, *kind));
            } else {
                let count = portion.len();
                rows::write(&self.journal, portion)?;
                underway.written += count;
            }
            return Ok(true);
        }
        let sealed = Sealed {
            newest: underway.generation.newest(),
            ids: underway.counts[Kind::Ids as usize],
            forever: underway.counts[Kind::Forever as usize],
            facts: true,
        };
        rows::write(&self.journal, vec![Put::Generation(number, Some(sealed.encode()))])?;
        // First known as sealed, then no longer live: in between it is answered twice, and never not at all.
        self.shared.runs.add(number, sealed);
        self.shared.view.live.retire(number);
        self.underway = None;
        Ok(true)
    }

    fn begin(&self) -> Option<Underway> {
        let live = self.shared.view.live.load();
        // A generation is full when there is a newer one; what is in the newer one is durable, hence so is all of it.
        let generation = if live.len() > 1 { Arc::clone(&live[0]) } else { return None };
        Some(Underway {
            counts: [0; 4],
            run: if planted::is(Bug::SealedEarly) { Kind::ALL.len() } else { 0 },
            pairs: pairs(self.shared.view.keys(), &generation, Kind::ALL[0]),
            written: 0,
            growth: None,
            generation,
        })
    }
}

/// The pairs of one run of a generation, sorted: also for whoever verifies them.
pub(crate) fn pairs(keys: &Keys, generation: &Generation, kind: Kind) -> Pairs {
    let mut pairs = match kind {
        Kind::Ids => generation.ids_kept(false),
        Kind::Forever => generation.ids_kept(true),
        Kind::Ledger => keys.hashes(generation.skus()),
        Kind::Noted => {
            let both = |entry: Noted| {
                let warehouse = entry.warehouse.as_str();
                let hashes = [Some(entry.why), None].map(|why| noted_hash(warehouse, why));
                hashes.map(|hash| (hash, entry.offset))
            };
            generation.noted().into_iter().flat_map(both).collect()
        }
    };
    pairs.sort_unstable();
    pairs
}
