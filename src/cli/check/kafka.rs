//! What `shelfd check --kafka` finds, in the words of the other checks.
//!
//! The trying itself is done where the broker is known; asking it from here was rejected, since only one folder speaks to it.

use super::{Finding, Verdict, bad};
use crate::app::broker;
use crate::config::Config;
use crate::kafka::check::{self, Weight};

/// What findings about the broker are called.
pub(super) const WHAT: &str = "kafka";

/// The broker, its topics, rights and formats.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    if config.kafka.brokers.trim().is_empty() {
        let help = "say where it is: [kafka] brokers = \"127.0.0.1:9092\"";
        return vec![bad(WHAT, "kafka.brokers is empty: this node speaks to no broker", help)];
    }
    let config = config.clone();
    let tried = tokio::task::spawn_blocking(move || broker::check(&config)).await;
    let told = |found: check::Finding| Finding {
        what: WHAT,
        verdict: match found.weight {
            Weight::Good => Verdict::Good,
            Weight::Warn => Verdict::Warn,
            Weight::Bad => Verdict::Bad,
        },
        detail: found.detail,
        help: found.help,
    };
    match tried {
        Ok(found) => found.into_iter().map(told).collect(),
        Err(error) => vec![bad(
            WHAT,
            format!("the check itself failed: {error}"),
            "look at the broker by its own tools",
        )],
    }
}
