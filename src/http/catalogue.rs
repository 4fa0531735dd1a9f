//! The catalogue: what is sold, in which unit. Prices are kept as the caller wrote them: there is no float in the house.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::described::EntryView;
use super::error::{Answer, Problem};
use super::params::{Params, Segments, id, sealed};
use super::shape::Page;
use super::{Door, body, lookup, trace};
use crate::actors::node::Setting;
use crate::domain::refusal::Code;
use crate::domain::units::{Id, Unit};
use crate::ingress::suggest;
use crate::storage::view::View;

/// Barcodes of one SKU.
const MAX_BARCODES: usize = 100;

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryBody {
    /// What people call it, in any language.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The base unit: `each`, `g` or `ml`. It can be changed while all accounts are 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// GTINs and other codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    barcodes: Option<Vec<String>>,
    /// A group of goods.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// Days from making to expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    shelf_life_days: Option<u32>,
    /// A whole number of minor units, or a decimal as a string; never a float.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Value>,
}

impl EntryBody {
    fn check(&self) -> Answer<Option<Unit>> {
        let invalid = |field: &str, detail: &str| Err(Problem::field(Code::InvalidValue, field, detail));
        for (field, text) in [("/name", &self.name), ("/category", &self.category)] {
            if text.as_ref().is_some_and(|text| text.len() > 1024) {
                return invalid(field, "must be at most 1,024 bytes");
            }
        }
        let barcodes = self.barcodes.as_deref().unwrap_or_default();
        if barcodes.len() > MAX_BARCODES {
            return invalid("/barcodes", "must be at most 100");
        }
        if let Some(at) = barcodes.iter().position(|code| Id::check_source(code).is_err()) {
            return invalid(&format!("/barcodes/{at}"), "must be 1 to 128 bytes of printable text");
        }
        match &self.price {
            None | Some(Value::Null) => {}
            Some(Value::Number(n)) if n.is_i64() || n.is_u64() => {}
            Some(Value::String(text)) if decimal(text) => {}
            Some(_) => {
                return invalid(
                    "/price",
                    "must be a whole number of minor units, or a decimal as a string like \"129.90\"",
                );
            }
        }
        let Some(text) = &self.unit else { return Ok(None) };
        match Unit::parse(text) {
            Some(unit) => Ok(Some(unit)),
            None => invalid("/unit", &format!("must be each, g or ml; is {}", suggest::quoted(text))),
        }
    }
}

/// Digits, perhaps with a sign and one point.
fn decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    all(whole) && all(part)
}

/// An entry as it is shown: its SKU and what was set.
///
/// An entry that names no unit is shown with that of its stock.
fn shown(view: &View, sku: &str, entry: &str) -> Value {
    let mut value: Value = serde_json::from_str(entry).unwrap_or_else(|_| json!({}));
    if let Some(members) = value.as_object_mut() {
        members.insert("sku".into(), sku.into());
        if let (None, Some(unit)) = (members.get("unit"), view.unit_of(sku)) {
            members.insert("unit".into(), unit.as_str().into());
        }
    }
    value
}

/// The catalogue, by SKU.
#[utoipa::path(get, path = "/v1/skus", tag = "settings",
    params(("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = Page<EntryView>)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri) -> Answer<Json<Page<Value>>> {
    let params = Params::read(uri.query(), &["limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let view = door.node.view();
    let mut page: BTreeMap<Id, Arc<str>> = view.catalogue(after.as_deref(), limit).into_iter().collect();
    // A SKU that only events have named is in the catalogue too. No page needs more of any list than its own length.
    for warehouse in view.warehouses().keys() {
        for (sku, _) in view.skus_of(warehouse.as_str(), after.as_deref(), limit) {
            page.entry(sku).or_insert_with(|| "{}".into());
        }
    }
    let more = page.len() >= limit;
    let page: Vec<(Id, Arc<str>)> = page.into_iter().take(limit).collect();
    let next = page.last().filter(|_| more).map(|(sku, _)| sealed(sku.as_str()));
    let items = page.iter().map(|(sku, entry)| shown(view, sku.as_str(), entry)).collect();
    Ok(Json(Page { items, next }))
}

/// One catalogue entry; a SKU that only events have named is shown with its unit.
#[utoipa::path(get, path = "/v1/skus/{s}", tag = "settings", params(("s" = String, Path, description = "The SKU")),
    responses((status = 200, description = "The entry", body = EntryView), (status = 404, description = "`unknown_sku`", content_type = "application/problem+json")))]
pub(super) async fn show(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<Value>> {
    let Segments([s]) = segments;
    Params::read(uri.query(), &[])?;
    let id = id("s", &s)?;
    let view = door.node.view();
    let entry = view.catalogue_entry(id.as_str());
    match entry.or_else(|| view.unit_of(id.as_str()).map(|_| "{}".into())) {
        Some(entry) => Ok(Json(shown(view, id.as_str(), &entry))),
        None => Err(Problem::new(
            Code::UnknownSku,
            format!(
                "no SKU {} is in the catalogue, and no event has named it",
                suggest::quoted(id.as_str())
            ),
        )),
    }
}

/// Set a catalogue entry.
#[utoipa::path(put, path = "/v1/skus/{s}", tag = "settings",
    params(("s" = String, Path, description = "The SKU"), ("Idempotency-Key" = Option<String>, Header, description = "The caller's id of this write")),
    request_body = EntryBody,
    responses((status = 200, description = "As it is from now on", body = EntryView), (status = 422, description = "`invalid_value`, `unknown_field`, `unit_mismatch`", content_type = "application/problem+json")))]
pub(super) async fn set(State(door): State<Door>, segments: Segments<1>, request: Request<Body>) -> Answer<Json<Value>> {
    let Segments([s]) = segments;
    Params::read(request.uri().query(), &[])?;
    let sku = id("s", &s)?;
    let key = lookup::idempotency_key(request.headers())?;
    let trace = trace::trace_of(&request);
    let given: EntryBody = body::json(&door, request).await?;
    let unit = given.check()?;
    let entry = serde_json::to_string(&given).map_err(|error| Problem::new(Code::InternalError, error.to_string()))?;
    let setting = Setting::Catalogue {
        sku: sku.clone(),
        entry: entry.clone(),
        unit,
    };
    door.node.set(setting, key, trace).await?;
    Ok(Json(shown(door.node.view(), sku.as_str(), &entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_never_a_float() {
        let check = |text: &str| {
            body::parse::<EntryBody>(text.as_bytes())
                .map_err(Problem::from)
                .and_then(|entry| entry.check())
        };
        for good in [
            r#"{"price":12990}"#,
            r#"{"price":"129.90"}"#,
            r#"{"price":null}"#,
            r#"{"unit":"g","barcodes":["4607004892110"]}"#,
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            r#"{"price":129.9}"#,
            r#"{"price":"1e3"}"#,
            r#"{"price":"12,5"}"#,
            r#"{"price":true}"#,
            r#"{"unit":"kg"}"#,
            r#"{"barcodes":[""]}"#,
            r#"{"nam":"x"}"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
