//! Sixteen clients at one shop, each with one call under way, who write down when each began, when its answer was there, and what it
//! said; and who go on with the next node when one is killed under them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::checker::Call;
use super::shop::{Basket, Held, Kind, Op, Page, Told};
use crate::harness::events::{check_invariants, event};
use crate::harness::http::{Answer, Http};
use crate::harness::node::{Node, wait_until};

/// Clients at once.
pub const CLIENTS: u64 = 16;
/// Calls that each makes.
const CALLS: usize = 6;
/// SKUs of a shop; the first two share baskets, and so do the others.
pub const SKUS: usize = 4;
/// Baskets of a shop, which several clients ask for.
const BASKETS: usize = 12;
/// How long a client waits for the next node.
const PATIENCE: Duration = Duration::from_secs(120);

/// One shop on a node: SKUs and baskets of its own, and what its clients do.
pub struct Street {
    name: String,
    seed: u64,
    baskets: Vec<Vec<(usize, i64)>>,
    clock: AtomicU64,
    next_id: AtomicU64,
    answered: AtomicUsize,
    /// How many nodes there have been, and how to reach the newest one.
    node: Mutex<(u64, Http)>,
    restarted: Condvar,
}

/// The connection broke before the answer.
struct Gone;

impl Street {
    pub fn new(node: &Node, name: String, seed: u64) -> Street {
        let mut random = StdRng::seed_from_u64(seed);
        let mut basket = || {
            let first = 2 * random.random_range(0..SKUS / 2);
            let mut quantity = || random.random_range(1..=3);
            match quantity() {
                1 => vec![(first, quantity())],
                2 => vec![(first + 1, quantity())],
                _ => vec![(first, quantity()), (first + 1, quantity())],
            }
        };
        Street {
            name,
            seed,
            baskets: (0..BASKETS).map(|_| basket()).collect(),
            clock: AtomicU64::new(0),
            next_id: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            node: Mutex::new((0, node.client())),
            restarted: Condvar::new(),
        }
    }

    pub fn baskets(&self) -> Vec<Vec<(usize, i64)>> {
        self.baskets.clone()
    }

    /// Opens the shop, lets all clients work, kills the node in their midst when it is asked to, and looks at everything at the end.
    pub fn live(&self, node: &mut Node, kill: bool) -> Vec<Call<Op>> {
        let mut calls = Vec::new();
        let mut one = Client::new(self, CLIENTS);
        for sku in 0..SKUS {
            let quantity = one.random.random_range(3..=9);
            let receipt = self.tell(Kind::Receipt, sku, quantity);
            calls.push(one.call(receipt));
        }
        let target = one.random.random_range(10..60);
        let of_clients = std::thread::scope(|scope| {
            let work = |n| scope.spawn(move || Client::new(self, n).work(kill));
            let threads: Vec<_> = (0..CLIENTS).map(work).collect();
            if kill {
                wait_until("some answers", || self.answered.load(Ordering::Relaxed) >= target);
                node.kill();
                node.restart();
                let mut now = self.node.lock().expect("nobody panicked");
                *now = (now.0 + 1, Http::new(node.address()));
                self.restarted.notify_all();
            }
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a client"))
                .collect::<Vec<_>>()
        });
        calls.extend(of_clients.into_iter().flatten());
        let mut last = Client::new(self, CLIENTS + 1);
        calls.extend((0..SKUS).map(|sku| last.call(look(sku))));
        calls.extend((0..BASKETS).map(|basket| last.call(look_at(basket))));
        calls
    }

    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn tell(&self, kind: Kind, sku: usize, quantity: i64) -> Op {
        Op::Tell {
            id: self.next_id.fetch_add(1, Ordering::SeqCst),
            kind,
            sku,
            quantity,
            answer: None,
        }
    }

    fn sku(&self, sku: usize) -> String {
        format!("{}-{sku}", self.name)
    }

    fn sku_of(&self, name: &Value) -> usize {
        let name = name.as_str().expect("a SKU");
        (0..SKUS).find(|sku| self.sku(*sku) == name).expect("a SKU of this shop")
    }

    fn reservation(&self, basket: usize) -> String {
        format!("/v1/warehouses/main/reservations/{}-{basket}", self.name)
    }
}

const NO_PAGE: Page = Page {
    sellable: 0,
    demand: 0,
    discrepancy: 0,
    owed: 0,
    claimed: 0,
    available: 0,
};

pub fn look(sku: usize) -> Op {
    Op::Look { sku, answer: NO_PAGE }
}

pub fn look_at(basket: usize) -> Op {
    let answer = Basket::Unknown;
    Op::LookAt { basket, answer }
}

/// One of them.
struct Client<'a> {
    street: &'a Street,
    random: StdRng,
    generation: u64,
    http: Http,
}

impl<'a> Client<'a> {
    fn new(street: &'a Street, number: u64) -> Client<'a> {
        let (generation, http) = street.node.lock().expect("nobody panicked").clone();
        Client {
            street,
            random: StdRng::seed_from_u64(street.seed ^ ((number + 1) << 40)),
            generation,
            http,
        }
    }

    fn work(mut self, may_die: bool) -> Vec<Call<Op>> {
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let asked = self.choose();
            let mut call = self.call(asked.clone());
            if call.returned.is_none() {
                assert!(may_die, "{}: no answer to {asked:?}", self.street.name);
                self.next_node();
                let reads = matches!(asked, Op::Look { .. } | Op::LookAt { .. });
                if reads {
                    continue;
                }
                // What was under way when the node died has happened by now, or never will.
                call.returned = Some(self.street.tick());
                calls.push(call);
                // As every client must: it sends again what was not answered, and then knows.
                call = self.call(asked);
                assert!(call.returned.is_some(), "the node died twice");
            }
            self.street.answered.fetch_add(1, Ordering::Relaxed);
            calls.push(call);
        }
        calls
    }

    fn choose(&mut self) -> Op {
        let sku = self.random.random_range(0..SKUS);
        let basket = self.random.random_range(0..BASKETS);
        let quantity = self.random.random_range(1..=4);
        let end = |by| Op::End {
            basket,
            by,
            answer: None,
        };
        match self.random.random_range(0..20) {
            0..2 => self.street.tell(Kind::Receipt, sku, quantity),
            2..6 => self.street.tell(Kind::Sale, sku, quantity),
            6..8 => self.street.tell(Kind::Loss, sku, quantity),
            8..12 => Op::Hold { basket, answer: None },
            12..14 => end(Basket::Confirmed),
            14..15 => end(Basket::Cancelled),
            15..19 => look(sku),
            _ => look_at(basket),
        }
    }

    fn next_node(&mut self) {
        let now = self.street.node.lock().expect("nobody panicked");
        let (now, waited) = self
            .street
            .restarted
            .wait_timeout_while(now, PATIENCE, |now| now.0 == self.generation)
            .expect("nobody panicked");
        assert!(!waited.timed_out(), "no node came back");
        (self.generation, self.http) = now.clone();
    }

    /// Makes a call; without an answer it has not returned.
    fn call(&mut self, mut op: Op) -> Call<Op> {
        let invoked = self.street.tick();
        let answered = self.ask(&mut op);
        let returned = answered.ok().map(|()| self.street.tick());
        Call { op, invoked, returned }
    }

    fn ask(&self, op: &mut Op) -> Result<(), Gone> {
        match op {
            Op::Tell {
                id,
                kind,
                sku,
                quantity,
                answer,
            } => *answer = Some(self.tell(*id, *kind, *sku, *quantity)?),
            Op::Hold { basket, answer } => *answer = Some(self.hold(*basket)?),
            Op::End { basket, by, answer } => *answer = Some(self.end(*basket, *by)?),
            Op::Look { sku, answer } => *answer = self.page(*sku)?,
            Op::LookAt { basket, answer } => {
                let path = self.street.reservation(*basket);
                let said = self.send("GET", &path, &Value::Null)?;
                *answer = match said.status {
                    404 => Basket::Unknown,
                    _ => state(&said.expect_status(200).json()["state"]),
                };
            }
        }
        Ok(())
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Answer, Gone> {
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        loop {
            let answer = self.http.try_send(method, path, &headers, body.clone()).map_err(|_| Gone)?;
            // Nothing was judged yet, so it is the same call when it is sent again.
            if answer.code() != "starting" {
                return Ok(answer);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn tell(&self, id: u64, kind: Kind, sku: usize, quantity: i64) -> Result<Told, Gone> {
        let (kind, quantity) = match kind {
            Kind::Receipt => ("receipt", quantity),
            Kind::Sale => ("sale", quantity),
            Kind::Loss => ("adjustment", -quantity),
        };
        let id = format!("{}.{id}", self.street.name);
        let told = event(&id, kind, &self.street.sku(sku), quantity);
        let said = self.send("POST", "/v1/events", &told)?;
        if said.status == 409 {
            said.expect_problem(409, "insufficient_stock");
            return Ok(Told::Refused);
        }
        let verdict = said.expect_status(200).json();
        Ok(match verdict["verdict"].as_str() {
            Some("applied") => Told::Applied {
                found: verdict["found"].as_i64().unwrap_or(0),
            },
            Some("duplicate") => Told::Duplicate,
            _ => panic!("{verdict}"),
        })
    }

    fn hold(&self, basket: usize) -> Result<Held, Gone> {
        let lines = self.street.baskets[basket]
            .iter()
            .map(|(sku, quantity)| json!({"sku": self.street.sku(*sku), "quantity": quantity}));
        let body = json!({"ttl_s": 86_400, "lines": lines.collect::<Vec<_>>()});
        let said = self.send("PUT", &self.street.reservation(basket), &body)?;
        Ok(match said.status {
            201 => Held::Created,
            200 => Held::Same(state(&said.json()["state"])),
            _ => {
                let problem = said.expect_problem(409, "insufficient_stock").json();
                let short = problem["lines"].as_array().expect("lines").iter();
                let short = short.map(|line| (self.street.sku_of(&line["sku"]), units(&line["available"])));
                Held::Refused(short.collect())
            }
        })
    }

    fn end(&self, basket: usize, by: Basket) -> Result<Basket, Gone> {
        let verb = if by == Basket::Confirmed { "confirm" } else { "cancel" };
        let path = format!("{}/{verb}", self.street.reservation(basket));
        let said = self.send("POST", &path, &json!({}))?;
        Ok(match (said.status, said.code().as_str()) {
            (404, "unknown_reservation") => Basket::Unknown,
            (409, "already_confirmed") => Basket::Confirmed,
            (409, "already_cancelled") => Basket::Cancelled,
            _ => state(&said.expect_status(200).json()["state"]),
        })
    }

    fn page(&self, sku: usize) -> Result<Page, Gone> {
        let path = format!("/v1/warehouses/main/skus/{}", self.street.sku(sku));
        let page = self.send("GET", &path, &Value::Null)?.expect_status(200).json();
        check_invariants(&page);
        let account = |name: &str| units(&page["accounts"][name]);
        Ok(Page {
            sellable: account("sellable"),
            demand: account("demand"),
            discrepancy: account("discrepancy"),
            owed: units(&page["owed"]),
            claimed: units(&page["claimed"]),
            available: units(&page["available"]["default"]),
        })
    }
}

fn units(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no units: {value}"))
}

fn state(value: &Value) -> Basket {
    match value.as_str() {
        Some("held") => Basket::Held,
        Some("confirmed") => Basket::Confirmed,
        Some("cancelled") => Basket::Cancelled,
        _ => panic!("no state of a basket: {value}"),
    }
}
