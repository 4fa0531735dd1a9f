//! What an operator corrects on a SKU: a lot's date, its buffers.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::{Answer, Problem};
use super::params::{Params, Segments, id};
use super::shape::{self, SkuView};
use super::{Door, body, lookup, trace};
use crate::actors::node::Setting;
use crate::domain::refusal::Code;
use crate::domain::units::{Id, MAX_QUANTITY};
use crate::domain::warehouse::Warehouse;
use crate::ingress::{check, suggest};
use crate::storage::append::SkuIndex;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LotBody {
    /// The last sellable day, like `2026-12-01`; null: the lot has none. It must be there.
    #[serde(deserialize_with = "given")]
    expires_on: Option<String>,
}

/// A field that may be null, and may not be left out: a correction must say what it corrects.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

fn now(door: &Door, warehouse: &Warehouse, sku: &Id, index: SkuIndex) -> Response {
    let (stock, seq) = door
        .node
        .view()
        .read(index, |stock, seq| (stock.cloned().unwrap_or_default(), seq));
    Json(shape::sku(warehouse, sku.as_str(), &stock, seq, door.node.now())).into_response()
}

/// Correct a lot's expiry date.
#[utoipa::path(put, path = "/v1/warehouses/{w}/skus/{s}/lots/{lot}", tag = "settings",
    params(("w" = String, Path, description = "The warehouse"), ("s" = String, Path, description = "The SKU"), ("lot" = String, Path, description = "The lot"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's id of this write")),
    request_body = LotBody, responses((status = 200, description = "The SKU after it", body = SkuView<'static>)))]
pub(super) async fn lot(State(door): State<Door>, segments: Segments<3>, request: Request<Body>) -> Answer {
    let Segments([w, s, lot]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let (sku, index) = door.sku(&warehouse, &s)?;
    let lot = id("lot", &lot)?;
    let key = lookup::idempotency_key(request.headers())?;
    let trace = trace::trace_of(&request);
    let body: LotBody = body::json(&door, request).await?;
    let expires_on = body.expires_on.map(|text| {
        check::parse_day(&text).ok_or_else(|| {
            let detail = format!(
                "{} is no date: it must be a real date like 2026-12-01",
                suggest::quoted(&text)
            );
            Problem::field(Code::InvalidValue, "/expires_on", detail)
        })
    });
    let setting = Setting::LotDate {
        warehouse: warehouse.id.clone(),
        sku: sku.clone(),
        lot,
        expires_on: expires_on.transpose()?,
    };
    door.node.set(setting, key, trace).await?;
    Ok(now(&door, &warehouse, &sku, index))
}

/// Override a SKU's buffers; a channel that is not named goes back to its default.
#[utoipa::path(put, path = "/v1/warehouses/{w}/skus/{s}/buffers", tag = "settings",
    params(("w" = String, Path, description = "The warehouse"), ("s" = String, Path, description = "The SKU"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's id of this write")),
    request_body(content = BTreeMap<String, i64>, description = "Base units kept back, per channel"),
    responses((status = 200, description = "The SKU after it", body = SkuView<'static>)))]
pub(super) async fn buffers(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer {
    let Segments([w, s]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let (sku, index) = door.sku(&warehouse, &s)?;
    let key = lookup::idempotency_key(request.headers())?;
    let trace = trace::trace_of(&request);
    let given: BTreeMap<String, i64> = body::json(&door, request).await?;
    let mut buffers = Vec::with_capacity(given.len());
    for (name, units) in given {
        let place = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let Some((channel, _)) = warehouse.channels.get_key_value(name.as_str()) else {
            let hint = suggest::hint(&name, warehouse.channels.keys().map(Id::as_str));
            let detail = format!("the warehouse has no channel {}{hint}", suggest::quoted(&name));
            return Err(Problem::field(Code::UnknownField, place, detail));
        };
        if !(0..=MAX_QUANTITY).contains(&units) {
            return Err(Problem::field(
                Code::InvalidValue,
                place,
                format!("must be from 0 to 10^12 base units, is {units}"),
            ));
        }
        buffers.push((channel.clone(), units));
    }
    let setting = Setting::Buffers {
        warehouse: warehouse.id.clone(),
        sku: sku.clone(),
        buffers,
    };
    door.node.set(setting, key, trace).await?;
    Ok(now(&door, &warehouse, &sku, index))
}
