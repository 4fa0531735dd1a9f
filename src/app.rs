//! The composition root: what is started in which order, and stopped in the reverse.
//!
//! Everything else is given what it needs as values; this is the one place that knows the whole configuration and the whole
//! house. It is a library function, so that tests run the same node as the binary.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::actors::node::Setting;
use crate::actors::shared::{Decide, Judge, SourceRule, Sources, Tuning};
use crate::actors::tree::{Plan, Tree};
use crate::actors::warehouse::judge;
use crate::config::{Config, Invalid, KeepIds};
use crate::domain::stock::{self, Limits, Policy};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Channel, Warehouse};
use crate::http::{self, Entrance, HttpOptions};
use crate::ingress::admission::Valve;
use crate::kafka::Kafka;
use crate::storage::opening::Opening;
use crate::storage::store::{OpenError, Options, Store};
use crate::{host, metrics, systemd, telemetry};

pub mod broker;
mod start;
#[cfg(test)]
mod tests;

/// Connections that may wait to be accepted; the kernel allows at most its own `somaxconn`. Past it a caller's handshake is dropped
/// and tried again a second later, so a morning's crowd of tills must fit: the usual 128 does not hold it.
const BACKLOG: u32 = 4_096;
/// How long a stop waits for what was taken.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// No clock that is right says less: the first day of the year in which this was written, UTC.
const EARLIEST: Time = Time(1_767_225_600_000);
/// A restart right after the last fact may find the clock a little behind it.
const BEHIND_WORTH_TELLING_S: i64 = 60;

/// Why the node did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store cannot be opened; the text says what to do.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Logs or metrics cannot be switched on.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// What is said of Kafka cannot be meant.
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Trouble),
    /// The clock has never been set, and the store cannot tell the time either.
    #[error("the clock says {0}, which is before this version was made")]
    Clock(String),
    /// A part of the node could not be started, or failed for good.
    #[error("the node cannot go on: {0}")]
    Broken(String),
}

/// Where a new configuration comes from on SIGHUP.
pub type Reload = Box<dyn Fn() -> Result<Config, Box<Invalid>> + Send + Sync>;

/// Runs the node until it is told to stop. It answers from the first moment on, if only that it starts. Prints the address that it
/// listens on, and writes it to `address` in the data directory, once it takes work.
///
/// `leave`: ends the node as a signal would, when it is done.
pub async fn run(config: Config, reload: Reload, leave: impl Future<Output = ()>) -> Result<(), Failure> {
    let started = Instant::now();
    let small_pages = small_pages(&config);
    let logs = telemetry::init_logs(&config.log.level, config.log.format == crate::config::LogFormat::Json)?;
    let prometheus = telemetry::init_metrics()?;
    if let Err(error) = small_pages {
        tracing::info!(%error, "huge pages could not be switched off: more memory is taken");
    }
    let listener = listen(config.http.listen).await?;
    let address = listener.local_addr().map_err(|source| Failure::Listen {
        address: config.http.listen,
        source,
    })?;
    let opening = Arc::new(Opening::default());
    let entrance = Entrance::new(&config.node.name, http_limits(&config), opening.clone());
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, entrance.clone(), stopping.clone()));
    let house = start::told(&opening, House::open(&config, &opening, stock::decide, judge)).await?;
    // Before anybody can know that the node is there: who has seen that may end it the moment after, and it is to end in good order.
    // While it starts a signal just ends the process, as a power cut would.
    let signals = Signals::listen()?;
    let prometheus = Arc::new(prometheus);
    let valve = Valve::new(
        config.http.max_inflight_events as usize,
        config.http.max_inflight_bytes as usize,
    );
    let kafka = broker::start(&config, &house.node, &valve)?;
    let said = Said {
        node: house.node.clone(),
        kafka: kafka.as_ref().map(Kafka::gauges),
        prometheus: prometheus.clone(),
    };
    entrance.open(house.node.clone(), http_options(&config, valve, said), stopping);
    announce(&config.node.data_dir, address)?;
    metrics::started(started.elapsed());
    systemd::ready("taking events");
    let journal = house.node.store().journal().clone();
    tokio::spawn(systemd::feed_watchdog(move || metrics::progress(&journal)));
    let upkeep = tokio::spawn(upkeep(prometheus));
    let end = wait(&house, signals, config, reload, &logs, leave).await;
    upkeep.abort();
    systemd::stopping("finishing what was taken");
    house.node.stop_taking();
    stop.send_replace(true);
    if let Some(kafka) = kafka {
        kafka.stop().await;
    }
    if tokio::time::timeout(FINISH_WITHIN, server).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off; none of them was answered");
    }
    house.close().await;
    end
}

/// Keeps the metrics' distributions small also when nobody asks for them.
async fn upkeep(prometheus: Arc<telemetry::Metrics>) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.upkeep();
    }
}

/// The wall clock; before 1970 it is as good as 1970.
fn wall() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |since| since.as_millis() as i64))
}

/// Refuses to begin at a time that cannot be: what is stamped then is forgotten when the clock is set, ids first. A store that has
/// facts knows better than such a clock: the node goes on from the newest of them.
fn told_the_time(wall: Time, newest: Option<Time>) -> Result<(), Failure> {
    let newest = newest.unwrap_or(Time(0));
    if wall.max(newest) < EARLIEST {
        let said = jiff::Timestamp::from_millisecond(wall.0).map_or_else(|_| wall.0.to_string(), |time| time.to_string());
        return Err(Failure::Clock(said));
    }
    let behind_s = (newest.0 - wall.0) / 1_000;
    if behind_s > BEHIND_WORTH_TELLING_S {
        tracing::warn!(
            behind_s,
            "the clock is behind the newest time in the journal; the node goes on from that time"
        );
    }
    Ok(())
}

/// The signals that the node hears.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are heard, and wait to be asked for.
    fn listen() -> Result<Signals, Failure> {
        let heard = |kind| signal(kind).map_err(|error| Failure::Broken(format!("signals cannot be received: {error}")));
        Ok(Signals {
            terminate: heard(SignalKind::terminate())?,
            interrupt: heard(SignalKind::interrupt())?,
            hangup: heard(SignalKind::hangup())?,
        })
    }
}

/// Waits for a signal, for whoever asks it to leave, or for the tree to give up.
async fn wait(
    house: &House,
    mut signals: Signals,
    mut config: Config,
    reload: Reload,
    logs: &telemetry::LogControl,
    leave: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut leave = std::pin::pin!(leave);
    let mut fatal = house.fatal.clone();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            () = &mut leave => return Ok(()),
            _ = signals.hangup.recv() => {
                systemd::reloading();
                match reload() {
                    Ok(new) => config = apply(house, &config, &new, logs).await,
                    Err(invalid) => invalid.lines().for_each(|line| tracing::error!("the configuration is refused, the old one stands: {line}")),
                }
                systemd::ready("taking events");
            }
            changed = fatal.wait_for(Option::is_some) => {
                let reason = changed.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "the root is gone".to_owned());
                return Err(Failure::Broken(reason));
            }
        }
    }
}

/// Applies what a reload may change, and says what has to wait for a restart.
async fn apply(house: &House, old: &Config, new: &Config, logs: &telemetry::LogControl) -> Config {
    let diff = Config::reload_diff(old, new);
    let next = Config::reloaded(old, new);
    if let Err(error) = logs.set_level(&next.log.level) {
        tracing::error!(%error, "the log level stays as it was");
    }
    house.node.shared().sources.store(Arc::new(sources(&next)));
    house.declare(&next, true).await;
    diff.applied().for_each(|change| tracing::info!(key = change.key, "applied"));
    diff.waiting()
        .for_each(|change| tracing::warn!(key = change.key, "changed, but waits for a restart"));
    next
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listening = socket.and_then(|socket| {
        // A node that has just stopped leaves connections behind that keep the port for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|source| Failure::Listen { address, source })
}

/// Tells whoever started it where it listens.
fn announce(directory: &Path, address: SocketAddr) -> Result<(), Failure> {
    let file = directory.join("address");
    std::fs::write(&file, format!("{address}\n")).map_err(|error| Failure::Broken(format!("{}: {error}", file.display())))?;
    let mut out = std::io::stdout().lock();
    // Nobody has to read it.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    Ok(())
}

/// The open store and the running tree, as the configuration wants them.
pub struct House {
    tree: Tree,
}

impl std::ops::Deref for House {
    type Target = Tree;
    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl House {
    /// Opens the store and starts the tree on it; how far it is can be seen in `opening`. `decide` is `stock::decide` and `judge`,
    /// which decides commands about reservations, the warehouse's, or a test's own.
    pub async fn open(config: &Config, opening: &Arc<Opening>, decide: Decide, judge: Judge) -> Result<House, Failure> {
        let (directory, mut options) = (config.node.data_dir.clone(), store_options(config));
        options.opening = opening.clone();
        let store = host::blocking(move || Store::open(&directory, options));
        let store = store.await.map_err(|error| Failure::Broken(error.to_string()))??;
        let newest = store.newest_recorded().map_err(|error| Failure::Broken(error.to_string()))?;
        told_the_time(wall(), newest)?;
        House::start_judging(config, store, decide, judge).await
    }

    /// Starts the tree on an open store.
    pub async fn start(config: &Config, store: Store, decide: Decide) -> Result<House, Failure> {
        House::start_judging(config, store, decide, judge).await
    }

    /// As [`House::start`]; `judge` decides commands about reservations.
    pub async fn start_judging(config: &Config, store: Store, decide: Decide, judge: Judge) -> Result<House, Failure> {
        let plan = Plan {
            name: config.node.name.clone(),
            decide,
            judge,
            limits: limits(config),
            sources: sources(config),
            tuning: tuning(config),
        };
        let tree = Tree::start(store, plan).await.map_err(Failure::Broken)?;
        let house = House { tree };
        house.declare(config, false).await;
        Ok(house)
    }

    /// Declares the configuration's warehouses. Those that the store knows stand as they are, unless `change`: what was set over
    /// the API since would be lost at each start.
    async fn declare(&self, config: &Config, change: bool) {
        for declared in &config.warehouse {
            let site = site(declared);
            let known = self.node.view().warehouses().get(&site.id).cloned();
            let same = known.as_deref() == Some(&site);
            if same || (known.is_some() && !change) {
                if !same {
                    tracing::info!(warehouse = %site.id, "differs from the configuration; the store's stands until it is changed or reloaded");
                }
                continue;
            }
            let id = site.id.clone();
            if let Err(refusal) = self.node.set(Setting::Warehouse(site), None, None).await {
                tracing::error!(warehouse = %id, %refusal, "the warehouse could not be declared");
            }
        }
    }

    /// Stops the tree and closes the store.
    pub async fn close(self) {
        self.tree.stop(FINISH_WITHIN).await;
    }
}

/// Switches huge pages off for this process, before much memory is taken. The allocator asks for them everywhere, and gives 2 MiB
/// back as a whole or not at all.
fn small_pages(config: &Config) -> std::io::Result<()> {
    match config.node.huge_pages {
        true => Ok(()),
        false => Ok(rustix::thread::disable_transparent_huge_pages(true)?),
    }
}

fn store_options(config: &Config) -> Options {
    let mut options = Options {
        cache_bytes: config.storage.cache_bytes as usize,
        max_skus: config.stock.max_skus as usize,
        id_window_ms: i64::from(config.stock.id_window_days) * 86_400_000,
        history_ms: i64::from(config.storage.history_days) * 86_400_000,
        reserve_bytes: config.storage.reserve_bytes,
        ..Options::default()
    };
    options.limits.commit_bytes = config.storage.max_commit_bytes as usize;
    options
}

fn limits(config: &Config) -> Limits {
    Limits {
        book_ms: i64::from(config.stock.book_hours) * 3_600_000,
        id_window_ms: i64::from(config.stock.id_window_days) * 86_400_000,
        max_ahead_ms: i64::from(config.stock.max_ahead_s) * 1_000,
        ..Limits::default()
    }
}

fn tuning(config: &Config) -> Tuning {
    Tuning {
        wake_rate_per_s: config.actors.wake_rate_per_s,
        hand_over_rows: config.actors.hand_over_rows as usize,
        idle_sleep_s: config.actors.idle_sleep_s as u32,
        awake_max: config.actors.awake_max,
        copies_max: config.actors.copies_max as usize,
        audit_facts_per_s: config.audit.facts_per_s,
        audit_rest_ms: i64::from(config.audit.rest_s) * 1_000,
        snapshot_every: Duration::from_secs(config.storage.snapshot_interval_s),
    }
}

fn sources(config: &Config) -> Sources {
    let rule = |source: &crate::config::Source| {
        let prefix = source.name.strip_suffix('*');
        SourceRule {
            name: prefix.unwrap_or(&source.name).to_owned(),
            prefix: prefix.is_some(),
            policy: Policy {
                strict: source.strict,
                authoritative: source.authoritative,
                keep_forever: source.keep_ids == KeepIds::Forever,
            },
        }
    };
    Sources::new(config.source.iter().map(rule).collect())
}

fn site(declared: &crate::config::Warehouse) -> Warehouse {
    let channel = |channel: &crate::config::Channel| Channel {
        buffer: channel.buffer as i64,
        ttl_s: channel.ttl_s as u32,
        max_ttl_s: channel.max_ttl_s as u32,
        allow_no_expiry: channel.allow_no_expiry,
    };
    let name = if declared.name.is_empty() {
        declared.id.clone()
    } else {
        declared.name.clone()
    };
    Warehouse {
        id: Id::trusted(&declared.id),
        name,
        time_zone: declared.time_zone.clone(),
        channels: declared
            .channels
            .iter()
            .map(|(id, of)| (Id::trusted(id), channel(of)))
            .collect(),
    }
}

/// Whatever is asked about the node from outside is made from these.
struct Said {
    node: crate::actors::node::Node,
    kafka: Option<Arc<crate::kafka::Gauges>>,
    prometheus: Arc<telemetry::Metrics>,
}

fn http_options(config: &Config, valve: Valve, said: Said) -> HttpOptions {
    let said = Arc::new(said);
    let (for_metrics, for_status) = (said.clone(), said);
    let metrics = move || {
        metrics::observe(&for_metrics.node);
        if let Some(kafka) = &for_metrics.kafka {
            kafka.observe(for_metrics.node.view().durable_seq());
        }
        for_metrics.prometheus.render()
    };
    let others = move || {
        let kafka = for_status.kafka.as_ref();
        kafka.map_or(serde_json::Value::Null, |kafka| {
            kafka.status(for_status.node.view().durable_seq())
        })
    };
    HttpOptions {
        max_rows: config.http.max_rows as usize,
        valve,
        metrics: Arc::new(metrics),
        others: Arc::new(others),
    }
}

fn http_limits(config: &Config) -> http::Limits {
    http::Limits {
        max_body_bytes: config.http.max_body_bytes as usize,
        header_timeout: Duration::from_millis(config.http.header_timeout_ms),
        body_timeout: Duration::from_millis(config.http.body_timeout_ms),
        idle_timeout: Duration::from_millis(config.http.idle_timeout_ms),
        max_connections: config.http.max_connections as usize,
        finish_within: FINISH_WITHIN,
    }
}
