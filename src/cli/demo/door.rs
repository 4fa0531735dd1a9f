//! The demo's way into the node: the public HTTP API, and a tally of what it answered.
//!
//! Rejected: handing events to the engine directly. It would be shorter, and would show nothing that a user's own programs
//! could not also do differently.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::story::{SITES, Story, ZONE};
use crate::cli::client::{self, Client, path};

/// Rows in one request of the morning; small enough that a person sees progress, large enough to be quick.
const BATCH_ROWS: usize = 400;
/// Catalogue entries on their way at a time.
const CATALOGUE_IN_FLIGHT: usize = 16;

/// The node's answer to one event, as far as the demo shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    /// `applied`, `duplicate`, …
    pub verdict: String,
    /// Units that had to be found.
    pub found: Option<i64>,
    /// The reason of a refusal.
    pub problem: Option<Problem>,
}

/// Why something was refused, as far as the demo shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: String,
}

#[derive(Deserialize)]
struct Verdicts {
    verdicts: Vec<Verdict>,
}

/// What has been sent, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Events by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Baskets by what happened to them: `held`, `confirmed`, …
    pub baskets: BTreeMap<String, u64>,
    /// Refusals by code.
    pub refused: BTreeMap<String, u64>,
    /// Events that had to find units.
    pub found: u64,
}

impl Tally {
    /// How many events have been sent.
    pub fn events(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// A list for people: `4,601 applied, 42 duplicate`.
    pub fn list(counts: &BTreeMap<String, u64>) -> String {
        let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({"events": self.events(), "verdicts": self.verdicts, "baskets": self.baskets, "refused": self.refused, "found": self.found})
    }
}

/// The door, with its tally.
#[derive(Debug)]
pub struct Door {
    api: Client,
    /// What went through it.
    pub tally: Tally,
}

impl Door {
    /// The door of the node that `api` speaks to.
    pub fn new(api: Client) -> Door {
        Door {
            api,
            tally: Tally::default(),
        }
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        self.api.url()
    }

    /// Declares the two sites and the whole catalogue.
    pub async fn furnish(&self, story: &Story) -> Result<(), client::Error> {
        for site in &SITES {
            let body = json!({
                "name": site.name, "time_zone": ZONE,
                "channels": {
                    "default": {"buffer": 0, "ttl_s": 900, "max_ttl_s": 86_400, "allow_no_expiry": true},
                    "web": {"buffer": 1, "ttl_s": 900, "max_ttl_s": 3_600, "allow_no_expiry": false},
                },
            });
            self.api.put(&path(["v1", "warehouses", site.id]), &body).await?;
        }
        stream::iter(&story.goods)
            .map(|good| async move { self.api.put(&path(["v1", "skus", &good.gtin]), &good.entry()).await.map(drop) })
            .buffer_unordered(CATALOGUE_IN_FLIGHT)
            .try_collect::<()>()
            .await
    }

    /// Sends events in their order, and answers with their verdicts in the same order.
    pub async fn send(&mut self, events: &[Value]) -> Result<Vec<Verdict>, client::Error> {
        let mut verdicts = Vec::with_capacity(events.len());
        for batch in events.chunks(BATCH_ROWS) {
            let answer = self.api.post(&path(["v1", "events"]), &Value::from(batch)).await?;
            verdicts.extend(answer.json::<Verdicts>()?.verdicts);
        }
        for verdict in &verdicts {
            *self.tally.verdicts.entry(verdict.verdict.clone()).or_default() += 1;
            self.tally.found += u64::from(verdict.found.is_some_and(|found| found > 0));
            if let Some(problem) = &verdict.problem {
                *self.tally.refused.entry(problem.code.clone()).or_default() += 1;
            }
        }
        Ok(verdicts)
    }

    /// `PUT` of a basket. A refusal is part of the story; anything else that goes wrong is an error.
    pub async fn hold(&mut self, warehouse: &str, id: &str, body: &Value) -> Result<Result<Value, Problem>, client::Error> {
        let answer = self
            .api
            .put(&path(["v1", "warehouses", warehouse, "reservations", id]), body)
            .await;
        self.basket("held", answer)
    }

    /// `confirm`, `cancel` or `extend`, counted under the state that it leads to.
    pub async fn end(
        &mut self,
        warehouse: &str,
        id: &str,
        verb: &str,
        body: &Value,
    ) -> Result<Result<Value, Problem>, client::Error> {
        let answer = self
            .api
            .post(&path(["v1", "warehouses", warehouse, "reservations", id, verb]), body)
            .await;
        let state = match verb {
            "confirm" => "confirmed",
            "cancel" => "cancelled",
            _ => "extended",
        };
        self.basket(state, answer)
    }

    fn basket(
        &mut self,
        state: &str,
        answer: Result<client::Answer, client::Error>,
    ) -> Result<Result<Value, Problem>, client::Error> {
        match answer {
            Ok(answer) => {
                *self.tally.baskets.entry(state.to_owned()).or_default() += 1;
                Ok(Ok(answer.json()?))
            }
            Err(client::Error::Problem(problem)) if (400..500).contains(&problem.status) => {
                *self.tally.refused.entry(problem.code.clone()).or_default() += 1;
                Ok(Err(Problem {
                    code: problem.code.clone(),
                }))
            }
            Err(error) => Err(error),
        }
    }
}
