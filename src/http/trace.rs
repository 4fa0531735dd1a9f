//! The ids of a request: its own, and its trace's (W3C Trace Context, version 00).

use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::domain::trace::TraceParent;

/// The longest request id that is taken from a caller.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The names of the node's own headers: as texts they would be read anew for each request.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const PARENT_BYTES: usize = 55;
/// Where the trace's id stands in it.
const TRACE_ID: std::ops::Range<usize> = 3..35;
/// Where the span's id stands in it.
const SPAN_ID: std::ops::Range<usize> = 36..52;

/// What the answer to a request is marked with.
pub(super) struct Marks {
    id: HeaderValue,
    /// Its trace.
    pub(super) trace: Trace,
}

impl Marks {
    /// Those that the caller sent, or new ones.
    pub(super) fn of(headers: &HeaderMap) -> Marks {
        // One draw for all: each is a look at what the thread keeps.
        let mut chance = [0; 34];
        rand::fill(&mut chance);
        let (request, trace) = chance.split_at(10);
        Marks {
            id: request_id(headers, request),
            trace: Trace::of(headers, trace),
        }
    }

    /// Marks an answer.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID.clone(), self.id);
        if let Ok(parent) = HeaderValue::from_bytes(&self.trace.parent()) {
            headers.insert(TRACE_PARENT.clone(), parent);
        }
    }
}

/// The trace of one request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The header as the ledger keeps it.
    kept: [u8; PARENT_BYTES],
    /// What stands in it when it goes back.
    span: [u8; SPAN_ID.end - SPAN_ID.start],
}

impl Trace {
    /// The trace that the headers continue, or a new one, out of 24 bytes of chance.
    fn of(headers: &HeaderMap, chance: &[u8]) -> Trace {
        let received = headers
            .get(&TRACE_PARENT)
            .and_then(|value| value.to_str().ok())
            .filter(|value| valid_parent(value))
            .and_then(|value| value.as_bytes().try_into().ok());
        let (fresh, chance) = chance.split_at(16);
        let mut span = [b'0'; SPAN_ID.end - SPAN_ID.start];
        put_hex(&mut span, chance);
        let kept = received.unwrap_or_else(|| {
            let mut begun = *b"00-00000000000000000000000000000000-0000000000000000-01";
            put_hex(&mut begun[TRACE_ID], fresh);
            begun[SPAN_ID].copy_from_slice(&span);
            begun
        });
        Trace { kept, span }
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        text(&self.kept[TRACE_ID])
    }

    /// The header as it goes back: of the same trace, and of this node's own span.
    fn parent(&self) -> [u8; PARENT_BYTES] {
        let mut parent = self.kept;
        parent[SPAN_ID].copy_from_slice(&self.span);
        parent
    }

    /// The header as the ledger keeps it: the caller's own, where it sent a valid one, and otherwise the one begun here.
    pub fn kept(&self) -> TraceParent {
        TraceParent::of(text(&self.kept))
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a traceparent was checked, or made, of ASCII alone")
}

/// Writes bytes as digits, two for each, and never as zeros alone, which would be no id.
fn put_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (two, byte) in out.chunks_exact_mut(2).zip(bytes) {
        two.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    if bytes.iter().all(|byte| *byte == 0)
        && let Some(last) = out.last_mut()
    {
        *last = b'1';
    }
}

/// The trace of a request as the ledger keeps it: the caller's own header, or the one the node began.
pub fn trace_of(request: &Request<Body>) -> Option<TraceParent> {
    request.extensions().get::<Trace>().map(Trace::kept)
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

/// The caller's request id, or a new UUID v7 out of ten bytes of chance.
fn request_id(headers: &HeaderMap, chance: &[u8]) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|id| {
        !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.as_bytes().iter().all(|b| (0x21..0x7f).contains(b))
    });
    given.cloned().unwrap_or_else(|| {
        let ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let chance = std::array::from_fn(|at| chance[at]);
        let id = uuid::Builder::from_unix_timestamp_millis(ms, &chance).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_trace_is_continued_and_an_invalid_one_replaced() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(parent));
        let trace = Marks::of(&headers).trace;
        assert_eq!(
            (trace.id(), &*trace.kept().text()),
            ("4bf92f3577b34da6a3ce929d0e0e4736", parent)
        );
        let back = trace.parent();
        assert_eq!(
            (text(&back[..SPAN_ID.start]), text(&back[SPAN_ID.end..])),
            (&parent[..SPAN_ID.start], &parent[SPAN_ID.end..])
        );
        assert!(text(&back) != parent && valid_parent(text(&back)));
        headers.insert(
            "traceparent",
            HeaderValue::from_static("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        );
        let trace = Marks::of(&headers).trace;
        assert!(trace.parent() == trace.kept && valid_parent(text(&trace.kept)), "{trace:?}");
        for broken in [format!("{parent}-00"), parent.replacen('-', "", 1), String::new()] {
            assert!(!valid_parent(&broken), "{broken}");
        }
    }

    #[test]
    fn no_two_requests_have_the_same_ids_and_none_is_zero() {
        let [one, other] = std::array::from_fn(|_| Marks::of(&HeaderMap::new()));
        assert!(one.id != other.id && one.trace.id() != other.trace.id() && one.trace.span != other.trace.span);
        let unlucky = Trace::of(&HeaderMap::new(), &[0; 24]);
        assert_eq!(
            unlucky.kept().text(),
            "00-00000000000000000000000000000001-0000000000000001-01"
        );
        assert!(valid_parent(&unlucky.kept().text()));
        let all: Vec<u8> = (0..24).map(|n| n * 11).collect();
        let drawn = Trace::of(&HeaderMap::new(), &all);
        assert_eq!(drawn.kept().text(), "00-000b16212c37424d58636e79848f9aa5-b0bbc6d1dce7f2fd-01");
    }

    #[test]
    fn a_request_id_is_given_back_or_made() {
        let made = |headers: &HeaderMap| Marks::of(headers).id;
        let mut headers = HeaderMap::new();
        assert_eq!(made(&headers).len(), 36);
        headers.insert("x-request-id", HeaderValue::from_static("order-1"));
        assert_eq!(made(&headers), "order-1");
        headers.insert("x-request-id", HeaderValue::from_static("two words"));
        assert_eq!(made(&headers).len(), 36);
    }
}
