//! `POST /v1/events`: the way in for everything that happened, and the hot path of the door.
//!
//! Verdicts are written by hand into one buffer: for a batch, building JSON values first costs more than judging the events.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;

use super::Door;
use super::counts;
use super::described::{EventBody, ReportBody, VerdictsBody};
use super::edge::asks_for;
use super::error::{Answer, Problem, dead_letter};
use super::reply::Written;
use super::trace::Trace;
use super::{body, params::Params, written};
use crate::actors::batch::{Batch, Events, Held};
use crate::actors::node::Verdict;
use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::ingress::admission::Permit;
use crate::ingress::decode::{Decoder, Rejected};
use crate::ingress::rows::{Decoded, Format, Rows, decode};
use crate::ingress::suggest;

/// Report what happened: one event, or a batch as a JSON array or NDJSON.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "stock",
    request_body(content(
        (EventBody = "application/json"),
        (EventBody = "application/cloudevents+json"),
        (Vec<EventBody> = "application/cloudevents-batch+json"),
        (String = "application/x-ndjson")
    ), description = "Up to 10,000 rows or 16 MiB; plain, gzip or zstd"),
    responses(
        (status = 200, description = "Nothing was refused: one verdict for one event, `{verdicts: […]}` or NDJSON for a batch", content((ReportBody = "application/json"), (String = "application/x-ndjson"))),
        (status = 207, description = "Some rows were refused; the others stand", content((VerdictsBody = "application/json"), (String = "application/x-ndjson"))),
        (status = "4XX", description = "A problem of the one event, or of the body as a whole", content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, starting or stopping: send it again after Retry-After", content_type = "application/problem+json")
    )
)]
pub(super) async fn report(State(door): State<Door>, request: Request<Body>) -> Answer {
    let trace = request.extensions().get::<Trace>().copied();
    let (head, content) = request.into_parts();
    let written = take(&door, &head, content, trace.as_ref()).await;
    written.map(Written::into_response)
}

/// As [`report`], of the trace that is given.
pub(super) async fn take<B>(door: &Door, head: &Parts, content: B, trace: Option<&Trace>) -> Answer<Written>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    Params::read(head.uri.query(), &[])?;
    let format = format(&head.headers)?;
    let ndjson = format == Format::Ndjson || asks_for(&head.headers, "application/x-ndjson");
    let outcome = judge(door, &head.headers, content, format, trace).await;
    let answer = match outcome {
        Ok(Judged::One(batch)) => one(&batch),
        Ok(Judged::Many(rows)) => Ok(many(&rows, ndjson && !asks_for(&head.headers, "application/json"))),
        Err(problem) => Err(problem),
    };
    if matches!(&answer, Err(problem) if problem.code() == Code::Overloaded) {
        metrics::counter!("shelfd_overloaded_total").increment(1);
    }
    answer
}

/// What was taken of the valve goes with the events: a caller that goes away before the answer does not open it.
fn held(share: &Arc<Permit>) -> Held {
    Some(Box::new(share.clone()))
}

/// The media types that bodies of events have.
const FORMATS: [(&str, Format); 5] = [
    ("application/json", Format::Json),
    ("application/cloudevents+json", Format::Single),
    ("application/cloudevents-batch+json", Format::Batch),
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
];

fn format(headers: &HeaderMap) -> Answer<Format> {
    let Some(media) = body::media_type(headers)? else {
        return Ok(Format::Json);
    };
    let known = FORMATS.iter().find(|(name, _)| media.eq_ignore_ascii_case(name));
    known.map(|(_, format)| *format).ok_or_else(|| {
        Problem::new(
            Code::UnsupportedMediaType,
            format!(
                "events are application/json, application/cloudevents+json, application/cloudevents-batch+json or application/x-ndjson, not {}",
                suggest::quoted(media)
            ),
        )
    })
}

/// What became of a request.
enum Judged {
    One(Arc<Batch>),
    Many(Many),
}

/// Rows with their verdicts.
struct Many {
    /// Those that are events; `None`: none is.
    batch: Option<Arc<Batch>>,
    /// Those refused at the door, each with its place among all rows and the sequence that it is recorded under.
    rejected: Vec<(usize, Rejected, u64)>,
}

async fn judge<B>(door: &Door, headers: &HeaderMap, content: B, format: Format, trace: Option<&Trace>) -> Answer<Judged>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let mut permit = door.valve.permit();
    let bytes = body::read_in_turn(door, headers, content, &mut permit).await?;
    let trace = trace.map(Trace::kept);
    let decoded = decoded(door, bytes, format, trace.clone()).await?;
    permit.decoded();
    match decoded {
        Decoded::One(row) => {
            permit.take_events(1)?;
            match *row {
                Ok(event) => judged(door, [event].into(), Some(Box::new(permit))).await.map(Judged::One),
                Err(rejected) => {
                    let share = Arc::new(permit);
                    let rows = std::iter::once(&rejected);
                    door.node.record_refused(rows, trace.as_ref(), || held(&share)).await?;
                    counts::verdicts("refused", 1);
                    Err(Refusal::clone(&rejected.refusal).into())
                }
            }
        }
        // Behind a pointer: a single sale has no use for the room that a batch takes.
        Decoded::Many(rows) => Box::pin(judged_rows(door, rows, permit, trace.as_ref()))
            .await
            .map(Judged::Many),
    }
}

/// Judges what is an event, records what is none.
async fn judged_rows(door: &Door, rows: Rows, mut permit: Permit, trace: Option<&TraceParent>) -> Answer<Many> {
    let Rows { events, rejected } = rows;
    permit.take_events(events.len() + rejected.len())?;
    let share = Arc::new(permit);
    let recorded = door
        .node
        .record_refused(rejected.iter().map(|(_, row)| row), trace, || held(&share));
    let judged = async {
        match events.is_empty() {
            true => Ok(None),
            false => judged(door, events.into(), held(&share)).await.map(Some),
        }
    };
    let (recorded, batch) = tokio::join!(recorded, judged);
    let batch = batch?;
    nothing_judged(batch.as_deref(), recorded.as_ref().err())?;
    let mut recorded = recorded.map(Vec::into_iter);
    let rejected = rejected.into_iter().map(|(place, mut row)| match &mut recorded {
        Ok(seqs) => (place, row, seqs.next().unwrap_or_default()),
        Err(why) => {
            *row.refusal = why.clone();
            (place, row, 0)
        }
    });
    let rejected = rejected.collect();
    Ok(Many { batch, rejected })
}

/// Bodies beyond this, of a hundred rows or so, are decoded off the connections' threads: a thousand rows take a millisecond or two, in which
/// nobody else of the thread would be heard (ADR 22).
const INLINE_DECODE_BYTES: usize = 32 * 1024;

/// What a body holds.
async fn decoded(door: &Door, bytes: Bytes, format: Format, trace: Option<TraceParent>) -> Answer<Decoded> {
    let (view, max_rows) = (door.node.view(), door.options.max_rows);
    let rows = move |bytes: &[u8], warehouses: &_| {
        let mut decoder = Decoder::new(warehouses, trace.clone());
        decode(bytes, format, max_rows, &mut decoder)
    };
    if bytes.len() <= INLINE_DECODE_BYTES {
        return Ok(view.with_warehouses(|warehouses| rows(&bytes, warehouses))?);
    }
    let warehouses = view.warehouses();
    let rows = tokio::task::spawn_blocking(move || rows(&bytes, &warehouses)).await;
    Ok(rows.map_err(|_| Problem::new(Code::InternalError, "the body could not be decoded; the log has more"))??)
}

/// Hands events to the node. When it takes none at all, the whole request is answered with the reason.
fn judged(door: &Door, events: Events, held: Held) -> impl Future<Output = Answer<Arc<Batch>>> + Send {
    let rows = events.len() as u64;
    let judged = door.node.judged(events, held);
    async move {
        judged.await.map_err(|refusal| {
            counts::verdicts("not_judged", rows);
            refusal.into()
        })
    }
}

/// When no event at all was judged, the whole request is answered with the reason; so is one of which nothing could be recorded.
fn nothing_judged(batch: Option<&Batch>, unrecorded: Option<&Refusal>) -> Answer<()> {
    let Some(batch) = batch else {
        return unrecorded.map_or(Ok(()), |why| Err(why.clone().into()));
    };
    let reason = |verdict: Cow<'_, Verdict>| match &*verdict {
        Verdict::NotJudged(refusal) => Some(Refusal::clone(refusal)),
        Verdict::Judged { .. } => None,
    };
    let mut reasons = batch.verdicts().map(reason);
    match reasons.next() {
        Some(Some(first)) if reasons.all(|reason| reason.is_some()) => Err(first.into()),
        _ => Ok(()),
    }
}

fn one(batch: &Batch) -> Answer<Written> {
    let (Some(event), Some(verdict)) = (batch.events().first(), batch.verdicts().next()) else {
        return Err(Problem::new(Code::InternalError, "the event was lost; send it again"));
    };
    counts::verdicts(word(&verdict), 1);
    match &*verdict {
        Verdict::NotJudged(refusal) => Err(Refusal::clone(refusal).into()),
        Verdict::Judged {
            outcome: Outcome::Refused(refusal),
            ..
        } => Err(Refusal::clone(refusal).into()),
        Verdict::Judged {
            outcome: Outcome::DeadLetter { error },
            seq,
            ..
        } => Err(dead_letter(error, *seq)),
        judged => Ok(Written::short(|out| {
            write_judged(out, ids(event), judged, None);
        })),
    }
}

fn ids(event: &Event) -> (&str, &str) {
    (event.origin.id.as_str(), event.origin.source.as_str())
}

fn many(rows: &Many, ndjson: bool) -> Written {
    let events = rows.batch.as_deref().map_or(&[][..], Batch::events);
    let all = events.len() + rows.rejected.len();
    let mut out = Vec::with_capacity(all * 112 + 32);
    if !ndjson {
        out.extend_from_slice(b"{\"verdicts\":[");
    }
    let mut refused = false;
    let mut tally = Tally::default();
    let verdicts = rows.batch.iter().flat_map(|batch| batch.verdicts());
    let mut judged = events.iter().zip(verdicts);
    let mut rejected = rows.rejected.iter().peekable();
    for at in 0..all {
        if at > 0 && !ndjson {
            out.push(b',');
        }
        if let Some((_, row, seq)) = rejected.next_if(|(place, ..)| *place == at) {
            tally.count("refused", 1);
            refused = true;
            write_rejected(&mut out, row, *seq, at + 1);
        } else if let Some((event, verdict)) = judged.next() {
            tally.count(word(&verdict), 1);
            refused |= write_judged(&mut out, ids(event), &verdict, Some(at + 1));
        }
        if ndjson {
            out.push(b'\n');
        }
    }
    if !ndjson {
        out.extend_from_slice(b"]}");
    }
    let status = if refused { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    Written::long(status, out, if ndjson { "application/x-ndjson" } else { "application/json" })
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Judged { duplicate: true, .. } => "duplicate",
        Verdict::Judged { outcome, .. } => outcome.word(),
        Verdict::NotJudged(_) => "not_judged",
    }
}

/// Verdicts by word: counted here first, since a batch has a thousand of the same.
#[derive(Default)]
struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    fn count(&mut self, word: &'static str, rows: u64) {
        match self.0.iter_mut().find(|(there, _)| *there == word) {
            Some((_, n)) => *n += rows,
            None => self.0.push((word, rows)),
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for (word, n) in &self.0 {
            counts::verdicts(word, *n);
        }
    }
}

const SEQ: &[u8] = b",\"seq\":";

fn write_ids(out: &mut Vec<u8>, id: Option<&str>, source: Option<&str>) {
    out.push(b'{');
    for (name, text) in [("\"id\":", id), ("\"source\":", source)] {
        if let Some(text) = text {
            out.extend_from_slice(name.as_bytes());
            written::text(out, text);
            out.push(b',');
        }
    }
}

/// Writes the verdict of a row that was handed to the node; says whether it is a refusal.
fn write_judged(out: &mut Vec<u8>, (id, source): (&str, &str), verdict: &Verdict, row: Option<usize>) -> bool {
    write_ids(out, Some(id), Some(source));
    out.extend_from_slice(b"\"verdict\":\"");
    let (outcome, seq, version, duplicate) = match verdict {
        Verdict::NotJudged(refusal) => {
            out.extend_from_slice(b"refused\"");
            write_problem(out, refusal, row);
            out.push(b'}');
            return true;
        }
        Verdict::Judged {
            outcome,
            seq,
            version,
            duplicate,
        } => (outcome, *seq, *version, *duplicate),
    };
    if duplicate {
        out.extend_from_slice(b"duplicate\",\"first\":\"");
    }
    out.extend_from_slice(outcome.word().as_bytes());
    out.push(b'"');
    if seq > 0 {
        written::number(out, SEQ, seq);
    }
    written::number(out, b",\"version\":", version);
    match outcome {
        Outcome::Applied { found, expired_lot } => {
            if *found > 0 {
                written::number(out, b",\"found\":", found.unsigned_abs());
            }
            if let Some(lot) = expired_lot {
                out.extend_from_slice(b",\"expired_lot\":");
                written::text(out, lot.as_str());
            }
        }
        Outcome::Refused(refusal) => write_problem(out, refusal, row),
        Outcome::DeadLetter { error } => {
            out.extend_from_slice(b",\"error\":");
            written::text(out, error);
        }
        Outcome::IncludedInCount | Outcome::Stale | Outcome::Recorded => {}
    }
    out.push(b'}');
    matches!(outcome, Outcome::Refused(_))
}

fn write_rejected(out: &mut Vec<u8>, rejected: &Rejected, seq: u64, row: usize) {
    write_ids(out, rejected.id.as_deref(), rejected.source.as_deref());
    out.extend_from_slice(b"\"verdict\":\"refused\"");
    if seq > 0 {
        written::number(out, SEQ, seq);
    }
    write_problem(out, &rejected.refusal, Some(row));
    out.push(b'}');
}

fn write_problem(out: &mut Vec<u8>, refusal: &Refusal, row: Option<usize>) {
    let mut members = Problem::members(refusal);
    if let Some(row) = row {
        members.insert("row".into(), row.into());
    }
    out.extend_from_slice(b",\"problem\":");
    let _ = serde_json::to_writer(out, &members);
}

/// One verdict as a JSON value, for the dead letters' replay.
pub(super) fn verdict_value(id: &str, source: &str, verdict: &Verdict) -> serde_json::Value {
    let mut out = Vec::new();
    write_judged(&mut out, (id, source), verdict, None);
    serde_json::from_slice(&out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::units::Id;

    #[test]
    fn verdicts_are_json_in_the_order_of_the_rows() {
        let judged = |outcome, duplicate| Verdict::Judged {
            outcome,
            seq: 7,
            version: 3,
            duplicate,
        };
        let applied = Outcome::Applied {
            found: 2,
            expired_lot: Some(Id::trusted("L2")),
        };
        let refusal = Refusal::field(Code::UnitMismatch, "/data/unit", "the SKU is counted in g");
        let verdicts = [
            judged(applied, false),
            judged(Outcome::APPLIED, true),
            judged(Outcome::Refused(refusal.into()), false),
        ];
        let mut out = vec![b'['];
        for (at, verdict) in verdicts.iter().enumerate() {
            write_judged(&mut out, ("e \"1\"", "wms/7"), verdict, Some(at + 1));
            out.push(b',');
        }
        let malformed = Refusal::new(Code::MalformedRow, "the row is not JSON");
        write_rejected(&mut out, &malformed.into(), 7, 4);
        out.push(b']');
        let written: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            written[0],
            json!({"id": "e \"1\"", "source": "wms/7", "verdict": "applied", "seq": 7, "version": 3, "found": 2, "expired_lot": "L2"})
        );
        assert_eq!(written[1]["verdict"], "duplicate");
        assert_eq!(written[1]["first"], "applied");
        assert_eq!(written[2]["problem"]["field"], "/data/unit");
        assert_eq!(
            written[3]["problem"],
            json!({"code": "malformed_row", "status": 400, "detail": "the row is not JSON", "row": 4})
        );
        assert!(written[3].get("id").is_none());
    }
}
