//! What is answered: a body that is written whole, as nearly all are, or what the router's page streams.
//!
//! axum's body is a box around whatever it is, and a buffer with room left over becomes bytes by way of a count of its own: for a sale
//! that is as much as writing the answer.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// What a thread keeps of its buffer.
const KEPT_BYTES: usize = 16 * 1024;
/// The most headers that a connection keeps room for: a browser sends some twenty.
const KEPT_HEADERS: usize = 64;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An answer that has been written.
#[derive(Debug)]
pub(super) struct Written {
    status: StatusCode,
    form: &'static str,
    body: Bytes,
}

impl Written {
    /// A long one, of this media type.
    pub(super) fn long(status: StatusCode, body: Vec<u8>, form: &'static str) -> Written {
        let body = body.into();
        Written { status, form, body }
    }

    /// A short one, written now: not a byte more than it has is kept until it is sent.
    pub(super) fn short(write: impl FnOnce(&mut Vec<u8>)) -> Written {
        let body = BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            write(buffer);
            let body = Bytes::copy_from_slice(buffer);
            buffer.shrink_to(KEPT_BYTES);
            body
        });
        Written {
            status: StatusCode::OK,
            form: "application/json",
            body,
        }
    }

    /// The whole answer. Its headers are put where those of the request were: the room is there, and hyper takes it for the next
    /// request's again. What very many have taken is given back: a connection would keep it for as long as it lives.
    pub(super) fn answer(self, mut headers: HeaderMap) -> Response<Content> {
        headers.clear();
        if headers.capacity() > KEPT_HEADERS {
            headers = HeaderMap::new();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.form));
        let mut response = Response::new(Content::Whole(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response<Body> {
        self.answer(HeaderMap::new()).map(Body::new)
    }
}

/// The body of an answer.
pub(super) enum Content {
    /// In one piece; empty when it has been sent.
    Whole(Bytes),
    /// As its page gives it.
    Page(Body),
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Content::Whole(body) if body.is_empty() => Poll::Ready(None),
            Content::Whole(body) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(body))))),
            Content::Page(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Whole(body) => body.is_empty(),
            Content::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Content::Page(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_all_that_is_sent_and_nothing_of_the_request_goes_back() {
        let mut asked = HeaderMap::new();
        asked.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        asked.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        asked.append(header::ACCEPT, HeaderValue::from_static("*/*"));
        let many = (0..2 * KEPT_HEADERS).map(|n| HeaderName::from_bytes(format!("x-{n}").as_bytes()).expect("a name"));
        let many: HeaderMap = many.map(|name| (name, HeaderValue::from_static("1"))).collect();
        let answer = Written::short(|_| ()).answer(many);
        assert!(answer.headers().len() == 1 && answer.headers().capacity() <= KEPT_HEADERS);
        drop(Written::short(|out| out.extend_from_slice(&[b'x'; 3 * KEPT_BYTES])));
        let answer = Written::short(|out| out.extend_from_slice(b"{}")).answer(asked);
        assert_eq!(answer.headers().len(), 1);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer.body().size_hint().exact(), Some(2));
        let sent = answer.into_body().collect().await.expect("a whole body does not fail");
        assert_eq!(sent.to_bytes(), "{}");
        BUFFER.with_borrow(|buffer| assert!(buffer.capacity() <= KEPT_BYTES, "{}", buffer.capacity()));
    }
}
