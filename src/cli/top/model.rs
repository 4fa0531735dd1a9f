//! What `top` knows: the last two looks at the node, the newest changes, what is to be counted and what is at risk.
//!
//! The view draws this and nothing else, so a frame can be tested without a node or a terminal. Rejected: drawing while
//! asking, which freezes the screen when the node does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::metrics::{Between, Samples};
use crate::cli::client::{Client, Error, Query, path};
use crate::cli::field::Field;

/// Changes kept for the view.
const CHANGES: usize = 200;
/// Rates kept for the curve.
const HISTORY: usize = 240;
/// Warehouses whose lists are asked for; the others show in the table only.
const LISTED: usize = 8;

/// Everything that a frame shows.
#[derive(Debug, Default)]
pub struct Model {
    /// The node's address.
    pub url: String,
    /// `/v1/status`.
    pub status: Value,
    /// What is wrong with the last look, if anything.
    pub trouble: Option<String>,
    /// Events per second, oldest first, one for each look.
    pub history: VecDeque<u64>,
    /// Changes, newest first.
    pub changes: VecDeque<Value>,
    /// SKUs to count.
    pub to_count: Vec<Value>,
    /// Promises at risk.
    pub at_risk: Vec<Value>,
    new: Samples,
    old: Option<Samples>,
    elapsed: Duration,
    looked: Option<Instant>,
}

impl Model {
    /// Nothing known yet of the node at `url`.
    pub fn new(url: &str) -> Model {
        Model {
            url: url.to_owned(),
            ..Model::default()
        }
    }

    /// What happened between the last two looks.
    pub fn between(&self) -> Between<'_> {
        Between {
            old: self.old.as_ref().unwrap_or(&self.new),
            new: &self.new,
            elapsed: self.elapsed,
        }
    }

    /// The newest figures.
    pub fn now(&self) -> &Samples {
        &self.new
    }

    /// What the frame shows, for a program.
    pub fn document(&self) -> Value {
        let between = self.between();
        json!({
            "url": self.url,
            "status": self.status,
            "rates": {
                "events": between.rate("shelfd_events_total"),
                "requests": between.rate("shelfd_http_requests_total"),
                "commits": between.rate("shelfd_commits_total"),
            },
            "to_count": self.to_count,
            "at_risk": self.at_risk,
            "changes": self.changes,
        })
    }

    /// Takes a change that was published.
    pub fn changed(&mut self, change: Value) {
        self.changes.push_front(change);
        self.changes.truncate(CHANGES);
    }

    /// Takes a look at the counters.
    pub fn sampled(&mut self, samples: Samples, at: Instant) {
        self.elapsed = self
            .looked
            .map_or(Duration::ZERO, |before| at.saturating_duration_since(before));
        self.looked = Some(at);
        let before = std::mem::replace(&mut self.new, samples);
        self.old = (self.elapsed > Duration::ZERO).then_some(before);
        if self.old.is_some() {
            self.history
                .push_back(self.between().rate("shelfd_events_total").round() as u64);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
    }

    /// The warehouses with SKUs, baskets held and claims at risk.
    pub fn warehouses(&self) -> Vec<[String; 4]> {
        let held = self.new.by("shelfd_reservations_held", "warehouse");
        let risk = self.new.by("shelfd_claims_at_risk", "warehouse");
        let figure = |value: Option<&f64>| value.map_or_else(|| "0".to_owned(), |value| format!("{value:.0}"));
        let skus = self.new.by("shelfd_skus", "warehouse");
        skus.iter()
            .map(|(name, skus)| {
                [
                    name.clone(),
                    figure(Some(skus)),
                    figure(held.get(name)),
                    figure(risk.get(name)),
                ]
            })
            .collect()
    }
}

/// Answers of one look, to be put into the model at once.
#[derive(Debug)]
pub struct Look {
    status: Result<Value, Error>,
    metrics: Result<Samples, Error>,
    at: Instant,
    lists: Option<(Vec<Value>, Vec<Value>)>,
}

/// Asks the node for everything but the changes. `lists`: also for what is to be counted and at risk in these warehouses.
pub async fn look(api: &Client, lists: Option<Vec<String>>) -> Look {
    let none = Query::new();
    let (status_path, metrics_path) = (path(["v1", "status"]), path(["metrics"]));
    let (status, metrics) = tokio::join!(api.get(&status_path, &none), api.fetch(&metrics_path, &none));
    let at = Instant::now();
    let metrics = metrics.map(|answer| Samples::read(answer.text()));
    let lists = match lists {
        Some(warehouses) if status.is_ok() => Some(ask_lists(api, &warehouses).await),
        _ => None,
    };
    Look {
        status,
        metrics,
        at,
        lists,
    }
}

async fn ask_lists(api: &Client, warehouses: &[String]) -> (Vec<Value>, Vec<Value>) {
    let (mut to_count, mut at_risk) = (Vec::new(), Vec::new());
    for warehouse in warehouses.iter().take(LISTED) {
        let count_due = vec![("flag", "count_due".to_owned())];
        to_count.extend(first_page(api, warehouse, "skus", &count_due).await);
        at_risk.extend(first_page(api, warehouse, "at-risk", &Query::new()).await);
    }
    (to_count, at_risk)
}

/// The first page of a warehouse's list, each item knowing its warehouse. A list that cannot be had is empty: the trouble is
/// told once, by the status.
async fn first_page(api: &Client, warehouse: &str, list: &str, query: &Query) -> Vec<Value> {
    let page = api.page(&path(["v1", "warehouses", warehouse, list]), query, None).await;
    let mut items: Vec<Value> = page.and_then(|page| page.read()).unwrap_or_default();
    for item in items.iter_mut().filter(|item| item.is_object() && !item.has("/warehouse")) {
        item["warehouse"] = warehouse.into();
    }
    items
}

impl Model {
    /// Takes what a look has brought.
    pub fn looked(&mut self, look: Look) {
        self.trouble = None;
        match look.status {
            Ok(status) => self.status = status,
            Err(error) => self.trouble = Some(error.to_string()),
        }
        match look.metrics {
            Ok(samples) => self.sampled(samples, look.at),
            Err(error) => self.trouble = Some(error.to_string()),
        }
        if let Some((to_count, at_risk)) = look.lists {
            self.to_count = to_count;
            self.at_risk = at_risk;
        }
    }

    /// The warehouses whose lists are worth asking for: all that the node counts SKUs of.
    pub fn warehouse_ids(&self) -> Vec<String> {
        warehouse_ids(&self.new)
    }
}

impl Look {
    /// The warehouses that this look has seen; none when it failed.
    pub fn warehouse_ids(&self) -> Vec<String> {
        self.metrics.as_ref().map(warehouse_ids).unwrap_or_default()
    }
}

fn warehouse_ids(samples: &Samples) -> Vec<String> {
    samples.by("shelfd_skus", "warehouse").into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_has_no_rate_and_the_second_has() {
        let mut model = Model::new("http://x");
        let start = Instant::now();
        model.sampled(Samples::read("shelfd_events_total 10\n"), start);
        assert!(model.history.is_empty() && model.between().rate("shelfd_events_total").abs() < 1e-9);
        model.sampled(Samples::read("shelfd_events_total 30\n"), start + Duration::from_secs(2));
        assert_eq!(model.history, [10]);
    }
}
