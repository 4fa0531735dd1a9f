//! `kill -9` at random moments, under load: what was answered has its effect exactly once, what was not answered has it at
//! most once when it is sent again, and every basket is whole.
//!
//! A page lost with the machine's power is the storage tests' matter, on a disk that forgets; here the process alone dies.

#[path = "crash/clerk.rs"]
pub mod clerk;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::events::check_invariants;
use crate::harness::http::Http;
use crate::harness::node::Node;
use crate::harness::torture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use clerk::{Clerk, Deed, Deeds, End, SKUS};

/// Kills of one node in an ordinary run, and in a long one, where many nodes follow each other: a record that grows for ever would
/// test the reader of records.
const KILLS: u64 = 15;
const KILLS_OF_A_NODE: u64 = 25;
const CLERKS: u64 = 16;
const OPENING: i64 = 1_000_000;
/// An emulated machine answers a hundred times more slowly than a real one.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

#[test]
fn every_answered_event_has_its_effect_exactly_once_after_kill_9_at_random_moments() {
    let seed = torture::seed();
    println!("SHELFD_TEST_SEED={seed} repeats this run's choices");
    let (kills, begun) = (torture::cases(KILLS, 1_000), Instant::now());
    for first in (0..kills).step_by(KILLS_OF_A_NODE as usize) {
        let lives = KILLS_OF_A_NODE.min(kills - first);
        survive(seed.wrapping_add(first << 16), lives);
        torture::progress("killed", first + lives, begun);
    }
    torture::report("killed", kills, 0);
}

/// One node, killed at the end of each of its lives.
fn survive(seed: u64, lives: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = Node::builder().config("[storage]\nsnapshot_interval_s = 1\n").start();
    let mut deeds = Deeds::default();
    open(&node, &mut deeds);
    for life in 0..lives {
        let mut news = work_until(&node.client(), seed, life, random.random_range(30..250), || node.kill());
        node.restart();
        answered_events_stand(&node, &news);
        answered_baskets_stand(&node, &news);
        settle_what_was_not_answered(&node, &mut news);
        deeds.extend(news);
        stock_is_what_was_done(&node, &deeds);
    }
    let unsettled = deeds.baskets.values().filter(|basket| basket.end.is_none()).count();
    let (events, baskets) = (deeds.events.len(), deeds.baskets.len());
    println!("{events} events, {baskets} baskets ({unsettled} held)");
    answered_events_stand(&node, &deeds);
    answered_baskets_stand(&node, &deeds);
    ledgers_name_every_event_once(&node, &deeds);
    assert!(node.terminate().success(), "{}", node.log());
    node.restart();
    stock_is_what_was_done(&node, &deeds);
}

/// All clerks at once, until so many answers are there; then the node dies under them.
pub fn work_until(node: &Http, seed: u64, life: u64, target: usize, kill: impl FnOnce()) -> Deeds {
    let answered = AtomicUsize::new(0);
    let work = std::thread::scope(|scope| {
        let threads = (0..CLERKS)
            .map(|n| {
                let clerk = Clerk::new(node.clone(), seed ^ (life * CLERKS + n + 1), format!("{life}.{n}"));
                let answered = &answered;
                scope.spawn(move || clerk.work_until_the_node_dies(answered))
            })
            .collect::<Vec<_>>();
        let begun = Instant::now();
        while answered.load(Ordering::Relaxed) < target {
            assert!(begun.elapsed() < ANSWERED_WITHIN, "{answered:?} answers, and no more");
            std::thread::sleep(Duration::from_millis(2));
        }
        kill();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a clerk"))
            .collect::<Vec<_>>()
    });
    let mut deeds = Deeds::default();
    work.into_iter().for_each(|work| deeds.extend(work));
    deeds
}

/// All that is compared: it says nothing of a record that is true.
fn compare(node: &Http, deeds: &Deeds) {
    answered_events_stand(node, deeds);
    answered_baskets_stand(node, deeds);
    stock_is_what_was_done(node, deeds);
    ledgers_name_every_event_once(node, deeds);
}

/// What the comparison says of a record with a lie in it.
fn finds(what: &str, node: &Http, deeds: &Deeds) {
    let compared = catch_unwind(AssertUnwindSafe(|| compare(node, deeds)));
    assert!(compared.is_err(), "{what} was not found");
}

#[test]
fn the_comparison_finds_a_lost_event_a_doubled_one_and_a_basket_that_is_not_as_it_was_answered() {
    let mut node = Node::start();
    let mut deeds = Deeds::default();
    open(&node, &mut deeds);
    let news = work_until(&node.client(), torture::seed(), 0, 200, || node.kill());
    node.restart();
    deeds.extend(news);
    settle_what_was_not_answered(&node, &mut deeds);
    compare(&node, &deeds);

    // An answer that the node does not know: what a lost event is to its sender.
    let mut lost = clerk::told("never-sent", "sale", SKUS[0], 1);
    lost.answer = Some(json!({"id": "never-sent", "verdict": "applied", "seq": 1, "version": 1}));
    deeds.events.insert("never-sent".to_owned(), lost);
    finds("a lost event", &node, &deeds);
    // That comparison has sent it; now it is the other way round: an effect that nobody knows of.
    let mut sent = deeds.events.remove("never-sent").expect("it was put there");
    finds("an event that nobody sent", &node, &deeds);
    sent.answer = Some(node.post("/v1/events", &sent.event).expect_status(200).json());
    deeds.events.insert("never-sent".to_owned(), sent);
    compare(&node, &deeds);

    let basket = deeds
        .baskets
        .values_mut()
        .find(|basket| basket.end_answered)
        .expect("a basket that ended");
    let end = basket.end.take();
    finds("a basket that is not as it was answered", &node, &deeds);
    let basket = deeds
        .baskets
        .values_mut()
        .find(|basket| basket.end_answered)
        .expect("it is still there");
    basket.end = end;
    compare(&node, &deeds);
    node.post("/v1/events", &crate::harness::events::event("again", "sale", SKUS[1], 1))
        .expect_status(200);
    finds("an event with a second effect under another id", &node, &deeds);
}

pub fn open(node: &Http, deeds: &mut Deeds) {
    let mut events = BTreeMap::new();
    for sku in SKUS {
        // The last SKU is scarce, so that baskets compete for it.
        let quantity = if sku == SKUS[SKUS.len() - 1] { 60 } else { OPENING };
        events.insert(
            format!("open-{sku}"),
            clerk::told(&format!("open-{sku}"), "receipt", sku, quantity),
        );
    }
    for (id, mut deed) in events {
        deed.answer = Some(node.post("/v1/events", &deed.event).expect_status(200).json());
        deeds.events.insert(id, deed);
    }
}

/// Sends them again: each must be known, with the answer that it got.
pub fn answered_events_stand(node: &Http, deeds: &Deeds) {
    let answered = deeds.events.values().filter(|deed| deed.answer.is_some()).collect::<Vec<_>>();
    for some in answered.chunks(2_000) {
        let events = some.iter().map(|deed| deed.event.clone()).collect::<Vec<_>>();
        let again = node.post("/v1/events", &json!(events)).expect_status(200).json();
        for (deed, verdict) in some.iter().zip(again["verdicts"].as_array().expect("verdicts")) {
            let first = deed.answer.as_ref().expect("only the answered");
            let fields = |v: &Value| [v["id"].clone(), v["seq"].clone(), v["version"].clone()];
            assert_eq!(verdict["verdict"], "duplicate", "answered {first}, and now {verdict}");
            assert_eq!(verdict["first"], "applied", "{verdict}");
            assert_eq!(fields(verdict), fields(first));
        }
    }
}

/// A basket is as it was last answered, unless something was asked of it that was not answered.
pub fn answered_baskets_stand(node: &Http, deeds: &Deeds) {
    for (id, basket) in &deeds.baskets {
        let Some(held) = &basket.answer else { continue };
        let now = node
            .get(&format!("/v1/warehouses/main/reservations/{id}"))
            .expect_status(200)
            .json();
        match (&basket.end, basket.end_answered) {
            (None, _) => {
                assert_eq!(now["state"], "held", "{now}");
                assert_eq!((&now["lines"], &now["expires_at"]), (&held["lines"], &held["expires_at"]));
            }
            (Some(end), true) => assert_eq!(now["state"], end.state(), "{now}"),
            (Some(end), false) => assert!(now["state"] == "held" || now["state"] == end.state(), "{now}"),
        }
        whole(&now);
    }
}

/// All lines of a basket have had the same fate.
fn whole(basket: &Value) {
    let lines = basket["lines"].as_array().expect("lines");
    for line in lines {
        let units = |name: &str| line[name].as_i64().expect("units");
        let expected = match basket["state"].as_str() {
            Some("held") => (units("quantity"), 0),
            Some("confirmed") => (0, units("quantity")),
            _ => (0, 0),
        };
        assert_eq!((units("held"), units("taken")), expected, "whole_basket: {basket}");
    }
}

/// Sends again what got no answer, as every client must: afterwards it is known what became of it.
pub fn settle_what_was_not_answered(node: &Http, deeds: &mut Deeds) {
    let (mut landed, mut lost) = (0, 0);
    for deed in deeds.events.values_mut().filter(|deed| deed.answer.is_none()) {
        let verdict = node.post("/v1/events", &deed.event).expect_status(200).json();
        match verdict["verdict"].as_str() {
            Some("duplicate") => landed += 1,
            Some("applied") => lost += 1,
            _ => panic!("{verdict}"),
        }
        assert_eq!(
            node.post("/v1/events", &deed.event).expect_status(200).json()["verdict"],
            "duplicate"
        );
        deed.answer = Some(verdict);
    }
    let mut refused = Vec::new();
    for (id, basket) in &mut deeds.baskets {
        let path = format!("/v1/warehouses/main/reservations/{id}");
        if basket.answer.is_none() {
            let answer = node.put(&path, &basket.body);
            match answer.status {
                200 | 201 => basket.answer = Some(answer.json()),
                409 => refused.push(id.clone()),
                _ => panic!("{id}: {}", answer.text()),
            }
            (landed, lost) = (
                landed + usize::from(answer.status == 200),
                lost + usize::from(answer.status == 201),
            );
        }
        if let (Some(end), false) = (&basket.end, basket.end_answered) {
            let ended = node
                .post(&format!("{path}/{}", end.verb()), &json!({}))
                .expect_status(200)
                .json();
            assert_eq!(ended["state"], end.state());
            basket.end_answered = true;
        }
    }
    refused.iter().for_each(|id| drop(deeds.baskets.remove(id)));
    println!("not answered: {landed} had landed, {lost} had not");
}

/// Every account is the sum of what was done: nothing lost, nothing twice.
pub fn stock_is_what_was_done(node: &Http, deeds: &Deeds) {
    for sku in SKUS {
        let mut expected = BTreeMap::from([("supply", 0), ("demand", 0), ("waste", 0)]);
        for Deed { event, .. } in deeds.events.values().filter(|deed| deed.event["data"]["sku"] == sku) {
            let quantity = event["data"]["quantity"].as_i64().expect("a quantity");
            match event["type"].as_str() {
                Some("inventory.receipt") => *expected.entry("supply").or_default() -= quantity,
                Some("inventory.sale") => *expected.entry("demand").or_default() += quantity,
                Some("inventory.write_off") => *expected.entry("waste").or_default() += quantity,
                other => panic!("no rule for {other:?}"),
            }
        }
        let mut claimed = 0;
        for basket in deeds.baskets.values() {
            let quantity = basket.quantity_of(sku);
            match basket.end {
                None => claimed += quantity,
                Some(End::Confirm) => *expected.entry("demand").or_default() += quantity,
                Some(End::Cancel) => {}
            }
        }
        let now = node.get(&format!("/v1/warehouses/main/skus/{sku}")).expect_status(200).json();
        check_invariants(&now);
        for (account, units) in &expected {
            assert_eq!(now["accounts"][account], *units, "{account} of {now}");
        }
        let sellable = -expected.values().sum::<i64>();
        assert_eq!(now["accounts"]["sellable"], sellable, "{now}");
        assert_eq!(now["claimed"], claimed, "{now}");
        assert_eq!(now["available"]["default"], sellable - claimed, "no_oversell: {now}");
    }
}

/// The ledger has one applied fact for each event, and its versions go down one by one.
pub fn ledgers_name_every_event_once(node: &Http, deeds: &Deeds) {
    for sku in SKUS {
        let facts = node.list(&format!("/v1/warehouses/main/skus/{sku}/ledger?limit=1000"));
        for pair in facts.windows(2) {
            assert_eq!(
                pair[0]["version"].as_u64(),
                pair[1]["version"].as_u64().map(|v| v + 1),
                "{pair:?}"
            );
        }
        let mut named = BTreeMap::<&str, usize>::new();
        for fact in facts.iter().filter(|fact| fact["source"] == crate::harness::events::SOURCE) {
            *named.entry(fact["id"].as_str().expect("an id")).or_default() += 1;
        }
        let done = deeds.events.iter().filter(|(_, deed)| deed.event["data"]["sku"] == sku);
        let expected = done.map(|(id, _)| (id.as_str(), 1)).collect::<BTreeMap<_, _>>();
        assert_eq!(named, expected, "{sku}");
    }
}
