//! Logs and metrics: how they are switched on, and the one page of every metric.
//!
//! Logs go to standard error, where journald and a terminal both find them. Metrics are kept in memory and rendered by `GET /metrics`;
//! an exporter with a listener of its own was rejected, since a second port is a second thing to secure. A metric that is not in
//! [`METRICS`] must not be recorded: a test reads the sources for it.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over [`SECONDS_BUCKETS`] or [`SIZE_BUCKETS`], by its unit.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The names of its labels; each has few values.
    pub labels: &'static [&'static str],
    /// What it tells, for people.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        unit,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric of the node.
pub const METRICS: &[Metric] = &[
    metric(
        "shelfd_build_info",
        Gauge,
        Unit::Count,
        &["version"],
        "Always 1; the version that runs is the label.",
    ),
    metric(
        "shelfd_ready",
        Gauge,
        Unit::Count,
        &[],
        "1 while the node takes events, 0 while it starts, stops or cannot commit.",
    ),
    metric(
        "shelfd_start_seconds",
        Gauge,
        Unit::Seconds,
        &[],
        "How long the last start took until the node was ready.",
    ),
    metric(
        "shelfd_http_requests_total",
        Counter,
        Unit::Count,
        &["route", "method", "status"],
        "Requests answered, by route and status.",
    ),
    metric(
        "shelfd_http_request_seconds",
        Histogram,
        Unit::Seconds,
        &["route"],
        "From the head of a request to the end of its answer.",
    ),
    metric("shelfd_http_connections", Gauge, Unit::Count, &[], "Open connections."),
    metric(
        "shelfd_inflight_events",
        Gauge,
        Unit::Count,
        &[],
        "Events taken and not yet answered.",
    ),
    metric(
        "shelfd_inflight_bytes",
        Gauge,
        Unit::Bytes,
        &[],
        "Bytes of bodies taken and not yet answered.",
    ),
    metric(
        "shelfd_overloaded_total",
        Counter,
        Unit::Count,
        &[],
        "Requests turned away at once because the valve was shut, or too much waited already (503).",
    ),
    metric(
        "shelfd_events_total",
        Counter,
        Unit::Count,
        &["verdict"],
        "Events judged, by verdict.",
    ),
    metric(
        "shelfd_audit_rounds_total",
        Counter,
        Unit::Count,
        &[],
        "Times that the auditor has folded the whole journal anew and compared it with what is answered.",
    ),
    metric(
        "shelfd_audit_facts_total",
        Counter,
        Unit::Count,
        &[],
        "Facts that the auditor has read.",
    ),
    metric(
        "shelfd_audit_findings",
        Gauge,
        Unit::Count,
        &[],
        "Different things that the auditor has found wrong since the start; anything but 0 wants a person.",
    ),
    metric("shelfd_commits_total", Counter, Unit::Count, &[], "Journal commits."),
    metric(
        "shelfd_commit_failures_total",
        Counter,
        Unit::Count,
        &[],
        "Journal commits that failed; each raises the epoch.",
    ),
    metric(
        "shelfd_commit_seconds",
        Histogram,
        Unit::Seconds,
        &[],
        "One commit, from its first byte to durable.",
    ),
    metric(
        "shelfd_commit_facts",
        Histogram,
        Unit::Count,
        &[],
        "Facts in one commit; near 1 under load means that batching is lost.",
    ),
    metric(
        "shelfd_journal_bytes_total",
        Counter,
        Unit::Bytes,
        &[],
        "Bytes of journal rows made durable; what the store writes beside them is not in it.",
    ),
    metric(
        "shelfd_journal_seq",
        Gauge,
        Unit::Count,
        &[],
        "The sequence number of the newest durable fact.",
    ),
    metric(
        "shelfd_epoch",
        Gauge,
        Unit::Count,
        &[],
        "Rises with every failed commit and every restore.",
    ),
    metric(
        "shelfd_snapshot_seq",
        Gauge,
        Unit::Count,
        &[],
        "The sequence number that the newest snapshot covers; the start replays from here.",
    ),
    metric(
        "shelfd_ledger_index_seq",
        Gauge,
        Unit::Count,
        &[],
        "How far the ledger's index has come; behind the journal by the tail.",
    ),
    metric("shelfd_store_bytes", Gauge, Unit::Bytes, &[], "The size of the store's file."),
    metric(
        "shelfd_disk_free_bytes",
        Gauge,
        Unit::Bytes,
        &[],
        "Free space where the store lives.",
    ),
    metric("shelfd_skus", Gauge, Unit::Count, &["warehouse"], "SKUs with state."),
    metric(
        "shelfd_clocks_ahead_total",
        Counter,
        Unit::Count,
        &[],
        "Events dated too far ahead and taken at their arrival: the clock of their source is wrong, and the log names it.",
    ),
    metric("shelfd_skus_awake", Gauge, Unit::Count, &[], "SKUs that have an actor."),
    metric(
        "shelfd_reservations_held",
        Gauge,
        Unit::Count,
        &["warehouse"],
        "Baskets held now.",
    ),
    metric(
        "shelfd_claims_at_risk",
        Gauge,
        Unit::Count,
        &["warehouse"],
        "Claims that no longer fit what stands on the shelf.",
    ),
    metric("shelfd_ids_remembered", Gauge, Unit::Count, &[], "Event ids remembered."),
    metric(
        "shelfd_ids_growth_max_seconds",
        Gauge,
        Unit::Seconds,
        &[],
        "The longest that a commit has waited for room for more remembered ids since the start.",
    ),
    metric(
        "shelfd_id_disk_reads_total",
        Counter,
        Unit::Count,
        &[],
        "Looks at the disk for an id; below one in a thousand new ids.",
    ),
    metric(
        "shelfd_actor_restarts_total",
        Counter,
        Unit::Count,
        &["actor"],
        "Restarts of actors.",
    ),
    metric(
        "shelfd_kafka_in_lag",
        Gauge,
        Unit::Count,
        &["topic"],
        "Messages that wait at the broker.",
    ),
    metric(
        "shelfd_kafka_in_messages_total",
        Counter,
        Unit::Count,
        &["topic"],
        "Messages that have had their effect, or are dead letters.",
    ),
    metric(
        "shelfd_kafka_in_missed_total",
        Counter,
        Unit::Count,
        &["topic"],
        "Messages that the broker's retention threw away before they were taken.",
    ),
    metric(
        "shelfd_kafka_in_paused",
        Gauge,
        Unit::Count,
        &["topic"],
        "1 while the topic waits until the node can take more.",
    ),
    metric(
        "shelfd_kafka_in_letters_total",
        Counter,
        Unit::Count,
        &[],
        "Messages that could not be taken, and are kept as dead letters.",
    ),
    metric(
        "shelfd_kafka_out_lag",
        Gauge,
        Unit::Count,
        &["topic"],
        "Facts that a topic is behind the journal: read, sent and confirmed by the broker.",
    ),
    metric(
        "shelfd_kafka_out_published_total",
        Counter,
        Unit::Count,
        &["topic"],
        "Messages that the broker has confirmed.",
    ),
    metric(
        "shelfd_kafka_out_missed_total",
        Counter,
        Unit::Count,
        &["topic"],
        "Facts that retention cut before they were published.",
    ),
    metric(
        "shelfd_kafka_out_stopped",
        Gauge,
        Unit::Count,
        &["topic"],
        "1 while the broker refuses a message for good: nothing is skipped, and a person must mend it.",
    ),
    metric(
        "shelfd_kafka_restarts_total",
        Counter,
        Unit::Count,
        &[],
        "Deaths of threads that speak to the broker; each begins again where the journal says.",
    ),
    metric(
        "shelfd_dead_letters",
        Gauge,
        Unit::Count,
        &[],
        "Events waiting as dead letters.",
    ),
];

/// Upper bounds of histograms in seconds: 50 µs to 10 s.
pub const SECONDS_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Upper bounds of histograms of counts.
pub const SIZE_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0];

/// Why logs or metrics could not be switched on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("the log filter \"{filter}\" is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs have been switched on already.
    #[error("logs are switched on already")]
    Logs(#[source] tracing_subscriber::util::TryInitError),
    /// The filter could not be changed.
    #[error("the log filter could not be changed")]
    Reload(#[source] reload::Error),
    /// Another recorder is installed.
    #[error("metrics could not be switched on")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// Changes the log filter while the node runs.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogControl {
    /// Sets another filter, such as `info,shelfd::actors=debug`; an invalid one is refused and the old one stays.
    pub fn set_level(&self, filter: &str) -> Result<(), Error> {
        self.filter.reload(parse_filter(filter)?).map_err(Error::Reload)
    }
}

/// Switches logs on, to standard error: lines for people, or (`json`) one object a line. `RUST_LOG` is not read: the
/// configuration is the one place for it.
pub fn init_logs(filter: &str, json: bool) -> Result<LogControl, Error> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<_> + Send + Sync> = if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        lines
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .boxed()
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(Error::Logs)?;
    Ok(LogControl { filter: handle })
}

fn parse_filter(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what was recorded since the last call, so that memory stays bounded when nobody asks for metrics. Call it every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Switches metrics on for this process, once; later calls get the same.
pub fn init_metrics() -> Result<Metrics, Error> {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    if let Some(metrics) = INSTALLED.get() {
        return Ok(metrics.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == Histogram) {
        let buckets: &[f64] = if metric.unit == Unit::Seconds {
            &SECONDS_BUCKETS
        } else {
            &SIZE_BUCKETS
        };
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
            .map_err(Error::Metrics)?;
    }
    let handle = builder.install_recorder().map_err(Error::Metrics)?;
    METRICS.iter().for_each(describe);
    metrics::gauge!("shelfd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(INSTALLED.get_or_init(|| Metrics { handle }).clone())
}

fn describe(metric: &Metric) {
    match metric.kind {
        Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
        Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
        Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_say_kind_and_unit() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len(), "a name stands once");
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("shelfd_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Counter, "{name}");
            // A counter's unit stands before its `_total`, as Prometheus names them.
            let of_what = name.trim_end_matches("_total");
            assert!(metric.unit != Unit::Seconds || of_what.ends_with("_seconds"), "{name}");
            assert!(metric.unit != Unit::Bytes || of_what.ends_with("_bytes"), "{name}");
        }
    }

    #[test]
    fn metrics_are_rendered_with_help_and_fixed_buckets() {
        let metrics = init_metrics().unwrap();
        metrics::histogram!("shelfd_commit_seconds").record(0.000_3);
        init_metrics().unwrap().upkeep();
        let text = metrics.render();
        assert!(text.contains("# HELP shelfd_commit_seconds One commit"), "{text}");
        // Beside what other tests of this process commit, one between these two.
        let bucket = |le| text.split_once(&format!("shelfd_commit_seconds_bucket{{le=\"{le}\"}} "));
        let count = |le| -> Option<u64> { bucket(le)?.1.lines().next()?.parse().ok() };
        assert!(count("0.00025") < count("0.0005"), "{text}");
        assert!(
            text.contains(concat!("shelfd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")),
            "{text}"
        );
    }

    #[test]
    fn a_log_filter_can_be_changed_and_a_bad_one_is_refused() {
        let control = init_logs("warn", true).unwrap();
        control.set_level("info,shelfd::config=debug").unwrap();
        assert!(matches!(control.set_level("shelfd=loud"), Err(Error::Filter { .. })));
        assert!(matches!(init_logs("info", false), Err(Error::Logs(_))));
    }
}
