//! What every request passes, whatever its route: ids, limits of the head, the trace, panics, the count, the problem's body.
//!
//! It is one function around the router and not a stack of tower layers: each layer costs a boxed future, and their order
//! would be a puzzle where here it is the order of the lines.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::ServiceExt;

use super::Door;
use super::counts::count;
use super::entrance::Entrance;
use super::error::{Answer, Problem};
use super::straight::Page;
use super::watched::Inside;
use crate::domain::refusal::Code;

/// The longest path with its query, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;
/// The most bytes of headers, names and values together.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The longest request id that is taken from a caller.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The names of the node's own headers: as texts they would be read anew for each request.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of one request, in its extensions: two headers as they stand on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    parent: [u8; PARENT_BYTES],
    received: Option<[u8; PARENT_BYTES]>,
}

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const PARENT_BYTES: usize = 55;
/// Where the trace's id stands in it.
const TRACE_ID: std::ops::Range<usize> = 3..35;
/// Where the span's id stands in it.
const SPAN_ID: std::ops::Range<usize> = 36..52;

impl Trace {
    /// The trace that the headers continue, or a new one (W3C Trace Context, version 00).
    fn of(headers: &HeaderMap) -> Trace {
        let received = headers
            .get(&TRACE_PARENT)
            .and_then(|value| value.to_str().ok())
            .filter(|value| valid_parent(value))
            .and_then(|value| value.as_bytes().try_into().ok());
        let mut parent = received.unwrap_or(*b"00-00000000000000000000000000000000-0000000000000000-01");
        if received.is_none() {
            put_hex(&mut parent[TRACE_ID], rand::random::<u128>().max(1));
        }
        put_hex(&mut parent[SPAN_ID], u128::from(rand::random::<u64>().max(1)));
        Trace { parent, received }
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        text(&self.parent[TRACE_ID])
    }

    /// The header as the ledger keeps it: the caller's own, where it sent a valid one, and otherwise the one begun here.
    pub fn kept(&self) -> &str {
        text(self.received.as_ref().unwrap_or(&self.parent))
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a traceparent was checked, or made, of ASCII alone")
}

/// Writes the low digits of a number, as many as there is room for.
fn put_hex(out: &mut [u8], mut number: u128) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// The trace of a request as the ledger keeps it: the caller's own header, or the one the node began.
pub fn trace_of(request: &Request<Body>) -> Option<Arc<str>> {
    request.extensions().get::<Trace>().map(|trace| trace.kept().into())
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero.
fn valid_parent(text: &str) -> bool {
    let hex =
        |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let mut parts = text.split('-');
    let [version, trace, span, flags] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let whole = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
    whole && !zero(trace) && !zero(span)
}

/// The caller's request id, or a new UUID v7.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|id| {
        !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.as_bytes().iter().all(|b| (0x21..0x7f).contains(b))
    });
    given.cloned().unwrap_or_else(|| {
        let ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let chance = rand::random::<u128>().to_le_bytes();
        let chance = std::array::from_fn(|at| chance[at]);
        let id = uuid::Builder::from_unix_timestamp_millis(ms, &chance).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// Whether the head is within its limits, and the node can answer at all.
fn gate(request: &Request<Body>, front: Option<&Front>) -> Result<(), Problem> {
    let uri = request.uri().path_and_query().map_or(0, |pq| pq.as_str().len());
    if uri > MAX_URI_BYTES {
        let detail = format!("the path with its query is {uri} bytes; at most {MAX_URI_BYTES} are read");
        return Err(Problem::new(Code::UriTooLong, detail));
    }
    let size: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size > MAX_HEADER_BYTES {
        let detail = format!("the headers are {size} bytes; at most {MAX_HEADER_BYTES} are read");
        return Err(Problem::new(Code::HeadersTooLarge, detail));
    }
    let path = request.uri().path();
    if path.starts_with("/v1/") && path != "/v1/status" {
        acceptable(request.headers())?;
        if front.is_some_and(|front| front.door.node.is_stopping()) {
            return Err(Problem::new(
                Code::Stopping,
                "the node is stopping; send it again when it is back",
            ));
        }
    }
    Ok(())
}

/// The whole HTTP/1.1 answer to a head that never became a request, in place of a bare status.
pub(super) fn unreadable_head(status: u16) -> Option<Vec<u8>> {
    let problem = match status {
        400 => Problem::new(
            Code::MalformedHeader,
            "the head of the request cannot be read as HTTP: look at its first line and at its headers",
        ),
        408 => Problem::new(
            Code::TooSlow,
            "the head of the request did not arrive in time; send it again, whole",
        ),
        414 => Problem::new(
            Code::UriTooLong,
            format!("the path with its query is too long; at most {MAX_URI_BYTES} bytes are read"),
        ),
        431 => Problem::new(
            Code::HeadersTooLarge,
            format!("the headers are too many or too large; at most 100 and {MAX_HEADER_BYTES} bytes of them are read"),
        ),
        _ => return None,
    };
    let trace = Trace::of(&HeaderMap::new());
    let (status, body) = (problem.status(), problem.body(trace.id()));
    let reason = status.canonical_reason().unwrap_or_default();
    let id = request_id(&HeaderMap::new());
    let id = id.to_str().unwrap_or_default();
    count("unmatched", &axum::http::Method::TRACE, status, std::time::Duration::ZERO);
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\ntraceparent: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        text(&trace.parent),
        body.len()
    );
    Some((head + &body).into_bytes())
}

/// Whether the caller takes any of the forms that the API answers in.
fn acceptable(headers: &HeaderMap) -> Result<(), Problem> {
    const FORMS: [&str; 6] = [
        "*/*",
        "application/*",
        "application/json",
        "application/x-ndjson",
        "text/event-stream",
        "application/problem+json",
    ];
    let asked = headers.get_all(header::ACCEPT);
    let mut any = false;
    for value in asked {
        let value = value
            .to_str()
            .map_err(|_| Problem::new(Code::MalformedHeader, "the header Accept is not readable text"))?;
        any = true;
        let takes = |part: &str| {
            let asked = part.split(';').next().unwrap_or_default().trim();
            FORMS.iter().any(|form| form.eq_ignore_ascii_case(asked))
        };
        if value.split(',').any(takes) {
            return Ok(());
        }
    }
    if any {
        let detail = "answers are application/json (events also application/x-ndjson, changes also text/event-stream)";
        return Err(Problem::new(Code::NotAcceptable, detail));
    }
    Ok(())
}

/// Whether the caller asks for this form by name.
pub fn asks_for(headers: &HeaderMap, form: &str) -> bool {
    let here = |text: &[u8]| text.eq_ignore_ascii_case(form.as_bytes());
    let named = |value: &HeaderValue| value.as_bytes().windows(form.len()).any(here);
    headers.get_all(header::ACCEPT).iter().any(named)
}

/// Notes the route that matched, for the count.
pub(super) async fn name_route(request: Request<Body>, next: axum::middleware::Next) -> Response<Body> {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(matched) = matched {
        response.extensions_mut().insert(matched);
    }
    response
}

/// The pages, and the node behind them.
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) door: Door,
}

/// Answers one request: never an error, never a panic. `inside` is let go with the answer.
///
/// What is boxed here is boxed for its size: hyper moves this future by value, and what it might hold on another page would be copied
/// with each request.
pub(super) async fn answer(
    entrance: Arc<Entrance>,
    request: Request<Body>,
    began: Instant,
    inside: Inside,
) -> Result<Response<Body>, Infallible> {
    let id = request_id(request.headers());
    let trace = Trace::of(request.headers());
    let method = request.method().clone();
    let mut route = None;
    let front = entrance.front();
    let mut response = match (gate(&request, front), front) {
        (Err(problem), _) => problem.render(trace.id()),
        (Ok(()), None) => entrance
            .not_yet(&request)
            .unwrap_or_else(|problem| problem.render(trace.id())),
        (Ok(()), Some(front)) => {
            let page = Page::of(&request);
            route = page.as_ref().map(Page::route);
            let uri = request.uri().clone();
            let underway = match page {
                Some(page) => page.answer(&front.door, request, &trace),
                None => Box::pin(by_router(front, request, trace)),
            };
            match AssertUnwindSafe(underway).catch_unwind().await {
                Ok(answered) => answered.unwrap_or_else(|problem| problem.render(trace.id())),
                Err(_) => {
                    tracing::error!(%method, path = uri.path(), trace_id = trace.id(), "a handler panicked; the request was answered with 500");
                    let detail = "the node failed on this request; the log has more under the trace id";
                    Problem::new(Code::InternalError, detail).render(trace.id())
                }
            }
        }
    };
    let matched = response.extensions_mut().remove::<MatchedPath>();
    let matched = matched.as_ref().map(MatchedPath::as_str);
    count(
        matched.or(route).unwrap_or("unmatched"),
        &method,
        response.status(),
        began.elapsed(),
    );
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID.clone(), id);
    if let Ok(parent) = HeaderValue::from_bytes(&trace.parent) {
        headers.insert(TRACE_PARENT.clone(), parent);
    }
    drop(inside);
    Ok(response)
}

/// The answer of whatever page the router finds.
async fn by_router(front: &Front, mut request: Request<Body>, trace: Trace) -> Answer {
    let uri = request.uri().clone();
    request.extensions_mut().insert(trace);
    match front.router.clone().oneshot(request).await {
        Ok(response) => Ok(finished(response, uri.path(), &trace)),
        Err(never) => match never {},
    }
}

/// The router's own refusals and the handlers' problems become problem bodies.
fn finished(mut response: Response<Body>, path: &str, trace: &Trace) -> Response<Body> {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.headers().contains_key(header::CONTENT_TYPE) => return response,
        None => match response.status() {
            StatusCode::NOT_FOUND => Problem::new(
                Code::NotFound,
                format!(
                    "there is no page {}; GET /docs lists them all",
                    crate::ingress::suggest::quoted(path)
                ),
            ),
            StatusCode::METHOD_NOT_ALLOWED => {
                let allow = response
                    .headers()
                    .get(header::ALLOW)
                    .and_then(|allow| allow.to_str().ok())
                    .unwrap_or("none");
                Problem::new(Code::MethodNotAllowed, format!("the page takes {allow}"))
            }
            _ => return response,
        },
    };
    let mut rendered = problem.render(trace.id());
    for name in [header::ALLOW, header::CONNECTION] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    if let Some(route) = response.extensions_mut().remove::<MatchedPath>() {
        rendered.extensions_mut().insert(route);
    }
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of the future that a function gives.
    fn size<F: Future>(_: impl Fn(Arc<Entrance>, Request<Body>, Instant, Inside) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_hyper_moves_with_each_request_has_no_room_for_other_pages() {
        // It was 1,968 bytes with the router's future and a batch's in it; without that, single sales are 2 to 4 % more.
        let bytes = size(answer);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }

    #[test]
    fn a_valid_trace_is_continued_and_an_invalid_one_replaced() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(parent));
        let trace = Trace::of(&headers);
        assert_eq!((trace.id(), trace.kept()), ("4bf92f3577b34da6a3ce929d0e0e4736", parent));
        assert!(trace.parent != parent.as_bytes() && valid_parent(text(&trace.parent)));
        headers.insert(
            "traceparent",
            HeaderValue::from_static("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        );
        let trace = Trace::of(&headers);
        assert!(trace.received.is_none() && valid_parent(trace.kept()), "{trace:?}");
        for broken in [format!("{parent}-00"), parent.replacen('-', "", 1), String::new()] {
            assert!(!valid_parent(&broken), "{broken}");
        }
    }

    #[test]
    fn a_request_id_is_given_back_or_made() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 36);
        headers.insert("x-request-id", HeaderValue::from_static("order-1"));
        assert_eq!(request_id(&headers), "order-1");
        headers.insert("x-request-id", HeaderValue::from_static("two words"));
        assert_eq!(request_id(&headers).len(), 36);
    }

    #[test]
    fn a_form_that_no_page_has_is_not_acceptable() {
        let mut headers = HeaderMap::new();
        assert!(acceptable(&headers).is_ok());
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html, application/json;q=0.9"));
        assert!(acceptable(&headers).is_ok());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/xml"));
        assert_eq!(acceptable(&headers).unwrap_err().status(), 406);
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/csv, Application/X-NDJSON; q=0.5"),
        );
        assert!(acceptable(&headers).is_ok() && asks_for(&headers, "application/x-ndjson"));
        assert!(!asks_for(&headers, "application/json"));
    }
}
