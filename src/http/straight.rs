//! The pages that nearly every request is for, found by their names before the router is asked.
//!
//! The router tries a tree of paths, boxes a future for each layer, and hands what it found to the handler in a map that it allocates:
//! 6,400 instructions of every request of the bare loop, a tenth of all it does. The pages here are in the router as well, which answers
//! for every spelling that is not the usual one; both call the same handler. A router of our own for all pages was rejected: it would
//! have to know again what utoipa's attributes say.

use axum::http::{Method, Request, Uri};

use super::error::Answer;
use super::reply::Written;
use super::{Door, skus};

/// A request whose page is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// `POST /v1/events`.
    Events,
    /// `GET /v1/warehouses/{w}/skus/{s}`, of now.
    Sku,
}

impl Page {
    /// The page that a request is for; `None`: the router must find out.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Page> {
        match *request.method() {
            Method::POST => (request.uri().path() == "/v1/events").then_some(Page::Events),
            Method::GET => sku_of(request.uri()).map(|_| Page::Sku),
            _ => None,
        }
    }

    /// Its pattern, as the router has it.
    pub(super) fn route(&self) -> &'static str {
        match self {
            Page::Events => "/v1/events",
            Page::Sku => "/v1/warehouses/{w}/skus/{s}",
        }
    }
}

/// The page [`Page::Sku`] of this address.
pub(super) fn sku(door: &Door, uri: &Uri) -> Answer<Written> {
    let (warehouse, sku) = sku_of(uri).unwrap_or_default();
    skus::now(door, warehouse, sku)
}

/// The warehouse and the SKU of an address without a query and without anything percent-encoded.
fn sku_of(uri: &Uri) -> Option<(&str, &str)> {
    let (warehouse, sku) = uri.path().strip_prefix("/v1/warehouses/")?.split_once("/skus/")?;
    let plain = |segment: &str| !segment.is_empty() && !segment.contains(['/', '%']);
    (uri.query().is_none() && plain(warehouse) && plain(sku)).then_some((warehouse, sku))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::http::ROUTES;

    fn page(method: Method, path: &str) -> Option<Page> {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        Page::of(&request.expect("a request"))
    }

    #[test]
    fn only_the_usual_spelling_of_a_page_goes_straight_to_it() {
        assert_eq!(page(Method::POST, "/v1/events?x=1"), Some(Page::Events));
        assert_eq!(page(Method::GET, "/v1/warehouses/main/skus/milk-3"), Some(Page::Sku));
        for (method, path) in [
            (Method::GET, "/v1/events"),
            (Method::POST, "/v1/events/"),
            (Method::HEAD, "/v1/warehouses/main/skus/milk-3"),
            (Method::PUT, "/v1/warehouses/main/skus/milk-3"),
            (Method::GET, "/v1/warehouses/main/skus"),
            (Method::GET, "/v1/warehouses/main/skus/"),
            (Method::GET, "/v1/warehouses//skus/milk-3"),
            (Method::GET, "/v1/warehouses/main/skus/milk%203"),
            (Method::GET, "/v1/warehouses/main/skus/milk-3?as_of=2026-01-01T00:00:00Z"),
            (Method::GET, "/v1/warehouses/main/skus/milk-3/ledger"),
        ] {
            assert_eq!(page(method, path), None, "{path}");
        }
    }

    #[test]
    fn each_of_them_is_a_page_of_the_router() {
        for (method, page) in [("POST", Page::Events), ("GET", Page::Sku)] {
            assert!(ROUTES.iter().any(|(of, path, _)| (*of, *path) == (method, page.route())));
        }
    }
}
