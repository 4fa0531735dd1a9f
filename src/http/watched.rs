//! A connection's socket: it notes when bytes of an answer leave (bytes that arrive do not count: a head that comes byte by byte
//! must not keep its connection), and has the last word where no request has come of them.
//!
//! A head that is too large, is no HTTP, or stops half-way, never becomes a request: hyper gives the connection up, and what it would answer stays
//! in its buffer. Here the caller gets the problem that the contract promises, and what it is still sending is read for a moment, so
//! that a reset does not overtake the answer. Larger buffers, so that every head becomes a request, were rejected: ten thousand
//! connections would each be owed one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::edge;

/// The most bytes that are read and thrown away after a head that could not be read …
const REST_BYTES: u64 = 1 << 20;
/// … and how long they may take.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// Since the watch last looked, which is within the same turn: it then says when. Most heads are whole by then, and nobody asks.
const JUST_NOW: u64 = u64::MAX;
/// Nobody has read the clock since the watch last looked.
const UNREAD: u64 = u64::MAX;

/// What one connection does, seen by its own watch.
pub(super) struct Activity {
    start: Instant,
    /// Milliseconds after `start` of the last answer, or the last byte of one; or [`JUST_NOW`].
    last_ms: AtomicU64,
    /// Nanoseconds after `start`: the clock as a request has read it in this turn, since reading it is most of a look. Or [`UNREAD`].
    clock_ns: AtomicU64,
    /// Requests begun, so that a connection that never spoke is told from one that paused.
    begun: AtomicU32,
    /// Requests not yet answered.
    inside: AtomicU32,
    /// Milliseconds after `start`, and one more, of the first byte that no request has come of yet; 0: there is none; or [`JUST_NOW`].
    head_ms: AtomicU64,
    /// Whether the caller speaks HTTP/2: its connection has bytes that are of no request, and no place for an answer in text.
    h2: AtomicBool,
    /// The status that a head is answered with which never became a request; 0: there was none.
    unreadable: AtomicU16,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn begin() -> Arc<Activity> {
        Arc::new(Activity {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            clock_ns: AtomicU64::new(UNREAD),
            begun: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            head_ms: AtomicU64::new(0),
            h2: AtomicBool::new(false),
            unreadable: AtomicU16::new(0),
        })
    }

    fn touch(&self) {
        self.last_ms.store(JUST_NOW, Ordering::Relaxed);
    }

    /// A request of this turn has read the clock. One of HTTP/2 may end in another task, and then the clock may have moved on past the
    /// time that the connection's own timer has woken it for.
    fn read_at(&self, now: Instant) {
        if !self.h2.load(Ordering::Relaxed) {
            let ns = now.duration_since(self.start).as_nanos() as u64;
            self.clock_ns.store(ns, Ordering::Relaxed);
        }
    }

    /// Says when what has happened since the last look did: now. `None`: nothing has.
    pub(super) fn look(&self) -> Option<Instant> {
        let just = |of: &AtomicU64| of.load(Ordering::Relaxed) == JUST_NOW;
        let (answered, heard) = (just(&self.last_ms), just(&self.head_ms));
        let now = match self.clock_ns.load(Ordering::Relaxed) {
            UNREAD if !answered && !heard => return None,
            UNREAD => Instant::now(),
            ns => {
                self.clock_ns.store(UNREAD, Ordering::Relaxed);
                self.start + Duration::from_nanos(ns)
            }
        };
        let ms = now.duration_since(self.start).as_millis() as u64;
        if answered {
            self.last_ms.store(ms, Ordering::Relaxed);
        }
        if heard {
            self.head_ms.store(ms + 1, Ordering::Relaxed);
        }
        Some(now)
    }

    /// Bytes have come. Outside of a request they are the head of the next one.
    fn heard(&self, bytes: &[u8]) {
        if self.inside.load(Ordering::Relaxed) > 0 || self.head_ms.load(Ordering::Relaxed) > 0 || bytes.is_empty() {
            return;
        }
        if self.begun.load(Ordering::Relaxed) == 0 && bytes.starts_with(b"PRI") {
            self.h2.store(true, Ordering::Relaxed);
        }
        if !self.h2.load(Ordering::Relaxed) {
            self.head_ms.store(JUST_NOW, Ordering::Relaxed);
        }
    }

    /// The connection is ended because it was idle for too long: when half a head has come, the caller is told.
    pub(super) fn ended_idle(&self) {
        if self.head_ms.load(Ordering::Relaxed) > 0 {
            self.unreadable.store(408, Ordering::Relaxed);
        }
    }

    /// The connection ends with this error: when it is of a head that could not be read, the caller is told.
    pub(super) fn ended_by(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        let status = match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse_too_large() && error.to_string().contains("URI") => 414,
            Some(error) if error.is_parse_too_large() => 431,
            Some(error) if error.is_parse() => 400,
            _ => 0,
        };
        self.unreadable.store(status, Ordering::Relaxed);
    }

    /// The instant that a time stands for. An answer of HTTP/2 may end on another thread, after the last look: that is now, too.
    fn at(&self, ms: u64) -> Instant {
        match ms >= JUST_NOW - 1 {
            true => Instant::now(),
            false => self.start + Duration::from_millis(ms),
        }
    }

    /// When the head that has begun to come must be whole; `None`: none has begun.
    pub(super) fn head_due(&self, header: Duration) -> Option<Instant> {
        let began = self.head_ms.load(Ordering::Relaxed);
        (began > 0).then(|| self.at(began.saturating_sub(1)) + header)
    }

    /// When this connection will have been idle for too long, as things stand.
    pub(super) fn idle_at(&self, header: Duration, idle: Duration) -> Instant {
        if self.inside.load(Ordering::Relaxed) > 0 {
            return Instant::now() + idle;
        }
        if let Some(due) = self.head_due(header) {
            return due;
        }
        let last = self.at(self.last_ms.load(Ordering::Relaxed));
        if self.begun.load(Ordering::Relaxed) == 0 {
            self.start + header
        } else {
            last + idle.max(header)
        }
    }
}

/// A request in hand.
pub(super) struct Inside(Arc<Activity>);

impl Inside {
    /// One more, begun now.
    pub(super) fn new(activity: &Arc<Activity>, now: Instant) -> Inside {
        activity.read_at(now);
        activity.head_ms.store(0, Ordering::Relaxed);
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.inside.fetch_add(1, Ordering::Relaxed);
        Inside(activity.clone())
    }

    /// It is answered now.
    pub(super) fn leave(self, now: Instant) {
        self.0.read_at(now);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.touch();
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Watched {
    /// The socket, and its place among the connections; there until the end.
    socket: Option<(TcpStream, OwnedSemaphorePermit)>,
    activity: Arc<Activity>,
}

impl Watched {
    /// Around an accepted socket.
    pub(super) fn new(stream: TcpStream, place: OwnedSemaphorePermit, activity: Arc<Activity>) -> Watched {
        Watched {
            socket: Some((stream, place)),
            activity,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.socket {
            Some((stream, _)) => Ok(Pin::new(stream)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.stream()?.poll_read(cx, buf);
        self.activity.heard(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, buf);
        if written.is_ready() {
            self.activity.touch();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    /// Nothing yet: hyper shuts down before it says why. The socket is closed when this is dropped, which is at once.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.activity.touch();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let answer = edge::unreadable_head(self.activity.unreadable.load(Ordering::Relaxed));
        // Without a runtime the node has ended, and every connection with it.
        if let (Some(answer), Some((mut stream, place)), Ok(runtime)) =
            (answer, self.socket.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                let _place = place;
                let told = async {
                    stream.write_all(&answer).await?;
                    stream.shutdown().await?;
                    let mut rest = stream.take(REST_BYTES);
                    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
                };
                // Whether it is read or not, the connection ends.
                let _ = timeout(REST_WITHIN, told).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happened_since_the_last_look_counts_from_now_whoever_asks_first() {
        let within = (Duration::from_secs(10), Duration::from_secs(60));
        let activity = Activity::begin();
        tokio::time::advance(Duration::from_secs(5)).await;
        activity.heard(b"GET /");
        assert_eq!(activity.head_due(within.0), Some(Instant::now() + within.0));
        assert_eq!(activity.look(), Some(Instant::now()));
        let due = Instant::now() + within.0;
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.heard(b" HTTP/1.1");
        assert_eq!(
            (activity.look(), activity.head_due(within.0)),
            (None, Some(due)),
            "more of a head brings no more time"
        );
        Inside::new(&activity, Instant::now()).leave(Instant::now());
        assert_eq!(activity.idle_at(within.0, within.1), Instant::now() + within.1);
        assert_eq!(activity.look(), Some(Instant::now()));
        let due = Instant::now() + within.1;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((activity.look(), activity.idle_at(within.0, within.1)), (None, due));
        let begun = Inside::new(&activity, Instant::now());
        let read = Instant::now();
        tokio::time::advance(Duration::from_millis(3)).await;
        assert_eq!(
            (activity.look(), activity.look()),
            (Some(read), None),
            "as the request has read it, once"
        );
        activity.heard(b"");
        begun.leave(Instant::now());
        assert_eq!(activity.look(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_another_task_does_not_say_what_time_it_is() {
        let activity = Activity::begin();
        activity.heard(b"PRI * HTTP/2.0");
        Inside::new(&activity, Instant::now()).leave(Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.look(), Some(Instant::now()));
    }
}
