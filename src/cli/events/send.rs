//! `shelfd events send`: a file of events in batches, and what became of each row.
//!
//! A file may be sent again at any time: the node knows the ids and answers `duplicate`. So an interruption needs no
//! bookkeeping here. Rejected: several batches at once, which would let rows of one SKU overtake each other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use super::rows::{Row, Rows};
use super::verdicts::{self, Tally};
use crate::cli::Context;
use crate::cli::client::{Client, Patience, path};
use crate::cli::exit::{Code, Failure};
use crate::cli::out::note;

/// Rows of one request, unless told otherwise: enough to share a commit, and answered within a moment.
const BATCH_ROWS: u32 = 1000;
/// About the most bytes of one request; the API takes 16 MiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd events send today.ndjson
  shelfd events send - < today.json              a JSON array works, too
  zcat today.ndjson.gz | shelfd events send - --json > verdicts.ndjson

Every row gets its verdict; a refused row does not stop the others. Send the file again after an interruption: what has
been taken answers `duplicate`. Exit code 65 when a row was refused, 75 when all refusals may pass by themselves.")]
pub struct Args {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Events in one request
    #[arg(long, value_name = "ROWS", default_value_t = BATCH_ROWS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
}

/// Sends the file.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_read(&args.file, &error);
    let input = open(&args.file).map_err(failed)?;
    let mut rows = Rows::new(input).map_err(failed)?;
    let api = context.api.clone().with_patience(Patience {
        retries: 12,
        ..Patience::LONG
    });
    let progress = io::stderr().is_terminal() && !context.out.json;
    let mut tally = Tally::default();
    loop {
        let batch = rows.batch(args.batch as usize, BATCH_BYTES).map_err(failed)?;
        if batch.is_empty() {
            break;
        }
        if let Err(failure) = send(&api, context, &batch, &mut tally).await {
            if tally.rows() > 0 {
                note(format!(
                    "shelfd: stopped before row {}; so far {}",
                    batch[0].at,
                    tally.summary()
                ));
            }
            return Err(failure);
        }
        if progress {
            eprint!("\r{} sent ", tally.rows());
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    if !context.out.json {
        tally.print(&context.out)?;
    }
    tally.end()
}

async fn send(api: &Client, context: &Context, batch: &[Row], tally: &mut Tally) -> Result<(), Failure> {
    let mut body = Vec::with_capacity(batch.iter().map(|row| row.text.len() + 1).sum());
    for row in batch {
        body.extend_from_slice(row.text.as_bytes());
        body.push(b'\n');
    }
    let answer = api
        .post_raw(&path(["v1", "events"]), "application/x-ndjson", body.into())
        .await?;
    let verdicts = verdicts::of(&answer);
    if verdicts.len() != batch.len() {
        let message = format!(
            "the node gave {} verdicts for {} events; what became of them is unknown",
            verdicts.len(),
            batch.len()
        );
        return Err(
            Failure::new(Code::Unavailable, message).with_help("send the file again: what has been taken answers `duplicate`")
        );
    }
    for (row, verdict) in batch.iter().zip(verdicts) {
        tally.add(row.at, &verdict);
        if context.out.json {
            context.out.line(verdict.get())?;
        }
    }
    Ok(())
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file)?;
    if opened.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(Box::new(BufReader::new(opened)))
}

fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    let name = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    Failure::data(format!("cannot read {name}: {error}"))
}
