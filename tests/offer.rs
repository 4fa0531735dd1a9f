//! The newest fact of every SKU says, channel by channel, what the SKU's own page says: whoever follows the journal and keeps the
//! highest version of each SKU needs to ask nobody.

use std::collections::BTreeMap;

use crate::harness::events::{event, noon_config, noon_date};
use crate::harness::node::{Node, wait_until};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const SKUS: usize = 12;
const ROUNDS: usize = 12;
const STEPS: usize = 25;
const CHANNELS: [&str; 4] = ["default", "web", "app", "till"];

struct Walk {
    node: Node,
    random: StdRng,
    number: u64,
    channels: Vec<&'static str>,
}

impl Walk {
    fn sku(&mut self) -> String {
        format!("sku-{}", self.random.random_range(0..SKUS))
    }

    fn id(&mut self) -> String {
        self.number += 1;
        self.number.to_string()
    }

    fn event(&mut self) -> Value {
        let kind = *[
            "receipt",
            "receipt",
            "sale",
            "sale",
            "return",
            "write_off",
            "count",
            "quarantine",
            "adjustment",
        ]
        .choose(&mut self.random)
        .expect("a kind");
        let (id, sku) = (self.id(), self.sku());
        let mut event = event(&id, kind, &sku, self.random.random_range(1..12));
        if kind == "receipt" && self.random.random_bool(0.5) {
            let days = self.random.random_range(-1..3);
            event["data"]["lot"] = json!({"id": format!("L{days}"), "expires_on": noon_date(days)});
        }
        event
    }

    /// One request, whatever its answer: refusals are part of the mix.
    fn step(&mut self) {
        let (id, sku) = (self.id(), self.sku());
        let channel = *self.channels.choose(&mut self.random).expect("a channel");
        let basket = format!("/v1/warehouses/main/reservations/o-{}", self.random.random_range(0..20));
        let choice = self.random.random_range(0..12);
        let units: i64 = self.random.random_range(0..6);
        let events: Vec<Value> = (0..3).map(|_| self.event()).collect();
        let http = self.node.client();
        match choice {
            0..5 => drop(http.post("/v1/events", &json!(events))),
            5 => drop(http.post("/v1/events", &events[0])),
            6 | 7 => {
                let lines = json!([{"sku": sku, "quantity": units + 1}]);
                // Some end by themselves within the test.
                let ttl = if units % 2 == 0 { 1 } else { 900 };
                let wanted = json!({"channel": channel, "lines": lines, "ttl_s": ttl, "allow_partial": true});
                drop(http.put(&basket, &wanted));
            }
            8 => drop(http.post(&format!("{basket}/confirm"), &json!({}))),
            9 => drop(http.post(&format!("{basket}/cancel"), &json!({}))),
            10 => {
                let buffers = format!("/v1/warehouses/main/skus/{sku}/buffers");
                drop(http.put(&buffers, &json!({channel: units})));
            }
            _ => self.configure(&id),
        }
    }

    fn configure(&mut self, name: &str) {
        self.channels = CHANNELS[..self.random.random_range(1..=CHANNELS.len())].to_vec();
        let none_is_kept_back = self.random.random_bool(0.3);
        let mut channels = BTreeMap::new();
        for channel in &self.channels {
            let buffer = if none_is_kept_back {
                0
            } else {
                self.random.random_range(0..4)
            };
            channels.insert(*channel, json!({ "buffer": buffer }));
        }
        let mut site = self.node.get("/v1/warehouses/main").json();
        site["name"] = json!(name);
        site["channels"] = json!(channels);
        site.as_object_mut().expect("a warehouse").remove("id");
        self.node.put("/v1/warehouses/main", &site).expect_status(200);
    }

    /// The newest fact of each SKU in the whole journal, by version.
    fn newest(&self) -> BTreeMap<String, Value> {
        let mut newest = BTreeMap::<String, Value>::new();
        let mut since = String::new();
        loop {
            let page = self
                .node
                .get(&format!("/v1/changes?limit=1000{since}"))
                .expect_status(200)
                .json();
            for fact in page["items"]
                .as_array()
                .expect("items")
                .iter()
                .filter(|fact| fact["kind"] == "sku")
            {
                let sku = fact["sku"].as_str().expect("a SKU").to_owned();
                let older = newest.insert(sku, fact.clone());
                assert!(
                    older.is_none_or(|older| older["version"].as_u64() < fact["version"].as_u64()),
                    "{fact}"
                );
            }
            if page["more"] == false {
                return newest;
            }
            since = format!("&since={}", page["next"].as_str().expect("a cursor"));
        }
    }

    /// At rest, the journal says of every SKU what its page says.
    fn compare(&self) {
        let mut last = String::new();
        wait_until("the facts that say what is true", || {
            let newest = self.newest();
            let pages = self.node.list("/v1/warehouses/main/skus");
            let differs = pages.iter().find(|page| {
                let fact = &newest[page["sku"].as_str().expect("a SKU")];
                ["version", "accounts", "claimed", "owed", "available"]
                    .iter()
                    .any(|field| fact[*field] != page[*field])
            });
            last = differs
                .map(|page| format!("{page}\n{}", newest[page["sku"].as_str().expect("a SKU")]))
                .unwrap_or_default();
            if !last.is_empty() {
                eprintln!("not yet: {last}");
            }
            last.is_empty()
        });
    }
}

#[test]
fn the_newest_fact_of_a_sku_says_what_its_page_says_on_every_channel() {
    let seed = std::env::var("SHELFD_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7);
    let mut walk = Walk {
        node: Node::builder().config(&noon_config()).start(),
        random: StdRng::seed_from_u64(seed),
        number: 0,
        channels: vec!["default", "web"],
    };
    for round in 0..ROUNDS {
        for _ in 0..STEPS {
            walk.step();
        }
        if round % 4 == 2 {
            walk.configure("before the end");
            walk.node.kill();
            walk.node.restart();
        }
        walk.compare();
    }
    let facts = walk.newest();
    let differ = |fact: &&Value| {
        let figures = fact["available"].as_object().expect("figures");
        figures.values().any(|units| *units != fact["available_before_buffers"])
    };
    assert!(
        facts.len() == SKUS && facts.values().any(|fact| differ(&fact)),
        "the walk met buffers: {facts:?}"
    );
    let ledger = walk.node.get("/v1/warehouses/main/skus/sku-1/ledger?limit=1").json();
    let page = walk.node.get("/v1/warehouses/main/skus/sku-1").json();
    assert_eq!(ledger["items"][0]["available"], page["available"]);
}
