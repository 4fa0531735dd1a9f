//! The formula against a real assignment of units to claims, and against the examples of `stock.md`.

use proptest::prelude::*;

use super::*;
use crate::domain::stock::Rare;
use crate::domain::warehouse::Channel;

const TODAY: Day = Day(100);
const NOW: Time = Time(1_000);

fn lot(id: &str, expires_on: Option<i32>, sellable: i64) -> Lot {
    Lot {
        id: Id::trusted(id),
        expires_on: expires_on.map(Day),
        inside: [sellable, 0, 0],
        last_count: None.into(),
    }
}

fn claim(reservation: &str, quantity: i64, good_until: Option<i32>) -> Claim {
    let reservation = Id::trusted(reservation);
    Claim {
        reservation,
        quantity,
        good_until: good_until.map(Day),
        deadline: None,
        at_risk: false,
    }
}

fn stock(lots: Vec<Lot>, claims: Vec<Claim>) -> Stock {
    let dated = lots.iter().any(|lot| lot.expires_on.is_some());
    Stock {
        lots: lots.into(),
        claims: claims.into_iter().collect(),
        dated,
        ..Stock::default()
    }
}

fn promise(stock: &Stock, want: Option<i32>) -> i64 {
    available(stock, want.map(Day), 0, TODAY, NOW, None)
}

#[test]
fn claim_for_today_also_eats_into_what_lasts_three_days() {
    let stock = stock(
        vec![lot("a", Some(100), 5), lot("b", Some(103), 5)],
        vec![claim("r", 7, Some(100))],
    );
    assert_eq!(promise(&stock, Some(103)), 3);
    assert_eq!(promise(&stock, None), 3);
}

#[test]
fn claim_that_asks_for_less_leaves_the_longer_lots_alone() {
    let stock = stock(
        vec![lot("a", Some(100), 5), lot("b", Some(103), 5)],
        vec![claim("r", 5, None)],
    );
    assert_eq!(promise(&stock, Some(103)), 5);
    assert_eq!(promise(&stock, Some(104)), 0);
    assert_eq!(promise(&stock, None), 5);
}

#[test]
fn threshold_between_none_and_the_wanted_date_binds() {
    let claims = vec![claim("r", 6, Some(102)), claim("s", 1, None)];
    let stock = stock(vec![lot("a", Some(101), 9), lot("b", Some(103), 7)], claims);
    assert_eq!(promise(&stock, Some(103)), 1);
    assert_eq!(promise(&stock, Some(101)), 9);
}

#[test]
fn lot_serves_through_its_expiry_date_and_not_after() {
    let stock = stock(vec![lot("a", Some(100), 5), lot("b", Some(99), 7)], vec![]);
    assert_eq!(promise(&stock, None), 5);
}

#[test]
fn units_without_a_lot_serve_only_claims_without_a_date_once_lots_are_dated() {
    let mut stock = stock(vec![lot("", None, 4), lot("a", Some(105), 5)], vec![]);
    assert_eq!(promise(&stock, None), 9);
    assert_eq!(promise(&stock, Some(100)), 5);
    stock.lots.pop();
    assert_eq!(promise(&stock, Some(100)), 0);
    stock.dated = false;
    assert_eq!(promise(&stock, Some(100)), 4);
}

#[test]
fn named_lot_without_a_date_outlives_everything() {
    let stock = stock(vec![lot("a", Some(100), 5), lot("salt", None, 2)], vec![]);
    assert_eq!(promise(&stock, Some(9_999)), 2);
}

#[test]
fn claim_whose_date_has_passed_counts_as_todays() {
    let stock = stock(vec![lot("", None, 5), lot("a", Some(100), 5)], vec![claim("r", 3, Some(90))]);
    assert_eq!(promise(&stock, Some(100)), 2);
    assert_eq!(promise(&stock, None), 7);
    assert_eq!(promise(&stock, Some(80)), 2);
}

#[test]
fn claim_ends_at_its_deadline_whether_or_not_it_was_swept() {
    let mut stock = stock(vec![lot("", None, 5)], vec![claim("r", 3, None)]);
    stock
        .claims
        .change(&Id::trusted("r"), |claim| claim.deadline = Some(Time(1_001)));
    assert_eq!(promise(&stock, None), 2);
    stock.claims.change(&Id::trusted("r"), |claim| claim.deadline = Some(NOW));
    assert_eq!(promise(&stock, None), 5);
}

#[test]
fn own_claims_do_not_count_against_a_replacement() {
    let stock = stock(vec![lot("", None, 5)], vec![claim("r", 3, None), claim("s", 1, None)]);
    assert_eq!(available(&stock, None, 0, TODAY, NOW, Some(&Id::trusted("r"))), 4);
}

#[test]
fn buffer_is_kept_back_and_nothing_goes_below_zero() {
    let mut stock = stock(vec![lot("", None, 5)], vec![claim("r", 3, None)]);
    let channel = Id::trusted("web");
    let mut warehouse = Warehouse {
        id: Id::trusted("w"),
        name: "W".into(),
        time_zone: "UTC".into(),
        channels: Default::default(),
    };
    assert_eq!(buffer_of(&stock, &channel, &warehouse), 0);
    warehouse.channels.insert(
        channel.clone(),
        Channel {
            buffer: 4,
            ..Channel::default()
        },
    );
    assert_eq!(buffer_of(&stock, &channel, &warehouse), 4);
    stock.rare = Some(Box::new(Rare {
        buffers: vec![(channel.clone(), 1)],
        ..Rare::default()
    }));
    assert_eq!(buffer_of(&stock, &channel, &warehouse), 1);
    assert_eq!(available(&stock, None, 1, TODAY, NOW, None), 1);
    assert_eq!(available(&stock, None, 4, TODAY, NOW, None), 0);
}

#[test]
fn oldest_claims_that_fit_stay_safe_and_the_rest_is_at_risk() {
    let claims = vec![claim("a", 4, None), claim("b", 3, None), claim("c", 1, None)];
    let mut stock = stock(vec![lot("", None, 5)], claims);
    let b = |at_risk| Change::AtRisk {
        reservation: Id::trusted("b"),
        at_risk,
    };
    assert_eq!(at_risk_changes(&stock, TODAY).as_slice(), &[b(true)]);
    stock.claims.change(&Id::trusted("b"), |claim| claim.at_risk = true);
    assert!(at_risk_changes(&stock, TODAY).is_empty(), "said once");
    stock.lots[0].inside[0] = 8;
    assert_eq!(at_risk_changes(&stock, TODAY).as_slice(), &[b(false)]);
}

#[test]
fn lot_that_expires_puts_the_promises_on_it_at_risk() {
    let stock = stock(
        vec![lot("a", Some(100), 5), lot("b", Some(103), 1)],
        vec![claim("r", 1, None), claim("s", 3, None)],
    );
    assert!(at_risk_changes(&stock, Day(100)).is_empty());
    assert_eq!(at_risk_changes(&stock, Day(101)).len(), 1);
    assert_eq!(at_risk_changes(&stock, Day(104)).len(), 2);
}

/// Whether units can really be assigned to the claims, each to units of lots that serve it: a matching by augmenting
/// paths, unit by unit, which knows nothing of thresholds.
fn assignable(stock: &Stock, claims: &[Claim]) -> bool {
    let units: Vec<&Lot> = stock
        .lots
        .iter()
        .flat_map(|lot| (0..lot.inside[0]).map(move |_| lot))
        .collect();
    let wants: Vec<&Claim> = claims
        .iter()
        .flat_map(|claim| (0..claim.quantity).map(move |_| claim))
        .collect();
    let can = |want: &Claim, lot: &Lot| match (lot.expires_on, want.good_until) {
        (Some(day), _) if day < TODAY => false,
        (Some(day), Some(until)) => day >= until || until < TODAY,
        (None, Some(_)) => !(lot.id.as_str().is_empty() && stock.dated),
        (_, None) => true,
    };
    let mut taken: Vec<Option<usize>> = vec![None; units.len()];
    fn place(want: usize, can: &dyn Fn(usize, usize) -> bool, taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        for unit in 0..taken.len() {
            if !seen[unit] && can(want, unit) {
                seen[unit] = true;
                if taken[unit].is_none_or(|other| place(other, can, taken, seen)) {
                    taken[unit] = Some(want);
                    return true;
                }
            }
        }
        false
    }
    (0..wants.len()).all(|want| {
        let can = |want: usize, unit: usize| can(wants[want], units[unit]);
        place(want, &can, &mut taken, &mut vec![false; units.len()])
    })
}

fn any_stock() -> impl Strategy<Value = Stock> {
    let lots = prop::collection::vec((prop::option::weighted(0.8, 98..106i32), 0..5i64), 0..5);
    let claims = prop::collection::vec((1..5i64, prop::option::weighted(0.7, 97..106i32), any::<bool>()), 0..6);
    (lots, claims, prop::option::of(0..5i64), any::<bool>()).prop_map(|(lots, claims, loose, dated)| {
        let named = lots
            .into_iter()
            .enumerate()
            .map(|(i, (day, units))| lot(&format!("l{i}"), day, units));
        let lots = loose.map(|units| lot("", None, units)).into_iter().chain(named).collect();
        let claims = claims.into_iter().enumerate().map(|(i, (units, until, at_risk))| {
            let claim = claim(&format!("r{i}"), units, until);
            Claim { at_risk, ..claim }
        });
        let mut stock = stock(lots, claims.collect());
        stock.dated |= dated;
        stock
    })
}

proptest! {
    #![proptest_config(crate::domain::at_least(1_500))]

    #[test]
    fn a_set_of_claims_can_be_served_exactly_when_no_difference_is_negative(stock in any_stock()) {
        prop_assert_eq!(set_fits(&stock, TODAY), assignable(&stock, &stock.claims));
    }

    #[test]
    fn what_is_available_can_be_served_beside_all_claims_and_one_more_cannot(
        mut stock in any_stock(), want in prop::option::of(97..106i32),
    ) {
        while !assignable(&stock, &stock.claims) {
            let newest = stock.claims.last().unwrap().reservation.clone();
            stock.claims.end(&newest);
        }
        let most = promise(&stock, want);
        let with = |quantity| {
            let mut claims = stock.claims.to_vec();
            claims.push(claim("new", quantity, want));
            claims
        };
        prop_assert!(assignable(&stock, &with(most)));
        prop_assert!(!assignable(&stock, &with(most + 1)));
    }

    #[test]
    fn promises_at_risk_are_those_that_do_not_fit_beside_the_older_ones_that_fit(mut stock in any_stock()) {
        let mut fitting: Vec<Claim> = Vec::new();
        let mut expected = Vec::new();
        for claim in &stock.claims {
            fitting.push(claim.clone());
            let fits = assignable(&stock, &fitting);
            if !fits {
                fitting.pop();
            }
            expected.push(!fits);
        }
        for change in at_risk_changes(&stock, TODAY) {
            let Change::AtRisk { reservation, at_risk } = change else { panic!("only marks change") };
            let before = stock.claims.of(&reservation).unwrap().at_risk;
            prop_assert_ne!(before, at_risk, "only changes are told");
            stock.claims.change(&reservation, |claim| claim.at_risk = at_risk);
        }
        prop_assert_eq!(stock.claims.iter().map(|claim| claim.at_risk).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_lot_serves_a_claim_exactly_when_that_claim_alone_could_have_it(
        stock in any_stock(), until in prop::option::of(97..106i32),
    ) {
        for lot in stock.lots.iter().filter(|lot| lot.inside[0] > 0) {
            let alone = Stock { lots: [lot.clone()].into(), claims: Default::default(), dated: stock.dated, ..Stock::default() };
            prop_assert_eq!(serves(lot, stock.dated, until.map(Day), TODAY), promise(&alone, until) > 0);
        }
    }
}
