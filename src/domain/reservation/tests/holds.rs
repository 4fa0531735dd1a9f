//! Holding and replacing.

use super::*;

#[test]
fn all_lines_or_none() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 1)])]);
    let refusal = world
        .put(wants("r", &[("A", 2, None), ("B", 2, None), ("C", 1, None)]))
        .unwrap_err();
    assert_eq!(refusal.code, Code::InsufficientStock);
    let lines: Vec<_> = refusal
        .lines
        .iter()
        .map(|line| (line.sku.as_str(), line.requested, line.available))
        .collect();
    assert_eq!(
        lines,
        [("B", 2, 1), ("C", 1, 0)],
        "the short lines, and an unknown SKU has nothing"
    );
    assert!(world.stocks.values().all(|stock| stock.claims.is_empty()) && world.baskets.is_empty());

    let held = world.put(wants("r", &[("A", 2, None), ("B", 1, None)])).unwrap();
    assert_eq!(
        (held.reply, held.what, held.after.state, held.after.version),
        (Reply::Created, "held", State::Held, 1)
    );
    assert_eq!(held.after.expires, Some(NOON.plus_ms(900_000)), "the channel's default");
    assert_eq!((world.available("A", None), world.available("B", None)), (3, 0));
}

#[test]
fn allow_partial_gives_what_there_is_and_refuses_nothing_at_all() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[])]);
    let lines = [("A", 7, None), ("B", 2, None)];
    let held = world
        .put(with(wants("r", &lines), |request| request.allow_partial = true))
        .unwrap();
    assert_eq!(
        held.after
            .lines
            .iter()
            .map(|line| (line.quantity, line.held))
            .collect::<Vec<_>>(),
        [(7, 5), (2, 0)]
    );
    let refusal = world
        .put(with(wants("s", &lines), |request| request.allow_partial = true))
        .unwrap_err();
    assert_eq!((refusal.code, refusal.lines.len()), (Code::InsufficientStock, 2));
}

#[test]
fn days_of_shelf_life_become_a_date_when_held() {
    let mut world = World::with(&[("A", &[("", None, 9), ("x", Some(2), 5), ("y", Some(4), 3)])]);
    assert_eq!(
        refused(world.put(wants("r", &[("A", 4, Some(3))]))).0,
        Code::InsufficientStock
    );
    let held = world.put(wants("r", &[("A", 3, Some(3))])).unwrap();
    assert_eq!(held.after.lines[0].good_until, Some(TODAY.plus(3)));
    assert_eq!((world.available("A", Some(0)), world.available("A", None)), (5, 14));
    world.days_pass(1);
    assert_eq!(world.put(wants("r", &[("A", 3, Some(3))])).unwrap().reply, Reply::Same);
    assert_eq!(world.claim("A", "r").unwrap().good_until, Some(TODAY.plus(3)));
}

#[test]
fn channel_keeps_its_buffer_back_with_overrides_per_sku() {
    let mut world = World::of(5);
    let web = |quantity| with(wants("r", &[("A", quantity, None)]), |request| request.channel = id("web"));
    assert_eq!(refused(world.put(web(4))).0, Code::InsufficientStock);
    buffer(world.stock("A"), "web", 1);
    assert_eq!(world.put(web(4)).unwrap().after.lines[0].held, 4);
}

#[test]
fn unknown_channel_is_refused_and_the_known_ones_are_listed() {
    let mut world = World::of(5);
    let refusal = world
        .put(with(wants("r", &[("A", 1, None)]), |request| request.channel = id("wbe")))
        .unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::InvalidValue, Some("/channel"))
    );
    assert!(refusal.detail.contains("default, web"), "{}", refusal.detail);
}

#[test]
fn time_to_live_obeys_the_channel() {
    let mut world = World::of(50);
    let ask = |world: &mut World, basket: &str, channel: &str, ttl_s| {
        let request = with(wants(basket, &[("A", 1, None)]), |request| {
            request.channel = id(channel);
            request.ttl_s = ttl_s;
        });
        world.put(request)
    };
    let bad = field(Code::InvalidValue, "/ttl_s");
    assert_eq!(refused(ask(&mut world, "r", "default", Some(0))), bad);
    assert_eq!(refused(ask(&mut world, "r", "web", Some(601))), bad);
    assert_eq!(
        ask(&mut world, "r", "web", Some(600)).unwrap().after.expires,
        Some(NOON.plus_ms(600_000))
    );
    assert_eq!(
        ask(&mut world, "s", "web", None).unwrap().after.expires,
        Some(NOON.plus_ms(60_000))
    );
    assert_eq!(ask(&mut world, "t", "web", Some(0)).unwrap().after.expires, None);
    world.days_pass(9_999);
    assert_eq!(
        world.available("A", None),
        49,
        "what never expires is still promised, the others are not"
    );
}

#[test]
fn malformed_baskets_are_refused_by_field() {
    let mut world = World::of(5);
    let bad = |field_name: &str| field(Code::InvalidValue, field_name);
    assert_eq!(refused(world.put(wants("r", &[]))), bad("/lines"));
    assert_eq!(
        refused(world.put(wants("r", &[("A", 1, None), ("A", 2, None)]))),
        bad("/lines/1/sku")
    );
    assert_eq!(refused(world.put(wants("r", &[("A", 0, None)]))), bad("/lines/0/quantity"));
    assert_eq!(
        refused(world.put(wants("r", &[("A", i64::MAX, None)]))),
        bad("/lines/0/quantity")
    );
    assert_eq!(
        refused(world.put(wants("r", &[("A", 1, Some(u32::MAX))]))),
        bad("/lines/0/min_shelf_life_days")
    );
    let names: Vec<String> = (0..=MAX_LINES).map(|i| format!("S{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1, None)).collect();
    assert_eq!(refused(world.put(wants("r", &many))), bad("/lines"));
}

#[test]
fn same_content_again_answers_with_the_basket_as_it_is_even_after_its_end() {
    let mut world = World::of(5);
    let request = wants("r", &[("A", 2, None)]);
    let first = world.put(request.clone()).unwrap().after;
    let again = world.put(request.clone()).unwrap();
    assert_eq!((again.reply, again.after), (Reply::Same, first));
    world.cancel("r", 7).unwrap();
    let again = world.put(request).unwrap();
    assert_eq!((again.reply, again.after.state), (Reply::Same, State::Cancelled));
    assert_eq!(refused(world.put(wants("r", &[("A", 1, None)]))).0, Code::AlreadyCancelled);
}

#[test]
fn own_claims_do_not_count_against_a_replacement() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 4, None)])).unwrap();
    let replaced = world.put(wants("r", &[("A", 5, None)])).unwrap();
    assert_eq!(
        (replaced.reply, replaced.what, replaced.after.version),
        (Reply::Replaced, "replaced", 2)
    );
    assert_eq!(world.available("A", None), 0);
}

#[test]
fn refused_replacement_leaves_the_old_basket_whole() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 5)])]);
    world.put(wants("r", &[("A", 4, None)])).unwrap();
    let (stocks, baskets) = (world.stocks.clone(), world.baskets.clone());
    assert_eq!(
        refused(world.put(wants("r", &[("A", 1, None), ("B", 6, None)]))).0,
        Code::InsufficientStock
    );
    assert_eq!((world.stocks, world.baskets), (stocks, baskets));
}

#[test]
fn line_that_is_left_out_of_a_replacement_is_released() {
    let mut world = World::with(&[("A", &[("", None, 5)]), ("B", &[("", None, 5)])]);
    world.put(wants("r", &[("A", 4, None), ("B", 1, None)])).unwrap();
    let replaced = world.put(wants("r", &[("B", 1, None)])).unwrap();
    assert_eq!((world.available("A", None), replaced.after.lines.len()), (5, 1));
}

#[test]
fn line_that_does_not_grow_is_never_refused_even_when_the_shelf_is_short() {
    let mut world = World::with(&[("A", &[("x", Some(3), 5)]), ("B", &[("", None, 5)])]);
    world.put(wants("r", &[("A", 4, Some(3))])).unwrap();
    world.stock("A").lots[0].inside[0] = 1;
    world.put(wants("r", &[("A", 4, Some(3)), ("B", 1, None)])).unwrap();
    world.put(wants("r", &[("A", 3, Some(3)), ("B", 2, None)])).unwrap();
    world.put(wants("r", &[("A", 3, Some(2))])).unwrap();
    assert_eq!(world.claim("A", "r").map(|claim| claim.good_until), Some(Some(TODAY.plus(2))));
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    assert_eq!(
        refused(world.put(wants("r", &[("A", 2, Some(0))]))).0,
        Code::InsufficientStock,
        "a date where none was grows"
    );
    assert_eq!(refused(world.put(wants("r", &[("A", 3, None)]))).0, Code::InsufficientStock);
}

#[test]
fn unchanged_line_keeps_its_date_and_its_place_in_age() {
    let mut world = World::with(&[("A", &[("x", Some(5), 9)]), ("B", &[("", None, 9)])]);
    world.put(wants("r", &[("A", 4, Some(5))])).unwrap();
    world.put(wants("s", &[("A", 1, None)])).unwrap();
    world.days_pass(0);
    world.now = NOON.plus_ms(600_000);
    let replaced = world.put(wants("r", &[("A", 4, Some(5)), ("B", 1, None)])).unwrap();
    assert_eq!(replaced.after.lines[0].good_until, Some(TODAY.plus(5)));
    assert_eq!(
        (replaced.after.created, replaced.after.expires),
        (NOON, Some(NOON.plus_ms(1_500_000))),
        "a fresh deadline"
    );
    assert_eq!(world.stocks["A"].claims[0].reservation, id("r"));
}

#[test]
fn unchanged_line_keeps_its_date_over_midnight_and_a_grown_one_gets_a_new_one() {
    let mut world = World::with(&[("A", &[("x", Some(5), 9), ("y", Some(8), 2)])]);
    let forever = |lines: &[(&str, i64, Option<u32>)]| {
        with(wants("r", lines), |request| {
            request.channel = id("web");
            request.ttl_s = Some(0);
        })
    };
    world.put(forever(&[("A", 4, Some(5))])).unwrap();
    world.days_pass(1);
    let smaller = world.put(forever(&[("A", 3, Some(5))])).unwrap();
    assert_eq!(smaller.after.lines[0].good_until, Some(TODAY.plus(5)));
    assert_eq!(
        refused(world.put(forever(&[("A", 4, Some(5))]))).0,
        Code::InsufficientStock,
        "for today and five days more"
    );
}

#[test]
fn shrinking_an_old_promise_makes_a_younger_one_fit_again() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.put(wants("s", &[("A", 2, None)])).unwrap();
    world.stock("A").lots[0].inside[0] = 4;
    let at_risk = at_risk_changes(&world.stocks["A"], TODAY);
    evolve(world.stock("A"), &at_risk, NOON, NOON);
    assert!(world.claim("A", "s").unwrap().at_risk);
    world.put(wants("r", &[("A", 2, None)])).unwrap();
    assert!(!world.claim("A", "s").unwrap().at_risk);
}

#[test]
fn expected_version_guards_against_an_old_retry() {
    let mut world = World::of(5);
    let at = |quantity, version| {
        with(wants("r", &[("A", quantity, None)]), |request| {
            request.expected_version = Some(version)
        })
    };
    let wrong = field(Code::VersionMismatch, "/expected_version");
    assert_eq!(refused(world.put(at(1, 1))), wrong);
    assert_eq!(world.put(at(1, 0)).unwrap().after.version, 1);
    assert_eq!(world.put(at(2, 1)).unwrap().after.version, 2);
    assert_eq!(refused(world.put(at(1, 0))), wrong);
    assert_eq!(
        world.put(at(2, 1)).unwrap().reply,
        Reply::Same,
        "the newest content may be repeated"
    );
}

#[test]
fn basket_partly_taken_cannot_be_replaced() {
    let mut world = World::of(5);
    world.put(wants("r", &[("A", 3, None)])).unwrap();
    world.baskets.get_mut("r").unwrap().lines[0].taken = 1;
    assert_eq!(refused(world.put(wants("r", &[("A", 2, None)]))).0, Code::PartlyTaken);
}

#[test]
fn partial_replacement_keeps_what_it_had_and_adds_what_there_is() {
    let mut world = World::of(5);
    world.put(wants("s", &[("A", 1, None)])).unwrap();
    let partial = |quantity| with(wants("r", &[("A", quantity, None)]), |request| request.allow_partial = true);
    assert_eq!(world.put(partial(9)).unwrap().after.lines[0].held, 4);
    world.stock("A").lots[0].inside[0] = 2;
    assert_eq!(
        world.put(partial(8)).unwrap().after.lines[0].held,
        4,
        "what it had is not lost"
    );
    assert_eq!(refused(world.put(wants("r", &[("A", 5, None)]))).0, Code::InsufficientStock);
}
