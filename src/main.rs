//! The binary: reads the command line, builds the runtime, runs one verb, and turns its end into an exit code. Everything
//! else is the library's, so that tests reach it without a process.
//!
//! Rejected: `#[tokio::main]`. It decides the number of threads before the command line has been read, and would start a
//! pool of threads for `shelfd --help`.

use std::process::ExitCode;

use clap::Parser;
use shelfd::cli::{self, Cli, exit};

/// Many small, short-lived allocations on several threads: mimalloc holds its memory better than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = exit::of_clap(&error);
            // Nobody is left to tell when even the message cannot be written.
            let _ = error.print();
            return code.into();
        }
    };
    let json = cli.global.json;
    let ended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.workers())
        .enable_all()
        .build()
        .map_err(exit::Failure::from)
        .and_then(|runtime| runtime.block_on(cli::run(cli)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
