//! `shelfd availability`: what a channel may still promise of some SKUs. Asked in one request, so that the figures belong
//! together. Rejected: reading it off `shelfd stock`, which knows no shelf life.

use serde_json::{Value, json};

use super::client::path;
use super::exit::Failure;
use super::field::Field;
use super::stock::Where;
use super::table::{Align, Sheet, quantity, text};
use super::{Context, arg};

/// The most SKUs of one request (the API's limit).
const MOST: usize = 1000;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd availability milk bread
  shelfd availability milk --channel web --min-shelf-life-days 3")]
pub struct Args {
    /// The SKUs, up to 1,000
    #[arg(required = true, value_name = "SKU", value_parser = arg::id)]
    pub skus: Vec<String>,
    #[command(flatten)]
    place: Where,
    /// The channel that would promise
    #[arg(long, default_value = "default", value_parser = arg::id)]
    pub channel: String,
    /// Days that the goods must still be good for
    #[arg(long, value_name = "DAYS")]
    pub min_shelf_life_days: Option<u32>,
}

/// Asks, and shows the figures.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.skus.len() > MOST {
        return Err(Failure::usage(format!(
            "{} SKUs at once; the API takes at most {MOST}",
            args.skus.len()
        )));
    }
    let mut body = json!({"channel": args.channel, "skus": args.skus});
    if let Some(days) = args.min_shelf_life_days {
        body["min_shelf_life_days"] = days.into();
    }
    let answer = context
        .api
        .post(&path(["v1", "warehouses", &args.place.warehouse, "availability"]), &body)
        .await?;
    if context.out.json {
        return Ok(context.out.document(&answer)?);
    }
    let answer: Value = answer.json()?;
    let mut sheet = Sheet::new(&context.out, &[("SKU", Align::Left), ("available", Align::Right)]);
    for (sku, available) in figures(&answer) {
        sheet.row([text(sku), available.map_or_else(|| text("unknown"), quantity)]);
    }
    Ok(sheet.print(&context.out)?)
}

/// The figures, from `{"items": [{sku, available}]}` or `{"available": {sku: units}}`.
fn figures(answer: &Value) -> Vec<(String, Option<i64>)> {
    let listed = ["/items", "/available", "/skus"]
        .iter()
        .map(|pointer| answer.list(pointer))
        .find(|items| !items.is_empty())
        .unwrap_or_default();
    let mut figures: Vec<_> = listed
        .iter()
        .map(|item| (item.word("/sku"), item.pointer("/available").and_then(Value::as_i64)))
        .collect();
    figures.extend(
        answer
            .members("/available")
            .into_iter()
            .map(|(sku, units)| (sku.to_owned(), units.as_i64())),
    );
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_a_list_or_by_sku() {
        let expected = vec![("a".to_owned(), Some(3)), ("b".to_owned(), None)];
        assert_eq!(
            figures(&json!({"items": [{"sku": "a", "available": 3}, {"sku": "b", "available": null}]})),
            expected
        );
        assert_eq!(figures(&json!({"available": {"a": 3, "b": null}})), expected);
    }
}
