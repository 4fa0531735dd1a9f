//! A store's file that something else has damaged: bits flipped, cut short, pages swapped or replaced with zeros.
//!
//! Whatever is done to it, a start either refuses it by name or everything it says is as it was; a read that meets the damage later
//! says so; and `verify` names what a start refuses. (A start checks each page of a file up to 256 MiB; past that, see docs/limits.md.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rand::RngExt;

use super::disk::{Chance, chance};
use super::look::{Truth, all_facts};
use super::machine::Machine;
use super::work::{Life, options};
use super::{Tally, cases, on_every_core, seed};
use crate::planted::{self, Bug};
use crate::storage::codec::Stored;
use crate::storage::remembered::{self, Lookup};
use crate::storage::store::{OpenError, Store};
use crate::storage::verify::inspect;

const PAGE: usize = 4_096;
const HEADER: usize = 320;

/// A store that was stopped well, and what it says.
struct Whole {
    bytes: Vec<u8>,
    facts: Vec<Stored>,
    truth: Truth,
    ledger: Vec<u64>,
}

fn whole(seed: u64) -> Whole {
    let machine = Machine::with(None, seed);
    let mut life = Life::on(Arc::clone(&machine), Vec::new(), options(false), seed);
    life.open().expect("nothing fails");
    life.work(80).expect("nothing fails");
    life.close();
    let bytes = machine.cut().expect("it has its name");
    let store = Store::open_with(Machine::with(Some(bytes.clone()), 0).backends(), options(false)).expect("it is whole");
    Whole {
        facts: all_facts(&bytes),
        truth: Truth::of(life.attempts.iter()),
        ledger: ledger(&store).expect("it is whole"),
        bytes,
    }
}

fn ledger(store: &Store) -> Result<Vec<u64>, String> {
    let mut seqs = Vec::new();
    for sku in ["a", "b", "c", "d"] {
        let sku = store.view().keys().find("w", sku).ok_or("a SKU is missing")?;
        let page = store.ledger(sku, None, 10_000).map_err(|error| error.to_string())?;
        seqs.extend(page.facts.iter().map(|fact| fact.seq));
    }
    Ok(seqs)
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { byte: usize, bit: u8 },
    Cut { at: usize },
    Swap { one: usize, other: usize },
    Zeros { page: usize },
    AllZeros,
}

impl Damage {
    fn done_to(self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Damage::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
            Damage::Cut { at } => bytes.truncate(at),
            Damage::Swap { one, other } => {
                let kept = bytes[one * PAGE..(one + 1) * PAGE].to_vec();
                bytes.copy_within(other * PAGE..(other + 1) * PAGE, one * PAGE);
                bytes[other * PAGE..(other + 1) * PAGE].copy_from_slice(&kept);
            }
            Damage::Zeros { page } => bytes[page * PAGE..(page + 1) * PAGE].fill(0),
            Damage::AllZeros => bytes.fill(0),
        }
        bytes
    }
}

impl Whole {
    /// What comes of a damage: nothing, or a refusal with its name. Anything else is told.
    fn suffers(&self, damage: Damage) -> Result<(), String> {
        let broken = damage.done_to(self.bytes.clone());
        if broken == self.bytes {
            return Ok(());
        }
        let backends = || Machine::with(Some(broken.clone()), 0).backends();
        let verified = inspect(backends(), Path::new("store.redb"));
        let named = match &verified {
            Ok(report) => !report.is_sound() && !report.advice().is_empty(),
            Err(error) => matches!(error, OpenError::Damaged { .. } | OpenError::Newer { .. }),
        };
        match Store::open_with(backends(), options(false)) {
            Err(OpenError::Damaged { .. } | OpenError::Newer { .. }) if named => Ok(()),
            Err(OpenError::Damaged { .. } | OpenError::Newer { .. }) => {
                Err(format!("a start refuses it, and verify says {verified:?}"))
            }
            Err(other) => Err(format!("refused by another name: {other}")),
            Ok(store) => match self.reads_alike(&store) {
                // Harmless, or found where it is read.
                Ok(()) => Ok(()),
                Err(why) if why.contains("damaged") => Ok(()),
                Err(why) => Err(format!("silently different: {why}")),
            },
        }
    }

    fn reads_alike(&self, store: &Store) -> Result<(), String> {
        let last = self.facts.len() as u64;
        self.truth.holds(store, last)?;
        let found = store.facts(1, usize::MAX).map_err(|error| error.to_string())?;
        if !found.iter().eq(self.facts.iter().map(|stored| &stored.fact)) {
            return Err("the facts".to_owned());
        }
        for fact in &found {
            let hash = remembered::hash(fact.warehouse.as_str(), fact.origin.source.as_str(), fact.origin.id.as_str());
            match store.lookup(hash) {
                Ok(Lookup::At(seq)) if seq == fact.seq => {}
                other => return Err(format!("the id of fact {}: {other:?}", fact.seq)),
            }
        }
        match ledger(store)? == self.ledger {
            true => Ok(()),
            false => Err("the ledgers".to_owned()),
        }
    }

    /// Every bit of the header; bits of pages, `bits` of each; cuts, swaps and zeros.
    fn damages(&self, bits: usize, chance: &mut Chance) -> Vec<Damage> {
        let pages = self.bytes.len() / PAGE;
        let flip = |at: usize| Damage::Flip {
            byte: at / 8,
            bit: (at % 8) as u8,
        };
        let mut all: Vec<Damage> = (0..HEADER * 8).map(flip).collect();
        let chosen = pages.min(if bits < PAGE * 8 { 64 } else { pages });
        for page in 0..chosen {
            let page = if chosen == pages {
                page
            } else {
                chance.random_range(0..pages)
            };
            // Spread evenly, each at a place of chance: rows are everywhere.
            let stride = PAGE * 8 / bits;
            all.extend((0..bits).map(|n| flip(page * PAGE * 8 + n * stride + chance.random_range(0..stride))));
        }
        all.extend((0..pages).flat_map(|page| [page * PAGE, page * PAGE + 1, page * PAGE + 777].map(|at| Damage::Cut { at })));
        all.extend((0..pages).map(|page| Damage::Zeros { page }));
        all.push(Damage::AllZeros);
        for one in 0..pages {
            let others = if bits < PAGE * 8 {
                vec![chance.random_range(0..pages); 2]
            } else {
                (0..pages).collect()
            };
            all.extend(others.into_iter().map(|other| Damage::Swap { one, other }));
        }
        all
    }
}

fn sweep(bits: usize) -> Tally {
    let (tally, seed) = (Tally::of("broken files"), seed());
    let whole = whole(seed);
    let damages = whole.damages(bits, &mut chance(seed));
    on_every_core(damages.len() as u64, |number| {
        if !tally.is_enough() {
            let damage = damages[number as usize];
            let suffered = catch_unwind(AssertUnwindSafe(|| whole.suffers(damage)));
            let suffered = suffered.unwrap_or_else(|_| Err("it panics".to_owned()));
            tally.case(suffered.map_err(|why| format!("{damage:?} (SHELFD_TEST_SEED={seed}): {why}")));
        }
    });
    tally
}

#[test]
fn a_damaged_file_is_refused_by_name_or_reads_as_before() {
    let bits = cases(24, (PAGE * 8) as u64).min((PAGE * 8) as u64);
    let found = sweep(bits as usize).report();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_sweep_of_broken_files_finds_a_start_that_checks_no_pages() {
    let found = planted::with(Some(Bug::PagesUnchecked), || sweep(24)).found();
    assert!(!found.is_empty());
}
