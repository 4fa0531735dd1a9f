//! The HTTP API: every route on this page, one file per resource.
//!
//! Handlers decode, ask the node and shape the answer; they decide nothing about stock. Each route is declared once, with
//! utoipa's attribute on its handler, and both the router and the OpenAPI document are made from it; [`ROUTES`] is the page that
//! a test holds to it. The edge ([`edge`]) is passed by every request, the status of every problem is in [`error`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xxhash_rust::xxh3::xxh3_64;

use self::edge::Front;
pub use self::entrance::Entrance;
use crate::actors::node::Node;
use crate::ingress::admission::Valve;

mod availability;
mod body;
mod calendars;
mod catalogue;
mod changes;
mod counts;
mod dead_letters;
mod described;
mod drift;
mod eager;
pub mod edge;
mod entrance;
pub mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod history;
mod lanes;
mod ledger;
mod linger;
mod lookup;
mod object;
mod params;
mod reply;
mod reservations;
mod server;
mod settings;
pub mod shape;
mod skus;
mod straight;
mod took;
pub mod trace;
mod warehouses;
mod watched;
mod written;

/// Every route: method, path, what it is for.
pub const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", "/v1/events", "report what happened: one event or a batch"),
    ("GET", "/v1/warehouses", "the warehouses"),
    ("GET", "/v1/warehouses/{w}", "one warehouse"),
    ("PUT", "/v1/warehouses/{w}", "declare a warehouse, or change it"),
    ("GET", "/v1/skus", "the catalogue"),
    ("GET", "/v1/skus/{s}", "one catalogue entry"),
    ("PUT", "/v1/skus/{s}", "set a catalogue entry"),
    ("GET", "/v1/warehouses/{w}/skus", "what is true now, for all SKUs"),
    ("GET", "/v1/warehouses/{w}/skus/{s}", "what is true now, or was true then"),
    ("GET", "/v1/warehouses/{w}/skus/{s}/ledger", "why"),
    ("PUT", "/v1/warehouses/{w}/skus/{s}/lots/{lot}", "correct a lot's expiry date"),
    ("PUT", "/v1/warehouses/{w}/skus/{s}/buffers", "override a SKU's buffers"),
    (
        "POST",
        "/v1/warehouses/{w}/availability",
        "what may be promised, for a basket of SKUs",
    ),
    ("GET", "/v1/warehouses/{w}/at-risk", "promises that no longer fit"),
    ("GET", "/v1/warehouses/{w}/reservations", "reservations by state"),
    ("GET", "/v1/warehouses/{w}/reservations/{id}", "one reservation"),
    ("PUT", "/v1/warehouses/{w}/reservations/{id}", "hold, or replace what is held"),
    ("POST", "/v1/warehouses/{w}/reservations/{id}/confirm", "the goods were taken"),
    ("POST", "/v1/warehouses/{w}/reservations/{id}/cancel", "give it back"),
    ("POST", "/v1/warehouses/{w}/reservations/{id}/extend", "hold it longer"),
    ("GET", "/v1/warehouses/{w}/ignored", "what was ignored, and why"),
    (
        "GET",
        "/v1/ignored",
        "rows refused at the door that name no warehouse of this node",
    ),
    ("GET", "/v1/warehouses/{w}/streams", "each source's streams and their gaps"),
    (
        "GET",
        "/v1/changes",
        "what changed since a cursor: a page, a long poll, or SSE",
    ),
    ("GET", "/v1/drift", "where the node and other systems disagree"),
    ("GET", "/v1/dead-letters", "events that could not be judged"),
    (
        "POST",
        "/v1/dead-letters/{verb}",
        "replay, discard or restore all that match a filter",
    ),
    ("POST", "/v1/dead-letters/{id}/{verb}", "replay, discard or restore one"),
    ("GET", "/v1/status", "the node's health in figures"),
    ("GET", "/livez", "whether the process lives"),
    ("GET", "/readyz", "whether the node takes work"),
    ("GET", "/metrics", "metrics in the Prometheus text format"),
];

/// What the server allows its callers, from the first moment on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body in bytes, as sent and inflated.
    pub max_body_bytes: usize,
    /// How long the first head of a connection may take.
    pub header_timeout: Duration,
    /// How long the next piece of a body may take; the whole body may take six times as long.
    pub body_timeout: Duration,
    /// How long a connection may stay open with nothing to do.
    pub idle_timeout: Duration,
    /// The most connections; further ones are closed at once with 503.
    pub max_connections: usize,
    /// How long connections may finish what they have begun when the node stops.
    pub finish_within: Duration,
}

/// What the pages have beside the node, handed over by the composition root.
#[derive(Clone)]
pub struct HttpOptions {
    /// The most events in one batch.
    pub max_rows: usize,
    /// The valve, which other doors share.
    pub valve: Valve,
    /// All metrics as text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What other doors say of themselves, as members of the status.
    pub others: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// What every handler has at hand. Cheap to clone: every request has one.
#[derive(Clone)]
pub struct Door(Arc<Hall>);

impl std::ops::Deref for Door {
    type Target = Hall;
    fn deref(&self) -> &Hall {
        &self.0
    }
}

/// What lies behind the door.
pub struct Hall {
    node: Node,
    limits: Limits,
    options: HttpOptions,
    valve: Valve,
    shutdown: watch::Receiver<bool>,
    document: Arc<str>,
    /// Names the node and the life of its store in cursors.
    store_tag: Arc<str>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "shelfd",
        description = "The stock of darkstores: what is there, why, and what may be promised. Quantities are whole numbers of the SKU's base unit, times are RFC 3339 with an offset, problems are RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(described::ProblemBody, dead_letters::LetterView, dead_letters::CauseView)),
    tags(
        (name = "stock", description = "What happened, what is true, and why"),
        (name = "reservations", description = "What is promised"),
        (name = "settings", description = "Warehouses, catalogue, lots and buffers"),
        (name = "following", description = "Changes, and what was ignored"),
        (name = "node", description = "The node itself")
    )
)]
struct Described;

fn described() -> OpenApiRouter<Door> {
    let mut routes = OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(events::report))
        .routes(routes!(warehouses::list))
        .routes(routes!(warehouses::show, warehouses::set))
        .routes(routes!(catalogue::list))
        .routes(routes!(catalogue::show, catalogue::set))
        .routes(routes!(skus::list))
        .routes(routes!(skus::show))
        .routes(routes!(ledger::list))
        .routes(routes!(settings::lot))
        .routes(routes!(settings::buffers))
        .routes(routes!(availability::ask))
        .routes(routes!(reservations::at_risk))
        .routes(routes!(reservations::list))
        .routes(routes!(reservations::show, reservations::hold))
        .routes(routes!(reservations::confirm))
        .routes(routes!(reservations::cancel))
        .routes(routes!(reservations::extend))
        .routes(routes!(history::ignored))
        .routes(routes!(history::nowhere))
        .routes(routes!(history::streams))
        .routes(routes!(changes::follow))
        .routes(routes!(drift::list))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::act_on_all))
        .routes(routes!(dead_letters::act))
        .routes(routes!(health::status))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics));
    described::complete(routes.get_openapi_mut());
    routes
}

/// The OpenAPI document of the routes.
pub fn document() -> Document {
    described().into_openapi()
}

fn front(node: Node, limits: Limits, options: HttpOptions, shutdown: watch::Receiver<bool>) -> Front {
    let (routes, document) = described().split_for_parts();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let status = node.status();
    let name = status["node"].as_str().unwrap_or_default();
    let store_tag = format!(
        "{:08x}-{}",
        xxh3_64(name.as_bytes()) as u32,
        status["restored"].as_u64().unwrap_or_default()
    );
    let door = Door(Arc::new(Hall {
        node,
        store_tag: store_tag.into(),
        valve: options.valve.clone(),
        limits,
        options,
        shutdown,
        document,
    }));
    let docs = utoipa_swagger_ui::SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json"));
    let docs: Router<Door> = docs.into();
    let router = routes
        .route("/openapi.json", get(health::openapi))
        .merge(docs)
        .route_layer(axum::middleware::from_fn(edge::name_route))
        .with_state(door.clone());
    Front { router, door }
}

/// Serves whoever comes to a listener until `shutdown` turns true; what was taken is finished, within the time limit. Until the
/// entrance is opened, callers are told that the node starts.
pub async fn serve(listener: TcpListener, entrance: Entrance, shutdown: watch::Receiver<bool>) -> io::Result<()> {
    server::run(listener, entrance, shutdown).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_on_the_page_and_in_the_document() {
        let document = serde_json::to_value(document()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let page: BTreeSet<_> = ROUTES
            .iter()
            .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(described, page);
    }

    #[test]
    fn every_route_says_what_it_takes_and_gives() {
        let document = serde_json::to_value(document()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let place = format!("{method} {path}");
                assert!(
                    operation["summary"].is_string() || operation["description"].is_string(),
                    "{place}"
                );
                assert!(
                    operation["responses"]["200"].is_object() || operation["responses"]["201"].is_object(),
                    "{place}"
                );
                let params = operation["parameters"].as_array().cloned().unwrap_or_default();
                for name in path
                    .split('/')
                    .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
                {
                    assert!(
                        params.iter().any(|p| p["name"] == name && p["in"] == "path"),
                        "{place} {name}"
                    );
                }
                if method == "put" {
                    assert!(operation["requestBody"].is_object(), "{place}");
                }
            }
        }
    }
}
