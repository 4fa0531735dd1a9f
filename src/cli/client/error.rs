//! Why a request has no good answer: the node's own problem documents as a typed error, and what lies below them.
//!
//! Rejected: `reqwest::Error` as it is. It says "error sending request" where a person needs "connection refused", and
//! knows nothing of the node's stable codes.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::ANSWER_TIMEOUT;

/// A problem document of the node (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable code: `unknown_sku`, `insufficient_stock`, …
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, in a sentence.
    pub detail: String,
    /// A JSON pointer to the field at fault.
    pub field: Option<String>,
    /// The trace that the node's log knows it by.
    pub trace_id: Option<String>,
    /// How long the node asks to wait.
    pub retry_after: Option<Duration>,
    /// The whole document as it came.
    pub body: Box<str>,
}

#[derive(Deserialize)]
struct ProblemBody {
    code: String,
    detail: Option<String>,
    title: Option<String>,
    field: Option<String>,
    trace_id: Option<String>,
}

impl Problem {
    /// Reads a problem document; `None` when the body is none.
    pub(super) fn read(status: u16, retry_after: Option<Duration>, body: &str) -> Option<Problem> {
        let read: ProblemBody = serde_json::from_str(body).ok()?;
        Some(Problem {
            detail: read.detail.or(read.title).unwrap_or_else(|| read.code.clone()),
            code: read.code,
            status,
            field: read.field,
            trace_id: read.trace_id,
            retry_after,
            body: body.trim_end().into(),
        })
    }

    /// The whole document, for the members that only some codes have.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// What a person may do about it, where the command line knows.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "unauthenticated" | "forbidden" => "give a token with --token or SHELFD_TOKEN",
            "unknown_warehouse" => "`shelfd warehouses list` shows them; name one with -w or SHELFD_WAREHOUSE",
            "unknown_sku" => "`shelfd skus list` shows the catalogue",
            "unknown_reservation" => "`shelfd reserve list` shows the baskets",
            "insufficient_stock" => "`shelfd availability` shows what may be promised; --allow-partial takes what there is",
            "history_gone" => "the journal no longer reaches back that far (history_days)",
            "cursor_gone" => "begin again without --since",
            "storage_full" => "make room on the node's disk; it recovers by itself",
            _ => return None,
        })
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the connection was refused.
    #[error("no node answers at {url}: {}", root_cause(.source))]
    Unreachable {
        /// The address.
        url: String,
        /// What the system said.
        source: reqwest::Error,
    },
    /// The node took too long.
    #[error("the node did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    TooSlow {
        /// What the system said.
        source: reqwest::Error,
    },
    /// The connection broke in the middle of an exchange; whether the node took the request is unknown.
    #[error("the connection to the node broke: {}", root_cause(.source))]
    Broken {
        /// What the system said.
        source: reqwest::Error,
    },
    /// The node refused, and says why.
    #[error("{}{}", .0.detail, .0.field.as_deref().map(|field| format!(" (field {field})")).unwrap_or_default())]
    Problem(Box<Problem>),
    /// A status without a problem document: this is hardly a node.
    #[error("unexpected answer {status}: {excerpt}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// A body that is not the JSON that was promised.
    #[error("the answer is not what this version expects: {source}")]
    Unreadable {
        /// Where it differs.
        source: serde_json::Error,
    },
}

impl Error {
    /// The problem document, when the node sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the same request may succeed later: out of reach, broken off, too slow, 429, 503.
    pub fn passes(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Broken { .. } | Error::TooSlow { .. } => true,
            Error::Problem(problem) => matches!(problem.status, 408 | 429 | 503),
            Error::Unexpected { status, .. } => matches!(status, 429 | 503),
            Error::Unreadable { .. } => false,
        }
    }
}

/// The innermost cause: "Connection refused (os error 111)" rather than "error sending request".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_code_and_everything_else_of_its_body() {
        let body = r#"{"type":"/problems/insufficient_stock","title":"t","status":409,"detail":"only 2 of A","code":"insufficient_stock","lines":[{"sku":"A","requested":3,"available":2}]}"#;
        let problem = Problem::read(409, None, body).expect("a problem");
        assert_eq!(
            (problem.code.as_str(), problem.detail.as_str()),
            ("insufficient_stock", "only 2 of A")
        );
        assert_eq!(problem.value()["lines"][0]["available"], 2);
        assert!(Problem::read(502, None, "<html>").is_none());
    }

    #[test]
    fn only_what_passes_is_asked_again() {
        let problem = |status| {
            Error::Problem(Box::new(Problem {
                code: String::new(),
                status,
                detail: String::new(),
                field: None,
                trace_id: None,
                retry_after: None,
                body: "".into(),
            }))
        };
        assert!(problem(503).passes() && problem(429).passes());
        assert!(!problem(409).passes() && !problem(422).passes() && !problem(507).passes() && !problem(500).passes());
    }
}
