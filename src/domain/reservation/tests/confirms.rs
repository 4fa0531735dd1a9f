//! Confirming: the goods leave.

use super::*;
use crate::domain::event::LotRef;

/// A SKU, the units taken of it, and the lots named for them.
type Picked<'a> = (&'a str, i64, &'a [(&'a str, i64)]);

fn lots(lines: &[Picked<'_>]) -> ConfirmRequest {
    let line = |(sku, quantity, lots): &Picked<'_>| ConfirmLine {
        sku: id(sku),
        quantity: *quantity,
        lots: lots.iter().map(|(lot, units)| (id(lot), *units)).collect(),
    };
    ConfirmRequest {
        time: None,
        lines: Some(lines.iter().map(line).collect()),
        fingerprint: 77,
    }
}

fn left(world: &World, sku: &str) -> Vec<(String, i64)> {
    world.stocks[sku]
        .lots
        .iter()
        .map(|lot| (lot.id.to_string(), lot.sellable()))
        .collect()
}

fn count(world: &mut World, quantity: i64, at: Time) {
    assert_eq!(
        world.tell(&event("A", What::Count { quantity }, at)).outcome.word(),
        "applied"
    );
}

#[test]
fn confirm_without_lines_takes_everything_held() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 5)])]);
    world.put(wants("r", &[("A", 2, None), ("B", 3, None)])).unwrap();
    let confirmed = world.confirm("r", takes(None)).unwrap();
    assert_eq!(
        (confirmed.what, confirmed.after.state, confirmed.lines.len()),
        ("confirmed", State::Confirmed, 2)
    );
    assert_eq!(
        confirmed
            .after
            .lines
            .iter()
            .map(|line| (line.held, line.taken))
            .collect::<Vec<_>>(),
        [(0, 2), (0, 3)]
    );
    assert_eq!((world.available("A", None), world.units("A", Account::Demand)), (3, 2));
    assert_eq!((world.available("B", None), world.units("B", Account::Demand)), (2, 3));
}

#[test]
fn less_may_be_taken_than_held_and_the_rest_is_released() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 5)]), ("C", &[("", None, 5)])]);
    world
        .put(wants("r", &[("A", 2, None), ("B", 3, None), ("C", 1, None)]))
        .unwrap();
    let confirmed = world.confirm("r", takes(Some(&[("A", 1), ("B", 0)]))).unwrap();
    let lines: Vec<_> = confirmed
        .after
        .lines
        .iter()
        .map(|line| (line.quantity, line.held, line.taken))
        .collect();
    assert_eq!(
        lines,
        [(2, 0, 1), (3, 0, 0), (1, 0, 0)],
        "what is not listed is released whole"
    );
    assert_eq!(["A", "B", "C"].map(|sku| world.available(sku, None)), [4, 5, 5]);
}

#[test]
fn nothing_at_all_may_be_taken() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    assert_eq!(world.confirm("r", takes(Some(&[]))).unwrap().after.state, State::Confirmed);
    assert_eq!((world.available("A", None), world.units("A", Account::Demand)), (5, 0));
}

#[test]
fn more_than_held_is_refused_and_the_basket_stays_held() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    assert_eq!(
        refused(world.confirm("r", takes(Some(&[("A", 3)])))),
        field(Code::ExceedsHeld, "/lines/0/quantity")
    );
    assert_eq!(world.baskets["r"].state, State::Held);
    assert_eq!(world.available("A", None), 3);
}

#[test]
fn malformed_confirmations_are_refused_by_field() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    let bad = |name: &str| field(Code::InvalidValue, name);
    assert_eq!(
        refused(world.confirm("r", takes(Some(&[("A", 1), ("A", 1)])))),
        bad("/lines/1/sku")
    );
    assert_eq!(refused(world.confirm("r", takes(Some(&[("B", 0)])))), bad("/lines/0/sku"));
    assert_eq!(
        refused(world.confirm("r", takes(Some(&[("A", -1)])))),
        bad("/lines/0/quantity")
    );
    assert_eq!(
        refused(world.confirm("r", lots(&[("A", 1, &[("x", 2)])]))),
        bad("/lines/0/lots")
    );
    assert_eq!(
        refused(world.confirm("r", lots(&[("A", 2, &[("x", 1), ("x", 1)])]))),
        bad("/lines/0/lots")
    );
    assert_eq!(
        refused(world.confirm("r", lots(&[("A", 2, &[("x", i64::MAX), ("y", i64::MAX)])]))),
        bad("/lines/0/lots")
    );
    assert_eq!(refused(world.confirm("s", takes(None))).0, Code::UnknownReservation);
}

#[test]
fn pick_is_first_expired_first_out_among_the_lots_that_serve_the_date() {
    let mut world = World::with(&[("A", &[("x", Some(1), 3), ("y", Some(3), 3), ("z", Some(5), 3)])]);
    world.put(wants("r", &[("A", 4, Some(2))])).unwrap();
    world.confirm("r", takes(None)).unwrap();
    assert_eq!(left(&world, "A"), [("x".into(), 3), ("y".into(), 0), ("z".into(), 2)]);
}

#[test]
fn lots_may_be_named_and_the_rest_is_picked() {
    let mut world = World::with(&[("A", &[("x", Some(-1), 3), ("y", Some(3), 3), ("z", Some(5), 3)])]);
    world.put(wants("r", &[("A", 4, None)])).unwrap();
    let confirmed = world.confirm("r", lots(&[("A", 4, &[("z", 2), ("x", 1)])])).unwrap();
    assert_eq!(left(&world, "A"), [("x".into(), 2), ("y".into(), 2), ("z".into(), 1)]);
    assert_eq!(
        confirmed.lines[0].expired_lot,
        Some(id("x")),
        "a named expired lot is taken, and the answer says so"
    );
}

#[test]
fn short_shelf_finds_and_flags_as_a_sale_does() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 4, None)])).unwrap();
    world.sell("A", 3, None);
    assert!(world.claim("A", "r").unwrap().at_risk);
    let confirmed = world.confirm("r", takes(None)).unwrap();
    assert_eq!(confirmed.lines[0].found, 2);
    let stock = &world.stocks["A"];
    assert_eq!(
        (stock.count_due, stock.owed, world.units("A", Account::Sellable)),
        (true, 2, 0)
    );
    assert_eq!(world.units("A", Account::Demand), 7);
}

#[test]
fn confirm_of_goods_that_left_before_a_count_leaves_the_count_as_it_is() {
    let mut world = World::of(10);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.now = NOON.plus_ms(120_000);
    let counted = world.now.plus_ms(-30_000);
    count(&mut world, 7, counted);
    let request = ConfirmRequest {
        time: Some(NOON.plus_ms(60_000)),
        ..takes(None)
    };
    let confirmed = world.confirm("r", request).unwrap();
    assert!(confirmed.lines[0].included_in_count);
    assert_eq!(
        (confirmed.business, confirmed.after.lines[0].taken),
        (NOON.plus_ms(60_000), 3)
    );
    assert_eq!(
        (world.units("A", Account::Sellable), world.units("A", Account::Discrepancy)),
        (7, 0)
    );
    assert_eq!(world.available("A", None), 7, "the claim is gone");
}

#[test]
fn confirmation_may_be_repeated_but_not_changed() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    let first = world.confirm("r", takes(Some(&[("A", 1)]))).unwrap();
    let again = world.confirm("r", takes(Some(&[("A", 1)]))).unwrap();
    assert_eq!((again.reply, again.after), (Reply::Same, first.after));
    assert_eq!(refused(world.confirm("r", takes(None))).0, Code::AlreadyConfirmed);
    assert_eq!(refused(world.cancel("r", 1)).0, Code::AlreadyConfirmed);
    assert_eq!(refused(world.extend("r", NOON.plus_ms(1), 1)).0, Code::AlreadyConfirmed);
    world.put(wants("s", &[("A", 2, None)])).unwrap();
    world.cancel("s", 1).unwrap();
    assert_eq!(refused(world.confirm("s", takes(None))).0, Code::AlreadyCancelled);
}

#[test]
fn time_of_a_confirm_is_bounded_on_both_sides() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    let at = |time| ConfirmRequest {
        time: Some(time),
        ..takes(None)
    };
    let old = field(Code::TimeOutOfRange, "/time");
    assert_eq!(refused(world.confirm("r", at(NOON.plus_ms(-8 * 86_400_000)))), old);
    let ahead = world.confirm("r", at(NOON.plus_ms(301_000))).unwrap();
    assert_eq!(
        (ahead.business, ahead.clock_ahead),
        (NOON, true),
        "taken at its arrival, and the clock is reported"
    );
}

#[test]
fn taking_a_lot_that_others_count_on_puts_them_at_risk() {
    let mut world = World::with(&[("A", &[("x", Some(1), 3), ("z", Some(5), 3)])]);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.put(wants("s", &[("A", 3, Some(4))])).unwrap();
    world.confirm("r", lots(&[("A", 3, &[("z", 3)])])).unwrap();
    assert!(world.claim("A", "s").unwrap().at_risk);
    let lot = LotRef {
        id: id("w"),
        expires_on: Some(TODAY.plus(6)),
    };
    world.tell(&Event {
        lot: Some(lot),
        ..event("A", What::Receipt { quantity: 3 }, world.now)
    });
    assert!(!world.claim("A", "s").unwrap().at_risk, "until it fits again");
}
