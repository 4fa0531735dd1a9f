//! `shelfd status`: how the node is, at once. One try, two requests side by side, and no waiting.
//!
//! It prints whatever the node says of itself, known sections first, so that a new gauge is seen without a new command line.
//! Exit code 75 when the node answers but is not ready, for scripts that wait for it. Rejected: reading the process table
//! or the store, which says what is there and not how it is.

use serde_json::Value;

use super::Context;
use super::any::{self, brief};
use super::client::{Error, Patience, Query, path};
use super::exit::{Code, Failure};
use super::field::Field;
use super::out::{Out, Tone};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd status                        in a few lines
  shelfd status --tree                 with the supervision tree
  shelfd status --json                 everything, for a program
  until shelfd status >/dev/null; do sleep 0.2; done

Exit code 0 when ready, 75 when the node answers but is not ready, 69 when nobody answers.")]
pub struct Args {
    /// Show the supervision tree: each actor, its state and restarts
    #[arg(long)]
    pub tree: bool,
}

/// Asks once, and prints.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let api = context.api.clone().with_patience(Patience::NONE);
    let (status_path, ready_path, none) = (path(["v1", "status"]), path(["readyz"]), Query::new());
    let (status, ready) = tokio::join!(api.fetch(&status_path, &none), api.fetch(&ready_path, &none));
    let not_ready = match ready {
        Ok(_) => None,
        Err(error @ Error::Problem(_)) => Some(error.to_string()),
        Err(Error::Unexpected { status: 503, excerpt }) => Some(reason(&excerpt)),
        Err(error) => return Err(error.into()),
    };
    let answer = status?;
    if context.out.json {
        context.out.document(&answer)?;
    } else {
        for line in lines(&context.out, &answer.json()?, not_ready.as_deref(), args.tree) {
            context.out.line(line)?;
        }
    }
    if not_ready.is_some() {
        Err(Failure::silent(Code::TryAgain))
    } else {
        Ok(())
    }
}

/// Why a node is not ready: `{"status": "degraded", "reason": "…"}`.
fn reason(body: &str) -> String {
    let told: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let (status, reason) = (told.word("/status"), told.word("/reason"));
    if reason.is_empty() {
        body.to_owned()
    } else {
        format!("{status}: {reason}")
    }
}

/// Sections that stand first or are told in their own way.
const TOLD: [&str; 5] = ["node", "version", "state", "uptime_s", "actors"];

fn lines(out: &Out, status: &Value, not_ready: Option<&str>, tree: bool) -> Vec<String> {
    let state = status.word("/state");
    let tone = if not_ready.is_none() { Tone::Good } else { Tone::Bad };
    let mut first = format!(
        "{} is {}",
        name(status),
        out.paint(tone, if state.is_empty() { "up" } else { &state })
    );
    if status.has("/version") {
        first.push_str(&format!(", version {}", status.word("/version")));
    }
    if status.has("/uptime_s") {
        first.push_str(&format!(", up {}", duration(status.units("/uptime_s"))));
    }
    let mut lines = vec![first];
    lines.extend(not_ready.map(|why| out.paint(Tone::Bad, &format!("not ready: {why}"))));
    let mut tables = Vec::new();
    for (key, value) in status
        .members("")
        .into_iter()
        .filter(|(key, value)| !TOLD.contains(key) && !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
    {
        match value.as_array() {
            Some(items) if items.iter().any(Value::is_object) => tables.push((key, items.as_slice())),
            _ => lines.push(format!("{:<14} {}", key.replace('_', " "), section(value))),
        }
    }
    if let Some(actors) = status.get("actors").filter(|actors| !actors.is_null()) {
        let (count, restarts) = census(actors);
        lines.push(format!("{:<14} {count}, {restarts} restarted", "actors"));
        if tree {
            lines.push(String::new());
            branch(out, actors, "", "", &mut lines);
        }
    }
    for (key, items) in tables {
        lines.push(String::new());
        lines.push(out.paint(Tone::Strong, &key.replace('_', " ")));
        lines.extend(
            any::table(out, items, &["warehouse", "id", "name", "state", "skus", "awake"])
                .render()
                .lines()
                .map(str::to_owned),
        );
    }
    lines
}

fn name(status: &Value) -> String {
    let node = status.word("/node");
    if node.is_empty() {
        "the node".to_owned()
    } else {
        format!("node {node}")
    }
}

/// An object in one line, without the shortening that a table's cell needs.
fn section(value: &Value) -> String {
    match value.as_object() {
        Some(members) => {
            let parts = members
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), brief(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
        None => brief(value),
    }
}

/// `3d 4h`, `2h 5m`, `12 s`.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if seconds < 120 {
        format!("{seconds} s")
    } else if hours < 2 {
        format!("{minutes} min")
    } else if days < 2 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

fn children(actor: &Value) -> &[Value] {
    if let Some(list) = actor.as_array() {
        list
    } else {
        actor.list("/children")
    }
}

/// How many actors there are, and how often any of them was restarted.
fn census(actor: &Value) -> (u64, i64) {
    let own = if actor.is_array() {
        (0, 0)
    } else {
        (1, actor.units("/restarts"))
    };
    children(actor)
        .iter()
        .map(census)
        .fold(own, |sum, of| (sum.0 + of.0, sum.1.saturating_add(of.1)))
}

/// One actor and those below it.
fn branch(out: &Out, actor: &Value, lead: &str, below: &str, lines: &mut Vec<String>) {
    if !actor.is_array() {
        let about: Vec<String> = actor
            .members("")
            .into_iter()
            .filter(|(key, value)| !matches!(*key, "name" | "children") && !value.is_null())
            .map(|(key, value)| {
                if key == "state" {
                    brief(value)
                } else {
                    format!("{} {}", key.replace('_', " "), brief(value))
                }
            })
            .collect();
        let about = if about.is_empty() {
            String::new()
        } else {
            format!("  {}", out.paint(Tone::Dim, &about.join(", ")))
        };
        lines.push(format!("{lead}{}{about}", out.paint(Tone::Strong, &actor.word("/name"))));
    }
    let children = children(actor);
    for (index, child) in children.iter().enumerate() {
        let last = index + 1 == children.len();
        let (lead, next) = match (actor.is_array(), last) {
            (true, _) => (below.to_owned(), below.to_owned()),
            (false, true) => (format!("{below}└ "), format!("{below}  ")),
            (false, false) => (format!("{below}├ "), format!("{below}│ ")),
        };
        branch(out, child, &lead, &next, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({"node": "n1", "version": "0.1.0", "state": "ready", "uptime_s": 7500, "seq": 90211,
            "journal": {"commits": 12, "disk_bytes": 4096},
            "warehouses": [{"warehouse": "main", "skus": 3}],
            "actors": {"name": "root", "state": "up", "children": [
                {"name": "journal", "restarts": 0}, {"name": "warehouses", "children": [{"name": "main", "restarts": 2}]}]}})
    }

    #[test]
    fn the_state_of_a_node_is_told_in_a_few_lines() {
        let lines = lines(&Out::plain(), &sample(), None, false);
        assert_eq!(
            lines,
            [
                "node n1 is ready, version 0.1.0, up 2 h 5 min",
                "journal        commits 12, disk bytes 4096",
                "seq            90211",
                "actors         4, 2 restarted",
                "",
                "warehouses",
                "warehouse  skus",
                "main          3"
            ]
        );
    }

    #[test]
    fn the_tree_shows_who_stands_below_whom() {
        let lines = lines(&Out::plain(), &sample(), Some("starting"), true).join("\n");
        assert!(lines.contains("not ready: starting"), "{lines}");
        assert!(
            lines.contains("root  up\n├ journal  restarts 0\n└ warehouses\n  └ main  restarts 2"),
            "{lines}"
        );
    }

    #[test]
    fn a_node_that_says_little_is_no_error() {
        assert_eq!(lines(&Out::plain(), &json!({}), None, true), ["the node is up"]);
    }
}
