//! What every request passes, whatever its route: ids, limits of the head, the trace, panics, the count, the problem's body.
//!
//! It is one function around the router and not a stack of tower layers: each layer costs a boxed future, and their order
//! would be a puzzle where here it is the order of the lines.

use std::convert::Infallible;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::ServiceExt;

use super::Door;
use super::counts::count;
use super::entrance::Entrance;
use super::error::{Answer, Problem};
use super::linger::Lingering;
use super::reply::Content;
use super::straight::{self, Page};
use super::trace::{Marks, Trace};
use super::watched::Inside;
use crate::domain::refusal::Code;

/// The longest path with its query, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;
/// The most bytes of headers, names and values together.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Whether the head is within its limits, and the node can answer at all.
fn gate<B>(request: &Request<B>, front: Option<&Front>) -> Result<(), Problem> {
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
    let marks = Marks::of(&HeaderMap::new());
    let (status, body) = (problem.status(), problem.body(marks.trace.id()));
    let mut headers = HeaderMap::new();
    marks.put(&mut headers);
    let mut own = String::new();
    for (name, value) in &headers {
        // Writing to a text cannot fail.
        let _ = write!(own, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let reason = status.canonical_reason().unwrap_or_default();
    count("unmatched", &Method::TRACE, status, std::time::Duration::ZERO);
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\n{own}connection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
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

/// An answer, or the work on one. That is behind a pointer for its size: hyper moves what it is given by value, and what it might hold on
/// another page would be copied with each request.
enum Begun {
    Now(Response<Content>),
    Later(Pin<Box<dyn Future<Output = Response<Content>> + Send>>),
}

/// Answers one request: never an error, never a panic. `inside` is let go with the answer.
pub(super) fn answer(
    entrance: Arc<Entrance>,
    request: Request<Lingering>,
    began: Instant,
    inside: Inside,
) -> impl Future<Output = Result<Response<Content>, Infallible>> + Send {
    let marks = Marks::of(request.headers());
    let method = request.method().clone();
    let (route, begun) = begin(entrance, request, marks.trace);
    async move {
        let mut response = match begun {
            Begun::Now(response) => response,
            Begun::Later(response) => response.await,
        };
        let matched = response.extensions_mut().remove::<MatchedPath>();
        let matched = matched.as_ref().map(MatchedPath::as_str);
        let route = matched.or(route).unwrap_or("unmatched");
        let now = Instant::now();
        count(route, &method, response.status(), now.duration_since(began));
        marks.put(response.headers_mut());
        inside.leave(now);
        Ok(response)
    }
}

/// Begins with a request; says which page it is for, where that needs no router.
fn begin(entrance: Arc<Entrance>, request: Request<Lingering>, trace: Trace) -> (Option<&'static str>, Begun) {
    let refused = |problem: &Problem| (None, Begun::Now(refusal(problem, &trace)));
    if let Err(problem) = gate(&request, entrance.front()) {
        return refused(&problem);
    }
    if entrance.front().is_none() {
        return match entrance.not_yet(request.uri().path()) {
            Ok(response) => (None, Begun::Now(response.map(Content::Page))),
            Err(problem) => refused(&problem),
        };
    }
    let open = Open(entrance);
    let page = Page::of(&request);
    let begun = match page {
        Some(Page::Sku) => Begun::Now(sku(&open.front().door, request, &trace)),
        Some(Page::Events) => Begun::Later(Box::pin(events(open, request, trace))),
        None => Begun::Later(Box::pin(by_router(open, request, trace))),
    };
    (page.as_ref().map(Page::route), begun)
}

/// An entrance behind which there is a node.
struct Open(Arc<Entrance>);

impl Open {
    fn front(&self) -> &Front {
        self.0.front().expect("it was open, and an entrance is never closed")
    }
}

fn refusal(problem: &Problem, trace: &Trace) -> Response<Content> {
    problem.render(trace.id()).map(Content::Page)
}

/// What a page has answered; its panic is logged, and is a problem like others.
fn unharmed<T>(ended: thread::Result<Answer<T>>, (method, uri): (&Method, &Uri), trace: &Trace) -> Answer<T> {
    ended.unwrap_or_else(|_| {
        tracing::error!(%method, path = uri.path(), trace_id = trace.id(), "a handler panicked; the request was answered with 500");
        let detail = "the node failed on this request; the log has more under the trace id";
        Err(Problem::new(Code::InternalError, detail))
    })
}

/// A SKU as it stands, which waits for nothing.
fn sku(door: &Door, request: Request<Lingering>, trace: &Trace) -> Response<Content> {
    let (head, _) = request.into_parts();
    let ended = catch_unwind(AssertUnwindSafe(|| straight::sku(door, &head.uri)));
    let answered = unharmed(ended, (&head.method, &head.uri), trace);
    answered.map_or_else(|problem| refusal(&problem, trace), |written| written.answer(head.headers))
}

/// The verdicts on what is reported.
async fn events(open: Open, request: Request<Lingering>, trace: Trace) -> Response<Content> {
    let (head, content) = request.into_parts();
    let underway = super::events::take(&open.front().door, &head, content, Some(&trace));
    let ended = AssertUnwindSafe(underway).catch_unwind().await;
    let answered = unharmed(ended, (&head.method, &head.uri), &trace);
    answered.map_or_else(|problem| refusal(&problem, &trace), |written| written.answer(head.headers))
}

/// The answer of whatever page the router finds.
async fn by_router(open: Open, request: Request<Lingering>, trace: Trace) -> Response<Content> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let routed = async {
        let mut request = request.map(Lingering::into_body);
        request.extensions_mut().insert(trace);
        match open.front().router.clone().oneshot(request).await {
            Ok(response) => Ok(finished(response, uri.path(), &trace)),
            Err(never) => match never {},
        }
    };
    let ended = AssertUnwindSafe(routed).catch_unwind().await;
    let answered = unharmed(ended, (&method, &uri), &trace);
    answered.map_or_else(|problem| refusal(&problem, &trace), |response| response.map(Content::Page))
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
    fn size<F: Future>(_: impl Fn(Arc<Entrance>, Request<Lingering>, Instant, Inside) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_hyper_moves_with_each_request_has_no_room_for_other_pages() {
        // It was 1,968 bytes with the router's future and a batch's in it; without that, single sales are 2 to 4 % more.
        let bytes = size(answer);
        assert!(bytes <= 512, "{bytes} bytes");
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
