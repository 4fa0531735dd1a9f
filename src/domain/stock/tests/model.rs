//! Any history: what must always hold, held against a second, simpler computation and against the truth itself.

use proptest::prelude::*;

use super::*;
use crate::domain::event::{Inside, ReturnTo};
use crate::domain::stock::Lot;

/// One step of a random history; minutes are of the morning before noon, the time of arrival runs on by itself.
#[derive(Clone, Debug)]
struct Step {
    what: What,
    minute: i64,
    lot: Option<u8>,
    void: Option<usize>,
}

fn what() -> impl Strategy<Value = What> {
    let from = prop_oneof![Just(Inside::Sellable), Just(Inside::Quarantine), Just(Inside::InTransit)];
    let to = prop_oneof![Just(ReturnTo::Sellable), Just(ReturnTo::Quarantine)];
    let transfer = prop_oneof![Just(id("t")), Just(id("u"))];
    let quantity = 1..12i64;
    prop_oneof![
        3 => quantity.clone().prop_map(|quantity| What::Receipt { quantity }),
        4 => quantity.clone().prop_map(|quantity| What::Sale { quantity, reservation: None }),
        1 => (quantity.clone(), to).prop_map(|(quantity, to)| What::Return { quantity, to }),
        1 => quantity.clone().prop_map(|quantity| What::Quarantine { quantity }),
        1 => quantity.clone().prop_map(|quantity| What::Release { quantity }),
        2 => (quantity.clone(), from).prop_map(|(quantity, from)| What::WriteOff { quantity, from }),
        1 => (quantity.clone(), transfer.clone()).prop_map(|(quantity, transfer)| What::TransferOut {
            quantity,
            transfer,
            to_warehouse: id("other"),
        }),
        2 => (quantity.clone(), transfer.clone()).prop_map(|(quantity, transfer)| What::TransferIn { quantity, transfer }),
        2 => (quantity.clone(), transfer, 0..3u8).prop_map(|(quantity, transfer, lot)| What::Underway {
            lots: vec![(LotRef { id: lot_id(lot), expires_on: expiry(lot) }, quantity)],
            transfer,
            from_warehouse: id("other"),
        }),
        2 => (-12..12i64).prop_map(|delta| What::Adjustment { delta }),
        2 => (0..30i64).prop_map(|quantity| What::Count { quantity }),
        1 => (0..30i64).prop_map(|quantity| What::Snapshot { quantity }),
        2 => Just(What::Void { event: id("e") }),
    ]
}

fn lot_id(lot: u8) -> Id {
    id(["", "A", "B", "C"][usize::from(lot)])
}

/// Lot A expired yesterday, B lasts; C has no date.
fn expiry(lot: u8) -> Option<Day> {
    [None, Some(TODAY.plus(-1)), Some(TODAY.plus(4)), None][usize::from(lot)]
}

fn step() -> impl Strategy<Value = Step> {
    (what(), 0..700i64, proptest::option::of(0..4u8), any::<usize>()).prop_map(|(what, minute, lot, void)| Step {
        void: matches!(what, What::Void { .. }).then_some(void),
        what,
        minute,
        lot,
    })
}

proptest! {
    #![proptest_config(crate::domain::at_least(400))]

    /// `Shelf` checks conservation, no_negative, the order of the book and the replay after every event.
    #[test]
    fn any_history_conserves_units_and_is_the_fold_of_its_facts(
        steps in proptest::collection::vec(step(), 1..40),
        strict in any::<bool>(),
        entries in 4..40usize,
    ) {
        let mut shelf = Shelf::new();
        shelf.policy.strict = strict;
        shelf.limits.book_entries = entries;
        let mut voided = Vec::new();
        for step in steps {
            shelf.now = shelf.now.plus_ms(1000);
            if let Some(place) = step.void {
                let Some(place) = place.checked_rem(shelf.facts.len()) else { continue };
                if !voided.contains(&place) && shelf.void(place).binds() {
                    voided.push(place);
                }
                continue;
            }
            let mut event = event(step.what);
            event.time = Some(clock("00:00").plus_ms(step.minute * 60_000));
            event.lot = step.lot.map(|lot| LotRef { id: lot_id(lot), expires_on: expiry(lot) });
            let counts = matches!(event.what, What::Count { .. });
            let lot = event.lot.clone();
            let as_of = event.time.unwrap();
            let before = shelf.stock();
            let book = &before.book;
            let quantity = match event.what { What::Count { quantity } => quantity, _ => 0 };
            if shelf.send(event) != Outcome::APPLIED || !counts {
                continue;
            }
            let after = shelf.stock();
            let later = book.iter().filter(|entry| entry.at > as_of);
            let of_it = later.filter(|entry| lot.as_ref().is_none_or(|lot| entry.lot == lot.id.as_str()));
            let stands = quantity + of_it.map(|entry| entry.own).sum::<i64>();
            let Some(lot) = lot else {
                prop_assert_eq!((after.accounts()[0], after.owed), (stands.max(0), (-stands).max(0)));
                continue;
            };
            // A count of a lot sets that lot and settles its own part of the debt; what it adds repays others' before it stands there.
            let on_shelf = |stock: &Stock| stock.lot(&lot.id).map_or(0, Lot::sellable);
            let truth = |stock: &Stock| stock.accounts()[0] - stock.owed;
            let settled = truth(&after) - truth(&before) - (stands - on_shelf(&before));
            prop_assert!((0..=before.owed).contains(&settled), "{settled} of {} owed", before.owed);
            let repaid = stands.max(0) - on_shelf(&after);
            prop_assert!((0..=before.owed).contains(&repaid), "{repaid} of {} owed", before.owed);
            prop_assert!(repaid == 0 || stands > on_shelf(&before), "only what it adds repays");
        }
    }
}

/// What one SKU without lots comes to, by the sentences of the rules and nothing else.
#[derive(Default)]
struct Plain {
    sellable: i64,
    owed: i64,
    last_count: Option<i64>,
    /// Time and leg of each event that was not late, and what it found or repaid; `None` once voided.
    events: Vec<Option<(i64, i64, i64)>>,
    all: Vec<(i64, i64)>,
}

impl Plain {
    fn late(&self, minute: i64) -> bool {
        self.last_count.is_some_and(|count| minute <= count)
    }

    fn leaves(&mut self, units: i64) -> i64 {
        let found = (units - self.sellable).max(0);
        self.sellable = (self.sellable - units).max(0);
        self.owed += found;
        found
    }

    fn moves(&mut self, minute: i64, leg: i64, repays: bool) {
        self.all.push((minute, leg));
        if self.late(minute) {
            self.events.push(Some((minute, 0, 0)));
            return;
        }
        let mut debt = 0;
        if leg < 0 {
            debt = self.leaves(-leg);
        } else {
            self.sellable += leg;
            if repays {
                debt = -leg.min(self.owed);
                self.sellable += debt;
                self.owed += debt;
            }
        }
        self.events.push(Some((minute, leg, debt)));
    }

    fn counts(&mut self, minute: i64, counted: i64) {
        self.events.push(None);
        if self.last_count.is_some_and(|count| minute < count) {
            return;
        }
        self.last_count = Some(minute);
        let moved = self
            .events
            .iter()
            .flatten()
            .filter(|event| event.0 > minute)
            .map(|event| event.1)
            .sum::<i64>();
        (self.sellable, self.owed) = ((counted + moved).max(0), (-counted - moved).max(0));
    }

    fn voids(&mut self, place: usize) {
        let Some((minute, leg, debt)) = self.events[place].take() else {
            return;
        };
        if self.late(minute) {
            return;
        }
        if leg < 0 {
            let unfound = debt.min(self.owed);
            self.sellable += -leg - unfound;
            self.owed -= unfound;
        } else {
            self.sellable -= debt;
            self.owed -= debt;
            self.leaves(leg);
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Receipt(i64),
    Sale(i64),
    Return(i64),
    Count(i64),
    Void(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1..20i64).prop_map(Act::Receipt),
        4 => (1..12i64).prop_map(Act::Sale),
        1 => (1..5i64).prop_map(Act::Return),
        2 => (0..25i64).prop_map(Act::Count),
        2 => any::<usize>().prop_map(Act::Void),
    ]
}

fn at_minute(mut event: Event, minute: i64) -> Event {
    event.time = Some(clock("00:00").plus_ms(minute * 60_000));
    event
}

proptest! {
    #![proptest_config(crate::domain::at_least(600))]

    #[test]
    fn book_of_one_sku_agrees_with_a_second_computation(
        acts in proptest::collection::vec((act(), 0..30i64), 1..40),
    ) {
        let (mut shelf, mut plain) = (Shelf::new(), Plain::default());
        for (act, minute) in acts {
            shelf.now = shelf.now.plus_ms(1000);
            match act {
                Act::Receipt(units) => {
                    shelf.send(at_minute(receipt(units), minute));
                    plain.moves(minute, units, true);
                }
                Act::Sale(units) => {
                    shelf.send(at_minute(sale(units), minute));
                    plain.moves(minute, -units, false);
                }
                Act::Return(quantity) => {
                    let what = What::Return { quantity, to: ReturnTo::Sellable };
                    shelf.send(at_minute(event(what), minute));
                    plain.moves(minute, quantity, false);
                }
                Act::Count(units) => {
                    shelf.send(at_minute(count(units), minute));
                    plain.counts(minute, units);
                }
                Act::Void(place) => {
                    let Some(place) = place.checked_rem(plain.events.len()) else { continue };
                    if plain.events[place].is_none() { continue }
                    shelf.void(place);
                    plain.voids(place);
                    plain.events.push(None);
                }
            }
            prop_assert_eq!((shelf.stock().accounts()[0], shelf.stock().owed), (plain.sellable, plain.owed));
        }
    }

    /// The rules exist so that no unit is lost: whatever the order in which reports arrive, when the last one is in and
    /// the false ones are taken back, what the book shows less what it owes is what lies on the shelf.
    #[test]
    fn true_reports_in_any_order_end_at_the_truth(
        acts in proptest::collection::vec((act(), 0..3u8, any::<u32>(), any::<u32>()), 1..30),
        lots in any::<bool>(),
        by_lot in any::<bool>(),
    ) {
        let mut truth = 0;
        let mut reports = Vec::new();
        for (minute, (act, lot, order, later)) in (0..).zip(acts) {
            let mut report = match act {
                Act::Receipt(units) => receipt(units),
                Act::Sale(units) => sale(units.min(truth)),
                Act::Return(quantity) => event(What::Return { quantity, to: ReturnTo::Sellable }),
                Act::Count(_) => count(truth),
                // What never happened: reported, and taken back later.
                Act::Void(units) if units % 2 == 0 => receipt((units % 20).try_into().unwrap_or(0) + 1),
                Act::Void(units) => sale((units % 20).try_into().unwrap_or(0)),
            };
            let counts = matches!(act, Act::Count(_));
            let lot = if lots { lot } else { 1 };
            // Lots are named as they come: a till that names the wrong one loses no unit either.
            report.lot = (!counts && lots || by_lot && !lots).then(|| LotRef { id: lot_id(lot), expires_on: None });
            truth += match (&act, &report.what) {
                (Act::Receipt(units) | Act::Return(units), _) => *units,
                (Act::Sale(_), What::Sale { quantity, .. }) => -quantity,
                _ => 0,
            };
            if matches!(act, Act::Void(_)) {
                reports.push((order.max(later), minute, None));
                reports.push((order.min(later), minute, Some(at_minute(report, minute))));
            } else if !matches!(report.what, What::Sale { quantity: 0, .. }) {
                reports.push((order, minute, Some(at_minute(report, minute))));
            }
        }
        reports.sort_by_key(|(order, minute, report)| (*order, *minute, report.is_none()));
        let mut shelf = Shelf::new();
        for (_, minute, report) in reports {
            shelf.now = shelf.now.plus_ms(1000);
            match report {
                Some(report) => {
                    shelf.send(report);
                }
                None => {
                    let at = at_minute(receipt(1), minute).time.unwrap();
                    let place = shelf.facts.iter().position(|fact| fact.business == at);
                    shelf.void(place.unwrap());
                }
            }
        }
        prop_assert_eq!(shelf.stock().accounts()[0] - shelf.stock().owed, truth);
    }
}
