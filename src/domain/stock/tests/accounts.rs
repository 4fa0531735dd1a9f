//! Where units go, event by event; what is found, owed and repaid; which lots are picked.

use super::*;
use crate::domain::event::{Inside, ReturnTo};
use crate::domain::fact::Claim;

fn returned(quantity: i64, to: ReturnTo) -> Event {
    event(What::Return { quantity, to })
}

fn quarantine(quantity: i64) -> Event {
    event(What::Quarantine { quantity })
}

fn release(quantity: i64) -> Event {
    event(What::Release { quantity })
}

fn write_off(quantity: i64, from: Inside) -> Event {
    event(What::WriteOff { quantity, from }).because("damaged")
}

fn adjustment(delta: i64) -> Event {
    event(What::Adjustment { delta }).because("miscounted")
}

#[test]
fn receipt_moves_supply_to_sellable() {
    Shelf::new().applies(receipt(24)).stands([24, 0, 0, -24, 0, 0, 0]);
}

#[test]
fn sale_moves_sellable_to_demand() {
    Shelf::with(10).applies(sale(3)).stands([7, 0, 0, -10, 3, 0, 0]);
}

#[test]
fn return_goes_to_the_shelf_or_to_quarantine() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(5)).applies(returned(2, ReturnTo::Sellable));
    shelf.stands([7, 0, 0, -10, 3, 0, 0]);
    shelf
        .applies(returned(1, ReturnTo::Quarantine))
        .stands([7, 1, 0, -10, 2, 0, 0]);
}

#[test]
fn quarantine_and_release_go_there_and_back() {
    let mut shelf = Shelf::with(10);
    shelf.applies(quarantine(4)).stands([6, 4, 0, -10, 0, 0, 0]);
    shelf.applies(release(3)).stands([9, 1, 0, -10, 0, 0, 0]);
}

#[test]
fn write_off_leaves_sellable_or_quarantine_for_waste() {
    let mut shelf = Shelf::with(10);
    shelf.applies(quarantine(4));
    shelf.applies(write_off(2, Inside::Sellable)).stands([4, 4, 0, -10, 0, 2, 0]);
    shelf
        .applies(write_off(1, Inside::Quarantine))
        .stands([4, 3, 0, -10, 0, 3, 0]);
}

#[test]
fn adjustment_moves_between_sellable_and_discrepancy() {
    let mut shelf = Shelf::with(10);
    shelf.applies(adjustment(-3)).stands([7, 0, 0, -10, 0, 0, 3]);
    shelf.applies(adjustment(5)).stands([12, 0, 0, -10, 0, 0, -2]);
}

#[test]
fn adjustment_or_release_beyond_the_book_is_refused_with_its_line() {
    let mut shelf = Shelf::with(3);
    let refusal = shelf.refuses(adjustment(-5), Code::InsufficientStock);
    assert_eq!((refusal.lines[0].requested, refusal.lines[0].available), (5, 3));
    assert_eq!(refusal.field.as_deref(), Some("/data/delta"));
    shelf.applies(quarantine(2));
    let refusal = shelf.refuses(release(3), Code::InsufficientStock);
    assert_eq!((refusal.lines[0].requested, refusal.lines[0].available), (3, 2));
    assert!(!shelf.flagged());
}

#[test]
fn adjustment_or_release_of_a_lot_is_judged_against_that_lot() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(3).lot("A")).applies(receipt(9).lot("B"));
    shelf.refuses(adjustment(-4).lot("A"), Code::InsufficientStock);
    shelf.applies(adjustment(-3).lot("A"));
    shelf.applies(quarantine(5).lot("B"));
    shelf.refuses(release(1).lot("A"), Code::InsufficientStock);
    shelf.applies(release(5).lot("B"));
}

#[test]
fn physical_report_beyond_the_book_finds_what_is_missing_and_flags_a_count() {
    let mut shelf = Shelf::with(3);
    shelf.finds(sale(5), 2).stands([0, 0, 0, -3, 5, 0, -2]).shows(0, 2);
    assert!(shelf.flagged());
    for (event, account) in [(write_off(5, Inside::Sellable), 5), (quarantine(5), 1)] {
        let mut shelf = Shelf::with(3);
        shelf.finds(event, 2).shows(0, 2);
        assert_eq!(shelf.stock().accounts()[account], 5);
        assert!(shelf.flagged());
    }
}

#[test]
fn what_was_found_outside_sellable_is_not_owed() {
    let mut shelf = Shelf::with(3);
    shelf
        .finds(write_off(2, Inside::Quarantine), 2)
        .stands([3, 0, 0, -3, 0, 2, -2])
        .shows(3, 0);
    assert!(shelf.flagged());
}

#[test]
fn strict_source_is_refused_in_place_of_finding() {
    let mut shelf = Shelf::with(3).strict();
    let refusal = shelf.refuses(sale(5), Code::InsufficientStock);
    assert_eq!((refusal.lines[0].sku.as_str(), refusal.lines[0].available), ("milk", 3));
    assert_eq!(refusal.field.as_deref(), Some("/data/quantity"));
    shelf.applies(sale(3)).shows(0, 0);
}

#[test]
fn strict_source_may_still_fill_a_short_lot_from_the_others() {
    let mut shelf = Shelf::new().strict();
    shelf.applies(receipt(2).lot("A")).applies(receipt(5).lot("B"));
    shelf.applies(sale(4).lot("A")).shows(3, 0);
    shelf.refuses(sale(4).lot("A"), Code::InsufficientStock);
}

#[test]
fn delivery_booked_late_repays_what_was_sold_before_it() {
    // Book 0; 24 are unloaded at 8:50 but booked late; 5 sold at 9:00 are found; the receipt of 24 arrives: 19.
    let mut shelf = Shelf::new();
    shelf.clock("09:00").finds(sale(5).at("09:00"), 5).shows(0, 5);
    shelf.clock("10:00").applies(receipt(24).at("08:50")).shows(19, 0);
    shelf.stands([19, 0, 0, -24, 5, 0, 0]);
}

#[test]
fn small_delivery_repays_what_it_can() {
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5), 5)
        .applies(receipt(3))
        .shows(0, 2)
        .applies(receipt(4))
        .shows(2, 0);
}

#[test]
fn return_repays_nothing() {
    let mut shelf = Shelf::new();
    shelf.finds(sale(5), 5).applies(returned(2, ReturnTo::Sellable)).shows(2, 5);
}

#[test]
fn short_named_lot_is_filled_from_the_others_before_anything_is_found() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(3).lot("A")).applies(receipt(4).lot("B"));
    shelf.applies(sale(5).lot("A")).shows(2, 0);
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (0, 2));
    shelf.finds(sale(5).lot("A"), 3).shows(0, 3);
}

#[test]
fn claims_never_stop_a_physical_event_and_are_marked_until_they_fit_again() {
    let mut shelf = Shelf::with(10);
    let claim = |reservation, quantity| {
        Change::Claim(Box::new(Claim {
            reservation: id(reservation),
            quantity,
            good_until: None,
            deadline: None,
            at_risk: false,
        }))
    };
    shelf.change(&[claim("old", 6), claim("new", 4)]);
    shelf.applies(sale(3)).shows(7, 0);
    let risky = |shelf: &Shelf| -> Vec<bool> { shelf.stock().claims.iter().map(|claim| claim.at_risk).collect() };
    assert_eq!(risky(&shelf), [false, true]);
    shelf.applies(receipt(3));
    assert_eq!(risky(&shelf), [false, false]);
}

#[test]
fn picks_are_first_expired_first_out_with_expired_lots_last() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(2).lot_for("late", 9))
        .applies(receipt(2).lot_for("soon", 1));
    shelf.applies(receipt(2).lot_for("gone", -1)).applies(receipt(2));
    for (lot, left) in [("", 0), ("soon", 0), ("late", 0)] {
        shelf.applies(sale(2));
        assert_eq!(shelf.lot(lot), left, "{lot:?}");
    }
    let outcome = shelf.send(sale(2));
    assert_eq!(
        outcome,
        Outcome::Applied {
            found: 0,
            expired_lot: Some(id("gone"))
        }
    );
}

#[test]
fn lot_is_sellable_through_its_expiry_date() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(2).lot_for("today", 0)).applies(sale(1).lot("today"));
    shelf.now = clock("00:00").plus_ms(86_400_000);
    assert_eq!(shelf.stock().after(TODAY.plus(1), shelf.now).available, 0);
    let expired = Outcome::Applied {
        found: 0,
        expired_lot: Some(id("today")),
    };
    assert_eq!(shelf.send(sale(1).lot("today")), expired);
}

#[test]
fn named_expired_lot_is_taken_and_reported() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).lot_for("L1", 5))
        .applies(receipt(5).lot_for("L2", -1));
    let outcome = shelf.send(sale(2).lot("L2"));
    assert_eq!(
        outcome,
        Outcome::Applied {
            found: 0,
            expired_lot: Some(id("L2"))
        }
    );
    assert_eq!((shelf.lot("L1"), shelf.lot("L2")), (5, 3));
}

#[test]
fn write_off_as_expired_takes_expired_lots_first() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).lot_for("L1", 5))
        .applies(receipt(5).lot_for("L2", -1));
    shelf.send(write_off(2, Inside::Sellable).because("expired"));
    assert_eq!((shelf.lot("L1"), shelf.lot("L2")), (5, 3));
    shelf.applies(write_off(2, Inside::Sellable).because("damaged"));
    assert_eq!((shelf.lot("L1"), shelf.lot("L2")), (3, 3));
}

#[test]
fn seven_accounts_stay_within_their_bounds() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(1_000_000_000_000));
    shelf.refuses(receipt(1), Code::QuantityOverflow);
    shelf.refuses(adjustment(1), Code::QuantityOverflow);
    shelf.refuses(count(1_000_000_000_000).at("05:00"), Code::QuantityOverflow);
    shelf.applies(sale(1));
}

#[test]
fn after_tells_accounts_claims_debt_and_what_may_be_promised() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(4).lot_for("A", -1)).applies(receipt(6).lot_for("B", 3));
    let after = shelf.stock().after(TODAY, shelf.now);
    assert_eq!((after.accounts[0], after.claimed, after.owed, after.available), (10, 0, 0, 6));
}
