//! The command line: one file per verb, each speaking the node's HTTP API like anybody else.
//!
//! What lives here: the tree of verbs, the client, the output, the exit codes. A verb is an `Args` struct and a
//! `run(args, context)`; nothing here decides about stock. Rejected: verbs that open the store beside a running node, which
//! would be a second writer and a second opinion.

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use self::client::{Client, Patience};
use self::exit::Failure;
use self::out::{ColorChoice, Out};

pub mod any;
pub mod arg;
pub mod availability;
pub mod bench;
pub mod change;
pub mod check;
pub mod client;
pub mod completions;
pub mod dead_letters;
pub mod demo;
pub mod events;
pub mod exit;
pub mod field;
pub mod import;
pub mod ledger;
pub mod list;
pub mod man;
pub mod out;
pub mod reports;
pub mod reserve;
pub mod run;
pub mod scratch;
pub mod settings;
pub mod skus;
pub mod status;
pub mod stock;
pub mod table;
pub mod top;
pub mod verify;
pub mod warehouses;

/// The stock daemon of a darkstore, and the tools to ask it.
#[derive(Debug, Parser)]
#[command(name = "shelfd", version, arg_required_else_help = true, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    /// What every verb understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  shelfd demo                               a node with a live picture of a working darkstore
  shelfd stock 4607004892110                what is true now
  shelfd ledger 4607004892110               why it is so
  shelfd stock --flag count_due --json      for a program: one JSON object a line

Exit codes: 0 done, 64 usage, 65 data, 69 unavailable, 74 input/output, 75 try again, 78 configuration.";

/// What every verb understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    /// The node to ask
    #[arg(long, global = true, env = "SHELFD_URL", default_value = "http://127.0.0.1:7480", value_parser = arg::url, value_name = "URL")]
    pub url: String,
    /// The access token to show
    #[arg(long, global = true, env = "SHELFD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Print the API's JSON: one document, or one line for each item of a list
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    pub json: bool,
    /// When to colour: auto, always or never
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN", hide_possible_values = true)]
    pub color: ColorChoice,
}

/// The verbs, in the order of the help.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The daemon
    Run(run::Args),
    /// A node with a throw-away store, fed with a live picture of a working darkstore
    Demo(demo::Args),
    /// What is true now, or was at a time: one SKU, some, or all
    Stock(stock::Args),
    /// Why the balance is what it is, line by line
    Ledger(ledger::Args),
    /// What a channel may still promise of some SKUs
    Availability(availability::Args),
    /// Hold, confirm, cancel, extend and list baskets
    Reserve(reserve::Args),
    /// Tell the node what happened, from a file or by hand; watch what changes
    Events(events::Args),
    /// The warehouses, their zones and channels
    Warehouses(warehouses::Args),
    /// The catalogue
    Skus(skus::Args),
    /// Promises that no longer fit
    AtRisk(reports::AtRisk),
    /// What was ignored, and why
    Ignored(reports::Ignored),
    /// Where node, ERP and WMS disagree
    Drift(reports::Drift),
    /// Each source's numbered streams, and their gaps
    Streams(reports::Streams),
    /// Events that could not be taken: list, replay, discard, restore
    DeadLetters(dead_letters::Args),
    /// Configuration and environment: what is wrong, where, and what to do about it
    Check(check::Args),
    /// A live view: rates, latencies, warehouses, newest facts, what to count
    Top(top::Args),
    /// How the node is: health, actors, lag, journal, disk
    Status(status::Args),
    /// Read a table of movements (CSV) into the node: resumable, and never twice
    Import(import::Args),
    /// Drive a node and print throughput and percentiles
    Bench(Box<bench::Args>),
    /// Check a stopped node's store: every checksum, sequence and invariant
    Verify(verify::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Print the manual page, or write one for each verb into a directory
    Man(man::Args),
}

/// What a verb works with.
#[derive(Debug)]
pub struct Context {
    /// The node.
    pub api: Client,
    /// Where the answer goes.
    pub out: Out,
}

impl Context {
    /// The client and output that the global options describe.
    pub fn new(global: &Global) -> Result<Context, Failure> {
        let api = Client::new(&global.url, global.token.as_deref())?.with_patience(Patience::SHORT);
        Ok(Context {
            api,
            out: Out::stdout(global.json, global.color),
        })
    }
}

impl Cli {
    /// How many worker threads the verb wants: a node's are for what is behind its door alone, since connections have threads of their
    /// own (ADR 21).
    pub fn workers(&self) -> usize {
        match self.verb {
            Verb::Run(_) => 1,
            _ => 2,
        }
    }
}

/// The tree of verbs, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one verb to its end.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(&cli.global)?;
    match cli.verb {
        Verb::Run(args) => run::run(args, &context).await,
        Verb::Demo(args) => demo::run(args, &context).await,
        Verb::Stock(args) => stock::run(args, &context).await,
        Verb::Ledger(args) => ledger::run(args, &context).await,
        Verb::Availability(args) => availability::run(args, &context).await,
        Verb::Reserve(args) => reserve::run(args, &context).await,
        Verb::Events(args) => events::run(args, &context).await,
        Verb::Warehouses(args) => warehouses::run(args, &context).await,
        Verb::Skus(args) => skus::run(args, &context).await,
        Verb::AtRisk(args) => reports::at_risk(args, &context).await,
        Verb::Ignored(args) => reports::ignored(args, &context).await,
        Verb::Drift(args) => reports::drift(args, &context).await,
        Verb::Streams(args) => reports::streams(args, &context).await,
        Verb::DeadLetters(args) => dead_letters::run(args, &context).await,
        Verb::Check(args) => check::run(args, &context).await,
        Verb::Top(args) => top::run(args, &context).await,
        Verb::Verify(args) => verify::run(args, &context).await,
        Verb::Status(args) => status::run(args, &context).await,
        Verb::Import(args) => import::run(args, &context).await,
        Verb::Bench(args) => bench::run(*args, &context).await,
        Verb::Completions(args) => completions::run(&args, &context),
        Verb::Man(args) => man::run(&args, &context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_verbs_is_sound() {
        command().debug_assert();
    }

    /// Walks the tree: every verb that does something has an example in its help.
    #[test]
    fn every_verb_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
                let path = format!("{path} {}", verb.get_name());
                if verb.has_subcommands() {
                    walk(verb, &path);
                } else {
                    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(
                        help.contains("Example") && help.contains(&path),
                        "`{path}` has no example of itself in its help"
                    );
                }
            }
        }
        walk(&command(), "shelfd");
    }
}
