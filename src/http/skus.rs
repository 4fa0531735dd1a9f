//! SKUs in a warehouse: what is true now, for one and for all.
//!
//! Lists are read page by page from the view, each SKU as it is at that moment. A consistent list of all of them would have to
//! hold every fold back; whoever needs one follows the changes.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;

use super::error::{Answer, Problem};
use super::params::{Params, Segments, sealed};
use super::reply::Written;
use super::shape::{self, Page, SkuView};
use super::{Door, described, history, written};
use crate::domain::refusal::Code;
use crate::domain::stock::Stock;
use crate::domain::units::{Day, MAX_QUANTITY};

/// SKUs looked at for one page of a filtered list; past it the page is short and the cursor goes on.
pub(super) const SCAN: usize = 20_000;

/// What a filtered list lets through.
struct Filter<'p> {
    flag: Option<&'p str>,
    below: Option<i64>,
    expiring_by: Option<Day>,
    today: Day,
}

impl Filter<'_> {
    fn lets(&self, stock: &Stock) -> bool {
        let flag = self.flag.is_none_or(|flag| shape::flags(stock, self.today).contains(&flag));
        let sellable = || stock.lots.iter().map(|lot| lot.sellable()).sum::<i64>();
        let expiring = |by: Day| {
            let soon = |day: Day| day >= self.today && day <= by;
            stock
                .lots
                .iter()
                .any(|lot| lot.sellable() > 0 && lot.expires_on.is_some_and(soon))
        };
        flag && self.below.is_none_or(|below| sellable() < below) && self.expiring_by.is_none_or(expiring)
    }
}

/// What is true now, for all SKUs of a warehouse.
#[utoipa::path(get, path = "/v1/warehouses/{w}/skus", tag = "stock",
    params(("w" = String, Path, description = "The warehouse"),
        ("flag" = Option<String>, Query, description = "`count_due`, `at_risk` or `expired_stock`"),
        ("below" = Option<i64>, Query, description = "Fewer sellable units than this"),
        ("expiring_within_days" = Option<i64>, Query, description = "With sellable units that expire within so many days; 0: today"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page; a filtered one may be short with more to come", body = Page<SkuView<'static>>)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer {
    let Segments([w]) = segments;
    let params = Params::read(uri.query(), &["flag", "below", "expiring_within_days", "limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let warehouse = door.warehouse(&w)?;
    let now = door.node.now();
    let today = shape::calendar(&warehouse).day_of(now);
    let days = params.number("expiring_within_days", 0..=36_500)?;
    let filter = Filter {
        flag: params.word("flag", &["count_due", "at_risk", "expired_stock"])?,
        below: params.number("below", 0..=MAX_QUANTITY)?,
        expiring_by: days.map(|days| today.plus(days as i32)),
        today,
    };
    let filtered = filter.flag.is_some() || filter.below.is_some() || filter.expiring_by.is_some();
    let view = door.node.view();
    let keys = view.skus_of(warehouse.id.as_str(), after.as_deref(), if filtered { SCAN } else { limit });
    let (mut items, mut last) = (Vec::new(), None);
    for (id, index) in &keys {
        last = Some(id);
        let stock = view.read(*index, |stock, seq| {
            stock
                .filter(|stock| filter.lets(stock))
                .map(|stock| shape::sku(&warehouse, id.as_str(), stock, seq, now))
        });
        items.extend(stock);
        if items.len() == limit {
            break;
        }
    }
    let whole = if filtered { SCAN } else { limit };
    let more = items.len() == limit || keys.len() == whole;
    let next = last.filter(|_| more).map(|id| sealed(id.as_str()));
    Ok(Json(Page { items, next }).into_response())
}

/// What is true now about one SKU, or was true (`as_of`), or was believed (`known_at`).
#[utoipa::path(get, path = "/v1/warehouses/{w}/skus/{s}", tag = "stock",
    params(("w" = String, Path, description = "The warehouse"), ("s" = String, Path, description = "The SKU"),
        ("as_of" = Option<String>, Query, description = "Business time: what was true then"),
        ("known_at" = Option<String>, Query, description = "Recorded time: what the node knew then")),
    responses((status = 200, description = "The SKU", body = described::NowOrThen), (status = 404, description = "`unknown_warehouse`, `unknown_sku`", content_type = "application/problem+json"),
        (status = 410, description = "`history_gone`", content_type = "application/problem+json")))]
pub(super) async fn show(State(door): State<Door>, uri: Uri, segments: Segments<2>) -> Answer {
    let Segments([w, s]) = segments;
    let params = Params::read(uri.query(), &["as_of", "known_at"])?;
    let (as_of, known_at) = (params.time("as_of")?, params.time("known_at")?);
    if as_of.is_none() && known_at.is_none() {
        return Ok(now(&door, &w, &s)?.into_response());
    }
    let warehouse = door.warehouse(&w)?;
    let (sku, index) = door.sku(&warehouse, &s)?;
    Ok(Json(history::then(&door, &warehouse, &sku, index, as_of, known_at).await?).into_response())
}

/// What is true now about one SKU: the page that is asked for most, so nothing is copied, counted or looked up twice on the way.
pub(super) fn now(door: &Door, w: &str, s: &str) -> Answer<Written> {
    if let Some(written) = shaped(door, w, s) {
        return Ok(written);
    }
    // Says what is not there. A SKU that has come meanwhile is there for good.
    let warehouse = door.warehouse(w)?;
    let (sku, _) = door.sku(&warehouse, s)?;
    let written = shaped(door, warehouse.id.as_str(), sku.as_str());
    written.ok_or_else(|| Problem::new(Code::InternalError, "the SKU is known and cannot be shown; ask again"))
}

/// The SKU as JSON, shaped where it lies: a copy would be as long a look, and takes the recent book along.
fn shaped(door: &Door, w: &str, s: &str) -> Option<Written> {
    let (view, now) = (door.node.view(), door.node.now());
    view.with_warehouses(|all| {
        let warehouse = all.get(w)?;
        let index = view.keys().find(w, s)?;
        let shaped = view.read(index, |stock, seq| Some(shape::sku(warehouse, s, stock?, seq, now)))?;
        Some(Written::short(|out| written::sku(out, &shaped)))
    })
}
