//! The reports of a warehouse: `ignored`, `at-risk`, `streams`, and `drift`. Each is one list of the API.
//!
//! They are one file because they are one thing: a path, a filter, and the order of the columns. Rejected: four files of
//! thirty lines that differ in a word.

use super::client::{Path, Query, path};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Column, Paging, left};
use super::out::Tone;
use super::stock::Where;
use super::table::{text, toned};
use super::{Context, any, arg};

/// The arguments of `shelfd ignored`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd ignored                     everything that moved nothing, with its reason
  shelfd ignored --why duplicate
  shelfd ignored --why refused -w msk-07 --json
  shelfd ignored --nowhere           rows that name no warehouse of this node")]
pub struct Ignored {
    #[command(flatten)]
    place: Where,
    /// Only what was ignored for this: duplicate, refused, stale, included_in_count, recorded or dead_letter
    #[arg(long)]
    why: Option<String>,
    /// Only what names no warehouse of this node: rows that could not be read, or with a warehouse that nobody has declared
    #[arg(long, conflicts_with = "why")]
    nowhere: bool,
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
    /// Only what this system believes
    #[arg(long, value_parser = arg::source)]
    source: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

fn of_warehouse(place: &Where, report: &str) -> Path {
    path(["v1", "warehouses", &place.warehouse, report])
}

const IGNORED: &[Column] = &[
    left("recorded", |fact| text(fact.when("/recorded_at"))),
    left("happened", |fact| text(fact.when("/at"))),
    left("why", |fact| toned(fact.word("/verdict"), Tone::Warn)),
    left("what", |fact| text(fact.word("/what"))),
    left("SKU", |fact| text(fact.word("/sku"))),
    left("source", |fact| text(fact.word("/source"))),
    left("event", |fact| text(fact.word("/id"))),
    left("detail", |fact| {
        text(if fact.has("/problem") {
            fact.word("/problem/detail")
        } else {
            fact.word("/error")
        })
    }),
];

/// What was ignored, and why.
pub async fn ignored(args: Ignored, context: &Context) -> Result<(), Failure> {
    let query: Query = args.why.map(|why| ("why", why)).into_iter().collect();
    let path = match args.nowhere {
        true => path(["v1", "ignored"]),
        false => of_warehouse(&args.place, "ignored"),
    };
    list::show(context, &path, &query, args.paging, IGNORED, "nothing was ignored").await
}

/// The promises that no longer fit.
pub async fn at_risk(args: AtRisk, context: &Context) -> Result<(), Failure> {
    let first = ["sku", "reservation", "quantity", "good_until", "expires_at"];
    let path = of_warehouse(&args.place, "at-risk");
    any::show(context, &path, &Query::new(), args.paging, &first, "every promise fits").await
}

/// Each source's streams and their gaps.
pub async fn streams(args: Streams, context: &Context) -> Result<(), Failure> {
    let first = ["source", "stream", "sku", "lot", "newest", "newest_absolute", "gaps"];
    let path = of_warehouse(&args.place, "streams");
    any::show(
        context,
        &path,
        &Query::new(),
        args.paging,
        &first,
        "no source numbers its events here",
    )
    .await
}

/// Where node, ERP and WMS disagree.
pub async fn drift(args: Drift, context: &Context) -> Result<(), Failure> {
    let pairs = [("warehouse", args.warehouse), ("source", args.source)];
    let query: Query = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let first = [
        "since",
        "warehouse",
        "sku",
        "lot",
        "source",
        "book",
        "believes",
        "difference",
        "at",
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
