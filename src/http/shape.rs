//! What the answers look like: one struct per shape, from which both the JSON and the OpenAPI document are made.
//!
//! Domain types do not serialise themselves (the domain knows no serde), and should not: a field renamed inside must not rename
//! it outside.

use serde::{Serialize, Serializer};
use serde_json::Value;
use smallvec::SmallVec;
use utoipa::ToSchema;

pub use super::calendars::{calendar, time};

use crate::domain::available::{available, buffer_of};
use crate::domain::fact::{Account, Change, Fact, Outcome, Subject};
use crate::domain::reservation::Reservation;
use crate::domain::stock::Stock;
use crate::domain::units::{Day, Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse, date_of};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; null at the end.
    pub next: Option<String>,
}

/// The seven accounts; they sum to zero.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accounts {
    /// On the shelf.
    pub sellable: i64,
    /// In the building, not to be sold.
    pub quarantine: i64,
    /// Underway to here.
    pub in_transit: i64,
    /// Where goods come from.
    pub supply: i64,
    /// Where goods go when sold.
    pub demand: i64,
    /// Where goods go when lost.
    pub waste: i64,
    /// What book and shelf disagree about.
    pub discrepancy: i64,
}

impl From<[i64; 7]> for Accounts {
    fn from([sellable, quarantine, in_transit, supply, demand, waste, discrepancy]: [i64; 7]) -> Accounts {
        Accounts {
            sellable,
            quarantine,
            in_transit,
            supply,
            demand,
            waste,
            discrepancy,
        }
    }
}

/// A day as `2026-12-01`.
pub fn day(day: Day) -> Option<String> {
    date_of(day).map(|date| date.to_string())
}

/// One lot of a SKU.
#[derive(Debug, Serialize, ToSchema)]
pub struct LotView {
    /// Its id; empty: the stock without a lot.
    pub lot: String,
    /// Its last sellable day.
    pub expires_on: Option<String>,
    /// Units on the shelf.
    pub sellable: i64,
    /// Units held back.
    pub quarantine: i64,
    /// Units underway.
    pub in_transit: i64,
    /// The newest count of this lot.
    pub last_count: Option<String>,
}

/// A SKU in a warehouse.
#[derive(Debug, Serialize, ToSchema)]
pub struct SkuView<'a> {
    /// Where.
    pub warehouse: &'a str,
    /// Of what.
    pub sku: &'a str,
    /// The base unit of all quantities.
    pub unit: &'static str,
    /// Rises with every change.
    pub version: u64,
    /// The journal's sequence of the last change.
    pub seq: u64,
    /// The seven accounts.
    pub accounts: Accounts,
    /// The lots.
    pub lots: Vec<LotView>,
    /// Units promised.
    pub claimed: i64,
    /// Units found, and owed to the next receipt.
    pub owed: i64,
    /// What may still be promised, per channel.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    pub available: Channels<'a>,
    /// The newest count.
    pub last_count: Option<String>,
    /// `count_due`, `at_risk`, `expired_stock`.
    pub flags: Vec<&'static str>,
}

/// Units for each channel, by its id; as JSON an object.
#[derive(Debug)]
pub struct Channels<'a>(SmallVec<[(&'a str, i64); 4]>);

impl<'a> Channels<'a> {
    /// Each of them.
    pub fn each(&self) -> &[(&'a str, i64)] {
        &self.0
    }
}

impl<'a> FromIterator<(&'a str, i64)> for Channels<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, i64)>>(each: I) -> Channels<'a> {
        Channels(each.into_iter().collect())
    }
}

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// What needs a person's eye.
pub fn flags(stock: &Stock, today: Day) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if stock.count_due {
        flags.push("count_due");
    }
    if stock.claims.any_at_risk() {
        flags.push("at_risk");
    }
    if stock.lots.iter().any(|lot| lot.expired(today) && lot.sellable() > 0) {
        flags.push("expired_stock");
    }
    flags
}

/// Builds the SKU's view as of `now`.
pub fn sku<'a>(warehouse: &'a Warehouse, sku: &'a str, stock: &Stock, seq: u64, now: Time) -> SkuView<'a> {
    let calendar = calendar(warehouse);
    let today = calendar.day_of(now);
    let lots = stock.lots.iter().map(|lot| LotView {
        lot: lot.id.as_str().into(),
        expires_on: lot.expires_on.and_then(day),
        sellable: lot.inside[0],
        quarantine: lot.inside[1],
        in_transit: lot.inside[2],
        last_count: lot.last_count.get().map(|at| time(at, &calendar)),
    });
    let channels = warehouse.channels.keys().map(|channel| {
        let buffer = buffer_of(stock, channel, warehouse);
        (channel.as_str(), available(stock, None, buffer, today, now, None))
    });
    SkuView {
        warehouse: warehouse.id.as_str(),
        sku,
        unit: stock.unit.as_str(),
        version: stock.version,
        seq,
        accounts: stock.accounts().into(),
        lots: lots.collect(),
        claimed: stock.claimed(),
        owed: stock.owed,
        available: channels.collect(),
        last_count: stock.last_count.get().map(|at| time(at, &calendar)),
        flags: flags(stock, today),
    }
}

/// One line of a reservation.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineView {
    /// The SKU.
    pub sku: String,
    /// Units asked for.
    pub quantity: i64,
    /// Units promised now.
    pub held: i64,
    /// Units taken.
    pub taken: i64,
    /// Days of shelf life asked for.
    pub min_shelf_life_days: Option<u32>,
    /// The least expiry date that serves.
    pub good_until: Option<String>,
    /// Whether the promise no longer fits what stands on the shelf.
    pub at_risk: bool,
}

/// A reservation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservationView {
    /// Its id.
    pub id: String,
    /// Where.
    pub warehouse: String,
    /// The channel that promised.
    pub channel: String,
    /// `held`, `confirmed`, `cancelled` or `expired`.
    pub state: &'static str,
    /// Rises with every change.
    pub version: u64,
    /// One line per SKU.
    pub lines: Vec<LineView>,
    /// When it was first held.
    pub created_at: String,
    /// When it expires; null: never.
    pub expires_at: Option<String>,
    /// When it ended; null while it is held.
    pub ended_at: Option<String>,
}

/// Builds a reservation's view; `at_risk` tells of each SKU's claim.
pub fn reservation(warehouse: &Id, of: &Reservation, calendar: &Calendar, at_risk: impl Fn(&Id) -> bool) -> ReservationView {
    let line = |line: &crate::domain::reservation::Line| LineView {
        sku: line.sku.as_str().into(),
        quantity: line.quantity,
        held: line.held,
        taken: line.taken,
        min_shelf_life_days: line.min_shelf_life_days,
        good_until: line.good_until.and_then(day),
        at_risk: line.held > 0 && at_risk(&line.sku),
    };
    ReservationView {
        id: of.id.as_str().into(),
        warehouse: warehouse.as_str().into(),
        channel: of.channel.as_str().into(),
        state: of.state.as_str(),
        version: of.version,
        lines: of.lines.iter().map(line).collect(),
        created_at: time(of.created, calendar),
        expires_at: of.expires.map(|at| time(at, calendar)),
        ended_at: of.end.as_ref().map(|end| time(end.at, calendar)),
    }
}

/// Units that moved between two accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoveView {
    /// The account that gave.
    pub from: &'static str,
    /// The account that took.
    pub to: &'static str,
    /// The lot; empty: the stock without a lot.
    pub lot: String,
    /// Units.
    pub quantity: i64,
}

/// A fact: in the ledger, in what was ignored, and in the changes.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct FactView {
    /// Its place in the journal.
    pub seq: u64,
    /// What it speaks of: `sku`, `reservation`, `warehouse`, `catalogue`, `dead_letter`, `row` or `command`.
    pub kind: &'static str,
    /// Where; empty for the catalogue, and for a row that names no warehouse of this node.
    pub warehouse: String,
    /// Of what, when it speaks of a SKU.
    pub sku: Option<String>,
    /// The SKU's version after it.
    pub version: Option<u64>,
    /// When it happened.
    pub at: String,
    /// When the node decided it.
    pub recorded_at: String,
    /// What was done: `receipt`, `sale`, `held`, `day_turned`, …
    pub what: String,
    /// What came of it.
    pub verdict: &'static str,
    /// Who said it.
    pub source: String,
    /// The sender's id of it.
    pub id: String,
    /// The person or account behind it.
    pub actor: Option<String>,
    /// Why, in the sender's words.
    pub reason: Option<String>,
    /// The paper that it belongs to.
    pub document: Option<String>,
    /// The trace in which it came.
    pub trace_id: Option<String>,
    /// What else came with the event: CloudEvents attributes and extensions, as received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<serde_json::Value>,
    /// Units moved.
    pub moves: Vec<MoveView>,
    /// The accounts after it.
    pub accounts: Option<Accounts>,
    /// Units promised after it.
    pub claimed: Option<i64>,
    /// Units owed after it.
    pub owed: Option<i64>,
    /// What could be promised after it on each channel, without a date; null in facts of stores of format 1.
    #[schema(value_type = Option<std::collections::BTreeMap<String, i64>>)]
    pub available: Option<Value>,
    /// What could be promised after it before any buffer, without a date.
    pub available_before_buffers: Option<i64>,
    /// Units that had to be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<i64>,
    /// An expired lot that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_lot: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
    /// What its actor died with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The reservation after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationView>,
    /// The warehouse, or the catalogue entry, after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Value>,
    /// The dead letter that something was done about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<u64>,
    /// How many rows were refused in these words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// The beginning of what was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
}

/// Builds a fact's view.
pub fn fact(of: &Fact, calendar: &Calendar) -> FactView {
    let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let mut view = FactView {
        seq: of.seq,
        warehouse: of.warehouse.as_str().into(),
        at: time(of.business, calendar),
        recorded_at: time(of.recorded, calendar),
        what: of.what.to_string(),
        verdict: of.outcome.word(),
        source: of.origin.source.as_str().into(),
        id: of.origin.id.as_str().into(),
        actor: own(&of.origin.actor),
        reason: own(&of.origin.reason),
        document: own(&of.origin.document),
        trace_id: of.origin.trace.as_ref().map(|trace| trace.id().into_owned()),
        extensions: of
            .origin
            .extensions
            .as_deref()
            .and_then(|kept| serde_json::from_str(kept).ok()),
        ..FactView::default()
    };
    match &of.outcome {
        Outcome::Applied { found, expired_lot } => {
            view.found = (*found > 0).then_some(*found);
            view.expired_lot = expired_lot.as_ref().map(|lot| lot.as_str().into());
        }
        Outcome::Refused(refusal) => view.problem = Some(Value::Object(super::error::Problem::members(refusal))),
        Outcome::DeadLetter { error } => view.error = Some(error.to_string()),
        Outcome::IncludedInCount | Outcome::Stale | Outcome::Recorded => {}
    }
    subject(&mut view, of, calendar);
    view
}

fn subject(view: &mut FactView, of: &Fact, calendar: &Calendar) {
    match &of.subject {
        Subject::Sku {
            sku,
            version,
            changes,
            after,
        } => {
            view.kind = "sku";
            view.sku = Some(sku.as_str().into());
            view.version = Some(*version);
            view.accounts = Some(after.accounts.into());
            view.claimed = Some(after.claimed);
            view.owed = Some(after.owed);
            view.available = after.per_channel().map(|figures| {
                let figures = figures
                    .into_iter()
                    .map(|(channel, units)| (channel.to_string(), Value::from(units)));
                Value::Object(figures.collect())
            });
            view.available_before_buffers = Some(after.available);
            view.moves = changes.iter().filter_map(movement).collect();
        }
        Subject::Reservation(basket) => {
            view.kind = "reservation";
            view.reservation = Some(reservation(&of.warehouse, basket, calendar, |_| false));
        }
        Subject::Warehouse(warehouse) => {
            view.kind = "warehouse";
            view.entry = serde_json::to_value(WarehouseView::of(warehouse)).ok();
        }
        Subject::Catalogue { sku, entry } => {
            view.kind = "catalogue";
            view.sku = Some(sku.as_str().into());
            view.entry = serde_json::from_str(entry).ok();
        }
        Subject::DeadLetter { letter, action } => {
            view.kind = "dead_letter";
            view.dead_letter = Some(*letter);
            view.reason = view.reason.take().or_else(|| Some(action.to_string()));
        }
        Subject::Row { sku, rows } => {
            view.kind = "row";
            view.sku = sku.as_ref().map(|sku| sku.as_str().into());
            view.rows = Some(*rows);
            view.received = of.payload.as_deref().map(str::to_owned);
        }
        Subject::Command { .. } => {
            view.kind = "command";
            view.received = of.payload.as_deref().map(str::to_owned);
        }
    }
}

fn movement(change: &Change) -> Option<MoveView> {
    let Change::Move {
        lot, from, to, quantity, ..
    } = change
    else {
        return None;
    };
    let name = |account: &Account| account.as_str();
    Some(MoveView {
        from: name(from),
        to: name(to),
        lot: lot.as_str().into(),
        quantity: *quantity,
    })
}

/// How one channel promises.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelView {
    /// Units kept back of every SKU without an override.
    pub buffer: i64,
    /// Seconds that a reservation lives by default.
    pub ttl_s: u32,
    /// The most seconds that it may ask for.
    pub max_ttl_s: u32,
    /// Whether it may live for ever.
    pub allow_no_expiry: bool,
}

/// A warehouse.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarehouseView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its IANA time zone.
    pub time_zone: String,
    /// Its channels.
    pub channels: std::collections::BTreeMap<String, ChannelView>,
}

impl WarehouseView {
    /// Builds a warehouse's view.
    pub fn of(warehouse: &Warehouse) -> WarehouseView {
        let channels = warehouse.channels.iter().map(|(id, channel)| {
            let view = ChannelView {
                buffer: channel.buffer,
                ttl_s: channel.ttl_s,
                max_ttl_s: channel.max_ttl_s,
                allow_no_expiry: channel.allow_no_expiry,
            };
            (id.as_str().to_owned(), view)
        });
        WarehouseView {
            id: warehouse.id.as_str().into(),
            name: warehouse.name.clone(),
            time_zone: warehouse.time_zone.clone(),
            channels: channels.collect(),
        }
    }
}
