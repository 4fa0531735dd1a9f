//! A void takes back the movements of an earlier event, as opposite movements now; once.

use super::*;
use crate::domain::event::{Inside, ReturnTo};
use crate::domain::fact::Claim;

/// Voids the newest fact.
fn undo(shelf: &mut Shelf) -> Outcome {
    let newest = shelf.facts.len() - 1;
    shelf.void(newest)
}

#[test]
fn void_takes_back_every_kind_of_movement() {
    let mut shelf = Shelf::with(20);
    shelf.applies(event(What::Quarantine { quantity: 6 }));
    let before = shelf.stock().accounts();
    let events = [
        receipt(5),
        sale(5),
        event(What::Return {
            quantity: 2,
            to: ReturnTo::Sellable,
        }),
        event(What::Return {
            quantity: 2,
            to: ReturnTo::Quarantine,
        }),
        event(What::Quarantine { quantity: 3 }),
        event(What::Release { quantity: 3 }),
        event(What::WriteOff {
            quantity: 3,
            from: Inside::Sellable,
        })
        .because("theft"),
        event(What::WriteOff {
            quantity: 3,
            from: Inside::Quarantine,
        })
        .because("theft"),
        event(What::TransferOut {
            quantity: 3,
            transfer: id("t"),
            to_warehouse: id("other"),
        }),
        event(What::TransferIn {
            quantity: 3,
            transfer: id("u"),
        }),
        event(What::Adjustment { delta: -3 }),
        event(What::Adjustment { delta: 3 }),
    ];
    for event in events {
        shelf.applies(event);
        assert_eq!(undo(&mut shelf), Outcome::APPLIED);
        shelf.stands(before);
    }
}

#[test]
fn void_of_a_sale_unfinds_only_what_is_still_owed() {
    let mut shelf = Shelf::with(3);
    shelf.finds(sale(5), 2);
    assert_eq!(undo(&mut shelf), Outcome::APPLIED);
    shelf.stands([3, 0, 0, -3, 0, 0, 0]).shows(3, 0);

    let mut shelf = Shelf::with(3);
    shelf.finds(sale(5), 2).applies(receipt(1)).shows(0, 1);
    shelf.void(1);
    shelf.shows(4, 0);

    let mut shelf = Shelf::with(3);
    shelf.finds(sale(5), 2).applies(receipt(10)).shows(8, 0);
    shelf.void(1);
    shelf.shows(13, 0);
}

#[test]
fn void_of_a_receipt_owes_again_what_it_had_repaid() {
    let mut shelf = Shelf::new();
    shelf.finds(sale(5), 5).applies(receipt(24)).shows(19, 0);
    assert_eq!(undo(&mut shelf), Outcome::APPLIED);
    shelf.shows(0, 5).stands([0, 0, 0, 0, 5, 0, -5]);
}

#[test]
fn void_finds_what_is_missing() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(8));
    let found = Outcome::Applied {
        found: 8,
        expired_lot: None,
    };
    assert_eq!(shelf.void(0), found);
    shelf.shows(0, 8).stands([0, 0, 0, 0, 8, 0, -8]);
    assert!(shelf.flagged());

    let mut shelf = Shelf::with(10);
    shelf
        .applies(event(What::Quarantine { quantity: 4 }))
        .applies(event(What::Release { quantity: 3 }));
    let found = Outcome::Applied {
        found: 3,
        expired_lot: None,
    };
    assert_eq!(shelf.void(1), found);
    shelf.stands([13, 0, 0, -10, 0, 0, -3]).shows(13, 0);
}

#[test]
fn void_of_a_sale_from_a_filled_lot_gives_back_what_filled_it() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(3).lot("A"))
        .applies(receipt(4).lot("B"))
        .applies(sale(5).lot("A"));
    undo(&mut shelf);
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (3, 4));
}

#[test]
fn void_is_late_by_the_time_of_the_event_that_it_takes_back() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(3).at("09:50")).applies(count(7).at("10:00"));
    assert_eq!(shelf.void(1), Outcome::IncludedInCount);
    shelf.stands([7, 0, 0, -10, 0, 0, 3]);

    let mut shelf = Shelf::with(10);
    shelf.applies(sale(3).at("10:10")).applies(count(10).at("10:00"));
    assert_eq!(shelf.void(1), Outcome::APPLIED);
    shelf.stands([10, 0, 0, -10, 0, 0, 0]);
}

#[test]
fn late_void_neither_unfinds_nor_owes_again() {
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(5).at("09:00"), 5)
        .applies(receipt(24).at("08:50"))
        .shows(19, 0);
    shelf
        .applies(count(19).at("10:00"))
        .finds(sale(20).at("10:10"), 1)
        .shows(0, 1);
    assert_eq!(shelf.void(1), Outcome::IncludedInCount);
    assert_eq!(shelf.void(0), Outcome::IncludedInCount);
    shelf.shows(0, 1);
}

#[test]
fn void_of_a_late_event_takes_back_its_other_leg() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(7).at("10:00")).is_late(sale(3).at("09:50"));
    assert_eq!(undo(&mut shelf), Outcome::IncludedInCount);
    shelf.stands([7, 0, 0, -10, 0, 0, 3]);
}

#[test]
fn count_gives_the_same_book_before_and_after_a_void() {
    // The sale at 9:50 never happened, so the shelf at 10:00 held all 10.
    let mut before = Shelf::with(10);
    before.applies(sale(3).at("09:50")).applies(count(10).at("10:00"));
    before.void(1);
    let mut after = Shelf::with(10);
    after.applies(sale(3).at("09:50"));
    after.void(1);
    after.applies(count(10).at("10:00"));
    assert_eq!(before.stock().accounts(), [10, 0, 0, -10, 0, 0, 0]);
    assert_eq!(after.stock().accounts(), [10, 0, 0, -10, 0, 0, 0]);
}

#[test]
fn void_stands_at_its_arrival_whatever_its_time() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(3).at("09:50"));
    let fact = shelf.facts[1].clone();
    shelf.happen(void().at("09:00"), Voided::Fact(&fact));
    assert_eq!(shelf.facts.last().unwrap().business, shelf.now);
}

#[test]
fn void_revives_no_claim() {
    let mut shelf = Shelf::with(10);
    let claim = Claim {
        reservation: id("o-1"),
        quantity: 3,
        good_until: None,
        deadline: None,
        at_risk: false,
    };
    shelf.change(&[Change::Claim(claim.into())]);
    shelf.applies(sale(3));
    let newest = shelf.facts.len() - 1;
    let Subject::Sku { changes, .. } = &mut shelf.facts[newest].subject else {
        unreachable!()
    };
    let unclaim = Change::Unclaim {
        reservation: id("o-1"),
        quantity: 3,
    };
    changes.push(unclaim.clone());
    let mut stock = shelf.stock();
    stock.version -= 1;
    evolve(&mut stock, &[unclaim], shelf.now, shelf.now);
    shelf.stock = Some(stock);
    shelf.void(newest);
    shelf.shows(10, 0);
    assert!(shelf.stock().claims.is_empty());
}

#[test]
fn counts_snapshots_and_voids_are_not_voidable() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(9).at("10:00"));
    shelf.send(event(What::Snapshot { quantity: 9 }));
    shelf.applies(sale(1));
    undo(&mut shelf);
    for fact in [1, 2, 4] {
        let fact = shelf.facts[fact].clone();
        let Outcome::Refused(refusal) = shelf.happen(void(), Voided::Fact(&fact)) else {
            panic!("{} was voided", fact.what);
        };
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::NotVoidable, Some("/data/event"))
        );
    }
}

#[test]
fn void_of_nothing_or_of_what_is_void_is_refused() {
    let mut shelf = Shelf::with(10);
    let code = |outcome| match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(shelf.happen(void(), Voided::Unknown)), Code::UnknownEvent);
    assert_eq!(code(shelf.happen(void(), Voided::NotAVoid)), Code::UnknownEvent);
    assert_eq!(code(shelf.happen(void(), Voided::Already)), Code::AlreadyVoided);
    shelf.shows(10, 0);
}

#[test]
fn void_of_a_refused_event_is_of_an_unknown_one() {
    let mut shelf = Shelf::with(3);
    shelf.refuses(event(What::Adjustment { delta: -9 }), Code::InsufficientStock);
    assert!(matches!(undo(&mut shelf), Outcome::Refused(refusal) if refusal.code == Code::UnknownEvent));
}
