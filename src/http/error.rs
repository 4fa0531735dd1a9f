//! The one map from a problem's code to its HTTP status and title, and problems as RFC 9457 has them.
//!
//! A handler returns a [`Problem`]; it is written out at the edge, where the trace id is known. Writing it in each handler
//! was rejected: each would need the trace, and one would forget it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use crate::domain::refusal::{Code, Refusal};

/// Status and title of each code: the only place that knows.
pub fn status_of(code: Code) -> (u16, &'static str) {
    use Code as C;
    match code {
        C::MalformedJson => (400, "The body is not JSON"),
        C::MalformedHeader => (400, "A header cannot be read"),
        C::MalformedRow => (400, "A row is not a JSON object"),
        C::Unauthenticated => (401, "Who are you?"),
        C::Forbidden => (403, "You may not"),
        C::UnknownWarehouse => (422, "Unknown warehouse"),
        C::UnknownSku => (404, "Unknown SKU"),
        C::UnknownReservation => (404, "Unknown reservation"),
        C::UnknownEvent => (404, "Unknown event"),
        C::NotFound => (404, "Not found"),
        C::MethodNotAllowed => (405, "Method not allowed"),
        C::NotAcceptable => (406, "No such representation"),
        C::TooSlow => (408, "The request did not arrive in time"),
        C::HistoryGone => (410, "History does not reach back that far"),
        C::CursorGone => (410, "The cursor is gone"),
        C::BodyTooLarge => (413, "The body is too large"),
        C::BatchTooLarge => (413, "The batch has too many rows"),
        C::UriTooLong => (414, "The address is too long"),
        C::UnsupportedMediaType => (415, "Unsupported kind of body"),
        C::HeadersTooLarge => (431, "The headers are too large"),
        C::IdReused => (409, "The id was used with other content"),
        C::InsufficientStock => (409, "Not enough in stock"),
        C::VersionMismatch => (409, "It has moved on"),
        C::AlreadyConfirmed => (409, "Already confirmed"),
        C::AlreadyCancelled => (409, "Already cancelled"),
        C::AlreadyExpired => (409, "Already expired"),
        C::AlreadyVoided => (409, "Already voided"),
        C::PartlyTaken => (409, "Partly taken"),
        C::UnknownField => (422, "Unknown field"),
        C::InvalidValue => (422, "Invalid value"),
        C::UnitMismatch => (422, "The unit is not the SKU's"),
        C::LotMismatch => (422, "The lot has another expiry date"),
        C::ExceedsHeld => (422, "More than is held"),
        C::NotVoidable => (422, "It cannot be voided"),
        C::QuantityOverflow => (422, "The quantity is too large"),
        C::TimeOutOfRange => (422, "The time is out of range"),
        C::InternalError => (500, "The node failed"),
        C::RateLimited => (429, "Too many requests"),
        C::Overloaded => (503, "The node is overloaded"),
        C::Starting => (503, "The node is starting"),
        C::Stopping => (503, "The node is stopping"),
        C::StorageFull => (507, "The disk is full"),
    }
}

/// After how many seconds it is worth trying again, where it is.
fn retry_after_s(code: Code) -> Option<u32> {
    match code {
        Code::Overloaded | Code::Starting | Code::RateLimited => Some(1),
        Code::Stopping => Some(5),
        Code::StorageFull => Some(10),
        _ => None,
    }
}

/// A refusal on its way to the edge.
#[derive(Clone, Debug)]
pub struct Problem {
    refusal: Box<Refusal>,
    status: u16,
    extra: Option<Box<(&'static str, Value)>>,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, _) = status_of(refusal.code);
        Problem {
            refusal: Box::new(refusal),
            status,
            extra: None,
        }
    }
}

impl Problem {
    /// A problem without a field.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Refusal::new(code, detail).into()
    }

    /// A problem of one field, by JSON pointer or by the parameter's name.
    pub fn field(code: Code, field: impl Into<String>, detail: impl Into<String>) -> Problem {
        Refusal::field(code, field, detail).into()
    }

    /// As a part of the path: an unknown warehouse is then a page that does not exist.
    pub fn in_path(refusal: Refusal) -> Problem {
        let mut problem = Problem::from(refusal);
        if problem.refusal.code == Code::UnknownWarehouse {
            problem.status = 404;
        }
        problem
    }

    /// With one more member, such as the dead letter's id.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.extra = Some(Box::new((name, value.into())));
        self
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.refusal.code
    }

    /// The members that a refusal has in a verdict: `code`, `status`, `detail` and what belongs to them.
    pub fn members(refusal: &Refusal) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("code".into(), refusal.code.as_str().into());
        out.insert("status".into(), status_of(refusal.code).0.into());
        out.insert("detail".into(), refusal.detail.as_str().into());
        if let Some(field) = &refusal.field {
            out.insert("field".into(), field.as_str().into());
        }
        if !refusal.lines.is_empty() {
            let line = |l: &crate::domain::refusal::Shortage| json!({"sku": l.sku.as_str(), "requested": l.requested, "available": l.available});
            out.insert("lines".into(), refusal.lines.iter().map(line).collect());
        }
        out
    }

    /// As one item of a list in which others went well.
    pub(super) fn in_list(&self, id: u64) -> Value {
        json!({"id": id, "verdict": "refused", "problem": Problem::members(&self.refusal)})
    }

    /// The body.
    pub(super) fn body(&self, trace_id: &str) -> String {
        let (_, title) = status_of(self.refusal.code);
        let mut body = Map::new();
        body.insert("type".into(), format!("/problems/{}", self.refusal.code.as_str()).into());
        body.insert("title".into(), title.into());
        body.append(&mut Problem::members(&self.refusal));
        body.insert("status".into(), self.status.into());
        body.insert("trace_id".into(), trace_id.into());
        if let Some((name, value)) = self.extra.as_deref() {
            body.insert((*name).into(), value.clone());
        }
        Value::Object(body).to_string()
    }

    /// The whole answer.
    pub(super) fn render(&self, trace_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(trace_id)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after_s(self.refusal.code) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What the node fails on, an event or a command: kept under this id.
pub(super) fn dead_letter(error: &str, letter: u64) -> Problem {
    let detail = format!("the node fails on this ({error}); it is kept as a dead letter and can be replayed or discarded");
    Problem::new(Code::InternalError, detail).with("dead_letter", letter)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// What a handler gives back.
pub type Answer<T = Response<Body>> = Result<T, Problem>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_an_error_and_a_title() {
        for code in Code::ALL {
            let (status, title) = status_of(*code);
            assert!((400..600).contains(&status) && !title.is_empty(), "{}", code.as_str());
        }
    }

    #[test]
    fn an_unknown_warehouse_is_404_in_a_path_and_422_in_a_body() {
        let refusal = Refusal::new(Code::UnknownWarehouse, "no such warehouse");
        assert_eq!(Problem::in_path(refusal.clone()).status(), 404);
        assert_eq!(Problem::from(refusal).status(), 422);
    }
}
