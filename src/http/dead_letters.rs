//! Dead letters: events that kill whoever judges them. Listed, grouped by cause, replayed, discarded, restored.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::described::LettersBody;
use super::error::{Answer, Problem};
use super::params::{MAX_LIMIT, Params, Segments, sealed};
use super::shape::{self, Page};
use super::{Door, body, events, lookup, trace};
use crate::actors::node::Setting;
use crate::domain::fact::{Fact, Subject};
use crate::domain::refusal::Code;
use crate::domain::trace::TraceParent;
use crate::domain::units::Id;
use crate::domain::warehouse::Calendar;
use crate::ingress::{message, suggest};
use crate::storage::store::{ReadError, Store};
use crate::storage::view::DeadLetter;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LetterView {
    /// Its id: the sequence of the fact that made it.
    id: u64,
    /// Where.
    warehouse: String,
    /// Of what.
    sku: String,
    /// What its actor died with.
    error: String,
    /// `open`, `replayed` or `discarded`.
    state: String,
    /// When its state was last decided.
    recorded_at: String,
    /// The trace in which it came.
    trace_id: Option<String>,
    /// The event, as it can be sent again.
    event: Option<Value>,
    /// For a command: the reservation that it is about.
    reservation: Option<String>,
    /// The command, as it was received.
    command: Option<Value>,
    /// What came from a broker: where, and its bytes in base64. Beside `event`: the message that the event came with.
    message: Option<Value>,
}

/// Dead letters with the same cause.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CauseView {
    /// What their actors died with.
    cause: String,
    /// How many.
    count: u64,
    /// The oldest of them.
    oldest: u64,
    /// The newest of them.
    newest: u64,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActBody {
    /// Why, for the ledger.
    reason: Option<String>,
}

/// Which letters are meant.
struct Filter {
    warehouse: Option<Id>,
    sku: Option<String>,
    cause: Option<String>,
    state: Option<String>,
}

/// What the letters of one page hold, in bytes: a letter is as large as the message that it keeps. Past it a page ends early.
const PAGE_BYTES: usize = 8 << 20;

const FILTERS: [&str; 4] = ["warehouse", "sku", "cause", "state"];

impl Filter {
    fn of(door: &Door, params: &Params) -> Answer<Filter> {
        let warehouse = params.text("warehouse").map(|text| door.warehouse(text)).transpose()?;
        Ok(Filter {
            warehouse: warehouse.map(|warehouse| warehouse.id.clone()),
            sku: params.text("sku").map(str::to_owned),
            cause: params.text("cause").map(str::to_owned),
            state: params.word("state", &["open", "replayed", "discarded"])?.map(str::to_owned),
        })
    }

    fn lets(&self, letter: &DeadLetter) -> bool {
        self.warehouse.as_ref().is_none_or(|wanted| *wanted == letter.warehouse)
            && self.sku.as_deref().is_none_or(|wanted| *wanted == *letter.sku)
            && self
                .cause
                .as_deref()
                .is_none_or(|wanted| *wanted == *letter.error || wanted == cause_of(&letter.error))
    }

    /// Matching letters, newest first, below a sequence.
    fn find(&self, door: &Door, before: Option<u64>, limit: usize) -> Vec<(u64, DeadLetter)> {
        let (mut found, mut before) = (Vec::new(), before);
        loop {
            let page = door.node.view().dead_letters(self.state.as_deref(), before, MAX_LIMIT);
            let full = page.len() == MAX_LIMIT;
            before = page.last().map(|(seq, _)| *seq);
            found.extend(page.into_iter().filter(|(_, letter)| self.lets(letter)));
            if !full || found.len() >= limit {
                found.truncate(limit);
                return found;
            }
        }
    }
}

/// Events that could not be judged, newest first; with `group=cause`, by what went wrong.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "following",
    params(("state" = Option<String>, Query, description = "`open`, `replayed` or `discarded`"), ("warehouse" = Option<String>, Query, description = "Only this warehouse"),
        ("sku" = Option<String>, Query, description = "Only this SKU"), ("cause" = Option<String>, Query, description = "Only this error"),
        ("group" = Option<String>, Query, description = "`cause`: one item for each cause"),
        ("limit" = Option<i64>, Query, description = "Items of a page, to 1,000"), ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page", body = LettersBody)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri) -> Answer<Response> {
    let params = Params::read(
        uri.query(),
        &["warehouse", "sku", "cause", "state", "group", "limit", "cursor"],
    )?;
    let (limit, before) = (params.limit()?, params.before()?);
    let filter = Filter::of(&door, &params)?;
    if params.word("group", &["cause"])?.is_some() {
        return Ok(Json(causes(filter.find(&door, None, usize::MAX))).into_response());
    }
    let mut letters = filter.find(&door, before, limit);
    let full = letters.len() == limit;
    let warehouses = door.node.view().warehouses();
    let seqs: Vec<u64> = letters.iter().map(|(seq, _)| *seq).collect();
    let facts = door.read(move |store| read_within(store, &seqs, PAGE_BYTES)).await?;
    let next = letters
        .get(facts.len().saturating_sub(1))
        .filter(|_| full || facts.len() < letters.len())
        .map(|(seq, _)| sealed(&seq.to_string()));
    letters.truncate(facts.len());
    let item = |((seq, letter), fact): ((u64, DeadLetter), Option<Fact>)| {
        let calendar = warehouses
            .get(&letter.warehouse)
            .map_or_else(Calendar::utc, |site| shape::calendar(site));
        let mut held: Option<Value> = fact
            .as_ref()
            .and_then(|fact| serde_json::from_str(fact.payload.as_deref()?).ok());
        let reservation = fact.as_ref().and_then(|fact| match &fact.subject {
            Subject::Command { reservation } => Some(reservation.as_str().to_owned()),
            _ => None,
        });
        let is_message = fact
            .as_ref()
            .is_some_and(|fact| matches!(fact.subject, Subject::DeadLetter { .. }));
        let (event, command, message) = match reservation {
            Some(_) => (None, held, None),
            None if is_message => (None, None, held),
            // An event that came with a message has that beside it.
            None => {
                let came_with = held
                    .as_mut()
                    .and_then(Value::as_object_mut)
                    .and_then(|held| held.remove("message"));
                (held, None, came_with)
            }
        };
        LetterView {
            id: seq,
            warehouse: letter.warehouse.as_str().into(),
            sku: letter.sku.into(),
            error: letter.error.into(),
            state: letter.state.into(),
            recorded_at: shape::time(letter.recorded, &calendar),
            trace_id: fact.and_then(|fact| shape::fact(&fact, &calendar).trace_id),
            event,
            reservation,
            command,
            message,
        }
    };
    let items: Vec<LetterView> = letters.into_iter().zip(facts).map(item).collect();
    Ok(Json(Page { items, next }).into_response())
}

/// The facts of letters, until they are so many bytes; the first one in any case.
fn read_within(store: &Store, seqs: &[u64], most: usize) -> Result<Vec<Option<Fact>>, ReadError> {
    let (mut facts, mut bytes) = (Vec::new(), 0);
    for seq in seqs {
        let fact = store.fact(*seq)?;
        bytes += fact.as_ref().and_then(|fact| fact.payload.as_deref()).map_or(0, str::len);
        facts.push(fact);
        if bytes >= most {
            break;
        }
    }
    Ok(facts)
}

/// What letters are grouped by: a message's code, whatever the words after it; an actor's error as a whole.
fn cause_of(error: &str) -> &str {
    match error.split_once(": ") {
        Some((code, _)) if Code::parse(code).is_some() => code,
        _ => error,
    }
}

fn causes(letters: Vec<(u64, DeadLetter)>) -> Page<CauseView> {
    let mut groups: BTreeMap<Box<str>, CauseView> = BTreeMap::new();
    for (seq, letter) in letters {
        let cause: Box<str> = cause_of(&letter.error).into();
        let group = groups.entry(cause.clone()).or_insert_with(|| CauseView {
            cause: cause.into(),
            count: 0,
            oldest: seq,
            newest: seq,
        });
        group.count += 1;
        group.oldest = group.oldest.min(seq);
        group.newest = group.newest.max(seq);
    }
    let mut items: Vec<CauseView> = groups.into_values().collect();
    items.sort_by_key(|group| std::cmp::Reverse(group.count));
    Page { items, next: None }
}

fn verb(text: &str) -> Answer<&'static str> {
    const VERBS: [&str; 3] = ["replay", "discard", "restore"];
    VERBS.into_iter().find(|verb| *verb == text).ok_or_else(|| {
        let hint = suggest::hint(text, VERBS);
        Problem::new(
            Code::NotFound,
            format!(
                "a dead letter can be replayed, discarded or restored, not {}{hint}",
                suggest::quoted(text)
            ),
        )
    })
}

async fn carry_out(
    door: &Door,
    letter: u64,
    verb: &str,
    reason: Option<String>,
    key: Option<Id>,
    trace: Option<TraceParent>,
) -> Answer<Value> {
    if door.node.view().dead_letter(letter).is_none() {
        return Err(Problem::new(Code::NotFound, format!("there is no dead letter {letter}")));
    }
    if verb == "replay" {
        let fact = door.read(move |store| store.fact(letter)).await?;
        let held = fact.as_ref().and_then(|fact| fact.payload.as_deref());
        let verdict = match message::replay(&door.node, letter, held.unwrap_or_default(), door.options.max_rows).await {
            Some(verdict) => verdict?,
            None => door.node.replay(letter).await?,
        };
        let mut value = events::verdict_value("", "", &verdict);
        if let Some(members) = value.as_object_mut() {
            members.remove("source");
            members.insert("id".into(), letter.into());
        }
        return Ok(value);
    }
    let action = if verb == "discard" { "discarded" } else { "restored" };
    let seq = door
        .node
        .set(Setting::DeadLetter { letter, action, reason }, key, trace)
        .await?;
    Ok(json!({"id": letter, "state": if verb == "discard" { "discarded" } else { "open" }, "seq": seq}))
}

fn reason_of(body: ActBody, verb: &str) -> Answer<Option<String>> {
    let reason = body.reason.filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.len() > 1024) {
        return Err(Problem::field(Code::InvalidValue, "/reason", "must be at most 1,024 bytes"));
    }
    match (verb, &reason) {
        ("discard", None) => Err(Problem::field(
            Code::InvalidValue,
            "/reason",
            "who discards a dead letter says why",
        )),
        _ => Ok(reason),
    }
}

/// Replay, discard or restore one.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/{verb}", tag = "following",
    params(("id" = u64, Path, description = "The dead letter"), ("verb" = String, Path, description = "`replay`, `discard` (with a reason) or `restore`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's id of this write")),
    request_body = ActBody, responses((status = 200, description = "What came of it", body = Object), (status = 404, description = "`not_found`", content_type = "application/problem+json")))]
pub(super) async fn act(State(door): State<Door>, segments: Segments<2>, request: Request<Body>) -> Answer<Json<Value>> {
    let Segments([id, word]) = segments;
    Params::read(request.uri().query(), &[])?;
    let verb = verb(&word)?;
    let letter: u64 = id
        .parse()
        .map_err(|_| Problem::new(Code::NotFound, format!("there is no dead letter {}", suggest::quoted(&id))))?;
    let key = lookup::idempotency_key(request.headers())?;
    let trace = trace::trace_of(&request);
    let reason = reason_of(body::json_or_nothing(&door, request).await?, verb)?;
    Ok(Json(carry_out(&door, letter, verb, reason, key, trace).await?))
}

/// Replay, discard or restore all that match a filter, up to 1,000 at once.
#[utoipa::path(post, path = "/v1/dead-letters/{verb}", tag = "following",
    params(("verb" = String, Path, description = "`replay`, `discard` (with a reason) or `restore`"),
        ("warehouse" = Option<String>, Query, description = "Only this warehouse"), ("sku" = Option<String>, Query, description = "Only this SKU"),
        ("cause" = Option<String>, Query, description = "Only this error"), ("state" = Option<String>, Query, description = "`open` by default; `discarded` for restore")),
    request_body = ActBody, responses((status = 200, description = "What came of each; `more` when there are others", body = Object)))]
pub(super) async fn act_on_all(State(door): State<Door>, segments: Segments<1>, request: Request<Body>) -> Answer<Json<Value>> {
    let Segments([word]) = segments;
    let params = Params::read(request.uri().query(), &FILTERS)?;
    let verb = verb(&word)?;
    let mut filter = Filter::of(&door, &params)?;
    let usual = if verb == "restore" { "discarded" } else { "open" };
    filter.state.get_or_insert_with(|| usual.to_owned());
    let trace = trace::trace_of(&request);
    let reason = reason_of(body::json_or_nothing(&door, request).await?, verb)?;
    let mut letters = filter.find(&door, None, MAX_LIMIT + 1);
    let more = letters.len() > MAX_LIMIT;
    letters.truncate(MAX_LIMIT);
    let mut items = Vec::with_capacity(letters.len());
    // Oldest first, as they came.
    for (letter, _) in letters.into_iter().rev() {
        let done = carry_out(&door, letter, verb, reason.clone(), None, trace.clone()).await;
        items.push(done.unwrap_or_else(|problem| problem.in_list(letter)));
    }
    Ok(Json(json!({"items": items, "more": more})))
}
