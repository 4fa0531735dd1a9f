//! What the node answered to events: read from either form of the answer, counted, and shown.
//!
//! Rejected: counting only what failed. The counts of all verdicts add up to the rows sent, which is how a person sees that
//! nothing was lost.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::client::Answer;
use crate::cli::exit::{self, Code, Failure};
use crate::cli::field::Field;
use crate::cli::list::{self, Column, left, right};
use crate::cli::out::{Out, Tone};
use crate::cli::table::{text, toned};

/// Refused rows that are shown in full; the rest are counted.
const SHOWN: usize = 50;

/// The verdicts of an answer: `{"verdicts": […]}`, NDJSON, or the one verdict of a single event.
pub fn of(answer: &Answer) -> Vec<Box<RawValue>> {
    #[derive(serde::Deserialize)]
    struct Batch {
        verdicts: Vec<Box<RawValue>>,
    }
    match answer.json::<Batch>() {
        Ok(batch) => batch.verdicts,
        Err(_) => answer
            .text()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect(),
    }
}

/// The verdicts so far.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    refused: Vec<Value>,
    codes: BTreeMap<u16, u64>,
}

impl Tally {
    /// Takes the verdict of the row at `at`.
    pub fn add(&mut self, at: u64, verdict: &RawValue) {
        let mut verdict = list::value(verdict);
        let word = verdict.word("/verdict");
        if matches!(word.as_str(), "refused" | "dead_letter") {
            *self
                .codes
                .entry(u16::try_from(verdict.units("/problem/status")).unwrap_or(0))
                .or_default() += 1;
            if self.refused.len() < SHOWN {
                verdict["at"] = at.into();
                self.refused.push(verdict);
            }
        }
        *self.counts.entry(word).or_default() += 1;
    }

    /// The rows that have a verdict.
    pub fn rows(&self) -> u64 {
        self.counts.values().sum()
    }

    fn bad(&self) -> u64 {
        self.codes.values().sum()
    }

    /// `12 rows: 10 applied, 1 duplicate, 1 refused`.
    pub fn summary(&self) -> String {
        let rows = self.rows();
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(verdict, count)| format!("{count} {}", verdict.replace('_', " ")))
            .collect();
        let noun = if rows == 1 { "event" } else { "events" };
        if counts.is_empty() {
            "no events".to_owned()
        } else {
            format!("{rows} {noun}: {}", counts.join(", "))
        }
    }

    /// Shows the refused rows and the summary to a person.
    pub fn print(&self, out: &Out) -> Result<(), Failure> {
        if !self.refused.is_empty() {
            let mut sheet = list::sheet(out, REFUSED);
            for verdict in &self.refused {
                sheet.row(list::cells(REFUSED, verdict));
            }
            sheet.print(out)?;
            let hidden = self.bad() - self.refused.len() as u64;
            if hidden > 0 {
                out.line(format!("… and {hidden} more (--json shows all)"))?;
            }
            out.line("")?;
        }
        Ok(out.line(self.summary())?)
    }

    /// How the verb ends: 0 when nothing was refused; 75 when every refusal passes by itself; 65 otherwise.
    pub fn end(&self) -> Result<(), Failure> {
        if self.bad() == 0 {
            return Ok(());
        }
        let passing = self.codes.keys().all(|status| exit::of_status(*status) == Code::TryAgain);
        Err(Failure::silent(if passing { Code::TryAgain } else { Code::Data }))
    }
}

const REFUSED: &[Column] = &[
    right("row", |verdict| text(verdict.word("/at"))),
    left("id", |verdict| text(verdict.word("/id"))),
    left("verdict", |verdict| toned(verdict.word("/verdict"), Tone::Bad)),
    left("code", |verdict| text(verdict.word("/problem/code"))),
    left("why", |verdict| text(why(verdict))),
];

fn why(verdict: &Value) -> String {
    let detail = verdict.word("/problem/detail");
    let field = verdict.word("/problem/field");
    if field.is_empty() {
        detail
    } else {
        format!("{detail} (field {field})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(verdicts: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for (at, verdict) in (1..).zip(verdicts) {
            tally.add(at, serde_json::from_str(verdict).expect("JSON"));
        }
        tally
    }

    #[test]
    fn the_counts_add_up_to_the_rows() {
        let tally = tally(&[
            r#"{"verdict":"applied"}"#,
            r#"{"verdict":"applied"}"#,
            r#"{"verdict":"included_in_count"}"#,
        ]);
        assert_eq!(tally.summary(), "3 events: 2 applied, 1 included in count");
        assert!(tally.end().is_ok());
    }

    #[test]
    fn a_refusal_ends_with_65_and_one_that_passes_with_75() {
        let refused =
            r#"{"verdict":"refused","id":"x","problem":{"code":"unit_mismatch","status":422,"detail":"d","field":"/data/unit"}}"#;
        let overloaded = r#"{"verdict":"refused","problem":{"code":"overloaded","status":503}}"#;
        assert_eq!(
            tally(&[refused, overloaded]).end().map_err(|failure| failure.code),
            Err(Code::Data)
        );
        assert_eq!(
            tally(&[overloaded]).end().map_err(|failure| failure.code),
            Err(Code::TryAgain)
        );
        assert_eq!(why(&tally(&[refused]).refused[0]), "d (field /data/unit)");
    }
}
