//! What relies on an ended claim stands in one record with the end.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::journal::Limits;
use crate::storage::store::{Options, Store};
use crate::storage::testing::{options, row_of};

static ENTERED: AtomicBool = AtomicBool::new(false);
static LET_GO: AtomicBool = AtomicBool::new(false);

fn is_slow(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if event.origin.document.as_deref() == Some("slow") {
        ENTERED.store(true, Ordering::SeqCst);
        wait_for(&LET_GO);
    }
    stock::decide(stock, event, voided, ctx)
}

/// The journal commits each message by itself here, so a row is what a power cut takes or leaves.
fn store_of_single_messages() -> Store {
    let limits = Limits {
        commit_appends: 1,
        ..Limits::default()
    };
    let disk: Arc<Disk> = Arc::default();
    Store::open_with(disk.backends(), Options { limits, ..options() }).unwrap()
}

/// Holds what is promised to another basket until its deadline, which passes while the warehouse is busy: so the hold is the first
/// to find the claim ended. Gives the sequences of the first basket's end and of the second's beginning.
async fn held_on_an_ended_claim(node: &Node, round: u32) -> (u64, u64) {
    let (first, second) = (format!("first-{round}"), format!("second-{round}"));
    let sku = format!("A{round}");
    let lines = [(sku.as_str(), 9)];
    assert_eq!(words(node, vec![receipt(&format!("r{round}"), &sku, 10)]).await, ["applied"]);
    assert_eq!(hold(node, &first, &lines, 1).await, Ok(State::Held));
    ENTERED.store(false, Ordering::SeqCst);
    LET_GO.store(false, Ordering::SeqCst);
    let slow = tokio::spawn({
        let node = node.clone();
        let mut slow = receipt(&format!("slow{round}"), "slow", 1);
        slow.origin.document = Some("slow".into());
        async move { words(&node, vec![slow]).await }
    });
    until("the warehouse to be busy", || ENTERED.load(Ordering::SeqCst)).await;
    let mut held = Box::pin(hold(node, &second, &lines, 900));
    assert!(futures_util::poll!(held.as_mut()).is_pending(), "it waits in the mailbox");
    let mut sold = Box::pin(node.events(vec![sale(&format!("s{round}"), &sku, 1)]));
    assert!(futures_util::poll!(sold.as_mut()).is_pending());
    let deadline = node.store().reservation("main", &first).unwrap().unwrap().expires.unwrap();
    until("the deadline", || node.now() > deadline).await;
    LET_GO.store(true, Ordering::SeqCst);
    assert_eq!(held.await, Ok(State::Held));
    assert!(applied(&sold.await[0]));
    assert_eq!(slow.await.unwrap(), ["applied"]);
    let facts = node.store().facts(1, 10_000).unwrap();
    let of = |what: &str, id: &str| {
        let fact = facts.iter().find(|fact| match &fact.subject {
            Subject::Reservation(basket) => &*fact.what == what && basket.id.as_str() == id,
            _ => false,
        });
        fact.unwrap_or_else(|| panic!("{id} was {what}")).seq
    };
    (of("expired", &first), of("held", &second))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_ended_claim_and_what_relies_on_it_are_one_record() {
    let house = House::start(&config(), store_of_single_messages(), is_slow)
        .await
        .expect("the tree starts");
    for round in 0..5 {
        let (ended, held) = held_on_an_ended_claim(&house.node, round).await;
        assert!(ended < held);
        // Where the warehouse's own clock came first by chance, the end stands earlier in a record of its own: once more.
        if row_of(house.node.store(), ended) == row_of(house.node.store(), held) {
            return;
        }
    }
    panic!("the end is always written by itself, ahead of what relies on it");
}

static HELD_UP: AtomicBool = AtomicBool::new(false);
static GO: AtomicBool = AtomicBool::new(false);

fn is_held_up(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if event.origin.document.as_deref() == Some("slow") {
        HELD_UP.store(true, Ordering::SeqCst);
        wait_for(&GO);
    }
    stock::decide(stock, event, voided, ctx)
}

/// Answers name the sequence of their own fact, also when an end was put before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_answer_behind_an_end_names_its_own_fact() {
    let house = house_on(&Arc::default(), is_held_up).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    assert_eq!(hold(node, "o-1", &[("A", 9)], 1).await, Ok(State::Held));
    let slow = tokio::spawn({
        let node = node.clone();
        let mut slow = receipt("slow", "slow", 1);
        slow.origin.document = Some("slow".into());
        async move { words(&node, vec![slow]).await }
    });
    until("the warehouse to be busy", || HELD_UP.load(Ordering::SeqCst)).await;
    let mut sold = Box::pin(node.events(vec![sale("s", "A", 2), sale("s2", "B", 1)]));
    assert!(futures_util::poll!(sold.as_mut()).is_pending(), "it waits in the mailbox");
    let deadline = node.store().reservation("main", "o-1").unwrap().unwrap().expires.unwrap();
    until("the deadline", || node.now() > deadline).await;
    GO.store(true, Ordering::SeqCst);
    for (verdict, id) in sold.await.iter().zip(["s", "s2"]) {
        let Verdict::Judged { seq, .. } = verdict else {
            panic!("it is judged: {verdict:?}");
        };
        let fact = node.store().fact(*seq).unwrap().unwrap();
        assert_eq!(fact.origin.id.as_str(), id);
    }
    assert_eq!(slow.await.unwrap(), ["applied"]);
}
