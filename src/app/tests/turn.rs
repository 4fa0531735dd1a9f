//! What changes what may be promised becomes a fact of each SKU, with the figure of each channel, whatever happens meanwhile.

use std::sync::atomic::Ordering;

use super::*;
use crate::actors::node::Readiness;
use crate::domain::available::{available, buffer_of};
use crate::domain::fact::{Fact, Subject};
use crate::domain::units::Day;
use crate::domain::warehouse::{Calendar, Channel};
use crate::storage::append::SkuIndex;

/// The newest fact that changed a SKU; `None`: it is being made durable at this moment.
fn newest(node: &Node, sku: SkuIndex) -> Option<Fact> {
    let seq = node.view().read(sku, |_, seq| seq);
    node.store().fact(seq).unwrap()
}

/// What is wrong with what the newest facts of all SKUs say of their channels; `None`: nothing.
fn wrong(node: &Node) -> Option<String> {
    let site = node.view().warehouse("main").unwrap();
    let now = node.now();
    let today = Calendar::new(&site.time_zone).unwrap().day_of(now);
    node.view()
        .skus_of("main", None, usize::MAX)
        .into_iter()
        .find_map(|(id, index)| {
            let stock = node.view().stock(index).unwrap();
            let figure = |channel| available(&stock, None, buffer_of(&stock, channel, &site), today, now, None);
            let expected: Vec<(&Id, i64)> = site.channels.keys().map(|channel| (channel, figure(channel))).collect();
            let Some(Subject::Sku { after, version, .. }) = newest(node, index).map(|fact| fact.subject) else {
                return Some(format!("{id}: no fact of a SKU"));
            };
            let said = (after.per_channel(), version);
            (said != (Some(expected.clone()), stock.version)).then(|| format!("{id}: {said:?} and not {expected:?}"))
        })
}

async fn all_say_what_is_true(node: &Node) {
    until("every SKU's newest fact saying what is true", || wrong(node).is_none()).await;
}

async fn set_buffers(node: &Node, buffers: &[(&str, i64)]) -> Result<u64, Refusal> {
    let mut site = Warehouse::clone(&node.view().warehouse("main").unwrap());
    let channel = |(name, buffer): &(&str, i64)| {
        let usual = Channel::default();
        (
            Id::trusted(name),
            Channel {
                buffer: *buffer,
                ..usual
            },
        )
    };
    site.channels = buffers.iter().map(channel).collect();
    node.set(Setting::Warehouse(site), None, None).await
}

async fn stock_up(node: &Node, skus: usize) {
    let batch = (0..skus).map(|number| receipt(&format!("r{number}"), &format!("S{number}"), 10));
    assert!(node.events(batch.collect()).await.iter().all(applied));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buffer_and_a_channel_that_change_are_told_by_every_sku() {
    let house = house().await;
    let node = &house.node;
    stock_up(node, 2_500).await;
    assert_eq!(wrong(node), None, "without a buffer every fact says it already");
    // Awake, by a claim with a deadline.
    assert_eq!(hold(node, "o-1", &[("S7", 4)], 900).await, Ok(State::Held));
    set_buffers(node, &[("default", 0), ("web", 3)]).await.unwrap();
    all_say_what_is_true(node).await;
    assert_eq!(
        words(node, vec![sale("s1", "S7", 1), sale("s2", "S8", 8)]).await,
        ["applied", "applied"]
    );
    assert_eq!(wrong(node), None, "and so does each fact after it, of SKUs awake and asleep");
    set_buffers(node, &[("app", 1), ("default", 0)]).await.unwrap();
    all_say_what_is_true(node).await;
    set_buffers(node, &[("default", 0)]).await.unwrap();
    all_say_what_is_true(node).await;
}

/// A SKU whose first fact is on its way when the buffer changes is in no list yet of those who must be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sku_in_flight_when_a_buffer_changes_is_told_too() {
    let house = house().await;
    let node = &house.node;
    for round in 0..30i64 {
        let events = (0..20).map(|at| receipt(&format!("r{round}-{at}"), &format!("S{round}-{}", at % 15), 10));
        let buffers = [("default", round % 4), ("web", 2)];
        let (verdicts, set) = tokio::join!(node.events(events.collect()), set_buffers(node, &buffers));
        assert!(verdicts.iter().all(applied) && set.is_ok());
    }
    all_say_what_is_true(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_a_stop_cuts_short_is_finished_after_the_start() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    stock_up(&house.node, 8_000).await;
    // A turn is quick: it is begun anew until one is seen in its middle, which is where it is to be cut short.
    for buffer in 2.. {
        assert!(buffer < 1_000, "8,000 SKUs are told in no time, each time");
        set_buffers(&house.node, &[("default", buffer), ("web", buffer + 1)])
            .await
            .unwrap();
        if wrong(&house.node).is_some() {
            break;
        }
    }
    house.close().await;
    let house = house_on(&disk, stock::decide).await;
    all_say_what_is_true(&house.node).await;
    let told = || house.node.store().told(&Id::trusted("main")) == Ok(house.node.view().warehouse_seq("main"));
    until("the mark of the finished turn", told).await;
    let facts = house.node.view().durable_seq();
    house.close().await;
    let house = house_on(&disk, stock::decide).await;
    assert_eq!(words(&house.node, vec![receipt("last", "S1", 1)]).await, ["applied"]);
    assert_eq!(house.node.view().durable_seq(), facts + 1, "who was told is not told again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_a_failing_disk_cuts_short_is_finished_when_it_works_again() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    stock_up(node, 4_000).await;
    set_buffers(node, &[("default", 2), ("web", 3)]).await.unwrap();
    disk.full.store(true, Ordering::SeqCst);
    assert!(set_buffers(node, &[("default", 5), ("web", 5)]).await.is_err());
    disk.full.store(false, Ordering::SeqCst);
    until("the recovery", || node.readiness() == Readiness::Ready).await;
    all_say_what_is_true(node).await;
    // What was refused is not what the facts go by.
    while words(node, vec![sale("s", "S3", 1)]).await == ["overloaded"] {}
    assert_eq!(wrong(node), None);
}

/// From the Line Islands to Niue it is yesterday again: a lot that had expired serves once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_moves_west_turns_the_day_back() {
    let house = house().await;
    let node = &house.node;
    let zoned = async |zone: &str| {
        let mut site = Warehouse::clone(&node.view().warehouse("main").unwrap());
        site.time_zone = zone.into();
        node.set(Setting::Warehouse(site), None, None).await.unwrap();
    };
    zoned("Pacific/Kiritimati").await;
    let today = Calendar::new("Pacific/Kiritimati").unwrap().day_of(node.now());
    for (id, day) in [
        ("a", today.plus(-1)),
        ("b", today),
        ("c", today.plus(1)),
        ("d", Day(today.0 - 2)),
    ] {
        let mut event = receipt(id, &id.to_uppercase(), 10);
        event.lot = Some(crate::domain::event::LotRef {
            id: Id::trusted("L"),
            expires_on: Some(day),
        });
        assert_eq!(words(node, vec![event]).await, ["applied"]);
    }
    assert_eq!(wrong(node), None);
    zoned("Pacific/Niue").await;
    all_say_what_is_true(node).await;
    zoned("Pacific/Kiritimati").await;
    all_say_what_is_true(node).await;
}
