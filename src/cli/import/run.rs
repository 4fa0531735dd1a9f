//! One run of an import: from where it stands to the end of the table, or to where it is stopped.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::block_in_place;

use super::batches::{Batch, Batches, Fate};
use super::progress::Progress;
use super::rejects::{self, By, DEAD_LETTER, Refusals, Rejects, refusals};
use super::resume::{State, Witness};
use super::send::{Verdict, send};
use super::tally::Tally;
use crate::cli::client::{Client, Patience, path};
use crate::cli::exit::{Code, Failure};
use crate::cli::out::note;

/// The files of an import, beside the input unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Where the import stands.
    pub state: PathBuf,
    /// Rows that could not be taken.
    pub rejected: PathBuf,
    /// The rows that the node refused in the import before this one, while this one runs.
    pub before: PathBuf,
}

impl Files {
    /// The files for an input, in `dir` or beside it.
    pub fn of(input: &Path, dir: Option<&Path>) -> Files {
        let name = input
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let dir = dir.or(input.parent()).unwrap_or(Path::new(""));
        Files {
            state: dir.join(format!("{name}.import-state.json")),
            rejected: dir.join(format!("{name}.rejected.csv")),
            before: dir.join(format!("{name}.rejected-before.csv")),
        }
    }
}

/// How a run is to begin.
#[derive(Debug, Clone)]
pub struct Start {
    /// Table, mapping and source as one hash.
    pub fingerprint: String,
    /// Rows in a batch.
    pub batch: usize,
    /// Forget where an earlier run stopped.
    pub from_start: bool,
    /// Send again what the node refused in an earlier, finished import.
    pub retry_refused: bool,
}

/// A run that has its files and knows where it begins.
pub struct Run {
    api: Client,
    files: Files,
    state: State,
    rejects: Rejects,
    batch: usize,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Run {
    /// Finds out where to begin, and says so. Takes the lock.
    pub async fn begin(api: &Client, files: Files, start: Start, columns: &[String]) -> Result<Run, Failure> {
        let mut rejects = Rejects::open(&files.rejected, columns).map_err(io)?;
        let found = State::read(&files.state).filter(|_| !start.from_start);
        let begin = || State::begin(start.fingerprint.clone(), api.url().to_owned(), start.batch);
        let mut state = match found {
            None => begin(),
            Some(state) if state.fingerprint != start.fingerprint || state.node != api.url() => {
                if !state.finished {
                    note("an earlier run was stopped with another table, mapping or node: starting with the first row");
                }
                begin()
            }
            Some(state) if knows(api, state.witness.as_ref()).await? => state,
            Some(_) => {
                note("the node no longer has what it answered to an earlier run: starting over");
                begin()
            }
        };
        if !state.finished && state.rejected_bytes > rejects.len_on_disk().map_err(io)? {
            note("the file of rejected rows is not what an earlier run left: starting over");
            state = begin();
        }
        if state.finished {
            state = begin();
            if !start.retry_refused {
                rejects.keep_as(&files.before).map_err(io)?;
                state.skips_refused = true;
            }
        }
        rejects.cut_to(state.rejected_bytes).map_err(io)?;
        let mut run = Run {
            api: api.clone().with_patience(Patience::LONG),
            files,
            state,
            rejects,
            batch: start.batch,
        };
        run.save()?;
        Ok(run)
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Refusals of the import before this one, which are left out.
    pub fn refused_before(&self) -> Refusals {
        if self.state.skips_refused {
            refusals(&self.files.before)
        } else {
            Refusals::new()
        }
    }

    /// The size of the first batch: that of the batch that an earlier run may have had in flight.
    pub fn first_batch(&self) -> usize {
        self.state.batch
    }

    /// Sends everything from here on. `Ok(false)`: stopped before the end.
    pub async fn send_all(
        &mut self,
        batches: &mut Batches,
        progress: &mut Progress,
        mut stop: watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        let mut next = block_in_place(|| batches.next_batch());
        batches.resize(self.batch);
        while let Some(mut batch) = next.map_err(|error| Failure::data(error.to_string()))? {
            let body = bytes::Bytes::from(std::mem::take(&mut batch.body));
            let sending = tokio::spawn(send_rows(self.api.clone(), body, batch.sent));
            next = block_in_place(|| batches.next_batch());
            let verdicts = tokio::select! {
                verdicts = sending => verdicts.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))??,
                // What is in flight is sent again by the next run.
                _ = stop.wait_for(|stop| *stop) => return Ok(false),
            };
            self.settle(&batch, &verdicts)?;
            progress.at(self.state.rows_done);
            if *stop.borrow() && !matches!(next, Ok(None)) {
                return Ok(false);
            }
        }
        self.state.finished = true;
        self.save()?;
        Ok(true)
    }

    /// Writes down what became of a batch.
    fn settle(&mut self, batch: &Batch, verdicts: &[Verdict]) -> Result<(), Failure> {
        let mut verdicts = verdicts.iter();
        let tally = &mut self.state.tally;
        for row in &batch.rows {
            match &row.fate {
                Fate::Reject(rejection) => {
                    Tally::count(&mut tally.rejected, rejection.code);
                    self.rejects
                        .add(row.line, By::Import, rejection.code, &rejection.reason, &row.cells);
                }
                Fate::RefusedBefore(code, reason) => {
                    Tally::count(&mut tally.refused_before, code);
                    self.rejects.add(row.line, By::Node, code, reason, &row.cells);
                }
                Fate::Send(event) => {
                    let verdict = verdicts
                        .next()
                        .filter(|verdict| verdict.id.as_ref().is_none_or(|id| *id == event.id));
                    let unexpected = || {
                        Failure::new(
                            Code::Unavailable,
                            format!("the node's answer does not fit the row on line {}", row.line),
                        )
                    };
                    let verdict = verdict.ok_or_else(unexpected)?;
                    if let Some((code, reason)) = judged(tally, verdict).ok_or_else(unexpected)? {
                        self.rejects.add(row.line, By::Node, code, &reason, &row.cells);
                    } else if let Some(version) = verdict.version {
                        let (warehouse, sku) = (event.warehouse().to_owned(), event.sku().to_owned());
                        self.state.witness = Some(Witness { warehouse, sku, version });
                    }
                }
            }
        }
        self.state.rows_done += batch.rows.len() as u64;
        self.state.batch = self.batch;
        self.save()
    }

    /// The rejected rows first, so that the state never counts rows that are not on disk.
    fn save(&mut self) -> Result<(), Failure> {
        self.state.rejected_bytes = self.rejects.sync().map_err(io)?;
        let failed = |error| Failure::new(Code::Io, format!("cannot write {}: {error}", self.files.state.display()));
        self.state.write(&self.files.state).map_err(failed)
    }

    /// Ends the run: the files that are no longer needed go. Tells where the rejected rows are, when there are any.
    pub fn end(self) -> Result<(State, Option<PathBuf>), Failure> {
        let rejected = self.rejects.path().to_owned();
        if self.state.finished {
            let _ = std::fs::remove_file(&self.files.before);
            self.rejects.remove_if_empty().map_err(io)?;
        }
        let has_rows = self.state.tally.left_out() > 0;
        Ok((self.state, has_rows.then_some(rejected)))
    }
}

fn io(error: rejects::Error) -> Failure {
    let message = error.to_string();
    match error {
        rejects::Error::Busy(_) => Failure::new(Code::TryAgain, message),
        rejects::Error::Io { .. } => {
            Failure::new(Code::Io, message).with_help("--work-dir names a directory for the state and the rejected rows")
        }
    }
}

async fn send_rows(api: Client, body: bytes::Bytes, rows: usize) -> Result<Vec<Verdict>, Failure> {
    if rows == 0 {
        Ok(Vec::new())
    } else {
        send(api, body, rows).await
    }
}

/// Whether the node still knows what it has answered.
async fn knows(api: &Client, witness: Option<&Witness>) -> Result<bool, Failure> {
    let Some(witness) = witness else { return Ok(true) };
    let place = path(["v1", "warehouses", &witness.warehouse, "skus", &witness.sku]);
    match api.get::<Version>(&place, &Vec::new()).await {
        Ok(now) => Ok(now.version >= witness.version),
        Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Counts a verdict, and gives code and reason when the row was not taken; `None` for a word that this version does not know.
fn judged<'v>(tally: &mut Tally, verdict: &'v Verdict) -> Option<Option<(&'v str, String)>> {
    let count = match verdict.verdict.as_str() {
        "applied" => &mut tally.applied,
        "duplicate" => &mut tally.duplicates,
        "included_in_count" => &mut tally.included_in_count,
        "stale" => &mut tally.stale,
        "recorded" => &mut tally.recorded,
        "dead_letter" => {
            tally.dead_letters += 1;
            let detail = verdict.problem.as_ref().and_then(|problem| problem.detail.clone());
            return Some(Some((
                DEAD_LETTER,
                detail.unwrap_or_else(|| "put aside by the node".to_owned()),
            )));
        }
        "refused" => {
            let problem = verdict.problem.as_ref()?;
            Tally::count(&mut tally.refused, &problem.code);
            let field = problem
                .field
                .as_ref()
                .map(|field| format!(" (field {field})"))
                .unwrap_or_default();
            return Some(Some((
                &problem.code,
                format!("{}{field}", problem.detail.as_deref().unwrap_or_default()),
            )));
        }
        _ => return None,
    };
    *count += 1;
    if verdict.verdict == "applied" {
        tally.found_units += verdict.found.unwrap_or(0);
    }
    Some(None)
}
