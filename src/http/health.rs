//! The node about itself: alive, ready, in figures, and its contract.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::Answer;
use super::params::Params;
use super::{Door, took};
use crate::actors::node::Readiness;

/// The pages that answer from the first moment on.
pub(super) const STATUS: &str = "/v1/status";
pub(super) const LIVEZ: &str = "/livez";
pub(super) const READYZ: &str = "/readyz";

/// The node's health in figures: what `shelfd status` shows.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, description = "Node, journal, warehouses, actors", body = Object)))]
pub(super) async fn status(State(door): State<Door>, uri: Uri) -> Answer<Json<Value>> {
    Params::read(uri.query(), &[])?;
    let mut status = door.node.status();
    if let (Some(members), Value::Object(others)) = (status.as_object_mut(), (door.options.others)()) {
        members.extend(others);
    }
    Ok(Json(status))
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "node", responses((status = 200, description = "It does", body = Object)))]
pub(super) async fn livez(uri: Uri) -> Answer<Json<Value>> {
    Params::read(uri.query(), &[])?;
    Ok(Json(alive()))
}

pub(super) fn alive() -> Value {
    json!({"status": "alive"})
}

/// Whether the node takes work.
#[utoipa::path(get, path = "/readyz", tag = "node", responses((status = 200, description = "It does", body = Object), (status = 503, description = "It does not; `reason` says why", body = Object)))]
pub(super) async fn readyz(State(door): State<Door>, uri: Uri) -> Answer<(StatusCode, Json<Value>)> {
    Params::read(uri.query(), &[])?;
    let no = |status: &str, reason: &str| {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": status, "reason": reason})),
        )
    };
    Ok(match door.node.readiness() {
        Readiness::Ready => (StatusCode::OK, Json(json!({"status": "ready"}))),
        Readiness::Stopping => no("stopping", "what was taken is being finished"),
        Readiness::Degraded(reason) => no("degraded", &reason),
    })
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "node", responses((status = 200, description = "Metrics", body = String, content_type = "text/plain; version=0.0.4")))]
pub(super) async fn metrics(State(door): State<Door>, uri: Uri) -> Answer<Response> {
    Params::read(uri.query(), &[])?;
    metrics::gauge!("shelfd_inflight_events").set(door.valve.events_inside() as f64);
    metrics::gauge!("shelfd_inflight_bytes").set(door.valve.bytes_inside() as f64);
    let text = (door.options.metrics)() + &took::render();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The OpenAPI document.
pub(super) async fn openapi(State(door): State<Door>, uri: Uri) -> Answer<Response> {
    Params::read(uri.query(), &[])?;
    Ok(([(header::CONTENT_TYPE, "application/json")], door.document.to_string()).into_response())
}
