//! A target for sequences of operations: bytes are events and commands over two SKUs, three lots and four baskets, and after each of
//! them must hold what must always hold. It shares no code with the decisions but `check`.
//!
//! The proptest machine in `reservation` draws its steps from distributions; here coverage leads to them.

use std::collections::BTreeMap;

use super::available::at_risk_changes;
use super::event::{Event, Inside, LotRef, Origin, ReturnTo, StreamPosition, What};
use super::fact::{Account, Change, Changes, Fact, Outcome, Subject};
use super::reservation::{
    BasketDecision, ConfirmLine, ConfirmRequest, HoldRequest, LineRequest, Reservation, State, cancel, confirm, expire, extend,
    hold, sale,
};
use super::stock::{Context, Limits, Policy, Stock, Voided, check, check_promises, decide, evolve};
use super::units::{Day, Id, Time};
use super::warehouse::{Calendar, Channel, Warehouse};

const TODAY: Day = Day(20_779);
const STEPS: usize = 64;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `many`; 0 when there are no more bytes.
    fn below(&mut self, many: u8) -> u8 {
        self.next().unwrap_or(0) % many
    }

    fn units(&mut self) -> i64 {
        i64::from(self.below(24)) + 1
    }
}

struct World {
    now: Time,
    day: Day,
    stocks: BTreeMap<Id, Stock>,
    folds: BTreeMap<Id, Stock>,
    baskets: BTreeMap<Id, Reservation>,
    facts: Vec<Fact>,
    /// How many of them are in `folds`.
    folded: usize,
    voided: Vec<u64>,
    site: Warehouse,
    limits: Limits,
    policy: Policy,
    happened: usize,
}

/// A sequence of operations.
pub fn operations(bytes: &[u8]) {
    run(bytes);
}

fn run(bytes: &[u8]) -> usize {
    let mut bytes = Bytes(bytes);
    let mut world = World::new(bytes.below(4));
    for _ in 0..STEPS {
        let Some(kind) = bytes.next() else { break };
        world.step(kind, &mut bytes);
        world.holds();
    }
    world.happened
}

fn sku(number: u8) -> Id {
    Id::trusted(["A", "B"][usize::from(number % 2)])
}

fn basket(number: u8) -> Id {
    Id::trusted(["r1", "r2", "r3", "r4"][usize::from(number % 4)])
}

/// None, `""`, one that expired yesterday, one that lasts, one without a date.
fn lot(number: u8) -> Option<LotRef> {
    let named = |id: &str, days: Option<i32>| {
        Some(LotRef {
            id: Id::trusted(id),
            expires_on: days.map(|days| TODAY.plus(days)),
        })
    };
    match number % 6 {
        0 => named("", None),
        1 => named("old", Some(-1)),
        2 => named("fresh", Some(2)),
        3 => named("salt", None),
        _ => None,
    }
}

/// What an event claims; `None`: it is a void.
fn claimed(kind: u8, units: i64, flags: u8, reservation: Option<Id>) -> Option<What> {
    let transfer = Id::trusted(if flags & 1 == 0 { "t" } else { "u" });
    let from = [Inside::Sellable, Inside::Quarantine, Inside::InTransit][usize::from(flags % 3)];
    let to = if flags & 2 == 0 {
        ReturnTo::Sellable
    } else {
        ReturnTo::Quarantine
    };
    Some(match kind {
        0 => What::Receipt { quantity: units },
        1 | 2 => What::Sale {
            quantity: units,
            reservation,
        },
        3 => What::Return { quantity: units, to },
        4 => What::Quarantine { quantity: units },
        5 => What::Release { quantity: units },
        6 => What::WriteOff { quantity: units, from },
        7 => What::TransferOut {
            quantity: units,
            transfer,
            to_warehouse: Id::trusted("back"),
        },
        8 => What::TransferIn {
            quantity: units,
            transfer,
        },
        9 => What::Underway {
            lots: lot(flags).map(|lot| (lot, units)).into_iter().collect(),
            transfer,
            from_warehouse: Id::trusted("back"),
        },
        10 => What::Adjustment { delta: units - 12 },
        11 | 12 => What::Count { quantity: units - 1 },
        13 => What::Snapshot { quantity: units - 1 },
        _ => return None,
    })
}

impl World {
    fn new(flags: u8) -> World {
        let channel = |buffer| Channel {
            buffer,
            allow_no_expiry: true,
            ..Channel::default()
        };
        World {
            now: Time(i64::from(TODAY.0) * 86_400_000 + 43_200_000),
            day: TODAY,
            stocks: BTreeMap::new(),
            folds: BTreeMap::new(),
            baskets: BTreeMap::new(),
            facts: Vec::new(),
            folded: 0,
            voided: Vec::new(),
            site: Warehouse {
                id: Id::trusted("main"),
                name: String::new(),
                time_zone: "UTC".into(),
                channels: [(Id::trusted("default"), channel(0)), (Id::trusted("web"), channel(2))].into(),
            },
            limits: Limits {
                book_entries: 16,
                ..Limits::default()
            },
            policy: Policy {
                strict: flags & 1 != 0,
                authoritative: flags & 2 != 0,
                keep_forever: false,
            },
            happened: 0,
        }
    }

    fn today(&self) -> Day {
        Calendar::utc().day_of(self.now)
    }

    /// Asks something with the context of now.
    fn ask<R>(&self, ask: impl FnOnce(&Context<'_>) -> R) -> R {
        let calendar = Calendar::utc();
        ask(&Context {
            now: self.now,
            today: self.today(),
            calendar: &calendar,
            policy: self.policy,
            limits: &self.limits,
            unit: None,
        })
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        self.now = self.now.plus_ms(1_000);
        self.turn_day();
        self.expire_due();
        match kind % 24 {
            kind @ 0..=15 => self.event(kind, bytes),
            16..=18 => self.hold(bytes),
            19 => self.confirm(bytes),
            20 => {
                let (id, of) = (basket(bytes.below(4)), u64::from(bytes.below(3)));
                let decided = self.ask(|ctx| cancel(self.baskets.get(&id), of, &|sku| self.stocks.get(sku), ctx));
                self.basket(decided.ok());
            }
            21 => {
                let (id, ahead) = (basket(bytes.below(4)), i64::from(bytes.below(200)));
                let until = self.now.plus_ms((ahead - 20) * 10_000);
                let decided = self.ask(|ctx| {
                    extend(
                        self.baskets.get(&id),
                        until,
                        ahead as u64,
                        &self.site,
                        &|sku| self.stocks.get(sku),
                        ctx,
                    )
                });
                self.basket(decided.ok());
            }
            22 => self.now = self.now.plus_ms(i64::from(bytes.below(250)) * 10_000),
            _ => self.now = self.now.plus_ms(i64::from(bytes.below(30)) * 3_600_000),
        }
    }

    /// What may be promised changes with the day, and a warehouse writes it down.
    fn turn_day(&mut self) {
        let today = self.today();
        if std::mem::replace(&mut self.day, today) == today {
            return;
        }
        let risks = |(sku, stock): (&Id, &Stock)| (sku.clone(), at_risk_changes(stock, today));
        let turned: Vec<(Id, Changes)> = self.stocks.iter().map(risks).collect();
        for (sku, changes) in turned {
            let now = self.now;
            self.happen(&sku, "expired", changes, now, Outcome::APPLIED);
        }
    }

    /// By contract whoever decides has expired what is due.
    fn expire_due(&mut self) {
        let due = |basket: &&Reservation| basket.state == State::Held && basket.expires.is_some_and(|at| at <= self.now);
        let due: Vec<Id> = self.baskets.values().filter(due).map(|basket| basket.id.clone()).collect();
        for id in due {
            let decided = self.ask(|ctx| expire(self.baskets.get(&id), &|sku| self.stocks.get(sku), ctx));
            self.basket(Some(decided.expect("what is due can be expired")));
        }
    }

    fn event(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        let (of, units, flags) = (sku(bytes.below(2)), bytes.units(), bytes.next().unwrap_or(255));
        let reservation = (kind == 2).then(|| basket(flags));
        let Some(what) = claimed(kind, units, flags, reservation.clone()) else {
            return self.void(flags);
        };
        let event = Event {
            origin: origin(self.facts.len() as u64),
            warehouse: Id::trusted("main"),
            sku: of.clone(),
            // The last hours, and a little of what comes.
            time: (flags & 64 == 0).then(|| self.now.plus_ms((i64::from(flags % 32) - 30) * 1_200_000)),
            unit: None,
            lot: lot(flags >> 3),
            stream: (flags & 128 == 0).then(|| StreamPosition {
                stream: Id::trusted("s"),
                seq: u64::from(flags % 8) + 1,
            }),
            expected_version: None,
            what,
        };
        if matches!(event.what, What::Adjustment { delta: 0 })
            || matches!(&event.what, What::Underway { lots, .. } if lots.is_empty())
        {
            return;
        }
        let named = reservation.and_then(|id| self.baskets.get(&id).cloned());
        let (decision, after) = self.ask(|ctx| match &named {
            Some(basket) => sale(basket, self.stocks.get(&of), &event, ctx),
            None => (decide(self.stocks.get(&of), &event, Voided::NotAVoid, ctx), None),
        });
        let before = self.stocks.get(&of).map_or([0; 7], Stock::accounts);
        let bound = decision.outcome.binds();
        assert!(bound || decision.changes.is_empty(), "a refusal changes nothing");
        self.happen(&of, event.what.word(), decision.changes, decision.business, decision.outcome);
        if let Some(after) = after {
            self.keep(after);
        }
        let after = self.stocks.get(&of).map_or([0; 7], Stock::accounts);
        // What physically left has left, whatever the book said: unless a count had seen it, or a basket's confirm.
        if let (What::Sale { quantity, .. }, true, None) = (&event.what, bound, &named) {
            assert_eq!(after[Account::Demand as usize] - before[Account::Demand as usize], *quantity);
        }
    }

    fn void(&mut self, which: u8) {
        let Some(at) = usize::from(which).checked_rem(self.facts.len()) else {
            return;
        };
        let fact = self.facts[at].clone();
        let Subject::Sku { sku: of, .. } = &fact.subject else { return };
        // Only what a source has said and the node has remembered can be named by a void.
        let of_a_basket = ["held", "replaced", "confirmed", "cancelled", "expired", "extended"];
        if !fact.outcome.binds() || of_a_basket.contains(&&*fact.what) {
            return;
        }
        let event = Event {
            origin: origin(self.facts.len() as u64),
            warehouse: Id::trusted("main"),
            sku: of.clone(),
            time: None,
            unit: None,
            lot: None,
            stream: None,
            expected_version: None,
            what: What::Void {
                event: fact.origin.id.clone(),
            },
        };
        let found = match self.voided.contains(&fact.seq) {
            true => Voided::Already,
            false => Voided::Fact(&fact),
        };
        let decision = self.ask(|ctx| decide(self.stocks.get(of), &event, found, ctx));
        if decision.outcome.binds() {
            assert!(!self.voided.contains(&fact.seq), "an event is voided once");
            self.voided.push(fact.seq);
        }
        self.happen(of, "void", decision.changes, decision.business, decision.outcome);
    }

    fn hold(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flags, days) = (basket(bytes.below(4)), bytes.next().unwrap_or(0), bytes.below(6));
        let count = 1 + flags % 2;
        let line = |number: u8, bytes: &mut Bytes<'_>| LineRequest {
            sku: sku(number),
            quantity: bytes.units(),
            min_shelf_life_days: (days < 4).then_some(u32::from(days)),
        };
        let request = HoldRequest {
            id: id.clone(),
            channel: Id::trusted(if flags & 2 == 0 { "default" } else { "web" }),
            lines: (0..count).map(|number| line(number + (flags >> 2), bytes)).collect(),
            ttl_s: [None, Some(0), Some(30), Some(600)][usize::from(flags >> 4) % 4],
            allow_partial: flags & 8 != 0,
            expected_version: None,
            fingerprint: u64::from(flags) << 8 | u64::from(days),
        };
        let decided = self.ask(|ctx| hold(self.baskets.get(&id), &request, &self.site, &|sku| self.stocks.get(sku), ctx));
        let Ok(decided) = decided else { return };
        let grew = !self.baskets.contains_key(&id);
        self.basket(Some(decided));
        if grew {
            for line in &request.lines {
                let stock = self.stocks.get(&line.sku);
                let fits = stock.is_none_or(|stock| check_promises(stock, self.today()).is_ok());
                assert!(fits, "no_oversell: {request:?} on {stock:?}");
            }
        }
    }

    fn confirm(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flags) = (basket(bytes.below(4)), bytes.next().unwrap_or(0));
        let line = |number: u8, bytes: &mut Bytes<'_>| {
            let quantity = i64::from(bytes.below(12));
            let lots = lot(flags >> 2).filter(|_| flags & 2 != 0 && quantity > 0);
            ConfirmLine {
                sku: sku(number),
                quantity,
                lots: lots.map(|lot| (lot.id, quantity)).into_iter().collect(),
            }
        };
        let request = ConfirmRequest {
            time: (flags & 64 != 0).then(|| self.now.plus_ms(-i64::from(flags % 32) * 600_000)),
            lines: (flags & 1 != 0).then(|| (0..2).map(|number| line(number, bytes)).collect()),
            fingerprint: u64::from(flags),
        };
        let decided = self.ask(|ctx| confirm(self.baskets.get(&id), &request, &|sku| self.stocks.get(sku), ctx));
        self.basket(decided.ok());
    }

    /// A command's facts, all of them.
    fn basket(&mut self, decided: Option<BasketDecision>) {
        let Some(decided) = decided else { return };
        for line in decided.lines {
            self.happen(&line.sku, decided.what, line.changes, decided.business, Outcome::APPLIED);
        }
        self.keep(decided.after);
    }

    fn keep(&mut self, after: Reservation) {
        if let Some(before) = self.baskets.get(&after.id)
            && before.state != State::Held
        {
            // A confirmed basket counts the sales that have matched it, and nothing else of an ended one changes.
            assert_eq!((before.state, &before.end), (after.state, &after.end), "final_ends");
        }
        self.baskets.insert(after.id.clone(), after);
    }

    fn happen(&mut self, of: &Id, what: &str, changes: Changes, business: Time, outcome: Outcome) {
        let moves = changes
            .iter()
            .any(|change| matches!(change, Change::Move { .. } | Change::Claim(_)));
        self.happened += usize::from(moves);
        if !changes.is_empty() {
            evolve(self.stocks.entry(of.clone()).or_default(), &changes, business, self.now);
        }
        let stock = self.stocks.get(of).cloned().unwrap_or_default();
        let seq = self.facts.len() as u64 + 1;
        self.facts.push(Fact {
            seq,
            warehouse: Id::trusted("main"),
            what: what.into(),
            business,
            recorded: self.now,
            origin: origin(seq - 1),
            outcome,
            payload: None,
            subject: Subject::Sku {
                sku: of.clone(),
                version: stock.version,
                after: stock.after(self.today(), self.now),
                changes,
            },
        });
    }

    /// Conservation, no_negative, replay, whole_basket; and no firm promise without goods, as of each SKU's last fact.
    fn holds(&mut self) {
        for fact in &self.facts[self.folded..] {
            if let Subject::Sku {
                sku, changes, version, ..
            } = &fact.subject
                && !changes.is_empty()
            {
                let fold = self.folds.entry(sku.clone()).or_default();
                evolve(fold, changes, fact.business, fact.recorded);
                assert_eq!(fold.version, *version, "ordered_publication");
            }
        }
        self.folded = self.facts.len();
        assert_eq!(self.folds, self.stocks, "replay");
        for (of, stock) in &self.stocks {
            assert_eq!(check(stock), Ok(()), "{of}: {stock:?}");
            for claim in stock.claims.iter() {
                let held = self
                    .baskets
                    .get(&claim.reservation)
                    .filter(|basket| basket.state == State::Held);
                let line = held.and_then(|basket| basket.lines.iter().find(|line| line.sku == *of));
                assert_eq!(
                    line.map(|line| line.held),
                    Some(claim.quantity),
                    "whole_basket: {of}, {claim:?}"
                );
            }
        }
        for basket in self.baskets.values().filter(|basket| basket.state == State::Held) {
            for line in basket.lines.iter().filter(|line| line.held > 0) {
                let claim = self.stocks.get(&line.sku).and_then(|stock| stock.claims.of(&basket.id));
                assert_eq!(claim.map(|claim| claim.quantity), Some(line.held), "whole_basket: {basket:?}");
            }
        }
    }
}

fn origin(number: u64) -> Origin {
    Origin {
        source: Id::trusted("wms/7"),
        id: Id::trusted(&format!("e{number}")),
        actor: None,
        reason: Some("damaged".into()),
        document: None,
        trace: None,
        extensions: None,
        fingerprint: number,
    }
}

#[cfg(test)]
pub(crate) fn happened(bytes: &[u8]) -> usize {
    run(bytes)
}
