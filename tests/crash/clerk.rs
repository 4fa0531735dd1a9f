//! A clerk who works against the node until it dies, and writes down what was asked and what was answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::events::event;
use crate::harness::http::Http;

/// What the shop sells; the last one is scarce.
pub const SKUS: [&str; 5] = ["milk", "bread", "eggs", "tea", "truffle"];

/// An event, and its answer if one came.
pub struct Deed {
    pub event: Value,
    pub answer: Option<Value>,
}

/// How a basket ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Confirm,
    Cancel,
}

impl End {
    pub fn verb(self) -> &'static str {
        match self {
            End::Confirm => "confirm",
            End::Cancel => "cancel",
        }
    }

    pub fn state(self) -> &'static str {
        match self {
            End::Confirm => "confirmed",
            End::Cancel => "cancelled",
        }
    }
}

/// A basket, as asked for and as answered.
pub struct Basket {
    pub body: Value,
    pub answer: Option<Value>,
    /// What was last asked of it, once it was held.
    pub end: Option<End>,
    pub end_answered: bool,
}

impl Basket {
    pub fn quantity_of(&self, sku: &str) -> i64 {
        let lines = self.body["lines"].as_array().expect("lines").iter();
        lines
            .filter(|line| line["sku"] == sku)
            .map(|line| line["quantity"].as_i64().expect("a quantity"))
            .sum()
    }
}

/// Everything that was asked for. A basket that was refused is not among them.
#[derive(Default)]
pub struct Deeds {
    pub events: BTreeMap<String, Deed>,
    pub baskets: BTreeMap<String, Basket>,
}

impl Deeds {
    pub fn extend(&mut self, other: Deeds) {
        self.events.extend(other.events);
        self.baskets.extend(other.baskets);
    }
}

/// An event that is not answered yet.
pub fn told(id: &str, kind: &str, sku: &str, quantity: i64) -> Deed {
    Deed {
        event: event(id, kind, sku, quantity),
        answer: None,
    }
}

/// One worker with ids and choices of its own.
pub struct Clerk {
    http: Http,
    random: StdRng,
    name: String,
    next: u64,
    deeds: Deeds,
}

/// The connection broke: the node is gone.
struct Gone;

impl Clerk {
    pub fn new(http: Http, seed: u64, name: String) -> Clerk {
        let random = StdRng::seed_from_u64(seed);
        let (next, deeds) = (0, Deeds::default());
        Clerk {
            http,
            random,
            name,
            next,
            deeds,
        }
    }

    /// Works, counting the answers.
    pub fn work_until_the_node_dies(mut self, answered: &AtomicUsize) -> Deeds {
        loop {
            let done = match self.random.random_range(0..10) {
                0..3 => self.tell(1),
                3..5 => {
                    let rows = self.random.random_range(2..20);
                    self.tell(rows)
                }
                5..8 => self.hold(),
                _ => self.end(),
            };
            if done.is_err() {
                return self.deeds;
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", self.name, self.next)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), Gone> {
        let headers = [("content-type", "application/json")];
        let answer = self
            .http
            .try_send(method, path, &headers, body.to_string().into_bytes())
            .map_err(|_| Gone)?;
        match answer.code() == "starting" {
            // The next life has only begun.
            true => Err(Gone),
            false => Ok((answer.status, answer.json())),
        }
    }

    /// One event alone, or some as a batch. The scarce SKU gets none, so that its stock is never found.
    fn tell(&mut self, rows: usize) -> Result<(), Gone> {
        let mut ids = Vec::new();
        for _ in 0..rows {
            let id = self.id();
            let kind = *["receipt", "sale", "sale", "write_off"]
                .choose(&mut self.random)
                .expect("kinds");
            let sku = SKUS[self.random.random_range(0..SKUS.len() - 1)];
            let quantity = self.random.random_range(1..10);
            self.deeds.events.insert(id.clone(), told(&id, kind, sku, quantity));
            ids.push(id);
        }
        let events = ids.iter().map(|id| self.deeds.events[id].event.clone()).collect::<Vec<_>>();
        let body = if rows == 1 { events[0].clone() } else { json!(events) };
        let (status, mut answer) = self.ask("POST", "/v1/events", &body)?;
        assert_eq!(status, 200, "{answer}");
        let verdicts = if rows == 1 {
            vec![answer]
        } else {
            answer["verdicts"].take().as_array().expect("verdicts").clone()
        };
        for (id, verdict) in ids.iter().zip(verdicts) {
            assert_eq!(
                (&verdict["id"], &verdict["verdict"]),
                (&json!(id), &json!("applied")),
                "{verdict}"
            );
            self.deeds.events.get_mut(id).expect("it was told").answer = Some(verdict);
        }
        Ok(())
    }

    fn hold(&mut self) -> Result<(), Gone> {
        let id = self.id();
        let many = self.random.random_range(1..=SKUS.len());
        let skus = SKUS.sample(&mut self.random, many).copied().collect::<Vec<_>>();
        let lines = skus
            .iter()
            .map(|sku| json!({"sku": sku, "quantity": self.random.random_range(1..4)}));
        let body = json!({"ttl_s": 86_400, "lines": lines.collect::<Vec<_>>()});
        let basket = Basket {
            body: body.clone(),
            answer: None,
            end: None,
            end_answered: false,
        };
        self.deeds.baskets.insert(id.clone(), basket);
        let (status, answer) = self.ask("PUT", &format!("/v1/warehouses/main/reservations/{id}"), &body)?;
        if status == 409 {
            assert_eq!(answer["code"], "insufficient_stock", "{answer}");
            self.deeds.baskets.remove(&id);
            return Ok(());
        }
        assert_eq!(status, 201, "{answer}");
        self.deeds.baskets.get_mut(&id).expect("it was asked for").answer = Some(answer);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Gone> {
        let held = self.deeds.baskets.iter().filter(|(_, basket)| basket.end.is_none());
        let held = held.map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let Some(id) = held.choose(&mut self.random).cloned() else {
            return Ok(());
        };
        let end = if self.random.random_bool(0.5) {
            End::Confirm
        } else {
            End::Cancel
        };
        self.deeds.baskets.get_mut(&id).expect("it is held").end = Some(end);
        let path = format!("/v1/warehouses/main/reservations/{id}/{}", end.verb());
        let (status, answer) = self.ask("POST", &path, &json!({}))?;
        assert_eq!((status, &answer["state"]), (200, &json!(end.state())), "{answer}");
        self.deeds.baskets.get_mut(&id).expect("it is held").end_answered = true;
        Ok(())
    }
}
