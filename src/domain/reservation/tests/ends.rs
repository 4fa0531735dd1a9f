//! Cancelling, extending and the clock.

use super::*;

#[test]
fn cancel_releases_every_line_and_is_final() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 5)])]);
    world.put(wants("r", &[("A", 2, None), ("B", 3, None)])).unwrap();
    let cancelled = world.cancel("r", 7).unwrap();
    assert_eq!(
        (cancelled.reply, cancelled.what, cancelled.lines.len()),
        (Reply::Changed, "cancelled", 2)
    );
    assert_eq!((world.available("A", None), world.available("B", None)), (5, 5));
    let again = world.cancel("r", 7).unwrap();
    assert_eq!((again.reply, again.after), (Reply::Same, cancelled.after));
    assert_eq!(refused(world.cancel("r", 8)).0, Code::AlreadyCancelled);
    assert_eq!(refused(world.extend("r", NOON.plus_ms(1), 9)).0, Code::AlreadyCancelled);
    assert_eq!(refused(world.expire("r")).0, Code::AlreadyCancelled);
}

#[test]
fn commands_on_a_basket_nobody_knows_are_refused() {
    let mut world = World::of(5);
    assert_eq!(refused(world.cancel("r", 7)).0, Code::UnknownReservation);
    assert_eq!(refused(world.extend("r", NOON.plus_ms(1), 7)).0, Code::UnknownReservation);
    assert_eq!(refused(world.expire("r")).0, Code::UnknownReservation);
}

#[test]
fn basket_expires_at_its_deadline_and_not_before() {
    let mut world = World::of(5);
    let deadline = world.put(wants("r", &[("A", 2, None)])).unwrap().after.expires.unwrap();
    world.now = deadline.plus_ms(-1);
    assert!(world.expire("r").is_err());
    assert_eq!(world.available("A", None), 3);
    world.now = deadline.plus_ms(5_000);
    assert_eq!(world.available("A", None), 5, "right at that instant, swept or not");
    let expired = world.expire("r").unwrap();
    assert_eq!(
        (expired.what, expired.business, expired.after.state),
        ("expired", deadline, State::Expired)
    );
    assert_eq!(refused(world.cancel("r", 7)).0, Code::AlreadyExpired);
    assert_eq!(refused(world.put(wants("r", &[("A", 1, None)]))).0, Code::AlreadyExpired);
}

#[test]
fn extension_is_bounded_by_the_channel_and_by_now() {
    let mut world = World::of(5);
    let web = with(wants("r", &[("A", 2, None)]), |request| request.channel = id("web"));
    world.put(web).unwrap();
    let bad = field(Code::InvalidValue, "/until");
    assert_eq!(refused(world.extend("r", NOON, 1)), bad);
    assert_eq!(refused(world.extend("r", NOON.plus_ms(600_001), 2)), bad);
    let until = NOON.plus_ms(600_000);
    let extended = world.extend("r", until, 3).unwrap();
    assert_eq!(
        (extended.what, extended.after.expires, extended.after.version),
        ("extended", Some(until), 2)
    );
    assert_eq!(world.claim("A", "r").unwrap().deadline, Some(until));
    assert_eq!(world.extend("r", until, 3).unwrap().reply, Reply::Same);
}

#[test]
fn old_retry_of_an_extension_takes_no_promise_back() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    world.extend("r", NOON.plus_ms(1_000_000), 1).unwrap();
    world.extend("r", NOON.plus_ms(2_000_000), 2).unwrap();
    let late = world.extend("r", NOON.plus_ms(1_000_000), 1).unwrap();
    assert_eq!((late.reply, late.after.expires), (Reply::Same, Some(NOON.plus_ms(2_000_000))));
}

#[test]
fn release_makes_the_promises_of_others_fit_again() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.put(wants("s", &[("A", 2, None)])).unwrap();
    world.stock("A").lots[0].inside[0] = 3;
    let at_risk = at_risk_changes(&world.stocks["A"], TODAY);
    evolve(world.stock("A"), &at_risk, NOON, NOON);
    let cancelled = world.cancel("r", 7).unwrap();
    let again = Change::AtRisk {
        reservation: id("s"),
        at_risk: false,
    };
    assert!(cancelled.lines[0].changes.contains(&again));
}
