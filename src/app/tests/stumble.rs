//! Commands about reservations that their decider dies of, and expiries: dead letters in the end, and nobody else pays.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::actors::shared::Judge;
use crate::actors::warehouse::judge;
use crate::domain::reservation::{BasketDecision, Reservation, Stocks};

async fn house_judging(disk: &Arc<Disk>, judge: Judge) -> House {
    House::start_judging(&config(), store_on(disk), stock::decide, judge)
        .await
        .expect("the tree starts")
}

/// Dies of every command about a basket whose id begins with `poison`.
fn dies_of_poison(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    let poison = matches!(command, BasketCommand::Hold(request) if request.id.as_str().starts_with("poison"));
    assert!(!poison, "planted");
    judge(existing, command, site, stocks, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_kills_twice_is_a_dead_letter_and_its_skus_go_on() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_judging(&disk, dies_of_poison).await;
    let node = &house.node;
    assert_eq!(
        words(node, vec![receipt("r", "A", 10), receipt("r2", "B", 10)]).await,
        ["applied"; 2]
    );
    busy(node, receipt("r2", "B", 10)).await;
    assert_eq!(hold(node, "o-1", &[("B", 1)], 900).await, Ok(State::Held));
    let (poisoned, sold, other) = tokio::join!(
        hold(node, "poison", &[("A", 2), ("B", 2)], 900),
        words(node, vec![sale("s", "A", 3), sale("s2", "B", 3)]),
        hold(node, "o-2", &[("A", 1), ("B", 1)], 900),
    );
    let letters = node.view().dead_letters(None, None, 10);
    assert_eq!(letters.len(), 1);
    let letter = letters[0].0;
    assert_eq!(poisoned.unwrap_err().detail, format!("{letter}: planted"));
    assert_eq!((sold, other), (vec!["applied", "applied"], Ok(State::Held)));
    assert_eq!((sellable(node, "A"), sellable(node, "B")), (7, 7));
    assert!(node.store().reservation("main", "poison").unwrap().is_none());
    // The same again is known, and kills nobody; also after a restart.
    let again = hold(node, "poison", &[("A", 2), ("B", 2)], 900).await.unwrap_err();
    assert_eq!(again.detail, format!("{letter}: planted"));
    let fact = node.store().fact(letter).unwrap().unwrap();
    assert_eq!((&*fact.what, fact.outcome.word()), ("hold", "dead_letter"));
    // Replayed while its cause is there it stays the same letter.
    assert_eq!(word(&node.replay(letter).await.unwrap()), "dead_letter");
    assert_eq!(node.view().dead_letters(None, None, 10).len(), 1);
    house.close().await;
    let house = house_judging(&disk, judge).await;
    let node = &house.node;
    assert!(hold(node, "poison", &[("A", 2), ("B", 2)], 900).await.is_err());
    assert!(applied(&node.replay(letter).await.unwrap()));
    assert_eq!(node.store().reservation("main", "poison").unwrap().unwrap().lines.len(), 2);
    assert_eq!(&*node.view().dead_letter(letter).unwrap().state, "replayed");
    // Settled, it is in nobody's way.
    assert_eq!(hold(node, "poison", &[("A", 2), ("B", 2)], 900).await, Ok(State::Held));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_command_that_was_discarded_is_judged_anew() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_judging(&disk, dies_of_poison).await;
    assert_eq!(words(&house.node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    let dead = hold(&house.node, "poison", &[("A", 2)], 900).await.unwrap_err();
    assert_eq!(dead.code, Code::InternalError);
    house.close().await;
    let house = house_judging(&disk, judge).await;
    let node = &house.node;
    let letter = node.view().dead_letters(None, None, 10)[0].0;
    let reason = Some("not needed".to_owned());
    let action = "discarded";
    node.set(Setting::DeadLetter { letter, action, reason }, None, None)
        .await
        .unwrap();
    assert_eq!(hold(node, "poison", &[("A", 2)], 900).await, Ok(State::Held));
}

static LEFT: AtomicU32 = AtomicU32::new(1);

fn dies_once(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    let left = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    assert!(left.is_err(), "planted, once");
    judge(existing, command, site, stocks, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_kills_once_is_carried_out_on_the_second_try() {
    let house = house_judging(&Arc::default(), dies_once).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    assert_eq!(hold(node, "o-1", &[("A", 4)], 900).await, Ok(State::Held));
    assert_eq!(stock_of(node, "main", "A").claimed(), 4);
    assert!(node.view().dead_letters(None, None, 10).is_empty());
}

static EXPIRIES: AtomicU32 = AtomicU32::new(0);

fn cannot_expire(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    if matches!(command, BasketCommand::Expire) {
        EXPIRIES.fetch_add(1, Ordering::SeqCst);
        panic!("planted in the expiry");
    }
    judge(existing, command, site, stocks, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_that_kills_is_tried_again_and_then_a_dead_letter() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_judging(&disk, cannot_expire).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    assert_eq!(hold(node, "o-1", &[("A", 9)], 1).await, Ok(State::Held));
    until("the dead letter", || !node.view().dead_letters(None, None, 10).is_empty()).await;
    assert_eq!(EXPIRIES.load(Ordering::SeqCst), 5);
    // It is over by the clock whatever the node could write down: its goods are free, and it cannot be confirmed.
    assert_eq!(hold(node, "o-2", &[("A", 9)], 900).await, Ok(State::Held));
    let late = basket(node, "o-1", BasketCommand::Cancel(1)).await.unwrap_err();
    assert_eq!(late.code, Code::AlreadyExpired);
    house.close().await;
    let house = house_judging(&disk, judge).await;
    let node = &house.node;
    // A node that is mended expires it by itself.
    until("the expiry", || {
        node.store()
            .reservation("main", "o-1")
            .unwrap()
            .is_some_and(|basket| basket.state == State::Expired)
    })
    .await;
    assert_eq!(stock_of(node, "main", "A").claimed(), 9);
    // Its letter speaks of what has been done since, and can be put away by being replayed.
    let letter = node.view().dead_letters(None, None, 10)[0].0;
    assert_eq!(word(&node.replay(letter).await.unwrap()), "recorded");
    assert_eq!(&*node.view().dead_letter(letter).unwrap().state, "replayed");
}

static ONCE: AtomicU32 = AtomicU32::new(1);

fn expires_late(
    existing: Option<&Reservation>,
    command: &BasketCommand,
    site: &Warehouse,
    stocks: &Stocks<'_>,
    ctx: &Context<'_>,
) -> Result<BasketDecision, Refusal> {
    if matches!(command, BasketCommand::Expire) {
        let left = ONCE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "planted in the expiry, once");
    }
    judge(existing, command, site, stocks, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_not_lost_with_the_expiry_that_died() {
    let house = house_judging(&Arc::default(), expires_late).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    assert_eq!(hold(node, "o-1", &[("A", 9)], 1).await, Ok(State::Held));
    until("the expiry", || {
        node.store()
            .reservation("main", "o-1")
            .unwrap()
            .is_some_and(|basket| basket.state == State::Expired)
    })
    .await;
    assert_eq!(ONCE.load(Ordering::SeqCst), 0, "it had died before");
    assert!(node.view().dead_letters(None, None, 10).is_empty());
}
