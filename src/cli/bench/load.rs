//! The load itself: threads, each with its connections, and a pacer when the rate is given.
//!
//! In a closed loop each connection asks again when it has its answer: the most that so many callers can get. In an open loop
//! requests are due at fixed times, whatever the node does, and each latency counts from when the request was due; so a stall
//! is paid for by every request that it held up (G. Tene, "How NOT to measure latency": coordinated omission). The pacer is a
//! thread that sleeps, since tokio's timer counts in whole milliseconds, which is more than a whole request. Rejected: waiting
//! by spinning, which takes a core from the node.
//!
//! A batch that the node was too busy for is sent again as it is, as its caller would, and by whichever connection asks next: past the
//! limit most are refused, and to write a new one for each refusal, or to send it out of memory that no cache has, would cost more than
//! the refusal does.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use super::figures::Figures;
use super::pick::Picker;
use super::request::{Terms, Writer};
use super::timeline::Timeline;
use super::verdict::{Judge, Outcome};
use super::wire::Wire;
use super::work::{Kind, Work};

/// How long a broken connection waits before it is made anew: a node that is gone is not worth a busy loop.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long answers may be outstanding after the end of an open loop.
const DRAIN: Duration = Duration::from_secs(10);
/// The status of a node that takes nothing now, and may soon.
const BUSY: u16 = 503;
/// How often events get a new business time.
const TIME_STEP: Duration = Duration::from_millis(500);

/// Connections that do one work.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// What they do.
    pub work: Work,
    /// How many they are.
    pub connections: usize,
    /// Requests a second of all of them together; without it, as many as are answered.
    pub rate: Option<f64>,
    /// When it begins, counted from the beginning of the measuring; without it, with the warm-up.
    pub from: Option<Duration>,
    /// When it ends, counted likewise; without it, with the run.
    pub until: Option<Duration>,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the node is.
    pub address: SocketAddr,
    /// What the requests have in common.
    pub terms: Terms,
    /// The SKUs.
    pub picker: Arc<Picker>,
    /// One lane, or two beside each other.
    pub lanes: Vec<Lane>,
    /// Load threads.
    pub threads: usize,
    /// Not measured, at the beginning.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// Where chance begins.
    pub seed: u64,
    /// The step of the timelines; zero: none is kept.
    pub step: Duration,
    /// Ends the run when so many operations were accepted, warm-up included.
    pub enough: Option<u64>,
}

/// What was seen of one lane.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its figures.
    pub figures: Figures,
    /// The same in steps.
    pub timeline: Timeline,
}

/// What the threads share with whoever watches.
#[derive(Debug, Default)]
pub struct Watch {
    /// Operations accepted so far, warm-up included.
    pub accepted: AtomicU64,
    /// Set to end the run early.
    pub stop: AtomicBool,
    /// Operations after which the run ends; 0: none.
    pub enough: AtomicU64,
}

impl Watch {
    fn is_over(&self) -> bool {
        let enough = self.enough.load(Ordering::Relaxed);
        self.stop.load(Ordering::Relaxed) || (enough > 0 && self.accepted.load(Ordering::Relaxed) >= enough)
    }
}

/// When what begins and ends; one for all threads.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    measured_from: Instant,
    end: Instant,
    /// How long after the end what was due before it may still be asked.
    drain: Duration,
}

impl Clock {
    /// The same for one lane, whose work may begin later and end earlier.
    fn of(self, lane: &Lane) -> Clock {
        Clock {
            start: lane.from.map_or(self.start, |from| self.measured_from + from),
            end: lane.until.map_or(self.end, |until| self.end.min(self.measured_from + until)),
            // A load that ends within a run is gone when it ends: what comes after it is to be seen without it.
            drain: if lane.until.is_some() { Duration::ZERO } else { self.drain },
            ..self
        }
    }
}

/// Runs the plan on threads of its own and answers with the figures of each lane.
pub fn drive(plan: &Plan, watch: &Arc<Watch>) -> io::Result<Vec<Seen>> {
    watch.enough.store(plan.enough.unwrap_or(0), Ordering::Relaxed);
    let threads = plan.threads.max(1);
    let ready = Arc::new(Barrier::new(threads + 1));
    let go = Arc::new(Barrier::new(threads + 1));
    let clock = Arc::new(std::sync::OnceLock::new());
    let (mut workers, mut ticks) = (Vec::new(), vec![Vec::new(); plan.lanes.len()]);
    for index in 0..threads {
        let receivers: Vec<_> = ticks
            .iter_mut()
            .zip(&plan.lanes)
            .map(|(senders, lane)| {
                lane.rate.map(|_| {
                    let (sender, receiver) = unbounded_channel();
                    senders.push(sender);
                    receiver
                })
            })
            .collect();
        let (plan, watch, ready, go, clock) = (
            plan.clone(),
            Arc::clone(watch),
            Arc::clone(&ready),
            Arc::clone(&go),
            Arc::clone(&clock),
        );
        workers.push(thread::Builder::new().name(format!("load-{index}")).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                let opened = open(&plan, index).await;
                // Everybody is waited for, also those that failed: the others must not wait for ever.
                ready.wait();
                go.wait();
                let clock = clock.get().copied().unwrap_or_else(|| clock_of(&plan));
                load(&plan, index, opened?, receivers, (clock, &watch)).await
            })
        })?);
    }
    ready.wait();
    let clock = *clock.get_or_init(|| clock_of(plan));
    go.wait();
    for (senders, lane) in ticks.into_iter().zip(&plan.lanes) {
        if let Some(rate) = lane.rate {
            let (watch, clock) = (Arc::clone(watch), clock.of(lane));
            thread::Builder::new()
                .name("pacer".to_owned())
                .spawn(move || pace(rate, clock, &senders, &watch))?;
        }
    }
    let mut seen: Vec<Seen> = plan.lanes.iter().map(|_| Seen::default()).collect();
    for worker in workers {
        let mine = worker.join().map_err(|_| io::Error::other("a load thread died"))??;
        for (all, mine) in seen.iter_mut().zip(&mine) {
            all.figures.add(&mine.figures);
            all.timeline.add(&mine.timeline);
        }
    }
    Ok(seen)
}

fn clock_of(plan: &Plan) -> Clock {
    let start = Instant::now();
    let measured_from = start + plan.warm_up;
    Clock {
        start,
        measured_from,
        end: measured_from + plan.duration,
        drain: DRAIN,
    }
}

/// Says when each request is due, until the end.
fn pace(rate: f64, clock: Clock, senders: &[UnboundedSender<Instant>], watch: &Watch) {
    for (number, sender) in senders.iter().cycle().enumerate() {
        let due = clock.start + Duration::from_secs_f64(number as f64 / rate);
        if due >= clock.end || watch.is_over() {
            return;
        }
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        if sender.send(due).is_err() {
            return;
        }
    }
}

/// The connections of one thread: for each lane, its share.
async fn open(plan: &Plan, thread: usize) -> io::Result<Vec<Vec<Wire>>> {
    let mut lanes = Vec::new();
    for lane in &plan.lanes {
        let mut wires = Vec::new();
        for _ in (thread..lane.connections).step_by(plan.threads.max(1)) {
            wires.push(Wire::connect(plan.address).await?);
        }
        lanes.push(wires);
    }
    Ok(lanes)
}

type Ticks = Rc<tokio::sync::Mutex<UnboundedReceiver<Instant>>>;

async fn load(
    plan: &Plan,
    thread: usize,
    lanes: Vec<Vec<Wire>>,
    receivers: Vec<Option<UnboundedReceiver<Instant>>>,
    (clock, watch): (Clock, &Arc<Watch>),
) -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    let mut tasks = Vec::new();
    let mut number = thread as u64;
    for ((lane, wires), receiver) in plan.lanes.iter().zip(lanes).zip(receivers) {
        let seen = Rc::new(RefCell::new(Seen {
            figures: Figures::default(),
            timeline: Timeline::new(plan.step),
        }));
        let refused = Rc::default();
        let ticks = receiver.map(|receiver| Ticks::new(tokio::sync::Mutex::new(receiver)));
        for wire in wires {
            number += plan.threads as u64;
            let caller = Caller {
                work: lane.work,
                wire: Some(wire),
                address: plan.address,
                writer: Writer::new(plan.terms.clone(), number, plan.seed),
                picker: Arc::clone(&plan.picker),
                judge: Judge::default(),
                batch: plan.terms.batch as u64,
                seen: Rc::clone(&seen),
                clock: clock.of(lane),
                watch: Arc::clone(watch),
                timed: None,
                refused: Rc::clone(&refused),
            };
            tasks.push(tokio::task::spawn_local(caller.run(ticks.clone())));
        }
        all.push(seen);
    }
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    Ok(all.iter().map(|seen| seen.replace(Seen::default())).collect())
}

/// When a request was written and could be sent, and when its answer was there.
struct Asked {
    written: Instant,
    answered: Instant,
}

/// One connection at work.
struct Caller {
    work: Work,
    wire: Option<Wire>,
    address: SocketAddr,
    writer: Writer,
    picker: Arc<Picker>,
    judge: Judge,
    batch: u64,
    seen: Rc<RefCell<Seen>>,
    clock: Clock,
    watch: Arc<Watch>,
    timed: Option<Instant>,
    /// Batches of this lane that are written already: the node was too busy for them.
    refused: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Caller {
    async fn run(mut self, ticks: Option<Ticks>) {
        match ticks {
            Some(ticks) => self.open_loop(&ticks).await,
            None => self.closed_loop().await,
        }
    }

    async fn closed_loop(&mut self) {
        tokio::time::sleep_until(self.clock.start.into()).await;
        loop {
            let begun = Instant::now();
            if begun >= self.clock.end || self.watch.is_over() {
                return;
            }
            let (kind, outcome, asked) = self.ask(begun).await;
            let done = asked.answered;
            // What ends within the window counts, whenever it began: as much is cut off at the end as is gained at the start.
            let measured = done >= self.clock.measured_from && done < self.clock.end;
            self.note(kind, &outcome, done, measured.then(|| (done - begun, done - begun)));
        }
    }

    async fn open_loop(&mut self, ticks: &Ticks) {
        loop {
            let Some(due) = ticks.lock().await.recv().await else { return };
            let begun = Instant::now();
            let measured = due >= self.clock.measured_from;
            if self.watch.is_over() {
                continue;
            }
            if begun > self.clock.end + self.clock.drain {
                let mut unanswered = Outcome::default();
                unanswered.miss("not_sent_in_time", 1);
                let kind = self.work.next(&mut self.writer);
                self.note(kind, &unanswered, begun, measured.then(|| (begun - due, Duration::ZERO)));
                continue;
            }
            let (kind, outcome, Asked { written, answered }) = self.ask(begun).await;
            self.note(
                kind,
                &outcome,
                answered,
                measured.then(|| (answered - due, answered - written)),
            );
        }
    }

    fn note(&mut self, kind: Kind, outcome: &Outcome, done: Instant, measured: Option<(Duration, Duration)>) {
        self.watch.accepted.fetch_add(outcome.accepted, Ordering::Relaxed);
        if let Some(latency) = measured {
            let mut seen = self.seen.borrow_mut();
            seen.figures.record(kind, latency, outcome);
            let at = done.saturating_duration_since(self.clock.measured_from);
            seen.timeline.note(at, latency.0, outcome);
        }
    }

    /// One request, what it was worth, and when.
    async fn ask(&mut self, now: Instant) -> (Kind, Outcome, Asked) {
        let again = self.refused.borrow_mut().pop();
        let (kind, written) = match again {
            Some(batch) => {
                self.writer.request = batch;
                (Kind::Batch, now)
            }
            None => (self.write(now), Instant::now()),
        };
        let rows = if kind == Kind::Batch { self.batch } else { 1 };
        let mut outcome = Outcome::default();
        let exchanged = self.exchange(kind, rows, &mut outcome).await;
        let answered = exchanged.as_ref().map_or_else(|_| Instant::now(), |(_, answered)| *answered);
        match exchanged.map(|(status, _)| status) {
            // Nothing of it was taken, its ids neither.
            Ok(BUSY) if kind == Kind::Batch => self.refused.borrow_mut().push(std::mem::take(&mut self.writer.request)),
            Ok(_) => {}
            Err(error) => {
                outcome.miss(name_of(&error), rows);
                self.wire = None;
            }
        }
        if outcome.accepted == 0 {
            self.writer.forget_held();
        }
        (kind, outcome, Asked { written, answered })
    }

    /// Writes the next request.
    fn write(&mut self, now: Instant) -> Kind {
        if self.timed.is_none_or(|timed| now - timed > TIME_STEP) {
            self.timed = Some(now);
            self.writer
                .set_time(&Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        let kind = self.work.next(&mut self.writer);
        self.writer.write(kind, &self.picker);
        kind
    }

    /// The status of the answer, and when it was there.
    async fn exchange(&mut self, kind: Kind, rows: u64, outcome: &mut Outcome) -> io::Result<(u16, Instant)> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            empty => match Wire::connect(self.address).await {
                Ok(wire) => empty.insert(wire),
                Err(error) => {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    return Err(error);
                }
            },
        };
        let reply = wire.ask(&self.writer.request).await?;
        let answered = Instant::now();
        self.judge.judge(kind, rows, &reply, outcome);
        let status = reply.status;
        if wire.finish(&self.writer.request).await.is_err() {
            // It has been answered all the same.
            self.wire = None;
        }
        Ok((status, answered))
    }
}

fn name_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection_closed",
        io::ErrorKind::InvalidData => "unreadable_answer",
        _ => "connection_error",
    }
}
