//! What clients do: mixed work, some of it late, repeated, wrong, or at the last moment. All of it goes through the decoder and the
//! valve as a request does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::disk::{Disk, Image};
use super::fold::Fold;
use super::life::{Life, SITES, VALVE_EVENTS};
use super::rules::POISONED;
use crate::actors::node::{BasketAnswer, BasketCommand, CommandError, Node, Setting, Verdict};
use crate::domain::event::Event;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{ConfirmLine, ConfirmRequest, HoldRequest, LineRequest, Reservation, State};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::date_of;
use crate::host::world;
use crate::ingress::admission::Valve;
use crate::ingress::decode::Decoder;
use crate::ingress::rows::{Decoded, Format, decode};

const SKUS: [&str; 5] = ["A", "B", "C", "D", "E"];
const SOURCES: [&str; 4] = ["pos/1", "pos/2", "wms/7", "erp"];

/// One request.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// `POST /v1/events`, as NDJSON.
    Events(String),
    /// A command about a basket.
    Basket(Id, Id, BasketCommand),
    /// A setting.
    Set(Box<Setting>),
    /// The replay of a dead letter.
    Replay(u64),
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Verdicts(Vec<(Event, Verdict, u64)>),
    Basket(Result<BasketAnswer, CommandError>),
    Set(Result<u64, Refusal>),
    Replayed(Result<Verdict, Refusal>),
    Refused(Refusal),
}

/// An answer, with what was true when it came.
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) heard: Heard,
    pub(super) at: Time,
    /// The newest fact that a reader could see.
    pub(super) visible: u64,
    /// What a power cut one instant later is sure to leave; `None`: the power has gone, and nobody has heard it.
    pub(super) synced: Option<Image>,
}

pub(super) type Answers = Arc<Mutex<Vec<Answer>>>;

/// Sends a request after a while, and notes the answer.
pub(super) fn send(life: &Life, number: u64, wait_ms: u64, say: Say, answers: &Answers) {
    let (node, valve, disk, answers) = (life.node().clone(), life.valve.clone(), life.disk.clone(), answers.clone());
    life.spawn(async move {
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        let heard = ask(&node, &valve, say).await;
        note(&node, &disk, number, heard, &answers);
    });
}

fn note(node: &Node, disk: &Disk, number: u64, heard: Heard, answers: &Answers) {
    let answer = Answer {
        number,
        heard,
        at: node.now(),
        visible: node.view().durable_seq(),
        synced: (!disk.is_dead()).then(|| disk.synced()),
    };
    answers.lock().push(answer);
}

async fn ask(node: &Node, valve: &Valve, say: Say) -> Heard {
    match say {
        Say::Events(body) => match events(node, valve, &body).await {
            Ok(verdicts) => Heard::Verdicts(verdicts),
            Err(refusal) => Heard::Refused(refusal),
        },
        Say::Basket(warehouse, id, command) => Heard::Basket(node.basket(&warehouse, &id, command, None).await),
        Say::Set(setting) => Heard::Set(node.set(*setting, None, None).await),
        Say::Replay(letter) => Heard::Replayed(node.replay(letter).await),
    }
}

/// As the door does it: a share of the valve, the decoder, rotten rows recorded, the others judged. Each verdict comes with the
/// version that a reader saw at that moment.
async fn events(node: &Node, valve: &Valve, body: &str) -> Result<Vec<(Event, Verdict, u64)>, Refusal> {
    let mut permit = valve.permit();
    permit.take_bytes(body.len())?;
    let warehouses = node.view().warehouses();
    let decoded = decode(body.as_bytes(), Format::Ndjson, 1_000, &mut Decoder::new(&warehouses, None))?;
    let Decoded::Many(rows) = decoded else {
        return Err(Refusal::new(Code::InternalError, "NDJSON is many rows"));
    };
    permit.take_events(rows.len())?;
    let share = Arc::new(permit);
    let held = || -> crate::actors::batch::Held { Some(Box::new(share.clone())) };
    let bad = rows.rejected.iter().map(|(_, rejected)| rejected);
    node.record_refused(bad, None, held).await?;
    if rows.events.is_empty() {
        return Ok(Vec::new());
    }
    let batch = node.judged(rows.events.into(), held()).await?;
    let seen = |event: &Event| {
        let index = node.view().keys().find(event.warehouse.as_str(), event.sku.as_str());
        index.map_or(0, |index| {
            node.view().read(index, |stock, _| stock.map_or(0, |stock| stock.version))
        })
    };
    let rows = batch.events().iter().zip(batch.verdicts());
    Ok(rows
        .map(|(event, verdict)| (event.clone(), verdict.into_owned(), seen(event)))
        .collect())
}

/// What a client makes up next: it knows what it has sent before, and what it could read.
pub(super) struct Clients {
    sent: Vec<String>,
    next: u64,
}

/// What they look at.
pub(super) struct Sight<'a> {
    pub(super) chance: &'a mut Xoshiro256PlusPlus,
    pub(super) fold: &'a Fold,
    pub(super) now: Time,
}

impl Sight<'_> {
    fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.chance.random_range(0..of.len())]
    }

    fn upto(&mut self, most: i64) -> i64 {
        self.chance.random_range(1..=most)
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.chance.random_range(0..many) == 0
    }

    fn site(&mut self) -> &'static str {
        if self.one_in(4) { SITES[1].0 } else { SITES[0].0 }
    }

    fn basket(&mut self, held: bool) -> Option<((Id, Id), Reservation)> {
        let fitting = |basket: &&Reservation| !held || basket.state == State::Held;
        let all: Vec<_> = self.fold.baskets.iter().filter(|(_, basket)| fitting(basket)).collect();
        if all.is_empty() {
            return None;
        }
        // The newest are the likeliest.
        let at = self
            .chance
            .random_range(0..all.len())
            .max(self.chance.random_range(0..all.len()));
        Some((all[at].0.clone(), all[at].1.clone()))
    }
}

fn stamp(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.to_string()
}

impl Clients {
    pub(super) fn new() -> Clients {
        Clients {
            sent: Vec::new(),
            next: 1,
        }
    }

    /// The next request, and how long it waits before it goes.
    pub(super) fn next(&mut self, sight: &mut Sight<'_>) -> (Say, u64) {
        let wait = if sight.one_in(2) { 0 } else { sight.upto(30) as u64 };
        match sight.chance.random_range(0..100) {
            0..=39 => (self.body(sight, 1), wait),
            40..=49 => {
                let rows = sight.chance.random_range(2..8);
                (self.body(sight, rows), wait)
            }
            50..=51 => (self.body(sight, VALVE_EVENTS), wait),
            52..=57 => (self.again(sight), wait),
            58..=77 => (self.hold(sight), wait),
            78..=94 => basket_command(sight).unwrap_or_else(|| (self.hold(sight), wait)),
            95..=97 => (setting(sight), wait),
            _ => match sight.fold.letters.iter().next_back() {
                Some(letter) => (Say::Replay(*letter), wait),
                None => (self.poison(sight), wait),
            },
        }
    }

    fn body(&mut self, sight: &mut Sight<'_>, rows: usize) -> Say {
        let lines: Vec<String> = (0..rows).map(|_| self.event(sight)).collect();
        Say::Events(lines.join("\n"))
    }

    /// What was sent before, word for word; sometimes with other content under the same id.
    fn again(&mut self, sight: &mut Sight<'_>) -> Say {
        if self.sent.is_empty() {
            return self.body(sight, 1);
        }
        let recent = self.sent.len().saturating_sub(12);
        let from = if sight.one_in(3) { 0 } else { recent };
        let at = sight.chance.random_range(from..self.sent.len());
        let mut line = self.sent[at].clone();
        if sight.one_in(5) {
            line = line.replace("\"quantity\":", "\"quantity\":1");
        }
        Say::Events(if sight.one_in(2) { format!("{line}\n{line}") } else { line })
    }

    /// A message on Kafka: an event, now and then one that was sent before or that is none.
    pub(super) fn message(&mut self, sight: &mut Sight<'_>) -> String {
        let said = match sight.chance.random_range(0..10) {
            0 => return "{\"specversion\":\"1.0\",".to_owned(),
            1..=2 => self.again(sight),
            3 => self.poison(sight),
            _ => self.body(sight, 1),
        };
        let Say::Events(lines) = said else { return String::new() };
        lines.lines().next().unwrap_or_default().to_owned()
    }

    fn poison(&mut self, sight: &mut Sight<'_>) -> Say {
        let line = self.event(sight);
        Say::Events(line.replace("\"data\":{", "\"data\":{\"document\":\"poison\","))
    }

    fn event(&mut self, sight: &mut Sight<'_>) -> String {
        let number = self.next;
        self.next += 1;
        let (site, sku) = (sight.site(), sight.pick(&SKUS));
        let source = sight.pick(&SOURCES);
        let quantity = sight.upto(9);
        let mut data = format!("\"warehouse\":\"{site}\",\"sku\":\"{sku}\",\"reason\":\"because\"");
        let mut time = sight.one_in(3).then(|| sight.now.0 - sight.upto(40_000));
        let of = Making { number, site, quantity };
        let kind = match sight.chance.random_range(0..100) {
            at @ 0..=49 => goods(at, sight, &of, &mut data),
            at @ 50..=64 => within(at, sight, &of, &mut data),
            at @ 65..=76 => between(at, sight, &of, &mut data),
            at => figures(at, sight, &of, &mut data, &mut time),
        };
        let time = time.map_or(String::new(), |ms| format!(",\"time\":\"{}\"", stamp(ms)));
        let line = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"e{number}\",\"source\":\"{source}\",\"type\":\"inventory.{kind}\"{time},\"data\":{{{data}}}}}"
        );
        self.sent.push(line.clone());
        line
    }

    fn hold(&mut self, sight: &mut Sight<'_>) -> Say {
        let again = sight.one_in(5).then(|| sight.basket(true)).flatten();
        let number = self.next;
        self.next += 1;
        let poisoned = if sight.one_in(60) { POISONED } else { "" };
        let (site, id) = match again {
            Some((key, _)) => key,
            None => (Id::trusted(sight.site()), Id::trusted(&format!("{poisoned}o{number}"))),
        };
        let mut lines: BTreeMap<&str, LineRequest> = BTreeMap::new();
        for _ in 0..sight.chance.random_range(1..=3) {
            let sku = sight.pick(&SKUS);
            let days = sight.one_in(4).then(|| sight.chance.random_range(0..4));
            lines.insert(
                sku,
                LineRequest {
                    sku: Id::trusted(sku),
                    quantity: sight.upto(8),
                    min_shelf_life_days: days,
                },
            );
        }
        let ttl_s = match sight.chance.random_range(0..8) {
            0 => 0,
            1..=5 => sight.chance.random_range(1..=3),
            _ => sight.chance.random_range(4..=60),
        };
        let channel = if sight.one_in(4) { "web" } else { "default" };
        let request = HoldRequest {
            id: id.clone(),
            channel: Id::trusted(channel),
            lines: lines.into_values().collect(),
            ttl_s: Some(ttl_s),
            allow_partial: sight.one_in(6),
            expected_version: None,
            fingerprint: number,
        };
        Say::Basket(site, id, BasketCommand::Hold(request))
    }
}

/// What is common to the events of one making. What is written into a string below cannot fail.
struct Making {
    number: u64,
    site: &'static str,
    quantity: i64,
}

/// Goods come in, or go out.
fn goods(at: u32, sight: &mut Sight<'_>, of: &Making, data: &mut String) -> &'static str {
    if at < 25 {
        let _ = write!(data, ",\"quantity\":{}", of.quantity * 2);
        lot(sight, data, true);
        return "receipt";
    }
    let _ = write!(data, ",\"quantity\":{}", of.quantity);
    if sight.one_in(3)
        && let Some(((_, id), _)) = sight.basket(false)
    {
        let _ = write!(data, ",\"reservation\":\"{id}\"");
    }
    lot(sight, data, false);
    "sale"
}

/// Goods change their account.
fn within(at: u32, sight: &mut Sight<'_>, of: &Making, data: &mut String) -> &'static str {
    let _ = write!(data, ",\"quantity\":{}", of.quantity);
    match at {
        50..=53 => {
            let to = sight.pick(&["sellable", "quarantine"]);
            let _ = write!(data, ",\"to\":\"{to}\"");
            "return"
        }
        54..=57 => "quarantine",
        58..=60 => "release",
        _ => {
            let from = sight.pick(&["sellable", "quarantine", "in_transit"]);
            let _ = write!(data, ",\"from\":\"{from}\"");
            "write_off"
        }
    }
}

/// Goods change their warehouse, or the book is corrected.
fn between(at: u32, sight: &mut Sight<'_>, of: &Making, data: &mut String) -> &'static str {
    let quantity = of.quantity;
    match at {
        65..=70 => {
            let to = if of.site == SITES[0].0 { SITES[1].0 } else { SITES[0].0 };
            let transfer = of.number % 40;
            let _ = write!(
                data,
                ",\"quantity\":{quantity},\"transfer\":\"t{transfer}\",\"to_warehouse\":\"{to}\""
            );
            "transfer_out"
        }
        71..=73 => {
            let transfer = (of.number + 37) % 40;
            let _ = write!(data, ",\"quantity\":{quantity},\"transfer\":\"t{transfer}\"");
            "transfer_in"
        }
        _ => {
            let delta = if sight.one_in(2) { quantity } else { -quantity };
            let _ = write!(data, ",\"delta\":{delta}");
            "adjustment"
        }
    }
}

/// Somebody has counted, believes something, or takes something back.
fn figures(at: u32, sight: &mut Sight<'_>, of: &Making, data: &mut String, time: &mut Option<i64>) -> &'static str {
    match at {
        77..=88 => {
            let _ = write!(data, ",\"quantity\":{}", of.quantity * 2);
            if sight.one_in(2) {
                let seq = (of.number / 2).saturating_sub(sight.chance.random_range(0..6)) + 1;
                let _ = write!(data, ",\"stream\":\"s\",\"stream_seq\":{seq}");
            }
            *time = Some(sight.now.0 - sight.upto(20_000));
            "count"
        }
        89..=93 => {
            let _ = write!(data, ",\"quantity\":{}", of.quantity);
            *time = Some(sight.now.0 - sight.upto(5_000));
            "snapshot"
        }
        _ => {
            let event = of.number.saturating_sub(sight.upto(15) as u64);
            let _ = write!(data, ",\"event\":\"e{event}\"");
            "void"
        }
    }
}

/// A lot, now and then.
fn lot(sight: &mut Sight<'_>, data: &mut String, arrives: bool) {
    if !sight.one_in(3) {
        return;
    }
    let number = sight.chance.random_range(0..4);
    let _ = write!(data, ",\"lot\":{{\"id\":\"L{number}\"");
    if arrives {
        let today = sight.now.0.div_euclid(86_400_000) as i32;
        if let Some(date) = date_of(crate::domain::units::Day(today - 1 + number)) {
            let _ = write!(data, ",\"expires_on\":\"{date}\"");
        }
    }
    data.push('}');
}

/// Something about a basket that is there: often at the very moment of its deadline.
fn basket_command(sight: &mut Sight<'_>) -> Option<(Say, u64)> {
    let held = !sight.one_in(4);
    let ((site, id), basket) = sight.basket(held)?;
    let fingerprint = if sight.one_in(3) { 7 } else { sight.chance.random() };
    let command = match sight.chance.random_range(0..10) {
        0..=4 => {
            let mut lines = Vec::new();
            for line in &basket.lines {
                let most = line.held + i64::from(sight.one_in(8));
                lines.push(ConfirmLine {
                    sku: line.sku.clone(),
                    quantity: sight.chance.random_range(0..=most.max(0)),
                    lots: Vec::new(),
                });
            }
            BasketCommand::Confirm(ConfirmRequest {
                time: sight.one_in(3).then(|| sight.now.plus_ms(-sight.upto(10_000))),
                lines: sight.one_in(2).then_some(lines),
                fingerprint,
            })
        }
        5..=7 => BasketCommand::Cancel(fingerprint),
        _ => BasketCommand::Extend {
            until: sight.now.plus_ms(sight.upto(20_000)),
            fingerprint,
        },
    };
    let until = basket.expires.map_or(0, |deadline| deadline.0 - sight.now.0);
    let wait = match until {
        1..=4_000 if sight.one_in(3) => (until + sight.chance.random_range(-2..=2)).max(0) as u64,
        _ => sight.chance.random_range(0..10),
    };
    Some((Say::Basket(site, id, command), wait))
}

fn setting(sight: &mut Sight<'_>) -> Say {
    let (warehouse, sku) = (Id::trusted(sight.site()), Id::trusted(sight.pick(&SKUS)));
    let setting = if sight.one_in(3) {
        let day = crate::domain::units::Day(sight.now.0.div_euclid(86_400_000) as i32);
        Setting::LotDate {
            warehouse,
            sku,
            lot: Id::trusted(&format!("L{}", sight.chance.random_range(0..4))),
            expires_on: Some(day.plus(sight.chance.random_range(-1..4))),
        }
    } else {
        Setting::Buffers {
            warehouse,
            sku,
            buffers: vec![(Id::trusted("default"), sight.chance.random_range(0..4))],
        }
    };
    Say::Set(Box::new(setting))
}

/// The wall clock, as the clients read it.
pub(super) fn now() -> Time {
    Time(world::wall_ms().unwrap_or_default())
}
