//! `shelfd events`: tell the node what happened, from a file or by hand, and watch what it decides.
//!
//! What lives here: `send` (a file of events), `one` (a person's shorthand for each type), `follow` (the stream of changes),
//! and `rows`/`verdicts`, which read files and answers. Rejected: one verb per event type at the top level, which would
//! bury the rest of the help.

use super::Context;
use super::exit::Failure;

mod follow;
mod one;
mod rows;
mod send;
mod verdicts;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Send a file of events: NDJSON, a JSON array, or one event
    Send(send::Args),
    /// Watch what changes, as it becomes true
    Follow(follow::Args),
    #[command(flatten)]
    One(Box<one::Verb>),
}

/// Runs one of the verbs.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.verb {
        Verb::Send(args) => send::run(args, context).await,
        Verb::Follow(args) => follow::run(args, context).await,
        Verb::One(verb) => one::run(*verb, context).await,
    }
}
