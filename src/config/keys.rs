//! Every configuration key on one page: unit, default, allowed range, and whether SIGHUP applies it.
//!
//! One table drives everything: defaults are taken from it, a file and the environment are judged against it,
//! `config.toml` is written from it, and `shelfd check` explains with it. The alternative, serde attributes on the structs,
//! keeps defaults, ranges and documents in three places that drift apart, and can report only the first mistake of a file.

use super::path::{KeyPath, pattern};

mod kafka;

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number in an inclusive range.
    Integer {
        /// The least allowed value.
        min: i64,
        /// The greatest allowed value.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// Any text; what it must look like is checked by its meaning.
    Text,
    /// One of a few words.
    Word(&'static [&'static str]),
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands: `http.listen`; `source[].name` in each `[[source]]`; `*` for a name that the operator chooses.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// The unit of its value, in words.
    pub unit: &'static str,
    /// The default as a TOML literal; `None` when it must be given.
    pub default: Option<&'static str>,
    /// Whether SIGHUP applies a change; otherwise it waits for the next start.
    pub reload: bool,
    /// What it does.
    pub about: &'static str,
}

impl Key {
    /// The environment variable that overrides it; `None` for keys of lists, which only a file can declare.
    pub fn env(&self) -> Option<String> {
        let single = !self.path.contains(['[', '*']);
        single.then(|| format!("{ENV_PREFIX}{}", self.path.to_uppercase().replace('.', "__")))
    }

    /// The key that a concrete path means.
    pub(super) fn find(path: &KeyPath) -> Option<&'static Key> {
        KEYS.iter().find(|key| path.matches(&pattern(key.path)))
    }

    /// The default as a value.
    pub(super) fn default_value(&self) -> Option<toml::Value> {
        let literal = self.default?;
        let mut table: toml::Table =
            toml::from_str(&format!("v = {literal}")).expect("every default is a TOML literal: a test reads them all");
        table.remove("v")
    }
}

/// What the environment variables that override keys begin with.
pub const ENV_PREFIX: &str = "SHELFD__";

const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn key(
    path: &'static str,
    kind: Kind,
    unit: &'static str,
    default: &'static str,
    reload: bool,
    about: &'static str,
) -> Key {
    Key {
        path,
        kind,
        unit,
        default: Some(default),
        reload,
        about,
    }
}

const fn required(path: &'static str, unit: &'static str, reload: bool, about: &'static str) -> Key {
    Key {
        path,
        kind: Kind::Text,
        unit,
        default: None,
        reload,
        about,
    }
}

const GIB: i64 = 1 << 30;
const DAY_MS: i64 = 86_400_000;
const YEAR_S: i64 = 366 * 86_400;

/// Every key, in the order of `config.toml`.
pub const KEYS: &[Key] = &[
    key(
        "node.data_dir",
        Kind::Text,
        "path",
        r#""/var/lib/shelfd""#,
        false,
        "Where the store lives: on a local disk, written by one node only.",
    ),
    key(
        "node.name",
        Kind::Text,
        "name",
        r#""shelfd""#,
        false,
        "The name of this node in status, logs and cursors.",
    ),
    key(
        "node.huge_pages",
        Kind::Boolean,
        "true/false",
        "false",
        false,
        "Take memory in pages of 2 MiB where the system offers them: less time for each event, about a tenth, and 25 MB or more that lie idle.",
    ),
    key(
        "http.listen",
        Kind::Text,
        "address:port",
        r#""127.0.0.1:7480""#,
        false,
        "Where the API is served. Loopback only: access rules do not exist yet, so whoever reaches it may do everything.",
    ),
    key(
        "http.max_body_bytes",
        int(1024, GIB),
        "bytes",
        "16_777_216",
        false,
        "The largest request body, as sent and after decompression; past it 413.",
    ),
    key(
        "http.max_rows",
        int(1, 1_000_000),
        "rows",
        "10_000",
        false,
        "The most events in one batch; past it 413.",
    ),
    key(
        "http.header_timeout_ms",
        int(10, DAY_MS),
        "milliseconds",
        "10_000",
        false,
        "How long the head of a request may take; past it the connection is closed.",
    ),
    key(
        "http.body_timeout_ms",
        int(10, DAY_MS),
        "milliseconds",
        "10_000",
        false,
        "How long the next piece of a body may take, and a sixth of what all of it may take; past it 408.",
    ),
    key(
        "http.idle_timeout_ms",
        int(10, DAY_MS),
        "milliseconds",
        "60_000",
        false,
        "How long a connection may stay open between two requests.",
    ),
    key(
        "http.max_connections",
        int(1, 1_000_000),
        "connections",
        "12_000",
        false,
        "The most connections at once; one more is told so (503) and closed.",
    ),
    key(
        "http.max_inflight_events",
        int(1, 100_000_000),
        "events",
        "200_000",
        false,
        "The valve at the door: the most events taken and not yet answered; past it 503 at once. At least `max_rows`.",
    ),
    key(
        "http.max_inflight_bytes",
        int(1024, 64 * GIB),
        "bytes",
        "67_108_864",
        false,
        "The same valve in bytes of request bodies. At least `max_body_bytes`.",
    ),
    key(
        "storage.cache_bytes",
        int(1 << 20, 256 * GIB),
        "bytes",
        "4_194_304",
        false,
        "The store's page cache. It takes up to twice that in memory, since a block of the allocator is larger than a page; the system's cache is behind it.",
    ),
    key(
        "storage.max_commit_bytes",
        int(64 << 10, GIB),
        "bytes",
        "8_388_608",
        false,
        "The most one commit writes; what arrives beyond it is the next commit.",
    ),
    key(
        "storage.snapshot_interval_s",
        int(1, 86_400),
        "seconds",
        "60",
        false,
        "How often what has changed is written as a snapshot, which bounds the time of the next start.",
    ),
    key(
        "storage.history_days",
        int(1, 36_500),
        "days",
        "400",
        false,
        "How long movements can be asked for; older ones are folded into an opening balance.",
    ),
    key(
        "storage.reserve_bytes",
        int(0, 1024 * GIB),
        "bytes",
        "67_108_864",
        false,
        "Free disk space below which the node takes nothing new (507), so that it can still write what it needs to stop well.",
    ),
    key(
        "stock.id_window_days",
        int(1, 366),
        "days",
        "7",
        false,
        "How long ids of events are remembered; an event older than this is refused, because nobody could know it.",
    ),
    key(
        "stock.book_hours",
        int(1, 744),
        "hours",
        "24",
        false,
        "How far back a count may look: each SKU can tell its book for this long.",
    ),
    key(
        "stock.max_ahead_s",
        int(0, 86_400),
        "seconds",
        "300",
        false,
        "How far ahead of the node's clock a business time may be.",
    ),
    key(
        "stock.max_skus",
        int(1, 100_000_000),
        "SKUs",
        "2_000_000",
        false,
        "The most SKUs of all warehouses together; past it a new one is refused.",
    ),
    key(
        "actors.idle_sleep_s",
        int(1, 86_400),
        "seconds",
        "60",
        false,
        "How long a SKU stays awake with nothing to do.",
    ),
    key(
        "actors.wake_rate_per_s",
        int(1, 1_000_000),
        "events a second",
        "20",
        false,
        "The steady rate of single events that wakes a SKU.",
    ),
    key(
        "actors.hand_over_rows",
        int(1, 1_000_000),
        "rows",
        "8",
        false,
        "From so many rows of an awake SKU in one batch its actor judges them; fewer are judged by the warehouse, with the copy that an actor with nothing to do lends. 1: its actor judges all.",
    ),
    key(
        "actors.copies_max",
        int(1, 10_000_000),
        "SKUs",
        "32_768",
        false,
        "The most SKUs of a warehouse whose states it keeps at hand (about 700 bytes each) when all about them is durable; past it the next event of one reads it anew.",
    ),
    key(
        "actors.awake_max",
        int(1, 10_000_000),
        "SKUs",
        "20_000",
        false,
        "The most SKUs awake at once (about 8 KB each); past it they are decided in place.",
    ),
    key(
        "audit.facts_per_s",
        int(0, 10_000_000),
        "facts a second",
        "20_000",
        false,
        "The most facts that the auditor folds anew in a second, against what the node answers; some four microseconds of one core each, so facts that come meanwhile are taken off, down to a tenth of it. 0: there is no auditor.",
    ),
    key(
        "audit.rest_s",
        int(0, 31_536_000),
        "seconds",
        "600",
        false,
        "How long the auditor rests after it has gone through the whole journal.",
    ),
    kafka::BROKERS,
    kafka::GROUP,
    kafka::SECURITY,
    kafka::SASL_MECHANISM,
    kafka::USERNAME,
    kafka::PASSWORD_FILE,
    kafka::CA_FILE,
    kafka::CERTIFICATE_FILE,
    kafka::KEY_FILE,
    kafka::IN_TOPIC,
    kafka::IN_CLASS,
    kafka::IN_SOURCE,
    kafka::IN_FORMAT,
    kafka::OUT_TOPIC,
    kafka::OUT_WHAT,
    kafka::OUT_MODE,
    kafka::OUT_COMPRESSION,
    kafka::OUT_HOLD_FACTS,
    key(
        "log.level",
        Kind::Text,
        "filter",
        r#""info""#,
        true,
        "off, error, warn, info, debug or trace; or a list such as \"info,shelfd::actors=debug\".",
    ),
    key(
        "log.format",
        Kind::Word(&["text", "json"]),
        "word",
        r#""text""#,
        false,
        "Lines for people, or one JSON object a line for programs.",
    ),
    required(
        "source[].name",
        "name",
        true,
        "The source: its exact name, or a beginning followed by `*`. The exact name wins, then the longest beginning.",
    ),
    key(
        "source[].strict",
        Kind::Boolean,
        "true/false",
        "false",
        true,
        "Refuse a physical report beyond the book, in place of finding the rest.",
    ),
    key(
        "source[].authoritative",
        Kind::Boolean,
        "true/false",
        "false",
        true,
        "Its snapshots look at the shelf and are taken as counts. Never for an ERP that computes.",
    ),
    key(
        "source[].keep_ids",
        Kind::Word(&["window", "forever"]),
        "word",
        r#""window""#,
        true,
        "How long its ids are remembered: for `stock.id_window_days`, or forever, which lets it send older events.",
    ),
    required(
        "warehouse[].id",
        "id",
        true,
        "The warehouse in paths and events: 1 to 128 bytes of printable text without `/`.",
    ),
    key(
        "warehouse[].name",
        Kind::Text,
        "text",
        r#""""#,
        true,
        "Its name for people; empty means its id.",
    ),
    required(
        "warehouse[].time_zone",
        "IANA time zone",
        false,
        "Decides when a day, and with it an expiry date, ends there.",
    ),
    key(
        "warehouse[].channels.*.buffer",
        int(0, 1_000_000_000_000),
        "base units",
        "0",
        true,
        "Units of each SKU that the channel never promises.",
    ),
    key(
        "warehouse[].channels.*.ttl_s",
        int(0, 10 * YEAR_S),
        "seconds",
        "900",
        true,
        "How long a basket is held when it does not say; 0 is for ever.",
    ),
    key(
        "warehouse[].channels.*.max_ttl_s",
        int(1, 10 * YEAR_S),
        "seconds",
        "86_400",
        true,
        "The longest that a basket may ask to be held.",
    ),
    key(
        "warehouse[].channels.*.allow_no_expiry",
        Kind::Boolean,
        "true/false",
        "false",
        true,
        "Whether a basket may be held for ever (`ttl_s` 0).",
    ),
];

/// What the embedded defaults declare beside single keys: used when a file has no `[[warehouse]]`, and, source by source, no rule of that name.
pub(super) const DECLARED: &str = r#"
[[source]]
name = "import*"
keep_ids = "forever"

[[source]]
name = "dead-letter*"
keep_ids = "forever"

[[warehouse]]
id = "main"
time_zone = "Europe/Moscow"

[warehouse.channels.default]

[warehouse.channels.web]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_literal_of_its_kind_and_range() {
        for key in KEYS {
            let Some(value) = key.default_value() else { continue };
            let fits = match (key.kind, &value) {
                (Kind::Integer { min, max }, toml::Value::Integer(n)) => (min..=max).contains(n),
                (Kind::Boolean, toml::Value::Boolean(_)) | (Kind::Text, toml::Value::String(_)) => true,
                (Kind::Word(words), toml::Value::String(word)) => words.contains(&word.as_str()),
                _ => false,
            };
            assert!(fits, "{}: {value}", key.path);
        }
    }

    #[test]
    fn only_single_keys_have_a_variable() {
        let find = |path| KEYS.iter().find(|k| k.path == path).unwrap();
        assert_eq!(
            find("http.max_body_bytes").env().as_deref(),
            Some("SHELFD__HTTP__MAX_BODY_BYTES")
        );
        assert_eq!(find("source[].strict").env(), None);
        assert_eq!(find("warehouse[].channels.*.buffer").env(), None);
    }
}
