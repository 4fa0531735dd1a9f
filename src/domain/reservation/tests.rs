//! What a basket promises, rule by rule.

use std::collections::BTreeMap;

use super::*;
use crate::domain::available::at_risk_changes;
use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{Account, Change, Claim, Outcome};
use crate::domain::stock::{Decision, Limits, Lot, Policy, Rare, Voided, decide, evolve};
use crate::domain::warehouse::{Calendar, Channel, Warehouse};

mod confirms;
mod ends;
mod holds;
mod properties;
mod sales;

/// Noon of the day 20,000, in a warehouse that keeps UTC.
const NOON: Time = Time(20_000 * 86_400_000 + 43_200_000);
const TODAY: Day = Day(20_000);
static LIMITS: Limits = Limits {
    book_ms: 86_400_000,
    book_entries: 1_024,
    id_window_ms: 7 * 86_400_000,
    max_ahead_ms: 300_000,
};

fn id(text: &str) -> Id {
    Id::trusted(text)
}

/// A lot, its days to live, its units.
type Batch<'a> = (&'a str, Option<i32>, i64);

/// A warehouse of one: its stocks, its baskets and its clock.
struct World {
    warehouse: Warehouse,
    calendar: Calendar,
    stocks: BTreeMap<Id, Stock>,
    baskets: BTreeMap<Id, Reservation>,
    now: Time,
    /// Every fact's SKU and changes, its business time and when it was decided.
    journal: Vec<(Id, Changes, Time, Time)>,
}

impl World {
    /// Channels `default` (nothing kept back) and `web` (buffer 2, may hold forever); every SKU starts with these lots.
    fn with(skus: &[(&str, &[Batch<'_>])]) -> World {
        let web = Channel {
            buffer: 2,
            ttl_s: 60,
            max_ttl_s: 600,
            allow_no_expiry: true,
        };
        let channels = BTreeMap::from([(id("default"), Channel::default()), (id("web"), web)]);
        let warehouse = Warehouse {
            id: id("w"),
            name: "W".into(),
            time_zone: "UTC".into(),
            channels,
        };
        let stock = |lots: &[Batch<'_>]| {
            let mut lots: Vec<Lot> = lots
                .iter()
                .map(|(lot, days, units)| Lot {
                    id: id(lot),
                    expires_on: days.map(|days| TODAY.plus(days)),
                    inside: [*units, 0, 0],
                    last_count: None.into(),
                })
                .collect();
            lots.sort_by(|a, b| a.id.cmp(&b.id));
            let units: i64 = lots.iter().map(|lot| lot.inside[0]).sum();
            let dated = lots.iter().any(|lot| lot.expires_on.is_some());
            Stock {
                lots: lots.into(),
                outside: [-units, 0, 0, 0],
                dated,
                ..Stock::default()
            }
        };
        let stocks = skus.iter().map(|(sku, lots)| (id(sku), stock(lots))).collect();
        World {
            warehouse,
            calendar: Calendar::utc(),
            stocks,
            baskets: BTreeMap::new(),
            now: NOON,
            journal: Vec::new(),
        }
    }

    /// One SKU `A` with so many units, without lots.
    fn of(units: i64) -> World {
        World::with(&[("A", &[("", None, units)])])
    }

    /// Asks, and makes true what was decided.
    fn ask<F>(&mut self, basket: &str, command: F) -> Result<BasketDecision, Refusal>
    where
        F: FnOnce(Option<&Reservation>, &Warehouse, &Stocks<'_>, &Context<'_>) -> Result<BasketDecision, Refusal>,
    {
        let ctx = context(self.now, &self.calendar);
        let (all, basket) = (&self.stocks, id(basket));
        let decision = command(self.baskets.get(&basket), &self.warehouse, &|sku: &Id| all.get(sku), &ctx)?;
        if decision.reply == Reply::Same {
            assert!(decision.lines.is_empty(), "a repetition changes nothing");
            return Ok(decision);
        }
        assert_eq!(
            decision.after.version,
            self.baskets.get(&basket).map_or(0, |old| old.version) + 1
        );
        for line in &decision.lines {
            assert!(!line.changes.is_empty());
            self.commit(&line.sku, &line.changes, decision.business);
        }
        self.baskets.insert(basket.clone(), decision.after.clone());
        for (sku, stock) in &self.stocks {
            let claim = stock.claims.iter().find(|claim| claim.reservation == basket);
            let line = decision.after.lines.iter().find(|line| &line.sku == sku);
            assert_eq!(
                claim.map_or(0, |claim| claim.quantity),
                line.map_or(0, |line| line.held),
                "claim and line agree"
            );
            if let (Some(claim), Some(line)) = (claim, line) {
                assert_eq!((claim.good_until, claim.deadline), (line.good_until, decision.after.expires));
            }
        }
        Ok(decision)
    }

    fn put(&mut self, request: HoldRequest) -> Result<BasketDecision, Refusal> {
        self.ask(request.id.clone().as_str(), |old, warehouse, stocks, ctx| {
            hold(old, &request, warehouse, stocks, ctx)
        })
    }

    fn cancel(&mut self, basket: &str, fingerprint: u64) -> Result<BasketDecision, Refusal> {
        self.ask(basket, |old, _, stocks, ctx| cancel(old, fingerprint, stocks, ctx))
    }

    fn expire(&mut self, basket: &str) -> Result<BasketDecision, Refusal> {
        self.ask(basket, |old, _, stocks, ctx| expire(old, stocks, ctx))
    }

    fn extend(&mut self, basket: &str, until: Time, fingerprint: u64) -> Result<BasketDecision, Refusal> {
        self.ask(basket, |old, warehouse, stocks, ctx| {
            extend(old, until, fingerprint, warehouse, stocks, ctx)
        })
    }

    fn confirm(&mut self, basket: &str, request: ConfirmRequest) -> Result<BasketDecision, Refusal> {
        self.ask(basket, |old, _, stocks, ctx| confirm(old, &request, stocks, ctx))
    }

    fn commit(&mut self, sku: &Id, changes: &Changes, business: Time) {
        evolve(self.stocks.entry(sku.clone()).or_default(), changes, business, self.now);
        self.journal.push((sku.clone(), changes.clone(), business, self.now));
    }

    /// Something happened to a SKU: decided as a node would, and made true.
    fn tell(&mut self, event: &Event) -> Decision {
        let ctx = context(self.now, &self.calendar);
        let stock = self.stocks.get(&event.sku);
        let named = match &event.what {
            What::Sale {
                reservation: Some(basket),
                ..
            } => self.baskets.get(basket),
            _ => None,
        };
        let (decision, after) = match named {
            Some(basket) => sale(basket, stock, event, &ctx),
            None => (decide(stock, event, Voided::NotAVoid, &ctx), None),
        };
        self.commit(&event.sku, &decision.changes, decision.business);
        self.baskets.extend(after.map(|after| (after.id.clone(), after)));
        decision
    }

    fn sell(&mut self, sku: &str, quantity: i64, basket: Option<&str>) -> Decision {
        self.tell(&event(
            sku,
            What::Sale {
                quantity,
                reservation: basket.map(id),
            },
            self.now,
        ))
    }

    fn units(&self, sku: &str, account: Account) -> i64 {
        self.stocks[sku].accounts()[account as usize]
    }

    fn stock(&mut self, sku: &str) -> &mut Stock {
        self.stocks.get_mut(sku).unwrap()
    }

    fn claim(&self, sku: &str, basket: &str) -> Option<&Claim> {
        self.stocks[sku]
            .claims
            .iter()
            .find(|claim| claim.reservation.as_str() == basket)
    }

    fn available(&self, sku: &str, days: Option<i32>) -> i64 {
        let today = self.calendar.day_of(self.now);
        crate::domain::available::available(&self.stocks[sku], days.map(|days| today.plus(days)), 0, today, self.now, None)
    }

    fn days_pass(&mut self, days: i64) {
        self.now = self.now.plus_ms(days * 86_400_000);
    }
}

fn context(now: Time, calendar: &Calendar) -> Context<'_> {
    Context {
        now,
        today: calendar.day_of(now),
        calendar,
        policy: Policy::default(),
        limits: &LIMITS,
        unit: None,
    }
}

fn event(sku: &str, what: What, time: Time) -> Event {
    let origin = Origin {
        source: id("pos/1"),
        id: id("e"),
        actor: None,
        reason: None,
        document: None,
        trace: None,
        extensions: None,
        fingerprint: 0,
    };
    Event {
        origin,
        warehouse: id("w"),
        sku: id(sku),
        time: Some(time),
        unit: None,
        lot: None,
        stream: None,
        expected_version: None,
        what,
    }
}

/// A confirm of `(SKU, units)`, of everything held when there are none.
fn takes(lines: Option<&[(&str, i64)]>) -> ConfirmRequest {
    let line = |(sku, quantity): &(&str, i64)| ConfirmLine {
        sku: id(sku),
        quantity: *quantity,
        lots: Vec::new(),
    };
    let lines: Option<Vec<ConfirmLine>> = lines.map(|lines| lines.iter().map(line).collect());
    let fingerprint = fingerprint(&lines);
    ConfirmRequest {
        time: None,
        lines,
        fingerprint,
    }
}

/// A request for `(SKU, units, days of shelf life)` on the channel `default`, whose content is what is written here.
fn wants(basket: &str, lines: &[(&str, i64, Option<u32>)]) -> HoldRequest {
    let line = |(sku, quantity, days): &(&str, i64, Option<u32>)| LineRequest {
        sku: id(sku),
        quantity: *quantity,
        min_shelf_life_days: *days,
    };
    let mut request = HoldRequest {
        id: id(basket),
        channel: id("default"),
        lines: lines.iter().map(line).collect(),
        ttl_s: None,
        allow_partial: false,
        expected_version: None,
        fingerprint: 0,
    };
    seal(&mut request);
    request
}

/// As [`wants`], with something else about it.
fn with(mut request: HoldRequest, change: impl FnOnce(&mut HoldRequest)) -> HoldRequest {
    change(&mut request);
    seal(&mut request);
    request
}

fn seal(request: &mut HoldRequest) {
    request.fingerprint = 0;
    request.fingerprint = fingerprint(request);
}

fn fingerprint(content: &impl std::fmt::Debug) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    format!("{content:?}").hash(&mut hasher);
    hasher.finish()
}

/// The refusal's code and field.
fn refused(result: Result<BasketDecision, Refusal>) -> (Code, Option<String>) {
    let refusal = result.expect_err("this should be refused");
    assert!(refusal.detail.len() > 10, "a refusal says what is wrong");
    (refusal.code, refusal.field)
}

fn field(code: Code, field: &str) -> (Code, Option<String>) {
    (code, Some(field.to_string()))
}

fn buffer(stock: &mut Stock, channel: &str, units: i64) {
    stock.rare = Some(Box::new(Rare {
        buffers: vec![(id(channel), units)],
        ..Rare::default()
    }));
}
