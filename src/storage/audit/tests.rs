//! The auditor over small stores: it is silent over sound ones, and names what was planted in the others.

use std::sync::Arc;

use redb::ReadableTable;
use smallvec::smallvec;

use super::*;
use crate::domain::fact::{Account, Change, Changes, Claim, Outcome, Role, Subject};
use crate::domain::reservation::{End, Line, Reservation, State};
use crate::domain::stock::{Stock, evolve};
use crate::domain::units::Id;
use crate::storage::append::SkuIndex;
use crate::storage::codec::Stored;
use crate::storage::testing::{Disk, append, fact, store_on};

/// Makes facts as a decider would: each carries the figures after it.
#[derive(Default)]
struct Teller {
    stocks: std::collections::BTreeMap<String, Stock>,
    number: u64,
}

impl Teller {
    fn tell(&mut self, sku: &str, changes: Changes) -> Stored {
        self.number += 1;
        let stock = self.stocks.entry(sku.to_owned()).or_default();
        let subject = |version, after| Subject::Sku {
            sku: Id::new(sku).unwrap(),
            version,
            changes: changes.clone(),
            after,
        };
        let mut told = fact("w", self.number, Outcome::APPLIED, subject(0, Default::default()));
        evolve(stock, &changes, told.fact.business, told.fact.recorded);
        told.fact.subject = subject(stock.version, stock.after(crate::domain::units::Day(0), told.fact.recorded));
        told
    }

    fn receipt(&mut self, sku: &str, quantity: i64) -> Stored {
        self.tell(sku, smallvec![received(quantity)])
    }

    fn claim(&mut self, sku: &str, basket: &str, quantity: i64) -> Stored {
        let claim = Claim {
            reservation: Id::new(basket).unwrap(),
            quantity,
            good_until: None,
            deadline: None,
            at_risk: false,
        };
        self.tell(sku, smallvec![Change::Claim(Box::new(claim))])
    }

    fn basket(&mut self, id: &str, version: u64, state: State, lines: &[(&str, i64)]) -> Stored {
        self.number += 1;
        let line = |(sku, held): &(&str, i64)| Line {
            sku: Id::new(sku).unwrap(),
            quantity: *held,
            held: *held,
            taken: 0,
            matched: 0,
            confirmed: 0,
            min_shelf_life_days: None,
            good_until: None,
        };
        let end = (state != State::Held).then_some(End {
            at: Time(1_000_000),
            fingerprint: None,
        });
        let reservation = Reservation {
            id: Id::new(id).unwrap(),
            channel: Id::new("web").unwrap(),
            state,
            version,
            request: 0,
            extended: None,
            lines: lines.iter().map(line).collect(),
            created: Time(0),
            expires: None,
            end,
        };
        let subject = Subject::Reservation(Box::new(reservation));
        let mut told = fact("w", self.number, Outcome::APPLIED, subject);
        told.memory.id = false;
        told
    }
}

fn received(quantity: i64) -> Change {
    Change::Move {
        lot: Id::no_lot(),
        from: Account::Supply,
        to: Account::Sellable,
        quantity,
        role: Role::Own,
    }
}

/// A store with three SKUs, two baskets and a few hundred facts.
fn shop() -> (Arc<Disk>, Store, Teller) {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let mut teller = Teller::default();
    for _ in 0..100 {
        let facts: Vec<Stored> = ["a", "b", "c"].iter().map(|sku| teller.receipt(sku, 3)).collect();
        append(&store, &facts).unwrap();
    }
    let held = [
        teller.basket("o-1", 1, State::Held, &[("a", 2), ("b", 1)]),
        teller.claim("a", "o-1", 2),
        teller.claim("b", "o-1", 1),
    ];
    append(&store, &held).unwrap();
    let ended = [
        teller.basket("o-2", 1, State::Held, &[]),
        teller.basket("o-2", 2, State::Cancelled, &[]),
    ];
    append(&store, &ended).unwrap();
    (disk, store, teller)
}

fn sku(store: &Store, name: &str) -> SkuIndex {
    store.view().keys().find("w", name).unwrap()
}

/// Puts another state in the place of the one that is answered from, as flipped bits or a defect would.
fn corrupt(store: &Store, name: &str, spoil: impl FnOnce(&mut Stock)) {
    let index = sku(store, name);
    let (mut stock, seq) = store.view().read(index, |stock, seq| (stock.cloned().unwrap(), seq));
    spoil(&mut stock);
    store.view().cells.restore([(index, stock, seq)].into_iter());
}

/// One round, in steps of that many facts and slices of that many SKUs: what was found, as invariant and subject.
fn round(store: &Store, facts: u32, slice_of: usize) -> Vec<(&'static str, String)> {
    let findings = Arc::new(Findings::default());
    let mut auditor = store.auditor(findings.clone(), 1_000);
    auditor.slice_of = slice_of;
    for _ in 0..100_000 {
        auditor.step(facts, Time(0)).unwrap();
        if findings.report().rounds == 1 {
            let report = findings.report();
            assert_eq!(report.found as usize, report.findings.len());
            let told = report
                .findings
                .into_iter()
                .map(|finding| (finding.invariant, finding.subject));
            return told.collect();
        }
    }
    panic!("the round did not end");
}

#[track_caller]
fn finds(store: &Store, expected: &[(&str, &str)]) {
    for (facts, slice_of) in [(1, 1), (7, 2), (1_000, SLICE)] {
        let found = round(store, facts, slice_of);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(invariant, subject)| (*invariant, subject.as_str()))
            .collect();
        assert_eq!(found, expected, "{facts} facts a step, {slice_of} SKUs a slice");
    }
}

#[test]
fn nothing_is_found_in_a_sound_store() {
    let (disk, store, _) = shop();
    finds(&store, &[]);
    drop(store);
    finds(&store_on(&disk), &[]);
}

#[test]
fn a_state_that_is_not_the_fold_of_the_journal_is_named() {
    let (_disk, store, _) = shop();
    corrupt(&store, "b", |stock| {
        stock.lots[0].inside[0] += 1;
        stock.outside[0] -= 1;
    });
    finds(&store, &[("replay", "b")]);
}

#[test]
fn broken_sums_and_negative_shelves_are_named() {
    let (_disk, store, _) = shop();
    corrupt(&store, "a", |stock| stock.outside[0] -= 1);
    corrupt(&store, "c", |stock| stock.lots[0].inside[0] = -1);
    finds(&store, &[("conservation", "a"), ("no_negative", "c")]);
}

#[test]
fn the_recent_book_and_the_version_are_compared_too() {
    let (_disk, store, _) = shop();
    corrupt(&store, "a", |stock| stock.book = Default::default());
    corrupt(&store, "b", |stock| stock.version += 1);
    finds(&store, &[("replay", "a"), ("replay", "b")]);
}

#[test]
fn a_promise_past_the_shelf_is_named() {
    let (_disk, store, mut teller) = shop();
    crate::storage::testing::append(&store, &[site()]).unwrap();
    let oversold = [
        teller.basket("o-3", 1, State::Held, &[("c", 301)]),
        teller.claim("c", "o-3", 301),
    ];
    append(&store, &oversold).unwrap();
    finds(&store, &[("no_oversell", "c")]);
}

/// The warehouse itself: without it nobody knows its days.
fn site() -> Stored {
    let site = crate::domain::warehouse::Warehouse {
        id: Id::new("w").unwrap(),
        name: String::new(),
        time_zone: "UTC".into(),
        channels: Default::default(),
    };
    let mut told = fact("w", 9_999, Outcome::APPLIED, Subject::Warehouse(Box::new(site)));
    told.memory.id = false;
    told
}

#[test]
fn half_a_basket_is_named_from_either_side() {
    let (_disk, store, mut teller) = shop();
    let half = [
        teller.basket("o-3", 1, State::Held, &[("a", 1), ("c", 1)]),
        teller.claim("a", "o-3", 1),
        teller.claim("b", "o-4", 5),
    ];
    append(&store, &half).unwrap();
    finds(&store, &[("whole_basket", "b"), ("whole_basket", "c")]);
}

#[test]
fn an_effect_that_came_twice_is_named() {
    let (_disk, store, mut teller) = shop();
    let mut again = teller.receipt("a", 1);
    again.fact.origin = crate::storage::testing::origin(1);
    append(&store, &[again]).unwrap();
    finds(&store, &[("once", "a")]);
}

#[test]
fn an_ended_basket_that_changes_is_named() {
    let (_disk, store, mut teller) = shop();
    append(&store, &[teller.basket("o-2", 3, State::Held, &[])]).unwrap();
    finds(&store, &[("final_ends", "reservation o-2")]);
}

#[test]
fn versions_that_repeat_or_leave_one_out_are_named() {
    let (_disk, store, mut teller) = shop();
    let version = |told: &mut Stored, by: i64| {
        let Subject::Sku { version, .. } = &mut told.fact.subject else {
            unreachable!()
        };
        *version = version.checked_add_signed(by).unwrap();
    };
    let mut repeated = teller.receipt("a", 1);
    version(&mut repeated, -1);
    let mut skipped = teller.receipt("b", 1);
    version(&mut skipped, 1);
    append(&store, &[repeated, skipped]).unwrap();
    finds(&store, &[("ordered_publication", "a"), ("replay", "b")]);
}

#[test]
fn figures_that_a_fact_carries_and_the_fold_does_not_give_are_named() {
    let (_disk, store, mut teller) = shop();
    let mut told = teller.receipt("a", 1);
    let Subject::Sku { after, .. } = &mut told.fact.subject else {
        unreachable!()
    };
    after.accounts[0] += 1;
    append(&store, &[told]).unwrap();
    finds(&store, &[("replay", "a")]);
}

#[test]
fn a_damaged_row_and_what_it_took_along_are_named_and_the_rest_is_checked() {
    let (_disk, store, _) = shop();
    let row = crate::storage::testing::row_of(&store, 148);
    spoil_row(&store, row);
    corrupt(&store, "c", |stock| stock.owed = -1);
    for (facts, slice_of) in [(1, 1), (1_000, SLICE)] {
        let found = round(&store, facts, slice_of);
        let subjects: Vec<&str> = found.iter().map(|(_, subject)| subject.as_str()).collect();
        assert_eq!(subjects, ["the journal", "a", "b", "c", "c"], "{found:?}");
    }
}

/// Flips a bit of a row of the journal, beneath everybody.
fn spoil_row(store: &Store, key: u64) {
    let database = store.shared().database.get().unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(crate::storage::tables::JOURNAL).unwrap();
        let mut row = table.get(key).unwrap().unwrap().value().to_vec();
        row[40] ^= 1;
        table.insert(key, row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    store.shared().database.forget_rows();
}

#[test]
fn what_is_left_of_a_journal_that_was_cut_is_checked_and_its_opening_is_believed() {
    let (disk, store, mut teller) = shop();
    let mut keeper = store.keeper();
    let far = Time(i64::MAX / 2);
    keeper.finish(far).unwrap();
    while keeper.seal().unwrap() {}
    while keeper.retain(far).unwrap() {}
    assert!(store.floor() > 200, "generations are of 64 facts");
    drop(keeper);
    finds(&store, &[]);
    append(&store, &[teller.receipt("a", 1)]).unwrap();
    drop(store);
    let store = store_on(&disk);
    finds(&store, &[]);
    corrupt(&store, "b", |stock| {
        stock.lots[0].inside[0] += 1;
        stock.outside[0] -= 1;
    });
    finds(&store, &[("replay", "b")]);
}

#[test]
fn a_store_that_goes_on_meanwhile_is_compared_as_of_one_moment_for_each_sku() {
    let (_disk, store, mut teller) = shop();
    let findings = Arc::new(Findings::default());
    let mut auditor = store.auditor(findings.clone(), 0);
    while findings.report().rounds < 3 {
        auditor.step(100, Time(0)).unwrap();
        append(&store, &[teller.receipt("a", 1), teller.receipt("c", 2)]).unwrap();
    }
    assert_eq!(findings.report().findings, []);
    assert!(findings.report().skus >= 9);
    corrupt(&store, "c", |stock| stock.owed = 1);
    let rounds = findings.report().rounds;
    while findings.report().rounds < rounds + 2 {
        auditor.step(100, Time(0)).unwrap();
        append(&store, &[teller.receipt("a", 1), teller.receipt("c", 2)]).unwrap();
    }
    let found = findings.report().findings;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].invariant, found[0].subject.as_str()), ("replay", "c"));
}

#[test]
fn baskets_that_come_faster_than_a_sweep_reads_are_left_to_the_next_round() {
    let (_disk, store, mut teller) = shop();
    let findings = Arc::new(Findings::default());
    let mut auditor = store.auditor(findings.clone(), 0);
    let (mut most, mut made) = (0, 0);
    while findings.report().rounds < 1 || made < 400 {
        auditor.step(10, Time(0)).unwrap();
        most = most.max(auditor.sweep.as_ref().map_or(0, |sweep| sweep.baskets.len()));
        let ids: [String; 4] = std::array::from_fn(|at| format!("b-{}", made + at));
        let held: Vec<Stored> = ids.iter().map(|id| teller.basket(id, 1, State::Held, &[])).collect();
        let ended: Vec<Stored> = ids.iter().map(|id| teller.basket(id, 2, State::Cancelled, &[])).collect();
        append(&store, &[held, ended, vec![teller.receipt("a", 1)]].concat()).unwrap();
        made += 4;
        if findings.report().rounds == 0 {
            assert!(most <= 2, "{most} of the shop's two and those that came since");
        }
    }
    assert_eq!(findings.report().findings, []);
    append(&store, &[teller.basket("b-5", 3, State::Held, &[])]).unwrap();
    let rounds = findings.report().rounds;
    while findings.report().rounds < rounds + 2 {
        auditor.step(10_000, Time(0)).unwrap();
    }
    let found = findings.report().findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].invariant, found[0].subject.as_str()),
        ("final_ends", "reservation b-5")
    );
}

#[test]
fn it_rests_between_rounds() {
    let (_disk, store, _) = shop();
    let findings = Arc::new(Findings::default());
    let mut auditor = store.auditor(findings.clone(), 1_000);
    for _ in 0..100 {
        auditor.step(10_000, Time(0)).unwrap();
    }
    assert_eq!(findings.report().rounds, 1);
    auditor.step(10_000, Time(1_000)).unwrap();
    assert_eq!(findings.report().rounds, 2);
}

#[test]
fn a_panic_of_its_own_is_a_finding() {
    let (_disk, store, _) = shop();
    let findings = Arc::new(Findings::default());
    let mut auditor = store.auditor(findings.clone(), 1_000);
    // A slice that does not hold the SKUs that it says.
    auditor.sweep = Some({
        let mut sweep = Sweep::new(&store.shared, 0..3, (0, 1), 1_000);
        sweep.stocks.clear();
        sweep
    });
    auditor.step(10_000, Time(0)).unwrap();
    let found = findings.report().findings;
    assert_eq!(found.len(), 1);
    assert!(found[0].detail.contains("the auditor failed"), "{found:?}");
    auditor.step(10_000, Time(1_000)).unwrap();
    assert_eq!(findings.report().rounds, 1, "it goes on");
}
