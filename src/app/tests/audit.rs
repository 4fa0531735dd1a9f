//! The auditor in the living tree: it finds what was planted, says so everywhere, and sales go on.

use super::*;
use crate::storage::view::View;

/// A configuration whose auditor never rests.
fn restless() -> Config {
    Layers::defaults()
        .flag("test", "audit.rest_s", Some("0".to_owned()))
        .load()
        .expect("the configuration is valid")
}

async fn restless_house() -> House {
    House::start(&restless(), store_on(&Arc::default()), stock::decide)
        .await
        .expect("the tree starts")
}

fn audit(node: &Node, of: &str) -> u64 {
    node.status()["audit"][of].as_u64().unwrap()
}

/// Another figure than the journal's, in what is answered from.
fn spoil(view: &View, sku: &str) {
    let index = view.keys().find("main", sku).unwrap();
    let (mut stock, seq) = view.read(index, |stock, seq| (stock.cloned().unwrap(), seq));
    stock.lots[0].inside[0] += 1;
    stock.outside[0] -= 1;
    view.cells.restore([(index, stock, seq)].into_iter());
}

#[tokio::test]
async fn the_auditor_is_silent_over_a_sound_node_with_baskets_and_sales() {
    let house = restless_house().await;
    let node = &house.node;
    for round in 0..30 {
        let events = vec![
            receipt(&format!("r-{round}"), "milk", 5),
            sale(&format!("s-{round}"), "milk", 3),
            sale(&format!("t-{round}"), "bread", 1),
            receipt(&format!("u-{round}"), "bread", 2),
        ];
        words(node, events).await;
        hold(node, &format!("o-{round}"), &[("milk", 1), ("bread", 1)], 600)
            .await
            .unwrap();
        if round % 3 == 0 {
            let command = BasketCommand::Cancel(7);
            basket(node, &format!("o-{round}"), command).await.unwrap();
        }
    }
    let rounds = audit(node, "rounds");
    until("two rounds", || audit(node, "rounds") >= rounds + 2).await;
    assert_eq!(node.status()["findings"], serde_json::Value::Null);
    assert!(audit(node, "skus") >= 2);
    house.close().await;
}

#[tokio::test]
async fn a_planted_corruption_is_found_named_and_sales_go_on() {
    let house = restless_house().await;
    let node = &house.node;
    assert_eq!(
        words(node, vec![receipt("1", "milk", 10), receipt("2", "bread", 10)]).await,
        ["applied"; 2]
    );
    spoil(node.view(), "milk");
    until("the finding", || audit(node, "found") > 0).await;
    let status = node.status();
    let found = status["findings"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["invariant"], "replay");
    assert_eq!(
        (&found[0]["warehouse"], &found[0]["subject"]),
        (&"main".into(), &"milk".into())
    );
    let detail = found[0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("[11, 0, 0, -11, 0, 0, 0]") && detail.contains("[10, 0, 0, -10, 0, 0, 0]"),
        "{detail}"
    );
    assert_eq!(status["state"], "ready");
    assert_eq!(
        words(node, vec![sale("3", "milk", 1), sale("4", "bread", 1)]).await,
        ["applied"; 2]
    );
    hold(node, "o-1", &[("milk", 1)], 600).await.unwrap();
    house.close().await;
}

#[tokio::test]
async fn there_is_no_auditor_where_it_is_switched_off() {
    let config = Layers::defaults()
        .flag("test", "audit.facts_per_s", Some("0".to_owned()))
        .load()
        .expect("the configuration is valid");
    let house = House::start(&config, store_on(&Arc::default()), stock::decide).await.unwrap();
    let status = house.node.status();
    assert_eq!(status["audit"], serde_json::Value::Null);
    let tree = status["actors"].to_string();
    assert!(tree.contains("forwarder") && !tree.contains("auditor"), "{tree}");
    house.close().await;
}
