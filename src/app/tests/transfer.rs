//! Goods between two warehouses of the node: told once, whatever fails in between.

use std::sync::atomic::Ordering;

use super::*;
use crate::actors::forwarder::CURSOR;

fn out(id: &str, quantity: i64) -> Event {
    let what = What::TransferOut {
        quantity,
        transfer: Id::trusted(&format!("t-{id}")),
        to_warehouse: Id::trusted("back"),
    };
    event(id, "A", what)
}

fn underway(node: &Node) -> i64 {
    let index = node.view().keys().find("back", "A");
    let stock = index.and_then(|index| node.view().stock(index));
    stock.map_or(0, |stock| stock.accounts()[2])
}

/// Retention waits for every cursor: one that moved with transfers only would keep the journal of a node without any for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_of_transfers_moves_though_there_are_none() {
    let house = house().await;
    let node = &house.node;
    assert_eq!(
        words(node, vec![receipt("r", "A", 10), sale("s", "A", 1)]).await,
        ["applied", "applied"]
    );
    until("the cursor's move", || {
        node.store().cursor(CURSOR) == Ok(Some(node.view().durable_seq()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_departures_is_told_whole() {
    let house = house().await;
    let node = &house.node;
    declare(node, "back").await;
    assert_eq!(words(node, vec![receipt("r", "A", 5_000)]).await, ["applied"]);
    let batch: Vec<Event> = (0..2_000).map(|number| out(&number.to_string(), 2)).collect();
    assert!(node.events(batch).await.iter().all(applied));
    assert_eq!((sellable(node, "A"), underway(node)), (1_000, 4_000));
}

/// What a failed sync had written all the same is found after the recovery: nobody's answer tells of it, so the journal must.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goods_whose_departure_landed_after_all_are_underway() {
    let disk: Arc<Disk> = Arc::default();
    let house = house_on(&disk, stock::decide).await;
    let node = &house.node;
    declare(node, "back").await;
    assert_eq!(words(node, vec![receipt("r", "A", 10)]).await, ["applied"]);
    disk.deaf.store(true, Ordering::SeqCst);
    assert_eq!(words(node, vec![out("t", 4)]).await, ["overloaded"]);
    disk.deaf.store(false, Ordering::SeqCst);
    let mut verdict = words(node, vec![out("t", 4)]).await;
    while verdict == ["overloaded"] {
        verdict = words(node, vec![out("t", 4)]).await;
    }
    assert!(["applied", "duplicate"].contains(&verdict[0]), "{verdict:?}");
    until("the other side's hearing of it", || underway(node) == 4).await;
    assert_eq!(sellable(node, "A"), 6);
}
