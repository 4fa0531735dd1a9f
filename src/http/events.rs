//! `POST /v1/events`: the way in for everything that happened, and the hot path of the door.
//!
//! Verdicts are written by hand into one buffer: for a batch, building JSON values first costs more than judging the events.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

use super::Door;
use super::described::{EventBody, ReportBody, VerdictsBody};
use super::edge::{Trace, asks_for};
use super::error::{Answer, Problem, dead_letter};
use super::{body, params::Params};
use crate::actors::batch::Held;
use crate::actors::node::Verdict;
use crate::domain::event::Event;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::Id;
use crate::ingress::admission::Permit;
use crate::ingress::decode::{Decoder, Rejected};
use crate::ingress::rows::{Decoded, Format, decode};
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
    let (parts, content) = request.into_parts();
    Params::read(parts.uri.query(), &[])?;
    let format = format(&parts.headers)?;
    let ndjson = format == Format::Ndjson || asks_for(&parts.headers, "application/x-ndjson");
    let mut permit = door.valve.permit();
    let outcome = judge(
        &door,
        &parts.headers,
        content,
        format,
        parts.extensions.get::<Trace>(),
        &mut permit,
    )
    .await;
    let answer = match outcome {
        Ok(Judged::One(ids, verdict)) => one(&ids, verdict),
        Ok(Judged::Many(rows)) => many(&rows, ndjson && !asks_for(&parts.headers, "application/json")),
        Err(problem) => Err(problem),
    };
    if matches!(&answer, Err(problem) if problem.code() == Code::Overloaded) {
        metrics::counter!("shelfd_overloaded_total").increment(1);
    }
    drop(permit);
    answer
}

/// What was taken of the valve goes with the events: a caller that goes away before the answer does not open it.
fn hand_over(door: &Door, permit: &mut Permit) -> Arc<Permit> {
    Arc::new(std::mem::replace(permit, door.valve.permit()))
}

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

type Ids = (Id, Id);

enum Row {
    Judged(Ids, Verdict),
    /// Refused at the door, and recorded under this sequence.
    Rejected(Rejected, u64),
}

enum Judged {
    One(Ids, Verdict),
    Many(Vec<Row>),
}

async fn judge(
    door: &Door,
    headers: &HeaderMap,
    content: Body,
    format: Format,
    trace: Option<&Trace>,
    permit: &mut Permit,
) -> Answer<Judged> {
    let bytes = body::read(door, headers, content, permit).await?;
    let trace = trace.map(Trace::kept);
    let warehouses = door.node.view().warehouses();
    let decoded = {
        let mut decoder = Decoder::new(&warehouses, trace);
        decode(&bytes, format, door.options.max_rows, &mut decoder)?
    };
    drop(bytes);
    let ids = |event: &Event| (event.origin.id.clone(), event.origin.source.clone());
    match decoded {
        Decoded::One(row) => {
            permit.take_events(1)?;
            let share = hand_over(door, permit);
            match *row {
                Ok(event) => {
                    let ids = ids(&event);
                    let verdict = door.node.events_holding([event], held(&share)).await.pop();
                    Ok(Judged::One(ids, verdict.unwrap_or_else(unanswered)))
                }
                Err(rejected) => {
                    let rows = std::iter::once(&rejected);
                    door.node.record_refused(rows, trace, || held(&share)).await?;
                    Tally::default().count("refused");
                    Err(Refusal::clone(&rejected.refusal).into())
                }
            }
        }
        Decoded::Many(rows) => {
            let good = rows.iter().filter(|row| row.is_ok()).count();
            permit.take_events(rows.len())?;
            let share = hand_over(door, permit);
            let mut events = Vec::with_capacity(good);
            let mut places = Vec::with_capacity(rows.len());
            for row in rows {
                places.push(row.map(|event| {
                    let ids = ids(&event);
                    events.push(event);
                    ids
                }));
            }
            let rejected = places.iter().filter_map(|place| place.as_ref().err());
            let recorded = door.node.record_refused(rejected, trace, || held(&share));
            let judged = async {
                match events.is_empty() {
                    true => Vec::new(),
                    false => door.node.events_holding(events, held(&share)).await,
                }
            };
            let (recorded, verdicts) = tokio::join!(recorded, judged);
            nothing_judged(&verdicts, recorded.as_ref().err())?;
            let (mut verdicts, mut recorded) = (verdicts.into_iter(), recorded.map(Vec::into_iter));
            let row = |place: Result<Ids, Rejected>| match (place, &mut recorded) {
                (Ok(ids), _) => Row::Judged(ids, verdicts.next().unwrap_or_else(unanswered)),
                (Err(rejected), Ok(recorded)) => Row::Rejected(rejected, recorded.next().unwrap_or_default()),
                (Err(mut rejected), Err(why)) => {
                    *rejected.refusal = why.clone();
                    Row::Rejected(rejected, 0)
                }
            };
            Ok(Judged::Many(places.into_iter().map(row).collect()))
        }
    }
}

fn unanswered() -> Verdict {
    Verdict::NotJudged(Refusal::new(Code::Overloaded, "the event was not judged; send it again").into())
}

/// When no event at all was judged, the whole request is answered with the reason; so is one of which nothing could be recorded.
fn nothing_judged(verdicts: &[Verdict], unrecorded: Option<&Refusal>) -> Answer<()> {
    if let (true, Some(why)) = (verdicts.is_empty(), unrecorded) {
        return Err(why.clone().into());
    }
    let mut reasons = verdicts.iter().map(|verdict| match verdict {
        Verdict::NotJudged(refusal) => Some(refusal),
        Verdict::Judged { .. } => None,
    });
    match reasons.next() {
        Some(Some(first)) if reasons.all(|reason| reason.is_some()) => Err(Refusal::clone(first).into()),
        _ => Ok(()),
    }
}

fn one(ids: &Ids, verdict: Verdict) -> Answer {
    Tally::default().count(word(&verdict));
    match verdict {
        Verdict::NotJudged(refusal) => Err((*refusal).into()),
        Verdict::Judged {
            outcome: Outcome::Refused(refusal),
            ..
        } => Err((*refusal).into()),
        Verdict::Judged {
            outcome: Outcome::DeadLetter { error },
            seq,
            ..
        } => Err(dead_letter(&error, seq)),
        judged => {
            let mut out = Vec::with_capacity(160);
            write_judged(&mut out, ids, &judged, None);
            Ok(json(StatusCode::OK, out, "application/json"))
        }
    }
}

fn many(rows: &[Row], ndjson: bool) -> Answer {
    let mut out = Vec::with_capacity(rows.len() * 112 + 32);
    if !ndjson {
        out.extend_from_slice(b"{\"verdicts\":[");
    }
    let mut refused = false;
    let mut tally = Tally::default();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 && !ndjson {
            out.push(b',');
        }
        match row {
            Row::Judged(ids, verdict) => {
                tally.count(word(verdict));
                refused |= write_judged(&mut out, ids, verdict, Some(at + 1));
            }
            Row::Rejected(rejected, seq) => {
                tally.count("refused");
                refused = true;
                write_rejected(&mut out, rejected, *seq, at + 1);
            }
        }
        if ndjson {
            out.push(b'\n');
        }
    }
    if !ndjson {
        out.extend_from_slice(b"]}");
    }
    let status = if refused { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    Ok(json(
        status,
        out,
        if ndjson { "application/x-ndjson" } else { "application/json" },
    ))
}

fn json(status: StatusCode, body: Vec<u8>, form: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    response
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
    fn count(&mut self, word: &'static str) {
        match self.0.iter_mut().find(|(there, _)| *there == word) {
            Some((_, n)) => *n += 1,
            None => self.0.push((word, 1)),
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for (word, n) in &self.0 {
            metrics::counter!("shelfd_events_total", "verdict" => *word).increment(*n);
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

fn write_number(out: &mut Vec<u8>, name: &str, n: u64) {
    use std::io::Write;
    let _ = write!(out, ",\"{name}\":{n}");
}

fn write_ids(out: &mut Vec<u8>, id: Option<&str>, source: Option<&str>) {
    out.push(b'{');
    for (name, text) in [("\"id\":", id), ("\"source\":", source)] {
        if let Some(text) = text {
            out.extend_from_slice(name.as_bytes());
            write_text(out, text);
            out.push(b',');
        }
    }
}

/// Writes the verdict of a row that was handed to the node; says whether it is a refusal.
fn write_judged(out: &mut Vec<u8>, ids: &Ids, verdict: &Verdict, row: Option<usize>) -> bool {
    write_ids(out, Some(ids.0.as_str()), Some(ids.1.as_str()));
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
        write_number(out, "seq", seq);
    }
    write_number(out, "version", version);
    match outcome {
        Outcome::Applied { found, expired_lot } => {
            if *found > 0 {
                write_number(out, "found", found.unsigned_abs());
            }
            if let Some(lot) = expired_lot {
                out.extend_from_slice(b",\"expired_lot\":");
                write_text(out, lot.as_str());
            }
        }
        Outcome::Refused(refusal) => write_problem(out, refusal, row),
        Outcome::DeadLetter { error } => {
            out.extend_from_slice(b",\"error\":");
            write_text(out, error);
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
        write_number(out, "seq", seq);
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
    write_judged(&mut out, &(Id::trusted(id), Id::trusted(source)), verdict, None);
    serde_json::from_slice(&out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ids() -> Ids {
        (Id::trusted("e \"1\""), Id::trusted("wms/7"))
    }

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
        let rows = [
            Row::Judged(ids(), judged(applied, false)),
            Row::Judged(ids(), judged(Outcome::APPLIED, true)),
            Row::Judged(ids(), judged(Outcome::Refused(refusal.into()), false)),
            Row::Rejected(Refusal::new(Code::MalformedRow, "the row is not JSON").into(), 7),
        ];
        let mut out = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            match row {
                Row::Judged(ids, verdict) => {
                    write_judged(&mut out, ids, verdict, Some(at + 1));
                }
                Row::Rejected(rejected, seq) => write_rejected(&mut out, rejected, *seq, at + 1),
            }
        }
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
