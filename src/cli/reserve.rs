//! `shelfd reserve`: baskets, held and ended.
//!
//! A line is written `SKU=QTY`, and `SKU/LOT=QTY` where a lot is named (no id contains a `/`). Rejected: lines as JSON on
//! the command line, which nobody types without a mistake in the quotes.

use serde_json::{Value, json};

use super::client::{Answer, Path, Query, path};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Column, Paging, left, right};
use super::out::Tone;
use super::stock::Where;
use super::table::{quantity, text, toned};
use super::{Context, arg};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Hold a basket, or replace a held one as one step
    Hold(Hold),
    /// Show one basket
    Show(Named),
    /// Take what is held: all of it, or the lines given; the rest is released
    Confirm(Confirm),
    /// Give a basket back
    Cancel(Named),
    /// Move a basket's deadline
    Extend(Extend),
    /// List baskets
    List(List),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd reserve hold o-1 milk=2 bread=1                         for the channel's usual time
  shelfd reserve hold o-1 milk=2 --channel web --ttl 900         for 15 minutes
  shelfd reserve hold o-1 milk=2@3 bread=1                       milk that lives three days more
  shelfd reserve hold o-1 milk=9 --allow-partial                 what there is")]
struct Hold {
    /// The basket's id, chosen by you; the same id again replaces it
    #[arg(value_parser = arg::id)]
    id: String,
    /// A line: SKU=QTY, or SKU=QTY@DAYS with the shelf life it must still have
    #[arg(required = true, value_name = "SKU=QTY", value_parser = line)]
    lines: Vec<Line>,
    #[command(flatten)]
    place: Where,
    /// The channel that promises
    #[arg(long, value_parser = arg::id)]
    channel: Option<String>,
    /// Seconds until it expires; 0 for never, where the channel allows it
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// Take what there is instead of all or nothing
    #[arg(long)]
    allow_partial: bool,
    /// Days of shelf life for every line that names none
    #[arg(long, value_name = "DAYS")]
    min_shelf_life_days: Option<u32>,
    /// Refuse unless the basket is at this version
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd reserve show o-1
  shelfd reserve cancel o-1 -w msk-07")]
struct Named {
    /// The basket's id
    #[arg(value_parser = arg::id)]
    id: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd reserve confirm o-1                          everything that is held
  shelfd reserve confirm o-1 milk=1                   one milk; the rest is released
  shelfd reserve confirm o-1 milk/L2291=1 bread=1     of that lot")]
struct Confirm {
    /// The basket's id
    #[arg(value_parser = arg::id)]
    id: String,
    /// What was taken: SKU=QTY, or SKU/LOT=QTY of a lot
    #[arg(value_name = "SKU[/LOT]=QTY", value_parser = taken)]
    lines: Vec<Taken>,
    #[command(flatten)]
    place: Where,
    /// When it was taken
    #[arg(long, value_name = "TIME", value_parser = arg::moment)]
    time: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd reserve extend o-1 --until 30m                       half an hour from now
  shelfd reserve extend o-1 --until '2026-11-22 18:00'")]
struct Extend {
    /// The basket's id
    #[arg(value_parser = arg::id)]
    id: String,
    /// The new deadline: a time, or how far ahead (90s, 30m, 2h)
    #[arg(long, value_name = "TIME", value_parser = arg::deadline)]
    until: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd reserve list                         every basket that is remembered
  shelfd reserve list --state held -w msk-07")]
struct List {
    #[command(flatten)]
    place: Where,
    /// Only baskets in this state
    #[arg(long, value_parser = ["held", "confirmed", "cancelled", "expired"])]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// A line of a basket to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    sku: String,
    quantity: i64,
    min_shelf_life_days: Option<u32>,
}

/// A line that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    sku: String,
    lot: Option<String>,
    quantity: i64,
}

fn line(word: &str) -> Result<Line, String> {
    let (sku, rest) = word.rsplit_once('=').ok_or("expected SKU=QTY or SKU=QTY@DAYS")?;
    let (number, days) = match rest.split_once('@') {
        Some((number, days)) => (
            number,
            Some(days.parse().map_err(|_| format!("'{days}' is no number of days"))?),
        ),
        None => (rest, None),
    };
    Ok(Line {
        sku: arg::id(sku)?,
        quantity: units(number)?,
        min_shelf_life_days: days,
    })
}

fn taken(word: &str) -> Result<Taken, String> {
    let (what, number) = word.rsplit_once('=').ok_or("expected SKU=QTY or SKU/LOT=QTY")?;
    let (sku, lot) = match what.split_once('/') {
        // `SKU/=2` names the stock without a lot.
        Some((sku, "")) => (sku, Some(String::new())),
        Some((sku, lot)) => (sku, Some(arg::id(lot)?)),
        None => (what, None),
    };
    Ok(Taken {
        sku: arg::id(sku)?,
        lot,
        quantity: units(number)?,
    })
}

fn units(number: &str) -> Result<i64, String> {
    number
        .parse::<i64>()
        .ok()
        .filter(|units| *units >= 0)
        .ok_or_else(|| format!("'{number}' is no quantity: expected a whole number of base units"))
}

/// Runs one of the verbs.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let api = &context.api;
    let answer = match args.verb {
        Verb::List(list) => return show_list(list, context).await,
        Verb::Hold(hold) => api.put(&basket(&hold.place, &hold.id, None), &hold_body(&hold)).await?,
        Verb::Show(named) => api.fetch(&basket(&named.place, &named.id, None), &Query::new()).await?,
        Verb::Confirm(confirm) => {
            api.post(&basket(&confirm.place, &confirm.id, Some("confirm")), &confirm_body(&confirm))
                .await?
        }
        Verb::Cancel(named) => api.post(&basket(&named.place, &named.id, Some("cancel")), &json!({})).await?,
        Verb::Extend(extend) => {
            api.post(
                &basket(&extend.place, &extend.id, Some("extend")),
                &json!({"until": extend.until}),
            )
            .await?
        }
    };
    print(&answer, context)
}

fn basket(place: &Where, id: &str, verb: Option<&str>) -> Path {
    path(
        ["v1", "warehouses", &place.warehouse, "reservations", id]
            .into_iter()
            .chain(verb),
    )
}

fn hold_body(hold: &Hold) -> Value {
    let lines: Vec<Value> = hold
        .lines
        .iter()
        .map(|line| {
            let mut body = json!({"sku": line.sku, "quantity": line.quantity});
            if let Some(days) = line.min_shelf_life_days.or(hold.min_shelf_life_days) {
                body["min_shelf_life_days"] = days.into();
            }
            body
        })
        .collect();
    let mut body = json!({"lines": lines, "allow_partial": hold.allow_partial});
    if let Some(channel) = &hold.channel {
        body["channel"] = channel.as_str().into();
    }
    if let Some(ttl) = hold.ttl {
        body["ttl_s"] = ttl.into();
    }
    if let Some(version) = hold.expected_version {
        body["expected_version"] = version.into();
    }
    body
}

/// Lots of one SKU become one line, whose quantity is their sum.
fn confirm_body(confirm: &Confirm) -> Value {
    let mut lines: Vec<Value> = Vec::new();
    for taken in &confirm.lines {
        let at = lines
            .iter()
            .position(|line| line["sku"] == taken.sku.as_str())
            .unwrap_or_else(|| {
                lines.push(json!({"sku": taken.sku, "quantity": 0}));
                lines.len() - 1
            });
        let line = &mut lines[at];
        line["quantity"] = line.units("/quantity").saturating_add(taken.quantity).into();
        if let Some(lot) = &taken.lot {
            let lot = json!({"lot": lot, "quantity": taken.quantity});
            match line.get_mut("lots").and_then(Value::as_array_mut) {
                Some(lots) => lots.push(lot),
                None => line["lots"] = json!([lot]),
            }
        }
    }
    let mut body = json!({});
    if !lines.is_empty() {
        body["lines"] = lines.into();
    }
    if let Some(time) = &confirm.time {
        body["time"] = time.as_str().into();
    }
    body
}

const LINES: &[Column] = &[
    left("SKU", |line| text(line.word("/sku"))),
    right("asked", |line| quantity(line.units("/quantity"))),
    right("held", |line| quantity(line.units("/held"))),
    right("taken", |line| quantity(line.units("/taken"))),
    left("good until", |line| text(line.word("/good_until"))),
    left("", |line| {
        if line["at_risk"] == true {
            toned("at risk", Tone::Bad)
        } else {
            text("")
        }
    }),
];

fn print(answer: &Answer, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    if out.json {
        return Ok(out.document(answer)?);
    }
    let basket: Value = answer.json()?;
    let state = basket.word("/state");
    let channel = basket.word("/channel");
    let mut heading = format!("{} is {}", basket.word("/id"), out.paint(state_tone(&state), &state));
    if !channel.is_empty() {
        heading.push_str(&format!(" on channel {channel}"));
    }
    heading.push_str(&format!(", version {}", basket.word("/version")));
    if state == "held" {
        let expires = basket.when("/expires_at");
        heading.push_str(&if expires.is_empty() {
            ", never expires".to_owned()
        } else {
            format!(", until {expires}")
        });
    }
    out.line(heading)?;
    let mut sheet = list::sheet(out, LINES);
    for line in basket.list("/lines") {
        sheet.row(list::cells(LINES, line));
    }
    Ok(sheet.print(out)?)
}

fn state_tone(state: &str) -> Tone {
    match state {
        "held" => Tone::Warn,
        "confirmed" => Tone::Good,
        _ => Tone::Dim,
    }
}

const BASKETS: &[Column] = &[
    left("basket", |basket| text(basket.word("/id"))),
    left("state", |basket| {
        toned(basket.word("/state"), state_tone(&basket.word("/state")))
    }),
    left("channel", |basket| text(basket.word("/channel"))),
    right("lines", |basket| text(basket.list("/lines").len())),
    right("held", |basket| {
        quantity(basket.list("/lines").iter().map(|line| line.units("/held")).sum())
    }),
    right("taken", |basket| {
        quantity(basket.list("/lines").iter().map(|line| line.units("/taken")).sum())
    }),
    left("created", |basket| text(basket.when("/created_at"))),
    left("expires", |basket| text(basket.when("/expires_at"))),
    left("", |basket| {
        if basket.list("/lines").iter().any(|line| line["at_risk"] == true) {
            toned("at risk", Tone::Bad)
        } else {
            text("")
        }
    }),
];

async fn show_list(list: List, context: &Context) -> Result<(), Failure> {
    let query: Query = list.state.map(|state| ("state", state)).into_iter().collect();
    let path = path(["v1", "warehouses", &list.place.warehouse, "reservations"]);
    list::show(context, &path, &query, list.paging, BASKETS, "no such basket").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_from_its_end_so_that_ids_may_hold_an_equals_sign() {
        assert_eq!(
            line("a=b=2"),
            Ok(Line {
                sku: "a=b".into(),
                quantity: 2,
                min_shelf_life_days: None
            })
        );
        assert_eq!(
            line("milk=2@3"),
            Ok(Line {
                sku: "milk".into(),
                quantity: 2,
                min_shelf_life_days: Some(3)
            })
        );
        for wrong in [
            "milk",
            "milk=",
            "milk=-1",
            "milk=1.5",
            "=2",
            "milk=2@",
            "milk=2@x",
            "milk=9223372036854775808",
        ] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lots_of_one_sku_become_one_line_with_their_sum() {
        let lines = ["milk/L1=1", "bread=1", "milk/L2=2", "milk/=1"]
            .map(|word| taken(word).expect("a line"))
            .to_vec();
        let confirm = Confirm {
            id: "o".into(),
            lines,
            place: Where {
                warehouse: "main".into(),
            },
            time: None,
        };
        assert_eq!(
            confirm_body(&confirm),
            json!({"lines": [
                {"sku": "milk", "quantity": 4, "lots": [{"lot": "L1", "quantity": 1}, {"lot": "L2", "quantity": 2}, {"lot": "", "quantity": 1}]},
                {"sku": "bread", "quantity": 1}]})
        );
    }

    #[test]
    fn confirming_without_lines_takes_everything() {
        let confirm = Confirm {
            id: "o".into(),
            lines: vec![],
            place: Where {
                warehouse: "main".into(),
            },
            time: None,
        };
        assert_eq!(confirm_body(&confirm), json!({}));
    }
}
