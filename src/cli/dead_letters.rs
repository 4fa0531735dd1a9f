//! `shelfd dead-letters`: events that killed their actor twice, kept with the error, to be replayed, discarded or restored.
//!
//! Several at once are named by their ids, or by a filter that the node applies; each is acted on by itself, and one that
//! fails does not stop the others. Rejected: `discard` without a reason; somebody will ask.

use serde_json::{Value, json};

use super::client::{Query, path};
use super::exit::{Code, Failure};
use super::field::Field;
use super::list::{self, Column, Paging, left, right};
use super::out::{Out, Tone, note};
use super::table::{text, toned};
use super::{Context, any, arg};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List them, newest first, or by what went wrong
    List(List),
    /// Try again
    #[command(after_help = "\
Examples:
  shelfd dead-letters replay 17 18
  shelfd dead-letters replay --all --sku milk")]
    Replay(Which),
    /// Put aside, with a reason
    #[command(after_help = "\
Examples:
  shelfd dead-letters discard 17 --reason 'test data'
  shelfd dead-letters discard --all --cause 'overflow' --reason 'sender mended'")]
    Discard(Discard),
    /// Take a discarded one back
    #[command(after_help = "\
Examples:
  shelfd dead-letters restore 17")]
    Restore(Which),
}

/// Which of them.
#[derive(Debug, Default, clap::Args)]
struct Filter {
    /// Only of this warehouse
    #[arg(short, long, value_parser = arg::id)]
    warehouse: Option<String>,
    /// Only of this SKU
    #[arg(long, value_parser = arg::id)]
    sku: Option<String>,
    /// Only those that ended with exactly this error
    #[arg(long)]
    cause: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = ["open", "replayed", "discarded"])]
    state: Option<String>,
}

impl Filter {
    fn query(&self) -> Query {
        let pairs = [
            ("warehouse", &self.warehouse),
            ("sku", &self.sku),
            ("cause", &self.cause),
            ("state", &self.state),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    fn is_set(&self) -> bool {
        !self.query().is_empty()
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd dead-letters list --state open
  shelfd dead-letters list --by-cause
  shelfd dead-letters list --sku milk --json")]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// One line for each error, with how many ended by it
    #[arg(long)]
    by_cause: bool,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Their ids; or --all
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// All that the filter lets through: the open ones, and for restore the discarded
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why
    #[arg(long)]
    reason: String,
}

const COLUMNS: &[Column] = &[
    right("id", |letter| text(letter.word("/id"))),
    left("state", |letter| {
        toned(
            letter.word("/state"),
            if letter["state"] == "open" { Tone::Bad } else { Tone::Dim },
        )
    }),
    left("recorded", |letter| text(letter.when("/recorded_at"))),
    left("warehouse", |letter| text(letter.word("/warehouse"))),
    left("SKU", |letter| text(letter.word("/sku"))),
    left("event", |letter| {
        text(if letter.has("/command/command") {
            letter.word("/command/command")
        } else {
            letter.word("/event/type").trim_start_matches("inventory.").to_owned()
        })
    }),
    left("source", |letter| {
        text(if letter.has("/message/topic") {
            let place = ["/message/topic", "/message/partition", "/message/offset"].map(|name| letter.word(name));
            place.join("/")
        } else {
            letter.word("/event/source")
        })
    }),
    left("reservation", |letter| text(letter.word("/reservation"))),
    left("error", |letter| text(letter.word("/error"))),
    left("trace", |letter| toned(letter.word("/trace_id"), Tone::Dim)),
];

/// Runs one of the verbs.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.verb {
        Verb::List(list) => show(list, context).await,
        Verb::Replay(which) => act(which, "replay", &json!({}), context).await,
        Verb::Discard(discard) => act(discard.which, "discard", &json!({"reason": discard.reason}), context).await,
        Verb::Restore(which) => act(which, "restore", &json!({}), context).await,
    }
}

async fn show(list: List, context: &Context) -> Result<(), Failure> {
    let path = path(["v1", "dead-letters"]);
    let mut query = list.filter.query();
    if list.by_cause {
        query.push(("group", "cause".to_owned()));
        return any::show(
            context,
            &path,
            &query,
            list.paging,
            &["count", "cause", "oldest", "newest"],
            "no dead letters",
        )
        .await;
    }
    list::show(context, &path, &query, list.paging, COLUMNS, "no dead letters").await
}

async fn act(which: Which, verb: &str, body: &Value, context: &Context) -> Result<(), Failure> {
    if !which.all && which.filter.is_set() {
        return Err(Failure::usage("a filter goes with --all, not with ids"));
    }
    let mut outcome = Outcome::default();
    if which.all {
        let path = path(["v1", "dead-letters", verb]);
        loop {
            let answer: Value = context.api.post_query(&path, &which.filter.query(), body).await?.json()?;
            let items = answer.list("/items");
            let failed_before = outcome.failed;
            for item in items {
                outcome.take(&context.out, item, verb)?;
            }
            // A round in which nothing succeeded would be repeated for ever.
            let progressed = (outcome.failed - failed_before) < items.len();
            if answer["more"] != true || !progressed {
                break;
            }
        }
    }
    for id in &which.ids {
        let id = id.to_string();
        match context.api.post(&path(["v1", "dead-letters", &id, verb]), body).await {
            Ok(answer) => outcome.take(&context.out, &answer.json()?, verb)?,
            Err(error) if error.problem().is_some() && which.ids.len() > 1 => {
                note(format!("shelfd: {id}: {error}"));
                outcome.all += 1;
                outcome.failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    outcome.end()
}

/// What came of all of them.
#[derive(Debug, Default)]
struct Outcome {
    all: usize,
    failed: usize,
}

impl Outcome {
    fn take(&mut self, out: &Out, item: &Value, verb: &str) -> Result<(), Failure> {
        self.all += 1;
        let failed = item.has("/problem") || matches!(item.word("/verdict").as_str(), "refused" | "dead_letter");
        self.failed += usize::from(failed);
        if out.json {
            return Ok(out.value(item)?);
        }
        let words = ["/problem/detail", "/error", "/verdict", "/state"]
            .iter()
            .map(|pointer| item.word(pointer));
        let outcome = words
            .into_iter()
            .find(|word| !word.is_empty())
            .unwrap_or_else(|| format!("{verb} done"));
        let tone = if failed { Tone::Bad } else { Tone::Good };
        Ok(out.line(format!("{}: {}", item.word("/id"), out.paint(tone, &outcome)))?)
    }

    fn end(&self) -> Result<(), Failure> {
        if self.all == 0 {
            note("no dead letter matches");
        }
        if self.failed == 0 {
            return Ok(());
        }
        note(format!("shelfd: {} of {} failed", self.failed, self.all));
        Err(Failure::silent(Code::Data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_ends_badly_again_counts_as_failed() {
        let mut outcome = Outcome::default();
        let mut out = Out::plain();
        out.json = false;
        outcome
            .take(&out, &json!({"id": 17, "verdict": "applied"}), "replay")
            .unwrap();
        assert!(outcome.end().is_ok());
        outcome
            .take(&out, &json!({"id": 18, "verdict": "dead_letter"}), "replay")
            .unwrap();
        outcome
            .take(&out, &json!({"id": 19, "problem": {"detail": "d"}}), "replay")
            .unwrap();
        assert_eq!((outcome.all, outcome.failed), (3, 2));
        assert_eq!(outcome.end().map_err(|failure| failure.code), Err(Code::Data));
    }
}
