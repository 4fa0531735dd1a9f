//! What may still be promised, for a basket of SKUs at once: the question that a shop asks most.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Answer, Problem};
use super::params::{Params, Segments};
use super::{Door, body, shape};
use crate::domain::available::{available, buffer_of};
use crate::domain::refusal::Code;
use crate::domain::units::Id;
use crate::ingress::suggest;

/// SKUs of one question.
const MAX_SKUS: usize = 1_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The channel that would promise; `default` when it is left out.
    channel: Option<String>,
    /// Up to 1,000 SKUs.
    skus: Vec<String>,
    /// Days of shelf life that the goods must still have; 0: good today.
    min_shelf_life_days: Option<u32>,
}

/// What may be promised of one SKU.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Promise {
    /// The SKU.
    sku: String,
    /// Base units; 0 for a SKU that nobody knows.
    available: i64,
    /// The base unit; null for a SKU that nobody knows.
    unit: Option<&'static str>,
    /// The SKU's version that this is of.
    version: u64,
}

/// What may be promised, in the order of the question.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Promises {
    /// Where.
    warehouse: String,
    /// On which channel.
    channel: String,
    /// One for each SKU that was asked about.
    items: Vec<Promise>,
}

/// The channel of a body: `default` when it is left out, and known to the warehouse.
pub(super) fn channel_of(warehouse: &crate::domain::warehouse::Warehouse, given: Option<&str>) -> Answer<Id> {
    let name = given.unwrap_or("default");
    match warehouse.channels.get_key_value(name) {
        Some((known, _)) => Ok(known.clone()),
        None => {
            let hint = suggest::hint(name, warehouse.channels.keys().map(Id::as_str));
            let detail = format!("the warehouse has no channel {}{hint}", suggest::quoted(name));
            Err(Problem::field(Code::InvalidValue, "/channel", detail))
        }
    }
}

/// What may still be promised of each of these SKUs.
#[utoipa::path(post, path = "/v1/warehouses/{w}/availability", tag = "stock", params(("w" = String, Path, description = "The warehouse")),
    request_body = Question, responses((status = 200, description = "One item for each SKU", body = Promises)))]
pub(super) async fn ask(State(door): State<Door>, segments: Segments<1>, request: Request<Body>) -> Answer<Json<Promises>> {
    let Segments([w]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let question: Question = body::json(&door, request).await?;
    if question.skus.len() > MAX_SKUS {
        let detail = format!(
            "at most {MAX_SKUS} SKUs can be asked about at once, these are {}",
            question.skus.len()
        );
        return Err(Problem::field(Code::InvalidValue, "/skus", detail));
    }
    if let Some((at, why)) = question
        .skus
        .iter()
        .enumerate()
        .find_map(|(at, sku)| Id::check(sku).err().map(|why| (at, why)))
    {
        return Err(Problem::field(
            Code::InvalidValue,
            format!("/skus/{at}"),
            format!("this is no id: it {why}"),
        ));
    }
    let channel = channel_of(&warehouse, question.channel.as_deref())?;
    let (view, now) = (door.node.view(), door.node.now());
    let today = shape::calendar(&warehouse).day_of(now);
    let want = question
        .min_shelf_life_days
        .map(|days| today.plus(i32::try_from(days).unwrap_or(i32::MAX)));
    let promise = |sku: String| {
        let index = view.keys().find(warehouse.id.as_str(), &sku);
        let found = index.and_then(|index| {
            view.read(index, |stock, _| {
                stock.map(|stock| {
                    let buffer = buffer_of(stock, &channel, &warehouse);
                    (
                        available(stock, want, buffer, today, now, None),
                        stock.unit.as_str(),
                        stock.version,
                    )
                })
            })
        });
        match found {
            Some((available, unit, version)) => Promise {
                sku,
                available,
                unit: Some(unit),
                version,
            },
            None => Promise {
                sku,
                available: 0,
                unit: None,
                version: 0,
            },
        }
    };
    Ok(Json(Promises {
        warehouse: warehouse.id.as_str().into(),
        channel: channel.as_str().into(),
        items: question.skus.into_iter().map(promise).collect(),
    }))
}
