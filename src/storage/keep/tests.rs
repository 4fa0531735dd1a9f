//! What is sealed, saved and let go must not change a single answer.

use std::sync::Arc;

use proptest::prelude::*;

use crate::domain::fact::{Account, Change, Fact, Outcome, Subject};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, Time};
use crate::storage::answered::Answered;
use crate::storage::codec::Stored;
use crate::storage::keep::Keeper;
use crate::storage::known::Known;
use crate::storage::remembered::{self, Lookup, Why};
use crate::storage::store::{Options, ReadError, Store};
use crate::storage::testing::arbitrary::stored;
use crate::storage::testing::{Disk, append, copy, fact, options, receipt, store_on};
use crate::storage::view::View;

fn seal_all(keeper: &mut Keeper) {
    while keeper.seal().unwrap() {}
}

fn settle(keeper: &mut Keeper, now: Time) {
    keeper.finish(now).unwrap();
    seal_all(keeper);
    while keeper.retain(now).unwrap() {}
}

fn from_zero(facts: &[Stored]) -> View {
    let view = View::new(usize::MAX, 6, 0);
    for stored in facts {
        view.fold_stored(stored);
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The invariant `replay`: at any moment a restart from snapshot and tail gives the fold from zero, and so does the view.
    #[test]
    fn replay_holds_from_every_snapshot(
        batches in proptest::collection::vec((proptest::collection::vec(stored(), 1..20), 0u8..5), 1..20),
    ) {
        let disk = Arc::new(Disk::default());
        // Nothing is old here: times are arbitrary, and what is forgotten has a test of its own.
        let options = Options { id_window_ms: i64::MAX, history_ms: i64::MAX, ..options() };
        let open = |disk: &Arc<Disk>| Store::open_with(disk.backends(), options.clone()).unwrap();
        let store = open(&disk);
        let mut keeper = store.keeper();
        let mut all = Vec::new();
        for (mut facts, then) in batches {
            let first = append(&store, &facts).unwrap();
            facts.iter_mut().zip(first..).for_each(|(stored, seq)| stored.fact.seq = seq);
            all.extend(facts);
            match then {
                0 => { keeper.snapshot(Time(0)).unwrap(); }
                1 => { keeper.seal().unwrap(); }
                2 => seal_all(&mut keeper),
                3 => keeper.finish(Time(0)).unwrap(),
                _ => {}
            }
            if then != 4 {
                let again = open(&copy(&disk));
                let zero = from_zero(&all);
                prop_assert_eq!(again.shared().differences(&zero, false), Ok(Vec::new()));
                prop_assert_eq!(store.shared().differences(&zero, false), Ok(Vec::new()));
                prop_assert_eq!(again.view().durable_seq(), all.len() as u64);
            }
        }
        let again = open(&copy(&disk));
        for store in [&store, &again] {
            for one in &all {
                let fact = &one.fact;
                let read = store.fact(fact.seq).unwrap();
                prop_assert_eq!(read.as_ref(), Some(fact));
                let hash = remembered::hash(fact.warehouse.as_str(), fact.origin.source.as_str(), fact.origin.id.as_str());
                if one.memory.id {
                    prop_assert!(matches!(store.lookup(hash), Ok(Lookup::At(_))));
                }
            }
        }
    }
}

fn seqs(facts: &[Fact]) -> Vec<u64> {
    facts.iter().map(|fact| fact.seq).collect()
}

/// 1,000 facts of three SKUs in turn; each tenth is a refusal.
fn thousand(store: &Store) {
    for batch in 0..50u64 {
        let facts: Vec<Stored> = (batch * 20 + 1..=batch * 20 + 20)
            .map(|number| {
                let mut stored = receipt(["a", "b", "c"][number as usize % 3], number, 1, number);
                if number.is_multiple_of(10) {
                    stored.fact.outcome = Outcome::Refused(Refusal::new(Code::InsufficientStock, "no").into());
                    stored.memory.id = false;
                    if let Subject::Sku { changes, .. } = &mut stored.fact.subject {
                        changes.clear();
                    }
                }
                stored
            })
            .collect();
        append(store, &facts).unwrap();
    }
}

fn pages(mut page: impl FnMut(Option<u64>) -> (Vec<Fact>, Option<u64>)) -> Vec<u64> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let (facts, next) = page(before);
        all.extend(seqs(&facts));
        if next.is_none() {
            return all;
        }
        before = next;
    }
}

#[test]
fn the_ledger_is_the_same_whether_generations_are_live_or_sealed() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    thousand(&store);
    let expected: Vec<u64> = (1..=1_000).rev().filter(|number| number % 3 == 1).collect();
    let refused: Vec<u64> = (1..=1_000).rev().filter(|number| *number % 10 == 0).collect();
    let check = |store: &Store| {
        let sku = store.view().keys().find("w", "b").unwrap();
        for limit in [1, 7, 100, 1_000] {
            let ledger = |before| store.ledger(sku, before, limit).map(|page| (page.facts, page.next)).unwrap();
            assert_eq!(pages(ledger), expected);
        }
        for why in [None, Some(Why::Refused)] {
            let noted = |before| store.noted("w", why, before, 30).map(|page| (page.facts, page.next)).unwrap();
            assert_eq!(pages(noted), refused);
        }
        assert!(store.noted("w", Some(Why::Stale), None, 10).unwrap().facts.is_empty());
        assert_eq!(store.ledger(sku, None, 5).unwrap().opening, None);
    };
    check(&store);
    let mut keeper = store.keeper();
    keeper.seal().unwrap();
    check(&store);
    seal_all(&mut keeper);
    check(&store);
    drop((keeper, store));
    check(&store_on(&disk));
}

#[test]
fn what_is_past_its_time_is_let_go_and_stays_in_the_opening_balance() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    thousand(&store);
    let sku = store.view().keys().find("w", "a").unwrap();
    let before = store.view().stock(sku).unwrap();
    let mut keeper = store.keeper();
    let far = Time(i64::MAX / 2);
    // Nobody may lose what he has not read yet.
    store.set_cursor("slow", 500);
    settle(&mut keeper, far);
    assert_eq!(store.floor(), 448, "whole generations of 64, below the cursor");
    store.set_cursor("slow", 1_000);
    settle(&mut keeper, far);
    assert_eq!(store.floor(), 960);
    let check = |store: &Store| {
        let sku = store.view().keys().find("w", "a").unwrap();
        assert_eq!(store.view().stock(sku).unwrap(), before);
        let page = store.ledger(sku, None, 100).unwrap();
        assert_eq!(
            seqs(&page.facts),
            [999, 996, 993, 990, 987, 984, 981, 978, 975, 972, 969, 966, 963, 960]
        );
        assert_eq!(page.opening.unwrap().floor, 960);
        assert_eq!(store.facts(959, 10), Err(ReadError::HistoryGone { floor: 960 }));
        assert_eq!(seqs(&store.facts(960, 2).unwrap()), [960, 961]);
        assert_eq!(store.touched(959, 10), Err(ReadError::HistoryGone { floor: 960 }));
        let touch = |fact: &Fact| match &fact.subject {
            Subject::Sku {
                sku, version, changes, ..
            } if !changes.is_empty() => Some((store.view().keys().find("w", sku.as_str())?, *version)),
            _ => None,
        };
        let told: Vec<_> = store.facts(970, 1_000).unwrap().iter().filter_map(touch).collect();
        assert_eq!(store.touched(970, 1_000), Ok((told, store.view().durable_seq() + 1)));
        assert_eq!(store.fact(959), Ok(None));
        assert_eq!(store.lookup(remembered::hash("w", "wms/7", "e-11")), Ok(Lookup::New));
        assert_eq!(store.lookup(remembered::hash("w", "wms/7", "e-999")), Ok(Lookup::At(999)));
        assert_eq!(
            store.as_of(sku, Some(Time(0)), None),
            Err(ReadError::HistoryGone { floor: 960 })
        );
    };
    check(&store);
    assert_eq!(append(&store, &[receipt("b", 1_001, 1, 1_001)]), Ok(1_001));
    drop((keeper, store));
    check(&store_on(&disk));
}

#[test]
fn ids_kept_for_ever_outlive_the_window() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    for number in 1..=200u64 {
        let mut stored = receipt("a", number, 1, number);
        stored.memory.keep_forever = number.is_multiple_of(2);
        stored.fact.origin.fingerprint = number;
        if number == 34 {
            stored.fact.outcome = Outcome::Recorded;
        }
        append(&store, &[stored]).unwrap();
    }
    settle(&mut store.keeper(), Time(i64::MAX / 2));
    for store in [store_on(&copy(&disk)), store] {
        let lookup = |number: u64| store.lookup(remembered::hash("w", "wms/7", &format!("e-{number}"))).unwrap();
        assert_eq!(lookup(31), Lookup::New);
        assert_eq!(lookup(32), Lookup::At(32), "known, though its fact is gone");
        assert_eq!(store.fact(32), Ok(None));
        let known = |number: u64| {
            let (id, source) = (Id::trusted(&format!("e-{number}")), Id::trusted("wms/7"));
            let hash = remembered::hash("w", "wms/7", id.as_str());
            store.known(hash, &Id::trusted("w"), &source, &id).unwrap()
        };
        let answered = |seq: u64, outcome: Outcome| Known::Gone {
            seq,
            answered: Some(Answered {
                fingerprint: seq,
                version: seq,
                outcome,
            }),
        };
        assert_eq!(
            known(32),
            answered(32, Outcome::APPLIED),
            "a repetition is answered as the first time"
        );
        assert_eq!(known(34), answered(34, Outcome::Recorded));
        assert_eq!(known(31), Known::Nothing);
    }
}

#[test]
fn time_travel_undoes_what_came_later_by_either_clock() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    // (business, recorded, units): the third was told late.
    let told = [(1_000, 1_000, 10), (2_000, 2_000, 5), (1_500, 3_000, 7), (4_000, 4_000, 1)];
    for (version, (business, recorded, units)) in (1..).zip(told) {
        let mut stored = receipt("a", version, units, version);
        (stored.fact.business, stored.fact.recorded) = (Time(business), Time(recorded));
        append(&store, &[stored]).unwrap();
    }
    let sku = store.view().keys().find("w", "a").unwrap();
    for as_of in (0..5_000).step_by(500) {
        for known_at in (0..5_000).step_by(500) {
            let then = store.as_of(sku, Some(Time(as_of)), Some(Time(known_at))).unwrap();
            let counts = told
                .iter()
                .filter(|(business, recorded, _)| *business <= as_of && *recorded <= known_at);
            let expected: i64 = counts.map(|(_, _, units)| units).sum();
            assert_eq!(
                then.accounts[Account::Sellable as usize],
                expected,
                "as of {as_of}, known at {known_at}"
            );
            assert_eq!(then.accounts.iter().sum::<i64>(), 0);
            let lots: i64 = then.lots.values().map(|lot| lot.inside[0]).sum();
            assert_eq!(lots, expected);
        }
    }
    assert_eq!(
        store.as_of(sku, None, None).unwrap().accounts,
        store.view().stock(sku).unwrap().accounts()
    );
}

#[test]
fn an_ended_basket_is_forgotten_after_the_window_and_a_held_one_is_not() {
    use crate::domain::reservation::{End, Reservation, State};
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let basket = |id: &str, state: State, end: Option<i64>| {
        let reservation = Reservation {
            id: Id::new(id).unwrap(),
            channel: Id::new("web").unwrap(),
            state,
            version: 1,
            request: 0,
            extended: None,
            lines: Vec::new(),
            created: Time(0),
            expires: None,
            end: end.map(|at| End {
                at: Time(at),
                fingerprint: None,
            }),
        };
        fact("w", 1, Outcome::APPLIED, Subject::Reservation(Box::new(reservation)))
    };
    let facts = [
        basket("held", State::Held, None),
        basket("old", State::Cancelled, Some(1)),
        basket("new", State::Expired, Some(i64::MAX)),
    ];
    append(&store, &facts).unwrap();
    store.keeper().finish(Time(i64::MAX / 2)).unwrap();
    for store in [store_on(&copy(&disk)), store] {
        let ids = |state| {
            let page = store.reservations("w", state, None, 10).unwrap();
            page.items.iter().map(|basket| basket.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(Some(State::Held)), ["held"]);
        assert_eq!(ids(Some(State::Expired)), ["new"]);
        assert_eq!(store.view().held_count("w"), 1);
    }
    let again = store_on(&disk);
    assert!(again.view().held("w", "held").is_some());
}

#[test]
fn a_pass_that_is_given_up_half_way_loses_nothing() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let entry = |number: u64| Subject::Catalogue {
        sku: Id::new(&format!("s-{number:05}")).unwrap(),
        entry: "x".repeat(200).into(),
    };
    let facts: Vec<Stored> = (0..3_000)
        .map(|number| fact("", number, Outcome::APPLIED, entry(number)))
        .collect();
    append(&store, &facts).unwrap();
    let mut first = store.keeper();
    assert!(first.snapshot(Time(0)).unwrap(), "the pass goes on");
    drop(first);
    settle(&mut store.keeper(), Time(0));
    assert_eq!(store_on(&copy(&disk)).view().catalogue(None, usize::MAX).len(), 3_000);
}

#[test]
fn a_change_without_movement_has_a_ledger_too() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let mut stored = receipt("a", 1, 1, 1);
    if let Subject::Sku { changes, .. } = &mut stored.fact.subject {
        *changes = [Change::CountDue(true)].into_iter().collect();
    }
    append(&store, &[stored]).unwrap();
    let sku = store.view().keys().find("w", "a").unwrap();
    assert_eq!(seqs(&store.ledger(sku, None, 10).unwrap().facts), [1]);
}

/// Sales wait for the commit that carries a portion of a snapshot: with 128 KiB of rows it took ten times as long as one without.
#[test]
fn a_snapshot_goes_in_portions_that_no_commit_is_longer_for() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let fill = |version: u64| {
        for first in [1, 1_001, 2_001, 3_001, 4_001, 5_001] {
            let skus = first..first + 1_000;
            let facts: Vec<Stored> = skus
                .map(|sku| receipt(&format!("sku-{sku}"), version, 1, version * 10_000 + sku))
                .collect();
            append(&store, &facts).unwrap();
        }
    };
    fill(1);
    let mut keeper = store.keeper();
    let mut portions = 1;
    while keeper.snapshot(Time(0)).unwrap() {
        portions += 1;
    }
    // A row with its key counts for more than 80 bytes.
    let fewest = 6_000 * 80 / (32 << 10);
    assert!(portions >= fewest, "6,000 SKUs in {portions} portions");
    // Beside thousands of facts, whose commits are long anyway, they are larger: or the pass would last for minutes.
    let mut beside = 0;
    for version in 2.. {
        fill(version);
        beside += 1;
        if !keeper.snapshot(Time(0)).unwrap() {
            break;
        }
    }
    assert!(beside < portions, "{beside} portions beside batches, {portions} else");
    let again = Store::open_with(copy(&disk).backends(), options()).unwrap();
    assert_eq!(again.shared().differences(store.view(), false), Ok(Vec::new()));
}
