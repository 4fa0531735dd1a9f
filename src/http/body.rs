//! Reading a request's body: within its limits, in time, through the valve, and into a checked shape.
//!
//! Bytes are taken from the valve before they are read: the announced length at once, and otherwise piece by piece, so that
//! bodies on their way count as much as bodies in hand.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, Request, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::de::DeserializeOwned;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::Door;
use super::error::{Answer, Problem};
use super::object::Object;
use crate::domain::refusal::{Code, Refusal};
use crate::ingress::admission::Permit;
use crate::ingress::inflate::{Encoding, inflate, too_large};
use crate::ingress::suggest;

/// The whole body may take this many times as long as one piece of it: a sender of one byte now and then is not served.
const WHOLE_BODY_FACTOR: u32 = 6;
/// Bodies up to this come in one piece with their head, usually.
const SHORT_BYTES: usize = 4 * 1024;
/// Bodies beyond this are inflated off the runtime's threads.
const INLINE_INFLATE_BYTES: usize = 64 * 1024;
/// As many times as long is a batch, about, when it is unpacked.
const USUAL_GROWTH: usize = 8;

/// The text of a header, `None` when it is not there.
pub fn header_text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Answer<Option<&'h str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| Problem::new(Code::MalformedHeader, format!("the header {name} is not readable text")))
}

/// The media type without its parameters, as it was written (its case means nothing); `None` when it is not said.
pub fn media_type(headers: &HeaderMap) -> Answer<Option<&str>> {
    let text = header_text(headers, &header::CONTENT_TYPE)?;
    Ok(text.map(|text| text.split(';').next().unwrap_or_default().trim()))
}

/// Reads and inflates the body. What it takes of the valve is in the permit.
pub async fn read<B>(door: &Door, headers: &HeaderMap, body: B, permit: &mut Permit) -> Answer<Bytes>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let encoding = encoding(headers)?;
    let raw = read_raw(door, announced(headers)?, body, permit).await?;
    inflated(door, raw, encoding, permit).await
}

/// As [`read`], for a body that is much work: it waits for its turn, or is refused as soon as its head tells that it would wait for too
/// long.
pub async fn read_in_turn<B>(door: &Door, headers: &HeaderMap, body: B, permit: &mut Permit) -> Answer<Bytes>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let encoding = encoding(headers)?;
    // What is packed is as much work as what comes out of it.
    let grows = if encoding.is_some() { USUAL_GROWTH } else { 1 };
    let announced = announced(headers)?;
    let fits = announced.filter(|n| *n <= door.limits.max_body_bytes);
    permit.expects(fits.unwrap_or_default().saturating_mul(grows))?;
    let raw = read_raw(door, announced, body, permit).await?;
    permit.turn(raw.len() * grows).await?;
    inflated(door, raw, encoding, permit).await
}

fn encoding(headers: &HeaderMap) -> Answer<Option<Encoding>> {
    match header_text(headers, &header::CONTENT_ENCODING)? {
        Some(text) => Ok(Encoding::parse(text)?),
        None => Ok(None),
    }
}

/// How long the head says that the body is.
fn announced(headers: &HeaderMap) -> Answer<Option<usize>> {
    let length = header_text(headers, &header::CONTENT_LENGTH)?.and_then(|text| text.parse::<u64>().ok());
    Ok(length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
}

async fn inflated(door: &Door, raw: Bytes, encoding: Option<Encoding>, permit: &mut Permit) -> Answer<Bytes> {
    let Some(encoding) = encoding else { return Ok(raw) };
    let limit = door.limits.max_body_bytes;
    if raw.len() <= INLINE_INFLATE_BYTES {
        return Ok(inflate(&raw, encoding, limit, |n| permit.take_bytes(n))?.into());
    }
    let mut grown = door.valve.permit();
    let task = tokio::task::spawn_blocking(move || {
        let out = inflate(&raw, encoding, limit, |n| grown.take_bytes(n));
        (out, grown)
    });
    let (out, grown) = task
        .await
        .map_err(|_| Problem::new(Code::InternalError, "the body could not be inflated"))?;
    permit.absorb(grown);
    Ok(out?.into())
}

/// The next piece of a body, within the time for one and for all (`end`, which the first that is waited for notes). For a `short` one no
/// timer is set when it has come with its head: then it is handed over within the connection's turn (`Eager`), by the second look at the
/// latest.
async fn frame_in_time<B>(
    body: &mut B,
    short: bool,
    end: &mut Option<Instant>,
    within: Duration,
) -> Result<Option<Result<Frame<Bytes>, B::Error>>, Elapsed>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if short {
        let mut looked = false;
        let here = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending if looked => Poll::Ready(None),
            Poll::Pending => {
                looked = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        });
        if let Some(frame) = here.await {
            return Ok(frame);
        }
    }
    let now = Instant::now();
    let end = *end.get_or_insert(now + within * WHOLE_BODY_FACTOR);
    timeout_at(end.min(now + within), body.frame()).await
}

async fn read_raw<B>(door: &Door, announced: Option<usize>, mut body: B, permit: &mut Permit) -> Answer<Bytes>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let limit = door.limits.max_body_bytes;
    if announced.is_some_and(|n| n > limit) {
        return Err(too_large(limit).into());
    }
    let mut taken = announced.unwrap_or_default();
    permit.take_bytes(taken)?;
    // A short body that comes with its head needs no clock; any other begins to wait now.
    let mut end = None;
    let short = announced.is_some_and(|n| n <= SHORT_BYTES);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    // What has told its length is at its end with its last byte: to look once more is to take the channel's locks for nothing.
    while !body.is_end_stream() {
        let frame = match frame_in_time(&mut body, short, &mut end, door.limits.body_timeout).await {
            Err(_) => {
                let detail = "the rest of the body did not arrive in time; nothing of it was taken: send it again";
                return Err(Problem::new(Code::TooSlow, detail));
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(Problem::new(Code::MalformedJson, format!("the body broke off: {error}"))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let size = rest.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
        if size > limit {
            return Err(too_large(limit).into());
        }
        if size > taken {
            permit.take_bytes(size - taken)?;
            taken = size;
        }
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(data),
            _ => {
                if let Some(first) = first.take() {
                    rest.reserve(taken);
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Reads a JSON body into a shape; unknown fields and wrong values are refused by JSON pointer.
pub async fn json<T: DeserializeOwned>(door: &Door, request: Request<Body>) -> Answer<T> {
    let (parts, body) = request.into_parts();
    let mut permit = door.valve.permit();
    let media = media_type(&parts.headers)?;
    if media.is_some_and(|media| !media.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            format!(
                "this page reads application/json, not {}",
                suggest::quoted(media.unwrap_or_default())
            ),
        ));
    }
    let bytes = read(door, &parts.headers, body, &mut permit).await?;
    Ok(parse(&bytes)?)
}

/// As [`json`], where no body at all means an empty object.
pub async fn json_or_nothing<T: DeserializeOwned + Default>(door: &Door, request: Request<Body>) -> Answer<T> {
    let announced = header_text(request.headers(), &header::CONTENT_LENGTH)?.map(str::to_owned);
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let ends = http_body_is_empty(request.body());
    if !chunked && (announced.as_deref() == Some("0") || ends) {
        return Ok(T::default());
    }
    json(door, request).await
}

fn http_body_is_empty(body: &Body) -> bool {
    hyper::body::Body::is_end_stream(body)
}

/// A shape out of JSON text.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let malformed = |error: &dyn std::fmt::Display| Refusal::new(Code::MalformedJson, format!("the body is not JSON: {error}"));
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = match serde_path_to_error::deserialize(&mut reader) {
        Ok(Object(value)) => value,
        Err(error) if error.inner().is_data() => {
            // A wrong value in the middle says nothing about the rest: what is no JSON at all is told as such.
            serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| malformed(&error))?;
            return Err(wrong(&error));
        }
        Err(error) => return Err(malformed(error.inner())),
    };
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// serde's complaint as a refusal with a pointer.
fn wrong(error: &serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&step(key)),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let text = error.inner().to_string();
    // serde_json adds "at line 1 column 9", which the pointer says better.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(head, _)| head);
    let named = text.split('`').nth(1).unwrap_or_default();
    let with_name = |pointer: &str| match pointer.ends_with(&step(named)) {
        true => pointer.to_owned(),
        false => format!("{pointer}{}", step(named)),
    };
    if text.starts_with("unknown field") {
        let known = text.split('`').skip(3).step_by(2);
        let detail = format!(
            "nobody knows the field {}{}",
            suggest::quoted(named),
            suggest::hint(named, known)
        );
        return Refusal::field(Code::UnknownField, with_name(&pointer), detail);
    }
    if text.starts_with("missing field") {
        return Refusal::field(
            Code::InvalidValue,
            with_name(&pointer),
            "the field is required and is not there",
        );
    }
    if text.starts_with("duplicate field") {
        return Refusal::field(
            Code::InvalidValue,
            with_name(&pointer),
            "the field is there twice; send it once",
        );
    }
    Refusal::field(Code::InvalidValue, pointer, in_words(text))
}

/// serde speaks of the types of this program; the caller knows those of JSON.
fn in_words(text: &str) -> String {
    let parts = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .or_else(|| text.strip_prefix("invalid length "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    let Some((is, must)) = parts else {
        return text.to_owned();
    };
    let must = match must {
        "i64" | "i32" => "a whole number",
        "u64" => "a whole number from 0 to 2^64-1",
        "u32" => "a whole number from 0 to 4294967295",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        of if of.starts_with("struct ") => "an object",
        other => other,
    };
    let (kind, value) = is.split_once(' ').unwrap_or((is, ""));
    let is = match kind {
        "integer" => format!("the number {}", value.trim_matches('`')),
        "floating" => format!("the number {}", value.trim_start_matches("point ").trim_matches('`')),
        "boolean" => value.trim_matches('`').to_owned(),
        "string" => format!("the string {}", suggest::quoted(value.trim_matches('"'))),
        "sequence" => "an array".to_owned(),
        "map" => "an object".to_owned(),
        "unit" | "null" => "null".to_owned(),
        _ => is.to_owned(),
    };
    format!("must be {must}, is {is}")
}

fn step(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only its presence is tested")]
        quantity: i64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Basket {
        #[expect(dead_code, reason = "only its presence is tested")]
        #[serde(deserialize_with = "crate::http::object::list")]
        lines: Vec<Line>,
    }

    #[track_caller]
    fn refused(text: &str, code: Code, field: Option<&str>) {
        let refusal = parse::<Basket>(text.as_bytes()).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_deref()), (code, field), "{}", refusal.detail);
    }

    #[test]
    fn a_wrong_value_is_told_in_the_words_of_json() {
        for (text, detail) in [
            (r#"{"lines":[{"quantity":1.5}]}"#, "must be a whole number, is the number 1.5"),
            (
                r#"{"lines":[{"quantity":9223372036854775808}]}"#,
                "must be a whole number, is the number 9223372036854775808",
            ),
            (r#"{"lines":[{"quantity":"5"}]}"#, "must be a whole number, is the string '5'"),
            (r#"{"lines":[{"quantity":null}]}"#, "must be a whole number, is null"),
            (r#"{"lines":[{"quantity":true}]}"#, "must be a whole number, is true"),
            (r#"{"lines":{}}"#, "must be an array, is an object"),
            (r#"{"lines":[7]}"#, "must be an object, is the number 7"),
            (r#"17"#, "must be an object, is the number 17"),
            (r#"[[]]"#, "must be an object, is an array"),
            (r#"{"lines":[[5]]}"#, "must be an object, is an array"),
        ] {
            assert_eq!(parse::<Basket>(text.as_bytes()).unwrap_err().detail, detail, "{text}");
        }
    }

    #[test]
    fn each_mistake_of_a_body_is_told_with_its_place() {
        refused(
            r#"{"lines":[{"quantity":1.5}]}"#,
            Code::InvalidValue,
            Some("/lines/0/quantity"),
        );
        refused(
            r#"{"lines":[{"quantity":9223372036854775808}]}"#,
            Code::InvalidValue,
            Some("/lines/0/quantity"),
        );
        refused(r#"{"lines":[{"quantty":1}]}"#, Code::UnknownField, Some("/lines/0/quantty"));
        refused(r#"{"lines":[{}]}"#, Code::InvalidValue, Some("/lines/0/quantity"));
        refused(r#"{"lines":[],"lines":[]}"#, Code::InvalidValue, Some("/lines"));
        refused(r#"{"extra":1}"#, Code::UnknownField, Some("/extra"));
        refused(r#"[]"#, Code::InvalidValue, Some(""));
        refused(r#"{"lines":[}"#, Code::MalformedJson, None);
        refused(r#"{"extra":1,}"#, Code::MalformedJson, None);
        refused("", Code::MalformedJson, None);
        refused(r#"{"lines":[]} x"#, Code::MalformedJson, None);
    }
}
