//! `shelfd events follow`: what changes, as it becomes true, until Ctrl-C.
//!
//! A broken connection is taken up again after the last change that was printed, so nothing is missed and nothing shown
//! twice. Rejected: polling the pages, which is either late or busy.

use std::time::Duration;

use serde_json::Value;

use crate::cli::client::sse::{Event, Stream};
use crate::cli::client::{Error, Query, path};
use crate::cli::exit::Failure;
use crate::cli::field::Field;
use crate::cli::out::{Out, Tone, note};
use crate::cli::stock::available;
use crate::cli::{Context, arg};

/// The pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd events follow                          everything, from now on
  shelfd events follow --sku milk -w msk-07
  shelfd events follow --since start            from the oldest fact that is kept
  shelfd events follow --json --since CURSOR    for a program; each line is a change
Ends with Ctrl-C.")]
pub struct Args {
    /// Where to begin: a cursor, `now`, or `start` for the oldest fact that is kept
    #[arg(long, value_name = "CURSOR", default_value = "now")]
    pub since: String,
    /// Only this warehouse
    #[arg(short, long, value_parser = arg::id)]
    pub warehouse: Option<String>,
    /// Only this SKU
    #[arg(long, value_parser = arg::id)]
    pub sku: Option<String>,
}

/// Prints changes until Ctrl-C.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    tokio::select! {
        ended = follow(&args, context) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(args: &Args, context: &Context) -> Result<(), Failure> {
    // `now` is made a cursor first, so that a connection that breaks before its first change misses nothing.
    let mut cursor = match args.since.as_str() {
        "start" => None,
        "now" => Some(newest(context).await?),
        cursor => Some(cursor.to_owned()),
    };
    // The first connection must succeed; later ones are tried until they do.
    let mut opened = false;
    loop {
        let pairs = [("since", &cursor), ("warehouse", &args.warehouse), ("sku", &args.sku)];
        let query: Query = pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        match context.api.stream(&path(["v1", "changes"]), &query).await {
            Ok(response) => {
                opened = true;
                match print_all(context, Stream::new(response), &mut cursor).await? {
                    Some(error) => note(format!("shelfd: {error}; connecting again")),
                    None => note("shelfd: the node closed the stream; connecting again"),
                }
            }
            Err(error) if opened && error.passes() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The cursor behind the newest change.
async fn newest(context: &Context) -> Result<String, Failure> {
    let query = vec![("since", "now".to_owned())];
    let page: Value = context.api.get(&path(["v1", "changes"]), &query).await?;
    Ok(page.word("/next"))
}

/// Prints the changes of one connection. Answers why it ended.
async fn print_all(context: &Context, mut stream: Stream, cursor: &mut Option<String>) -> Result<Option<Error>, Failure> {
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                if !event.id.is_empty() {
                    *cursor = Some(event.id.clone());
                }
                print(&context.out, &event)?;
            }
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

fn print(out: &Out, event: &Event) -> Result<(), Failure> {
    let Ok(change) = serde_json::from_str::<Value>(&event.data) else {
        return Ok(out.line(&event.data)?);
    };
    if out.json {
        out.line(event.data.replace('\n', " "))?
    } else {
        out.line(line(out, &change))?
    }
    Ok(out.flush()?)
}

/// One change on one line: `14:05:09  msk-07  sale  4607004892110  sellable 21  available 18`.
fn line(out: &Out, change: &Value) -> String {
    let time = ["/recorded_at", "/at", "/time"]
        .iter()
        .map(|pointer| change.when(pointer))
        .find(|time| !time.is_empty())
        .unwrap_or_default();
    let time = time.rsplit(' ').next().unwrap_or_default().to_owned();
    let what = ["/what", "/type", "/kind"]
        .iter()
        .map(|pointer| change.word(pointer))
        .find(|what| !what.is_empty())
        .unwrap_or_default();
    let what = what.trim_start_matches("inventory.");
    let mut line = format!(
        "{}  {}  {}",
        out.paint(Tone::Dim, &time),
        change.word("/warehouse"),
        out.paint(Tone::Strong, what)
    );
    if change.has("/sku") {
        line.push_str(&format!("  {}", change.word("/sku")));
    }
    if change.has("/reservation/id") {
        line.push_str(&format!(
            "  basket {} {}",
            change.word("/reservation/id"),
            change.word("/reservation/state")
        ));
    }
    if change.has("/accounts/sellable") {
        line.push_str(&format!("  sellable {}", change.word("/accounts/sellable")));
    }
    let available = available(change);
    if !available.is_empty() {
        line.push_str(&format!("  available {available}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_stands_on_one_line() {
        let change = json!({"warehouse": "msk-07", "sku": "milk", "what": "sale", "accounts": {"sellable": 21}, "available": {"default": 18}});
        assert_eq!(
            line(&Out::plain(), &change),
            "  msk-07  sale  milk  sellable 21  available 18"
        );
    }
}
