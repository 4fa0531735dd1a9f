//! Transfers have a balance by their id, whichever side comes first.

use super::*;
use crate::domain::event::Inside;

fn arrives(quantity: i64) -> Event {
    event(What::TransferIn {
        quantity,
        transfer: id("t"),
    })
}

fn underway(lots: &[(&str, i64)]) -> Event {
    let lot = |(lot, units): &(&str, i64)| {
        let lot = LotRef {
            id: id(lot),
            expires_on: None,
        };
        (lot, *units)
    };
    event(What::Underway {
        lots: lots.iter().map(lot).collect(),
        transfer: id("t"),
        from_warehouse: id("other"),
    })
}

#[test]
fn transfer_out_leaves_for_supply_and_tells_its_lots() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(3).lot_for("A", 3)).applies(receipt(4).lot_for("B", 4));
    let out = What::TransferOut {
        quantity: 5,
        transfer: id("t"),
        to_warehouse: id("other"),
    };
    shelf.applies(event(out)).stands([2, 0, 0, -2, 0, 0, 0]);
    let lot = |lot, days| LotRef {
        id: id(lot),
        expires_on: Some(TODAY.plus(days)),
    };
    let left = vec![(lot("A", 3), 3), (lot("B", 4), 2)];
    assert_eq!(crate::domain::stock::left_lots(&shelf.stock(), &shelf.changes()), left);
    let newest = shelf.facts.len() - 1;
    shelf.void(newest);
    let mut back = crate::domain::stock::left_lots(&shelf.stock(), &shelf.changes());
    back.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    assert_eq!(back, vec![(lot("A", 3), -3), (lot("B", 4), -2)]);
}

#[test]
fn goods_cannot_be_sent_to_where_they_are() {
    let mut shelf = Shelf::new();
    shelf.applies(receipt(3));
    let mut out = event(What::TransferOut {
        quantity: 1,
        transfer: id("t"),
        to_warehouse: id("other"),
    });
    out.warehouse = id("other");
    shelf.refuses(out, Code::InvalidValue);
    shelf.stands([3, 0, 0, -3, 0, 0, 0]);
}

#[test]
fn what_is_sent_is_in_transit_until_it_arrives_as_the_same_lots() {
    let mut shelf = Shelf::new();
    shelf.applies(underway(&[("A", 3), ("B", 2)])).stands([0, 0, 5, -5, 0, 0, 0]);
    shelf.applies(arrives(4)).stands([4, 0, 1, -5, 0, 0, 0]);
    assert_eq!((shelf.lot("A"), shelf.lot("B")), (3, 1));
    shelf.applies(arrives(1).lot("B")).stands([5, 0, 0, -5, 0, 0, 0]);
}

#[test]
fn arrival_before_its_out_comes_from_supply_and_the_out_puts_only_the_rest_in_transit() {
    let mut shelf = Shelf::new();
    shelf.applies(arrives(3)).stands([3, 0, 0, -3, 0, 0, 0]);
    shelf.applies(underway(&[("", 5)])).stands([3, 0, 2, -5, 0, 0, 0]);
    shelf.applies(arrives(2)).stands([5, 0, 0, -5, 0, 0, 0]);
}

#[test]
fn surplus_is_found_and_not_owed_whichever_side_comes_first() {
    let mut shelf = Shelf::new();
    shelf
        .applies(underway(&[("", 5)]))
        .finds(arrives(7), 2)
        .stands([7, 0, 0, -5, 0, 0, -2])
        .shows(7, 0);
    let mut shelf = Shelf::new();
    shelf
        .applies(arrives(7))
        .applies(underway(&[("", 5)]))
        .stands([7, 0, 0, -5, 0, 0, -2])
        .shows(7, 0);
    shelf.applies(underway(&[("", 4)])).stands([7, 0, 2, -9, 0, 0, 0]);
}

#[test]
fn arrival_repays_what_was_found_like_a_receipt() {
    let mut shelf = Shelf::new();
    shelf
        .finds(sale(3), 3)
        .applies(underway(&[("A", 5)]))
        .shows(0, 3)
        .applies(arrives(5))
        .shows(2, 0);
}

#[test]
fn late_arrival_leaves_sellable_as_counted() {
    let mut shelf = Shelf::new();
    shelf.applies(underway(&[("A", 5)])).applies(count(5).at("10:00"));
    shelf.is_late(arrives(5).at("09:50")).stands([5, 0, 0, -5, 0, 0, 0]);
}

#[test]
fn what_never_arrives_is_ended_by_a_write_off() {
    let mut shelf = Shelf::new();
    shelf.applies(underway(&[("A", 5)])).applies(arrives(3));
    let from = Inside::InTransit;
    shelf
        .applies(event(What::WriteOff { quantity: 2, from }).because("lost"))
        .stands([3, 0, 0, -5, 0, 2, 0]);
    let balance = shelf.stock().transfer(&id("t")).cloned().unwrap();
    assert_eq!((balance.sent, balance.arrived), (5, 5));
    shelf.finds(arrives(1), 1).stands([4, 0, 0, -5, 0, 2, -1]);
}

#[test]
fn void_of_an_arrival_puts_the_goods_back_underway() {
    let mut shelf = Shelf::new();
    shelf.applies(underway(&[("A", 5)])).finds(arrives(7), 2);
    shelf.void(1);
    shelf.stands([0, 0, 5, -5, 0, 0, 0]);
    // Also when the out came in between.
    let mut shelf = Shelf::new();
    shelf
        .applies(arrives(5))
        .applies(underway(&[("A", 5)]))
        .stands([5, 0, 0, -5, 0, 0, 0]);
    shelf.void(0);
    shelf.stands([0, 0, 5, -5, 0, 0, 0]);
    shelf.applies(arrives(5)).stands([5, 0, 0, -5, 0, 0, 0]);
}

#[test]
fn void_of_an_out_calls_back_what_is_underway() {
    let mut shelf = Shelf::new();
    shelf
        .applies(underway(&[("A", 5)]))
        .applies(arrives(2))
        .applies(underway(&[("A", -5)]));
    shelf.stands([2, 0, 0, -2, 0, 0, 0]);
}

#[test]
fn finished_transfers_are_forgotten_after_the_window() {
    let mut shelf = Shelf::new();
    for n in 0..40 {
        let transfer = id(&format!("t{n}"));
        shelf.applies(event(What::TransferIn { quantity: 1, transfer }));
    }
    shelf.now = shelf.now.plus_ms(8 * 86_400_000);
    for _ in 0..32 {
        shelf.applies(sale(1));
    }
    assert!(shelf.stock().rare.is_none());
}

#[test]
fn empty_lots_past_their_date_are_forgotten_when_they_cannot_matter() {
    let mut shelf = Shelf::new();
    for n in 0..40 {
        shelf.applies(receipt(1).lot_for(&format!("L{n:02}"), n - 20));
    }
    shelf.send(sale(40));
    shelf.now = shelf.now.plus_ms(40 * 86_400_000);
    for _ in 0..32 {
        shelf.applies(receipt(1));
    }
    assert_eq!(shelf.stock().lots.len(), 1);
    assert!(shelf.stock().dated);
}
