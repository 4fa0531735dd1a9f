//! One topic's outbox: reads what is durable, sends it, and moves its cursor when the broker has confirmed.
//!
//! The cursor's place is written with the journal's own transactions, at most twice a second: after a crash some messages come
//! again, with the same ids and versions, and none is missing. Trouble of any kind ends in going back to the cursor.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::actors::node::Node;
use crate::doom;

use super::facts::Facts;
use super::flight::{Failure, Sender, To};
use super::gauge::OutGauge;
use super::latest::Latest;
use super::part::Stop;
use super::{Out, What, cursor_of};

/// The first and the longest wait before trying again.
const AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// The wait before a message that was refused for good is offered again, in case somebody has mended it.
const FOREVER: Duration = Duration::from_secs(15);
/// How long answers are waited for while there are messages underway. What becomes durable meanwhile could only wait for them, too.
const ANSWERS: Duration = Duration::from_millis(1);
/// How long nothing is looked at when there is nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// How often the cursor's place is written.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// How long a stop waits for answers.
const FINISH: Duration = Duration::from_secs(2);

/// What there is to publish.
pub(super) trait Source: Send {
    /// Sends the next portion, in flights of its own. Says whether there was one.
    fn more(&mut self, sender: &mut Sender) -> Result<bool, Failure>;

    /// For how long there will be nothing, unless something new becomes durable; `None`: for ever.
    fn rests(&self) -> Option<Duration> {
        None
    }
}

/// See the module.
pub(super) struct Publisher {
    node: Node,
    to: To,
    out: Out,
    gauge: Arc<OutGauge>,
    cursor: String,
}

impl Publisher {
    pub(super) fn new(node: Node, to: To, out: Out, gauge: Arc<OutGauge>) -> Publisher {
        let cursor = cursor_of(&out.topic);
        Publisher {
            node,
            to,
            out,
            gauge,
            cursor,
        }
    }

    /// Publishes until it should end. Waits as a task does, so that the simulator can turn its clock; what the client's library does
    /// blocks, so in a node it has a thread of its own.
    pub(super) async fn run(&self, stop: &Stop) {
        let mut wait = AGAIN[0];
        while !stop.now() {
            let begun = self.gauge.published.load(Ordering::Relaxed);
            let failure = match self.publish(stop).await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            if self.gauge.published.load(Ordering::Relaxed) > begun {
                wait = AGAIN[0];
            }
            match failure {
                Failure::Forever(why) => {
                    self.gauge.line.stopped(&why);
                    stop.rest(FOREVER).await;
                }
                Failure::Again(why) => {
                    self.gauge.line.waits(&why);
                    stop.rest(wait).await;
                    wait = (wait * 2).min(AGAIN[1]);
                }
            }
        }
    }

    async fn publish(&self, stop: &Stop) -> Result<(), Failure> {
        let store = self.node.store();
        let known = store
            .cursor(&self.cursor)
            .map_err(|error| Failure::Again(error.to_string()))?;
        store.hold_at_most(&self.cursor, self.out.hold_facts);
        let mut place = Place {
            publisher: self,
            written: known.unwrap_or(0),
            at: known.unwrap_or(0),
            since: Instant::now(),
        };
        self.gauge.cursor.store(place.at, Ordering::Relaxed);
        self.gauge.read.store(place.at, Ordering::Relaxed);
        let mut sender = Sender::open(&self.to, &self.out, &self.gauge.line)?;
        let mut source: Box<dyn Source> = match self.out.what {
            What::Availability => Box::new(Latest::new(&self.node, &self.out, known, self.gauge.clone())?),
            _ => Box::new(Facts::new(&self.node, &self.out, known, self.gauge.clone())?),
        };
        let done = self.go_on(stop, &mut sender, source.as_mut(), &mut place).await;
        place.write();
        done
    }

    async fn go_on(
        &self,
        stop: &Stop,
        sender: &mut Sender,
        source: &mut dyn Source,
        place: &mut Place<'_>,
    ) -> Result<(), Failure> {
        let mut durable = self.node.durable();
        loop {
            if stop.now() {
                return self.finish(sender, place).await;
            }
            durable.borrow_and_update();
            let more = sender.has_room() && source.more(sender)?;
            self.hear(sender, place)?;
            if more {
                continue;
            }
            // A wake-up says "look", never "what".
            if !sender.is_empty() {
                stop.rest(ANSWERS).await;
                continue;
            }
            place.write_when_due();
            let idle = if place.written == place.at { IDLE } else { WRITE_EVERY };
            let idle = source.rests().map_or(idle, |rest| rest.min(idle));
            stop.wait(idle, durable.changed()).await;
        }
    }

    fn hear(&self, sender: &mut Sender, place: &mut Place<'_>) -> Result<(), Failure> {
        let (confirmed, end) = sender.answers()?;
        if confirmed > 0 {
            self.gauge.published.fetch_add(confirmed, Ordering::Relaxed);
            self.gauge.line.runs();
        }
        if let Some(end) = end {
            doom::may_die("kafka_out");
            place.at = end;
            self.gauge.cursor.store(end, Ordering::Relaxed);
            place.write_when_due();
        }
        Ok(())
    }

    /// Hears what is underway, for a moment.
    async fn finish(&self, sender: &mut Sender, place: &mut Place<'_>) -> Result<(), Failure> {
        let until = Instant::now() + FINISH;
        while !sender.is_empty() && Instant::now() < until {
            tokio::time::sleep(ANSWERS).await;
            self.hear(sender, place)?;
        }
        Ok(())
    }
}

/// How far everything is with the broker, and how far that is written down.
struct Place<'p> {
    publisher: &'p Publisher,
    written: u64,
    at: u64,
    since: Instant,
}

impl Place<'_> {
    fn write_when_due(&mut self) {
        if self.since.elapsed() >= WRITE_EVERY {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.at > self.written {
            self.publisher.node.store().set_cursor(&self.publisher.cursor, self.at);
            self.written = self.at;
        }
        self.since = Instant::now();
    }
}
