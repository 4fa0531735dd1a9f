//! `shelfd dead-letters`: events that killed their actor twice, kept with the error, to be replayed, discarded or restored.
//!
//! Several at once are named by their ids or by a filter over the list, and each is acted on by itself: one that fails does
//! not stop the others. Rejected: `discard` without a reason; somebody will ask.

use serde_json::{Value, json};

use super::client::{Query, path};
use super::exit::{Code, Failure};
use super::field::Field;
use super::list::{self, Paging};
use super::out::note;
use super::{Context, any};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what waits, grouped by what went wrong
    List(List),
    /// Try again
    #[command(after_help = "\
Examples:
  shelfd dead-letters replay 17
  shelfd dead-letters replay --matching wms/7          all that mention it")]
    Replay(Which),
    /// Put aside, with a reason
    #[command(after_help = "\
Examples:
  shelfd dead-letters discard 17 --reason 'test data'")]
    Discard(Discard),
    /// Take a discarded one back
    #[command(after_help = "\
Examples:
  shelfd dead-letters restore 17")]
    Restore(Which),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd dead-letters list
  shelfd dead-letters list --matching milk --json")]
struct List {
    /// Only those whose JSON contains this text
    #[arg(long, value_name = "TEXT")]
    matching: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = false)]
struct Which {
    /// Their ids
    #[arg(value_name = "ID", group = "which")]
    ids: Vec<String>,
    /// All whose JSON contains this text
    #[arg(long, value_name = "TEXT", group = "which")]
    matching: Option<String>,
    /// All
    #[arg(long, group = "which")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why
    #[arg(long)]
    reason: String,
}

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
    let first = [
        "id",
        "state",
        "at",
        "recorded_at",
        "warehouse",
        "sku",
        "source",
        "event",
        "code",
        "error",
        "count",
        "trace_id",
    ];
    let path = path(["v1", "dead-letters"]);
    let Some(text) = &list.matching else {
        return any::show(context, &path, &Query::new(), list.paging, &first, "no dead letters").await;
    };
    let found: Vec<(String, Value)> = matching(context, text).await?;
    let found: Vec<(String, Value)> = found
        .into_iter()
        .take(list.paging.rows(context.out.json).unwrap_or(usize::MAX))
        .collect();
    if context.out.json {
        for (raw, _) in &found {
            context.out.line(raw)?;
        }
    } else if found.is_empty() {
        note("no dead letter contains that");
    } else {
        let items: Vec<Value> = found.into_iter().map(|(_, item)| item).collect();
        any::table(&context.out, &items, &first).print(&context.out)?;
    }
    Ok(())
}

/// Every dead letter that contains a text, as it came and as it reads.
async fn matching(context: &Context, text: &str) -> Result<Vec<(String, Value)>, Failure> {
    let mut found = Vec::new();
    list::each(context, &path(["v1", "dead-letters"]), &Query::new(), None, |raw| {
        if raw.get().contains(text) {
            found.push((raw.get().to_owned(), list::value(raw)));
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn act(which: Which, verb: &str, body: &Value, context: &Context) -> Result<(), Failure> {
    let ids = if which.ids.is_empty() {
        matching(context, which.matching.as_deref().unwrap_or(""))
            .await?
            .iter()
            .flat_map(|(_, item)| ids_of(item))
            .collect()
    } else {
        which.ids
    };
    if ids.is_empty() {
        note("no dead letter matches");
    }
    let mut failed = 0;
    for id in &ids {
        match context.api.post(&path(["v1", "dead-letters", id, verb]), body).await {
            Ok(answer) if context.out.json => context.out.document(&answer)?,
            Ok(answer) => {
                let answer: Value = answer.json().unwrap_or(Value::Null);
                let outcome = ["/verdict", "/state"]
                    .iter()
                    .map(|pointer| answer.word(pointer))
                    .find(|word| !word.is_empty());
                context
                    .out
                    .line(format!("{id}: {}", outcome.unwrap_or_else(|| format!("{verb} done"))))?;
            }
            Err(error) if error.problem().is_some() && ids.len() > 1 => {
                note(format!("shelfd: {id}: {error}"));
                failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if failed == 0 {
        return Ok(());
    }
    note(format!("shelfd: {failed} of {} failed", ids.len()));
    Err(Failure::silent(Code::Data))
}

/// The ids of a listed item: its own, or those of a group.
fn ids_of(item: &Value) -> Vec<String> {
    let own = item.word("/id");
    if !own.is_empty() {
        return vec![own];
    }
    ["/ids", "/items", "/letters"]
        .iter()
        .flat_map(|pointer| item.list(pointer))
        .map(|entry| {
            if entry.is_object() {
                entry.word("/id")
            } else {
                entry.word("")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_single_and_grouped_items() {
        assert_eq!(ids_of(&json!({"id": 17})), ["17"]);
        assert_eq!(
            ids_of(&json!({"error": "e", "items": [{"id": "a"}, {"id": "b"}]})),
            ["a", "b"]
        );
        assert_eq!(ids_of(&json!({"ids": ["a"]})), ["a"]);
    }
}
