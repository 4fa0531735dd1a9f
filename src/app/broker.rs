//! What the configuration says of Kafka, as the values that its threads are given.

use std::sync::Arc;

use crate::actors::node::Node;
use crate::config::{Class, Config, Format, Mode, Published, Security};
use crate::ingress::admission::Valve;
use crate::kafka::check::Finding;
use crate::kafka::{Broker, In, Kafka, Login, Options, Out, Trouble, What};

/// Starts what is configured; `None`: the node speaks to no broker.
pub(super) fn start(config: &Config, node: &Node, valve: &Valve) -> Result<Option<Kafka>, Trouble> {
    if config.kafka.brokers.trim().is_empty() {
        return Ok(None);
    }
    Kafka::start(node, options(config), valve).map(Some)
}

/// Tries the broker of a configuration: what is found, and what to do about it.
pub fn check(config: &Config) -> Vec<Finding> {
    let sites = config.warehouse.iter().map(super::site);
    let warehouses = sites.map(|site| (site.id.clone(), Arc::new(site))).collect();
    crate::kafka::check::check(&options(config), &warehouses)
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
    let input = |one: &crate::config::KafkaIn| In {
        topic: one.topic.clone(),
        heavy: one.class == Class::Heavy,
        source: match one.format {
            Format::Cloudevents => one.source.clone(),
        },
    };
    Options {
        broker,
        group: kafka.group.clone(),
        max_rows: config.http.max_rows as usize,
        max_bytes: config.http.max_body_bytes as usize,
        ins: kafka.r#in.iter().map(input).collect(),
        outs: kafka.out.iter().map(out).collect(),
    }
}
