//! What a mapping would make of a table, without a node and without leaving a trace: for whoever is writing the mapping.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::batches::{Batches, Fate};
use super::report::grouped;
use super::table;
use crate::cli::out::{Out, Tone};

/// How many rows stand for their kind, and how many rejected ones are shown.
const SHOWN: usize = 3;

/// Lines of the table, each with a reason.
type Lines = Vec<(u64, String)>;

/// What the rows would become.
#[derive(Debug, Default)]
pub struct Rehearsal {
    rows: u64,
    /// Rows by event type, with the first as an example.
    events: BTreeMap<String, (u64, Value)>,
    /// Rejected rows by code, with the first few lines and reasons.
    rejected: BTreeMap<&'static str, (u64, Lines)>,
}

impl Rehearsal {
    /// Goes through the whole table.
    pub fn of(batches: &mut Batches) -> Result<Rehearsal, table::Error> {
        let mut rehearsal = Rehearsal::default();
        while let Some(batch) = batches.next_batch()? {
            for row in batch.rows {
                rehearsal.rows += 1;
                match row.fate {
                    Fate::Send(event) => {
                        let (count, _) = rehearsal
                            .events
                            .entry(event.kind().to_owned())
                            .or_insert_with(|| (0, json!(event)));
                        *count += 1;
                    }
                    Fate::Reject(rejection) => {
                        let (count, first) = rehearsal.rejected.entry(rejection.code).or_default();
                        *count += 1;
                        if first.len() < SHOWN {
                            first.push((row.line, rejection.reason));
                        }
                    }
                    Fate::RefusedBefore(..) => {}
                }
            }
        }
        Ok(rehearsal)
    }

    /// Whether every row would be sent.
    pub fn is_clean(&self) -> bool {
        self.rejected.is_empty()
    }

    /// Prints it.
    pub fn print(&self, file: &Path, out: &Out) -> std::io::Result<()> {
        if out.json {
            let events = self
                .events
                .iter()
                .map(|(kind, (count, first))| json!({"type": kind, "rows": count, "first": first}));
            let lines = |first: &Lines| {
                first
                    .iter()
                    .map(|(line, reason)| json!({"line": line, "reason": reason}))
                    .collect::<Vec<_>>()
            };
            let rejected = self
                .rejected
                .iter()
                .map(|(code, (count, first))| json!({"code": code, "rows": count, "first": lines(first)}));
            return out.value(&json!({
                "file": file.display().to_string(),
                "rows": self.rows,
                "events": events.collect::<Vec<_>>(),
                "rejected": rejected.collect::<Vec<_>>(),
            }));
        }
        out.line(format!("{}: {} rows would become", file.display(), grouped(self.rows)))?;
        for (kind, (count, first)) in &self.events {
            out.line(format!("  {:<26} {:>11}", out.paint(Tone::Good, kind), grouped(*count)))?;
            out.line(out.paint(Tone::Dim, &format!("    {first}")))?;
        }
        for (code, (count, first)) in &self.rejected {
            out.line(format!(
                "  {:<26} {:>11}",
                out.paint(Tone::Bad, &format!("rejected: {code}")),
                grouped(*count)
            ))?;
            for (line, reason) in first {
                out.line(out.paint(Tone::Dim, &format!("    line {line}: {reason}")))?;
            }
        }
        out.line("Nothing was sent.")
    }
}
