//! What the configuration says of Kafka, as the values that its threads are given.

use crate::actors::node::Node;
use crate::config::{Config, Mode, Published, Security};
use crate::ingress::admission::Valve;
use crate::kafka::{Broker, Kafka, Login, Options, Out, Trouble, What};

/// Starts what is configured; `None`: the node speaks to no broker.
pub(super) fn start(config: &Config, node: &Node, _valve: &Valve) -> Result<Option<Kafka>, Trouble> {
    if config.kafka.brokers.trim().is_empty() {
        return Ok(None);
    }
    Kafka::start(node, options(config)).map(Some)
}

/// The options of a configuration.
pub fn options(config: &Config) -> Options {
    let kafka = &config.kafka;
    let login = matches!(kafka.security, Security::SaslPlaintext | Security::SaslSsl).then(|| Login {
        mechanism: kafka.sasl_mechanism.clone(),
        username: kafka.username.clone(),
        password_file: kafka.password_file.clone(),
    });
    let broker = Broker {
        addresses: kafka.brokers.clone(),
        tls: matches!(kafka.security, Security::Ssl | Security::SaslSsl),
        login,
        ca_file: kafka.ca_file.clone(),
        certificate_file: kafka.certificate_file.clone(),
        key_file: kafka.key_file.clone(),
    };
    let out = |out: &crate::config::KafkaOut| Out {
        topic: out.topic.clone(),
        what: match out.what {
            Published::Updated => What::Updated,
            Published::Availability => What::Availability,
            Published::Reservations => What::Reservations,
            Published::Drift => What::Drift,
            Published::DeadLetters => What::DeadLetters,
        },
        structured: out.mode == Mode::Structured,
        compression: out.compression.clone(),
        hold_facts: out.hold_facts,
    };
    Options {
        broker,
        outs: kafka.out.iter().map(out).collect(),
    }
}
