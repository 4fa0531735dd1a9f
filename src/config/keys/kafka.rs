//! The keys of `[kafka]`, a page of their own, so that the page of all keys stays one page.
//!
//! Secrets are named by their files and never written into the configuration, which is shown by `shelfd check --show`.

use super::{Key, Kind, int, key, required};

pub(super) const BROKERS: Key = key(
    "kafka.brokers",
    Kind::Text,
    "host:port, …",
    r#""""#,
    false,
    "Where the node finds Kafka; empty: it speaks to none. The node starts and sells without it, and catches up.",
);
pub(super) const GROUP: Key = key(
    "kafka.group",
    Kind::Text,
    "name",
    r#""shelfd""#,
    false,
    "The consumer group: `.light` and `.heavy` are added to it. The node's own journal knows its place; the group is for lag tools.",
);
pub(super) const SECURITY: Key = key(
    "kafka.security",
    Kind::Word(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
    "word",
    r#""plaintext""#,
    false,
    "How the broker is spoken to: `sasl_…` with a name and a password, `…ssl` over TLS.",
);
pub(super) const SASL_MECHANISM: Key = key(
    "kafka.sasl_mechanism",
    Kind::Word(&["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]),
    "word",
    r#""SCRAM-SHA-512""#,
    false,
    "How the password is proven. PLAIN sends it as it is: only over TLS.",
);
pub(super) const USERNAME: Key = key(
    "kafka.username",
    Kind::Text,
    "name",
    r#""""#,
    false,
    "Who the node is to the broker, for `sasl_…`.",
);
pub(super) const PASSWORD_FILE: Key = key(
    "kafka.password_file",
    Kind::Text,
    "path",
    r#""""#,
    false,
    "The file with its password. A plain name is looked for among systemd's credentials (`LoadCredential=`) first.",
);
pub(super) const CA_FILE: Key = key(
    "kafka.ca_file",
    Kind::Text,
    "path",
    r#""""#,
    false,
    "The authorities (PEM) that the broker's certificate is judged by; empty: those of the system.",
);
pub(super) const CERTIFICATE_FILE: Key = key(
    "kafka.certificate_file",
    Kind::Text,
    "path",
    r#""""#,
    false,
    "The node's own certificate (PEM), where the broker asks for one; empty: none.",
);
pub(super) const KEY_FILE: Key = key(
    "kafka.key_file",
    Kind::Text,
    "path",
    r#""""#,
    false,
    "The private key of that certificate (PEM), found as `password_file` is.",
);
pub(super) const IN_TOPIC: Key = required("kafka.in[].topic", "topic", false, "A topic that events are taken from.");
pub(super) const IN_CLASS: Key = key(
    "kafka.in[].class",
    Kind::Word(&["light", "heavy"]),
    "word",
    r#""light""#,
    false,
    "`light` for tills and orders: a share of the valve is kept for them. `heavy` for imports: they take what is left.",
);
pub(super) const IN_SOURCE: Key = key(
    "kafka.in[].source",
    Kind::Text,
    "name",
    r#""""#,
    false,
    "The source that dead letters of this topic are told under; empty: `kafka/` and the topic. Events name their own.",
);
pub(super) const IN_FORMAT: Key = key(
    "kafka.in[].format",
    Kind::Word(&["cloudevents"]),
    "word",
    r#""cloudevents""#,
    false,
    "What its messages are: CloudEvents as JSON, in structured, batch or binary mode.",
);
pub(super) const OUT_TOPIC: Key = required(
    "kafka.out[].topic",
    "topic",
    false,
    "A topic that the node publishes to. Its place in the journal is kept by this name.",
);
pub(super) const OUT_WHAT: Key = Key {
    kind: Kind::Word(&["updated", "availability", "reservations", "drift", "dead_letters"]),
    ..required(
        "kafka.out[].what",
        "word",
        false,
        "What is published there: every change, the latest availability (compact that topic), baskets, disagreements, dead letters.",
    )
};
pub(super) const OUT_MODE: Key = key(
    "kafka.out[].mode",
    Kind::Word(&["binary", "structured"]),
    "word",
    r#""binary""#,
    false,
    "CloudEvents attributes as headers (`binary`), or in one JSON object with the data (`structured`).",
);
pub(super) const OUT_COMPRESSION: Key = key(
    "kafka.out[].compression",
    Kind::Word(&["lz4", "zstd", "gzip", "snappy", "none"]),
    "word",
    r#""lz4""#,
    false,
    "How batches are compressed.",
);
pub(super) const OUT_HOLD_FACTS: Key = key(
    "kafka.out[].hold_facts",
    int(1_000, 1_000_000_000_000),
    "facts",
    "200_000_000",
    false,
    "How far behind it still keeps `storage.history_days` from cutting what it has not published; past it, it loses its hold, loudly.",
);
