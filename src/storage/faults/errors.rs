//! Each read, write, sync and resize of a store's life fails: once, or from then on until the disk is mended.
//!
//! While the disk fails, whatever is answered is right or says that it cannot be read; when it is mended the store goes on without
//! a restart, and nothing that was answered is missing, also after a power cut one instant later. After SQLite's own sweep of
//! I/O errors (sqlite.org/testing.html, section 3.2).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::look::{Truth, lived};
use super::machine::{Fault, Kind, Machine};
use super::work::{Attempt, Life, options, refusal_of_a_broken_disk};
use super::{Tally, cases, seed};
use crate::planted::{self, Bug};
use crate::storage::journal::{Health, Limits};
use crate::storage::store::{Options, Store};
use crate::storage::verify::inspect;

const WORK: u32 = 24;

fn narrow() -> Options {
    Options {
        // So little that reads go to the disk.
        cache_bytes: 8 << 10,
        limits: Limits {
            probe_every: Duration::from_millis(2),
            ..Limits::default()
        },
        ..options(false)
    }
}

/// A store with some facts, stopped, and these.
fn beginning(seed: u64) -> (Vec<u8>, Vec<Attempt>) {
    let machine = Machine::with(None, seed);
    let mut life = Life::on(Arc::clone(&machine), Vec::new(), narrow(), seed);
    life.open().expect("nothing fails");
    life.work(40).expect("nothing fails");
    life.close();
    (machine.cut().expect("it has its name"), life.attempts)
}

/// How often each kind of thing is asked in a life without faults.
fn asked(found: &[u8], facts: &[Attempt], seed: u64) -> [u64; 4] {
    let machine = Machine::with(Some(found.to_vec()), seed);
    let mut life = Life::on(Arc::clone(&machine), facts.to_vec(), narrow(), seed);
    life.open().expect("nothing fails");
    life.work(WORK).expect("nothing fails");
    Kind::ALL.map(|kind| machine.asked(kind))
}

fn wait_until_healthy(store: &Store) -> Result<(), String> {
    // The journal asks by itself; a barrier returns when its thread is at it again. What a reader has told it of is on its way
    // before the first barrier, and looked at before the second.
    let mut healthy = 0;
    for _ in 0..20_000 {
        let (tell, told) = channel();
        store.journal().barrier(Box::new(move || tell.send(()).unwrap_or_default()));
        // A thread that is gone will never be healthy.
        let _ = told.recv();
        healthy = if store.journal().health() == Health::Ok {
            healthy + 1
        } else {
            0
        };
        if healthy == 3 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(format!(
        "not healthy after the disk was mended: {:?}",
        store.journal().health()
    ))
}

/// The attempts that the journal shows, in order: each whole, each once, and each that was answered.
fn landed<'a>(store: &Store, attempts: &'a [Attempt]) -> Result<Vec<&'a Attempt>, String> {
    let facts = store.facts(1, usize::MAX).map_err(|error| error.to_string())?;
    let last = store.view().durable_seq();
    if facts.len() as u64 != last {
        return Err(format!("{} facts of {last} can be read", facts.len()));
    }
    let mut found = Vec::new();
    let (mut at, mut next) = (0, 0);
    while let Some(fact) = facts.get(at) {
        let mut rest = attempts[next..].iter();
        let number = rest.position(|attempt| attempt.facts[0].fact.origin.id == fact.origin.id);
        let number = next
            + number.ok_or(format!(
                "fact {} is nobody's, or stands twice: {:?}",
                fact.seq, fact.origin.id
            ))?;
        let attempt = &attempts[number];
        for (stored, place) in attempt.facts.iter().zip(at..) {
            let mut expected = stored.fact.clone();
            expected.seq = place as u64 + 1;
            if facts.get(place) != Some(&expected) {
                return Err(format!(
                    "fact {} is not as it was handed over, or half of its record",
                    expected.seq
                ));
            }
        }
        answered_are_there(&attempts[next..number], last)?;
        if let Some(Ok(first)) = attempt.answer
            && first != fact.seq
        {
            return Err(format!("answered with sequence {first}, and stands at {}", fact.seq));
        }
        at += attempt.facts.len();
        next = number + 1;
        found.push(attempt);
    }
    answered_are_there(&attempts[next..], last)?;
    Ok(found)
}

/// None of those that are missing may have been answered.
fn answered_are_there(missing: &[Attempt], last: u64) -> Result<(), String> {
    match missing.iter().find(|attempt| matches!(attempt.answer, Some(Ok(_)))) {
        Some(lost) => Err(format!("answered {:?}, and not in the journal up to {last}", lost.answer)),
        None => Ok(()),
    }
}

/// What would be there if the power were cut now is a store in which everything answered stands.
fn survives_a_cut(life: &Life) -> Result<(), String> {
    let found = life.machine.cut().ok_or("the store has lost its name")?;
    let look = || -> Result<(), String> {
        let report = inspect(Machine::with(Some(found.clone()), 0).backends(), Path::new("(memory)"))
            .map_err(|error| format!("verify: {error}"))?;
        if !report.is_sound() {
            return Err(format!("verify: {}", report.problems.join("; ")));
        }
        let machine = Machine::with(Some(found.clone()), 0);
        let store = Store::open_with(machine.backends(), options(false)).map_err(|error| error.to_string())?;
        let landed = landed(&store, &life.attempts)?;
        Truth::at_the_end(&landed).holds(&store, report.last)
    };
    look().map_err(|why| format!("after a power cut: {why}"))
}

/// One life with one fault.
fn suffer(found: &[u8], facts: &[Attempt], fault: Fault, seed: u64) -> Result<(), String> {
    let machine = Machine::with(Some(found.to_vec()), seed);
    let mut life = Life::on(Arc::clone(&machine), facts.to_vec(), narrow(), seed);
    machine.break_so(fault);
    life.reopen()?;
    let mut looks = 2;
    for _ in 0..WORK {
        life.work(1)?;
        // Just when it works again something may still be in doubt, which the next step would write anew.
        if machine.has_failed() && looks > 0 && !fault.lasts {
            looks -= 1;
            wait_until_healthy(life.store())?;
            survives_a_cut(&life)?;
        }
    }
    machine.mend();
    // What is only read must come back by itself, too: nobody need write for it.
    let read_again = (0..10_000).any(|_| {
        let read = life.store().fact(1).is_ok();
        if !read {
            std::thread::sleep(Duration::from_micros(500));
        }
        read
    });
    if !read_again {
        return Err("the disk is mended, and nothing can be read".to_owned());
    }
    wait_until_healthy(life.store())?;
    survives_a_cut(&life)?;
    life.work(2)?;
    let landed = landed(life.store(), &life.attempts)?;
    Truth::at_the_end(&landed).holds(life.store(), life.store().view().durable_seq())
}

fn sweep(most: u64) -> Tally {
    let (tally, seed) = (Tally::of("I/O errors"), seed());
    let (found, facts) = beginning(seed);
    let asked = asked(&found, &facts, seed);
    let mut all = Vec::new();
    for (kind, asked) in Kind::ALL.into_iter().zip(asked) {
        let share = most / 8;
        // Every one, or as many as there is time for, spread over the whole life.
        let stride = asked.div_ceil(share).max(1);
        for nth in (seed % stride..asked).step_by(stride as usize) {
            for lasts in [false, true] {
                let full = matches!(kind, Kind::Write | Kind::Resize) && nth % 2 == 1;
                all.push(Fault { kind, nth, lasts, full });
            }
        }
    }
    // Rounds with other seeds fill what is asked for.
    let rounds = most.div_ceil(all.len() as u64).min(if most > 10_000 { u64::MAX } else { 1 });
    super::on_every_core(all.len() as u64 * rounds, |number| {
        if tally.is_enough() {
            return;
        }
        let fault = all[(number % all.len() as u64) as usize];
        let seed = seed.wrapping_add(number / all.len() as u64);
        let suffered = suffer(&found, &facts, fault, seed);
        tally.case(suffered.map_err(|why| format!("{fault:?} (SHELFD_TEST_SEED={seed}): {why}")));
    });
    tally
}

#[test]
fn a_failing_disk_gives_no_wrong_answer_loses_nothing_answered_and_needs_no_restart() {
    let found = sweep(cases(480, 100_000)).report();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_sweep_of_io_errors_finds_a_failure_that_is_answered_as_done() {
    let found = planted::with(Some(Bug::FailureAnsweredDone), || sweep(240)).found();
    assert!(!found.is_empty());
}

fn broken_once(kind: Kind, nth: u64) -> Fault {
    Fault {
        kind,
        nth,
        lasts: false,
        full: false,
    }
}

/// Lives in which one of the first syncs fails.
fn failed_syncs() -> Result<(), String> {
    let (found, facts) = beginning(7);
    for nth in 0..12 {
        for seed in 0..3 {
            suffer(&found, &facts, broken_once(Kind::Sync, nth), seed)?;
        }
    }
    Ok(())
}

#[test]
fn what_one_failed_sync_left_in_doubt_is_on_the_disk_before_anything_is_built_on_it() {
    failed_syncs().expect("nothing answered is lost");
}

/// Lives in which the last sync before the store was closed failed, and the next process found what the disk did not have.
#[test]
fn what_a_failed_sync_left_when_the_store_was_closed_is_written_once_more_at_the_next_start() {
    let (found, facts) = beginning(0x5E1F_D001);
    for nth in [32, 33, 34] {
        suffer(&found, &facts, broken_once(Kind::Sync, nth), 0x5E1F_D004).expect("nothing answered is lost");
    }
}

#[test]
fn a_store_that_trusts_what_a_failed_sync_left_is_found() {
    let found = planted::with(Some(Bug::UnsyncedTrusted), failed_syncs);
    assert!(found.is_err());
}

#[test]
fn a_read_that_failed_once_is_read_again_though_nobody_writes() {
    let (found, _) = beginning(7);
    let machine = Machine::with(Some(found.clone()), 7);
    let store = Store::open_with(machine.backends(), narrow()).expect("it is whole");
    let last = store.view().durable_seq();
    machine.break_so(broken_once(Kind::Read, 0));
    let failed = (1..=last).any(|seq| store.fact(seq).is_err());
    assert!(failed, "nothing was read from the disk");
    machine.mend();
    while store.fact(1).is_err() {
        std::thread::yield_now();
    }
    assert!((1..=last).all(|seq| store.fact(seq).is_ok_and(|fact| fact.is_some())));
}

#[test]
fn a_disk_that_fails_at_the_start_is_not_called_a_damaged_store() {
    let (found, _) = beginning(7);
    for nth in 0..200 {
        let machine = Machine::with(Some(found.clone()), nth);
        machine.break_so(broken_once(Kind::Read, nth));
        if let Err(error) = Store::open_with(machine.backends(), narrow()) {
            assert!(machine.has_failed());
            refusal_of_a_broken_disk(&error.to_string()).expect("called what it is");
        }
    }
}

/// The whole life is lived before it is spoilt, or the sweep would show nothing.
#[test]
fn the_life_that_is_spoilt_goes_through_everything() {
    let life = lived(None, options(true), seed(), 400).expect("nothing fails");
    let machine = Machine::with(None, 0);
    assert!(life.steps.len() > 2_000, "{} steps", life.steps.len());
    assert!(!machine.has_store());
}
