//! The accept loop: connections, their limits and their end.
//!
//! `axum::serve` was rejected: it does not bound idle connections, and was a tenth to a fifth slower with many small requests.

use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::eager::Eager;
use super::edge::Front;
use super::linger::{Leftovers, Lingering};
use super::watched::{Activity, Inside, Watched};
use super::{HttpOptions, edge};

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
pub(super) async fn run(
    listener: TcpListener,
    front: Front,
    options: HttpOptions,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = places(options.max_connections);
    let all = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    let (front, options) = (Arc::new(front), Arc::new(options));
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
        let (front, options, builder) = (front.clone(), options.clone(), builder.clone());
        tokio::spawn(connection(stream, place, front, options, builder, shutdown.clone()));
    }
    drop(listener);
    if timeout(options.finish_within, places.acquire_many(all)).await.is_err() {
        tracing::warn!("connections were still open when the time to finish them was over; they are cut");
    }
    Ok(())
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

/// The request, whose body is read to its end whatever becomes of it.
fn lingering(
    request: hyper::Request<hyper::body::Incoming>,
    options: &HttpOptions,
    leftovers: &Arc<Leftovers>,
) -> hyper::Request<Body> {
    let (head, body) = request.into_parts();
    let limits = (options.max_body_bytes, options.body_timeout);
    let body = Lingering::new(body, &head.headers, limits, leftovers);
    hyper::Request::from_parts(head, Body::new(body))
}

/// Resolves when the node is told to stop (or nobody is left to tell).
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// As [`stopped`], for a task that is polled with every byte of its connection: to ask the channel again takes a lock, so it is asked
/// once, and again when it has something new or is to wake somebody else.
fn told(mut shutdown: watch::Receiver<bool>) -> impl Future<Output = ()> {
    let glance = shutdown.clone();
    let mut waits = Box::pin(async move { stopped(&mut shutdown).await });
    let mut wakes: Option<Waker> = None;
    std::future::poll_fn(move |cx| {
        let waiting = wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if waiting && matches!(glance.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        wakes = Some(cx.waker().clone());
        waits.as_mut().poll(cx)
    })
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
    front: Arc<Front>,
    options: Arc<HttpOptions>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    shutdown: watch::Receiver<bool>,
) {
    let open = metrics::gauge!("shelfd_http_connections");
    open.increment(1.0);
    let activity = Activity::begin();
    let io = TokioIo::new(Watched::new(stream, place, activity.clone()));
    let eager = Eager::new();
    let leftovers = Leftovers::new(eager.bell());
    let service = {
        let (activity, options, leftovers) = (activity.clone(), options.clone(), leftovers.clone());
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let inside = Inside::new(&activity);
            let answer = edge::answer(front.clone(), lingering(request, &options, &leftovers));
            async move {
                let answered = answer.await;
                drop(inside);
                answered
            }
        })
    };
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    let idle_at = || activity.idle_at(options.header_timeout, options.idle_timeout);
    let mut idle = std::pin::pin!(sleep_until(idle_at()));
    let mut stopping = false;
    let mut told = std::pin::pin!(told(shutdown));
    loop {
        // Looked at after the connection each time: half a head brings the end nearer, whole ones only put it off.
        let over = std::future::poll_fn(|cx| {
            if let Some(sooner) = activity.head_due(options.header_timeout).filter(|at| *at < idle.deadline()) {
                idle.as_mut().reset(sooner);
            }
            idle.as_mut().poll(cx)
        });
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
            () = over => {
                let at = idle_at();
                if at <= Instant::now() {
                    activity.ended_idle();
                    break;
                }
                idle.as_mut().reset(at);
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
