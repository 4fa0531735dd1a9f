//! What was in somebody's hands when an actor died or an operation panicked: nothing of it twice, nothing of it lost.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn poisoned(mut event: Event) -> Event {
    event.origin.document = Some("poison".into());
    event
}

static TOLD: AtomicBool = AtomicBool::new(false);

fn is_told_late(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if matches!(event.what, What::Underway { .. }) {
        wait_for(&TOLD);
    }
    dies_of_poison(stock, event, voided, ctx)
}

/// The goods' departure is durable, and its answer waits for the other warehouse, when the SKU dies of a later event.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn goods_leave_once_though_their_sku_dies_before_the_answer() {
    let house = house_on(&Arc::default(), is_told_late).await;
    let node = &house.node;
    declare(node, "back").await;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 1)], 900).await, Ok(State::Held));
    let out = What::TransferOut {
        quantity: 4,
        transfer: Id::trusted("t-1"),
        to_warehouse: Id::trusted("back"),
    };
    let sent = tokio::spawn({
        let (node, out) = (node.clone(), event("t", "A", out));
        async move { words(&node, vec![out]).await }
    });
    until("the departure", || sellable(node, "A") == 6).await;
    assert_eq!(words(node, vec![poison("p", "A")]).await, ["dead_letter"]);
    assert_eq!(words(node, vec![sale("s", "A", 1)]).await, ["applied"]);
    TOLD.store(true, Ordering::SeqCst);
    assert_eq!(sent.await.unwrap(), ["applied"]);
    assert_eq!(sellable(node, "A"), 5);
    assert_eq!(stock_of(node, "back", "A").accounts()[2], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_that_is_a_dead_letter_has_taken_nothing_back() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, dies_of_poison).await;
    let node = &house.node;
    let void = |id: &str, of: &str| event(id, "A", What::Void { event: Id::trusted(of) });
    let batch = vec![receipt("r", "A", 10), sale("s", "A", 4), sale("s2", "A", 1)];
    assert_eq!(words(node, batch).await, ["applied", "applied", "applied"]);
    let batch = vec![poisoned(void("v", "s")), poisoned(void("v2", "s2"))];
    assert_eq!(words(node, batch).await, ["dead_letter", "dead_letter"]);
    assert_eq!(sellable(node, "A"), 5);
    assert_eq!(words(node, vec![void("v3", "s")]).await, ["applied"]);
    assert_eq!(sellable(node, "A"), 9);
    house.close().await;
    // The other one is replayed when its cause is gone, and takes back what its own source had said.
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    let letters = node.view().dead_letters(None, None, 10);
    assert!(applied(&node.replay(letters[0].0).await.unwrap()), "the newest: v2");
    assert_eq!(sellable(node, "A"), 10);
    let Verdict::Judged { outcome, .. } = node.replay(letters[1].0).await.unwrap() else {
        panic!("it is judged");
    };
    assert!(
        matches!(&outcome, Outcome::Refused(refusal) if refusal.code.as_str() == "already_voided"),
        "{outcome:?}"
    );
    assert_eq!(sellable(node, "A"), 10);
}

/// A sale that names a reservation is decided as an operation; when that panics, its SKU keeps the actor that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_panics_leaves_no_actor_behind() {
    let house = house_on(&Arc::default(), dies_of_poison).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 1)], 900).await, Ok(State::Held));
    woken(node, 1).await;
    let named = What::Sale {
        quantity: 1,
        reservation: Some(Id::trusted("nobody")),
    };
    assert_eq!(words(node, vec![poisoned(event("p", "A", named))]).await, ["dead_letter"]);
    assert_eq!(words(node, vec![sale("s", "A", 1)]).await, ["applied"]);
    assert_eq!(sellable(node, "A"), 9);
    assert_eq!(awake(node), 1);
}

/// A copy on loan is lost with the event that panics on it; the event is tried again by the actor, where it hurts nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_panics_on_a_lent_copy_is_tried_again_by_its_actor() {
    let house = lending_house(dies_of_poison).await;
    let node = &house.node;
    let deaths = || node.status()["actors"]["children"][1]["skus"]["deaths"].as_u64().unwrap();
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(words(node, vec![sale("s", "A", 1)]).await, ["applied"]);
    woken(node, 1).await;
    assert_eq!(words(node, vec![sale("s2", "A", 1)]).await, ["applied"]);
    assert_eq!(words(node, vec![poison("p", "A")]).await, ["dead_letter"]);
    assert_eq!(deaths(), 1, "the first panic was the warehouse's, and it caught it");
    assert_eq!(
        words(node, vec![sale("s3", "A", 1), poison("p", "A")]).await,
        ["applied", "duplicate"]
    );
    assert_eq!((sellable(node, "A"), awake(node)), (7, 1));
}

static LET_GO: AtomicBool = AtomicBool::new(false);

fn is_slow(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if event.origin.document.as_deref() == Some("slow") {
        wait_for(&LET_GO);
    }
    stock::decide(stock, event, voided, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_that_waited_for_a_refused_basket_has_its_own_answer() {
    let house = house_on(&Arc::default(), is_slow).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 1)], 900).await, Ok(State::Held));
    let slow = tokio::spawn({
        let node = node.clone();
        let mut slow = sale("slow", "A", 1);
        slow.origin.document = Some("slow".into());
        async move { words(&node, vec![slow]).await }
    });
    let cancels = (0..200).map(|number| basket(node, "o-2", BasketCommand::Cancel(number)));
    let cancels = futures_util::future::join_all(cancels);
    let free = async { LET_GO.store(true, Ordering::SeqCst) };
    let (held, cancelled, ()) = tokio::join!(hold(node, "o-2", &[("A", 50)], 900), cancels, free);
    assert_eq!(held.unwrap_err().code.as_str(), "insufficient_stock");
    for answer in cancelled {
        assert_eq!(answer.unwrap_err().code.as_str(), "unknown_reservation");
    }
    assert_eq!(slow.await.unwrap(), ["applied"]);
}

static OUTLIVES: AtomicBool = AtomicBool::new(false);

fn outlives_its_warehouse(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if event.origin.document.as_deref() == Some("slow") {
        wait_for(&OUTLIVES);
    }
    dies_of_poison(stock, event, voided, ctx)
}

/// A SKU decides on when its warehouse is dead already: what it still sends must be in the view before a successor reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuilt_warehouse_knows_what_its_skus_had_still_sent() {
    let house = house_on(&Arc::default(), outlives_its_warehouse).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 1)], 900).await, Ok(State::Held));
    let mut slow = sale("slow", "A", 8);
    slow.origin.document = Some("slow".into());
    let slow = tokio::spawn({
        let node = node.clone();
        async move { words(&node, vec![slow]).await }
    });
    // More deaths than a warehouse bears.
    let storm = (0..1_100).map(|number| poison(&format!("p{number}"), &format!("P{number}")));
    node.events(storm.collect()).await;
    let deaths = || node.status()["actors"]["children"][1]["deaths"].as_u64().unwrap();
    until("the warehouse's death", || deaths() == 1).await;
    let early = async {
        while hold(node, "o-2", &[("A", 5)], 900).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let early = tokio::time::timeout(Duration::from_millis(300), early).await;
    OUTLIVES.store(true, Ordering::SeqCst);
    assert!(early.is_err(), "1 is left to promise, and 5 were promised");
    assert_eq!(slow.await.unwrap(), ["applied"]);
    let mut verdict = words(node, vec![sale("s", "A", 1)]).await;
    while verdict != ["applied"] {
        assert_eq!(verdict, ["overloaded"]);
        verdict = words(node, vec![sale("s", "A", 1)]).await;
    }
    assert_eq!((sellable(node, "A"), stock_of(node, "main", "A").claimed()), (1, 1));
    // The dead warehouse's actors are not counted.
    until("all SKUs' sleep", || awake(node) == 0).await;
}
