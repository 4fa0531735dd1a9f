//! Batches to the node and verdicts back, with patience for a node that is starting, full, or gone for a while.
//!
//! One batch is in flight at a time, and the next is made ready meanwhile: rows of one SKU are judged in the order in which
//! they arrive, and two requests in flight may overtake one another. The node commits what a batch brings at once, so the
//! pause between two batches is what a second one could win, which is little.

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use serde::Deserialize;

use crate::cli::client::{self, Client, Patience, path};
use crate::cli::exit::{Code, Failure};

/// What the node says of a row.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    /// The row's id, so that no answer is taken for another's.
    #[serde(default)]
    pub id: Option<String>,
    /// `applied`, `duplicate`, …
    pub verdict: String,
    /// The SKU's version after it.
    #[serde(default)]
    pub version: Option<u64>,
    /// Units that had to be found.
    #[serde(default)]
    pub found: Option<i64>,
    /// Why it was refused.
    #[serde(default)]
    pub problem: Option<RowProblem>,
}

/// Why a row was refused.
#[derive(Debug, Clone, Deserialize)]
pub struct RowProblem {
    /// The stable code.
    pub code: String,
    /// The status that the row alone would have had.
    #[serde(default)]
    pub status: u16,
    /// A sentence.
    #[serde(default)]
    pub detail: Option<String>,
    /// The field at fault.
    #[serde(default)]
    pub field: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    verdicts: Vec<Verdict>,
}

impl Verdict {
    /// Whether the node could not judge the row now and may later.
    fn passes(&self) -> bool {
        self.problem
            .as_ref()
            .is_some_and(|problem| matches!(problem.status, 429 | 503 | 507))
    }
}

/// Sends a batch until each of its rows has a verdict that stands. Fails when the node refuses the batch as a whole, or
/// patience ends.
pub async fn send(api: Client, body: Bytes, rows: usize) -> Result<Vec<Verdict>, Failure> {
    let mut settled: Vec<Option<Verdict>> = vec![None; rows];
    let mut pauses = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Patience::LONG.first)
        .with_max_delay(Patience::LONG.longest)
        .with_max_times(Patience::LONG.retries)
        .build();
    loop {
        let answer = api
            .post_raw(&path(["v1", "events"]), "application/x-ndjson", body.clone())
            .await?;
        let verdicts = read(answer.text())?;
        if verdicts.len() != rows {
            let message = format!("the node answered {} verdicts to {rows} rows", verdicts.len());
            return Err(
                Failure::new(Code::Unavailable, message).with_help("is this the address of a shelfd node of this version?")
            );
        }
        let mut waiting = None;
        for (slot, verdict) in settled.iter_mut().zip(verdicts) {
            // What a row was first told stands; sent again, it would only be called a duplicate.
            if slot.as_ref().is_none_or(Verdict::passes) {
                waiting = waiting.or(verdict.passes().then(|| verdict.clone()));
                *slot = Some(verdict);
            }
        }
        let Some(waiting) = waiting else {
            return Ok(settled.into_iter().flatten().collect());
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => {
                let problem = waiting
                    .problem
                    .map(|problem| problem.detail.unwrap_or(problem.code))
                    .unwrap_or_default();
                return Err(Failure::new(
                    Code::TryAgain,
                    format!("the node cannot take the rows now: {problem}"),
                ));
            }
        }
    }
}

/// The verdicts of an answer, which is one document, or a row a line.
fn read(text: &str) -> Result<Vec<Verdict>, client::Error> {
    let unreadable = |source| client::Error::Unreadable { source };
    if let Ok(answer) = serde_json::from_str::<Answer>(text) {
        return Ok(answer.verdicts);
    }
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(unreadable))
        .collect()
}
