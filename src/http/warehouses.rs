//! Warehouses: declared by configuration or here, never by an event.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Uri};
use serde::Deserialize;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Answer, Problem};
use super::params::{Params, Segments, id, sealed};
use super::shape::{Page, WarehouseView};
use super::{Door, body, lookup, object, trace};
use crate::actors::node::Setting;
use crate::domain::refusal::Code;
use crate::domain::units::{Id, MAX_QUANTITY};
use crate::domain::warehouse::{Calendar, Channel, Warehouse};
use crate::ingress::suggest;

/// Ten years: the longest that a reservation may live.
const MAX_TTL_S: u32 = 10 * 366 * 86_400;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelBody {
    /// Base units kept back of every SKU.
    buffer: Option<i64>,
    /// Seconds that a reservation lives by default; 0: for ever.
    ttl_s: Option<u32>,
    /// The most seconds that it may ask for.
    max_ttl_s: Option<u32>,
    /// Whether it may live for ever.
    allow_no_expiry: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WarehouseBody {
    /// What people call it. Left out: as it was, and its id when it is new.
    name: Option<String>,
    /// IANA time zone, like `Europe/Moscow`. Left out: as it was; a new warehouse must say it.
    time_zone: Option<String>,
    /// All its channels; `default` is always there, as it was unless it is named. Left out: as they were; a new warehouse has
    /// `default` and `web` then.
    #[serde(default, deserialize_with = "object::optional_table")]
    channels: Option<BTreeMap<String, ChannelBody>>,
}

/// The warehouses.
#[utoipa::path(get, path = "/v1/warehouses", tag = "settings",
    params(("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = Page<WarehouseView>)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri) -> Answer<Json<Page<WarehouseView>>> {
    let params = Params::read(uri.query(), &["limit", "cursor"])?;
    let (limit, after) = (params.limit()?, params.after()?.unwrap_or_default());
    let all = door.node.view().warehouses();
    let mut items = all.iter().filter(|(id, _)| id.as_str() > after.as_str());
    let page: Vec<WarehouseView> = items
        .by_ref()
        .take(limit)
        .map(|(_, warehouse)| WarehouseView::of(warehouse))
        .collect();
    let more = items.next().is_some();
    let next = page.last().filter(|_| more).map(|last| sealed(&last.id));
    Ok(Json(Page { items: page, next }))
}

/// One warehouse.
#[utoipa::path(get, path = "/v1/warehouses/{w}", tag = "settings", params(("w" = String, Path, description = "The warehouse")),
    responses((status = 200, description = "The warehouse", body = WarehouseView), (status = 404, description = "`unknown_warehouse`", content_type = "application/problem+json")))]
pub(super) async fn show(State(door): State<Door>, uri: Uri, segments: Segments<1>) -> Answer<Json<WarehouseView>> {
    let Segments([w]) = segments;
    Params::read(uri.query(), &[])?;
    Ok(Json(WarehouseView::of(door.warehouse(&w)?.as_ref())))
}

/// Declare a warehouse, or change it.
#[utoipa::path(put, path = "/v1/warehouses/{w}", tag = "settings",
    params(("w" = String, Path, description = "The warehouse"), ("Idempotency-Key" = Option<String>, Header, description = "The caller's id of this write")),
    request_body = WarehouseBody,
    responses((status = 200, description = "As it is from now on", body = WarehouseView), (status = 422, description = "`invalid_value`, `unknown_field`", content_type = "application/problem+json")))]
pub(super) async fn set(State(door): State<Door>, segments: Segments<1>, request: Request<Body>) -> Answer<Json<WarehouseView>> {
    let Segments([w]) = segments;
    Params::read(request.uri().query(), &[])?;
    let id = id("w", &w)?;
    let key = lookup::idempotency_key(request.headers())?;
    let trace = trace::trace_of(&request);
    let body: WarehouseBody = body::json(&door, request).await?;
    // The key is bound to what the caller wrote: what is left out means something else when others have changed it since.
    let said = xxh3_64(format!("{id:?}{body:?}").as_bytes());
    let known = door.node.view().warehouse(id.as_str());
    let warehouse = checked(id, body, known.as_deref())?;
    let setting = Setting::Warehouse(warehouse.clone());
    door.node.set_as_said(setting, said, key, trace).await?;
    Ok(Json(WarehouseView::of(&warehouse)))
}

fn invalid(field: String, detail: impl Into<String>) -> Problem {
    Problem::field(Code::InvalidValue, field, detail)
}

/// The warehouse as it is to be. What the body leaves out stays as it is; of a channel that it names, too.
fn checked(id: Id, body: WarehouseBody, known: Option<&Warehouse>) -> Answer<Warehouse> {
    let usual = || known.map_or_else(|| id.as_str().to_owned(), |known| known.name.clone());
    let name = body.name.filter(|name| !name.is_empty()).unwrap_or_else(usual);
    if name.len() > 256 {
        return Err(invalid("/name".into(), "must be at most 256 bytes"));
    }
    let Some(time_zone) = body.time_zone.or_else(|| known.map(|known| known.time_zone.clone())) else {
        return Err(invalid(
            "/time_zone".into(),
            "a new warehouse must say its time zone, like Europe/Moscow",
        ));
    };
    if Calendar::new(&time_zone).is_none() {
        let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        let hint = suggest::hint(&time_zone, zones.iter().map(String::as_str));
        let detail = format!("{} is no IANA time zone{hint}", suggest::quoted(&time_zone));
        return Err(invalid("/time_zone".into(), detail));
    }
    let was = |name: &str| known.and_then(|known| known.channels.get(name)).cloned();
    let mut channels = BTreeMap::from([(Id::trusted("default"), was("default").unwrap_or_default())]);
    match body.channels {
        None => channels.extend(known.map_or_else(Channel::usual, |known| known.channels.clone())),
        Some(named) => {
            for (name, given) in named {
                let place = format!("/channels/{}", name.replace('~', "~0").replace('/', "~1"));
                let channel = channel(&place, &given, was(&name))?;
                let name = Id::new(&name).map_err(|why| invalid(place, format!("the channel's id {why}")))?;
                channels.insert(name, channel);
            }
        }
    }
    Ok(Warehouse {
        id,
        name,
        time_zone,
        channels,
    })
}

fn channel(place: &str, given: &ChannelBody, was: Option<Channel>) -> Answer<Channel> {
    let usual = was.unwrap_or_default();
    let channel = Channel {
        buffer: given.buffer.unwrap_or(usual.buffer),
        ttl_s: given.ttl_s.unwrap_or(usual.ttl_s),
        max_ttl_s: given
            .max_ttl_s
            .unwrap_or(usual.max_ttl_s.max(given.ttl_s.unwrap_or_default())),
        allow_no_expiry: given.allow_no_expiry.unwrap_or(usual.allow_no_expiry),
    };
    if !(0..=MAX_QUANTITY).contains(&channel.buffer) {
        return Err(invalid(format!("{place}/buffer"), "must be from 0 to 10^12 base units"));
    }
    if !(1..=MAX_TTL_S).contains(&channel.max_ttl_s) {
        return Err(invalid(
            format!("{place}/max_ttl_s"),
            format!("must be from 1 to {MAX_TTL_S} seconds"),
        ));
    }
    if channel.ttl_s > channel.max_ttl_s {
        let detail = format!("must be at most max_ttl_s, which is {}", channel.max_ttl_s);
        return Err(invalid(format!("{place}/ttl_s"), detail));
    }
    if channel.ttl_s == 0 && !channel.allow_no_expiry {
        return Err(invalid(
            format!("{place}/ttl_s"),
            "0 means for ever, which needs allow_no_expiry",
        ));
    }
    Ok(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Answer<Warehouse> {
        checked(Id::trusted("msk-07"), body::parse(text.as_bytes())?, None)
    }

    #[test]
    fn what_is_left_out_stays_as_it_is() {
        let web = r#"{"name":"Seven","time_zone":"UTC","channels":{"web":{"buffer":2,"ttl_s":60},"shop":{}}}"#;
        let known = of(web).unwrap();
        let changed = |text: &str| {
            let id = Id::trusted("msk-07");
            checked(id, body::parse(text.as_bytes()).unwrap(), Some(&known)).unwrap()
        };
        let moved = changed(r#"{"time_zone":"Europe/Moscow"}"#);
        assert_eq!(
            (&moved.name, &moved.channels, moved.time_zone.as_str()),
            (&known.name, &known.channels, "Europe/Moscow")
        );
        let named = changed(r#"{"name":"VII"}"#);
        assert_eq!(
            (named.name.as_str(), &named.channels, &named.time_zone),
            ("VII", &known.channels, &known.time_zone)
        );
        assert!(of(r#"{"name":"VII"}"#).is_err(), "a new one must say its zone");
        let fuller = changed(r#"{"time_zone":"UTC","channels":{"web":{"buffer":3}}}"#);
        let names: Vec<_> = fuller.channels.keys().map(Id::as_str).collect();
        assert_eq!(
            names,
            ["default", "web"],
            "the channels that are named are all that there are"
        );
        let web = &fuller.channels["web"];
        assert_eq!((web.buffer, web.ttl_s), (3, 60));
    }

    #[test]
    fn a_zone_that_nobody_knows_is_refused_with_the_nearest() {
        let problem = of(r#"{"time_zone":"Europe/Moskow"}"#).unwrap_err();
        assert!(format!("{problem:?}").contains("did you mean 'Europe/Moscow'"), "{problem:?}");
    }

    #[test]
    fn a_new_warehouse_that_names_no_channels_has_those_of_a_configured_one() {
        let names = |text: &str| {
            let warehouse = of(text).unwrap();
            warehouse.channels.keys().map(Id::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(r#"{"time_zone":"UTC"}"#), ["default", "web"]);
        assert_eq!(names(r#"{"time_zone":"UTC","channels":{}}"#), ["default"]);
    }

    #[test]
    fn the_default_channel_is_always_there() {
        let warehouse = of(r#"{"time_zone":"UTC","channels":{"web":{"buffer":2}}}"#).unwrap();
        let names: Vec<_> = warehouse.channels.keys().map(Id::as_str).collect();
        assert_eq!((names, warehouse.name.as_str()), (vec!["default", "web"], "msk-07"));
    }

    #[test]
    fn limits_of_a_channel_hold() {
        for channel in [
            r#"{"buffer":-1}"#,
            r#"{"ttl_s":0}"#,
            r#"{"ttl_s":10,"max_ttl_s":5}"#,
            r#"{"max_ttl_s":0}"#,
            r#"{"bufer":1}"#,
        ] {
            assert!(
                of(&format!(r#"{{"time_zone":"UTC","channels":{{"web":{channel}}}}}"#)).is_err(),
                "{channel}"
            );
        }
    }
}
