//! `shelfd warehouses`: the sites, their zones and channels.
//!
//! A channel is told as `web:buffer=2,ttl_s=900`. Rejected: an own verb for each channel, since they are set together.

use serde_json::{Value, json};

use super::client::{Path, Query, path};
use super::exit::Failure;
use super::field::Field;
use super::list::{self, Column, Paging, left};
use super::out::Out;
use super::table::{Align, Sheet, text};
use super::{Context, arg, change};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the warehouses
    #[command(after_help = "Examples:\n  shelfd warehouses list")]
    List(Paging),
    /// Show one
    #[command(after_help = "Examples:\n  shelfd warehouses show msk-07")]
    Show {
        /// The warehouse
        #[arg(value_parser = arg::id)]
        warehouse: String,
    },
    /// Add a warehouse, or change what is named of it
    Put(Put),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd warehouses put msk-07 --name 'Тверская, 7' --time-zone Europe/Moscow
  shelfd warehouses put msk-07 --channel web:buffer=2,ttl_s=900,max_ttl_s=3600
  shelfd warehouses put msk-07 --channel till:allow_no_expiry=true")]
struct Put {
    /// The warehouse
    #[arg(value_parser = arg::id)]
    warehouse: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Its IANA time zone
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// A channel and what to set of it: NAME[:KEY=VALUE,…] with buffer, ttl_s, max_ttl_s, allow_no_expiry
    #[arg(long = "channel", value_name = "NAME[:KEY=VALUE,…]", value_parser = channel)]
    channels: Vec<Channel>,
}

#[derive(Clone, Debug, PartialEq)]
struct Channel {
    name: String,
    settings: Vec<(String, Value)>,
}

fn channel(word: &str) -> Result<Channel, String> {
    let (name, settings) = word.split_once(':').unwrap_or((word, ""));
    let settings = settings
        .split(',')
        .filter(|setting| !setting.is_empty())
        .map(setting)
        .collect::<Result<_, _>>()?;
    Ok(Channel {
        name: arg::id(name)?,
        settings,
    })
}

fn setting(word: &str) -> Result<(String, Value), String> {
    const EXPECTED: &str = "expected buffer=UNITS, ttl_s=SECONDS, max_ttl_s=SECONDS or allow_no_expiry=true|false";
    let (key, value) = word.split_once('=').ok_or(EXPECTED)?;
    let value = match key {
        "buffer" | "ttl_s" | "max_ttl_s" => value.parse::<u64>().ok().map(Value::from),
        "allow_no_expiry" => value.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    value
        .map(|value| (key.to_owned(), value))
        .ok_or_else(|| format!("'{word}': {EXPECTED}"))
}

fn one(warehouse: &str) -> Path {
    path(["v1", "warehouses", warehouse])
}

/// An answer may name the warehouse `warehouse` or `id`.
fn id(warehouse: &Value) -> String {
    ["/warehouse", "/id"]
        .iter()
        .map(|pointer| warehouse.word(pointer))
        .find(|id| !id.is_empty())
        .unwrap_or_default()
}

const COLUMNS: &[Column] = &[
    left("warehouse", |item| text(id(item))),
    left("name", |item| text(item.word("/name"))),
    left("time zone", |item| text(item.word("/time_zone"))),
    left("channels", |item| {
        text(
            item.members("/channels")
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", "),
        )
    }),
];

/// Runs one of the verbs.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.verb {
        Verb::List(paging) => {
            list::show(
                context,
                &path(["v1", "warehouses"]),
                &Query::new(),
                paging,
                COLUMNS,
                "no warehouse is declared",
            )
            .await
        }
        Verb::Show { warehouse } => show(&warehouse, context).await,
        Verb::Put(put) => self::put(put, context).await,
    }
}

async fn show(warehouse: &str, context: &Context) -> Result<(), Failure> {
    let answer = context.api.fetch(&one(warehouse), &Query::new()).await?;
    if context.out.json {
        Ok(context.out.document(&answer)?)
    } else {
        print(&context.out, warehouse, &answer.json()?)
    }
}

fn print(out: &Out, warehouse: &str, value: &Value) -> Result<(), Failure> {
    out.line(format!("{warehouse}: {}, {}", value.word("/name"), value.word("/time_zone")))?;
    let columns = [
        ("channel", Align::Left),
        ("buffer", Align::Right),
        ("holds for", Align::Right),
        ("at most", Align::Right),
        ("without end", Align::Left),
    ];
    let mut sheet = Sheet::new(out, &columns);
    for (name, channel) in value.members("/channels") {
        let seconds = |pointer: &str| text(format!("{} s", channel.word(pointer)));
        let endless = if channel["allow_no_expiry"] == true { "allowed" } else { "" };
        sheet.row([
            text(name),
            text(channel.word("/buffer")),
            seconds("/ttl_s"),
            seconds("/max_ttl_s"),
            text(endless),
        ]);
    }
    Ok(sheet.print(out)?)
}

async fn put(put: Put, context: &Context) -> Result<(), Failure> {
    let answer = change::put(context, &one(&put.warehouse), KEYS, |body| over(&put, body)).await?;
    if !context.out.json {
        return show(&put.warehouse, context).await;
    }
    Ok(context.out.document(&answer)?)
}

/// What can be set.
const KEYS: &[&str] = &["name", "time_zone", "channels"];

/// Puts what was named over what is known.
fn over(put: &Put, body: &mut Value) {
    if let Some(name) = &put.name {
        body["name"] = name.as_str().into();
    }
    if let Some(zone) = &put.time_zone {
        body["time_zone"] = zone.as_str().into();
    }
    for channel in &put.channels {
        let settings = &mut body["channels"][&channel.name];
        if settings.is_null() {
            *settings = json!({});
        }
        for (key, value) in &channel.settings {
            settings[key] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(channels: &[&str]) -> Put {
        let channels = channels.iter().map(|word| channel(word).expect("a channel")).collect();
        Put {
            warehouse: "w".into(),
            name: None,
            time_zone: Some("Europe/Moscow".into()),
            channels,
        }
    }

    #[test]
    fn what_is_not_named_stays_as_it_was() {
        let known = json!({"id": "w", "name": "N", "time_zone": "UTC", "channels": {"web": {"buffer": 1, "ttl_s": 60}}});
        let body = |put: &Put, known: &Value| {
            let mut body = change::kept(known, KEYS);
            over(put, &mut body);
            body
        };
        assert_eq!(
            body(&put(&["web:buffer=2", "till:allow_no_expiry=true", "plain"]), &known),
            json!({"name": "N", "time_zone": "Europe/Moscow", "channels": {"web": {"buffer": 2, "ttl_s": 60}, "till": {"allow_no_expiry": true}, "plain": {}}})
        );
        assert_eq!(body(&put(&[]), &Value::Null), json!({"time_zone": "Europe/Moscow"}));
    }

    #[test]
    fn a_channel_setting_that_nobody_knows_is_refused() {
        for word in [
            "web:buffers=2",
            "web:buffer",
            "web:buffer=-1",
            "web:allow_no_expiry=1",
            ":buffer=1",
            "",
        ] {
            assert!(channel(word).is_err(), "{word}");
        }
    }
}
