//! The steps of one event that judge and write, each run a given number of times on fixed data, for an instruction counter.
//!
//! Times on a shared machine differ by a third from one minute to the next; the number of instructions does not. The node's own
//! files are compiled here by their paths, without the store, the actors and the server that the whole library brings. Rejected:
//! an optimised build of the library, which would take minutes in every fresh checkout.
//!
//! ```text
//! valgrind --tool=callgrind target/debug/shelfd-counts STEP TIMES
//! ```
//! The difference between two numbers of times is what the repetitions cost; `scripts/instructions.sh` does that.

#![expect(
    dead_code,
    unused_imports,
    reason = "only a few of the functions in these files are counted"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use crate::domain::event::{Event, Origin, What};
use crate::domain::fact::{After, Changes, Outcome};
use crate::domain::stock::{Context, Limits, Policy, Stock, Voided, decide, evolve};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse};
use crate::ingress::decode::Decoder;
use crate::ingress::rows::{self, Format};
use crate::storage::codec::{FactParts, Memory, SubjectRef, decode_fact, encode_fact};

#[path = "../../src/domain/mod.rs"]
mod domain;

mod ingress;
mod storage;

/// A sale as tills send it: with its time, a document, and the trace of the request.
const ROW: &str = r#"{"specversion":"1.0","id":"7d0c51e4-0000-0001","source":"pos/2","type":"inventory.sale",
    "time":"2026-11-23T12:00:00Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "data":{"warehouse":"main","sku":"SKU-0000042","quantity":1,"document":"receipt 118"}}"#;
/// Noon of the day on which the row was written.
const NOON: Time = Time(1_795_435_200_000);

/// What every step works on.
struct Fixture {
    warehouses: BTreeMap<Id, Arc<Warehouse>>,
    calendar: Calendar,
    limits: Limits,
    stock: Stock,
    sale: Event,
}

impl Fixture {
    fn new() -> Fixture {
        let main = Id::trusted("main");
        let warehouse = Warehouse {
            id: main.clone(),
            name: "main".to_owned(),
            time_zone: "UTC".to_owned(),
            channels: BTreeMap::new(),
        };
        let warehouses = BTreeMap::from([(main, Arc::new(warehouse))]);
        let sale = Decoder::new(&warehouses, None).row(ROW).expect("the row is an event");
        let mut fixture = Fixture {
            warehouses,
            calendar: Calendar::utc(),
            limits: Limits::default(),
            stock: Stock::default(),
            sale,
        };
        let receipt = Event {
            what: What::Receipt { quantity: 1_000_000 },
            time: Some(Time(NOON.0 - 3_600_000)),
            ..fixture.sale.clone()
        };
        for event in [receipt, fixture.sale.clone()] {
            let changes = fixture.changes(&event);
            let business = event.time.unwrap_or(NOON);
            fixture.stock = folded(&fixture.stock, &changes, business);
        }
        fixture
    }

    fn context(&self) -> Context<'_> {
        Context {
            now: NOON,
            today: self.calendar.day_of(NOON),
            calendar: &self.calendar,
            policy: Policy::default(),
            limits: &self.limits,
            unit: None,
        }
    }

    fn changes(&self, event: &Event) -> Changes {
        decide(Some(&self.stock), event, Voided::NotAVoid, &self.context()).changes
    }

    fn after(&self) -> After {
        self.stock.after(self.calendar.day_of(NOON), NOON)
    }
}

/// Ten rows in one body, which differ in their ids.
fn body() -> Vec<u8> {
    let rows: Vec<String> = (0..10).map(|row| ROW.replace("0001", &format!("{row:04}"))).collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

/// The stock after some changes.
fn folded(stock: &Stock, changes: &Changes, business: Time) -> Stock {
    let mut stock = stock.clone();
    evolve(&mut stock, changes, business, NOON);
    stock
}

/// The bytes of the sale's fact.
fn encode(fixture: &Fixture, changes: &Changes, after: &After, out: &mut Vec<u8>) {
    out.clear();
    let subject = SubjectRef::Sku {
        sku: fixture.sale.sku.as_str(),
        version: fixture.stock.version + 1,
        changes,
        after,
    };
    let fact = FactParts {
        warehouse: fixture.sale.warehouse.as_str(),
        what: "sale",
        business: fixture.sale.time.unwrap_or(NOON),
        recorded: NOON,
        origin: &fixture.sale.origin,
        outcome: &Outcome::APPLIED,
        payload: None,
        subject,
        memory: Memory {
            id: true,
            ..Memory::default()
        },
    };
    encode_fact(out, fact);
}

/// The steps by their names.
const STEPS: [&str; 6] = ["decode_row", "decode_body", "decide", "fold", "encode_fact", "decode_fact"];

fn run(step: &str, times: usize) {
    let fixture = Fixture::new();
    let changes = fixture.changes(&fixture.sale);
    let (after, mut bytes) = (fixture.after(), Vec::with_capacity(512));
    encode(&fixture, &changes, &after, &mut bytes);
    let mut decoder = Decoder::new(&fixture.warehouses, None);
    let body = body();
    let mut shelf = fixture.stock.clone();
    for _ in 0..times {
        match step {
            "decode_row" => {
                black_box(decoder.row(black_box(ROW)).is_ok());
            }
            "decode_body" => {
                black_box(rows::decode(black_box(&body), Format::Json, 100, &mut decoder).is_ok());
            }
            "decide" => {
                black_box(fixture.changes(black_box(&fixture.sale)));
            }
            "fold" => evolve(black_box(&mut shelf), black_box(&changes), NOON, NOON),
            "encode_fact" => encode(black_box(&fixture), &changes, &after, black_box(&mut bytes)),
            _ => {
                black_box(decode_fact(black_box(&bytes), 7).is_ok());
            }
        }
    }
}

fn main() -> Result<(), String> {
    let usage = || format!("usage: shelfd-counts {} TIMES", STEPS.join("|"));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [step, times] = words.as_slice() else {
        return Err(usage());
    };
    let times = times.parse().map_err(|_| usage())?;
    if !STEPS.contains(&step.as_str()) {
        return Err(usage());
    }
    run(step, times);
    Ok(())
}
