//! The way in: open from the first moment, with a few pages about the start until the node behind it takes work.
//!
//! One accept loop serves both, so that a connection made while the node starts is answered, and goes on when it has started. A small
//! server of its own for the start was rejected: it would have to give its connections away, and to repeat every limit.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::edge::Front;
use super::error::Problem;
use super::{HttpOptions, Limits, front, health};
use crate::actors::node::Node;
use crate::domain::refusal::Code;
use crate::storage::opening::Opening;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Entrance(Arc<Inside>);

struct Inside {
    limits: Limits,
    name: String,
    began: Instant,
    opening: Arc<Opening>,
    front: OnceLock<Front>,
}

impl Entrance {
    /// The entrance of a node that is starting: its name, and how far the opening of its store is.
    pub fn new(name: &str, limits: Limits, opening: Arc<Opening>) -> Entrance {
        Entrance(Arc::new(Inside {
            limits,
            name: name.to_owned(),
            began: Instant::now(),
            opening,
            front: OnceLock::new(),
        }))
    }

    /// From now on the node answers. Only the first one does.
    pub fn open(&self, node: Node, options: HttpOptions, shutdown: watch::Receiver<bool>) {
        let _ = self.0.front.set(front(node, self.0.limits, options, shutdown));
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The pages, and the node behind them, once it has started.
    pub(super) fn front(&self) -> Option<&Front> {
        self.0.front.get()
    }

    /// What is answered until then: that it lives, that it is starting, how far it is, and to everything else to come again.
    pub(super) fn not_yet(&self, path: &str) -> Result<Response<Body>, Problem> {
        let reached = self.0.opening.reached();
        let start = json!({"stage": reached.stage.as_str(), "done": reached.done, "of": reached.of});
        match path {
            health::LIVEZ => Ok(Json(health::alive()).into_response()),
            health::READYZ => {
                let body = json!({"status": "starting", "reason": reached.to_string(), "start": start});
                let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                Ok(response)
            }
            health::STATUS => Ok(Json(self.status(&reached.to_string(), &start)).into_response()),
            _ => Err(Problem::new(
                Code::Starting,
                format!("the node is starting ({reached}); send it again in a moment"),
            )),
        }
    }

    fn status(&self, reason: &str, start: &Value) -> Value {
        json!({
            "node": self.0.name,
            "version": env!("CARGO_PKG_VERSION"),
            "state": "starting",
            "reason": reason,
            "uptime_s": self.0.began.elapsed().as_secs(),
            "start": start,
        })
    }
}
