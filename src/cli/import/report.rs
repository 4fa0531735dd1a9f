//! What an import says at its end: every row of the file under exactly one heading.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::tally::Tally;
use crate::cli::out::{Out, Tone};

/// The end of one run.
pub struct Report<'r> {
    /// The table.
    pub file: &'r Path,
    /// Rows in the table.
    pub rows: u64,
    /// What became of those that are done.
    pub tally: &'r Tally,
    /// Rows that an earlier run had done.
    pub resumed_after: u64,
    /// Whether the table was read to its end.
    pub finished: bool,
    /// How long this run took.
    pub elapsed: Duration,
    /// Where the rows are that could not be taken; `None` when there are none.
    pub rejected_file: Option<&'r Path>,
}

impl Report<'_> {
    /// Prints the report.
    pub fn print(&self, out: &Out) -> std::io::Result<()> {
        if out.json {
            out.value(&self.value())
        } else {
            out.line(self.text(out).trim_end())
        }
    }

    fn value(&self) -> Value {
        let mut value = serde_json::to_value(self.tally).unwrap_or(Value::Null);
        value["file"] = json!(self.file.display().to_string());
        value["rows"] = json!(self.rows);
        value["rows_done"] = json!(self.tally.rows());
        value["finished"] = json!(self.finished);
        value["resumed_after"] = json!(self.resumed_after);
        value["elapsed_ms"] = json!(u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX));
        value["rejected_file"] = json!(self.rejected_file.map(|file| file.display().to_string()));
        value
    }

    fn text(&self, out: &Out) -> String {
        let tally = self.tally;
        let of = if self.finished {
            String::new()
        } else {
            format!("{} of ", grouped(tally.rows()))
        };
        let mut text = format!(
            "{}: {of}{} rows in {:.1} s",
            self.file.display(),
            grouped(self.rows),
            self.elapsed.as_secs_f64()
        );
        if self.resumed_after > 0 {
            text += &format!(", resumed after row {}", grouped(self.resumed_after));
        }
        text.push('\n');
        let lines = headings(tally);
        for (name, count, remark, tone) in lines.into_iter().filter(|(_, count, ..)| *count > 0) {
            text += &format!(
                "  {} {:>11}  {}",
                out.paint(tone, &format!("{name:<14}")),
                grouped(count),
                out.paint(Tone::Dim, &remark)
            );
            text.push('\n');
        }
        if let Some(file) = self.rejected_file {
            text += &format!("Rows that were not taken, each with line and reason: {}\n", file.display());
        }
        text
    }
}

/// Name, rows, remark and tone of each heading.
fn headings(tally: &Tally) -> [(&'static str, u64, String, Tone); 9] {
    let found = match tally.found_units {
        0 => String::new(),
        units => format!("the book was short, so {} units were found", grouped(units.unsigned_abs())),
    };
    let rejected = codes(&tally.rejected);
    [
        ("applied", tally.applied, found, Tone::Good),
        (
            "duplicates",
            tally.duplicates,
            "taken before, nothing moved".to_owned(),
            Tone::Good,
        ),
        (
            "in a count",
            tally.included_in_count,
            "a later count includes them".to_owned(),
            Tone::Good,
        ),
        ("stale", tally.stale, "older than what the node knows".to_owned(), Tone::Warn),
        ("recorded", tally.recorded, "noted, nothing moved".to_owned(), Tone::Good),
        (
            "dead letters",
            tally.dead_letters,
            "see `shelfd dead-letters`".to_owned(),
            Tone::Bad,
        ),
        ("refused", tally.refused.values().sum(), codes(&tally.refused), Tone::Bad),
        (
            "refused before",
            tally.refused_before.values().sum(),
            "not sent again; --retry-refused sends them".to_owned(),
            Tone::Warn,
        ),
        (
            "rejected",
            tally.rejected.values().sum(),
            format!("not sent: {rejected}"),
            Tone::Bad,
        ),
    ]
}

/// `insufficient_stock 747, unit_mismatch 2`.
fn codes(codes: &BTreeMap<String, u64>) -> String {
    codes
        .iter()
        .map(|(code, count)| format!("{code} {}", grouped(*count)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headings_add_up_to_the_rows() {
        let one = |code: &str, count| BTreeMap::from([(code.to_owned(), count)]);
        let tally = Tally {
            applied: 1200,
            duplicates: 3,
            dead_letters: 1,
            refused: one("insufficient_stock", 4),
            refused_before: one("insufficient_stock", 2),
            rejected: one("invalid_value", 5),
            found_units: 1_234_567,
            ..Tally::default()
        };
        assert_eq!((tally.rows(), tally.left_out()), (1215, 12));
        let file = Path::new("t.csv");
        let report = Report {
            file,
            rows: 1215,
            tally: &tally,
            resumed_after: 0,
            finished: true,
            elapsed: Duration::from_millis(1500),
            rejected_file: Some(file),
        };
        let text = report.text(&Out::plain());
        let expected = "t.csv: 1,215 rows in 1.5 s\n  \
            applied              1,200  the book was short, so 1,234,567 units were found\n  \
            duplicates               3  taken before, nothing moved\n  \
            dead letters             1  see `shelfd dead-letters`\n  \
            refused                  4  insufficient_stock 4\n  \
            refused before           2  not sent again; --retry-refused sends them\n  \
            rejected                 5  not sent: invalid_value 5\n\
            Rows that were not taken, each with line and reason: t.csv\n";
        assert_eq!(text, expected);
        assert_eq!(report.value()["refused"]["insufficient_stock"], 4);
    }
}
