//! A request's body that is read to its end also when nobody wants it any more.
//!
//! A refusal is answered before the body has arrived: the valve is shut, the path is wrong. A server that then closes makes the
//! system send a reset for the bytes still coming, and the caller loses the answer that it was to heed. So what is left of a body
//! that may be as large is read and thrown away, within the time that a piece of it may take. Reading it before answering was
//! rejected: past the valve the answer must come at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::eager::Bell;

/// What is left of the bodies of one connection, read in its own task: beside it each piece would be handed from task to task.
pub(super) struct Leftovers {
    any: AtomicBool,
    left: Mutex<Vec<Left>>,
    bell: Arc<Bell>,
}

struct Left {
    body: Incoming,
    /// Bytes that may still come; past it the connection is closed.
    bytes: u64,
    over: Pin<Box<Sleep>>,
}

impl Leftovers {
    /// None yet, of the connection with this bell.
    pub(super) fn new(bell: Arc<Bell>) -> Arc<Leftovers> {
        Arc::new(Leftovers {
            any: AtomicBool::new(false),
            left: Mutex::default(),
            bell,
        })
    }

    fn put(&self, left: Left) {
        self.left.lock().push(left);
        self.any.store(true, Ordering::Release);
        self.bell.wake_by_ref();
    }

    /// Reads what has come of them.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        if self.any.load(Ordering::Acquire) {
            let mut left = self.left.lock();
            left.retain_mut(|left| left.poll(cx).is_pending());
            self.any.store(!left.is_empty(), Ordering::Release);
        }
    }
}

impl Left {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            let size = frame.data_ref().map_or(0, Bytes::len) as u64;
            if size > self.bytes {
                return Poll::Ready(());
            }
            self.bytes -= size;
        }
        self.over.as_mut().poll(cx)
    }
}

/// See the module. The body of one request; nothing when it has none, or has come to its end.
pub(super) struct Lingering(Option<Coming>);

/// A body that has not come to its end.
struct Coming {
    body: Incoming,
    /// Bytes that may still come; past it the connection is closed.
    left: u64,
    until: Instant,
    leftovers: Arc<Leftovers>,
}

impl Lingering {
    /// Around the body of a request that began then. One that is announced as too large is not waited for, nor is one whose caller
    /// waits to be asked for it.
    pub(super) fn new(
        body: Incoming,
        headers: &HeaderMap,
        (limit, within): (usize, Duration),
        leftovers: &Arc<Leftovers>,
        began: Instant,
    ) -> Lingering {
        if body.is_end_stream() {
            return Lingering(None);
        }
        let limit = limit as u64;
        let asked_for = body.size_hint().lower() <= limit && !headers.contains_key(header::EXPECT);
        Lingering(Some(Coming {
            body,
            left: if asked_for { limit } else { 0 },
            until: began + within,
            leftovers: leftovers.clone(),
        }))
    }

    /// As the router takes it.
    pub(super) fn into_body(self) -> axum::body::Body {
        match self.0 {
            None => axum::body::Body::empty(),
            Some(_) => axum::body::Body::new(self),
        }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(coming) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut coming.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => coming.left = coming.left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64),
            Some(Err(_)) | None => self.0 = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|coming| coming.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let of = |coming: &Coming| coming.body.size_hint();
        self.0.as_ref().map_or(SizeHint::with_exact(0), of)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(coming) = self.0.take() else { return };
        let over = coming.body.is_end_stream() || coming.left == 0 || coming.until <= Instant::now();
        // Without a runtime the node has ended, and every connection with it.
        if !over && Handle::try_current().is_ok() {
            coming.leftovers.put(Left {
                body: coming.body,
                bytes: coming.left,
                over: Box::pin(sleep_until(coming.until)),
            });
        }
    }
}
