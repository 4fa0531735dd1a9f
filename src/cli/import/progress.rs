//! How far an import is: a bar on a terminal, and a line every few seconds where nobody watches (a log, a pipe).

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::grouped;
use crate::cli::out::note;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one run.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    first: u64,
    started: Instant,
    line_at: Instant,
}

impl Progress {
    /// Of `total` rows, `first` are done already.
    pub fn new(total: u64, first: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} rows, {msg}{eta} left");
            let bar = ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_position(first);
            bar.reset_eta();
            bar
        });
        Progress {
            bar,
            total,
            first,
            started: Instant::now(),
            line_at: Instant::now(),
        }
    }

    /// So many rows of the table are done.
    pub fn at(&mut self, rows: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(rows);
                bar.set_message(format!("{} rows/s, ", grouped(self.rate(rows))));
            }
            None if self.line_at.elapsed() >= LINE_EVERY => {
                self.line_at = Instant::now();
                note(format!(
                    "{} of {} rows, {} rows/s",
                    grouped(rows),
                    grouped(self.total),
                    grouped(self.rate(rows))
                ));
            }
            None => {}
        }
    }

    /// Rows a second in this run.
    pub fn rate(&self, rows: u64) -> u64 {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        (rows.saturating_sub(self.first)).saturating_mul(1000) / millis
    }

    /// How long this run has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The bar goes, so that what is printed next stands clear.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
