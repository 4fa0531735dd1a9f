//! `shelfd skus`: the catalogue. `put` changes what is named and keeps the rest, by reading first: the API's `PUT` replaces
//! the whole. Rejected: an own verb for each field.

use serde_json::{Value, json};

use super::client::{Path, Query, path};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Column, Paging, left, right};
use super::stock::Where;
use super::table::text;
use super::{Context, any, arg, change, stock};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the catalogue
    #[command(after_help = "Examples:\n  shelfd skus list\n  shelfd skus list --all --json")]
    List(Paging),
    /// Show one SKU's entry
    #[command(after_help = "Examples:\n  shelfd skus show 4607004892110")]
    Show {
        /// The SKU
        #[arg(value_parser = arg::id)]
        sku: String,
    },
    /// Add an entry, or change what is named of it
    Put(Put),
    /// Correct a lot's expiry date
    Lot(Lot),
    /// Override how many units each channel keeps back of a SKU
    Buffers(Buffers),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd skus lot milk L2291 --expires-on 2026-12-01
  shelfd skus lot milk L2291 --no-expiry -w msk-07")]
struct Lot {
    /// The SKU
    #[arg(value_parser = arg::id)]
    sku: String,
    /// The lot
    #[arg(value_parser = arg::id)]
    lot: String,
    /// Its last sellable day
    #[arg(long, value_name = "DATE", value_parser = arg::date, required_unless_present = "no_expiry")]
    expires_on: Option<String>,
    /// It has none
    #[arg(long, conflicts_with = "expires_on")]
    no_expiry: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd skus buffers milk web=2 till=0        a channel that is not named goes back to its default
  shelfd skus buffers milk                     all go back")]
struct Buffers {
    /// The SKU
    #[arg(value_parser = arg::id)]
    sku: String,
    /// A channel and the units that it keeps back
    #[arg(value_name = "CHANNEL=UNITS", value_parser = buffer)]
    buffers: Vec<(String, u64)>,
    #[command(flatten)]
    place: Where,
}

fn buffer(word: &str) -> Result<(String, u64), String> {
    let (channel, units) = word.rsplit_once('=').ok_or("expected CHANNEL=UNITS")?;
    let units = units
        .parse()
        .map_err(|_| format!("'{units}' is no quantity: expected a whole number of base units"))?;
    Ok((arg::id(channel)?, units))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd skus put milk --name 'Молоко 3,2 %' --unit each --barcode 4607004892110 --shelf-life-days 10
  shelfd skus put cheese --unit g --category dairy --price 899")]
struct Put {
    /// The SKU
    #[arg(value_parser = arg::id)]
    sku: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Its base unit; can be changed while all accounts are 0
    #[arg(long, value_parser = ["each", "g", "ml"])]
    unit: Option<String>,
    /// A barcode; repeat for more. Replaces those known
    #[arg(long = "barcode", value_name = "GTIN")]
    barcodes: Vec<String>,
    /// Its category
    #[arg(long)]
    category: Option<String>,
    /// Days from delivery to expiry
    #[arg(long, value_name = "DAYS")]
    shelf_life_days: Option<u32>,
    /// Its price: a whole number of minor units, or a decimal such as 129.90
    #[arg(long, value_parser = price)]
    price: Option<Value>,
}

/// A whole number goes as a number, anything else as text for the node to judge.
fn price(word: &str) -> Result<Value, String> {
    if word.is_empty() {
        return Err("expected a price".to_owned());
    }
    Ok(word.parse::<i64>().map_or_else(|_| Value::from(word), Value::from))
}

const COLUMNS: &[Column] = &[
    left("SKU", |item| text(item.word("/sku"))),
    left("name", |item| text(item.word("/name"))),
    left("unit", |item| text(item.word("/unit"))),
    left("category", |item| text(item.word("/category"))),
    left("barcodes", |item| text(item.words("/barcodes"))),
    right("shelf life", |item| {
        text(if item.has("/shelf_life_days") {
            format!("{} d", item.word("/shelf_life_days"))
        } else {
            String::new()
        })
    }),
    right("price", |item| text(item.word("/price"))),
];

fn one(sku: &str) -> Path {
    path(["v1", "skus", sku])
}

/// Runs one of the verbs.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.verb {
        Verb::List(paging) => {
            list::show(
                context,
                &path(["v1", "skus"]),
                &Query::new(),
                paging,
                COLUMNS,
                "the catalogue is empty",
            )
            .await
        }
        Verb::Show { sku } => show(&sku, context).await,
        Verb::Put(put) => self::put(put, context).await,
        Verb::Lot(lot) => {
            let path = path(["v1", "warehouses", &lot.place.warehouse, "skus", &lot.sku, "lots", &lot.lot]);
            let answer = context.api.put(&path, &json!({"expires_on": lot.expires_on})).await?;
            stock::print(&context.out, &[answer], true)
        }
        Verb::Buffers(buffers) => {
            let path = path(["v1", "warehouses", &buffers.place.warehouse, "skus", &buffers.sku, "buffers"]);
            let body: serde_json::Map<String, Value> = buffers
                .buffers
                .into_iter()
                .map(|(channel, units)| (channel, units.into()))
                .collect();
            let answer = context.api.put(&path, &body.into()).await?;
            stock::print(&context.out, &[answer], true)
        }
    }
}

async fn show(sku: &str, context: &Context) -> Result<(), Failure> {
    let answer = context.api.fetch(&one(sku), &Query::new()).await?;
    if context.out.json {
        return Ok(context.out.document(&answer)?);
    }
    let entry: Value = answer.json()?;
    for (key, value) in entry.members("").iter().filter(|(_, value)| !value.is_null()) {
        context
            .out
            .line(format!("{:<16} {}", key.replace('_', " "), any::brief(value)))?;
    }
    Ok(())
}

async fn put(put: Put, context: &Context) -> Result<(), Failure> {
    let answer = change::put(context, &one(&put.sku), KEYS, |body| over(&put, body)).await?;
    if context.out.json {
        Ok(context.out.document(&answer)?)
    } else {
        show(&put.sku, context).await
    }
}

/// What can be set.
const KEYS: &[&str] = &["name", "unit", "barcodes", "category", "shelf_life_days", "price"];

/// Puts what was named over what is known.
fn over(put: &Put, body: &mut Value) {
    let barcodes = (!put.barcodes.is_empty()).then(|| json!(put.barcodes));
    let named = [
        ("name", put.name.as_deref().map(Value::from)),
        ("unit", put.unit.as_deref().map(Value::from)),
        ("barcodes", barcodes),
        ("category", put.category.as_deref().map(Value::from)),
        ("shelf_life_days", put.shelf_life_days.map(Value::from)),
        ("price", put.price.clone()),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            body[key] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_as_it_was() {
        let put = Put {
            sku: "milk".into(),
            name: Some("Молоко".into()),
            unit: None,
            barcodes: vec![],
            category: None,
            shelf_life_days: None,
            price: Some(json!(99)),
        };
        let known = json!({"sku": "milk", "name": "Milk", "unit": "each", "barcodes": ["1"], "category": null});
        let mut body = change::kept(&known, KEYS);
        over(&put, &mut body);
        assert_eq!(
            body,
            json!({"name": "Молоко", "unit": "each", "barcodes": ["1"], "price": 99})
        );
    }
}
