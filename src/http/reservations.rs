//! Reservations: hold, look, confirm, cancel, extend; and the promises that no longer fit.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::availability::channel_of;
use super::error::{Answer, Problem, dead_letter};
use super::params::{Params, Segments, id, sealed};
use super::shape::{self, Page, ReservationView};
use super::skus::SCAN;
use super::{Door, body, object, trace};
use crate::actors::node::{BasketCommand, CommandError};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{ConfirmLine, ConfirmRequest, HoldRequest, LineRequest, Reservation, State as BasketState};
use crate::domain::stock::Stock;
use crate::domain::trace::TraceParent;
use crate::domain::units::{Id, MAX_QUANTITY};
use crate::domain::warehouse::Warehouse;
use crate::ingress::{check, suggest};

/// Lines of one basket.
const MAX_LINES: usize = 1_000;
/// The longest shelf life that can be asked for: a century.
const MAX_SHELF_LIFE_DAYS: u32 = 36_525;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldLine {
    /// The SKU; one line per SKU.
    sku: String,
    /// Base units, more than 0.
    quantity: i64,
    /// Days of shelf life that the goods must still have.
    min_shelf_life_days: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldBody {
    /// The channel that promises; `default` when it is left out.
    channel: Option<String>,
    /// What is wanted.
    #[serde(deserialize_with = "object::list")]
    lines: Vec<HoldLine>,
    /// Seconds to live; 0: for ever, where the channel allows it; left out: the channel's default.
    ttl_s: Option<u32>,
    /// Whether less than wanted is welcome.
    #[serde(default)]
    allow_partial: Option<bool>,
    /// The version that the basket must have; 0: it must be new.
    expected_version: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenLot {
    /// The lot; empty: the stock without a lot.
    lot: String,
    /// Base units of it, more than 0.
    quantity: i64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenLine {
    /// The SKU.
    sku: String,
    /// Base units taken; the rest of the line is released.
    quantity: i64,
    /// The lots that they were taken from, where it is known.
    #[serde(default, deserialize_with = "object::optional_list")]
    lots: Option<Vec<TakenLot>>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    /// The business time; left out: the time of arrival.
    time: Option<String>,
    /// What was taken; left out: everything held.
    #[serde(default, deserialize_with = "object::optional_list")]
    lines: Option<Vec<TakenLine>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendBody {
    /// The new deadline. It only ever moves later: a time that the basket reaches anyway changes nothing, so that a late retry takes no
    /// promise back.
    until: String,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NothingBody {}

/// Of what the caller wrote: equal content, equal fingerprint, whatever its spacing.
fn fingerprint(of: &impl Serialize) -> u64 {
    xxh3_64(&serde_json::to_vec(of).unwrap_or_default())
}

fn invalid(field: String, detail: impl Into<String>) -> Problem {
    Problem::field(Code::InvalidValue, field, detail)
}

fn sku_id(place: &str, text: &str) -> Answer<Id> {
    Id::new(text).map_err(|why| {
        invalid(
            format!("{place}/sku"),
            format!("{} is no id: it {why}", suggest::quoted(text)),
        )
    })
}

fn units(place: &str, n: i64, least: i64) -> Answer<i64> {
    if (least..=MAX_QUANTITY).contains(&n) {
        return Ok(n);
    }
    let detail = format!("must be a whole number of base units from {least} to 10^12, is {n}");
    Err(invalid(format!("{place}/quantity"), detail))
}

fn one_line_per_sku<'a>(skus: impl Iterator<Item = &'a str>) -> Answer<()> {
    let mut seen = BTreeSet::new();
    for (at, sku) in skus.enumerate() {
        if at >= MAX_LINES {
            return Err(invalid("/lines".into(), format!("a basket has at most {MAX_LINES} lines")));
        }
        if !seen.insert(sku) {
            return Err(invalid(
                format!("/lines/{at}/sku"),
                "the SKU has a line already; one line per SKU",
            ));
        }
    }
    Ok(())
}

fn time(field: &str, text: &str) -> Answer<crate::domain::units::Time> {
    check::parse_time(text).ok_or_else(|| {
        let detail = format!(
            "{} is no time: it must be RFC 3339 with an offset, like 2026-11-22T09:14:03+03:00",
            suggest::quoted(text)
        );
        invalid(field.into(), detail)
    })
}

impl HoldBody {
    fn checked(&self, id: Id, warehouse: &Warehouse) -> Answer<HoldRequest> {
        if self.lines.is_empty() {
            return Err(invalid("/lines".into(), "a basket has at least one line"));
        }
        one_line_per_sku(self.lines.iter().map(|line| line.sku.as_str()))?;
        let line = |(at, line): (usize, &HoldLine)| {
            let place = format!("/lines/{at}");
            if line.min_shelf_life_days.is_some_and(|days| days > MAX_SHELF_LIFE_DAYS) {
                return Err(invalid(
                    format!("{place}/min_shelf_life_days"),
                    format!("must be at most {MAX_SHELF_LIFE_DAYS}"),
                ));
            }
            Ok(LineRequest {
                sku: sku_id(&place, &line.sku)?,
                quantity: units(&place, line.quantity, 1)?,
                min_shelf_life_days: line.min_shelf_life_days,
            })
        };
        Ok(HoldRequest {
            id,
            channel: channel_of(warehouse, self.channel.as_deref())?,
            lines: self.lines.iter().enumerate().map(line).collect::<Answer<_>>()?,
            ttl_s: self.ttl_s,
            allow_partial: self.allow_partial.unwrap_or_default(),
            expected_version: self.expected_version,
            fingerprint: fingerprint(self),
        })
    }
}

impl ConfirmBody {
    fn checked(&self) -> Answer<ConfirmRequest> {
        let lines = self.lines.as_deref().unwrap_or_default();
        one_line_per_sku(lines.iter().map(|line| line.sku.as_str()))?;
        let line = |(at, line): (usize, &TakenLine)| {
            let place = format!("/lines/{at}");
            let mut lots = Vec::new();
            for (nr, taken) in line.lots.iter().flatten().enumerate() {
                let place = format!("{place}/lots/{nr}");
                let lot = match taken.lot.as_str() {
                    "" => Id::no_lot(),
                    text => Id::new(text).map_err(|why| invalid(format!("{place}/lot"), format!("this is no id: it {why}")))?,
                };
                lots.push((lot, units(&place, taken.quantity, 1)?));
            }
            Ok(ConfirmLine {
                sku: sku_id(&place, &line.sku)?,
                quantity: units(&place, line.quantity, 0)?,
                lots,
            })
        };
        let taken = lines.iter().enumerate().map(line).collect::<Answer<Vec<_>>>()?;
        Ok(ConfirmRequest {
            time: self.time.as_deref().map(|text| time("/time", text)).transpose()?,
            lines: self.lines.as_ref().map(|_| taken),
            fingerprint: fingerprint(self),
        })
    }
}

fn view(door: &Door, warehouse: &Warehouse, basket: &Reservation) -> ReservationView {
    let (stock, site) = (door.node.view(), warehouse.id.as_str());
    let at_risk = |sku: &Id| {
        let index = stock.keys().find(site, sku.as_str());
        let mine = |stock: &Stock| stock.claims.any_at_risk() && stock.claims.of(&basket.id).is_some_and(|claim| claim.at_risk);
        index.is_some_and(|index| stock.read(index, |stock, _| stock.is_some_and(mine)))
    };
    shape::reservation(&warehouse.id, basket, &shape::calendar(warehouse), at_risk)
}

/// Reservations of a warehouse, by id.
#[utoipa::path(get, path = "/v1/warehouses/{w}/reservations", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("state" = Option<String>, Query, description = "`held`, `confirmed`, `cancelled` or `expired`"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page; it may be short with more to come", body = Page<ReservationView>)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<Page<ReservationView>>> {
    let Segments([w]) = segments;
    let params = Params::read(uri.query(), &["state", "limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let warehouse = door.warehouse(&w)?;
    let state = params
        .word("state", &["held", "confirmed", "cancelled", "expired"])?
        .map(|word| match word {
            "held" => BasketState::Held,
            "confirmed" => BasketState::Confirmed,
            "cancelled" => BasketState::Cancelled,
            _ => BasketState::Expired,
        });
    let of = warehouse.id.clone();
    let page = door.read(move |store| store.reservations(of.as_str(), state, after.as_deref(), limit));
    let page = page.await?;
    let next = page.next.map(|last| sealed(last.as_str()));
    let items = page.items.iter().map(|basket| view(&door, &warehouse, basket)).collect();
    Ok(Json(Page { items, next }))
}

/// One reservation.
#[utoipa::path(get, path = "/v1/warehouses/{w}/reservations/{id}", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("id" = String, Path, description = "The reservation")),
    responses((status = 200, description = "The reservation", body = ReservationView), (status = 404, description = "`unknown_reservation`", content_type = "application/problem+json")))]
pub(super) async fn show(State(door): State<Door>, uri: Uri, segments: Segments<2>) -> Answer<Json<ReservationView>> {
    let Segments([w, r]) = segments;
    Params::read(uri.query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let id = id("id", &r)?;
    let basket = match door.node.view().held(warehouse.id.as_str(), id.as_str()) {
        Some(held) => Some(held),
        None => {
            let (of, id) = (warehouse.id.clone(), id.clone());
            door.read(move |store| store.reservation(of.as_str(), id.as_str())).await?
        }
    };
    let basket = basket.ok_or_else(|| {
        let detail = format!(
            "warehouse {} knows no reservation {}; ended ones are forgotten with their ids",
            warehouse.id,
            suggest::quoted(id.as_str())
        );
        Problem::new(Code::UnknownReservation, detail)
    })?;
    Ok(Json(view(&door, &warehouse, &basket)))
}

type Basket = (StatusCode, Json<ReservationView>);

async fn carry_out(
    door: &Door,
    warehouse: &Warehouse,
    id: &Id,
    command: BasketCommand,
    trace: Option<TraceParent>,
) -> Answer<Basket> {
    let mut permit = door.valve.permit();
    permit.take_events(1)?;
    let (node, warehouse_id, id) = (door.node.clone(), warehouse.id.clone(), id.clone());
    // A task of its own: a caller that goes away before the answer does not open the valve.
    let carried = tokio::spawn(async move {
        let answer = node.basket(&warehouse_id, &id, command, trace).await;
        drop(permit);
        answer
    });
    let answer = carried
        .await
        .map_err(|error| Problem::from(Refusal::new(Code::InternalError, error.to_string())))?;
    let answer = answer.map_err(|error| match error {
        CommandError::Refused(refusal) => Problem::in_path(refusal),
        CommandError::Dead { letter, error } => dead_letter(&error, letter),
    })?;
    let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view(door, warehouse, &answer.reservation))))
}

/// Hold a basket, or replace what is held as one step.
#[utoipa::path(put, path = "/v1/warehouses/{w}/reservations/{id}", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("id" = String, Path, description = "The reservation")), request_body = HoldBody,
    responses((status = 200, description = "The same again, or replaced", body = ReservationView), (status = 201, description = "New", body = ReservationView),
        (status = 409, description = "`insufficient_stock` with its lines, `version_mismatch`, `already_…`, `partly_taken`", content_type = "application/problem+json")))]
pub(super) async fn hold(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer<Basket> {
    let Segments([w, r]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let id = id("id", &r)?;
    let trace = trace::trace_of(&request);
    let body: HoldBody = body::json(&door, request).await?;
    let command = BasketCommand::Hold(body.checked(id.clone(), &warehouse)?);
    carry_out(&door, &warehouse, &id, command, trace).await
}

/// The goods were taken.
#[utoipa::path(post, path = "/v1/warehouses/{w}/reservations/{id}/confirm", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("id" = String, Path, description = "The reservation")), request_body = ConfirmBody,
    responses((status = 200, description = "The basket in its new state", body = ReservationView),
        (status = 409, description = "`already_…`", content_type = "application/problem+json"), (status = 422, description = "`exceeds_held`", content_type = "application/problem+json")))]
pub(super) async fn confirm(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer<Basket> {
    let Segments([w, r]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let id = id("id", &r)?;
    let trace = trace::trace_of(&request);
    let body: ConfirmBody = body::json_or_nothing(&door, request).await?;
    carry_out(&door, &warehouse, &id, BasketCommand::Confirm(body.checked()?), trace).await
}

/// Give it back.
#[utoipa::path(post, path = "/v1/warehouses/{w}/reservations/{id}/cancel", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("id" = String, Path, description = "The reservation")),
    responses((status = 200, description = "The basket in its new state", body = ReservationView),
        (status = 409, description = "`already_…`", content_type = "application/problem+json")))]
pub(super) async fn cancel(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer<Basket> {
    let Segments([w, r]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let id = id("id", &r)?;
    let trace = trace::trace_of(&request);
    let body: NothingBody = body::json_or_nothing(&door, request).await?;
    carry_out(&door, &warehouse, &id, BasketCommand::Cancel(fingerprint(&body)), trace).await
}

/// Hold it longer.
#[utoipa::path(post, path = "/v1/warehouses/{w}/reservations/{id}/extend", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("id" = String, Path, description = "The reservation")), request_body = ExtendBody,
    responses((status = 200, description = "The basket in its new state", body = ReservationView),
        (status = 409, description = "`already_…`", content_type = "application/problem+json")))]
pub(super) async fn extend(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer<Basket> {
    let Segments([w, r]) = segments;
    Params::read(request.uri().query(), &[])?;
    let warehouse = door.warehouse(&w)?;
    let id = id("id", &r)?;
    let trace = trace::trace_of(&request);
    let body: ExtendBody = body::json(&door, request).await?;
    let command = BasketCommand::Extend {
        until: time("/until", &body.until)?,
        fingerprint: fingerprint(&body),
    };
    carry_out(&door, &warehouse, &id, command, trace).await
}

/// A promise that no longer fits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskView {
    /// Whose promise.
    reservation: String,
    /// Of what.
    sku: String,
    /// Units promised.
    quantity: i64,
    /// The least expiry date that serves.
    good_until: Option<String>,
    /// When the promise ends; null: never.
    expires_at: Option<String>,
}

/// Promises that no longer fit what stands on the shelf.
#[utoipa::path(get, path = "/v1/warehouses/{w}/at-risk", tag = "reservations",
    params(("w" = String, Path, description = "The warehouse"), ("limit" = Option<i64>, Query, description = "SKUs of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page; it may be short with more to come", body = Page<RiskView>)))]
pub(super) async fn at_risk(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<Page<RiskView>>> {
    let Segments([w]) = segments;
    let params = Params::read(uri.query(), &["limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?);
    let warehouse = door.warehouse(&w)?;
    let (node, calendar) = (door.node.view(), shape::calendar(&warehouse));
    let keys = node.skus_of(warehouse.id.as_str(), after.as_deref(), SCAN);
    let (mut items, mut found, mut last) = (Vec::new(), 0, None);
    for (sku, index) in &keys {
        last = Some(sku);
        let before = items.len();
        node.read(*index, |stock, _| {
            let claims = stock.map(|stock| &stock.claims).filter(|claims| claims.any_at_risk());
            items.extend(
                claims
                    .into_iter()
                    .flatten()
                    .filter(|claim| claim.at_risk)
                    .map(|claim| RiskView {
                        reservation: claim.reservation.as_str().into(),
                        sku: sku.as_str().into(),
                        quantity: claim.quantity,
                        good_until: claim.good_until.and_then(shape::day),
                        expires_at: claim.deadline.map(|at| shape::time(at, &calendar)),
                    }),
            );
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
