//! What is refused before it is judged: versions, units, lots' dates, quantities and times.

use super::*;
use crate::domain::event::Inside;

#[test]
fn expected_version_guards_against_a_sku_that_has_moved_on() {
    let mut shelf = Shelf::new();
    let mut event = receipt(1);
    event.expected_version = Some(1);
    let refusal = shelf.refuses(event.clone(), Code::VersionMismatch);
    assert_eq!(refusal.field.as_deref(), Some("/data/expected_version"));
    event.expected_version = Some(0);
    shelf.applies(event.clone());
    shelf.refuses(event.clone(), Code::VersionMismatch);
    event.expected_version = Some(1);
    shelf.applies(event);
}

#[test]
fn first_event_sets_the_unit_and_another_one_is_refused() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(500).in_unit(Unit::G));
    assert_eq!(shelf.stock().unit, Unit::G);
    let refusal = shelf.refuses(sale(1).in_unit(Unit::Each), Code::UnitMismatch);
    assert_eq!(refusal.field.as_deref(), Some("/data/unit"));
    shelf.applies(sale(1)).applies(sale(1).in_unit(Unit::G));
    let mut shelf = Shelf::with(1);
    shelf.refuses(receipt(1).in_unit(Unit::Ml), Code::UnitMismatch);
}

#[test]
fn another_expiry_date_for_a_known_lot_is_refused() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(5).lot("A")).applies(receipt(5).lot_for("A", 3));
    assert_eq!(shelf.stock().lot(&id("A")).unwrap().expires_on, Some(TODAY.plus(3)));
    let refusal = shelf.refuses(sale(1).lot_for("A", 4), Code::LotMismatch);
    assert_eq!(refusal.field.as_deref(), Some("/data/lot/expires_on"));
    assert!(refusal.detail.contains("2026-11-25"), "{refusal}");
    shelf.applies(sale(1).lot_for("A", 3));
    shelf.refuses(receipt(1).lot_for("", 4), Code::InvalidValue);
}

#[test]
fn sku_is_dated_for_ever_once_a_dated_lot_was_seen() {
    let mut shelf = Shelf::with(5);
    assert!(!shelf.stock().dated);
    shelf.applies(receipt(1).lot_for("A", 3)).applies(sale(1).lot("A"));
    assert!(shelf.stock().dated);
}

#[test]
fn event_older_than_the_window_is_refused_unless_its_ids_are_kept_for_ever() {
    let mut shelf = Shelf::new();
    let mut event = receipt(1);
    event.time = Some(shelf.now.plus_ms(-7 * 86_400_000 - 1));
    let refusal = shelf.refuses(event.clone(), Code::TimeOutOfRange);
    assert_eq!(refusal.field.as_deref(), Some("/time"));
    shelf.policy.keep_forever = true;
    shelf.applies(event.clone());
    assert_eq!(shelf.facts.last().unwrap().business, event.time.unwrap());
}

#[test]
fn movement_dated_ahead_is_taken_at_its_arrival_and_the_clock_is_reported() {
    let shelf = Shelf::with(5);
    let decision = shelf.judge(&sale(1).at("12:06"), Voided::NotAVoid);
    assert!(decision.clock_ahead);
    assert_eq!((decision.outcome, decision.business), (Outcome::APPLIED, shelf.now));
    let decision = shelf.judge(&sale(1).at("12:05"), Voided::NotAVoid);
    assert!(!decision.clock_ahead);
    assert_eq!(decision.business, clock("12:05"));
    let decision = shelf.judge(&event(What::Snapshot { quantity: 1 }).at("12:06"), Voided::NotAVoid);
    assert!(decision.clock_ahead);
}

#[test]
fn quantities_past_their_bounds_never_reach_the_arithmetic() {
    let mut shelf = Shelf::with(5);
    let from = Inside::Sellable;
    for event in [
        receipt(0),
        receipt(-1),
        receipt(i64::MAX),
        sale(i64::MIN),
        count(-1),
        count(1_000_000_000_001),
        event(What::Adjustment { delta: 0 }),
        event(What::Adjustment { delta: i64::MIN }),
        event(What::WriteOff { quantity: 0, from }),
        event(What::Snapshot { quantity: -1 }),
    ] {
        shelf.refuses(event, Code::InvalidValue);
    }
}

#[test]
fn fold_of_any_changes_is_deterministic_and_infallible() {
    let mut stock = Stock::default();
    let change = |quantity| Change::Move {
        lot: id("A"),
        from: crate::domain::fact::Account::Sellable,
        to: crate::domain::fact::Account::Demand,
        quantity,
        role: crate::domain::fact::Role::Own,
    };
    evolve(
        &mut stock,
        &[change(i64::MAX), change(i64::MAX), Change::Owed(i64::MIN)],
        Time(1),
        Time(2),
    );
    assert!(check(&stock).is_err());
    evolve(&mut stock, &[], Time(1), Time(2));
    assert_eq!(stock.version, 1);
}
