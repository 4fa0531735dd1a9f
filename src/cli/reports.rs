//! The reports of a warehouse: `ignored`, `at-risk`, `streams`, and `drift`. Each is one list of the API.
//!
//! They are one file because they are one thing: a path, a filter, and the order of the columns. Rejected: four files of
//! thirty lines that differ in a word.

use super::client::{Path, Query, path};
use super::exit::Failure;
use super::list::Paging;
use super::stock::Where;
use super::{Context, any, arg};

/// The arguments of `shelfd ignored`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd ignored                     everything that moved nothing, with its reason
  shelfd ignored --why duplicate
  shelfd ignored --why refused -w msk-07 --json")]
pub struct Ignored {
    #[command(flatten)]
    place: Where,
    /// Only what was ignored for this: duplicate, stale, late, refused, dead_letter, …
    #[arg(long)]
    why: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// The arguments of `shelfd at-risk`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd at-risk
  shelfd at-risk -w msk-07 --json")]
pub struct AtRisk {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    paging: Paging,
}

/// The arguments of `shelfd streams`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd streams                     each source's numbered streams, and what is missing in them
  shelfd streams -w msk-07 --json")]
pub struct Streams {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    paging: Paging,
}

/// The arguments of `shelfd drift`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd drift                       oldest first
  shelfd drift -w msk-07 --all
  shelfd drift --json")]
pub struct Drift {
    /// Only this warehouse; all without it
    #[arg(short, long, value_parser = arg::id)]
    warehouse: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

fn of_warehouse(place: &Where, report: &str) -> Path {
    path(["v1", "warehouses", &place.warehouse, report])
}

/// What was ignored, and why.
pub async fn ignored(args: Ignored, context: &Context) -> Result<(), Failure> {
    let query: Query = args.why.map(|why| ("why", why)).into_iter().collect();
    let first = [
        "at",
        "time",
        "recorded_at",
        "why",
        "verdict",
        "what",
        "sku",
        "source",
        "id",
        "quantity",
        "detail",
    ];
    any::show(
        context,
        &of_warehouse(&args.place, "ignored"),
        &query,
        args.paging,
        &first,
        "nothing was ignored",
    )
    .await
}

/// The promises that no longer fit.
pub async fn at_risk(args: AtRisk, context: &Context) -> Result<(), Failure> {
    let first = [
        "sku",
        "reservation",
        "id",
        "channel",
        "quantity",
        "held",
        "good_until",
        "expires_at",
    ];
    any::show(
        context,
        &of_warehouse(&args.place, "at-risk"),
        &Query::new(),
        args.paging,
        &first,
        "every promise fits",
    )
    .await
}

/// Each source's streams and their gaps.
pub async fn streams(args: Streams, context: &Context) -> Result<(), Failure> {
    let first = ["source", "stream", "sku", "lot", "seq", "stream_seq", "gaps", "missing", "at"];
    any::show(
        context,
        &of_warehouse(&args.place, "streams"),
        &Query::new(),
        args.paging,
        &first,
        "no source numbers its events here",
    )
    .await
}

/// Where node, ERP and WMS disagree.
pub async fn drift(args: Drift, context: &Context) -> Result<(), Failure> {
    let query: Query = args.warehouse.map(|warehouse| ("warehouse", warehouse)).into_iter().collect();
    let first = [
        "warehouse",
        "sku",
        "source",
        "node",
        "book",
        "reported",
        "believes",
        "difference",
        "since",
    ];
    any::show(
        context,
        &path(["v1", "drift"]),
        &query,
        args.paging,
        &first,
        "no disagreement",
    )
    .await
}
