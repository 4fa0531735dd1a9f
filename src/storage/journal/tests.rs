//! What the journal promises when the disk fails: no false acceptance, nothing decided on top of a loss, and a way back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{TryRecvError, channel};

use proptest::prelude::*;

use crate::storage::append::CommitFailure;
use crate::storage::journal::Health;
use crate::storage::remembered::{self, Lookup};
use crate::storage::store::Store;
use crate::storage::testing::{Disk, append, append_in, copy, origin, receipt, store_on};

fn sellable(store: &Store, sku: &str) -> i64 {
    let index = store.view().keys().find("w", sku);
    let stock = index.and_then(|index| store.view().stock(index));
    stock.map_or(0, |stock| stock.accounts()[0])
}

fn wait_until_healthy(store: &Store) {
    // The journal probes by itself; a barrier returns as soon as its thread is at it again.
    while store.journal().health() != Health::Ok {
        let (tell, told) = channel();
        store.journal().barrier(Box::new(move || tell.send(()).unwrap()));
        told.recv().unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn what_was_answered_is_there_after_a_reopening() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    assert_eq!(append(&store, &[receipt("a", 1, 5, 1), receipt("b", 1, 7, 2)]), Ok(1));
    assert_eq!(append(&store, &[receipt("a", 2, 3, 3)]), Ok(3));
    assert_eq!((sellable(&store, "a"), sellable(&store, "b")), (8, 7));
    drop(store);
    let store = store_on(&disk);
    assert_eq!((sellable(&store, "a"), sellable(&store, "b")), (8, 7));
    assert_eq!(store.view().durable_seq(), 3);
    let hash = remembered::hash("w", "wms/7", "e-2");
    assert_eq!(store.lookup(hash), Ok(Lookup::At(2)));
    assert_eq!(store.fact(2).unwrap().unwrap().origin, origin(2));
    assert_eq!(store.lookup(remembered::hash("w", "wms/7", "e-4")), Ok(Lookup::New));
    let seqs: Vec<u64> = store.facts(1, 10).unwrap().iter().map(|fact| fact.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn a_full_disk_accepts_nothing_rolls_back_and_recovers_by_itself() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    assert_eq!(append(&store, &[receipt("a", 1, 5, 1)]), Ok(1));
    let (tell, epochs) = channel();
    store.journal().on_epoch(Box::new(move |epoch| tell.send(epoch).unwrap()));
    let old = store.journal().epoch();

    disk.full.store(true, Ordering::SeqCst);
    let told = append_in(&store, old, &[receipt("a", 2, 5, 2)]);
    assert_eq!(told.recv().unwrap(), Err(CommitFailure::StorageFull));
    assert_eq!(epochs.try_recv(), Ok(old + 1), "observers hear of it before the answer");
    assert!(matches!(store.journal().health(), Health::Failing { .. }));
    assert_eq!(append(&store, &[receipt("a", 2, 5, 3)]), Err(CommitFailure::StorageFull));
    assert_eq!(sellable(&store, "a"), 5, "reads go on, and show what is durable");

    disk.full.store(false, Ordering::SeqCst);
    wait_until_healthy(&store);
    let told = append_in(&store, old, &[receipt("a", 2, 5, 4)]);
    assert_eq!(told.recv().unwrap(), Err(CommitFailure::Stale));
    assert_eq!(append(&store, &[receipt("a", 2, 2, 5)]), Ok(2));
    drop(store);
    assert_eq!(sellable(&store_on(&disk), "a"), 7);
}

#[test]
fn a_failed_sync_is_never_answered_as_durable_and_what_landed_is_shown() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    assert_eq!(append(&store, &[receipt("a", 1, 5, 1)]), Ok(1));
    disk.deaf.store(true, Ordering::SeqCst);
    assert!(matches!(
        append(&store, &[receipt("a", 2, 5, 2)]),
        Err(CommitFailure::Disk(_))
    ));
    disk.deaf.store(false, Ordering::SeqCst);
    wait_until_healthy(&store);
    let last = store.view().durable_seq();
    let expected = if last == 2 { 10 } else { 5 };
    assert_eq!(sellable(&store, "a"), expected, "the view is the fold of the journal");
    let version = last + 1;
    assert_eq!(append(&store, &[receipt("a", version, 1, 3)]), Ok(last + 1));
    drop(store);
    assert_eq!(sellable(&store_on(&disk), "a"), expected + 1);
}

/// Whether it landed after all is redb's to say; what is answered, shown and read back must agree, whichever it is.
#[test]
fn one_failed_sync_is_answered_as_what_became_of_it() {
    for hiccups in 1..5 {
        let disk = Arc::new(Disk::default());
        let store = store_on(&disk);
        assert_eq!(append(&store, &[receipt("a", 1, 5, 1)]), Ok(1));
        disk.hiccups.store(hiccups, Ordering::SeqCst);
        let answer = append(&store, &[receipt("a", 2, 5, 2)]);
        disk.hiccups.store(0, Ordering::SeqCst);
        if answer.is_ok() {
            assert_eq!(sellable(&store, "a"), 10);
        }
        wait_until_healthy(&store);
        let last = store.view().durable_seq();
        assert!(answer.is_err() || last == 2, "answered as durable, and lost");
        assert_eq!(append(&store, &[receipt("a", last + 1, 1, 3)]), Ok(last + 1));
        drop(store);
        let expected = if last == 2 { 11 } else { 6 };
        assert_eq!(sellable(&store_on(&disk), "a"), expected);
    }
}

#[test]
fn a_disk_that_is_gone_and_comes_back_needs_no_restart() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    assert_eq!(append(&store, &[receipt("a", 1, 5, 1)]), Ok(1));
    disk.gone.store(true, Ordering::SeqCst);
    assert!(append(&store, &[receipt("a", 2, 5, 2)]).is_err());
    assert_eq!(sellable(&store, "a"), 5);
    disk.gone.store(false, Ordering::SeqCst);
    wait_until_healthy(&store);
    let next = store.view().durable_seq() + 1;
    assert_eq!(append(&store, &[receipt("a", next, 1, 3)]), Ok(next));
}

#[test]
fn a_barrier_runs_after_what_was_handed_over_before() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let (tell, told) = channel();
    let first = append_in(&store, 1, &[receipt("a", 1, 5, 1)]);
    store.journal().barrier(Box::new(move || tell.send(()).unwrap()));
    told.recv().unwrap();
    assert_eq!(first.try_recv(), Ok(Ok(1)));
    assert_eq!(store.view().durable_seq(), 1);
}

#[test]
fn a_batch_larger_than_a_row_is_one_transaction_and_reads_back() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let mut large = receipt("a", 1, 1, 1);
    large.fact.payload = Some("x".repeat(40_000).into());
    let mut facts = vec![large];
    facts.extend((2..500).map(|number| receipt("a", number, 1, number)));
    assert_eq!(append(&store, &facts), Ok(1));
    assert_eq!(store.journal().progress().commits.load(Ordering::SeqCst), 1);
    for number in [1, 2, 63, 64, 499] {
        assert_eq!(store.fact(number).unwrap().unwrap().origin, origin(number));
    }
    assert_eq!(store.fact(500), Ok(None));
    assert_eq!(sellable(&store, "a"), 499);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// While a commit hangs at the disk, every read answers at once and shows what was durable before it; after the reply it shows
    /// that write.
    #[test]
    fn committed_reads(receipts in prop::collection::vec((0..3usize, 1..9i64), 1..6)) {
        const SKUS: [&str; 3] = ["a", "b", "c"];
        let disk = Arc::new(Disk::default());
        let store = store_on(&disk);
        let mut shown = [0i64; 3];
        for (seq, (sku, units)) in (1u64..).zip(receipts) {
            let at_the_disk = disk.stall.lock();
            let told = append_in(&store, store.journal().epoch(), &[receipt(SKUS[sku], seq, units, seq)]);
            let hash = remembered::hash("w", "wms/7", &format!("e-{seq}"));
            for _ in 0..3 {
                prop_assert_eq!(SKUS.map(|sku| sellable(&store, sku)), shown);
                prop_assert_eq!((store.view().durable_seq(), store.lookup(hash)), (seq - 1, Ok(Lookup::New)));
                prop_assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "nothing is answered before it is durable");
                std::thread::yield_now();
            }
            drop(at_the_disk);
            prop_assert_eq!(told.recv(), Ok(Ok(seq)));
            shown[sku] += units;
            prop_assert_eq!(SKUS.map(|sku| sellable(&store, sku)), shown);
            prop_assert_eq!(store.lookup(hash), Ok(Lookup::At(seq)));
        }
    }

    /// Whatever the disk refuses in between: what has been answered is there for whoever opens what lies on the disk at that
    /// moment, and so is all that is shown.
    #[test]
    fn durable_reply(receipts in prop::collection::vec((1..9i64, 0..4u32), 1..8)) {
        let disk = Arc::new(Disk::default());
        let store = store_on(&disk);
        let (mut durable, mut last) = (0, 0);
        for (number, (units, luck)) in (1u64..).zip(receipts) {
            // One time in four the next sync fails after the bytes were written.
            disk.hiccups.store(u32::from(luck == 0), Ordering::SeqCst);
            let answer = append(&store, &[receipt("a", last + 1, units, number)]);
            disk.hiccups.store(0, Ordering::SeqCst);
            wait_until_healthy(&store);
            // What was refused may turn out to have landed; what was answered has.
            let landed = store.view().durable_seq() > last;
            prop_assert!(landed || answer.is_err(), "answered, and lost");
            if landed {
                last += 1;
                durable += units;
            }
            prop_assert_eq!(sellable(&store, "a"), durable);
            prop_assert_eq!(sellable(&store_on(&copy(&disk)), "a"), durable);
        }
    }
}
