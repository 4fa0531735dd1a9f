//! Where the node and other systems disagree, oldest disagreement first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Door;
use super::error::{Answer, Problem};
use super::params::{Params, sealed};
use super::shape::{self, Page};
use crate::actors::node::Node;
use crate::domain::refusal::Code;
use crate::domain::units::Id;

/// SKUs looked at per step of the scan.
const STEP: usize = 5_000;

/// One disagreement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DriftView {
    /// Where.
    warehouse: String,
    /// Of what.
    sku: String,
    /// The lot that the figure was of; null: the whole SKU.
    lot: Option<String>,
    /// The system that believes otherwise.
    source: String,
    /// Units that it believed.
    believes: i64,
    /// Units on the book at that time.
    book: i64,
    /// What it believes beyond the book.
    difference: i64,
    /// As of when.
    at: String,
    /// Since when they have disagreed without a break.
    since: String,
    #[serde(skip)]
    key: (i64, String),
}

/// Where the node and other systems disagree, oldest first.
#[utoipa::path(get, path = "/v1/drift", tag = "following",
    params(("warehouse" = Option<String>, Query, description = "Only this warehouse"), ("source" = Option<String>, Query, description = "Only this system"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = Page<DriftView>)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri) -> Answer<Json<Page<DriftView>>> {
    let params = Params::read(uri.query(), &["warehouse", "source", "limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let warehouse = params.text("warehouse").map(|text| door.warehouse(text)).transpose()?;
    let source = params.text("source").map(str::to_owned);
    let after = after.as_deref().map(parse_key).transpose()?;
    let node = door.node.clone();
    // Every SKU is looked at, which for a million of them takes a while: not on the runtime's threads.
    let scan = tokio::task::spawn_blocking(move || all(&node, warehouse.as_ref().map(|site| &site.id), source.as_deref()));
    let mut items = scan
        .await
        .map_err(|_| Problem::new(Code::InternalError, "the scan failed; the log has more"))?;
    items.retain(|item| after.as_ref().is_none_or(|after| item.key > *after));
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| sealed(&format!("{} {}", last.key.0, last.key.1)));
    Ok(Json(Page { items, next }))
}

fn parse_key(text: &str) -> Answer<(i64, String)> {
    let parts = text
        .split_once(' ')
        .and_then(|(since, rest)| Some((since.parse().ok()?, rest.to_owned())));
    parts.ok_or_else(|| {
        Problem::field(
            Code::InvalidValue,
            "cursor",
            "this is no cursor of this list; begin without one, and follow `next`",
        )
    })
}

fn all(node: &Node, only: Option<&Id>, source: Option<&str>) -> Vec<DriftView> {
    let view = node.view();
    let mut items = Vec::new();
    for (id, site) in view.warehouses().iter().filter(|(id, _)| only.is_none_or(|only| *id == only)) {
        let calendar = shape::calendar(site);
        let mut after: Option<Id> = None;
        loop {
            let keys = view.skus_of(id.as_str(), after.as_ref().map(Id::as_str), STEP);
            for (sku, index) in &keys {
                let beliefs = view.read(*index, |stock, _| {
                    let rare = stock.and_then(|stock| stock.rare.as_ref());
                    rare.map_or_else(Vec::new, |rare| {
                        rare.beliefs.iter().filter(|belief| belief.since.is_some()).cloned().collect()
                    })
                });
                for belief in beliefs
                    .into_iter()
                    .filter(|belief| source.is_none_or(|source| belief.source.as_str() == source))
                {
                    let Some(since) = belief.since else { continue };
                    let lot = belief.lot.as_ref().map(|lot| lot.as_str().to_owned());
                    let key = format!("{id}/{sku}/{}/{}", belief.source, lot.as_deref().unwrap_or_default());
                    items.push(DriftView {
                        warehouse: id.as_str().into(),
                        sku: sku.as_str().into(),
                        lot,
                        source: belief.source.as_str().into(),
                        believes: belief.believes,
                        book: belief.book,
                        difference: belief.believes.saturating_sub(belief.book),
                        at: shape::time(belief.at, &calendar),
                        since: shape::time(since, &calendar),
                        key: (since.0, key),
                    });
                }
            }
            if keys.len() < STEP {
                break;
            }
            after = keys.last().map(|(sku, _)| sku.clone());
        }
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    items
}
