//! A random walk: what is asked next, and the comparison of what came back with what the model says.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::shelf::{Inside, Leave, Left, Refused, Sku, To};
use super::shop::{Shop, Wanted};
use crate::harness::events::{event, noon_date};
use crate::harness::http::Http;

pub(super) const RESERVATIONS: &str = "/v1/warehouses/main/reservations";

/// Lots and their dates, in days from today: expired, today's, and two more; one without a date, and the stock without a lot.
const LOTS: [(&str, Option<i64>); 6] = [
    ("", None),
    ("gone", Some(-1)),
    ("today", Some(0)),
    ("soon", Some(3)),
    ("later", Some(10)),
    ("dateless", None),
];

/// An event that was taken, and its answer.
struct Taken {
    event: Value,
    verdict: Value,
}

/// One walk.
pub struct Walk {
    pub(super) http: Http,
    pub(super) random: StdRng,
    seed: u64,
    pub(super) skus: [String; 2],
    pub(super) shop: Shop,
    pub(super) versions: [u64; 2],
    taken: Vec<Taken>,
    next: u64,
    /// What was met so far: verdicts, refusals, and what else is worth meeting.
    pub(super) met: BTreeSet<String>,
    /// What was asked so far, for whoever has to find out what went wrong.
    asked: Vec<String>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let newest = &self.asked[self.asked.len().saturating_sub(12)..];
            eprintln!(
                "SHELFD_TEST_SEED={} fails at step {}:\n{}",
                self.seed,
                self.asked.len(),
                newest.join("\n")
            );
        }
    }
}

impl Walk {
    pub fn new(http: Http, seed: u64) -> Walk {
        let skus = ["a", "b"].map(|name| format!("{seed}-{name}"));
        let mut shop = Shop::default();
        skus.iter()
            .for_each(|sku| drop(shop.skus.insert(sku.clone(), Sku::default())));
        Walk {
            http,
            random: StdRng::seed_from_u64(seed),
            seed,
            skus,
            shop,
            versions: [0; 2],
            taken: Vec::new(),
            next: 0,
            met: BTreeSet::new(),
            asked: Vec::new(),
        }
    }

    /// Walks; gives what was met on the way.
    pub fn run(mut self, steps: usize) -> BTreeSet<String> {
        for n in 0..2 {
            let sku = self.skus[n].clone();
            self.shop.sku(&sku).receive("", 5);
            let first = self.event("receipt", &sku, 5);
            self.tell(first, Ok(("applied", Left::default())));
        }
        self.compare();
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..45 => self.movement(),
                45..52 => self.sale_of_a_basket(),
                52..75 => self.hold(),
                75..84 => self.confirm(),
                84..90 => self.cancel(),
                90..95 => self.repeat(),
                _ => self.reuse(),
            }
            self.compare();
        }
        std::mem::take(&mut self.met)
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("{}-{}", self.seed, self.next)
    }

    fn event(&mut self, kind: &str, sku: &str, quantity: i64) -> Value {
        let id = self.id();
        event(&id, kind, sku, quantity)
    }

    fn some_sku(&mut self) -> (usize, String) {
        let n = self.random.random_range(0..2);
        (n, self.skus[n].clone())
    }

    /// Sends an event of which the model has judged already.
    fn tell(&mut self, event: Value, expected: Result<(&str, Left), Refused>) {
        self.asked.push(event.to_string());
        let answer = self.http.post("/v1/events", &event);
        match expected {
            Err(code) => {
                self.met.insert(code.to_owned());
                assert_eq!(
                    (answer.status >= 400, answer.code().as_str()),
                    (true, code),
                    "{}",
                    answer.text()
                );
            }
            Ok((word, left)) => {
                let verdict = answer.expect_status(200).json();
                assert_eq!(verdict["verdict"], word, "{verdict}");
                self.met.insert(word.to_owned());
                if left.found > 0 {
                    self.met.insert("found".to_owned());
                }
                self.met.extend(left.expired_lots.first().map(|_| "expired_lot".to_owned()));
                assert_eq!(verdict["found"].as_i64().unwrap_or(0), left.found, "{verdict}");
                match verdict["expired_lot"].as_str() {
                    None => assert!(left.expired_lots.is_empty(), "{verdict}, {left:?}"),
                    Some(lot) => assert!(left.expired_lots.iter().any(|known| known == lot), "{verdict}, {left:?}"),
                }
                self.taken.push(Taken { event, verdict });
            }
        }
    }

    /// Names a lot in the event, or none; gives it, and the date that is told of it.
    fn some_lot(&mut self, kind: &str, event: &mut Value) -> (Option<&'static str>, Option<i64>) {
        if self.random.random_bool(0.4) {
            return (None, None);
        }
        let (id, expires) = *LOTS.choose(&mut self.random).expect("lots");
        event["data"]["lot"] = json!({"id": id});
        let tells = matches!(kind, "receipt" | "return") && self.random.random_bool(0.7);
        // Now and then another one than the lot has.
        let told = expires
            .filter(|_| tells)
            .map(|day| day + i64::from(self.random.random_bool(0.1)));
        if told.is_some() {
            event["data"]["lot"]["expires_on"] = json!(told.map(noon_date));
        }
        (Some(id), told)
    }

    /// One movement of goods that names no basket.
    fn movement(&mut self) {
        const KINDS: [&str; 10] = [
            "receipt",
            "receipt",
            "sale",
            "sale",
            "return",
            "quarantine",
            "release",
            "write_off",
            "adjustment",
            "adjustment",
        ];
        let (n, sku) = self.some_sku();
        let kind = *KINDS.choose(&mut self.random).expect("kinds");
        let most = if kind == "receipt" { 30 } else { 10 };
        let quantity = self.random.random_range(1..most);
        let quantity = if kind == "adjustment" && self.random.random_bool(0.6) {
            -quantity
        } else {
            quantity
        };
        let mut event = self.event(kind, &sku, quantity);
        let (lot, told) = self.some_lot(kind, &mut event);
        let to = if self.random.random_bool(0.3) {
            Inside::Quarantine
        } else {
            Inside::Sellable
        };
        let to_name = if to == Inside::Quarantine { "quarantine" } else { "sellable" };
        match kind {
            "return" => event["data"]["to"] = json!(to_name),
            "write_off" => event["data"]["from"] = json!(to_name),
            _ => {}
        }
        let expired_first = kind == "write_off" && self.random.random_bool(0.4);
        if expired_first {
            event["data"]["reason"] = json!("expired");
        }
        let guard = self
            .random
            .random_bool(0.1)
            .then(|| self.versions[n] - u64::from(self.random.random_bool(0.4)));
        if let Some(version) = guard {
            event["data"]["expected_version"] = json!(version);
        }
        let mut after = self.shop.clone();
        let asked = Asked {
            kind,
            quantity,
            lot,
            told,
            other_side: to,
            expired_first,
        };
        let stale = guard.is_some_and(|version| version != self.versions[n]);
        let expected = if stale {
            Err("version_mismatch")
        } else {
            asked.judge(&mut after, &sku)
        };
        if expected.is_ok() {
            self.shop = after;
        }
        self.tell(event, expected);
    }

    fn some_basket(&mut self) -> Option<String> {
        let known = self.shop.baskets.keys().cloned().collect::<Vec<_>>();
        // The newest have most to be asked of.
        let newest = &known[known.len().saturating_sub(6)..];
        if self.random.random_bool(0.8) {
            newest.choose(&mut self.random).cloned()
        } else {
            known.choose(&mut self.random).cloned()
        }
    }

    fn sale_of_a_basket(&mut self) {
        let basket = if self.random.random_bool(0.1) {
            Some("nobody's".to_owned())
        } else {
            self.some_basket()
        };
        let Some(basket) = basket else { return };
        let (_, sku) = self.some_sku();
        let quantity = self.random.random_range(1..5);
        let mut event = self.event("sale", &sku, quantity);
        event["data"]["reservation"] = json!(basket);
        let lot = self
            .random
            .random_bool(0.3)
            .then(|| LOTS.choose(&mut self.random).expect("lots").0);
        if let Some(lot) = lot {
            event["data"]["lot"] = json!({"id": lot});
        }
        let expected = self.shop.sell(&sku, quantity, lot, Some(&basket));
        self.tell(event, Ok(expected));
        self.look_at(&basket);
    }

    fn hold(&mut self) {
        let replaced = if self.random.random_bool(0.4) {
            self.some_basket()
        } else {
            None
        };
        // Ids ascend, so that the newest are the last ones of the map.
        let id = replaced.unwrap_or_else(|| format!("{}-{:06}", self.seed, self.next + 1));
        self.next += 1;
        let channel = if self.random.random_bool(0.3) { "web" } else { "default" };
        let mut lines = Vec::new();
        let both = self.random.random_range(0..4);
        for (n, sku) in self.skus.clone().into_iter().enumerate() {
            if both >= 2 || both == n {
                let days = *[None, None, Some(0), Some(2), Some(3), Some(8)]
                    .choose(&mut self.random)
                    .expect("days");
                lines.push((sku, self.random.random_range(1..7), days));
            }
        }
        let allow_partial = self.random.random_bool(0.3);
        let shown = lines
            .iter()
            .map(|(sku, quantity, days)| json!({"sku": sku, "quantity": quantity, "min_shelf_life_days": days}));
        let mut body =
            json!({"channel": channel, "lines": shown.collect::<Vec<_>>(), "ttl_s": 80_000, "allow_partial": allow_partial});
        let expected_version = self.random.random_bool(0.15).then(|| self.random.random_range(0..3));
        if let Some(version) = expected_version {
            body["expected_version"] = json!(version);
        }
        let wanted = Wanted {
            request: body.to_string(),
            channel,
            lines,
            allow_partial,
            expected_version,
        };
        let expected = self.shop.hold(&id, &wanted);
        self.asked.push(format!("PUT {id} {body}"));
        let answer = self.http.put(&format!("{RESERVATIONS}/{id}"), &body);
        match expected {
            Ok(status) => {
                self.met.insert(format!("hold answered {status}"));
                drop(answer.expect_status(status));
            }
            Err((code, short)) => {
                self.met.insert(format!("hold refused {code}"));
                let problem = answer.expect_problem(409, code).json();
                let lines = short
                    .iter()
                    .map(|(sku, asked, left)| json!({"sku": sku, "requested": asked, "available": left}));
                let shown = problem["lines"].as_array().cloned().unwrap_or_default();
                assert_eq!(shown, lines.collect::<Vec<_>>(), "{problem}");
            }
        }
        if self.shop.baskets.contains_key(&id) {
            self.look_at(&id);
        }
    }

    fn confirm(&mut self) {
        let Some(id) = self.some_basket() else { return };
        let mut listed = None;
        if self.random.random_bool(0.5) {
            let lines = self.shop.baskets[&id].lines.clone();
            let mut taken = Vec::new();
            for line in &lines {
                if self.random.random_bool(0.2) {
                    continue;
                }
                let most = line.held + i64::from(self.random.random_bool(0.4));
                let units = self.random.random_range(0..=most);
                let lot = (units > 0 && self.random.random_bool(0.4)).then(|| LOTS.choose(&mut self.random).expect("lots").0);
                taken.push((line.sku.clone(), units, lot.map(str::to_owned)));
            }
            listed = Some(taken);
        }
        let line = |(sku, units, lot): &(String, i64, Option<String>)| match lot {
            None => json!({"sku": sku, "quantity": units}),
            Some(lot) => json!({"sku": sku, "quantity": units, "lots": [{"lot": lot, "quantity": units}]}),
        };
        let body = listed.as_ref().map_or(
            json!({}),
            |lines| json!({"lines": lines.iter().map(line).collect::<Vec<_>>()}),
        );
        let mut after = self.shop.clone();
        let expected = after.confirm(&id, &body.to_string(), listed.as_deref());
        self.end(&id, "confirm", &body, expected, after);
    }

    fn cancel(&mut self) {
        let Some(id) = self.some_basket() else { return };
        let mut after = self.shop.clone();
        let expected = after.cancel(&id);
        self.end(&id, "cancel", &json!({}), expected, after);
    }

    fn end(&mut self, id: &str, verb: &str, body: &Value, expected: Result<(), Refused>, after: Shop) {
        self.asked.push(format!("{verb} {id} {body}"));
        let answer = self.http.post(&format!("{RESERVATIONS}/{id}/{verb}"), body);
        match expected {
            Ok(()) => {
                self.met.insert(format!("{verb} done"));
                drop(answer.expect_status(200));
                self.shop = after;
            }
            Err(code) => {
                self.met.insert(format!("{verb} refused {code}"));
                assert_eq!(
                    (answer.status >= 400, answer.code().as_str()),
                    (true, code),
                    "{}",
                    answer.text()
                );
            }
        }
        self.look_at(id);
    }

    fn some_taken(&mut self) -> usize {
        self.random.random_range(0..self.taken.len())
    }

    /// The same once more changes nothing.
    fn repeat(&mut self) {
        let n = self.some_taken();
        let taken = &self.taken[n];
        self.asked.push(format!("again {}", taken.event));
        let again = self.http.post("/v1/events", &taken.event).expect_status(200).json();
        assert_eq!(
            (&again["verdict"], &again["first"]),
            (&json!("duplicate"), &taken.verdict["verdict"]),
            "{again}"
        );
        assert_eq!(
            (&again["seq"], &again["version"]),
            (&taken.verdict["seq"], &taken.verdict["version"]),
            "{again}"
        );
    }

    /// The same id with other content is refused.
    fn reuse(&mut self) {
        let n = self.some_taken();
        let mut event = self.taken[n].event.clone();
        event["data"]["document"] = json!("another");
        self.tell(event, Err("id_reused"));
    }
}

/// A movement, as the walk chose it.
struct Asked {
    kind: &'static str,
    quantity: i64,
    lot: Option<&'static str>,
    /// The date that is told of the lot.
    told: Option<i64>,
    other_side: Inside,
    expired_first: bool,
}

impl Asked {
    fn judge(&self, shop: &mut Shop, sku: &str) -> Result<(&'static str, Left), Refused> {
        let lot = self.lot.unwrap_or("");
        if self.kind == "sale" {
            return Ok(shop.sell(sku, self.quantity, self.lot, None));
        }
        let sku = shop.sku(sku);
        sku.learn(lot, self.told)?;
        let leave = |from, to, finds| Leave {
            from,
            to,
            quantity: self.quantity.abs(),
            named: self.lot.map(|lot| (lot.to_owned(), self.quantity.abs())),
            good_until: None,
            expired_first: self.expired_first,
            finds,
        };
        let left = match self.kind {
            "receipt" => {
                sku.receive(lot, self.quantity);
                Left::default()
            }
            "return" => {
                sku.take_back(lot, self.quantity, self.other_side);
                Left::default()
            }
            "quarantine" => sku.leave(&leave(Inside::Sellable, To::Quarantine, true))?,
            "release" => sku.leave(&leave(Inside::Quarantine, To::Sellable, false))?,
            "write_off" => sku.leave(&leave(self.other_side, To::Waste, true))?,
            "adjustment" if self.quantity < 0 => sku.leave(&leave(Inside::Sellable, To::Discrepancy, false))?,
            "adjustment" => {
                sku.add(lot, self.quantity);
                Left::default()
            }
            other => panic!("no rule for {other}"),
        };
        Ok(("applied", left))
    }
}
