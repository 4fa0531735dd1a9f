//! What the OpenAPI document needs beside the handlers: shapes of the hot path, which are decoded and written by hand and only
//! described here, and what holds for every operation: an id of its own, and problems as its other answers.
//!
//! Beside the handler they would hide it; deriving the JSON from them was rejected, since a batch is written in one pass.
//! Problems named in each attribute were rejected, too: any operation may answer `overloaded`, and one would forget it.

use serde_json::Value;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::dead_letters::{CauseView, LetterView};
use super::history::ThenView;
use super::shape::{Page, SkuView};

/// An event, as CloudEvents 1.0 in structured mode.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body, which is decoded by hand")]
pub(super) struct EventBody {
    /// `1.0`.
    specversion: String,
    /// Unique within the source and the warehouse.
    id: String,
    /// The reporting system; `node` and `node/…` are the node's own.
    source: String,
    /// `inventory.receipt`, `inventory.sale`, …
    r#type: String,
    /// The business time; without it, the time of arrival.
    time: Option<String>,
    /// What is claimed.
    data: DataBody,
}

/// The `data` of an event: `warehouse`, `sku` and what belongs to its type.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes the body, which is decoded by hand")]
struct DataBody {
    /// Where.
    warehouse: String,
    /// Of what.
    sku: String,
    /// Base units; above 0, or from 0 for a count and a snapshot. Every type but `adjustment` and `void` has it.
    quantity: Option<i64>,
    /// Of an adjustment: base units, not 0.
    delta: Option<i64>,
    /// `each`, `g` or `ml`; must be the SKU's.
    unit: Option<String>,
    /// The lot that moved or was counted; `{"id": ""}` is the stock without a lot.
    lot: Option<LotBody>,
    /// Why; required of a write-off and of an adjustment.
    reason: Option<String>,
    /// The paper that it stands on.
    document: Option<String>,
    /// The numbered stream that it belongs to, with `stream_seq`.
    stream: Option<String>,
    /// Its number in the stream.
    stream_seq: Option<u64>,
    /// Refused with `version_mismatch` when the SKU has moved on.
    expected_version: Option<u64>,
    /// Of a sale: the basket that it takes from.
    reservation: Option<String>,
    /// Of a return: `sellable` (default) or `quarantine`.
    to: Option<String>,
    /// Of a write-off: `sellable` (default), `quarantine` or `in_transit`.
    from: Option<String>,
    /// Of a transfer: its id.
    transfer: Option<String>,
    /// Of a `transfer_out`: where the goods go; another warehouse.
    to_warehouse: Option<String>,
    /// Of a void: the id of an earlier event of the same source.
    event: Option<String>,
}

/// A lot as an event names it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes the body, which is decoded by hand")]
struct LotBody {
    /// Its id.
    id: String,
    /// Its last sellable day.
    expires_on: Option<String>,
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
    /// For a dead letter: its id.
    dead_letter: Option<u64>,
    /// Why it was refused.
    problem: Option<RefusalBody>,
}

/// Why a row was refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
struct RefusalBody {
    /// The problem's code.
    code: String,
    /// The status that it would have alone.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// The field, as a JSON pointer into the row.
    field: Option<String>,
    /// The row, from 1.
    row: Option<u64>,
    /// What was short.
    lines: Option<Vec<ShortageBody>>,
}

/// What was short of one SKU.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
struct ShortageBody {
    /// Of what.
    sku: String,
    /// Units asked for.
    requested: i64,
    /// Units there were.
    available: i64,
}

/// Why a request was not carried out (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
pub(super) struct ProblemBody {
    /// `/problems/` and the code.
    r#type: String,
    /// What the code means.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong here, and what to do.
    detail: String,
    /// One word for programs.
    code: String,
    /// The trace to ask about.
    trace_id: String,
    /// The field, as a JSON pointer into the body, or the parameter.
    field: Option<String>,
    /// `insufficient_stock`: what was short.
    lines: Option<Vec<ShortageBody>>,
    /// `internal_error`: where it is kept.
    dead_letter: Option<u64>,
}

/// A catalogue entry as it is shown.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is made of what was set")]
pub(super) struct EntryView {
    /// The SKU.
    sku: String,
    /// What people call it, in any language.
    name: Option<String>,
    /// The base unit: `each`, `g` or `ml`.
    unit: Option<String>,
    /// GTINs and other codes.
    barcodes: Option<Vec<String>>,
    /// A group of goods.
    category: Option<String>,
    /// Days from making to expiry.
    shelf_life_days: Option<u32>,
    /// A whole number of minor units, or a decimal as a string.
    price: Option<Value>,
}

/// The verdicts of a batch, in the order of its rows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the answer, which is written by hand")]
pub(super) struct VerdictsBody {
    /// One for each row.
    verdicts: Vec<VerdictBody>,
}

/// A shape that is one of two.
macro_rules! either {
    ($(#[$doc:meta])* $name:ident, $one:ty, $other:ty) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(<$one>::schema()).item(<$other>::schema()).build()))
            }
        }

        impl ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                <$one>::schemas(schemas);
                <$other>::schemas(schemas);
            }
        }
    };
}

either!(
    /// One event's verdict, or those of a batch.
    ReportBody,
    VerdictBody,
    VerdictsBody
);
either!(
    /// A SKU as it is now, or as it stood then.
    NowOrThen,
    SkuView<'static>,
    ThenView
);
either!(
    /// Dead letters, or with `group=cause` one item for each cause.
    LettersBody,
    Page<LetterView>,
    Page<CauseView>
);

/// Gives every operation an id of its own, its problems a shape, and all others a problem as their answer.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [("get", &mut item.get), ("put", &mut item.put), ("post", &mut item.post)];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            let answers = &mut operation.responses.responses;
            for (status, answer) in answers.iter_mut() {
                if let (true, RefOr::T(answer)) = (status.starts_with(['4', '5']), answer) {
                    as_problem(answer);
                }
            }
            let mut other = Response::new("Any other: a problem");
            as_problem(&mut other);
            answers.insert("default".into(), RefOr::T(other));
        }
    }
}

/// `put` of `/v1/warehouses/{w}/at-risk` is `put_warehouses_w_at_risk`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '-']).filter(|word| !matches!(*word, "" | "v1"));
    words.fold(method.to_owned(), |id, word| id + "_" + word.trim_matches(['{', '}']))
}

fn as_problem(answer: &mut Response) {
    // `/readyz` has an answer of its own.
    if !answer.content.contains_key("application/json") {
        let content = Content::new(Some(Ref::from_schema_name("ProblemBody")));
        answer.content.insert("application/problem+json".into(), RefOr::T(content));
    }
}
