//! `shelfd verify`: reads a stopped node's store from end to end, and says whether it is what it claims to be; with `--repair` it makes
//! anew what can be made from the journal.
//!
//! It takes the store's lock, and without `--repair` changes nothing. Rejected: verifying over the API. A store that no node can open
//! is the one that most needs it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Context;
use super::exit::{Code, Failure};
use super::out::Tone;
use crate::storage::repair::{Outcome, RepairError, repair};
use crate::storage::store::OpenError;
use crate::storage::verify::{Report, verify};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd verify /var/lib/shelfd
  shelfd verify ./data --json
  shelfd verify --repair /var/lib/shelfd

Stop the node first. Exit code 0 when the store is sound (or is now), 65 when it is damaged, 75 when a node runs on it.

--repair makes snapshots, remembered ids and indexes anew from the journal when that is whole. It needs about as much free room as \
the store takes: the new store is made beside the old one, verified, and only then takes its name. The damaged file stays beside it \
as store.redb.damaged. The journal's facts are copied as they are; when they are damaged themselves, that is said, and nothing is \
changed.")]
pub struct Args {
    /// The data directory of a stopped node
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Make anew what can be made from the journal; the damaged file is kept beside it
    #[arg(long)]
    pub repair: bool,
}

/// Verifies, and tells what was found.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (dir, mend) = (args.dir.clone(), args.repair);
    // Reading gigabytes must not hold up the runtime, which hears Ctrl-C.
    let looked = tokio::task::spawn_blocking(move || match mend {
        true => repair(&dir),
        // What is found is told the same way, whatever was asked for.
        false => Ok(Outcome::Unrepairable(verify(&dir)?)),
    });
    let outcome = looked
        .await
        .map_err(|error| Failure::new(Code::Unavailable, format!("verifying broke off: {error}")))?
        .map_err(|error| not_done(&error))?;
    if context.out.json {
        context.out.value(&as_json(&outcome, args.repair))?;
    } else {
        print(&args, &outcome, context)?;
    }
    match &outcome {
        Outcome::Unrepairable(report) if !report.is_sound() => Err(Failure::silent(Code::Data)),
        _ => Ok(()),
    }
}

fn not_done(error: &RepairError) -> Failure {
    match error {
        RepairError::Open(error) => not_opened(error),
        error => Failure::new(Code::Data, error.to_string()),
    }
}

/// A store that cannot even be opened: one that a node holds may be verified later, the others will not mend themselves.
fn not_opened(error: &OpenError) -> Failure {
    let code = if matches!(error, OpenError::Locked { .. }) {
        Code::TryAgain
    } else {
        Code::Data
    };
    match std::error::Error::source(error) {
        Some(cause) => Failure::new(code, format!("{error}: {cause}")),
        None => Failure::new(code, error.to_string()),
    }
}

fn as_json(outcome: &Outcome, asked: bool) -> Value {
    match outcome {
        Outcome::Sound(report) | Outcome::Unrepairable(report) => with_repair(of_report(report), asked.then_some(false)),
        Outcome::Repaired {
            before,
            after,
            aside,
            notes,
        } => {
            let mut value = with_repair(of_report(after), Some(true));
            value["before"] = of_report(before);
            value["damaged_file"] = json!(aside.display().to_string());
            value["notes"] = json!(notes);
            value
        }
    }
}

fn with_repair(mut value: Value, repaired: Option<bool>) -> Value {
    if let Some(repaired) = repaired {
        value["repaired"] = json!(repaired);
    }
    value
}

fn of_report(report: &Report) -> Value {
    json!({"sound": report.is_sound(), "rows": report.rows, "facts": report.facts, "floor": report.floor, "last": report.last,
        "skus": report.skus, "from_zero": report.from_zero, "journal_whole": report.journal_whole,
        "repairable": !report.is_sound() && report.is_repairable(), "problems": report.problems, "unlisted": report.unlisted,
        "advice": report.advice()})
}

fn print(args: &Args, outcome: &Outcome, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    match outcome {
        Outcome::Sound(report) => {
            print_report(args, report, context)?;
            Ok(out.line("There is nothing to repair.")?)
        }
        Outcome::Unrepairable(report) => {
            print_report(args, report, context)?;
            if args.repair && !report.is_sound() {
                out.line("Nothing was repaired, and nothing was changed: what is damaged cannot be made from the journal.")?;
            }
            Ok(())
        }
        Outcome::Repaired {
            before,
            after,
            aside,
            notes,
        } => {
            problems(before, context)?;
            out.line(format!(
                "The store was made anew from its journal; the damaged file is {}. Remove it when you are sure.",
                aside.display()
            ))?;
            for note in notes {
                out.line(format!("Note: {note}."))?;
            }
            print_report(args, after, context)
        }
    }
}

fn print_report(args: &Args, report: &Report, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    out.line(format!(
        "{}: {} rows, {} facts ({} to {}), {} SKUs",
        args.dir.display(),
        report.rows,
        report.facts,
        report.floor,
        report.last,
        report.skus
    ))?;
    if !report.from_zero {
        out.line("older facts have been folded away; the invariants were checked, the fold from the first fact cannot be")?;
    }
    problems(report, context)?;
    Ok(out.line(report.advice())?)
}

fn problems(report: &Report, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    for problem in &report.problems {
        out.line(format!("{}  {problem}", out.paint(Tone::Bad, "bad")))?;
    }
    if report.unlisted > 0 {
        out.line(format!("… and {} more", report.unlisted))?;
    }
    Ok(())
}
