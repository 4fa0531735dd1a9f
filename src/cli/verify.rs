//! `shelfd verify`: reads a stopped node's store from end to end, and says whether it is what it claims to be.
//!
//! It takes the store's lock and changes nothing. Rejected: verifying over the API. A store that no node can open is the one
//! that most needs it.

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use super::exit::{Code, Failure};
use super::out::Tone;
use crate::storage::store::OpenError;
use crate::storage::verify::{Report, verify};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd verify /var/lib/shelfd
  shelfd verify ./data --json

Stop the node first. Exit code 0 when the store is sound, 65 when it is damaged, 75 when a node runs on it.")]
pub struct Args {
    /// The data directory of a stopped node
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Verifies, and tells what was found.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let dir = args.dir.clone();
    // Reading gigabytes must not hold up the runtime, which hears Ctrl-C.
    let verified = tokio::task::spawn_blocking(move || verify(&dir)).await;
    let report = verified
        .map_err(|error| Failure::new(Code::Unavailable, format!("verifying broke off: {error}")))?
        .map_err(|error| not_opened(&error))?;
    if context.out.json {
        context.out.value(&as_json(&report))?;
    } else {
        print(&args, &report, context)?;
    }
    if report.is_sound() {
        Ok(())
    } else {
        Err(Failure::silent(Code::Data))
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

fn as_json(report: &Report) -> serde_json::Value {
    json!({"sound": report.is_sound(), "rows": report.rows, "facts": report.facts, "floor": report.floor, "last": report.last,
        "skus": report.skus, "from_zero": report.from_zero, "problems": report.problems, "unlisted": report.unlisted})
}

fn print(args: &Args, report: &Report, context: &Context) -> Result<(), Failure> {
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
    for problem in &report.problems {
        out.line(format!("{}  {problem}", out.paint(Tone::Bad, "bad")))?;
    }
    if report.unlisted > 0 {
        out.line(format!("… and {} more", report.unlisted))?;
    }
    Ok(out.line(report.advice())?)
}
