//! How many requests each route has answered, and how long they took; how many events have had each verdict.
//!
//! Handles are looked up once per thread and kept: the metrics registry hashes a key of four texts under a lock, which cost as
//! much as judging a sale. What is kept is bounded by routes × methods × statuses.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::Counter;

use super::took::Took;

thread_local! {
    /// In a list: there are a few dozen routes, and to hash the name of one costs more than to find it.
    static ROUTES: RefCell<Vec<(Box<str>, Counts)>> = const { RefCell::new(Vec::new()) };
    static VERDICTS: RefCell<Vec<(&'static str, Counter)>> = const { RefCell::new(Vec::new()) };
}

/// What one thread has counted of one route.
struct Counts {
    took: Arc<Took>,
    requests: Vec<((&'static str, StatusCode), Counter)>,
}

/// Only methods that some route has become labels: a caller must not be able to make metrics grow.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// One request was answered. `route` is one of the node's own patterns, never what a caller wrote.
pub(super) fn count(route: &str, method: &Method, status: StatusCode, took: Duration) {
    ROUTES.with_borrow_mut(|routes| {
        let known = routes.iter().position(|(known, _)| **known == *route);
        let at = known.unwrap_or_else(|| {
            let counts = Counts {
                took: Took::of(route),
                requests: Vec::new(),
            };
            routes.push((route.into(), counts));
            routes.len() - 1
        });
        let counts = &mut routes[at].1;
        let key = (label(method), status);
        let known = counts.requests.iter().position(|(known, _)| *known == key);
        let at = known.unwrap_or_else(|| {
            let counter = metrics::counter!("shelfd_http_requests_total", "route" => route.to_owned(), "method" => key.0, "status" => status.as_str().to_owned());
            counts.requests.push((key, counter));
            counts.requests.len() - 1
        });
        counts.requests[at].1.increment(1);
        counts.took.record(took);
    });
}

/// So many events have had this verdict.
pub(super) fn verdicts(word: &'static str, n: u64) {
    VERDICTS.with_borrow_mut(|verdicts| {
        let known = verdicts.iter().position(|(known, _)| *known == word);
        let at = known.unwrap_or_else(|| {
            verdicts.push((word, metrics::counter!("shelfd_events_total", "verdict" => word)));
            verdicts.len() - 1
        });
        verdicts[at].1.increment(n);
    });
}
