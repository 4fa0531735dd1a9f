//! The whole tree on a disk in memory that fails on command, with a decider that dies on command.

mod audit;
mod expiry;
mod failure;
mod order;
mod rebuild;
mod stumble;
mod transfer;
mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::House;
use crate::actors::node::{BasketCommand, CommandError, Node, Setting, Verdict};
use crate::actors::shared::Decide;
use crate::config::{Config, Layers};
use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{Outcome, Subject};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{HoldRequest, LineRequest, State};
use crate::domain::stock::{self, Context, Decision, Stock, Voided};
use crate::domain::units::Id;
use crate::domain::warehouse::Warehouse;
use crate::storage::testing::{Disk, store_on};

/// An awake SKU's actor judges all that comes for it.
fn config() -> Config {
    config_with(1)
}

fn config_with(hand_over_rows: u32) -> Config {
    Layers::defaults()
        .flag("test", "actors.idle_sleep_s", Some("1".to_owned()))
        .flag("test", "actors.hand_over_rows", Some(hand_over_rows.to_string()))
        .load()
        .expect("the embedded defaults are valid")
}

async fn house_on(disk: &Arc<Disk>, decide: Decide) -> House {
    house_with(&config(), disk, decide).await
}

/// As by default: an actor with nothing to do lends its copy for a few rows.
async fn lending_house(decide: Decide) -> House {
    house_with(&config_with(8), &Arc::default(), decide).await
}

async fn house_with(config: &Config, disk: &Arc<Disk>, decide: Decide) -> House {
    House::start(config, store_on(disk), decide).await.expect("the tree starts")
}

async fn house() -> House {
    house_on(&Arc::default(), stock::decide).await
}

/// Dies of every event whose document is `poison`.
fn dies_of_poison(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    assert_ne!(event.origin.document.as_deref(), Some("poison"), "planted");
    stock::decide(stock, event, voided, ctx)
}

fn event(id: &str, sku: &str, what: What) -> Event {
    let origin = Origin {
        source: Id::trusted("wms/7"),
        id: Id::trusted(id),
        actor: None,
        reason: Some("test".into()),
        document: None,
        trace: None,
        extensions: None,
        fingerprint: xxhash_rust::xxh3::xxh3_64(format!("{sku}{what:?}").as_bytes()),
    };
    Event {
        origin,
        warehouse: Id::trusted("main"),
        sku: Id::trusted(sku),
        time: None,
        unit: None,
        lot: None,
        stream: None,
        expected_version: None,
        what,
    }
}

fn receipt(id: &str, sku: &str, quantity: i64) -> Event {
    event(id, sku, What::Receipt { quantity })
}

fn sale(id: &str, sku: &str, quantity: i64) -> Event {
    event(
        id,
        sku,
        What::Sale {
            quantity,
            reservation: None,
        },
    )
}

fn poison(id: &str, sku: &str) -> Event {
    let mut event = sale(id, sku, 1);
    event.origin.document = Some("poison".into());
    event
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Judged { duplicate: true, .. } => "duplicate",
        Verdict::Judged { outcome, .. } => outcome.word(),
        Verdict::NotJudged(refusal) => refusal.code.as_str(),
    }
}

async fn words(node: &Node, events: Vec<Event>) -> Vec<&'static str> {
    node.events(events).await.iter().map(word).collect()
}

fn stock_of(node: &Node, warehouse: &str, sku: &str) -> Stock {
    let index = node.view().keys().find(warehouse, sku).expect("the SKU is known");
    node.view().stock(index).expect("the SKU has a state")
}

fn sellable(node: &Node, sku: &str) -> i64 {
    stock_of(node, "main", sku).accounts()[0]
}

async fn hold(node: &Node, id: &str, lines: &[(&str, i64)], ttl_s: u32) -> Result<State, Refusal> {
    let line = |(sku, quantity): &(&str, i64)| LineRequest {
        sku: Id::trusted(sku),
        quantity: *quantity,
        min_shelf_life_days: None,
    };
    let request = HoldRequest {
        id: Id::trusted(id),
        channel: Id::trusted("default"),
        lines: lines.iter().map(line).collect(),
        ttl_s: Some(ttl_s),
        allow_partial: false,
        expected_version: None,
        fingerprint: 1,
    };
    basket(node, id, BasketCommand::Hold(request)).await
}

async fn basket(node: &Node, id: &str, command: BasketCommand) -> Result<State, Refusal> {
    let answer = node.basket(&Id::trusted("main"), &Id::trusted(id), command, None).await;
    answer.map(|answer| answer.reservation.state).map_err(|error| match error {
        CommandError::Refused(refusal) => refusal,
        CommandError::Dead { letter, error } => Refusal::new(Code::InternalError, format!("{letter}: {error}")),
    })
}

/// Blocks a decider until the test lets it go. The runtime hears of it, or the actors that wait on the decider's worker would wait
/// with it: those that have yielded there are nobody else's to take over.
fn wait_for(gate: &AtomicBool) {
    tokio::task::block_in_place(|| {
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Waits for something that the node does by itself; panics when it does not come.
async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

fn awake(node: &Node) -> u64 {
    node.status()["actors"]["children"][1]["skus"]["awake"].as_u64().unwrap()
}

/// Makes a SKU a busy one: the same event again and again, each time a duplicate. What is done with it next gives it an actor.
async fn busy(node: &Node, event: Event) {
    for _ in 0..config().actors.wake_rate_per_s {
        assert_eq!(words(node, vec![event.clone()]).await, ["duplicate"]);
    }
}

/// Waits until so many SKUs are awake: an answer comes from the journal, and does not wait for them.
async fn woken(node: &Node, skus: u64) {
    until("the SKUs' waking", || awake(node) == skus).await;
}

async fn declare(node: &Node, id: &str) {
    let mut site = Warehouse::clone(&node.view().warehouses()[&Id::trusted("main")]);
    site.id = Id::trusted(id);
    node.set(Setting::Warehouse(site), None, None)
        .await
        .expect("a warehouse can be declared");
}

fn applied(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Judged {
            outcome: Outcome::Applied { .. },
            duplicate: false,
            ..
        }
    )
}
