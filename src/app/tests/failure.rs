//! Dying deciders, dying disks: who pays, and who notices nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::actors::node::Readiness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_becomes_a_dead_letter_and_its_sku_goes_on() {
    let house = house_on(&Arc::default(), dies_of_poison).await;
    let node = &house.node;
    let batch = vec![
        receipt("r", "A", 10),
        receipt("r2", "B", 5),
        poison("p", "A"),
        sale("s", "A", 4),
        sale("s2", "B", 1),
    ];
    assert_eq!(
        words(node, batch).await,
        ["applied", "applied", "dead_letter", "applied", "applied"]
    );
    assert_eq!((sellable(node, "A"), sellable(node, "B")), (6, 4));
    let letters = node.view().dead_letters(None, None, 10);
    assert_eq!(letters.len(), 1);
    let fact = node.store().fact(letters[0].0).unwrap().unwrap();
    assert!(
        matches!(&fact.outcome, Outcome::DeadLetter { error } if error.contains("planted")),
        "{:?}",
        fact.outcome
    );
    // The same event again is a duplicate of the dead letter, and kills nobody.
    assert_eq!(words(node, vec![poison("p", "A")]).await, ["duplicate"]);
    assert_eq!(words(node, vec![sale("s3", "A", 1)]).await, ["applied"]);
    assert_eq!(
        node.status()["actors"]["children"][1]["skus"]["deaths"],
        1,
        "in place first, then in an actor of its own"
    );
}

static LEFT: AtomicUsize = AtomicUsize::new(1);

fn dies_once(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    if event.origin.document.as_deref() == Some("poison")
        && LEFT
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    {
        panic!("planted, once");
    }
    stock::decide(stock, event, voided, ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_kills_once_is_applied_on_the_second_try() {
    let house = house_on(&Arc::default(), dies_once).await;
    let batch = vec![receipt("r", "A", 10), poison("p", "A"), sale("s", "A", 4)];
    assert_eq!(words(&house.node, batch).await, ["applied", "applied", "applied"]);
    assert_eq!(sellable(&house.node, "A"), 5);
}

/// House rules, "Barrier": book 10; a sale of 8 waits in the journal's mailbox; the SKU dies; a hold of 5 must be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilt_sku_knows_what_its_predecessor_had_sent() {
    let house = house_on(&Arc::default(), dies_of_poison).await;
    let node = &house.node;
    for round in 0..50 {
        let sku = format!("A{round}");
        assert_eq!(words(node, vec![receipt(&format!("r{round}"), &sku, 10)]).await, ["applied"]);
        let batch = vec![sale(&format!("s{round}"), &sku, 8), poison(&format!("p{round}"), &sku)];
        let lines = [(sku.as_str(), 5)];
        let id = format!("o{round}");
        let (verdicts, held) = tokio::join!(words(node, batch), hold(node, &id, &lines, 900));
        assert_eq!(verdicts, ["applied", "dead_letter"]);
        let claimed = stock_of(node, "main", &sku).claimed();
        // Held before the sale arrived, or refused after it; never promised from the stale book.
        match held {
            Ok(_) => assert_eq!(claimed, 5),
            Err(refusal) => assert_eq!((refusal.code.as_str(), claimed), ("insufficient_stock", 0)),
        }
        if hold(node, &format!("q{round}"), &lines, 900).await.is_ok() {
            panic!("2 are left, and 5 were promised");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_accepted_that_a_failing_disk_has_not_kept() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    assert_eq!(hold(node, "o-1", &[("A", 4)], 900).await, Ok(State::Held));
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(words(node, vec![sale("s", "A", 9)]).await, ["storage_full"]);
    // A command that the warehouse held when it heard of the failure is answered 503, a later one 507.
    let refused = hold(node, "o-2", &[("A", 1)], 900).await.unwrap_err();
    assert!(["storage_full", "overloaded"].contains(&refused.code.as_str()), "{refused}");
    assert!(matches!(node.readiness(), Readiness::Degraded(_)));
    // Reads go on, and show what is durable.
    assert_eq!(sellable(node, "A"), 10);
    disk.full.store(false, Ordering::SeqCst);
    until("the recovery", || node.readiness() == Readiness::Ready).await;
    // What had run ahead of the disk is rolled back: the same id is judged anew, against the ten that are there.
    let mut verdict = words(node, vec![sale("s", "A", 9)]).await;
    while verdict != ["applied"] {
        // The warehouse hears of the new epoch by message.
        assert!(["overloaded", "storage_full"].contains(&verdict[0]), "{verdict:?}");
        verdict = words(node, vec![sale("s", "A", 9)]).await;
    }
    assert_eq!(sellable(node, "A"), 1);
    assert_eq!(stock_of(node, "main", "A").owed, 0);
    assert!(node.store().reservation("main", "o-2").unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_rolls_awake_skus_back_too() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    busy(node, receipt("r", "A", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 4)], 900).await, Ok(State::Held));
    woken(node, 1).await;
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(words(node, vec![sale("s", "A", 10)]).await, ["storage_full"]);
    disk.full.store(false, Ordering::SeqCst);
    until("the recovery", || node.readiness() == Readiness::Ready).await;
    let mut held = hold(node, "o-2", &[("A", 6)], 900).await;
    while let Err(refusal) = &held {
        assert!(["overloaded", "storage_full"].contains(&refusal.code.as_str()), "{refusal}");
        held = hold(node, "o-2", &[("A", 6)], 900).await;
    }
    assert_eq!(stock_of(node, "main", "A").claimed(), 10);
    assert_eq!(
        hold(node, "o-3", &[("A", 1)], 900).await.unwrap_err().code.as_str(),
        "insufficient_stock"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_can_be_replayed_once_its_cause_is_gone() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, dies_of_poison).await;
    assert_eq!(
        words(&house.node, vec![receipt("r", "A", 10), poison("p", "A")]).await,
        ["applied", "dead_letter"]
    );
    house.close().await;
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    let letter = node.view().dead_letters(None, None, 10)[0].0;
    assert!(applied(&node.replay(letter).await.unwrap()));
    assert_eq!(sellable(node, "A"), 9);
    assert_eq!(word(&node.replay(letter).await.unwrap()), "duplicate");
    assert_eq!(sellable(node, "A"), 9);
}

static SHUT: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

fn takes_its_time(stock: Option<&Stock>, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Decision {
    while SHUT.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    stock::decide(stock, event, voided, ctx)
}

/// A caller that sends and hangs up must not open the valve for more than the mailboxes can bear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_the_valve_is_held_until_the_work_ends_though_the_caller_has_gone() {
    let house = house_on(&Arc::default(), takes_its_time).await;
    let share = Arc::new(());
    let held = Some(Box::new(share.clone()) as Box<dyn std::any::Any + Send + Sync>);
    let mut call = Box::pin(house.node.judged(vec![receipt("r", "A", 1)].into(), held));
    assert!(futures_util::poll!(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(Arc::strong_count(&share), 2, "the event is still inside");
    SHUT.store(false, Ordering::SeqCst);
    until("the end of the work", || Arc::strong_count(&share) == 1).await;
    assert_eq!(sellable(&house.node, "A"), 1);
}

/// A refusal is answered when it is durable, and not before, like every verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_refused_at_the_door_is_not_answered_as_recorded_by_a_failing_disk() {
    use crate::actors::refused::Rejected;
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    let rotten = Rejected::from(Refusal::new(Code::MalformedRow, "the row is not JSON"));
    let record = || node.record_refused(std::iter::once(&rotten), None, || None);
    let first = record().await.unwrap()[0];
    let kept = node.store().noted("", None, None, 10).unwrap().facts;
    assert_eq!(kept.iter().map(|fact| fact.seq).collect::<Vec<_>>(), [first]);
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(record().await.unwrap_err().code.as_str(), "storage_full");
    assert_eq!(words(node, vec![receipt("r", "A", 1)]).await, ["storage_full"]);
    disk.full.store(false, Ordering::SeqCst);
    until("the recovery", || node.readiness() == Readiness::Ready).await;
    assert_eq!(node.store().noted("", None, None, 10).unwrap().facts.len(), 1);
}
