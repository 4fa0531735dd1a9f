//! One reading of the journal for one slice: the fold of its SKUs and baskets, judged fact by fact, then compared with the view.
//!
//! The node goes on meanwhile. So a SKU that has moved on since the sweep read its last fact is copied as it stands, with the
//! sequence of its last fact, and compared when the sweep has read as far as that: all such copies are taken in one pass, so that
//! the sweep ends also when events come faster than it may read.

use std::collections::{HashMap, hash_map};
use std::ops::Range;

use crate::domain::fact::{After, Change, Fact, Outcome, Subject};
use crate::domain::reservation::{Reservation, State};
use crate::domain::stock::{Stock, check, check_promises, evolve};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::Calendar;
use crate::storage::append::SkuIndex;
use crate::storage::codec::Stored;
use crate::storage::database::{ReadError, parse};
use crate::storage::record::Row;
use crate::storage::remembered;
use crate::storage::store::Shared;
use crate::storage::tables;

use super::compare::compare_basket;
use super::report::{Finding, Findings};

/// Rows of the journal read in one transaction.
const ROWS: usize = 8;

/// What looking up an id, or a reservation, costs, in facts.
const LOOKUP_COST: i64 = 8;

/// How a sweep goes on.
pub(super) enum Next {
    /// At once, when something is left of the step.
    More,
    /// When more facts are durable.
    Wait,
    /// Everything of the slice has been compared.
    Done,
    /// The journal was cut where it reads: it has to begin anew.
    Overtaken,
}

enum Stage {
    Reading { until: u64 },
    Looking { next: u32 },
    CatchingUp,
    Baskets { left: hash_map::IntoIter<(Id, Id), Basket> },
}

/// A SKU as the sweep has folded it.
pub(super) struct Known {
    pub(super) seq: u64,
    pub(super) recorded: Time,
    pub(super) version: u64,
    /// The figures that its last fact carries.
    pub(super) accounts: [i64; 7],
    pub(super) claimed: i64,
    pub(super) owed: i64,
    /// The whole state, when the journal reaches back to the SKU's first fact.
    pub(super) stock: Option<Stock>,
    /// Something was found already: the rest would only repeat it.
    pub(super) broken: bool,
}

/// A basket as its last fact in the journal left it.
pub(super) struct Basket {
    pub(super) seq: u64,
    pub(super) version: u64,
    pub(super) ended: Option<Time>,
    pub(super) state: State,
}

/// See the module.
pub(super) struct Sweep {
    pub(super) range: Range<u32>,
    slice: (u32, u32),
    /// Baskets whose first fact comes after this one are left to the next round.
    until: u64,
    floor: u64,
    next: u64,
    stage: Stage,
    pub(super) stocks: Vec<Option<Box<Known>>>,
    pub(super) baskets: HashMap<(Id, Id), Basket>,
    /// States of the view that wait for the sweep to come so far.
    pub(super) waiting: HashMap<u32, (u64, Stock)>,
    baskets_kept: usize,
}

/// What a fact is judged with.
pub(super) struct Look<'a> {
    pub(super) shared: &'a Shared,
    pub(super) findings: &'a Findings,
    pub(super) now: Time,
}

impl Look<'_> {
    pub(super) fn found(&self, invariant: &'static str, warehouse: &Id, subject: &str, detail: String) {
        self.findings.found(Finding {
            at: self.now,
            invariant,
            warehouse: warehouse.as_str().to_owned(),
            subject: subject.to_owned(),
            detail,
        });
    }

    /// Whether what a SKU promises firmly is covered, as of its last fact. Where the warehouse has been changed since, its day
    /// then is not known for certain, and nothing is said.
    pub(super) fn promises(&self, stock: &Stock, warehouse: &Id, sku: &str, seq: u64, recorded: Time) -> bool {
        if stock.claims.iter().next().is_none() || self.shared.view.warehouse_seq(warehouse.as_str()) > seq {
            return true;
        }
        let Some(site) = self.shared.view.warehouse(warehouse.as_str()) else {
            return true;
        };
        let calendar = Calendar::new(&site.time_zone).unwrap_or_else(Calendar::utc);
        let checked = check_promises(stock, calendar.day_of(recorded));
        if let Err(violation) = &checked {
            self.found(violation.name(), warehouse, sku, format!("as of fact {seq}, {violation}"));
        }
        checked.is_ok()
    }
}

impl Sweep {
    pub(super) fn new(shared: &Shared, range: Range<u32>, slice: (u32, u32), until: u64) -> Sweep {
        let floor = shared.journal_floor().max(1);
        let mut stocks = Vec::new();
        stocks.resize_with(range.len(), || None);
        Sweep {
            range,
            slice,
            until,
            floor,
            next: floor,
            stage: Stage::Reading {
                until: shared.view.durable_seq(),
            },
            stocks,
            baskets: HashMap::new(),
            waiting: HashMap::new(),
            baskets_kept: 0,
        }
    }

    /// The next sequence that it reads.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    /// Whether the journal reaches back to the first fact of all.
    pub(super) fn reaches_zero(&self) -> bool {
        self.floor <= 1
    }

    /// Goes on after a row that cannot be read: what is missing is found at the SKUs that it had.
    pub(super) fn skip(&mut self, shared: &Shared) {
        let after = shared.database.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let next = table.range(self.next + 1..)?.next().transpose()?;
            Ok(next.map(|(key, _)| key.value()))
        });
        self.next = after.ok().flatten().unwrap_or_else(|| shared.view.durable_seq() + 1);
    }

    pub(super) fn go(&mut self, shared: &Shared, findings: &Findings, left: &mut i64, now: Time) -> Result<Next, ReadError> {
        if shared.journal_floor().max(1) != self.floor {
            return Ok(Next::Overtaken);
        }
        let look = Look { shared, findings, now };
        match &mut self.stage {
            Stage::Reading { until } if self.next <= *until => {
                self.read(&look, left)?;
            }
            Stage::Reading { .. } => self.stage = Stage::Looking { next: self.range.start },
            Stage::Looking { next } if *next < self.range.end => {
                let sku = SkuIndex(*next);
                *next += 1;
                *left -= 1 + self.look_at(&look, sku) * LOOKUP_COST;
            }
            Stage::Looking { .. } => self.stage = Stage::CatchingUp,
            Stage::CatchingUp if self.waiting.is_empty() => {
                let left = std::mem::take(&mut self.baskets).into_iter();
                self.stage = Stage::Baskets { left };
            }
            Stage::CatchingUp if self.next > shared.view.durable_seq() => {
                self.overdue(&look);
                return Ok(if self.waiting.is_empty() { Next::More } else { Next::Wait });
            }
            Stage::CatchingUp => self.read(&look, left)?,
            Stage::Baskets { left: baskets } => {
                *left -= LOOKUP_COST;
                match baskets.next() {
                    Some((key, known)) => compare_basket(&look, &key, &known),
                    None => return Ok(Next::Done),
                }
            }
        }
        Ok(Next::More)
    }

    /// Those that wait for a fact that the journal turned out not to have.
    fn overdue(&mut self, look: &Look<'_>) {
        let due = |(sku, (seq, _)): (&u32, &(u64, Stock))| (*seq < self.next).then_some(*sku);
        let due: Vec<u32> = self.waiting.iter().filter_map(due).collect();
        for sku in due {
            if let Some((seq, stock)) = self.waiting.remove(&sku) {
                self.compare(look, SkuIndex(sku), &stock, seq);
            }
        }
    }

    /// Reads some rows from where it stands, and folds them.
    fn read(&mut self, look: &Look<'_>, left: &mut i64) -> Result<(), ReadError> {
        let (from, durable) = (self.next, look.shared.view.durable_seq());
        let rows = look.shared.database.read(|transaction| {
            let table = transaction.open_table(tables::JOURNAL)?;
            let mut rows = Vec::new();
            // The row that holds the first of them may begin before it.
            let first = table.range(..=from)?.next_back().into_iter();
            for row in first.chain(table.range(from + 1..)?.take(ROWS)) {
                let (key, value) = row?;
                rows.push((key.value(), value.value().to_vec()));
            }
            Ok(rows)
        })?;
        if rows.last().is_none_or(|(key, _)| *key < from) && rows.len() <= 1 {
            // Nothing is left to read though more is said to be durable: the comparison will say what is missing.
            let ends = rows.first().map(|(key, row)| parse(*key, row.clone())).transpose()?;
            if ends.is_none_or(|row| row.end_seq() <= from) {
                self.next = durable + 1;
                return Ok(());
            }
        }
        for (key, bytes) in rows {
            if *left <= 0 || self.next > durable {
                break;
            }
            if key > self.next {
                let detail = format!("the facts {} to {} are missing", self.next, key - 1);
                look.found("replay", &Id::no_lot(), "the journal", detail);
                self.next = key;
            }
            let row = parse(key, bytes)?;
            if row.end_seq() > self.next {
                self.fold_row(look, &row, left)?;
            }
        }
        Ok(())
    }

    fn fold_row(&mut self, look: &Look<'_>, row: &Row, left: &mut i64) -> Result<(), ReadError> {
        let from = self.next;
        for stored in row.stored_from(from) {
            *left -= 1;
            let at = self.next;
            let stored = stored.map_err(|corrupt| ReadError::Damaged {
                table: "journal",
                key: at.to_string(),
                why: corrupt.to_string(),
            })?;
            self.fold(look, stored, left);
            self.next = at + 1;
        }
        look.findings.read(self.next - from, self.next - 1);
        Ok(())
    }

    fn fold(&mut self, look: &Look<'_>, stored: Stored, left: &mut i64) {
        match &stored.fact.subject {
            Subject::Sku { sku, changes, .. } if !changes.is_empty() => {
                let warehouse = &stored.fact.warehouse;
                let Some(index) = look.shared.view.keys().find(warehouse.as_str(), sku.as_str()) else {
                    let seq = stored.fact.seq;
                    return look.found(
                        "replay",
                        warehouse,
                        sku.as_str(),
                        format!("fact {seq} is of a SKU that nobody knows"),
                    );
                };
                if self.range.contains(&index.0) {
                    if stored.memory.id {
                        *left -= LOOKUP_COST;
                        once(look, &stored.fact);
                    }
                    self.fold_sku(look, index, &stored.fact);
                }
            }
            Subject::Reservation(basket) if self.is_mine(&stored.fact.warehouse, &basket.id) => {
                self.fold_basket(look, &stored.fact, basket);
            }
            _ => {}
        }
    }

    fn fold_sku(&mut self, look: &Look<'_>, index: SkuIndex, fact: &Fact) {
        let Subject::Sku {
            sku,
            version,
            changes,
            after,
        } = &fact.subject
        else {
            return;
        };
        let zero = self.reaches_zero();
        let known = &mut self.stocks[(index.0 - self.range.start) as usize];
        let first = known.is_none();
        let known = known.get_or_insert_with(|| Box::new(Known::new(zero)));
        if !known.broken {
            let wrong = known.take(fact, (*version, changes, after), first && !zero);
            if let Some((invariant, detail)) = wrong {
                known.broken = true;
                look.found(invariant, &fact.warehouse, sku.as_str(), detail);
            }
            let promises = |change: &Change| matches!(change, Change::Claim(claim) if claim.quantity > 0);
            if let Some(stock) = &known.stock
                && !known.broken
                && changes.iter().any(promises)
            {
                known.broken = !look.promises(stock, &fact.warehouse, sku.as_str(), fact.seq, fact.recorded);
            }
        }
        known.seq = fact.seq;
        known.recorded = fact.recorded;
        let due = self.waiting.get(&index.0).is_some_and(|(seq, _)| *seq <= fact.seq);
        if due && let Some((seq, stock)) = self.waiting.remove(&index.0) {
            self.compare(look, index, &stock, seq);
        }
    }

    fn is_mine(&self, warehouse: &Id, basket: &Id) -> bool {
        let (slice, slices) = self.slice;
        remembered::hash(warehouse.as_str(), basket.as_str(), "") % u64::from(slices) == u64::from(slice)
    }

    fn fold_basket(&mut self, look: &Look<'_>, fact: &Fact, basket: &Reservation) {
        let ended = basket.end.as_ref().map(|end| end.at);
        let key = (fact.warehouse.clone(), basket.id.clone());
        if fact.seq > self.until && !self.baskets.contains_key(&key) {
            return;
        }
        let found = |invariant, detail| look.found(invariant, &fact.warehouse, &format!("reservation {}", basket.id), detail);
        let window = look.shared.options.id_window_ms;
        let (seq, version) = (fact.seq, basket.version);
        match self.baskets.get(&key) {
            // Past the window an id may be used again.
            Some(known) if version == 1 && known.ended.is_some_and(|at| at.plus_ms(window) < fact.recorded) => {}
            // What an ended basket has taken may still be matched by sales; how and when it ended stays.
            Some(known) if known.ended.is_some() && (known.state, known.ended) != (basket.state, ended) => {
                let state = known.state.as_str();
                found(
                    "final_ends",
                    format!("it was {state} at fact {}, and fact {seq} changes it", known.seq),
                );
            }
            // Matching shows nobody anything, and so it is no new version.
            Some(known) if known.ended.is_some() && version == known.version => {}
            Some(known) if version <= known.version => {
                found(
                    "ordered_publication",
                    format!("fact {seq} has version {version} after version {}", known.version),
                );
            }
            None if self.reaches_zero() && version != 1 => {
                found(
                    "replay",
                    format!("its first fact is {seq}, of version {version}: those before are missing"),
                );
            }
            _ => {}
        }
        let state = basket.state;
        self.baskets.insert(
            key,
            Basket {
                seq,
                version,
                ended,
                state,
            },
        );
        if self.baskets.len() > 2 * self.baskets_kept + 1_024 {
            self.baskets
                .retain(|_, known| known.ended.is_none_or(|at| at.plus_ms(window) >= fact.recorded));
            self.baskets_kept = self.baskets.len();
        }
    }
}

impl Known {
    fn new(zero: bool) -> Known {
        Known {
            seq: 0,
            recorded: Time(0),
            version: 0,
            accounts: [0; 7],
            claimed: 0,
            owed: 0,
            stock: zero.then(Stock::default),
            broken: false,
        }
    }

    /// Folds a fact, and says what is wrong with it or with the state that it makes. `opening`: what was before it is not known.
    fn take(
        &mut self,
        fact: &Fact,
        (version, changes, after): (u64, &[Change], &After),
        opening: bool,
    ) -> Option<(&'static str, String)> {
        let (seq, before) = (fact.seq, self.version);
        if !opening && version <= before {
            return Some((
                "ordered_publication",
                format!("fact {seq} has version {version} after version {before}"),
            ));
        }
        if !opening && version != before + 1 {
            let missing = format!("the facts between version {before} and version {version} (fact {seq}) are missing");
            return Some(("replay", missing));
        }
        self.version = version;
        let folded = match &mut self.stock {
            Some(stock) => {
                evolve(stock, changes, fact.business, fact.recorded);
                stock.version = version;
                if let Err(violation) = check(stock) {
                    return Some((violation.name(), format!("after fact {seq}, {violation}")));
                }
                (stock.accounts(), stock.claimed(), stock.owed)
            }
            None if opening => (after.accounts, after.claimed, after.owed),
            None => (moved(self.accounts, changes), after.claimed, after.owed),
        };
        (self.accounts, self.claimed, self.owed) = folded;
        let carried = (after.accounts, after.claimed, after.owed);
        (folded != carried).then(|| {
            let detail = format!("fact {seq} carries (accounts, claimed, owed) {carried:?}, and the fold gives {folded:?}");
            ("replay", detail)
        })
    }
}

/// The accounts after some movements.
fn moved(mut accounts: [i64; 7], changes: &[Change]) -> [i64; 7] {
    for change in changes {
        if let Change::Move { from, to, quantity, .. } = change {
            let (from, to) = (*from as usize, *to as usize);
            accounts[from] = accounts[from].saturating_sub(*quantity);
            accounts[to] = accounts[to].saturating_add(*quantity);
        }
    }
    accounts
}

/// Whether a fact is of an event that had its effect before, within the window.
fn once(look: &Look<'_>, fact: &Fact) {
    let (warehouse, origin) = (&fact.warehouse, &fact.origin);
    let has_effect = |fact: &Fact| {
        let Subject::Sku { changes, .. } = &fact.subject else {
            return false;
        };
        !changes.is_empty() && !matches!(fact.outcome, Outcome::DeadLetter { .. } | Outcome::Refused(_))
    };
    if !has_effect(fact) {
        return;
    }
    let hash = remembered::hash(warehouse.as_str(), origin.source.as_str(), origin.id.as_str());
    // What cannot be looked up now is looked up in the next round.
    let Ok(Some(earlier)) = look.shared.newest_below(hash, fact.seq) else {
        return;
    };
    let Ok(Some(earlier)) = look.shared.stored(earlier) else {
        return;
    };
    let earlier = earlier.fact;
    let same = earlier.warehouse == *warehouse && earlier.origin.source == origin.source && earlier.origin.id == origin.id;
    let window = look.shared.options.id_window_ms;
    if same && has_effect(&earlier) && earlier.recorded.plus_ms(window) > fact.recorded {
        let Subject::Sku { sku, .. } = &fact.subject else { return };
        let (id, source) = (&origin.id, &origin.source);
        let detail = format!(
            "event {id} of {source} had its effect at fact {} and again at fact {}",
            earlier.seq, fact.seq
        );
        look.found("once", warehouse, sku.as_str(), detail);
    }
}
