//! One order per SKU, one effect per id, one record per basket: asleep or awake, alone or in a crowd.

use super::*;
use crate::domain::units::Unit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_event_in_flight_waits_for_its_verdict() {
    let house = house().await;
    let node = &house.node;
    let verdicts = node
        .events(vec![receipt("r", "A", 10), receipt("r", "A", 10), receipt("r", "A", 11)])
        .await;
    assert_eq!(
        verdicts.iter().map(word).collect::<Vec<_>>(),
        ["applied", "duplicate", "refused"]
    );
    let Verdict::Judged { seq: first, .. } = verdicts[0] else {
        panic!()
    };
    assert!(matches!(&verdicts[1], Verdict::Judged { seq, .. } if *seq == first));
    assert!(
        matches!(&verdicts[2], Verdict::Judged { outcome: Outcome::Refused(refusal), .. } if refusal.code.as_str() == "id_reused")
    );
    let crowd = (0..50).map(|_| words(node, vec![sale("s", "A", 3)]));
    let verdicts: Vec<_> = futures_util::future::join_all(crowd).await.concat();
    assert_eq!(verdicts.iter().filter(|word| **word == "applied").count(), 1);
    assert_eq!(sellable(node, "A"), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_remembered_across_a_restart() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    assert_eq!(words(&house.node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    house.close().await;
    let house = house_on(&disk, stock::decide).await;
    assert_eq!(
        words(&house.node, vec![receipt("r", "A", 10), receipt("r2", "A", 1)]).await,
        ["duplicate", "applied"]
    );
    assert_eq!(sellable(&house.node, "A"), 11);
}

/// Every SKU here is awake for most of the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_baskets_over_the_same_skus_never_oversells() {
    let house = house().await;
    let node = &house.node;
    let skus = ["A", "B", "C", "D"];
    for sku in skus {
        assert_eq!(words(node, vec![receipt(&format!("r{sku}"), sku, 100)]).await, ["applied"]);
        busy(node, receipt(&format!("r{sku}"), sku, 100)).await;
    }
    let crowd = (0..200_usize).map(|number| async move {
        let lines: Vec<(&str, i64)> = (0..3)
            .map(|at| (skus[(number + at * (number % 2 + 1)) % 4], 1 + (number % 3) as i64))
            .collect();
        let mut lines = lines;
        lines.sort();
        lines.dedup_by_key(|line| line.0);
        let id = format!("o{number}");
        let held = hold(node, &id, &lines, 900).await;
        if number % 5 == 0 {
            words(node, vec![sale(&format!("s{number}"), skus[number % 4], 1)]).await;
        }
        match (&held, number % 4) {
            (Ok(_), 0) => basket(node, &id, BasketCommand::Cancel(1)).await.map(|_| ()).unwrap(),
            (Err(refusal), _) => assert_eq!(refusal.code.as_str(), "insufficient_stock"),
            _ => {}
        }
        (held.is_ok() && number % 4 != 0).then_some(lines)
    });
    let kept: Vec<_> = futures_util::future::join_all(crowd).await.into_iter().flatten().collect();
    for sku in skus {
        let stock = stock_of(node, "main", sku);
        let promised: i64 = kept.iter().flatten().filter(|line| line.0 == sku).map(|line| line.1).sum();
        assert_eq!(stock.claimed(), promised, "{sku}");
        stock::check(&stock).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_gives_the_units_back_and_lets_the_sku_sleep() {
    let house = house().await;
    let node = &house.node;
    assert_eq!(
        words(node, vec![receipt("r", "A", 10), receipt("r2", "B", 10)]).await,
        ["applied", "applied"]
    );
    busy(node, receipt("r", "A", 10)).await;
    busy(node, receipt("r2", "B", 10)).await;
    assert_eq!(hold(node, "o-1", &[("A", 10), ("B", 1)], 1).await, Ok(State::Held));
    woken(node, 2).await;
    assert_eq!(words(node, vec![sale("s", "B", 2)]).await, ["applied"]);
    assert_eq!(
        hold(node, "o-2", &[("A", 1)], 900).await.unwrap_err().code.as_str(),
        "insufficient_stock"
    );
    until("the expiry", || {
        node.store()
            .reservation("main", "o-1")
            .unwrap()
            .is_some_and(|basket| basket.state == State::Expired)
    })
    .await;
    assert_eq!(
        (stock_of(node, "main", "A").claimed(), stock_of(node, "main", "B").claimed()),
        (0, 0)
    );
    until("sleep", || awake(node) == 0).await;
    assert_eq!(hold(node, "o-3", &[("A", 10)], 900).await, Ok(State::Held));
    assert_eq!(sellable(node, "B"), 8);
}

/// Long runs go to the SKU's actor and single sales are judged on the copy that it lends: all of them in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_judged_by_an_actor_and_on_its_lent_copy_have_one_order() {
    let house = lending_house(stock::decide).await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 1_500)]).await, ["applied"]);
    busy(node, receipt("r", "A", 1_500)).await;
    assert_eq!(words(node, vec![sale("first", "A", 1)]).await, ["applied"]);
    woken(node, 1).await;
    let crowd = (0..100_usize).map(|number| async move {
        let rows = if number % 3 == 0 { 20 } else { 1 };
        let sales = (0..rows).map(|row| sale(&format!("s{number}-{row}"), "A", 1 + i64::from(number % 2 == 0)));
        node.events(sales.collect()).await
    });
    let verdicts = futures_util::future::join_all(crowd).await.concat();
    let judged = verdicts.iter().map(|verdict| match verdict {
        Verdict::Judged { seq, version, .. } if applied(verdict) => (*seq, *version),
        other => panic!("{other:?}"),
    });
    let mut judged: Vec<(u64, u64)> = judged.collect();
    judged.sort_unstable();
    let versions: Vec<u64> = judged.iter().map(|(_, version)| *version).collect();
    assert_eq!(
        versions,
        (3..3 + versions.len() as u64).collect::<Vec<_>>(),
        "versions rise with the sequence"
    );
    let sold: usize = (0..100)
        .map(|number| (1 + usize::from(number % 2 == 0)) * if number % 3 == 0 { 20 } else { 1 })
        .sum();
    assert_eq!(sellable(node, "A"), 1_499 - sold as i64);
    stock::check(&stock_of(node, "main", "A")).unwrap();
    until("sleep", || awake(node) == 0).await;
    assert_eq!(words(node, vec![sale("last", "A", 1)]).await, ["applied"]);
    assert_eq!(sellable(node, "A"), 1_498 - sold as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_skus_are_not_a_hundred_thousand_actors() {
    let house = house().await;
    let events = (0..20_000)
        .map(|number| receipt(&format!("r{number}"), &format!("S{number}"), 5))
        .collect();
    let verdicts = house.node.events(events).await;
    assert!(verdicts.iter().all(applied));
    assert_eq!(awake(&house.node), 0);
    assert_eq!(house.node.view().sku_count("main"), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_sale_does_not_wait_for_a_long_batch() {
    let house = house().await;
    let node = &house.node;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    let batch = (0..10_000).map(|number| receipt(&format!("r{number}"), "B", 1)).collect();
    let (batch, single) = tokio::join!(node.events(batch), node.events(vec![sale("s", "A", 1)]));
    assert!(batch.iter().all(applied));
    let seq = |verdict: &Verdict| match verdict {
        Verdict::Judged { seq, .. } => *seq,
        Verdict::NotJudged(refusal) => panic!("{refusal}"),
    };
    assert!(seq(&single[0]) < seq(&batch[9_999]), "it was judged between two slices");
    let versions = batch.iter().map(|verdict| match verdict {
        Verdict::Judged { version, .. } => *version,
        Verdict::NotJudged(refusal) => panic!("{refusal}"),
    });
    assert!(versions.is_sorted(), "rows of one SKU are judged in row order");
    assert_eq!((sellable(node, "A"), sellable(node, "B")), (9, 10_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goods_sent_are_underway_there_when_the_sender_is_answered() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    declare(node, "back").await;
    let out = What::TransferOut {
        quantity: 4,
        transfer: Id::trusted("t-1"),
        to_warehouse: Id::trusted("back"),
    };
    assert_eq!(
        words(node, vec![receipt("r", "A", 10), event("t", "A", out)]).await,
        ["applied", "applied"]
    );
    assert_eq!(sellable(node, "A"), 6);
    assert_eq!(stock_of(node, "back", "A").accounts()[2], 4);
    let mut arrives = event(
        "t-in",
        "A",
        What::TransferIn {
            quantity: 3,
            transfer: Id::trusted("t-1"),
        },
    );
    arrives.warehouse = Id::trusted("back");
    assert_eq!(words(node, vec![arrives]).await, ["applied"]);
    assert_eq!(stock_of(node, "back", "A").accounts()[..3], [3, 0, 1]);
    house.close().await;
    let house = house_on(&disk, stock::decide).await;
    assert_eq!(
        stock_of(&house.node, "back", "A").accounts()[..3],
        [3, 0, 1],
        "nothing is told twice after a restart"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_waits_for_the_event_that_it_takes_back() {
    let house = house().await;
    let node = &house.node;
    let void = |id: &str| event(id, "A", What::Void { event: Id::trusted("s") });
    let batch = vec![receipt("r", "A", 10), sale("s", "A", 4), void("v"), void("v2")];
    assert_eq!(words(node, batch).await, ["applied", "applied", "applied", "refused"]);
    assert_eq!(sellable(node, "A"), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sku_of_the_catalogue_is_kept_in_its_unit_from_the_first_event() {
    let house = house().await;
    let node = &house.node;
    let entry = Setting::Catalogue {
        sku: Id::trusted("A"),
        entry: r#"{"name":"Flour","unit":"g"}"#.into(),
        unit: Some(Unit::G),
    };
    node.set(entry, None, None).await.unwrap();
    let mut pieces = receipt("r0", "A", 1);
    pieces.unit = Some(Unit::Each);
    assert_eq!(
        words(node, vec![pieces, receipt("r", "A", 500)]).await,
        ["refused", "applied"]
    );
    assert_eq!(stock_of(node, "main", "A").unit, Unit::G);
}
