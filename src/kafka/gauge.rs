//! What the threads say of themselves, for `status` and `/metrics`: written by them, read by whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::What;

/// How one of them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It works.
    Running,
    /// It tries again by itself; why.
    Waiting(String),
    /// The broker refuses for good: nothing moves until somebody mends it; why.
    Stopped(String),
}

/// What a part says before it has heard anything.
const FIRST: &str = "not connected yet";

/// The state of one part, told to the log when it changes.
pub(super) struct Line {
    /// Which part.
    pub(super) name: String,
    state: Mutex<State>,
}

impl Line {
    fn new(name: String) -> Line {
        Line {
            name,
            state: Mutex::new(State::Waiting(FIRST.to_owned())),
        }
    }

    fn turn(&self, to: State) -> bool {
        let mut state = self.state.lock();
        if *state == to {
            return false;
        }
        *state = to;
        true
    }

    /// It works.
    pub(super) fn runs(&self) {
        if *self.state.lock() != State::Running && self.turn(State::Running) {
            tracing::info!(part = %self.name, "it works");
        }
    }

    /// It waits for the broker. One that is stopped stays so until it works.
    pub(super) fn waits(&self, why: &str) {
        if matches!(*self.state.lock(), State::Stopped(_)) {
            return;
        }
        if self.turn(State::Waiting(why.to_owned())) {
            tracing::warn!(part = %self.name, why, "it waits, and tries again by itself");
        }
    }

    /// Whether it waits already, for a reason that was heard since it began to.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(&*self.state.lock(), State::Waiting(why) if why != FIRST)
    }

    /// The broker refuses for good.
    pub(super) fn stopped(&self, why: &str) {
        if self.turn(State::Stopped(why.to_owned())) {
            tracing::error!(part = %self.name, why, "the broker refuses this for good: nothing is skipped and nothing moves until it is mended");
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// The word and the reason.
    fn words(&self) -> (&'static str, Option<String>) {
        match self.state() {
            State::Running => ("running", None),
            State::Waiting(why) => ("waiting", Some(why)),
            State::Stopped(why) => ("stopped", Some(why)),
        }
    }
}

/// One topic that is published to.
pub(super) struct OutGauge {
    pub(super) line: Arc<Line>,
    topic: String,
    what: What,
    /// Everything up to this sequence is with the broker.
    pub(super) cursor: AtomicU64,
    /// Of the latest of each SKU: everything up to this sequence is with the client, or held for the others of its round.
    pub(super) read: AtomicU64,
    /// Messages that the broker has confirmed.
    pub(super) published: AtomicU64,
    /// Facts that retention cut before they were published.
    pub(super) missed: AtomicU64,
}

/// One topic that is taken from.
pub(super) struct InGauge {
    line: Arc<Line>,
    topic: String,
    class: &'static str,
    messages: AtomicU64,
    lag: AtomicU64,
    missed: AtomicU64,
    surprises: AtomicU64,
    partitions: AtomicU64,
    paused: AtomicBool,
}

impl InGauge {
    /// So many messages have had their effect.
    pub(super) fn took(&self, messages: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }
    /// So many messages wait at the broker.
    pub(super) fn lags(&self, messages: u64) {
        self.lag.store(messages, Ordering::Relaxed);
    }
    /// So many were thrown away before they were taken.
    pub(super) fn missed(&self, messages: u64) {
        self.missed.fetch_add(messages, Ordering::Relaxed);
    }
    /// The topic was made anew.
    pub(super) fn surprised(&self) {
        self.surprises.fetch_add(1, Ordering::Relaxed);
    }
    /// The consumer has so many partitions, of all its topics.
    pub(super) fn assigned(&self, partitions: usize) {
        self.partitions.store(partitions as u64, Ordering::Relaxed);
    }
    /// Its partitions wait for the node.
    pub(super) fn paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}

/// All of them.
#[derive(Default)]
pub struct Gauges {
    ins: Mutex<Vec<Arc<InGauge>>>,
    outs: Mutex<Vec<Arc<OutGauge>>>,
}

impl Gauges {
    pub(super) fn out(&self, topic: &str, what: What) -> Arc<OutGauge> {
        let gauge = Arc::new(OutGauge {
            line: Arc::new(Line::new(format!("out {topic}"))),
            topic: topic.to_owned(),
            what,
            cursor: AtomicU64::new(0),
            read: AtomicU64::new(0),
            published: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        });
        self.outs.lock().push(gauge.clone());
        gauge
    }

    /// The line of a consumer, which its topics share.
    pub(super) fn line(name: &str) -> Arc<Line> {
        Arc::new(Line::new(name.to_owned()))
    }

    pub(super) fn input(&self, topic: &str, class: &'static str, line: &Arc<Line>) -> Arc<InGauge> {
        let gauge = Arc::new(InGauge {
            line: line.clone(),
            topic: topic.to_owned(),
            class,
            messages: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            surprises: AtomicU64::new(0),
            partitions: AtomicU64::new(0),
            paused: AtomicBool::new(false),
        });
        self.ins.lock().push(gauge.clone());
        gauge
    }

    /// How far the publishers that work are behind; one that waits for its broker is no reason for others to wait.
    pub(super) fn behind(&self, newest: u64) -> u64 {
        let outs = self.outs.lock();
        let working = outs.iter().filter(|gauge| gauge.line.state() == State::Running);
        let at = |gauge: &Arc<OutGauge>| match gauge.what {
            What::Availability => gauge.read.load(Ordering::Relaxed),
            _ => gauge.cursor.load(Ordering::Relaxed),
        };
        let behind = working.map(|gauge| newest.saturating_sub(at(gauge)));
        behind.max().unwrap_or(0)
    }

    pub(super) fn ins(&self) -> Vec<Value> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let one = |gauge: &Arc<InGauge>| {
            let (state, reason) = gauge.line.words();
            json!({
                "name": gauge.topic,
                "class": gauge.class,
                "state": state,
                "lag": read(&gauge.lag),
                "messages": read(&gauge.messages),
                "missed": read(&gauge.missed),
                "made_anew": read(&gauge.surprises),
                "paused": gauge.paused.load(Ordering::Relaxed),
                "partitions": read(&gauge.partitions),
                "reason": reason,
            })
        };
        self.ins.lock().iter().map(one).collect()
    }

    pub(super) fn outs(&self, newest: u64) -> Vec<Value> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let one = |gauge: &Arc<OutGauge>| {
            let (state, reason) = gauge.line.words();
            json!({
                "name": gauge.topic,
                "what": gauge.what.as_str(),
                "state": state,
                "lag": newest.saturating_sub(read(&gauge.cursor)),
                "published": read(&gauge.published),
                "missed": read(&gauge.missed),
                "reason": reason,
            })
        };
        self.outs.lock().iter().map(one).collect()
    }

    /// Sets the metrics; `newest` is the newest durable sequence.
    pub fn observe(&self, newest: u64) {
        for gauge in self.ins.lock().iter() {
            let topic = gauge.topic.clone();
            let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
            metrics::gauge!("shelfd_kafka_in_lag", "topic" => topic.clone()).set(read(&gauge.lag) as f64);
            metrics::counter!("shelfd_kafka_in_messages_total", "topic" => topic.clone()).absolute(read(&gauge.messages));
            metrics::counter!("shelfd_kafka_in_missed_total", "topic" => topic.clone()).absolute(read(&gauge.missed));
            let paused = gauge.paused.load(Ordering::Relaxed);
            metrics::gauge!("shelfd_kafka_in_paused", "topic" => topic).set(f64::from(u8::from(paused)));
        }
        for gauge in self.outs.lock().iter() {
            let topic = gauge.topic.clone();
            let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
            let lag = newest.saturating_sub(read(&gauge.cursor));
            metrics::gauge!("shelfd_kafka_out_lag", "topic" => topic.clone()).set(lag as f64);
            metrics::counter!("shelfd_kafka_out_published_total", "topic" => topic.clone()).absolute(read(&gauge.published));
            metrics::counter!("shelfd_kafka_out_missed_total", "topic" => topic.clone()).absolute(read(&gauge.missed));
            let stopped = matches!(gauge.line.state(), State::Stopped(_));
            metrics::gauge!("shelfd_kafka_out_stopped", "topic" => topic).set(f64::from(u8::from(stopped)));
        }
    }
}
