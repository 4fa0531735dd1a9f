//! The real binary and a simple model of the rules, side by side: after each of some hundred random requests, everything that
//! can be asked of the SKUs and baskets must be what the model says, and so must each answer.
//!
//! The model (`model/`) is written from the rules' page, without the engine's code, so that both would have to be wrong in
//! the same way. Business times, counts and voids are the domain's property tests' matter.

#[path = "model/compare.rs"]
mod compare;
#[path = "model/shelf.rs"]
mod shelf;
#[path = "model/shop.rs"]
mod shop;
#[path = "model/walk.rs"]
mod walk;

use std::collections::BTreeSet;

use crate::harness::events::noon_config;
use crate::harness::node::Node;

const STEPS: usize = 500;

/// What three walks must have met, or they have proved little.
const WORTH_MEETING: [&str; 25] = [
    "applied",
    "recorded",
    "found",
    "expired_lot",
    "insufficient_stock",
    "lot_mismatch",
    "version_mismatch",
    "id_reused",
    "count_due",
    "at_risk",
    "expired_stock",
    "held in part",
    "hold answered 200",
    "hold answered 201",
    "hold refused insufficient_stock",
    "hold refused version_mismatch",
    "hold refused partly_taken",
    "hold refused already_confirmed",
    "hold refused already_cancelled",
    "confirm done",
    "confirm refused exceeds_held",
    "confirm refused already_confirmed",
    "confirm refused already_cancelled",
    "cancel done",
    "cancel refused already_confirmed",
];

/// Three walks at once, each over SKUs and baskets of its own.
#[test]
fn the_node_does_what_the_rules_say_step_by_step() {
    let seed = std::env::var("SHELFD_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let first = seed.unwrap_or(1);
    let buffer = shop::WEB_BUFFER;
    let config = format!("{}[warehouse.channels.web]\nbuffer = {buffer}\n", noon_config());
    let node = Node::builder().config(&config).start();
    let met = std::thread::scope(|scope| {
        let walk = |seed| {
            let http = node.client();
            scope.spawn(move || walk::Walk::new(http, seed).run(STEPS))
        };
        let walks = [first, first + 1, first + 2].map(walk);
        let met = walks
            .into_iter()
            .flat_map(|walk| walk.join().expect("the walk agrees with the model"));
        met.collect::<BTreeSet<_>>()
    });
    for worth in WORTH_MEETING {
        assert!(met.contains(worth), "no walk met {worth:?}: {met:?}");
    }
}
