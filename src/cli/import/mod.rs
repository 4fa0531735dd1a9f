//! `shelfd import`: a table of movements, as shops export it, row by row into the node.
//!
//! What lives here: the mapping from rows to events ([`mapping`], [`rules`], [`moment`], [`amount`], [`claim`]), who a row is
//! ([`identity`]), the table ([`table`], [`batches`]), and the run itself ([`run`], [`send`], [`resume`], [`rejects`]). It
//! speaks to the node as anybody does. Rejected: a bulk door into the store, which would be faster, and would have to
//! repeat every rule of the domain.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

use self::batches::Batches;
use self::claim::Layout;
use self::mapping::Mapping;
use self::progress::Progress;
use self::rehearsal::Rehearsal;
use self::rejects::Refusals;
use self::report::Report;
use self::run::{Files, Run, Start};
use self::table::{Survey, Table, survey};
use super::Context;
use super::client::path;
use super::exit::{Code, Failure};
use super::out::note;

pub mod amount;
pub mod batches;
pub mod claim;
pub mod document;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod identity;
pub mod mapping;
pub mod moment;
pub mod progress;
pub mod rehearsal;
pub mod rejects;
pub mod report;
pub mod resume;
pub mod rules;
pub mod run;
pub mod send;
pub mod table;
pub mod tally;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cd examples/online_retail && shelfd import online_retail.csv -m mapping.toml
  shelfd import sales.csv.gz --mapping till.toml --dry-run
  shelfd import sales.csv.gz --mapping till.toml --work-dir /var/tmp

The same command again goes on where the last one was stopped. A finished import
may be run again: rows that were taken are known by their content, and move
nothing twice. Rows that could not be taken stand in FILE.rejected.csv.
All keys of the mapping: docs/import.md

Exit codes: 0 every row was taken; 65 all were judged, some not taken; 75 stopped
before the end, go on with the same command; 78 the mapping is wrong.")]
pub struct Args {
    /// The table: CSV with a header, also packed as .gz
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which column is what, and which kind of row is which event (TOML)
    #[arg(long, short, value_name = "FILE")]
    pub mapping: PathBuf,
    /// Rows in one request
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Where the state and the rejected rows are kept, when not beside the table
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Begin with the first row, also when an earlier run was stopped in the middle
    #[arg(long)]
    pub from_start: bool,
    /// Send again what the node refused in an earlier, finished import of the same file
    #[arg(long)]
    pub retry_refused: bool,
    /// Show what the rows would become, and send nothing; needs no node
    #[arg(long)]
    pub dry_run: bool,
}

/// Imports the table.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (layout, survey, table, fingerprint) = tokio::task::block_in_place(|| prepare(&args))?;
    if args.dry_run {
        return rehearse(&args, layout, survey, table, context);
    }
    if let Some(warehouse) = &layout.mapping().warehouse {
        // A wrong warehouse would refuse every single row, and a wrong address is better known now than in ten minutes.
        context.api.fetch(&path(["v1", "warehouses", warehouse]), &Vec::new()).await?;
    }
    let files = Files::of(&args.file, args.work_dir.as_deref());
    let start = Start {
        fingerprint,
        batch: args.batch as usize,
        from_start: args.from_start,
        retry_refused: args.retry_refused,
    };
    let mut run = Run::begin(&context.api, files, start, table.header()).await?;
    let resumed_after = run.state().rows_done;
    if resumed_after > 0 {
        note(format!("going on after row {resumed_after} of {}", survey.rows));
    }
    let mut batches = Batches::new(table, survey.copies, layout, run.first_batch(), run.refused_before());
    tokio::task::block_in_place(|| batches.skip(resumed_after)).map_err(|error| Failure::data(error.to_string()))?;
    let mut progress = Progress::new(survey.rows, resumed_after);
    let ended = run.send_all(&mut batches, &mut progress, stop_signal()?).await;
    progress.finish();
    let elapsed = progress.elapsed();
    let (state, rejected_file) = run.end()?;
    Report {
        file: &args.file,
        rows: survey.rows,
        tally: &state.tally,
        resumed_after,
        finished: state.finished,
        elapsed,
        rejected_file: rejected_file.as_deref(),
    }
    .print(&context.out)?;
    let go_on = format!(
        "{} of {} rows are done; the same command again goes on from there",
        state.rows_done, survey.rows
    );
    match ended {
        Err(failure) => Err(Failure {
            help: Some(failure.help.map_or(go_on.clone(), |help| format!("{help}; {go_on}"))),
            ..failure
        }),
        Ok(false) => Err(Failure::new(Code::TryAgain, "stopped before the end").with_help(go_on)),
        Ok(true) if state.tally.left_out() > 0 => Err(Failure::silent(Code::Data)),
        Ok(true) => Ok(()),
    }
}

/// What the rows would become.
fn rehearse(args: &Args, layout: Layout, survey: Survey, table: Table, context: &Context) -> Result<(), Failure> {
    let mut batches = Batches::new(table, survey.copies, layout, args.batch as usize, Refusals::new());
    let rehearsal =
        tokio::task::block_in_place(|| Rehearsal::of(&mut batches)).map_err(|error| Failure::data(error.to_string()))?;
    rehearsal.print(&args.file, &context.out)?;
    if rehearsal.is_clean() {
        Ok(())
    } else {
        Err(Failure::silent(Code::Data))
    }
}

/// Reads the mapping and goes over the table once. Refuses what cannot work before anything is sent.
fn prepare(args: &Args) -> Result<(Layout, Survey, Table, String), Failure> {
    let name = args.mapping.display().to_string();
    let text = std::fs::read_to_string(&args.mapping)
        .map_err(|error| Failure::new(Code::Configuration, format!("cannot read the mapping {name}: {error}")))?;
    let wrong = |problem: document::Problem| Failure::new(Code::Configuration, problem.to_string());
    let mapping = Mapping::parse(&name, &text).map_err(wrong)?;
    let bad_table = |error: table::Error| Failure::data(error.to_string());
    let table = Table::open(&args.file, mapping.delimiter).map_err(bad_table)?;
    let source = mapping.source_or(&args.mapping);
    let layout = Layout::new(mapping, source.clone(), table.header()).map_err(wrong)?;
    let survey = survey(&args.file, layout.mapping().delimiter).map_err(bad_table)?;
    let mut hash = Xxh3::new();
    hash.update(&survey.fingerprint.to_le_bytes());
    hash.update(text.as_bytes());
    hash.update(source.as_bytes());
    let fingerprint = format!("{:032x}", hash.digest128());
    Ok((layout, survey, table, fingerprint))
}

/// Becomes true at Ctrl-C or SIGTERM.
fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (send, receive) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Nobody may be left to stop.
        let _ = send.send(true);
    });
    Ok(receive)
}
