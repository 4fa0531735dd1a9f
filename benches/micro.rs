//! The steps of one event, timed one by one on fixed data: a look at where a microsecond went. `cargo bench --bench micro`.
//!
//! Few and stable, so that two runs can be compared. What must not grow unnoticed is counted in instructions instead
//! (`scripts/instructions.sh`), which repeat on a noisy machine; times are for looking. Rejected: criterion, which brings plots and
//! statistics for machines that are quieter than ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{Bencher, black_box};
use shelfd::domain::event::{Event, What};
use shelfd::domain::fact::{Changes, Outcome};
use shelfd::domain::stock::{Context, Limits, Policy, Stock, Voided, decide, evolve};
use shelfd::domain::units::{Id, Time};
use shelfd::domain::warehouse::{Calendar, Warehouse};
use shelfd::ingress::decode::Decoder;
use shelfd::storage::codec::{FactParts, Memory, SubjectRef, decode_fact, encode_fact};
use shelfd::storage::remembered;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A sale as tills send it: with its time, a document, and the trace of the request.
const ROW: &str = r#"{"specversion":"1.0","id":"7d0c51e4-0000-0001","source":"pos/2","type":"inventory.sale",
    "time":"2026-11-23T12:00:00Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "data":{"warehouse":"main","sku":"SKU-0000042","quantity":1,"document":"receipt 118"}}"#;
/// Noon of the day on which the row was written.
const NOON: Time = Time(1_795_435_200_000);

fn main() {
    divan::main();
}

fn warehouses() -> BTreeMap<Id, Arc<Warehouse>> {
    let main = Id::trusted("main");
    let warehouse = Warehouse {
        id: main.clone(),
        name: "main".to_owned(),
        time_zone: "UTC".to_owned(),
        channels: BTreeMap::new(),
    };
    BTreeMap::from([(main, Arc::new(warehouse))])
}

fn sale() -> Event {
    Decoder::new(&warehouses(), None).row(ROW).expect("the row is an event")
}

fn judged(stock: &Stock, event: &Event, (calendar, limits): (&Calendar, &Limits)) -> Changes {
    let context = Context {
        now: NOON,
        today: calendar.day_of(NOON),
        calendar,
        policy: Policy::default(),
        limits,
        unit: None,
    };
    decide(Some(stock), event, Voided::NotAVoid, &context).changes
}

/// A SKU with a million units, so that no number of sales is short, and as many entries in its recent book as asked for.
fn shelf(entries: i64) -> Stock {
    let (calendar, limits, mut stock) = (Calendar::utc(), Limits::default(), Stock::default());
    for minute in 0..entries.max(1) {
        let time = Time(NOON.0 - (entries - minute) * 60_000);
        let event = Event {
            what: What::Receipt { quantity: 1_000_000 },
            time: Some(time),
            ..sale()
        };
        let changes = judged(&stock, &event, (&calendar, &limits));
        evolve(&mut stock, &changes, time, NOON);
    }
    stock
}

fn encode(out: &mut Vec<u8>, sale: &Event, stock: &Stock, changes: &Changes) {
    let after = stock.after(Calendar::utc().day_of(NOON), NOON);
    let subject = SubjectRef::Sku {
        sku: sale.sku.as_str(),
        version: stock.version,
        changes,
        after: &after,
    };
    let fact = FactParts {
        warehouse: sale.warehouse.as_str(),
        what: "sale",
        business: sale.time.unwrap_or(NOON),
        recorded: NOON,
        origin: &sale.origin,
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

/// The JSON of one row, from bytes to a checked event.
#[divan::bench]
fn decode_row(bencher: Bencher<'_, '_>) {
    let warehouses = warehouses();
    let mut decoder = Decoder::new(&warehouses, None);
    bencher.bench_local(|| decoder.row(black_box(ROW)).is_ok());
}

/// What follows from a sale, by the length of the SKU's recent book.
#[divan::bench(args = [1, 32, 1_000])]
fn decide_sale(bencher: Bencher<'_, '_>, entries: i64) {
    let (stock, sale, terms) = (shelf(entries), sale(), (Calendar::utc(), Limits::default()));
    bencher.bench_local(|| judged(black_box(&stock), black_box(&sale), (&terms.0, &terms.1)));
}

/// The same changes made true.
#[divan::bench(args = [1, 1_000])]
fn fold_sale(bencher: Bencher<'_, '_>, entries: i64) {
    let mut stock = shelf(entries);
    let changes = judged(&stock, &sale(), (&Calendar::utc(), &Limits::default()));
    bencher.bench_local(|| evolve(black_box(&mut stock), black_box(&changes), NOON, NOON));
}

/// A sale's fact to bytes.
#[divan::bench]
fn encode_sale(bencher: Bencher<'_, '_>) {
    let (stock, sale, mut out) = (shelf(1), sale(), Vec::with_capacity(512));
    let changes = judged(&stock, &sale, (&Calendar::utc(), &Limits::default()));
    bencher.bench_local(|| {
        out.clear();
        encode(&mut out, black_box(&sale), black_box(&stock), &changes);
    });
}

/// And back.
#[divan::bench]
fn decode_sale(bencher: Bencher<'_, '_>) {
    let (stock, sale, mut out) = (shelf(1), sale(), Vec::new());
    let changes = judged(&stock, &sale, (&Calendar::utc(), &Limits::default()));
    encode(&mut out, &sale, &stock, &changes);
    bencher.bench_local(|| decode_fact(black_box(&out), 7));
}

/// The hash under which an id is remembered.
#[divan::bench]
fn dedupe_hash(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| remembered::hash(black_box("main"), black_box("pos/2"), black_box("7d0c51e4-0000-0001")));
}
