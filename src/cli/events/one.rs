//! A person's shorthand for one event of each type: `shelfd events sale milk 2`.
//!
//! The event is sent as the source `console` with an id made here and printed, so that it can be voided, and repeated by
//! hand with `--id`. Rejected: numbers as ids, which two terminals would give twice.

use serde_json::{Value, json};

use super::verdicts::{self, Tally};
use crate::cli::client::path;
use crate::cli::exit::Failure;
use crate::cli::field::Field;
use crate::cli::out::Tone;
use crate::cli::stock::Where;
use crate::cli::{Context, arg};

/// The types of events, each with what it needs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Goods came in
    #[command(after_help = "\
Examples:
  shelfd events receipt milk 24 --lot L2291 --expires-on 2026-12-01 --document ASN-5512")]
    Receipt(Quantity),
    /// Goods were sold
    #[command(after_help = "\
Examples:
  shelfd events sale milk 2
  shelfd events sale milk 2 --time 10:15 --document 'receipt 881' --reservation o-1")]
    Sale(Sale),
    /// A customer brought goods back
    #[command(after_help = "\
Examples:
  shelfd events return milk 1 --to quarantine --reason 'box dented'")]
    Return(Return),
    /// Take goods off sale, for the time being
    #[command(after_help = "\
Examples:
  shelfd events quarantine milk 6 --lot L2291 --reason 'fridge was warm'")]
    Quarantine(Quantity),
    /// Put quarantined goods back on sale
    #[command(after_help = "\
Examples:
  shelfd events release milk 6 --lot L2291")]
    Release(Quantity),
    /// Goods are gone for a known reason
    #[command(after_help = "\
Examples:
  shelfd events write-off milk 3 --reason expired --lot L2291
  shelfd events write-off milk 2 --reason lost --from in_transit")]
    WriteOff(WriteOff),
    /// Goods left for another warehouse
    #[command(after_help = "\
Examples:
  shelfd events transfer-out milk 12 --transfer T-7 --to-warehouse msk-08")]
    TransferOut(TransferOut),
    /// Goods came from another warehouse
    #[command(after_help = "\
Examples:
  shelfd events transfer-in milk 12 --transfer T-7 -w msk-08")]
    TransferIn(TransferIn),
    /// Correct the book by a difference
    #[command(after_help = "\
Examples:
  shelfd events adjustment milk -2 --reason 'found broken'
  shelfd events adjustment milk 5 --reason 'found behind the shelf'")]
    Adjustment(Adjustment),
    /// What physically stands there
    #[command(after_help = "\
Examples:
  shelfd events count milk 17
  shelfd events count milk 5 --lot L2291 --time 9:30
  shelfd events count milk 2 --lot ''            of the stock without a lot")]
    Count(Quantity),
    /// What another system believes
    #[command(after_help = "\
Examples:
  shelfd events snapshot milk 19 --source erp")]
    Snapshot(Quantity),
    /// Take an earlier event of the same source back
    #[command(after_help = "\
Examples:
  shelfd events void milk cli-0192f0c1-7d5e-7cc0-9a53-3f1f0e1c2a77")]
    Void(Void),
}

/// What every event may say about itself.
#[derive(Debug, clap::Args)]
pub struct About {
    #[command(flatten)]
    place: Where,
    /// When it happened; now, unless told otherwise
    #[arg(long, value_name = "TIME", value_parser = arg::moment)]
    time: Option<String>,
    /// Who says so
    #[arg(long, default_value = "console", value_parser = arg::source)]
    source: String,
    /// The event's id; a new one is made without it
    #[arg(long, value_parser = arg::source)]
    id: Option<String>,
    /// The lot; '' names the stock without one
    #[arg(long)]
    lot: Option<String>,
    /// The lot's expiry date
    #[arg(long, value_name = "DATE", requires = "lot", value_parser = arg::date)]
    expires_on: Option<String>,
    /// The unit: each, g or ml
    #[arg(long, value_parser = ["each", "g", "ml"])]
    unit: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// The paper it belongs to
    #[arg(long)]
    document: Option<String>,
    /// Refuse unless the SKU is at this version
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<u64>,
}

/// A quantity of a SKU.
#[derive(Debug, clap::Args)]
pub struct Quantity {
    /// The SKU
    #[arg(value_parser = arg::id)]
    sku: String,
    /// Base units
    #[arg(value_name = "QTY", value_parser = clap::value_parser!(i64).range(0..))]
    quantity: i64,
    #[command(flatten)]
    about: About,
}

/// A sale.
#[derive(Debug, clap::Args)]
pub struct Sale {
    #[command(flatten)]
    of: Quantity,
    /// The basket it was sold from
    #[arg(long, value_parser = arg::id)]
    reservation: Option<String>,
}

/// A return.
#[derive(Debug, clap::Args)]
pub struct Return {
    #[command(flatten)]
    of: Quantity,
    /// Where the goods go
    #[arg(long, default_value = "sellable", value_parser = ["sellable", "quarantine"])]
    to: String,
}

/// A write-off.
#[derive(Debug, clap::Args)]
#[command(mut_arg("reason", |reason| reason.required(true)))]
pub struct WriteOff {
    #[command(flatten)]
    of: Quantity,
    /// Where the goods were
    #[arg(long, default_value = "sellable", value_parser = ["sellable", "quarantine", "in_transit"])]
    from: String,
}

/// Goods that leave for another warehouse.
#[derive(Debug, clap::Args)]
pub struct TransferOut {
    #[command(flatten)]
    of: Quantity,
    /// The transfer's id
    #[arg(long, value_parser = arg::id)]
    transfer: String,
    /// Where they go
    #[arg(long, value_parser = arg::id)]
    to_warehouse: String,
}

/// Goods that arrive from another warehouse.
#[derive(Debug, clap::Args)]
pub struct TransferIn {
    #[command(flatten)]
    of: Quantity,
    /// The transfer's id
    #[arg(long, value_parser = arg::id)]
    transfer: String,
}

/// An adjustment.
#[derive(Debug, clap::Args)]
#[command(mut_arg("reason", |reason| reason.required(true)))]
pub struct Adjustment {
    /// The SKU
    #[arg(value_parser = arg::id)]
    sku: String,
    /// By how many base units, with sign
    #[arg(allow_negative_numbers = true)]
    delta: i64,
    #[command(flatten)]
    about: About,
}

/// A void.
#[derive(Debug, clap::Args)]
pub struct Void {
    /// The SKU of the event
    #[arg(value_parser = arg::id)]
    sku: String,
    /// The id of the event to take back
    #[arg(value_parser = arg::source)]
    event: String,
    #[command(flatten)]
    about: About,
}

impl Verb {
    /// The event's type, what it is about, and the data that only its type has.
    fn parts(&self) -> (&'static str, &str, &About, Value) {
        let plain = |of: &Quantity| json!({"quantity": of.quantity});
        let with = |of: &Quantity, extra: Value| {
            let mut data = plain(of);
            merge(&mut data, extra);
            data
        };
        match self {
            Verb::Receipt(of) => ("receipt", &of.sku, &of.about, plain(of)),
            Verb::Quarantine(of) => ("quarantine", &of.sku, &of.about, plain(of)),
            Verb::Release(of) => ("release", &of.sku, &of.about, plain(of)),
            Verb::Count(of) => ("count", &of.sku, &of.about, plain(of)),
            Verb::Snapshot(of) => ("snapshot", &of.sku, &of.about, plain(of)),
            Verb::Sale(sale) => (
                "sale",
                &sale.of.sku,
                &sale.of.about,
                with(&sale.of, json!({"reservation": sale.reservation})),
            ),
            Verb::Return(back) => ("return", &back.of.sku, &back.of.about, with(&back.of, json!({"to": back.to}))),
            Verb::WriteOff(off) => (
                "write_off",
                &off.of.sku,
                &off.of.about,
                with(&off.of, json!({"from": off.from})),
            ),
            Verb::TransferOut(out) => (
                "transfer_out",
                &out.of.sku,
                &out.of.about,
                with(&out.of, json!({"transfer": out.transfer, "to_warehouse": out.to_warehouse})),
            ),
            Verb::TransferIn(into) => (
                "transfer_in",
                &into.of.sku,
                &into.of.about,
                with(&into.of, json!({"transfer": into.transfer})),
            ),
            Verb::Adjustment(by) => ("adjustment", &by.sku, &by.about, json!({"delta": by.delta})),
            Verb::Void(void) => ("void", &void.sku, &void.about, json!({"event": void.event})),
        }
    }

    /// The event as it is sent.
    fn event(&self, new_id: impl FnOnce() -> String) -> Value {
        let (kind, sku, about, data) = self.parts();
        let mut whole = json!({"warehouse": about.place.warehouse, "sku": sku});
        merge(&mut whole, data);
        let lot = about.lot.as_ref().map(|lot| {
            let mut named = json!({"id": lot});
            merge(&mut named, json!({"expires_on": about.expires_on}));
            named
        });
        merge(
            &mut whole,
            json!({"unit": about.unit, "lot": lot, "reason": about.reason, "document": about.document, "expected_version": about.expected_version}),
        );
        let mut event = json!({"specversion": "1.0", "id": about.id.clone().unwrap_or_else(new_id), "source": about.source,
            "type": format!("inventory.{kind}"), "data": whole});
        merge(&mut event, json!({"time": about.time}));
        event
    }
}

/// Puts the members of one object into another, without those that are null.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from.into_iter().filter(|(_, value)| !value.is_null()));
    }
}

/// Sends the event.
pub async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    let event = verb.event(|| format!("cli-{}", uuid::Uuid::now_v7()));
    let answer = context.api.post(&path(["v1", "events"]), &event).await?;
    if out.json {
        return Ok(out.document(&answer)?);
    }
    let mut tally = Tally::default();
    for verdict in verdicts::of(&answer) {
        tally.add(1, &verdict);
        let verdict = crate::cli::list::value(&verdict);
        let mut line = format!(
            "{} {}",
            event.word("/type").trim_start_matches("inventory."),
            out.paint(Tone::Good, &verdict.word("/verdict"))
        );
        if verdict.has("/found") {
            line.push_str(&format!(", {} found that the book did not hold", verdict.word("/found")));
        }
        if verdict.has("/expired_lot") {
            line.push_str(&format!(", from the expired lot {}", verdict.word("/expired_lot")));
        }
        out.line(format!(
            "{line} ({} of {}, version {})",
            verdict.word("/id"),
            verdict.word("/source"),
            verdict.word("/version")
        ))?;
    }
    tally.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
    }

    fn event(line: &str) -> Value {
        let words = std::iter::once("events").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .expect("a good line")
            .verb
            .event(|| "new".to_owned())
    }

    #[test]
    fn a_sale_of_a_lot_says_all_that_was_given_and_nothing_else() {
        assert_eq!(
            event("sale milk 2 -w msk-07 --lot L1 --reservation o-1 --time 2026-11-22T09:14:03+03:00"),
            json!({"specversion": "1.0", "id": "new", "source": "console", "type": "inventory.sale", "time": "2026-11-22T09:14:03+03:00",
                "data": {"warehouse": "msk-07", "sku": "milk", "quantity": 2, "lot": {"id": "L1"}, "reservation": "o-1"}})
        );
    }

    #[test]
    fn every_type_of_the_api_has_its_shorthand() {
        for (line, kind, pointer, expected) in [
            ("receipt a 1", "receipt", "/data/quantity", json!(1)),
            ("return a 1 --to quarantine", "return", "/data/to", json!("quarantine")),
            ("quarantine a 1", "quarantine", "/data/quantity", json!(1)),
            ("release a 1", "release", "/data/quantity", json!(1)),
            ("write-off a 1 --reason expired", "write_off", "/data/from", json!("sellable")),
            (
                "transfer-out a 1 --transfer t --to-warehouse b",
                "transfer_out",
                "/data/to_warehouse",
                json!("b"),
            ),
            ("transfer-in a 1 --transfer t", "transfer_in", "/data/transfer", json!("t")),
            ("adjustment a -3 --reason lost", "adjustment", "/data/delta", json!(-3)),
            ("count a 0", "count", "/data/quantity", json!(0)),
            ("snapshot a 7 --source erp", "snapshot", "/source", json!("erp")),
            ("void a e-1 --source wms/7", "void", "/data/event", json!("e-1")),
        ] {
            let event = event(line);
            assert_eq!(event["type"], format!("inventory.{kind}"), "{line}");
            assert_eq!(event.pointer(pointer), Some(&expected), "{line}");
        }
    }

    #[test]
    fn what_an_event_needs_is_asked_for_before_it_is_sent() {
        for line in [
            "write-off a 1",
            "adjustment a -3",
            "transfer-out a 1 --transfer t",
            "sale a -1",
            "sale a 1.5",
            "count a",
            "sale a 1 --expires-on 2026-01-01",
        ] {
            let words = std::iter::once("events").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
