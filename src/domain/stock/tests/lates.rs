//! A late event never breaks a count, and never loses its other leg.

use super::*;
use crate::domain::event::{Inside, ReturnTo};

fn counted() -> Shelf {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(7).at("10:00")).stands([7, 0, 0, -10, 0, 0, 3]);
    shelf
}

#[test]
fn late_sale_explains_the_shrinkage_that_the_count_had_found() {
    counted().is_late(sale(3).at("09:50")).stands([7, 0, 0, -10, 3, 0, 0]);
}

#[test]
fn event_at_the_very_time_of_the_count_is_late() {
    counted().is_late(sale(3).at("10:00")).stands([7, 0, 0, -10, 3, 0, 0]);
    counted().applies(sale(3).at("10:01")).stands([4, 0, 0, -10, 3, 0, 3]);
}

#[test]
fn late_quarantine_keeps_its_other_leg() {
    let quarantine = event(What::Quarantine { quantity: 3 });
    counted().is_late(quarantine.at("09:50")).stands([7, 3, 0, -10, 0, 0, 0]);
}

#[test]
fn late_receipt_goes_from_supply_to_discrepancy() {
    counted().is_late(receipt(4).at("09:50")).stands([7, 0, 0, -14, 0, 0, 7]);
}

#[test]
fn late_return_write_off_release_and_adjustment_leave_sellable_as_counted() {
    let to = ReturnTo::Sellable;
    counted()
        .is_late(event(What::Return { quantity: 2, to }).at("09:50"))
        .stands([7, 0, 0, -10, -2, 0, 5]);
    let from = Inside::Sellable;
    let write_off = event(What::WriteOff { quantity: 2, from }).because("theft");
    counted().is_late(write_off.at("09:50")).stands([7, 0, 0, -10, 0, 2, 1]);
    let mut shelf = counted();
    shelf.applies(event(What::Quarantine { quantity: 2 }).at("10:10"));
    shelf
        .is_late(event(What::Release { quantity: 2 }).at("09:50"))
        .stands([5, 0, 0, -10, 0, 0, 5]);
    counted()
        .is_late(event(What::Adjustment { delta: -2 }).at("09:50"))
        .stands([7, 0, 0, -10, 0, 0, 3]);
    counted()
        .is_late(event(What::Adjustment { delta: 50 }).at("09:50"))
        .stands([7, 0, 0, -10, 0, 0, 3]);
}

#[test]
fn only_the_leg_on_sellable_can_be_late() {
    let mut shelf = counted();
    shelf.applies(event(What::Quarantine { quantity: 2 }).at("10:10"));
    let from = Inside::Quarantine;
    let write_off = event(What::WriteOff { quantity: 2, from }).because("theft");
    shelf.applies(write_off.at("09:50")).stands([5, 0, 0, -10, 0, 2, 3]);
    let to = ReturnTo::Quarantine;
    shelf
        .applies(event(What::Return { quantity: 1, to }).at("09:50"))
        .stands([5, 1, 0, -10, -1, 2, 3]);
}

#[test]
fn late_event_finds_nothing_and_repays_nothing() {
    let mut shelf = counted();
    shelf.is_late(sale(50).at("09:50")).shows(7, 0);
    assert!(!shelf.flagged());
    shelf
        .finds(sale(9).at("10:10"), 2)
        .is_late(receipt(5).at("09:50"))
        .shows(0, 2);
}

#[test]
fn count_of_a_lot_makes_only_what_touches_that_lot_late() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot("A"))
        .applies(receipt(5).at("06:00").lot("B"));
    shelf.applies(count(5).at("10:00").lot("A"));
    shelf
        .is_late(sale(1).at("09:50").lot("A"))
        .applies(sale(1).at("09:50").lot("B"));
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (5, 4));
}

#[test]
fn late_event_without_a_lot_picks_among_the_lots_as_they_stood_at_its_time() {
    // At 9:50 lot A, the sooner one, stood at 5; it was sold out at 9:55, and counted as 0 at 10:00.
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot_for("A", 1))
        .applies(receipt(5).at("06:00").lot_for("B", 5));
    shelf
        .applies(sale(5).at("09:55").lot("A"))
        .applies(count(0).at("10:00").lot("A"));
    shelf.is_late(sale(2).at("09:50"));
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (0, 5));
}

#[test]
fn second_late_event_picks_among_what_the_first_one_left() {
    // Lot A stood at 5 and was counted as 0: the first late sale of 5 explains it, the second one took lot B.
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot_for("A", 1))
        .applies(receipt(9).at("06:00").lot_for("B", 5));
    shelf.applies(count(0).at("10:00").lot("A"));
    shelf.is_late(sale(5).at("09:30")).applies(sale(4).at("09:40"));
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (0, 5));
    shelf.stands([5, 0, 0, -14, 9, 0, 0]);
}

#[test]
fn event_late_in_one_of_its_lots_moves_the_others_as_usual() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot_for("A", 1))
        .applies(receipt(5).at("06:00").lot_for("B", 5));
    shelf.applies(count(5).at("10:00").lot("A"));
    shelf.applies(sale(7).at("09:50"));
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (5, 3));
    shelf.stands([8, 0, 0, -10, 7, 0, -5]);
}

#[test]
fn filling_a_short_lot_never_breaks_the_count_of_another() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(2).at("06:00").lot("A"))
        .applies(receipt(5).at("06:00").lot("B"));
    shelf.applies(count(5).at("10:00").lot("B"));
    shelf.finds(sale(4).at("09:50").lot("A"), 2);
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (0, 5));
}

#[test]
fn late_legs_do_not_weigh_in_later_counts() {
    let mut shelf = counted();
    shelf.is_late(sale(3).at("09:50")).is_late(receipt(5).at("09:55"));
    shelf
        .applies(count(7).at("10:00"))
        .shows(7, 0)
        .applies(count(6).at("10:30"))
        .shows(6, 0);
}
