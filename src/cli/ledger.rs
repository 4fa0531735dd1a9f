//! `shelfd ledger`: why the balance is what it is, line by line, newest first.
//!
//! Each line shows what one fact moved and the balance after it, so that a person reads down from today's figure to where it
//! began. Rejected: a list of events. What a source claimed and what the node decided differ exactly where people ask.

use serde_json::Value;

use super::client::{Query, path};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Column, Paging, left, right};
use super::out::{Tone, note};
use super::stock::Where;
use super::table::{quantity, signed, text, toned, with_sign};
use super::{Context, arg};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd ledger 4607004892110               the newest 50 lines of its story
  shelfd ledger milk -w msk-07 --all        back to its beginning
  shelfd ledger milk --all --json           one JSON object a line

Read it from the top: `balance` is what was sellable after the line, `change` what the line did to it, `movements` the
units that went from one account to another. Units that a source reported although the book did not hold them are found
first (discrepancy → sellable), and are owed to the next receipt.")]
pub struct Args {
    /// The SKU
    #[arg(value_name = "SKU", value_parser = arg::id)]
    pub sku: String,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    paging: Paging,
}

/// Lines that a person is shown without asking for more.
const FOR_PEOPLE: u32 = 50;

const COLUMNS: &[Column] = &[
    left("time", |fact| text(fact.when("/at"))),
    left("what", |fact| toned(what(fact), tone(fact))),
    right("change", |fact| signed(change(fact))),
    right("balance", |fact| quantity(fact.units("/accounts/sellable"))),
    right("claimed", |fact| quantity(fact.units("/claimed"))),
    right("owed", |fact| quantity(fact.units("/owed"))),
    left("movements", |fact| text(movements(fact))),
    left("source", |fact| text(fact.word("/source"))),
    left("document", |fact| text(fact.word("/document"))),
    left("reason", |fact| text(fact.word("/reason"))),
    left("event", |fact| toned(fact.word("/id"), Tone::Dim)),
];

/// Shows the ledger of one SKU.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    let mut paging = args.paging;
    if paging.limit.is_none() && !paging.all && !out.json {
        paging.limit = Some(FOR_PEOPLE);
    }
    let rows = paging.rows(out.json);
    let path = path(["v1", "warehouses", &args.place.warehouse, "skus", &args.sku, "ledger"]);
    let mut sheet = list::sheet(out, COLUMNS);
    let end = list::each(context, &path, &Query::new(), rows, |raw| {
        if out.json {
            out.line(raw.get())?;
        } else {
            sheet.row(list::cells(COLUMNS, &list::value(raw)));
        }
        Ok(())
    })
    .await?;
    if !out.json && sheet.is_empty() {
        note("nothing has happened to this SKU yet");
    } else if !out.json {
        sheet.print(out)?;
    }
    match end.opening {
        Some(opening) if out.json => out.value(&serde_json::json!({"opening": opening}))?,
        Some(opening) if !end.more => out.line(out.paint(Tone::Dim, &opening_line(&opening)))?,
        _ => {}
    }
    if end.more {
        note(format!(
            "… and older lines: only the newest {} are shown; --all shows everything",
            rows.unwrap_or_default()
        ));
    }
    Ok(())
}

/// What happened, and how it was taken where that is not simply `applied`.
fn what(fact: &Value) -> String {
    let what = fact.word("/what");
    match fact.word("/verdict").as_str() {
        "" | "applied" => what,
        verdict => format!("{what} ({verdict})"),
    }
}

fn tone(fact: &Value) -> Tone {
    match fact.word("/what").as_str() {
        "count" | "adjustment" => Tone::Warn,
        "void" | "dead_letter" => Tone::Bad,
        _ => Tone::Strong,
    }
}

/// What the fact did to the sellable account.
fn change(fact: &Value) -> i64 {
    let on = |pointer: &str| -> i64 {
        let moves = fact
            .list("/moves")
            .iter()
            .filter(|movement| movement.word(pointer) == "sellable");
        moves.map(|movement| movement.units("/quantity")).sum()
    };
    on("/to") - on("/from")
}

/// `discrepancy → sellable 2; sellable → demand 5 (lot L1)`; long stories of many lots are cut after four.
fn movements(fact: &Value) -> String {
    const SHOWN: usize = 4;
    let moves = fact.list("/moves");
    let mut parts: Vec<String> = moves
        .iter()
        .take(SHOWN)
        .map(|movement| {
            let lot = movement.word("/lot");
            let lot = if lot.is_empty() {
                String::new()
            } else {
                format!(" (lot {lot})")
            };
            format!(
                "{} → {} {}{lot}",
                movement.word("/from"),
                movement.word("/to"),
                movement.word("/quantity")
            )
        })
        .collect();
    if moves.len() > SHOWN {
        parts.push(format!("and {} more", moves.len() - SHOWN));
    }
    parts.join("; ")
}

/// The balance that older, folded facts add up to.
fn opening_line(opening: &Value) -> String {
    let accounts: Vec<String> = opening
        .members("/accounts")
        .iter()
        .filter(|(_, units)| units.as_i64() != Some(0))
        .map(|(account, units)| format!("{account} {}", with_sign(units.units(""))))
        .collect();
    let when = ["/at", "/recorded_at", "/as_of"]
        .iter()
        .map(|pointer| opening.when(pointer))
        .find(|when| !when.is_empty());
    let when = when.map(|when| format!(" of {when}")).unwrap_or_default();
    let accounts = if accounts.is_empty() {
        "nothing".to_owned()
    } else {
        accounts.join(", ")
    };
    format!("opening balance{when}: {accounts} (what came before has been folded away: history_days)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sale_beyond_the_book_shows_what_was_found_and_what_left() {
        let fact = json!({"what": "sale", "verdict": "applied", "moves": [
            {"from": "discrepancy", "to": "sellable", "lot": "", "quantity": 2},
            {"from": "sellable", "to": "demand", "lot": "L1", "quantity": 5}]});
        assert_eq!(change(&fact), -3);
        assert_eq!(movements(&fact), "discrepancy → sellable 2; sellable → demand 5 (lot L1)");
        assert_eq!(what(&fact), "sale");
    }

    #[test]
    fn a_late_event_says_so() {
        assert_eq!(
            what(&json!({"what": "sale", "verdict": "included_in_count"})),
            "sale (included_in_count)"
        );
    }

    #[test]
    fn an_opening_balance_names_what_is_not_zero() {
        let line = opening_line(&json!({"accounts": {"sellable": 5, "quarantine": 0, "supply": -5}}));
        assert!(line.starts_with("opening balance: sellable +5, supply -5"), "{line}");
    }
}
