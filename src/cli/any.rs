//! Tables of items whose fields are the node's affair: the columns are the fields that the items have.
//!
//! For reports (drift, streams, what was ignored) the node may add a field in any version, and people should see it without
//! a new command line. The fields that a person reads first come first. Rejected: a fixed list of columns, which hides
//! whatever it does not know.

use std::collections::BTreeSet;

use comfy_table::Cell;
use serde_json::Value;

use super::Context;
use super::arg::local_time;
use super::client::{Path, Query};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Paging};
use super::out::{Out, note};
use super::table::{Align, Sheet, text};

/// The longest cell of nested JSON, in characters.
const LONGEST: usize = 60;

/// Shows a list with whatever columns its items have, those named in `first` before the others.
pub async fn show(
    context: &Context,
    path: &Path,
    query: &Query,
    paging: Paging,
    first: &[&str],
    empty: &str,
) -> Result<(), Failure> {
    let out = &context.out;
    let rows = paging.rows(out.json);
    let mut items = Vec::new();
    let end = list::each(context, path, query, rows, |raw| {
        if out.json {
            out.line(raw.get())?;
        } else {
            items.push(list::value(raw));
        }
        Ok(())
    })
    .await?;
    if !out.json {
        if items.is_empty() {
            note(empty);
        } else {
            table(out, &items, first).print(out)?;
        }
    }
    if end.more {
        note(format!(
            "… and more: only the first {} are shown; --all shows everything",
            rows.unwrap_or_default()
        ));
    }
    Ok(())
}

/// A table of the items.
pub fn table(out: &Out, items: &[Value], first: &[&str]) -> Sheet {
    let columns = columns(items, first);
    let headings: Vec<String> = columns.iter().map(|column| column.replace('_', " ")).collect();
    let headings: Vec<(&str, Align)> = columns
        .iter()
        .zip(&headings)
        .map(|(column, heading)| (heading.as_str(), align(items, column)))
        .collect();
    let mut sheet = Sheet::new(out, &headings);
    for item in items {
        sheet.row(columns.iter().map(|column| cell(item.get(column))));
    }
    sheet
}

/// The fields in use, those of `first` in their order, then the others.
fn columns(items: &[Value], first: &[&str]) -> Vec<String> {
    let used: BTreeSet<&str> = items
        .iter()
        .flat_map(|item| item.members(""))
        .filter(|(_, value)| !value.is_null())
        .map(|(key, _)| key)
        .collect();
    let known = first.iter().filter(|key| used.contains(**key)).copied();
    let others = used.iter().filter(|key| !first.contains(key)).copied();
    known.chain(others).map(str::to_owned).collect()
}

fn align(items: &[Value], column: &str) -> Align {
    let values: Vec<&Value> = items
        .iter()
        .filter_map(|item| item.get(column))
        .filter(|value| !value.is_null())
        .collect();
    if !values.is_empty() && values.iter().all(|value| value.is_number()) {
        Align::Right
    } else {
        Align::Left
    }
}

fn cell(value: Option<&Value>) -> Cell {
    text(value.map(brief).unwrap_or_default())
}

/// A value in a few words: times local, lists joined, objects as `key value, key value`.
pub fn brief(value: &Value) -> String {
    let words = match value {
        Value::Null => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(word) => local_time(word),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| format!("{} {}", key.replace('_', " "), brief(value)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    shortened(&words)
}

fn shortened(words: &str) -> String {
    if words.chars().count() <= LONGEST {
        words.to_owned()
    } else {
        words.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_that_nobody_foresaw_gets_its_column() {
        let items = [
            json!({"sku": "milk", "erp": 5, "nothing": null}),
            json!({"sku": "bread", "node": 4, "erp": 12}),
        ];
        assert_eq!(
            table(&Out::plain(), &items, &["sku", "node", "wms"]).render(),
            "sku    node  erp\nmilk           5\nbread     4   12"
        );
    }

    #[test]
    fn nested_values_are_told_in_a_few_words() {
        assert_eq!(
            brief(&json!({"code": "x_y", "at_risk": true, "n": null, "l": [1, 2]})),
            "at risk yes, code x_y, l 1, 2"
        );
        assert_eq!(brief(&json!("a".repeat(80))).chars().count(), LONGEST);
    }
}
