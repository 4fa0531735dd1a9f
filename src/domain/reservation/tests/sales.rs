//! Sales that name a basket.

use super::*;
use crate::domain::stock::check;

#[test]
fn sale_of_a_held_basket_takes_at_most_its_lines_claim_and_the_rest_stays_held() {
    let mut world = World::with(&[("A", &[("", None, 9)]), ("B", &[("", None, 9)])]);
    world.put(wants("r", &[("A", 3, None), ("B", 1, None)])).unwrap();
    assert_eq!(world.sell("A", 2, Some("r")).outcome, Outcome::APPLIED);
    let basket = &world.baskets["r"];
    assert_eq!((basket.state, basket.version), (State::Held, 2));
    assert_eq!((basket.lines[0].held, basket.lines[0].taken), (1, 2));
    assert_eq!((world.available("A", None), world.available("B", None)), (6, 8));
    assert_eq!(refused(world.put(wants("r", &[("A", 1, None)]))).0, Code::PartlyTaken);

    world.sell("A", 4, Some("r"));
    let basket = &world.baskets["r"];
    assert_eq!(
        (basket.state, basket.lines[0].held, basket.lines[0].taken),
        (State::Held, 0, 3),
        "three were its own"
    );
    assert_eq!(
        (world.units("A", Account::Sellable), world.units("A", Account::Demand)),
        (3, 6)
    );
}

#[test]
fn basket_is_confirmed_when_sales_leave_nothing_of_it() {
    let mut world = World::with(&[("A", &[("", None, 9)]), ("B", &[("", None, 9)])]);
    world.put(wants("r", &[("A", 3, None), ("B", 1, None)])).unwrap();
    world.sell("A", 3, Some("r"));
    world.sell("B", 1, Some("r"));
    let basket = world.baskets["r"].clone();
    assert_eq!(
        (basket.state, basket.end.as_ref().unwrap().fingerprint),
        (State::Confirmed, None)
    );
    assert_eq!(refused(world.confirm("r", takes(None))).0, Code::AlreadyConfirmed);
    assert_eq!(
        world.sell("A", 1, Some("r")).outcome,
        Outcome::APPLIED,
        "these goods were never confirmed by anybody else"
    );
    assert_eq!((world.units("A", Account::Demand), &world.baskets["r"]), (4, &basket));
}

#[test]
fn sale_after_a_confirm_moves_nothing_up_to_what_was_confirmed() {
    let mut world = World::of(9);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    let confirmed = world.confirm("r", takes(Some(&[("A", 2)]))).unwrap().after;
    let first = world.sell("A", 1, Some("r"));
    assert_eq!((first.outcome, first.changes.is_empty()), (Outcome::Recorded, true));
    assert_eq!(world.units("A", Account::Demand), 2);
    assert_eq!(
        world.sell("A", 3, Some("r")).outcome,
        Outcome::APPLIED,
        "one matches, two are a plain sale"
    );
    assert_eq!(world.units("A", Account::Demand), 4);
    assert_eq!(world.sell("A", 1, Some("r")).outcome, Outcome::APPLIED);
    assert_eq!(world.units("A", Account::Demand), 5);
    let mut after = world.baskets["r"].clone();
    after.lines[0].matched = 0;
    assert_eq!(after, confirmed, "an ended basket shows no change");
}

#[test]
fn sale_of_part_of_a_basket_before_its_confirm_is_not_matched_again() {
    let mut world = World::of(9);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.sell("A", 1, Some("r"));
    let confirmed = world.confirm("r", takes(None)).unwrap().after;
    assert_eq!((confirmed.lines[0].taken, confirmed.lines[0].confirmed), (3, 2));
    assert_eq!(world.sell("A", 3, Some("r")).outcome, Outcome::APPLIED);
    assert_eq!(world.units("A", Account::Demand), 4, "three of the basket, and one beyond it");
}

#[test]
fn sale_naming_an_ended_an_unknown_or_another_basket_is_a_plain_sale() {
    let mut world = World::with(&[("A", &[("", None, 9)]), ("B", &[("", None, 9)])]);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.sell("B", 2, Some("r"));
    assert_eq!((world.units("B", Account::Demand), world.baskets["r"].version), (2, 1));
    world.cancel("r", 7).unwrap();
    world.sell("A", 2, Some("r"));
    world.sell("A", 1, Some("nobody"));
    assert_eq!((world.units("A", Account::Demand), world.baskets["r"].lines[0].taken), (3, 0));
}

#[test]
fn late_sale_reduces_the_claim_that_it_names_and_leaves_the_count() {
    let mut world = World::of(10);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.now = NOON.plus_ms(120_000);
    world.tell(&event("A", What::Count { quantity: 8 }, NOON.plus_ms(90_000)));
    let sale = What::Sale {
        quantity: 2,
        reservation: Some(id("r")),
    };
    assert_eq!(
        world.tell(&event("A", sale, NOON.plus_ms(60_000))).outcome,
        Outcome::IncludedInCount
    );
    assert_eq!(
        (world.units("A", Account::Sellable), world.claim("A", "r").unwrap().quantity),
        (8, 1)
    );
    assert_eq!(world.baskets["r"].lines[0].taken, 2);
}

#[test]
fn sale_beyond_the_book_finds_what_is_missing_once() {
    let mut world = World::with(&[("A", &[("x", Some(1), 2), ("y", Some(5), 3)])]);
    world.put(wants("r", &[("A", 3, Some(4))])).unwrap();
    let sold = world.sell("A", 7, Some("r"));
    assert_eq!(
        sold.outcome,
        Outcome::Applied {
            found: 2,
            expired_lot: None
        }
    );
    assert_eq!((world.stocks["A"].owed, world.units("A", Account::Sellable)), (2, 0));
    assert_eq!(
        check(&world.stocks["A"]),
        Ok(()),
        "the shelf was laid out without a receipt, and still balances"
    );
}

#[test]
fn sale_takes_the_lots_that_serve_the_lines_date_and_the_excess_the_soonest() {
    let mut world = World::with(&[("A", &[("x", Some(1), 2), ("y", Some(5), 3)])]);
    world.put(wants("r", &[("A", 2, Some(4))])).unwrap();
    world.sell("A", 3, Some("r"));
    let left: Vec<i64> = world.stocks["A"].lots.iter().map(Lot::sellable).collect();
    assert_eq!(left, [1, 1]);
}

#[test]
fn refused_sale_changes_neither_stock_nor_basket() {
    let mut world = World::of(9);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    let (stocks, baskets) = (world.stocks.clone(), world.baskets.clone());
    let sale = What::Sale {
        quantity: 2,
        reservation: Some(id("r")),
    };
    let decision = world.tell(&Event {
        expected_version: Some(99),
        ..event("A", sale, NOON)
    });
    assert_eq!(decision.outcome.word(), "refused");
    assert_eq!((world.stocks, world.baskets), (stocks, baskets));
}
