//! What may be promised changes without an event: a day turns, a channel or its buffer changes. Each becomes a fact of every SKU
//! that it touches.
//!
//! The warehouse writes its own facts itself, ahead of everything that it decides by them, and with the copies of all SKUs that
//! are awake in its hand: so a SKU's fact says what the channels had on offer by the newest fact of the warehouse before it.
//! Hence after a rebuild it is known who has not been told: a SKU without a fact since. (To let the door record the warehouse's
//! fact and tell the actor of it was rejected: what was decided in between said the old figures after the new fact.)
//!
//! SKUs are told some thousands at a time, and the next as soon as the journal has those: a warehouse with 100,000 SKUs is
//! told in about a second, and no sale waits for more than one such step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::once;
use super::State;
use super::basket::Said;
use super::ops::{Borrowed, Copies, Operation, Work, node_origin};
use crate::domain::available::at_risk_changes;
use crate::domain::event::Origin;
use crate::domain::fact::{Change, Changes, Outcome};
use crate::domain::offer::Offer;
use crate::domain::stock::Stock;
use crate::domain::units::{Day, Id};
use crate::domain::warehouse::{Calendar, Warehouse as Site};
use crate::storage::append::{Fold, SkuIndex};
use crate::storage::codec::{FactParts, Memory, SubjectRef};

/// SKUs told in one step: some milliseconds of the warehouse's time, and one message to the journal.
const STEP: usize = 1_000;
/// Messages that the journal may have in hand when the next step is taken before the clock's own tick.
const JOURNAL_IS_FREE: u64 = 4;

/// Why a SKU is told again what may be promised of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The day has turned: lots whose last day is among these serve no more, or again.
    Day(Day, Day),
    /// A channel or a buffer has changed.
    Buffers,
}

impl Turn {
    fn what(self) -> &'static str {
        match self {
            Turn::Day(..) => "day_turned",
            Turn::Buffers => "buffers_turned",
        }
    }

    /// Whether it changes anything for a SKU.
    fn touches(self, stock: &Stock) -> bool {
        let Turn::Day(from, to) = self else { return true };
        let turned = |day: Option<Day>| day.is_some_and(|day| day >= from && day < to);
        stock.lots.iter().any(|lot| turned(lot.expires_on) && lot.sellable() > 0)
            || (stock.claims.any_dated() && stock.claims.iter().any(|claim| turned(claim.good_until)))
    }
}

impl State {
    /// All SKUs with lots or claims whose last day is among `days` are told of the new day.
    pub(super) fn turn_day(&mut self, days: Range<Day>) {
        self.turn_those(Turn::Day(days.start, days.end), |_| true);
    }

    /// Queues the SKUs that a turn touches, and all whose newest facts the view may not have yet.
    fn turn_those(&mut self, turn: Turn, also: impl Fn(u64) -> bool) {
        let (turning, places, durable) = (&mut self.turning, &self.places, self.durable);
        let ahead = |sku| places.get(sku).is_some_and(|place| !place.at_rest(durable));
        self.shared.store.view().each_sku(&self.desk.warehouse, |sku, stock, seq| {
            if turn.touches(stock) && also(seq) && !ahead(sku) {
                turning.push_back((sku, turn));
            }
        });
        let ahead = places.iter().filter(|(_, place)| !place.at_rest(durable));
        turning.extend(ahead.map(|(sku, _)| (sku, turn)));
    }

    /// SKUs that have said nothing since the warehouse's newest fact, when it is not known that all were told of that.
    pub(super) fn turn_untold(&mut self) {
        let (warehouse, store) = (&self.desk.warehouse, &self.shared.store);
        // A mark that cannot be read now counts as missing: whoever is told once more loses nothing.
        self.told = store.told(warehouse).unwrap_or(0);
        let newest = store.view().warehouse_seq(warehouse.as_str());
        if self.told < newest {
            self.turn_those(Turn::Buffers, |seq| seq < newest);
        }
    }

    /// Once a second: when everybody has been told, that is written down.
    pub(super) fn note_told(&mut self) {
        let newest = self.shared.store.view().warehouse_seq(self.desk.warehouse.as_str());
        if self.told < newest && self.turning.is_empty() && self.operations.is_empty() {
            self.told = newest;
            self.shared.store.set_told(&self.desk.warehouse, newest, self.epoch);
        }
    }

    /// Goes on with a turn when the journal has little to do: no need to wait for the clock.
    pub(super) fn turn_on(&mut self) {
        if !self.turning.is_empty() && self.shared.journal.pending() < JOURNAL_IS_FREE {
            self.turn_some();
        }
    }

    /// Tells the next SKUs: those whose copies are here in one message, each of the others when its copy is.
    pub(super) fn turn_some(&mut self) {
        let now = self.stamp();
        let (mut turns, mut copies) = (BTreeMap::new(), Copies::default());
        for _ in 0..STEP {
            let Some((sku, turn)) = self.turning.pop_front() else { break };
            if turns.contains_key(&sku) {
                // Twice in one step is a second turn of the same SKU: it has its own fact.
                self.turning.push_front((sku, turn));
                break;
            }
            if let Some(stock) = self.place(sku).borrow() {
                copies.insert(sku, stock);
                turns.insert(sku, turn);
            } else {
                let turns = BTreeMap::from([(sku, turn)]);
                self.begin(Operation::new(Work::Turn { turns }, now, vec![sku]));
            }
        }
        if !turns.is_empty() {
            let skus = turns.keys().copied().collect();
            self.perform(Operation::with(Work::Turn { turns }, now, skus, copies));
        }
    }

    /// What may be promised is said again, where it may have changed.
    pub(super) fn turn(&mut self, sku: SkuIndex, turn: Turn, borrowed: &mut Borrowed) {
        let (now, keys) = (borrowed.now, self.shared.store.view().keys());
        let (Some((_, id)), Some(Some(stock))) = (keys.names(sku), borrowed.copies.get(&sku)) else {
            return;
        };
        if !turn.touches(stock) {
            return;
        }
        let mut changes = Changes::from_iter([Change::Turned]);
        changes.extend(at_risk_changes(stock, self.day(now)));
        let what = turn.what();
        let origin = node_origin(format!("{what}/{}/{id}", now.0));
        let said = Said {
            what,
            business: now,
            origin: &origin,
            id: None,
        };
        self.write_sku(&id, said, Outcome::APPLIED, changes, borrowed);
    }

    /// The warehouse's own data change: its fact, and what follows from it for its SKUs. The fact's place in the draft.
    pub(super) fn configure(&mut self, site: &Site, origin: &Origin, borrowed: &mut Borrowed) -> u32 {
        let id = once::remembered(&self.desk.warehouse, origin);
        let parts = FactParts {
            warehouse: self.desk.warehouse.as_str(),
            what: "warehouse_set",
            business: borrowed.now,
            recorded: borrowed.now,
            origin,
            outcome: &Outcome::APPLIED,
            payload: None,
            subject: SubjectRef::Warehouse(site),
            memory: Memory {
                id: id.is_some(),
                ..Memory::default()
            },
        };
        let fold = Fold::Warehouse(Box::new(site.clone()));
        let index = borrowed.draft.other(fold, borrowed.now, id, parts);
        self.take_site(Arc::new(site.clone()));
        index
    }

    /// The warehouse's own data have changed, in the view already.
    pub(super) fn on_configured(&mut self) {
        if let Some(site) = self.shared.store.view().warehouse(self.desk.warehouse.as_str()) {
            self.take_site(site);
        }
    }

    /// Goes by these data from now on, and tells the SKUs what changes for them.
    pub(super) fn take_site(&mut self, site: Arc<Site>) {
        let before = std::mem::replace(&mut self.site, site);
        let desk = Arc::make_mut(&mut self.desk);
        desk.offer = Arc::new(Offer::of(&self.site));
        if self.site.time_zone != before.time_zone {
            desk.calendar = Arc::new(Calendar::new(&self.site.time_zone).unwrap_or_else(Calendar::utc));
            let before = self.today;
            self.today = self.desk.calendar.day_of(self.shared.clock.now());
            self.tomorrow = self.desk.calendar.start_of(self.today.plus(1));
            // Westward, the day may turn back.
            self.turn_day(before.min(self.today).plus(-1)..before.max(self.today));
        }
        let buffers = |site: &Site| -> Vec<(Id, i64)> {
            let channels = site.channels.iter();
            channels.map(|(id, channel)| (id.clone(), channel.buffer)).collect()
        };
        if buffers(&before) != buffers(&self.site) {
            self.turn_those(Turn::Buffers, |_| true);
        }
    }
}
