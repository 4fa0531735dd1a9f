//! What was ignored and why, each source's streams and their gaps, and what was true or believed at another time.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Door;
use super::error::{Answer, Problem};
use super::params::{Params, Segments, sealed};
use super::shape::{self, Accounts, FactView, LotView, Page};
use super::skus::SCAN;
use crate::domain::refusal::Code;
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse};
use crate::storage::append::SkuIndex;
use crate::storage::recent::Duplicate;
use crate::storage::remembered::Why;

/// A SKU as it stood at another time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ThenView {
    warehouse: String,
    sku: String,
    unit: &'static str,
    /// The business time asked about.
    as_of: Option<String>,
    /// The recorded time asked about.
    known_at: Option<String>,
    /// Version of the newest fact that counts.
    version: u64,
    /// Sequence of that fact; 0: none.
    seq: u64,
    accounts: Accounts,
    lots: Vec<LotView>,
    claimed: i64,
    owed: i64,
}

/// What was true at `as_of`, as far as was known at `known_at`.
pub(super) async fn then(
    door: &Door,
    warehouse: &Warehouse,
    sku: &Id,
    index: SkuIndex,
    as_of: Option<Time>,
    known_at: Option<Time>,
) -> Answer<ThenView> {
    let now = door.node.now();
    for (name, time) in [("as_of", as_of), ("known_at", known_at)] {
        if time.is_some_and(|time| time > now) {
            let detail = "the time is ahead of the node's clock; what will be is not known";
            return Err(Problem::field(Code::TimeOutOfRange, name, detail));
        }
    }
    let then = door.read(move |store| store.as_of(index, as_of, known_at)).await?;
    let unit = door
        .node
        .view()
        .read(index, |stock, _| stock.map_or("each", |stock| stock.unit.as_str()));
    let calendar = shape::calendar(warehouse);
    let lot = |(id, lot): (&Id, &crate::storage::ledger::LotThen)| LotView {
        lot: id.as_str().into(),
        expires_on: lot.expires_on.and_then(shape::day),
        sellable: lot.inside[0],
        quarantine: lot.inside[1],
        in_transit: lot.inside[2],
        last_count: None,
    };
    Ok(ThenView {
        warehouse: warehouse.id.as_str().into(),
        sku: sku.as_str().into(),
        unit,
        as_of: as_of.map(|at| shape::time(at, &calendar)),
        known_at: known_at.map(|at| shape::time(at, &calendar)),
        version: then.version,
        seq: then.seq,
        accounts: then.accounts.into(),
        lots: then.lots.iter().map(lot).collect(),
        claimed: then.claimed,
        owed: then.owed,
    })
}

/// What was ignored, and why, newest first. Duplicates are no facts: the newest are kept in memory, and lead the list.
#[utoipa::path(get, path = "/v1/warehouses/{w}/ignored", tag = "following",
    params(("w" = String, Path, description = "The warehouse"),
        ("why" = Option<String>, Query, description = "`duplicate`, `refused`, `stale`, `included_in_count`, `recorded` or `dead_letter`"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = Page<FactView>)))]
pub(super) async fn ignored(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<Page<FactView>>> {
    let Segments([w]) = segments;
    let params = Params::read(uri.query(), &["why", "limit", "cursor"])?;
    let (limit, before) = (params.limit()?, params.before()?);
    let warehouse = door.warehouse(&w)?;
    let mut words = vec!["duplicate"];
    words.extend(Why::ALL.iter().map(|why| why.as_str()));
    let why = params.word("why", &words)?;
    let calendar = shape::calendar(&warehouse);
    let mut items = Vec::new();
    if before.is_none() && why.is_none_or(|why| why == "duplicate") {
        let newest = door.node.shared().duplicates.newest(&warehouse.id, limit);
        items.extend(newest.iter().map(|duplicate| repeated(duplicate, &calendar)));
    }
    if why == Some("duplicate") {
        return Ok(Json(Page { items, next: None }));
    }
    let (id, why) = (warehouse.id.clone(), why.and_then(Why::parse));
    // At least one, so that the list goes on where the duplicates end.
    let rest = limit.saturating_sub(items.len()).max(1);
    let page = door.read(move |store| store.noted(id.as_str(), why, before, rest)).await?;
    items.extend(page.facts.iter().map(|fact| shape::fact(fact, &calendar)));
    Ok(Json(Page {
        items,
        next: page.next.map(|seq| sealed(&seq.to_string())),
    }))
}

/// Rows that were refused at the door and name no warehouse of this node, newest first. Those that name one are in its own list.
#[utoipa::path(get, path = "/v1/ignored", tag = "following",
    params(("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = Page<FactView>)))]
pub(super) async fn nowhere(State(door): State<Door>, uri: Uri) -> Answer<Json<Page<FactView>>> {
    let params = Params::read(uri.query(), &["limit", "cursor"])?;
    let (limit, before) = (params.limit()?, params.before()?);
    let page = door
        .read(move |store| store.noted(Id::no_lot().as_str(), None, before, limit))
        .await?;
    let calendar = Calendar::utc();
    Ok(Json(Page {
        items: page.facts.iter().map(|fact| shape::fact(fact, &calendar)).collect(),
        next: page.next.map(|seq| sealed(&seq.to_string())),
    }))
}

fn repeated(of: &Duplicate, calendar: &Calendar) -> FactView {
    let at = shape::time(of.at, calendar);
    FactView {
        seq: of.first,
        kind: "sku",
        warehouse: of.warehouse.as_str().into(),
        sku: Some(of.sku.as_str().into()),
        at: at.clone(),
        recorded_at: at,
        what: of.what.into(),
        verdict: "duplicate",
        source: of.origin.source.as_str().into(),
        id: of.origin.id.as_str().into(),
        document: of.origin.document.as_deref().map(str::to_owned),
        ..FactView::default()
    }
}

/// Where a numbered stream stands for one SKU.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamView {
    /// The source.
    source: String,
    /// Its stream.
    stream: String,
    /// Of which SKU.
    sku: String,
    /// Of which lot; null: of none by name.
    lot: Option<String>,
    /// The highest number seen.
    newest: u64,
    /// The number of the newest count or snapshot applied; 0: none.
    newest_absolute: u64,
    /// Numbers missing below the highest.
    gaps: u64,
}

/// Each source's streams and their gaps, by SKU.
#[utoipa::path(get, path = "/v1/warehouses/{w}/streams", tag = "following",
    params(("w" = String, Path, description = "The warehouse"), ("source" = Option<String>, Query, description = "Only this source"),
        ("limit" = Option<i64>, Query, description = "SKUs of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page; it may be short with more to come", body = Page<StreamView>)))]
pub(super) async fn streams(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<Page<StreamView>>> {
    let Segments([w]) = segments;
    let params = Params::read(uri.query(), &["source", "limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let source = params.text("source");
    let warehouse = door.warehouse(&w)?;
    let view = door.node.view();
    let keys = view.skus_of(warehouse.id.as_str(), after.as_deref(), SCAN);
    let (mut items, mut found, mut last) = (Vec::new(), 0, None);
    for (sku, index) in &keys {
        last = Some(sku);
        let before = items.len();
        view.read(*index, |stock, _| {
            let rare = stock.and_then(|stock| stock.rare.as_ref());
            let marks = rare.map_or(&[][..], |rare| &rare.streams[..]);
            let mine = marks
                .iter()
                .filter(|mark| source.is_none_or(|source| mark.source.as_str() == source));
            items.extend(mine.map(|mark| StreamView {
                source: mark.source.as_str().into(),
                stream: mark.stream.as_str().into(),
                sku: sku.as_str().into(),
                lot: mark.lot.as_ref().map(|lot| lot.as_str().into()),
                newest: mark.newest,
                newest_absolute: mark.newest_absolute,
                gaps: mark.gaps,
            }));
        });
        found += usize::from(items.len() > before);
        if found == limit {
            break;
        }
    }
    let more = found == limit || keys.len() == SCAN;
    let next = last.filter(|_| more).map(|sku| sealed(sku.as_str()));
    Ok(Json(Page { items, next }))
}
