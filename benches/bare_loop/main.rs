//! The bare loop: the least that does the work of a single operation, as the ceiling that the node is measured against.
//!
//! axum and JSON in front, event ids and stock in maps under one mutex, and a thread that commits to redb whatever arrived
//! during its last commit: no actors, no lots, no claims, no ledger, no limits. It keeps the three promises that make the
//! comparison fair: an event id takes effect once, stock does not go below zero, and nothing is answered that is not durable.
//! It speaks as much of the API as `shelfd bench` needs: `POST /v1/events` (one or an array) and `GET …/skus/{sku}`.
//!
//! Rejected: a loop without JSON or without the mutex. It would be faster, and would be the ceiling of something else.
//!
//! ```text
//! cargo run --release -p bare_loop -- DIRECTORY [ADDRESS]
//! shelfd bench --url http://ADDRESS --subject 'bare loop'
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segments, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use redb::{Database, Durability, TableDefinition};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of a record, and its facts one after another.
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// As much of a batch as the node takes.
const BODY_LIMIT_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    warehouse: Cow<'a, str>,
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: i64,
}

#[derive(Clone, Copy, Default)]
struct Sku {
    sellable: i64,
    version: u64,
}

#[derive(Default)]
struct Book {
    /// Hash of (warehouse, source, id) to the sequence number of its effect.
    seen: HashMap<u128, (u64, u64)>,
    /// Hash of (warehouse, SKU) to its state.
    stock: HashMap<u128, Sku>,
    sequence: u64,
}

/// Facts that wait for their commit.
struct Waiting {
    facts: Vec<u8>,
    done: oneshot::Sender<()>,
}

struct Loop {
    book: Mutex<Book>,
    journal: Sender<Waiting>,
}

enum Verdict {
    Applied(u64, u64),
    Duplicate(u64, u64),
    Short,
}

impl Book {
    /// Decides one event and appends its fact.
    fn decide(&mut self, event: &Event<'_>, facts: &mut Vec<u8>) -> Verdict {
        let id = xxh3_128(format!("{}\0{}\0{}", event.data.warehouse, event.source, event.id).as_bytes());
        if let Some((sequence, version)) = self.seen.get(&id) {
            return Verdict::Duplicate(*sequence, *version);
        }
        let change = if event.kind == "inventory.sale" {
            -event.data.quantity
        } else {
            event.data.quantity
        };
        let sku = self
            .stock
            .entry(xxh3_128(format!("{}\0{}", event.data.warehouse, event.data.sku).as_bytes()))
            .or_default();
        if sku.sellable + change < 0 {
            return Verdict::Short;
        }
        sku.sellable += change;
        sku.version += 1;
        self.sequence += 1;
        self.seen.insert(id, (self.sequence, sku.version));
        let time = event
            .time
            .as_deref()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map_or(0, jiff::Timestamp::as_millisecond);
        for number in [self.sequence, sku.version, sku.sellable as u64, change as u64, time as u64] {
            facts.extend_from_slice(&number.to_le_bytes());
        }
        for text in [&event.id, &event.source, &event.kind, &event.data.warehouse, &event.data.sku] {
            facts.push(text.len() as u8);
            facts.extend_from_slice(text.as_bytes());
        }
        Verdict::Applied(self.sequence, sku.version)
    }
}

impl Loop {
    /// Decides events in their order, waits until their facts are durable, and writes the verdicts.
    async fn take(&self, events: &[Event<'_>]) -> Result<Vec<Verdict>, StatusCode> {
        let mut facts = Vec::with_capacity(events.len() * 160);
        let (done, durable) = oneshot::channel();
        let verdicts = {
            let mut book = self.book.lock();
            let verdicts: Vec<Verdict> = events.iter().map(|event| book.decide(event, &mut facts)).collect();
            // Sent under the lock: the journal has the order of the decisions. A refusal waits too, for the state it was judged by.
            self.journal
                .send(Waiting { facts, done })
                .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
            verdicts
        };
        durable.await.map_err(|_| StatusCode::INSUFFICIENT_STORAGE)?;
        Ok(verdicts)
    }
}

async fn events(State(node): State<Arc<Loop>>, body: Bytes) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let batch = text.trim_ascii_start().starts_with('[');
    let events: Result<Vec<Event<'_>>, _> = if batch {
        serde_json::from_str(text)
    } else {
        serde_json::from_str(text).map(|event| vec![event])
    };
    let Ok(events) = events else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let verdicts = match node.take(&events).await {
        Ok(verdicts) => verdicts,
        Err(status) => return status.into_response(),
    };
    let mut out = String::with_capacity(verdicts.len() * 100 + 20);
    out.push_str(if batch { "{\"verdicts\":[" } else { "" });
    for (index, (event, verdict)) in events.iter().zip(&verdicts).enumerate() {
        if index > 0 {
            out.push(',');
        }
        // Writing to a text cannot fail.
        let _ = write!(out, "{{\"id\":{:?},\"source\":{:?},", event.id, event.source);
        let _ = match verdict {
            Verdict::Applied(sequence, version) => {
                write!(out, "\"verdict\":\"applied\",\"seq\":{sequence},\"version\":{version}}}")
            }
            Verdict::Duplicate(sequence, version) => {
                write!(
                    out,
                    "\"verdict\":\"duplicate\",\"first\":\"applied\",\"seq\":{sequence},\"version\":{version}}}"
                )
            }
            Verdict::Short => write!(
                out,
                "\"verdict\":\"refused\",\"problem\":{{\"code\":\"insufficient_stock\",\"status\":409}}}}"
            ),
        };
    }
    out.push_str(if batch { "]}" } else { "" });
    ([(header::CONTENT_TYPE, "application/json")], out).into_response()
}

async fn sku(State(node): State<Arc<Loop>>, Segments((warehouse, sku)): Segments<(String, String)>) -> Response {
    let key = xxh3_128(format!("{warehouse}\0{sku}").as_bytes());
    let Some(state) = node.book.lock().stock.get(&key).copied() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let body = format!(
        "{{\"warehouse\":{warehouse:?},\"sku\":{sku:?},\"unit\":\"each\",\"version\":{},\"accounts\":{{\"sellable\":{},\"quarantine\":0,\
         \"in_transit\":0,\"supply\":0,\"demand\":0,\"waste\":0,\"discrepancy\":0}},\"lots\":[],\"claimed\":0,\"owed\":0,\
         \"available\":{{\"default\":{}}},\"last_count\":null,\"flags\":[]}}",
        state.version, state.sellable, state.sellable
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Commits whatever arrived during the last commit, as one record.
fn commit(database: &Database, arrivals: &Receiver<Waiting>) -> Result<(), Box<dyn Error>> {
    let (mut number, mut record, mut waiting) = (0_u64, Vec::new(), Vec::new());
    while let Ok(first) = arrivals.recv() {
        for arrived in std::iter::once(first).chain(arrivals.try_iter()) {
            record.extend_from_slice(&arrived.facts);
            waiting.push(arrived.done);
        }
        if !record.is_empty() {
            number += 1;
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.open_table(JOURNAL)?.insert(number, record.as_slice())?;
            transaction.commit()?;
            record.clear();
        }
        for done in waiting.drain(..) {
            // Who has gone away does not wait for the answer.
            let _ = done.send(());
        }
    }
    Ok(())
}

async fn serve(address: SocketAddr, node: Arc<Loop>) -> Result<(), Box<dyn Error>> {
    let routes = Router::new()
        .route("/v1/events", post(events))
        .route("/v1/warehouses/{warehouse}/skus/{sku}", get(sku))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(node);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            // A caller that breaks off is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let directory = words.next().ok_or("usage: bare_loop DIRECTORY [ADDRESS]")?;
    let address: SocketAddr = words.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;
    std::fs::create_dir_all(&directory)?;
    let database = Database::create(Path::new(&directory).join("bare_loop.redb"))?;
    let (journal, arrivals) = channel();
    thread::Builder::new().name("journal".to_owned()).spawn(move || {
        if let Err(error) = commit(&database, &arrivals) {
            eprintln!("the journal failed: {error}");
            std::process::exit(1);
        }
    })?;
    let node = Arc::new(Loop {
        book: Mutex::default(),
        journal,
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve(address, node))
}
