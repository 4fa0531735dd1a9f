//! `shelfd stock`: what is true now, what was true at a time, and what was believed then.
//!
//! One SKU is shown with its lots; several and all as a table. Rejected: one verb for one SKU and another for lists, which
//! people mix up.

use serde_json::Value;

use super::client::{Answer, Query, path};
use super::exit::{Code, Failure};
use super::field::Field;
use super::list::{self, Column, Paging, left, right};
use super::out::{Out, Tone, note};
use super::table::{Align, Sheet, quantity, text, toned};
use super::{Context, arg};

/// The warehouse that a verb is about.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// The warehouse
    #[arg(short, long, env = "SHELFD_WAREHOUSE", default_value = "main", value_parser = arg::id, value_name = "WAREHOUSE")]
    pub warehouse: String,
}

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd stock                                      every SKU of the warehouse `main`
  shelfd stock 4607004892110                        one SKU with its lots
  shelfd stock milk bread -w msk-07                 some
  shelfd stock --flag count_due                     what should be counted
  shelfd stock --below 5 --json                     what runs out, for a program
  shelfd stock --expiring-within-days 2             what should be sold or written off soon
  shelfd stock milk --as-of 14:05                   what was true at 14:05 today
  shelfd stock milk --as-of 14:05 --known-at 14:05  what we believed then

The columns: sellable + quarantine + in transit is what the book says is here; claimed is promised to baskets; owed was
sold before its receipt was booked; available is what each channel may still promise.")]
pub struct Args {
    /// The SKUs; all without one
    #[arg(value_name = "SKU", value_parser = arg::id)]
    pub skus: Vec<String>,
    #[command(flatten)]
    place: Where,
    /// Only SKUs with this flag: count_due, at_risk or expired_stock
    #[arg(long, value_name = "FLAG", conflicts_with = "skus")]
    pub flag: Option<String>,
    /// Only SKUs of which fewer than this many are available
    #[arg(long, value_name = "UNITS", conflicts_with = "skus")]
    pub below: Option<i64>,
    /// Only SKUs with a lot that expires within so many days
    #[arg(long, value_name = "DAYS", conflicts_with = "skus")]
    pub expiring_within_days: Option<u32>,
    /// What was true at this business time
    #[arg(long, value_name = "TIME", value_parser = arg::moment, requires = "skus")]
    pub as_of: Option<String>,
    /// What had been recorded by this time
    #[arg(long, value_name = "TIME", value_parser = arg::moment, requires = "skus")]
    pub known_at: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    fn query(&self) -> Query {
        let mut query = Query::new();
        query.extend(self.flag.clone().map(|flag| ("flag", flag)));
        query.extend(self.below.map(|below| ("below", below.to_string())));
        query.extend(
            self.expiring_within_days
                .map(|days| ("expiring_within_days", days.to_string())),
        );
        query.extend(self.as_of.clone().map(|time| ("as_of", time)));
        query.extend(self.known_at.clone().map(|time| ("known_at", time)));
        query
    }
}

/// Shows the stock.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let warehouse = &args.place.warehouse;
    if args.skus.is_empty() {
        let path = path(["v1", "warehouses", warehouse, "skus"]);
        return list::show(
            context,
            &path,
            &args.query(),
            args.paging,
            COLUMNS,
            if args.query().is_empty() {
                "no SKU is known in this warehouse"
            } else {
                "no SKU in this warehouse is like that"
            },
        )
        .await;
    }
    let mut failed = None;
    let mut found = Vec::new();
    for sku in &args.skus {
        match context
            .api
            .fetch(&path(["v1", "warehouses", warehouse, "skus", sku]), &args.query())
            .await
        {
            Ok(answer) => found.push(answer),
            // One mistyped SKU does not hide the others, nor does a success hide it.
            Err(error) if error.problem().is_some_and(|problem| problem.code == "unknown_sku") && args.skus.len() > 1 => {
                note(format!("shelfd: {error}"));
                failed = Some(Failure::silent(Code::Data));
            }
            Err(error) => return Err(error.into()),
        }
    }
    print(&context.out, &found, args.skus.len() == 1)?;
    failed.map_or(Ok(()), Err)
}

const COLUMNS: &[Column] = &[
    left("SKU", |item| text(item.word("/sku"))),
    left("unit", |item| toned(item.word("/unit"), Tone::Dim)),
    right("sellable", |item| quantity(item.units("/accounts/sellable"))),
    right("quarantine", |item| quantity(item.units("/accounts/quarantine"))),
    right("in transit", |item| quantity(item.units("/accounts/in_transit"))),
    right("claimed", |item| quantity(item.units("/claimed"))),
    right("owed", |item| quantity(item.units("/owed"))),
    right("available", |item| text(available(item))),
    left("flags", |item| toned(item.words("/flags"), Tone::Warn)),
];

/// What each channel may promise: the number alone where there is only the default channel, else `21, web 19`.
pub fn available(item: &Value) -> String {
    let mut parts = Vec::new();
    for (channel, units) in item.members("/available") {
        match channel {
            "default" => parts.insert(0, units.to_string()),
            other => parts.push(format!("{other} {units}")),
        }
    }
    parts.join(", ")
}

/// Prints SKUs as they were answered; one with its lots.
pub fn print(out: &Out, found: &[Answer], with_lots: bool) -> Result<(), Failure> {
    if out.json {
        for answer in found {
            out.document(answer)?;
        }
        return Ok(());
    }
    let items = found.iter().map(Answer::json).collect::<Result<Vec<Value>, _>>()?;
    let mut sheet = list::sheet(out, COLUMNS);
    for item in &items {
        sheet.row(list::cells(COLUMNS, item));
    }
    if !sheet.is_empty() {
        sheet.print(out)?;
    }
    if let (true, Some(item)) = (with_lots, items.first()) {
        details(out, item)?;
    }
    Ok(())
}

/// The lots and what else belongs to one SKU.
fn details(out: &Out, item: &Value) -> Result<(), Failure> {
    let lots = item.list("/lots");
    if !lots.is_empty() {
        let columns = [
            ("lot", Align::Left),
            ("expires on", Align::Left),
            ("sellable", Align::Right),
            ("quarantine", Align::Right),
            ("in transit", Align::Right),
            ("last count", Align::Left),
        ];
        let mut sheet = Sheet::new(out, &columns);
        for lot in lots {
            let name = lot.word("/lot");
            sheet.row([
                if name.is_empty() {
                    toned("(no lot)", Tone::Dim)
                } else {
                    text(name)
                },
                text(lot.word("/expires_on")),
                quantity(lot.units("/sellable")),
                quantity(lot.units("/quarantine")),
                quantity(lot.units("/in_transit")),
                text(lot.when("/last_count")),
            ]);
        }
        out.line("")?;
        sheet.print(out)?;
    }
    let mut closing = format!("version {}, sequence {}", item.word("/version"), item.word("/seq"));
    if item.has("/last_count") {
        closing.push_str(&format!(", last counted {}", last_count(item)));
    }
    out.line("")?;
    out.line(out.paint(Tone::Dim, &closing))?;
    Ok(())
}

/// When the SKU was last counted: the API gives a time, or an object that holds one.
fn last_count(item: &Value) -> String {
    ["/last_count/as_of", "/last_count/at", "/last_count/time", "/last_count"]
        .iter()
        .map(|pointer| item.when(pointer))
        .find(|time| !time.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_channel_comes_first_and_unnamed() {
        assert_eq!(
            available(&json!({"available": {"app": 5, "default": 21, "web": 19}})),
            "21, app 5, web 19"
        );
        assert_eq!(available(&json!({})), "");
    }
}
