//! `[kafka]`, and what its keys must say together.
//!
//! A topic that is both taken from and published to would feed the node its own output, and a password without a name proves
//! nothing: both are refused here, before a broker is asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::path::KeyPath;
use super::read::Values;

/// How the broker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// In the clear.
    Plaintext,
    /// Over TLS.
    Ssl,
    /// With a password, in the clear.
    SaslPlaintext,
    /// With a password, over TLS.
    SaslSsl,
}

/// Who waits for whom when there is much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Tills and orders.
    Light,
    /// Imports.
    Heavy,
}

/// What the messages of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// CloudEvents as JSON.
    Cloudevents,
}

/// What is published on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// Every change of a SKU.
    Updated,
    /// The latest of each SKU.
    Availability,
    /// Every change of a basket.
    Reservations,
    /// What other systems believe.
    Drift,
    /// What could not be taken.
    DeadLetters,
}

/// Where the attributes of an event stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In headers.
    Binary,
    /// In the body.
    Structured,
}

/// `[kafka]`: the broker, and what goes both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Where it is; empty: there is none.
    pub brokers: String,
    /// The consumer group's beginning.
    pub group: String,
    /// How it is spoken to.
    pub security: Security,
    /// How the password is proven.
    pub sasl_mechanism: String,
    /// Who the node is.
    pub username: String,
    /// Where its password is.
    pub password_file: String,
    /// Authorities.
    pub ca_file: String,
    /// The node's certificate.
    pub certificate_file: String,
    /// Its key.
    pub key_file: String,
    /// Every `[[kafka.in]]`.
    #[serde(default)]
    pub r#in: Vec<KafkaIn>,
    /// Every `[[kafka.out]]`.
    #[serde(default)]
    pub out: Vec<KafkaOut>,
}

/// One `[[kafka.in]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaIn {
    /// The topic.
    pub topic: String,
    /// Whom it waits for.
    pub class: Class,
    /// Under which source its dead letters are told.
    pub source: String,
    /// What its messages are.
    pub format: Format,
}

/// One `[[kafka.out]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaOut {
    /// The topic.
    pub topic: String,
    /// What is published.
    pub what: Published,
    /// How.
    pub mode: Mode,
    /// How batches are compressed.
    pub compression: String,
    /// How many facts behind it still holds the journal.
    pub hold_facts: u64,
}

/// Judges what the keys say together.
pub(super) fn check(values: &mut Values) {
    let root = KeyPath::default().name("kafka");
    let text = |values: &Values, name: &str| values.text(&root.name(name)).unwrap_or_default().to_owned();
    let brokers = text(values, "brokers");
    for one in brokers.split(',').map(str::trim).filter(|_| !brokers.trim().is_empty()) {
        let port = one
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            values.complain(
                &root.name("brokers"),
                format!("`kafka.brokers` has \"{one}\", which is not a host and a port"),
                "for instance: brokers = \"kafka-1:9092,kafka-2:9092\"",
            );
        }
    }
    if text(values, "security").starts_with("sasl") {
        for (name, what) in [
            ("username", "who the node is"),
            ("password_file", "the file with its password"),
        ] {
            if text(values, name).is_empty() {
                let help = format!("`kafka.security` asks for a password: say {what}");
                values.complain(&root.name(name), format!("`kafka.{name}` is empty"), help);
            }
        }
    }
    if text(values, "certificate_file").is_empty() != text(values, "key_file").is_empty() {
        values.complain(
            &root.name("certificate_file"),
            "`kafka.certificate_file` and `kafka.key_file` belong together",
            "give both, or none",
        );
    }
    topics(values, &root, brokers.trim().is_empty());
}

fn topics(values: &mut Values, root: &KeyPath, no_brokers: bool) {
    let mut seen = BTreeSet::new();
    for list in ["in", "out"] {
        let list = root.name(list);
        for index in 0..values.count_at(&list) {
            let path = list.index(index).name("topic");
            let Some(topic) = values.text(&path).map(str::to_owned) else {
                continue;
            };
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || topic == "." || topic == ".." {
                values.complain(
                    &path,
                    format!("`{path}` is \"{}\", which no topic can be called", topic.escape_debug()),
                    "1 to 249 letters, digits, `.`, `_` and `-`",
                );
            }
            if no_brokers {
                values.complain(
                    &path,
                    format!("`{path}` is \"{topic}\", and `kafka.brokers` is empty"),
                    "say where the broker is: brokers = \"127.0.0.1:9092\"",
                );
            }
            if !seen.insert(topic.clone()) {
                values.complain(
                    &path,
                    format!("the topic \"{topic}\" is named twice under [kafka]"),
                    "one topic, one way: the node would take its own output for input",
                );
            }
        }
    }
}
