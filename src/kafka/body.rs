//! The JSON of what is published: the SKU, the basket and the disagreement as the API shows them, and what happened to them.
//!
//! The names are those of the HTTP API; `schemas/` says what each topic's data is, and tests hold both to it. Written by hand,
//! since this is done for every fact; building the API's views first costs three times as much.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use crate::actors::node::Node;
use crate::domain::available::{available, buffer_of};
use crate::domain::fact::{Account, After, Change, Fact, Outcome};
use crate::domain::reservation::Reservation;
use crate::domain::stock::Stock;
use crate::domain::trace::TraceParent;
use crate::domain::units::{Day, Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse, date_of};
use crate::plain::put_text;
use crate::storage::payload;

/// A warehouse and its calendar.
pub(super) struct Site {
    pub(super) warehouse: Arc<Warehouse>,
    pub(super) calendar: Calendar,
}

/// The warehouses, with their calendars made once.
#[derive(Default)]
pub(super) struct Sites {
    all: Option<Arc<BTreeMap<Id, Arc<Warehouse>>>>,
    made: BTreeMap<Id, Site>,
}

impl Sites {
    /// The warehouses as they are now.
    pub(super) fn look(&mut self, node: &Node) {
        let now = node.view().warehouses();
        if self.all.as_ref().is_some_and(|all| Arc::ptr_eq(all, &now)) {
            return;
        }
        let site = |warehouse: &Arc<Warehouse>| Site {
            warehouse: warehouse.clone(),
            calendar: Calendar::new(&warehouse.time_zone).unwrap_or_else(Calendar::utc),
        };
        self.made = now.iter().map(|(id, warehouse)| (id.clone(), site(warehouse))).collect();
        self.all = Some(now);
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Site> {
        self.made.get(id)
    }
}

/// A member's name as it stands in the JSON: put together by the compiler, since a message has some fifty of them.
macro_rules! name {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}

/// The name of a member, by [`name`].
fn put_name(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
}

/// A whole number. By serde_json, which has digits ready: `write!` costs four times as much, and a message has a dozen of them.
fn put_whole(out: &mut Vec<u8>, number: impl serde::Serialize) {
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

fn put_number(out: &mut Vec<u8>, name: &str, number: impl serde::Serialize) {
    put_name(out, name);
    put_whole(out, number);
}

/// A number whose name is none of this file's.
fn put_member(out: &mut Vec<u8>, name: &str, number: i64) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    put_whole(out, number);
}

fn put_field(out: &mut Vec<u8>, name: &str, text: &str) {
    put_name(out, name);
    put_text(out, text);
}

fn put_optional(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    put_name(out, name);
    match text {
        Some(text) => put_text(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

fn put_at(out: &mut Vec<u8>, at: Time, zone: &jiff::tz::TimeZone) {
    let stamp = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX);
    let offset = zone.to_offset(stamp);
    let local = offset.to_datetime(stamp);
    if local.year() < 0 {
        out.push(b'-');
    }
    let year = u32::from(local.year().unsigned_abs());
    put_two(out, year / 100, None);
    put_two(out, year % 100, Some(b'-'));
    put_two(out, local.month() as u32, Some(b'-'));
    put_two(out, local.day() as u32, Some(b'T'));
    put_two(out, local.hour() as u32, Some(b':'));
    put_two(out, local.minute() as u32, Some(b':'));
    put_two(out, local.second() as u32, Some(b'.'));
    let millisecond = local.millisecond() as u32;
    out.push(b'0' + (millisecond / 100) as u8);
    put_two(out, millisecond % 100, Some(if offset.seconds() < 0 { b'-' } else { b'+' }));
    let minutes = offset.seconds().unsigned_abs() / 60;
    put_two(out, minutes / 60, Some(b':'));
    put_two(out, minutes % 60, None);
}

/// A number below 100 as two digits, and what stands behind it.
fn put_two(out: &mut Vec<u8>, number: u32, behind: Option<u8>) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
    out.extend(behind);
}

/// An instant in UTC, RFC 3339 with milliseconds, without quotes.
pub(super) fn put_utc(out: &mut Vec<u8>, at: Time) {
    put_at(out, at, &jiff::tz::TimeZone::UTC);
}

fn put_time(out: &mut Vec<u8>, name: &str, at: Option<Time>, calendar: &Calendar) {
    put_name(out, name);
    match at {
        Some(at) => {
            out.push(b'"');
            put_at(out, at, calendar.zone());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn put_day(out: &mut Vec<u8>, name: &str, day: Option<Day>) {
    put_name(out, name);
    match day.and_then(date_of) {
        Some(date) => {
            let _ = write!(out, "\"{date}\"");
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn put_list<T>(out: &mut Vec<u8>, name: &str, items: impl IntoIterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    put_name(out, name);
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, item);
    }
    out.push(b']');
}

fn put_flags(out: &mut Vec<u8>, stock: &Stock, today: Day) {
    let expired = || stock.lots.iter().any(|lot| lot.expired(today) && lot.sellable() > 0);
    let flags = [
        ("count_due", stock.count_due),
        ("at_risk", stock.claims.any_at_risk()),
        ("expired_stock", expired()),
    ];
    put_list(
        out,
        name!("flags"),
        flags.into_iter().filter(|(_, is)| *is),
        |out, (flag, _)| put_text(out, flag),
    );
}

/// What may be promised per channel, at an instant.
pub(super) fn put_available(out: &mut Vec<u8>, site: &Site, stock: &Stock, now: Time) {
    let today = site.calendar.day_of(now);
    let figure = |channel| {
        let buffer = buffer_of(stock, channel, &site.warehouse);
        (channel, available(stock, None, buffer, today, now, None))
    };
    put_figures(out, site.warehouse.channels.keys().map(figure));
}

fn put_figures<'c>(out: &mut Vec<u8>, figures: impl IntoIterator<Item = (&'c Id, i64)>) {
    put_name(out, name!("available"));
    out.push(b'{');
    for (channel, units) in figures {
        if !matches!(out.last(), Some(b'{')) {
            out.push(b',');
        }
        // An operator's name, which may need its escapes.
        put_text(out, channel.as_str());
        out.push(b':');
        put_whole(out, units);
    }
    out.push(b'}');
}

/// What begins every SKU: where, what, its unit, version and sequence.
pub(super) fn put_head(out: &mut Vec<u8>, warehouse: &str, sku: &str, stock: &Stock, seq: u64) {
    out.push(b'{');
    put_field(out, name!("warehouse"), warehouse);
    put_field(out, name!("sku"), sku);
    put_field(out, name!("unit"), stock.unit.as_str());
    put_number(out, name!("version"), stock.version);
    put_number(out, name!("seq"), seq);
}

/// The SKU after a fact, as the API shows it, and the fact.
pub(super) fn put_updated(out: &mut Vec<u8>, site: &Site, sku: &str, stock: &Stock, fact: &Fact, after: &After) {
    let calendar = &site.calendar;
    put_head(out, fact.warehouse.as_str(), sku, stock, fact.seq);
    put_name(out, name!("accounts"));
    out.push(b'{');
    for (account, units) in Account::ALL.into_iter().zip(after.accounts) {
        put_member(out, account.as_str(), units);
    }
    out.push(b'}');
    put_list(out, name!("lots"), &stock.lots, |out, lot| {
        out.push(b'{');
        put_field(out, name!("lot"), lot.id.as_str());
        put_day(out, name!("expires_on"), lot.expires_on);
        for (name, units) in [name!("sellable"), name!("quarantine"), name!("in_transit")]
            .into_iter()
            .zip(lot.inside)
        {
            put_number(out, name, units);
        }
        put_time(out, name!("last_count"), lot.last_count.get(), calendar);
        out.push(b'}');
    });
    put_number(out, name!("claimed"), after.claimed);
    put_number(out, name!("owed"), after.owed);
    match after.per_channel() {
        Some(figures) => put_figures(out, figures),
        // A fact of a store that did not write it down: by the channels of now.
        None => put_available(out, site, stock, fact.recorded),
    }
    put_time(out, name!("last_count"), stock.last_count.get(), calendar);
    put_flags(out, stock, calendar.day_of(fact.recorded));
    put_fact(out, fact, calendar);
    out.push(b'}');
}

/// What happened, by which event.
fn put_fact(out: &mut Vec<u8>, fact: &Fact, calendar: &Calendar) {
    put_name(out, name!("fact"));
    out.push(b'{');
    put_field(out, name!("what"), &fact.what);
    put_field(out, name!("verdict"), fact.outcome.word());
    put_field(out, name!("source"), fact.origin.source.as_str());
    put_field(out, name!("id"), fact.origin.id.as_str());
    put_time(out, name!("at"), Some(fact.business), calendar);
    put_time(out, name!("recorded_at"), Some(fact.recorded), calendar);
    let origin = &fact.origin;
    for (name, text) in [
        (name!("actor"), &origin.actor),
        (name!("reason"), &origin.reason),
        (name!("document"), &origin.document),
    ] {
        put_optional(out, name, text.as_deref());
    }
    put_optional(out, name!("trace_id"), origin.trace.as_ref().map(TraceParent::id).as_deref());
    if let crate::domain::fact::Subject::Sku { changes, .. } = &fact.subject {
        let moves = changes.iter().filter(|change| matches!(change, Change::Move { .. }));
        put_list(out, name!("moves"), moves, put_move);
    }
    if let Outcome::Applied { found, .. } = fact.outcome
        && found > 0
    {
        put_number(out, name!("found"), found);
    }
    out.push(b'}');
}

fn put_move(out: &mut Vec<u8>, change: &Change) {
    if let Change::Move {
        lot, from, to, quantity, ..
    } = change
    {
        out.push(b'{');
        put_field(out, name!("from"), from.as_str());
        put_field(out, name!("to"), to.as_str());
        put_field(out, name!("lot"), lot.as_str());
        put_number(out, name!("quantity"), quantity);
        out.push(b'}');
    }
}

/// The newest of a SKU: what may be promised.
pub(super) fn put_latest(out: &mut Vec<u8>, site: &Site, sku: &str, stock: &Stock, seq: u64, now: Time) {
    put_head(out, site.warehouse.id.as_str(), sku, stock, seq);
    put_available(out, site, stock, now);
    put_flags(out, stock, site.calendar.day_of(now));
    out.push(b'}');
}

/// A basket after a fact, as the API shows it, and the fact.
pub(super) fn put_reservation(out: &mut Vec<u8>, site: &Site, of: &Reservation, fact: &Fact) {
    let calendar = &site.calendar;
    out.push(b'{');
    put_field(out, name!("id"), of.id.as_str());
    put_field(out, name!("warehouse"), fact.warehouse.as_str());
    put_field(out, name!("channel"), of.channel.as_str());
    put_field(out, name!("state"), of.state.as_str());
    put_number(out, name!("version"), of.version);
    put_number(out, name!("seq"), fact.seq);
    put_list(out, name!("lines"), &of.lines, |out, line| {
        out.push(b'{');
        put_field(out, name!("sku"), line.sku.as_str());
        for (name, units) in [
            (name!("quantity"), line.quantity),
            (name!("held"), line.held),
            (name!("taken"), line.taken),
        ] {
            put_number(out, name, units);
        }
        match line.min_shelf_life_days {
            Some(days) => put_number(out, name!("min_shelf_life_days"), days),
            None => put_optional(out, name!("min_shelf_life_days"), None),
        }
        put_day(out, name!("good_until"), line.good_until);
        out.push(b'}');
    });
    put_time(out, name!("created_at"), Some(of.created), calendar);
    put_time(out, name!("expires_at"), of.expires, calendar);
    put_time(out, name!("ended_at"), of.end.as_ref().map(|end| end.at), calendar);
    put_fact(out, fact, calendar);
    out.push(b'}');
}

/// What another system believes after a fact; `None` when the change is of something else.
pub(super) fn put_drift(out: &mut Vec<u8>, site: &Site, sku: &str, version: u64, fact: &Fact, change: &Change) -> bool {
    let Change::Belief(belief) = change else {
        return false;
    };
    out.push(b'{');
    put_field(out, name!("warehouse"), fact.warehouse.as_str());
    put_field(out, name!("sku"), sku);
    put_number(out, name!("version"), version);
    put_number(out, name!("seq"), fact.seq);
    put_field(out, name!("source"), belief.source.as_str());
    put_optional(out, name!("lot"), belief.lot.as_ref().map(Id::as_str));
    put_number(out, name!("believes"), belief.believes);
    put_number(out, name!("book"), belief.book);
    put_number(out, name!("difference"), belief.believes.saturating_sub(belief.book));
    put_time(out, name!("at"), Some(belief.at), &site.calendar);
    put_time(out, name!("since"), belief.since, &site.calendar);
    out.push(b'}');
    true
}

/// A dead letter.
pub(super) fn put_letter(out: &mut Vec<u8>, fact: &Fact, error: &str) {
    out.push(b'{');
    put_number(out, name!("id"), fact.seq);
    put_field(out, name!("error"), error);
    put_field(out, name!("warehouse"), fact.warehouse.as_str());
    put_field(out, name!("source"), fact.origin.source.as_str());
    put_field(out, name!("event_id"), fact.origin.id.as_str());
    put_time(out, name!("recorded_at"), Some(fact.recorded), &Calendar::utc());
    put_optional(
        out,
        name!("trace_id"),
        fact.origin.trace.as_ref().map(TraceParent::id).as_deref(),
    );
    // A payload is the JSON that the node wrote: a message, an event, or an event and the message that it came with.
    let payload = fact.payload.as_deref().unwrap_or("null");
    let (event, message) = match fact.subject {
        crate::domain::fact::Subject::DeadLetter { .. } => (None, Some(payload)),
        _ => {
            let (event, message) = payload::parts(payload);
            (Some(event), message)
        }
    };
    for (name, text) in [(name!("event"), event.as_deref()), (name!("message"), message)] {
        if let Some(text) = text {
            put_name(out, name);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_and_texts_keep_their_escapes() {
        let mut out = Vec::new();
        put_text(&mut out, "a\"b\n");
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), "a\"b\n");
    }

    #[test]
    fn times_have_the_offset_of_their_zone() {
        let mut out = Vec::new();
        put_at(
            &mut out,
            Time(1_795_338_843_007),
            &jiff::tz::TimeZone::get("America/St_Johns").unwrap(),
        );
        let text = String::from_utf8(out).unwrap();
        let back: jiff::Timestamp = text.parse().unwrap();
        assert_eq!(back.as_millisecond(), 1_795_338_843_007);
        assert!(text.ends_with(":30"), "{text}");
        let mut out = Vec::new();
        put_utc(&mut out, Time(7));
        assert_eq!(out, b"1970-01-01T00:00:00.007+00:00");
    }
}
