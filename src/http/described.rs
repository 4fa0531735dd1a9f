//! Shapes of the hot path for the OpenAPI document: they are decoded and written by hand, and only described here.
//!
//! Beside the handler they would hide it; deriving the JSON from them was rejected, since a batch is written in one pass.

use utoipa::ToSchema;

/// An event, as CloudEvents 1.0 in structured mode.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body, which is decoded by hand")]
pub(super) struct EventBody {
    /// `1.0`.
    specversion: String,
    /// Unique within the source and the warehouse.
    id: String,
    /// The reporting system.
    source: String,
    /// `inventory.receipt`, `inventory.sale`, …
    r#type: String,
    /// The business time; without it, the time of arrival.
    time: Option<String>,
    /// `warehouse`, `sku` and what belongs to the type.
    data: serde_json::Value,
}

/// What became of one event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
pub(super) struct VerdictBody {
    /// The event's id, where it could be read.
    id: Option<String>,
    /// Its source, where it could be read.
    source: Option<String>,
    /// `applied`, `duplicate`, `included_in_count`, `stale`, `recorded`, `dead_letter` or `refused`.
    verdict: String,
    /// For a duplicate: the first verdict.
    first: Option<String>,
    /// The sequence of its fact.
    seq: Option<u64>,
    /// The SKU's version after it.
    version: Option<u64>,
    /// Units that had to be found first.
    found: Option<i64>,
    /// An expired lot that was taken.
    expired_lot: Option<String>,
    /// Why it was refused.
    problem: Option<serde_json::Value>,
}

/// The verdicts of a batch, in the order of its rows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
pub(super) struct VerdictsBody {
    /// One for each row.
    verdicts: Vec<VerdictBody>,
}
