//! Why is it 3? The facts of one SKU, newest first, each with who said it and the balance after it.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Door;
use super::error::Answer;
use super::params::{Params, Segments, sealed};
use super::shape::{self, Accounts, FactView};

/// The balance with which the retained history begins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpeningView {
    /// The oldest sequence that is retained: what was before is in this balance.
    seq: u64,
    /// The accounts before the oldest retained fact.
    accounts: Accounts,
}

/// A page of a ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LedgerView {
    /// The facts, newest first.
    items: Vec<FactView>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
    /// On the last page, when older history was cut: the balance before it.
    opening: Option<OpeningView>,
}

/// Why: each fact with its event, source, actor, reason, document, trace and running balance, newest first.
#[utoipa::path(get, path = "/v1/warehouses/{w}/skus/{s}/ledger", tag = "stock",
    params(("w" = String, Path, description = "The warehouse"), ("s" = String, Path, description = "The SKU"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = LedgerView), (status = 404, description = "`unknown_warehouse`, `unknown_sku`", content_type = "application/problem+json")))]
pub(super) async fn list(State(door): State<Door>, uri: Uri, segments: Segments<2>) -> Answer<Json<LedgerView>> {
    let Segments([w, s]) = segments;
    let params = Params::read(uri.query(), &["limit", "cursor"])?;
    let (limit, before) = (params.limit()?, params.before()?);
    let warehouse = door.warehouse(&w)?;
    let (_, index) = door.sku(&warehouse, &s)?;
    let page = door.read(move |store| store.ledger(index, before, limit)).await?;
    let calendar = shape::calendar(&warehouse);
    Ok(Json(LedgerView {
        items: page.facts.iter().map(|fact| shape::fact(fact, &calendar)).collect(),
        next: page.next.map(|seq| sealed(&seq.to_string())),
        opening: page.opening.map(|opening| OpeningView {
            seq: opening.floor,
            accounts: opening.accounts.into(),
        }),
    }))
}
