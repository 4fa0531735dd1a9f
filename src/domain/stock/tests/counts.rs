//! What stood there as of a time; when a figure is stale; when nobody can know any more.

use super::*;
use crate::domain::event::Inside;
use crate::domain::fact::{Account, Role};

/// Sellable units set by the newest count, and the time at which they stand in the ledger.
fn set(shelf: &Shelf) -> (i64, Time) {
    let sum = shelf.changes().iter().fold(0, |sum, change| match change {
        Change::Move {
            to: Account::Sellable,
            quantity,
            role: Role::Counted,
            ..
        } => sum + quantity,
        Change::Move {
            from: Account::Sellable,
            quantity,
            role: Role::Counted,
            ..
        } => sum - quantity,
        _ => sum,
    });
    (sum, shelf.facts.last().unwrap().business)
}

#[test]
fn count_keeps_what_was_sold_after_it() {
    // Book 10, a sale of 3 at 10:10, "10 at 10:00" arrives at 10:30: 7, no difference.
    let mut shelf = Shelf::with(10);
    shelf
        .clock("10:30")
        .applies(sale(3).at("10:10"))
        .applies(count(10).at("10:00"))
        .shows(7, 0);
    assert_eq!(set(&shelf), (0, clock("10:00")));
}

#[test]
fn count_of_unbooked_goods_settles_what_was_found_after_it() {
    // Book 0 with 24 unbooked, 5 sold at 10:10 and found, "24 at 10:00" arrives: 19.
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("10:10"), 5)
        .applies(count(24).at("10:00"))
        .shows(19, 0);
    assert_eq!(set(&shelf), (19, clock("10:00")));
}

#[test]
fn count_of_nothing_leaves_owed_what_was_sold_after_it() {
    // The same with "0 at 10:00" and a delivery at 10:05 that is booked last: owed 5, then 19.
    let mut shelf = Shelf::new();
    shelf.finds(sale(5).at("10:10"), 5).applies(count(0).at("10:00")).shows(0, 5);
    shelf.applies(receipt(24).at("10:05")).shows(19, 0);
}

#[test]
fn difference_of_a_count_goes_to_discrepancy_and_stands_at_its_time() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(8).at("10:00")).stands([8, 0, 0, -10, 0, 0, 2]);
    assert_eq!(set(&shelf), (-2, clock("10:00")));
    shelf.applies(count(11).at("11:00")).stands([11, 0, 0, -10, 0, 0, -1]);
    assert_eq!(set(&shelf), (3, clock("11:00")));
    assert_eq!(shelf.stock().last_count.get(), Some(clock("11:00")));
}

#[test]
fn count_without_a_time_speaks_of_its_arrival() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(9)).shows(9, 0);
    assert_eq!(shelf.stock().last_count.get(), Some(shelf.now));
}

#[test]
fn event_at_the_very_time_of_a_count_was_seen_by_it() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(3).at("10:00")).applies(count(7).at("10:00")).shows(7, 0);
}

#[test]
fn count_clears_the_flag() {
    let mut shelf = Shelf::new();
    shelf.finds(sale(5), 5);
    assert!(shelf.flagged());
    shelf.applies(count(4)).shows(4, 0);
    assert!(!shelf.flagged());
}

#[test]
fn count_counts_sellable_only() {
    let mut shelf = Shelf::with(10);
    shelf.applies(event(What::Quarantine { quantity: 4 }).at("09:00"));
    shelf.applies(count(6).at("10:00")).stands([6, 4, 0, -10, 0, 0, 0]);
}

#[test]
fn quarantine_and_return_after_a_count_move_it() {
    let mut shelf = Shelf::with(10);
    shelf.applies(event(What::Quarantine { quantity: 4 }).at("10:30"));
    shelf.applies(event(What::Release { quantity: 1 }).at("10:40"));
    shelf.applies(event(What::Adjustment { delta: 2 }).at("10:50"));
    shelf.applies(count(20).at("10:00")).shows(19, 0);
}

#[test]
fn count_takes_from_unexpired_lots_soonest_first_and_then_from_expired_ones() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).lot_for("gone", -1))
        .applies(receipt(5).lot_for("late", 9));
    shelf
        .applies(receipt(5).lot_for("soon", 1))
        .clock("12:10")
        .applies(count(8).at("12:05"));
    assert_eq!((shelf.lot("soon"), shelf.lot("late"), shelf.lot("gone")), (0, 3, 5));
    shelf.applies(count(2).at("12:06"));
    assert_eq!((shelf.lot("soon"), shelf.lot("late"), shelf.lot("gone")), (0, 0, 2));
}

#[test]
fn count_adds_to_the_soonest_unexpired_lot_else_to_stock_without_one() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(5).lot_for("gone", -1)).applies(count(7));
    assert_eq!((shelf.lot(""), shelf.lot("gone")), (2, 5));
    shelf
        .clock("12:30")
        .applies(receipt(5).lot_for("late", 9))
        .applies(receipt(5).lot_for("soon", 0));
    shelf.applies(count(20));
    assert_eq!((shelf.lot(""), shelf.lot("soon"), shelf.lot("late")), (2, 8, 5));
}

#[test]
fn count_of_one_lot_sets_that_lot() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot("A"))
        .applies(receipt(5).at("06:00").lot("B"));
    shelf
        .applies(sale(1).at("10:10").lot("A"))
        .applies(count(3).at("10:00").lot("A"));
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (2, 5));
    assert_eq!(shelf.stock().lot(&id("A")).unwrap().last_count.get(), Some(clock("10:00")));
    assert_eq!(shelf.stock().last_count.get(), None);
}

#[test]
fn count_may_name_the_stock_without_a_lot() {
    let mut shelf = Shelf::with(5);
    shelf.applies(receipt(5).lot("A")).applies(count(4).lot(""));
    assert_eq!((shelf.lot(""), shelf.lot("A")), (4, 5));
}

#[test]
fn count_of_a_lot_settles_what_was_found_in_it_since() {
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("10:10").lot("A"), 5)
        .applies(count(24).at("10:00").lot("A"))
        .shows(19, 0);
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("10:10").lot("A"), 5)
        .applies(count(2).at("10:00").lot("A"))
        .shows(0, 3);
}

#[test]
fn count_of_a_lot_that_adds_repays_what_was_found_elsewhere_since() {
    // 5 sold without a lot are found in ""; the goods were lot A, which nobody had booked.
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("10:10"), 5)
        .applies(count(24).at("10:00").lot("A"))
        .shows(19, 0);
    // What it adds repays; more than it adds stays owed.
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("10:10"), 5)
        .applies(count(3).at("10:00").lot("A"))
        .shows(0, 2);
    // What was found before its time is none of its business.
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("09:00"), 5)
        .applies(count(24).at("10:00").lot("A"))
        .shows(24, 5);
}

#[test]
fn count_is_stale_when_older_than_the_newest_of_the_sku_of_its_lot_or_of_any_lot() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(5).at("06:00").lot("A"))
        .applies(receipt(5).at("06:00").lot("B"));
    shelf.applies(count(5).at("10:00").lot("A"));
    let stale = |shelf: &mut Shelf, event| {
        let before = shelf.stock();
        assert_eq!(shelf.send(event), Outcome::Stale);
        assert_eq!(shelf.stock(), before);
    };
    stale(&mut shelf, count(1).at("09:59").lot("A"));
    stale(&mut shelf, count(1).at("09:59"));
    shelf.applies(count(4).at("09:00").lot("B"));
    shelf.applies(count(9).at("10:30"));
    stale(&mut shelf, count(1).at("10:29").lot("B"));
    stale(&mut shelf, count(1).at("10:29"));
    shelf.applies(count(2).at("10:30").lot("B"));
}

#[test]
fn count_beyond_the_book_or_the_clock_is_never_guessed() {
    let mut shelf = Shelf::with(10);
    let mut early = count(10);
    early.time = Some(shelf.now.plus_ms(-24 * 3_600_000 - 1));
    let refusal = shelf.refuses(early.clone(), Code::TimeOutOfRange);
    assert_eq!(refusal.field.as_deref(), Some("/time"));
    shelf.refuses(count(10).at("12:06"), Code::TimeOutOfRange);
    shelf.applies(count(10).at("12:05"));
    let mut shelf = Shelf::with(10);
    early.time = Some(shelf.now.plus_ms(-24 * 3_600_000));
    shelf.applies(early);
}

#[test]
fn book_stays_bounded_and_counts_before_its_cut_are_refused() {
    let mut shelf = Shelf::with(1000);
    shelf.limits.book_entries = 16;
    for minute in 0..40 {
        let mut sale = sale(1);
        sale.time = Some(clock("08:00").plus_ms(minute * 60_000));
        shelf.applies(sale);
        assert!(shelf.stock().book.len() <= 17);
    }
    shelf.refuses(count(999).at("08:00"), Code::TimeOutOfRange);
    shelf.applies(count(965).at("08:34")).shows(960, 0);
}

#[test]
fn book_forgets_what_is_past_its_span() {
    let mut shelf = Shelf::with(1000);
    for minute in 0..40 {
        let mut sale = sale(1);
        sale.time = Some(clock("08:00").plus_ms(minute * 60_000));
        shelf.applies(sale);
    }
    assert!(shelf.stock().book.len() > 40);
    shelf.now = shelf.now.plus_ms(48 * 3_600_000);
    // It is looked for once in 32 events.
    for _ in 0..32 {
        shelf.applies(sale(1));
    }
    assert_eq!(shelf.stock().book.len(), 1);
}

#[test]
fn old_events_of_an_import_do_not_fill_the_book() {
    let mut shelf = Shelf::new();
    shelf.policy.keep_forever = true;
    for day in 0..50 {
        let mut event = receipt(10);
        event.time = Some(shelf.now.plus_ms((day - 400) * 86_400_000));
        shelf.applies(event);
    }
    assert!(shelf.stock().book.is_empty());
    shelf.shows(500, 0);
}

#[test]
fn snapshot_moves_nothing_and_shows_since_when_systems_disagree() {
    let snapshot = |quantity| event(What::Snapshot { quantity }).said_by("erp");
    let mut shelf = Shelf::with(10);
    let belief = |shelf: &Shelf| {
        let rare = shelf.stock().rare.unwrap();
        (rare.beliefs[0].believes, rare.beliefs[0].book, rare.beliefs[0].since)
    };
    assert_eq!(shelf.send(snapshot(10).at("08:00")), Outcome::Recorded);
    assert_eq!(belief(&shelf), (10, 10, None));
    assert_eq!(shelf.send(snapshot(12).at("09:00")), Outcome::Recorded);
    assert_eq!(shelf.send(snapshot(13).at("10:00")), Outcome::Recorded);
    assert_eq!(belief(&shelf), (13, 10, Some(clock("09:00"))));
    assert_eq!(shelf.send(snapshot(11).at("09:30")), Outcome::Stale);
    shelf.applies(sale(3).at("10:30"));
    assert_eq!(shelf.send(snapshot(10).at("10:29")), Outcome::Recorded);
    assert_eq!(belief(&shelf), (10, 10, None));
    shelf.shows(7, 0);
}

#[test]
fn snapshot_of_an_authoritative_source_is_a_count_and_must_carry_its_time() {
    let snapshot = |quantity| event(What::Snapshot { quantity });
    let mut shelf = Shelf::with(10).authoritative();
    let refusal = shelf.refuses(snapshot(8), Code::InvalidValue);
    assert_eq!(refusal.field.as_deref(), Some("/time"));
    shelf
        .applies(sale(1).at("10:30"))
        .applies(snapshot(8).at("10:00"))
        .shows(7, 0);
    assert_eq!(shelf.stock().last_count.get(), Some(clock("10:00")));
    assert_eq!(shelf.send(snapshot(8).at("09:00")), Outcome::Stale);
    shelf.refuses(snapshot(8).at("12:06"), Code::TimeOutOfRange);
}

#[test]
fn write_off_after_a_count_is_an_ordinary_one() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(10).at("10:00"));
    let write_off = event(What::WriteOff {
        quantity: 2,
        from: Inside::Sellable,
    })
    .because("theft");
    shelf.applies(write_off.at("10:01")).shows(8, 0);
}

#[test]
fn rows_of_one_moment_without_times_happen_in_the_order_of_their_arrival() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(10)).applies(count(8)).shows(8, 0);
    shelf.applies(sale(3)).shows(5, 0).applies(sale(1)).shows(4, 0);
    shelf.applies(count(5)).shows(5, 0).applies(sale(2)).shows(3, 0);
    shelf
        .applies(receipt(2).lot("A"))
        .applies(count(1).lot("A"))
        .applies(sale(1).lot("A"))
        .shows(3, 0);
}

#[test]
fn count_of_a_lot_settles_what_was_found_in_it_before_as_well() {
    // 24 of lot A lie there unbooked, 5 are sold at 9:00 and found; "19 at 10:00" has seen it, and the delivery, booked
    // last, is late.
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("09:00").lot("A"), 5)
        .applies(count(19).at("10:00").lot("A"))
        .shows(19, 0);
    shelf
        .is_late(receipt(24).at("08:50").lot("A"))
        .applies(receipt(6).at("10:30").lot("B"))
        .shows(25, 0);
}

#[test]
fn count_of_a_lot_does_not_settle_again_what_a_delivery_has_repaid() {
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("08:00").lot("A"), 5)
        .applies(receipt(9).at("08:30").lot("B"))
        .shows(4, 0);
    shelf.applies(sale(4).at("08:40").lot("B")).finds(sale(3).at("09:00"), 3);
    shelf.applies(count(7).at("10:00").lot("A")).shows(7, 3);
}
