//! The accept loop: connections, their limits and their end.
//!
//! `axum::serve` was rejected: it does not bound idle connections, and was a tenth to a fifth slower with many small requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::eager::Eager;
use super::entrance::Entrance;
use super::lanes::{Lanes, Spread};
use super::linger::{Leftovers, Lingering};
use super::watched::{Activity, Inside, Watched};
use super::{Limits, edge};

/// HTTP/2 streams of one connection at once.
const MAX_STREAMS: u32 = 256;
/// Descriptors that are not for connections: the store, the listener, the runtime, and those just turned away.
const OTHER_DESCRIPTORS: usize = 128;
/// The most bytes that hyper keeps of one request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The same for HTTP/2, where what is past it is answered without a body: so there is room for every head that a caller might
/// have sent in good faith, and those are refused by name.
const MAX_H2_HEAD_BYTES: u32 = 256 * 1024;

/// Accepts until told to stop, then finishes what was taken, within the time limit.
pub(super) async fn run(listener: TcpListener, entrance: Entrance, shutdown: watch::Receiver<bool>) -> io::Result<()> {
    let limits = entrance.limits();
    let places = places(limits.max_connections);
    let all = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    let lanes = Lanes::open()?;
    let listener = listener.into_std()?;
    let (spread, free) = (lanes.spread(), places.clone());
    let accepting = async move {
        // Heard of by the lane's own thread from here on.
        accept(TcpListener::from_std(listener)?, spread, free, entrance, shutdown).await;
        Ok::<_, io::Error>(())
    };
    lanes.within(accepting).await??;
    if timeout(limits.finish_within, places.acquire_many(all)).await.is_err() {
        tracing::warn!("connections were still open when the time to finish them was over; they are cut");
    }
    Ok(())
}

/// Gives connections to the lanes until told to stop.
async fn accept(
    listener: TcpListener,
    lanes: Spread,
    places: Arc<Semaphore>,
    entrance: Entrance,
    mut shutdown: watch::Receiver<bool>,
) {
    let builder = Arc::new(builder());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors or a connection that died in the queue: neither ends the node. The pause keeps a full
                // descriptor table from turning this loop into a spin.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(stream);
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (entrance, builder, shutdown) = (entrance.clone(), builder.clone(), shutdown.clone());
        if let Err(error) = lanes.serve(stream, |stream| connection(stream, place, entrance, builder, shutdown)) {
            tracing::warn!(%error, "a connection could not be taken");
        }
    }
}

/// As many places as connections are allowed and as the process has descriptors for, less some for the store: without
/// that bound idle connections would use up the descriptors, and further ones would wait instead of being told.
fn places(max_connections: usize) -> Arc<Semaphore> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = descriptors.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let places = max_connections
        .min(room.saturating_sub(OTHER_DESCRIPTORS))
        .clamp(1, Semaphore::MAX_PERMITS);
    if places < max_connections {
        tracing::warn!(
            places,
            max_connections,
            "the limit of open files allows fewer connections than configured"
        );
    }
    Arc::new(Semaphore::new(places))
}

/// The request, whose body, if it has one, is read to its end whatever becomes of it.
fn lingering(
    request: hyper::Request<hyper::body::Incoming>,
    limits: &Limits,
    leftovers: &Arc<Leftovers>,
    began: Instant,
) -> hyper::Request<Lingering> {
    let (head, body) = request.into_parts();
    let limits = (limits.max_body_bytes, limits.body_timeout);
    let body = Lingering::new(body, &head.headers, limits, leftovers, began);
    hyper::Request::from_parts(head, body)
}

/// Resolves when the node is told to stop (or nobody is left to tell).
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Whom a future has been asked to wake: one that is polled with every byte of its connection need not be asked again each time,
/// which takes longer than the rest of the look.
#[derive(Default)]
struct Asked(Option<Waker>);

impl Asked {
    /// Whether it will wake this task.
    fn wakes(&self, cx: &Context<'_>) -> bool {
        self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Asks it to wake this task. A task that has used up its turn asks in vain: it is only told to come again.
    fn ask<T>(&mut self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let heard = coop::has_budget_remaining();
        let polled = poll(cx);
        self.0 = (heard && polled.is_pending()).then(|| cx.waker().clone());
        polled
    }
}

/// As [`stopped`], for a task that is polled with every byte of its connection: to ask the channel again takes a lock, so it is asked
/// once, and again when it has something new or is to wake somebody else.
fn told(mut shutdown: watch::Receiver<bool>) -> impl Future<Output = ()> {
    let glance = shutdown.clone();
    let mut waits = Box::pin(async move { stopped(&mut shutdown).await });
    let mut asked = Asked::default();
    std::future::poll_fn(move |cx| {
        if asked.wakes(cx) && matches!(glance.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        asked.ask(cx, |cx| waits.as_mut().poll(cx))
    })
}

/// The end of a connection that has been idle for too long.
struct Idle<'c> {
    activity: &'c Activity,
    /// For a head, and between requests.
    within: (Duration, Duration),
    sleep: Pin<Box<Sleep>>,
    asked: Asked,
}

impl<'c> Idle<'c> {
    fn new(activity: &'c Activity, within: (Duration, Duration)) -> Idle<'c> {
        Idle {
            activity,
            within,
            sleep: Box::pin(sleep_until(activity.idle_at(within.0, within.1))),
            asked: Asked::default(),
        }
    }

    fn put_off(&mut self, until: Instant) {
        self.sleep.as_mut().reset(until);
        self.asked = Asked::default();
    }

    /// Ready when it has come. Looked at after the connection each time: half a head brings it nearer, whole ones only put it off.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let looked = self.activity.look();
        let due = self.activity.head_due(self.within.0);
        if let Some(sooner) = due.filter(|at| *at < self.sleep.deadline()) {
            self.put_off(sooner);
        }
        // Where the clock has been read, it tells the same as the timer, which lies in memory that others write to.
        let pending = looked.map_or_else(|| !self.sleep.is_elapsed(), |now| now < self.sleep.deadline());
        if pending && self.asked.wakes(cx) {
            return Poll::Pending;
        }
        loop {
            let sleep = &mut self.sleep;
            ready!(self.asked.ask(cx, |cx| sleep.as_mut().poll(cx)));
            let at = self.activity.idle_at(self.within.0, self.within.1);
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            self.put_off(at);
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Without it hyper's own bare answer to a head that cannot be read goes out before the problem (`Watched`).
        .pipeline_flush(true)
        // A connection's own watch minds slow heads (`Activity`): hyper's would set a timer for every request.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_H2_HEAD_BYTES)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}

async fn connection(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    entrance: Entrance,
    builder: Arc<auto::Builder<TokioExecutor>>,
    shutdown: watch::Receiver<bool>,
) {
    let open = metrics::gauge!("shelfd_http_connections");
    open.increment(1.0);
    let activity = Activity::begin();
    let limits = entrance.limits();
    let io = TokioIo::new(Watched::new(stream, place, activity.clone()));
    let eager = Eager::here().await;
    let leftovers = Leftovers::new(eager.bell());
    let service = {
        let (activity, leftovers) = (activity.clone(), leftovers.clone());
        // Counted for each connection: a count that all requests share would go from core to core with each of them.
        let entrance = Arc::new(entrance);
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let began = Instant::now();
            let inside = Inside::new(&activity, began);
            let request = lingering(request, &limits, &leftovers, began);
            edge::answer(entrance.clone(), request, began, inside)
        })
    };
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    let mut idle = Idle::new(&activity, (limits.header_timeout, limits.idle_timeout));
    let mut stopping = false;
    let mut told = std::pin::pin!(told(shutdown));
    loop {
        let served = std::future::poll_fn(|cx| {
            eager.poll(cx, |cx| {
                let served = serving.as_mut().poll(cx);
                leftovers.poll(cx);
                served
            })
        });
        tokio::select! {
            biased;
            ended = served => {
                // An error here is the caller's: a reset, or a broken head.
                if let Err(error) = ended {
                    activity.ended_by(error.as_ref());
                }
                break;
            }
            () = told.as_mut(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            () = std::future::poll_fn(|cx| idle.poll(cx)) => {
                activity.ended_idle();
                break;
            }
        }
    }
    open.decrement(1.0);
}

/// One connection too many: told so, and closed, without a place of its own.
fn turn_away(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 155\r\n\r\n{\"type\":\"/problems/overloaded\",\"title\":\"The node is overloaded\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"too many connections are open; try again later\"}";
    metrics::counter!("shelfd_overloaded_total").increment(1);
    tokio::spawn(async move {
        let _ = timeout(Duration::from_secs(1), async {
            let _ = stream.write_all(ANSWER).await;
            let _ = stream.shutdown().await;
        })
        .await;
    });
}

#[cfg(test)]
mod tests {
    use tokio::task::{consume_budget, yield_now};

    use super::*;

    /// Polls a future after its task has used up its turn; says whether it is ready.
    async fn polled_late(future: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|cx| {
            while coop::has_budget_remaining() {
                let _ = std::pin::pin!(consume_budget()).poll(cx);
            }
            Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_when_its_turn_is_used_up_hears_all_the_same_that_the_node_stops() {
        let (stop, shutdown) = watch::channel(false);
        let heard = tokio::spawn(async move {
            let mut told = Box::pin(told(shutdown));
            assert!(!polled_late(&mut told).await, "nobody stops yet");
            told.await;
        });
        for _ in 0..8 {
            yield_now().await;
        }
        assert!(stop.send(true).is_ok(), "the connection listens");
        assert!(timeout(Duration::from_secs(1), heard).await.is_ok(), "it was not woken");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_though_its_first_look_came_at_the_end_of_a_turn() {
        let activity = Activity::begin();
        let within = (Duration::from_secs(10), Duration::from_secs(60));
        let watched = async {
            let mut idle = Idle::new(&activity, within);
            let mut over = std::future::poll_fn(|cx| idle.poll(cx));
            assert!(!polled_late(&mut over).await, "its time has only begun");
            over.await;
        };
        assert!(timeout(2 * (within.0 + within.1), watched).await.is_ok(), "it was not woken");
    }
}
