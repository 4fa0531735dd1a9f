//! The promises of stock, one by one, on a shelf that checks after every event what must always hold.
//!
//! The alternative, tests on the changes that `decide` returns, was rejected: how a promise is kept may change, the promise
//! may not.

mod accounts;
mod counts;
mod gates;
mod lates;
mod model;
mod streams;
mod transfers;
mod voids;

use crate::domain::event::{Event, LotRef, Origin, StreamPosition, What};
use crate::domain::fact::{Change, Changes, Fact, Outcome, Subject};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::Calendar;

use super::decide::at_length;
use super::{Context, Decision, Limits, Policy, Stock, Voided, check, decide, evolve};

/// 2026-11-22, the day on which all tests play, in UTC.
pub const TODAY: Day = Day(20_779);

/// `10:10` of the day.
pub fn clock(text: &str) -> Time {
    let (hours, minutes) = text.split_once(':').unwrap();
    let minutes = hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap();
    Time(i64::from(TODAY.0) * 86_400_000 + minutes * 60_000)
}

pub fn id(text: &str) -> Id {
    Id::trusted(text)
}

pub fn event(what: What) -> Event {
    Event {
        origin: Origin {
            source: id("wms/7"),
            id: id("e"),
            actor: None,
            reason: None,
            document: None,
            trace: None,
            extensions: None,
            fingerprint: 0,
        },
        warehouse: id("main"),
        sku: id("milk"),
        time: None,
        unit: None,
        lot: None,
        stream: None,
        expected_version: None,
        what,
    }
}

pub fn receipt(quantity: i64) -> Event {
    event(What::Receipt { quantity })
}

pub fn sale(quantity: i64) -> Event {
    event(What::Sale {
        quantity,
        reservation: None,
    })
}

pub fn count(quantity: i64) -> Event {
    event(What::Count { quantity })
}

pub fn void() -> Event {
    event(What::Void { event: id("e") })
}

impl Event {
    pub(super) fn at(mut self, time: &str) -> Event {
        self.time = Some(clock(time));
        self
    }

    pub(super) fn lot(mut self, lot: &str) -> Event {
        self.lot = Some(LotRef {
            id: id(lot),
            expires_on: None,
        });
        self
    }

    /// A lot that expires so many days from today.
    pub(super) fn lot_for(mut self, lot: &str, days: i32) -> Event {
        self.lot = Some(LotRef {
            id: id(lot),
            expires_on: Some(TODAY.plus(days)),
        });
        self
    }

    pub(super) fn because(mut self, reason: &str) -> Event {
        self.origin.reason = Some(reason.into());
        self
    }

    pub(super) fn said_by(mut self, source: &str) -> Event {
        self.origin.source = id(source);
        self
    }

    pub(super) fn number(mut self, seq: u64) -> Event {
        self.stream = Some(StreamPosition { stream: id("s"), seq });
        self
    }

    pub(super) fn in_unit(mut self, unit: Unit) -> Event {
        self.unit = Some(unit);
        self
    }
}

/// One SKU, its clock, and every fact so far.
pub struct Shelf {
    pub stock: Option<Stock>,
    pub now: Time,
    pub policy: Policy,
    pub limits: Limits,
    pub facts: Vec<Fact>,
}

impl Shelf {
    /// An unknown SKU at noon.
    pub fn new() -> Shelf {
        Shelf {
            stock: None,
            now: clock("12:00"),
            policy: Policy::default(),
            limits: Limits::default(),
            facts: Vec::new(),
        }
    }

    /// A book of so many units without a lot, received early.
    pub fn with(units: i64) -> Shelf {
        let mut shelf = Shelf::new();
        shelf.applies(receipt(units).at("06:00"));
        shelf
    }

    pub fn strict(mut self) -> Shelf {
        self.policy.strict = true;
        self
    }

    pub fn authoritative(mut self) -> Shelf {
        self.policy.authoritative = true;
        self
    }

    pub fn clock(&mut self, time: &str) -> &mut Shelf {
        self.now = clock(time);
        self
    }

    pub fn stock(&self) -> Stock {
        self.stock.clone().unwrap_or_default()
    }

    /// Judges an event without letting it happen.
    pub fn judge(&self, event: &Event, voided: Voided<'_>) -> Decision {
        let calendar = Calendar::utc();
        let ctx = Context {
            now: self.now,
            today: calendar.day_of(self.now),
            calendar: &calendar,
            policy: self.policy,
            limits: &self.limits,
            unit: None,
        };
        let decision = decide(self.stock.as_ref(), event, voided, &ctx);
        let at_length = at_length(self.stock.as_ref(), event, voided, &ctx);
        assert_eq!(decision, at_length, "the short way and the long one part at {event:?}");
        decision
    }

    /// Lets an event happen; what must always hold is checked after it, and that the state is the fold of its facts.
    pub fn send(&mut self, event: Event) -> Outcome {
        self.happen(event, Voided::NotAVoid)
    }

    /// Voids the fact of that place.
    pub fn void(&mut self, fact: usize) -> Outcome {
        let fact = self.facts[fact].clone();
        self.happen(void(), Voided::Fact(&fact))
    }

    pub fn happen(&mut self, event: Event, voided: Voided<'_>) -> Outcome {
        let decision = self.judge(&event, voided);
        let mut stock = self.stock();
        let version = stock.version;
        evolve(&mut stock, &decision.changes, decision.business, self.now);
        assert_eq!(stock.version, version + u64::from(!decision.changes.is_empty()));
        assert!(
            decision.outcome.binds() || decision.changes.is_empty(),
            "a refusal changes nothing"
        );
        self.facts.push(Fact {
            seq: self.facts.len() as u64 + 1,
            warehouse: event.warehouse,
            what: event.what.word().into(),
            business: decision.business,
            recorded: self.now,
            origin: event.origin,
            outcome: decision.outcome.clone(),
            payload: None,
            subject: Subject::Sku {
                sku: event.sku,
                version: stock.version,
                changes: decision.changes,
                after: stock.after(TODAY, self.now),
            },
        });
        if decision.outcome.binds() {
            self.stock = Some(stock);
        }
        self.holds();
        decision.outcome
    }

    fn holds(&self) {
        let stock = self.stock();
        assert_eq!(check(&stock), Ok(()), "after {:#?}", self.facts.last());
        let mut fold = Stock::default();
        for fact in &self.facts {
            let Subject::Sku { changes, version, .. } = &fact.subject else {
                continue;
            };
            evolve(&mut fold, changes, fact.business, fact.recorded);
            assert_eq!(fold.version, *version, "replay");
        }
        assert_eq!(fold, stock, "replay");
    }

    /// The event must be applied with nothing to add.
    #[track_caller]
    pub fn applies(&mut self, event: Event) -> &mut Shelf {
        assert_eq!(self.send(event), Outcome::APPLIED);
        self
    }

    /// The event must be applied, and so many units found for it.
    #[track_caller]
    pub fn finds(&mut self, event: Event, units: i64) -> &mut Shelf {
        let expected = Outcome::Applied {
            found: units,
            expired_lot: None,
        };
        assert_eq!(self.send(event), expected);
        self
    }

    #[track_caller]
    pub fn is_late(&mut self, event: Event) -> &mut Shelf {
        assert_eq!(self.send(event), Outcome::IncludedInCount);
        self
    }

    #[track_caller]
    pub fn refuses(&mut self, event: Event, code: Code) -> Refusal {
        let before = self.stock.clone();
        let Outcome::Refused(refusal) = self.send(event) else {
            panic!("{:?} is no refusal", self.facts.last());
        };
        assert_eq!(refusal.code, code, "{refusal}");
        assert_eq!(self.stock, before, "a refusal changes nothing");
        *refusal
    }

    /// Sellable, quarantine, in_transit, supply, demand, waste, discrepancy.
    #[track_caller]
    pub fn stands(&mut self, accounts: [i64; 7]) -> &mut Shelf {
        assert_eq!(self.stock().accounts(), accounts);
        self
    }

    #[track_caller]
    pub fn shows(&mut self, sellable: i64, owed: i64) -> &mut Shelf {
        let stock = self.stock();
        assert_eq!((stock.accounts()[0], stock.owed), (sellable, owed), "sellable and owed");
        self
    }

    /// Sellable units of a lot.
    pub fn lot(&self, lot: &str) -> i64 {
        self.stock().lot(&id(lot)).map_or(0, super::Lot::sellable)
    }

    pub fn flagged(&self) -> bool {
        self.stock().count_due
    }

    /// The changes of the newest fact.
    pub fn changes(&self) -> Changes {
        match &self.facts.last().unwrap().subject {
            Subject::Sku { changes, .. } => changes.clone(),
            _ => Changes::new(),
        }
    }

    /// Lets already decided changes happen, as a reservation's command would.
    pub fn change(&mut self, changes: &[Change]) {
        let mut stock = self.stock();
        evolve(&mut stock, changes, self.now, self.now);
        let version = stock.version;
        self.facts.push(Fact {
            seq: 0,
            warehouse: id("main"),
            what: "held".into(),
            business: self.now,
            recorded: self.now,
            origin: event(What::Receipt { quantity: 1 }).origin,
            outcome: Outcome::APPLIED,
            payload: None,
            subject: Subject::Sku {
                sku: id("milk"),
                version,
                changes: changes.iter().cloned().collect(),
                after: stock.after(TODAY, self.now),
            },
        });
        self.stock = Some(stock);
    }
}

/// The tests above hold every decision to the long way's; this one says that the usual event does not take it.
#[test]
fn the_usual_event_is_decided_in_a_few_steps() {
    let shelf = Shelf::with(10);
    let (calendar, limits) = (Calendar::utc(), Limits::default());
    let ctx = Context {
        now: shelf.now,
        today: calendar.day_of(shelf.now),
        calendar: &calendar,
        policy: Policy::default(),
        limits: &limits,
        unit: None,
    };
    let of_a_lot = |mut event: Event| {
        let (id, expires_on) = (id("A"), None);
        event.lot = Some(LotRef { id, expires_on });
        event
    };
    for (event, usual) in [
        (receipt(5), true),
        (sale(10), true),
        (sale(3).at("11:00"), true),
        (sale(11), false),
        (count(10), false),
        (of_a_lot(sale(1)), false),
    ] {
        let quick = super::quick::quick(shelf.stock.as_ref(), &event, &ctx);
        assert_eq!(quick.is_some(), usual, "{event:?}");
    }
}
