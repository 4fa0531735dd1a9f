//! Lists of the API, page after page: rows for people up to a limit, every item for programs.
//!
//! A list that was cut short says so on stderr: nothing is left out in silence. Rejected: always fetching everything, which
//! fills a terminal with 100,000 rows before the person can read the first.

use comfy_table::Cell;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Context;
use super::client::{Path, Query};
use super::exit::Failure;
use super::out::{Out, note};
use super::table::{Align, Sheet};

/// How much of a list to show.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Paging {
    /// Show at most this many rows (people get 200 and programs everything, unless told otherwise)
    #[arg(short = 'n', long, value_name = "ROWS", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Show everything
    #[arg(long)]
    pub all: bool,
}

/// The most items of a page that the API gives.
const PAGE: usize = 1000;

/// Rows that a person is shown without asking for more.
const FOR_PEOPLE: usize = 200;

impl Paging {
    /// The most rows to show; `None` for all.
    pub fn rows(self, json: bool) -> Option<usize> {
        match self.limit {
            Some(limit) => Some(limit as usize),
            None if self.all || json => None,
            None => Some(FOR_PEOPLE),
        }
    }
}

/// How a list ended.
#[derive(Debug, Default)]
pub struct End {
    /// There is more than was asked for.
    pub more: bool,
    /// What a ledger begins with when older facts have been folded away.
    pub opening: Option<Value>,
}

/// Gives each item of a list to `each`, at most `rows` of them.
pub async fn each(
    context: &Context,
    path: &Path,
    query: &Query,
    rows: Option<usize>,
    mut each: impl FnMut(&RawValue) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let mut left = rows.unwrap_or(usize::MAX);
    let mut cursor: Option<String> = None;
    let mut end = End::default();
    loop {
        let mut query = query.clone();
        query.push(("limit", left.min(PAGE).to_string()));
        let page = context.api.page(path, &query, cursor.as_deref()).await?;
        for item in &page.items {
            if left == 0 {
                return Ok(End { more: true, ..end });
            }
            left -= 1;
            each(item)?;
        }
        end.opening = page.opening.or(end.opening);
        match page.next {
            // A node that answered with the cursor it was given would be asked for ever.
            Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
            _ => return Ok(end),
        }
        if left == 0 {
            return Ok(End { more: true, ..end });
        }
    }
}

/// A column: its heading, how it stands, and its cell for an item.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// How it stands.
    pub align: Align,
    /// The cell for an item.
    pub cell: fn(&Value) -> Cell,
}

/// A column of text or of anything else that stands left.
pub const fn left(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column {
        name,
        align: Align::Left,
        cell,
    }
}

/// A column of numbers.
pub const fn right(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column {
        name,
        align: Align::Right,
        cell,
    }
}

/// An empty table with these columns.
pub fn sheet(out: &Out, columns: &[Column]) -> Sheet {
    let headings: Vec<(&str, Align)> = columns.iter().map(|column| (column.name, column.align)).collect();
    Sheet::new(out, &headings)
}

/// The cells of an item.
pub fn cells(columns: &[Column], item: &Value) -> Vec<Cell> {
    columns.iter().map(|column| (column.cell)(item)).collect()
}

/// Prints a list: NDJSON for programs, a table for people, `empty` when there is nothing.
pub async fn show(
    context: &Context,
    path: &Path,
    query: &Query,
    paging: Paging,
    columns: &[Column],
    empty: &str,
) -> Result<(), Failure> {
    let out = &context.out;
    let rows = paging.rows(out.json);
    let mut sheet = sheet(out, columns);
    let end = each(context, path, query, rows, |raw| {
        if out.json {
            out.line(raw.get())?;
        } else {
            let item = value(raw);
            sheet.row(cells(columns, &item));
        }
        Ok(())
    })
    .await?;
    if !out.json {
        if sheet.is_empty() {
            note(empty);
        } else {
            sheet.print(out)?;
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

/// An item, read.
pub fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).expect("a raw value has been read as JSON once")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_everything_and_people_a_screenful() {
        assert_eq!(Paging::default().rows(true), None);
        assert_eq!(Paging::default().rows(false), Some(FOR_PEOPLE));
        assert_eq!(
            Paging {
                limit: Some(3),
                all: false
            }
            .rows(true),
            Some(3)
        );
        assert_eq!(Paging { limit: None, all: true }.rows(false), None);
    }
}
