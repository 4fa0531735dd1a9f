//! A request's body that is read to its end also when nobody wants it any more.
//!
//! A refusal is answered before the body has arrived: the valve is shut, the path is wrong. A server that then closes makes the
//! system send a reset for the bytes still coming, and the caller loses the answer that it was to heed. So what is left of a body
//! that may be as large is read and thrown away, within the time that a piece of it may take. Reading it before answering was
//! rejected: past the valve the answer must come at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, header};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// See the module.
pub(super) struct Lingering {
    body: Option<Incoming>,
    /// Bytes that may still come; past it the connection is closed.
    left: u64,
    until: Instant,
}

impl Lingering {
    /// Around a request's body. One that is announced as too large is not waited for, nor is one whose caller waits to be
    /// asked for it.
    pub(super) fn new(body: Incoming, headers: &HeaderMap, limit: usize, within: Duration) -> Lingering {
        let limit = limit as u64;
        let asked_for = body.size_hint().lower() <= limit && !headers.contains_key(header::EXPECT);
        Lingering {
            body: Some(body),
            left: if asked_for { limit } else { 0 },
            until: Instant::now() + within,
        }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.left = self.left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64),
            Some(Err(_)) | None => self.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let over = self.is_end_stream() || self.left == 0 || self.until <= Instant::now();
        let (Some(mut body), false) = (self.body.take(), over) else {
            return;
        };
        // Without a runtime the node has ended, and every connection with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (mut left, until) = (self.left, self.until);
        runtime.spawn(async move {
            while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                if size > left {
                    break;
                }
                left -= size;
            }
        });
    }
}
