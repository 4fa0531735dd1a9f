//! The power is cut at every step of a store's life.
//!
//! Each case is one cut: after one step of the disk, with one choice of what had reached it. Lives differ by their seed; some begin
//! without a store, some with one of the first format.

use rand::RngExt;

use super::disk::{Chance, Cutter, Kept, Step, chance};
use super::look::{Lived, lived};
use super::work::options;
use super::{Tally, cases, on_every_core, seed};
use crate::planted::{self, Bug};

const OLD: &[u8] = include_bytes!("../../../tests/fixtures/store-v1.redb");

/// Steps of work in one life.
const WORK: u32 = 60;

/// A life of that number, and cuts after every step of it until there are `most` cases; says how many steps there were.
fn cut_a_life(number: u64, seed: u64, most: u64, tally: &Tally) {
    let seed = seed.wrapping_add(number);
    // Every fourth begins with a store of the first format, whose facts are all kept.
    let old = number % 4 == 3;
    let life = match lived(old.then_some(OLD), options(!old), seed, WORK) {
        Ok(life) => life,
        Err(why) => {
            return tally.case(Err(format!(
                "life {number} (SHELFD_TEST_SEED={seed}), without any cut: {why}"
            )));
        }
    };
    for round in 0.. {
        let mut chance = chance(seed ^ round << 32);
        let mut cutter = Cutter::along(life.beginning.clone(), &life.steps);
        let mut at = 0;
        while let Some(step) = cutter.step(&mut chance) {
            at += 1;
            // Where nothing is new the last cut said it all.
            if matches!(step, Step::Told(_)) && round > 0 {
                continue;
            }
            let kept = Kept::ALL[chance.random_range(0..Kept::ALL.len())];
            let found = look(&life, &cutter, kept, &mut chance);
            let place = |found| {
                format!("life {number} (SHELFD_TEST_SEED={seed}), cut after step {at} ({kept:?}), round {round}: {found}")
            };
            tally.case(found.map_err(place));
            if tally.is_enough() || tally.count() >= most {
                return;
            }
        }
    }
}

fn look(life: &Lived, cutter: &Cutter<'_>, kept: Kept, chance: &mut Chance) -> Result<(), String> {
    match cutter.cut(kept, chance) {
        Some(found) => life.truth.look(&found, cutter.told(), &life.options),
        // A store that is being made has no name, and nobody has been told anything.
        None if cutter.told() == 0 && life.beginning.is_none() => Ok(()),
        None => Err(format!("told up to {}, and the store has lost its name", cutter.told())),
    }
}

fn sweep(cases: u64) -> Tally {
    let (tally, seed) = (Tally::of("power cuts"), seed());
    // A life for every thousand cuts, so that seeds matter as much as places.
    let lives = (cases / 1_000).max(1);
    on_every_core(lives, |number| {
        let share = cases * (number + 1) / lives;
        cut_a_life(number, seed, share, &tally);
    });
    tally
}

#[test]
fn nothing_that_was_answered_is_missing_after_a_power_cut_at_any_step() {
    let found = sweep(cases(20_000, 1_000_000)).report();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_sweep_of_power_cuts_finds_each_bug_that_is_planted() {
    let bugs = [
        Bug::AnswerBeforeSync,
        Bug::CommitWithoutSync,
        Bug::NamedEarly,
        Bug::DirectoryNotSynced,
        Bug::FloorAhead,
        Bug::SealedEarly,
        Bug::CutAboveFloor,
    ];
    for bug in bugs {
        let found = planted::with(Some(bug), || sweep(12_000)).found();
        println!("{bug:?}: {}", found.first().map_or("not found", String::as_str));
        assert!(!found.is_empty(), "{bug:?} is not found");
    }
}
