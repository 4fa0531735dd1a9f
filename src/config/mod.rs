//! The configuration: embedded defaults, a TOML file, `SHELFD__SECTION__KEY` variables and flags, each over the one before.
//!
//! A leaf of the house: it knows no other module, and its words are converted into the domain's by the composition root. A missing
//! file means the defaults; anything that is not understood is refused, never ignored, with its place and what to do. A crate that
//! merges layers for us (figment, config) was rejected: a mistake loses its line and column there, and a typo its did-you-mean.
//!
//! Two rules of merging: a file that declares any `[[warehouse]]` replaces the embedded `main`; each `[[source]]` stands beside the
//! embedded rules, and replaces one of the same name. A warehouse without a channel `default` gets one; one that declares no
//! channels at all gets `default` and `web`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use serde::{Deserialize, Serialize};

mod check;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kafka;
mod keys;
mod path;
mod problem;
mod read;
mod reload;
#[cfg(test)]
mod tests;

pub use kafka::{Class, Format, Kafka, KafkaIn, KafkaOut, Mode, Published, Security};
pub use keys::{ENV_PREFIX, KEYS, Key, Kind};
pub use problem::{Invalid, Problem};
pub use reload::{Change, ReloadDiff};

use path::{KeyPath, Step};
use problem::Origin;
use read::Values;

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[http]`
    pub http: Http,
    /// `[storage]`
    pub storage: Storage,
    /// `[stock]`
    pub stock: Stock,
    /// `[actors]`
    pub actors: Actors,
    /// `[audit]`
    pub audit: Audit,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[log]`
    pub log: Log,
    /// Every `[[source]]`.
    #[serde(default)]
    pub source: Vec<Source>,
    /// Every `[[warehouse]]`.
    #[serde(default)]
    pub warehouse: Vec<Warehouse>,
}

/// `[node]`: who this node is. Units and meaning of every key below stand in [`KEYS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where the store lives.
    pub data_dir: PathBuf,
    /// The node's name in status, logs and cursors.
    pub name: String,
    /// Whether memory may be taken in huge pages.
    pub huge_pages: bool,
}

/// `[http]`: the door and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where the API is served; loopback only.
    pub listen: SocketAddr,
    /// The largest body, in bytes.
    pub max_body_bytes: u64,
    /// The most events in a batch.
    pub max_rows: u32,
    /// For the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// For the next piece of a body, in milliseconds.
    pub body_timeout_ms: u64,
    /// For the next request on a connection, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The most connections at once.
    pub max_connections: u32,
    /// The most events taken and not yet answered.
    pub max_inflight_events: u32,
    /// The most bytes of bodies taken and not yet answered.
    pub max_inflight_bytes: u64,
}

/// `[storage]`: the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Page cache, in bytes.
    pub cache_bytes: u64,
    /// The most one commit writes, in bytes.
    pub max_commit_bytes: u64,
    /// Between two snapshots, in seconds.
    pub snapshot_interval_s: u64,
    /// How long movements can be asked for, in days.
    pub history_days: u32,
    /// Free space below which nothing new is taken, in bytes.
    pub reserve_bytes: u64,
}

/// `[stock]`: rules of the domain that may be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stock {
    /// How long ids are remembered, in days.
    pub id_window_days: u32,
    /// How far back a count may look, in hours.
    pub book_hours: u32,
    /// How far ahead of the clock a business time may be, in seconds.
    pub max_ahead_s: u32,
    /// The most SKUs of all warehouses together.
    pub max_skus: u32,
}

/// `[actors]`: when a SKU has an actor of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actors {
    /// Awake with nothing to do for this long, it sleeps; in seconds.
    pub idle_sleep_s: u64,
    /// Single events a second that wake a SKU.
    pub wake_rate_per_s: u32,
    /// Rows of an awake SKU in one batch from which its actor judges them, and not its warehouse.
    pub hand_over_rows: u32,
    /// The most SKUs of a warehouse whose states it keeps at hand though they are at rest.
    pub copies_max: u32,
    /// The most SKUs awake at once.
    pub awake_max: u32,
}

/// `[audit]`: the auditor in the running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The most facts it folds in a second; 0: there is none.
    pub facts_per_s: u32,
    /// Its rest after each round, in seconds.
    pub rest_s: u32,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A filter, such as `info,shelfd::actors=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One `[[source]]`: how a system that reports is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// An exact name, or a beginning followed by `*`.
    pub name: String,
    /// Refuse physical reports beyond the book.
    pub strict: bool,
    /// Its snapshots are counts.
    pub authoritative: bool,
    /// How long its ids are remembered.
    pub keep_ids: KeepIds,
}

/// How long the ids of a source are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepIds {
    /// For `stock.id_window_days`.
    Window,
    /// For ever: it may send events of any age.
    Forever,
}

/// One `[[warehouse]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warehouse {
    /// Its id in paths and events.
    pub id: String,
    /// Its name for people; empty means its id.
    pub name: String,
    /// The IANA time zone in which its days end.
    pub time_zone: String,
    /// By name; `default` is always among them.
    #[serde(default)]
    pub channels: BTreeMap<String, Channel>,
}

/// `[warehouse.channels.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Units of each SKU that the channel never promises, in base units.
    pub buffer: u64,
    /// How long a basket is held when it does not say, in seconds; 0 is for ever.
    pub ttl_s: u64,
    /// The longest a basket may ask for, in seconds.
    pub max_ttl_s: u64,
    /// Whether a basket may be held for ever.
    pub allow_no_expiry: bool,
}

/// Where a configuration is taken from, layer by layer.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    file: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    flags: Vec<(&'static str, &'static str, String)>,
}

impl Layers {
    /// The embedded defaults alone.
    pub fn defaults() -> Layers {
        Layers::default()
    }

    /// Over them, a file (none: no layer).
    #[must_use]
    pub fn file(mut self, path: Option<&Path>) -> Layers {
        self.file = path.map(Path::to_owned);
        self
    }

    /// Over that, variables, usually `std::env::vars_os()`; those that do not begin with [`ENV_PREFIX`] are somebody else's.
    #[must_use]
    pub fn env(mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Layers {
        self.env = vars.into_iter().collect();
        self
    }

    /// On top, a flag of the command line that sets a key: `("--listen", "http.listen", "127.0.0.1:0")`. `None` sets nothing.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, key: &'static str, value: Option<String>) -> Layers {
        self.flags.extend(value.map(|value| (flag, key, value)));
        self
    }

    /// Lays them over one another, and checks the result. Every mistake is told at once.
    pub fn load(&self) -> Result<Config, Invalid> {
        let values = match &self.file {
            Some(path) => read_file(path)?,
            None => Values::default(),
        };
        self.over(values)
    }

    /// The layers above the file, over what the file says.
    fn over(&self, mut values: Values) -> Result<Config, Invalid> {
        values.lay_env(self.env.iter().cloned());
        for (flag, key, text) in &self.flags {
            let key = KEYS
                .iter()
                .find(|known| known.path == *key)
                .expect("flags name keys of the table: a test sets each");
            values.lay_text(key, text, Origin::Flag((*flag).to_owned()));
        }
        lay_declared(&mut values);
        values.fill_defaults();
        check::check(&mut values);
        if values.problems.is_empty() {
            build(values)
        } else {
            Err(Invalid::new(values.problems))
        }
    }
}

impl Config {
    /// The configuration of this process: defaults, the file when there is one, and the process's environment.
    pub fn load(path: Option<&Path>) -> Result<Config, Invalid> {
        Layers::defaults().file(path).env(std::env::vars_os()).load()
    }

    /// The rule for a source: its exact name, else the longest beginning, else not strict, not authoritative, ids for the window.
    pub fn source_rule(&self, name: &str) -> Source {
        let fits = |rule: &&Source| match rule.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => rule.name == name,
        };
        let rank = |rule: &&Source| (!rule.name.ends_with('*'), rule.name.len());
        let plain = || Source {
            name: name.to_owned(),
            strict: false,
            authoritative: false,
            keep_ids: KeepIds::Window,
        };
        self.source
            .iter()
            .filter(fits)
            .max_by_key(rank)
            .cloned()
            .unwrap_or_else(plain)
    }

    /// What is in force as TOML, for `shelfd check` and logs.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

impl Default for Config {
    fn default() -> Config {
        Layers::defaults()
            .load()
            .expect("the embedded defaults are valid: a test loads them")
    }
}

fn read_file(path: &Path) -> Result<Values, Invalid> {
    let name = path.display().to_string();
    let fail = |what: String, help: &str| Invalid::new(vec![Problem::new(&Origin::Default, what, help)]);
    let bytes = std::fs::read(path).map_err(|error| {
        fail(
            format!("cannot read the configuration file {name}: {error}"),
            "name an existing file, or leave --config out to run on the embedded defaults",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        fail(format!("{name}:{line}: this line is not UTF-8"), "save the file as UTF-8")
    })?;
    let source = Arc::new(NamedSource::new(name, text.clone()).with_language("toml"));
    Ok(Values::read_toml(&text, Some(&source)))
}

/// Adds what the embedded defaults declare in lists, by the two rules of merging.
fn lay_declared(values: &mut Values) {
    let declared = Values::read_toml(keys::DECLARED, None);
    let own: Vec<String> = (0..values.count("source"))
        .filter_map(|index| {
            values
                .text(&KeyPath::default().name("source").index(index).name("name"))
                .map(str::to_owned)
        })
        .collect();
    values.append("source", &declared, |element, from| {
        from.text(&element.name("name"))
            .is_some_and(|name| !own.iter().any(|o| o == name))
    });
    if values.count("warehouse") == 0 {
        values.append("warehouse", &declared, |_, _| true);
    }
    for index in 0..values.count("warehouse") {
        let channels = KeyPath::default().name("warehouse").index(index).name("channels");
        if values.names(&channels).is_empty() {
            values.declare(channels.name("web"));
        }
        values.declare(channels.name("default"));
    }
}

/// Builds the structs. The key table has judged every value, so a failure here is a disagreement between table and structs.
fn build(values: Values) -> Result<Config, Invalid> {
    let mut root = toml::Value::Table(toml::Table::new());
    for (path, (value, _)) in &values.leaves {
        insert(&mut root, &path.0, value.clone());
    }
    serde_path_to_error::deserialize(root).map_err(|error| {
        let place = error.path().to_string();
        let origin = values
            .leaves
            .iter()
            .find(|(path, _)| path.to_string() == place)
            .map_or(Origin::Default, |(_, (_, origin))| origin.clone());
        Invalid::new(vec![Problem::new(
            &origin,
            format!("`{place}`: {}", error.inner()),
            "config.toml says what each key may hold",
        )])
    })
}

fn insert(node: &mut toml::Value, steps: &[Step], leaf: toml::Value) {
    let Some((first, rest)) = steps.split_first() else {
        *node = leaf;
        return;
    };
    let empty = || {
        if matches!(rest.first(), Some(Step::Index(_))) {
            toml::Value::Array(Vec::new())
        } else {
            toml::Value::Table(toml::Table::new())
        }
    };
    match (first, node) {
        (Step::Name(name), toml::Value::Table(table)) => insert(table.entry(name.clone()).or_insert_with(empty), rest, leaf),
        (Step::Index(index), toml::Value::Array(items)) => {
            while items.len() <= *index {
                items.push(toml::Value::Table(toml::Table::new()));
            }
            insert(&mut items[*index], rest, leaf);
        }
        _ => {}
    }
}
