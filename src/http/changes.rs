//! `GET /v1/changes`: everything that changed, behind a cursor: as a page, as a long poll, or as a stream of server-sent events.
//!
//! A follower reads the journal, never a queue of its own, so a slow one costs the node nothing and one that was away misses
//! nothing. A cursor is opaque: it names the node, the life of its store and a sequence. One of another life gets 410, since the
//! same numbers would mean other facts there.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, Uri, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::edge::asks_for;
use super::error::{Answer, Problem};
use super::params::Params;
use super::shape::{self, FactView};
use super::{Door, server};
use crate::domain::fact::{Fact, Outcome, Subject};
use crate::domain::refusal::Code;
use crate::domain::units::Id;
use crate::domain::warehouse::{Calendar, Warehouse};

/// The longest that one poll may wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often a quiet stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Facts read at once; those that changed nothing are left out of the page.
const READ_AT_ONCE: usize = 1_000;

/// A page of changes, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changes {
    /// The facts.
    items: Vec<FactView>,
    /// Where to go on, also when the page is empty.
    next: String,
    /// Whether there is more at once.
    more: bool,
}

/// What a follower asked for.
struct Follow {
    door: Door,
    /// The next sequence to read.
    from: u64,
    warehouse: Option<Id>,
    sku: Option<Id>,
}

impl Door {
    fn cursor(&self, next: u64) -> String {
        format!("{}.{next}", self.store_tag)
    }

    /// The next sequence to read after a cursor.
    fn after(&self, cursor: &str) -> Answer<u64> {
        let bad = |detail: &str| Problem::field(Code::InvalidValue, "since", detail);
        let (tag, seq) = cursor
            .rsplit_once('.')
            .ok_or_else(|| bad("this is no cursor of /v1/changes; begin without one"))?;
        let seq: u64 = seq
            .parse()
            .map_err(|_| bad("this is no cursor of /v1/changes; begin without one"))?;
        if tag != &*self.store_tag || seq > self.node.view().durable_seq() + 1 {
            let detail = "the cursor is of another node or of a store that was restored since; read the SKUs anew and follow from a new cursor";
            return Err(Problem::new(Code::CursorGone, detail));
        }
        Ok(seq)
    }
}

/// `30s`, `500ms` or `1m`.
fn wait(text: &str) -> Answer<Duration> {
    let number = |text: &str| text.parse::<u32>().ok().map(u64::from);
    let wait = if let Some(ms) = text.strip_suffix("ms") {
        number(ms).map(Duration::from_millis)
    } else if let Some(s) = text.strip_suffix('s') {
        number(s).map(Duration::from_secs)
    } else {
        text.strip_suffix('m').and_then(number).map(|m| Duration::from_secs(m * 60))
    };
    wait.filter(|wait| *wait <= MAX_WAIT)
        .ok_or_else(|| Problem::field(Code::InvalidValue, "wait", "must be a time up to 60s, like 30s or 500ms"))
}

/// How many of the newest facts are asked for before what comes: 0 with `now`, 20 with `now-20`; `None`: it is a cursor.
fn newest(text: &str) -> Option<u64> {
    match text.strip_prefix("now")? {
        "" => Some(0),
        back => back.strip_prefix('-')?.parse::<u32>().ok().map(u64::from),
    }
}

/// What changed since a cursor: a page, a long poll (`wait=30s`), or a stream (`Accept: text/event-stream`).
#[utoipa::path(get, path = "/v1/changes", tag = "following",
    params(("since" = Option<String>, Query, description = "`next` of the page before; without it, from the oldest fact; `now`: only what comes; `now-20`: after the newest 20 facts have been told"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"),
        ("wait" = Option<String>, Query, description = "How long to wait for a first change, to 60s"),
        ("warehouse" = Option<String>, Query, description = "Only this warehouse"), ("sku" = Option<String>, Query, description = "Only this SKU"),
        ("Last-Event-ID" = Option<String>, Header, description = "For a stream: go on after this event")),
    responses((status = 200, description = "A page, or a stream of events whose `id` is the cursor after them", content((Changes = "application/json"), (String = "text/event-stream"))),
        (status = 410, description = "`cursor_gone`", content_type = "application/problem+json")))]
pub(super) async fn follow(State(door): State<Door>, uri: Uri, headers: HeaderMap) -> Answer {
    let params = Params::read(uri.query(), &["since", "limit", "wait", "warehouse", "sku"])?;
    let limit = params.limit()?;
    let wait = params.text("wait").map(wait).transpose()?;
    let streamed = asks_for(&headers, "text/event-stream");
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .filter(|_| streamed);
    let from = match last.or(params.text("since")) {
        Some(text) => match newest(text) {
            Some(facts) => {
                let next = door.node.view().durable_seq() + 1;
                next.saturating_sub(facts).max(door.node.store().floor()).max(1)
            }
            None => door.after(text)?,
        },
        None => door.node.store().floor().max(1),
    };
    let warehouse = params.text("warehouse").map(|text| door.warehouse(text)).transpose()?;
    let sku = params.text("sku").map(|text| super::params::id("sku", text)).transpose()?;
    let mut follow = Follow {
        door,
        from,
        warehouse: warehouse.map(|warehouse| warehouse.id.clone()),
        sku,
    };
    if streamed {
        // The first page is read before the answer begins, so that a cursor that is gone is a 410 and not a broken stream.
        let first = follow.page(limit).await?;
        return Ok(stream(follow, first, limit));
    }
    let deadline = Instant::now() + wait.unwrap_or_default();
    let mut durable = follow.door.node.durable();
    let mut shutdown = follow.door.shutdown.clone();
    loop {
        let (items, more) = follow.page(limit).await?;
        let wakened =
            items.is_empty() && !more && Instant::now() < deadline && follow.wait(&mut durable, &mut shutdown, deadline).await;
        if !wakened {
            let next = follow.door.cursor(follow.from);
            return Ok(Json(Changes { items, next, more }).into_response());
        }
    }
}

impl Follow {
    /// The next changes, and whether there is more at once.
    async fn page(&mut self, limit: usize) -> Answer<(Vec<FactView>, bool)> {
        let from = self.from;
        let facts = self
            .door
            .read(move |store| store.facts(from, READ_AT_ONCE))
            .await
            .map_err(|problem| match problem.code() {
                Code::HistoryGone => Problem::new(
                    Code::CursorGone,
                    "the cursor is older than the journal; read the SKUs anew and follow from a new cursor",
                ),
                _ => problem,
            })?;
        let warehouses = self.door.node.view().warehouses();
        let mut calendars = BTreeMap::new();
        let mut items = Vec::new();
        for fact in &facts {
            if items.len() == limit {
                break;
            }
            self.from = fact.seq + 1;
            if self.shows(fact) {
                items.push(shape::fact(fact, calendar_of(&mut calendars, &warehouses, &fact.warehouse)));
            }
        }
        let more = self.from <= self.door.node.view().durable_seq() && !facts.is_empty();
        Ok((items, more))
    }

    fn shows(&self, fact: &Fact) -> bool {
        let changed = match &fact.subject {
            Subject::Sku { changes, .. } => !changes.is_empty() || matches!(fact.outcome, Outcome::DeadLetter { .. }),
            Subject::Row { .. } => false,
            _ => true,
        };
        let here = self.warehouse.as_ref().is_none_or(|warehouse| *warehouse == fact.warehouse);
        let this = self.sku.as_ref().is_none_or(|wanted| match &fact.subject {
            Subject::Sku { sku, .. } | Subject::Catalogue { sku, .. } => sku == wanted,
            Subject::Reservation(basket) => basket.lines.iter().any(|line| line.sku == *wanted),
            Subject::Warehouse(_) | Subject::DeadLetter { .. } | Subject::Row { .. } | Subject::Command { .. } => false,
        });
        changed && here && this
    }

    /// Waits until there is something to read; `false` when the time is over or the node stops.
    async fn wait(
        &self,
        durable: &mut tokio::sync::watch::Receiver<u64>,
        shutdown: &mut tokio::sync::watch::Receiver<bool>,
        deadline: Instant,
    ) -> bool {
        let from = self.from;
        let arrived = durable.wait_for(|seq| *seq >= from);
        tokio::select! {
            () = server::stopped(shutdown) => false,
            arrived = timeout_at(deadline, arrived) => matches!(arrived, Ok(Ok(_))),
        }
    }
}

fn calendar_of<'c>(
    calendars: &'c mut BTreeMap<Id, Calendar>,
    warehouses: &BTreeMap<Id, Arc<Warehouse>>,
    warehouse: &Id,
) -> &'c Calendar {
    let make = || {
        warehouses
            .get(warehouse)
            .map_or_else(Calendar::utc, |site| shape::calendar(site))
    };
    calendars.entry(warehouse.clone()).or_insert_with(make)
}

/// What a stream has in hand.
struct Streaming {
    follow: Follow,
    ready: VecDeque<Bytes>,
    limit: usize,
    ended: bool,
}

impl Streaming {
    fn put(&mut self, items: &[FactView]) {
        let mut out = Vec::new();
        for item in items {
            let id = self.follow.door.cursor(item.seq + 1);
            out.extend_from_slice(format!("id: {id}\nevent: change\ndata: ").as_bytes());
            // Writing into memory cannot fail, and JSON text has no line breaks.
            let _ = serde_json::to_writer(&mut out, item);
            out.extend_from_slice(b"\n\n");
        }
        if !out.is_empty() {
            self.ready.push_back(out.into());
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Streaming)> {
        let mut durable = self.follow.door.node.durable();
        let mut shutdown = self.follow.door.shutdown.clone();
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            if self.ended || *shutdown.borrow() {
                return None;
            }
            let pending = self.follow.from <= self.follow.door.node.view().durable_seq();
            if !pending
                && !self
                    .follow
                    .wait(&mut durable, &mut shutdown, Instant::now() + HEARTBEAT)
                    .await
            {
                // The heartbeat carries the cursor, so that a quiet filter does not hold a follower's place back.
                let beat = format!("id: {}\n: heartbeat\n\n", self.follow.door.cursor(self.follow.from));
                return Some((Ok(beat.into()), self));
            }
            match self.follow.page(self.limit).await {
                Ok((items, _)) => self.put(&items),
                Err(problem) => {
                    let text = format!("event: problem\ndata: {{\"code\":\"{}\"}}\n\n", problem.code().as_str());
                    self.ready.push_back(text.into());
                    self.ended = true;
                }
            }
        }
    }
}

fn stream(follow: Follow, first: (Vec<FactView>, bool), limit: usize) -> Response<Body> {
    let mut streaming = Streaming {
        follow,
        ready: VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]),
        limit,
        ended: false,
    };
    streaming.put(&first.0);
    let body = Body::from_stream(futures_util::stream::unfold(streaming, Streaming::next));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_time_up_to_a_minute() {
        assert_eq!(wait("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(wait("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(wait("1m").unwrap(), Duration::from_secs(60));
        for bad in ["", "30", "61s", "-1s", "1.5s", "5 s", "99999999999s"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }
}
