//! A store's life, to be spoilt: receipts, sales, baskets held and ended, places of a broker, and all that goes on behind: snapshots,
//! sealing, retention, cursors, clean stops and starts, the first creation, the migration of an older format.
//!
//! What is decided is decided by the view, as the warehouses do, so that the invariants hold in whatever prefix of it survives.
//! The whole node on top was rejected here: it would hide which write came from what, and is the simulator's matter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rand::RngExt;
use smallvec::smallvec;

use super::disk::{Chance, chance};
use super::machine::Machine;
use crate::domain::fact::{Account, After, Change, Changes, Claim, Outcome, Role, Subject};
use crate::domain::reservation::{End, Line, Reservation, State};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Channel, Warehouse};
use crate::storage::append::{Append, CommitFailure, Done, Mark, Position};
use crate::storage::codec::{Stored, encode_owned};
use crate::storage::database::ReadError;
use crate::storage::keep::Keeper;
use crate::storage::known::Known;
use crate::storage::remembered;
use crate::storage::store::{Options, Store, create};
use crate::storage::testing::fact;

pub(crate) const TOPIC: &str = "events";
const SKUS: [&str; 4] = ["a", "b", "c", "d"];

/// How long ids, and then facts, are kept, in milliseconds; a fact is one millisecond.
const WINDOW_MS: i64 = 40;
const HISTORY_MS: i64 = 50;

/// Short generations and short windows, so that a few hundred facts go through everything.
pub(crate) fn options(lets_go: bool) -> Options {
    Options {
        cache_bytes: 1 << 20,
        generation_bits: 4,
        id_window_ms: WINDOW_MS,
        history_ms: if lets_go { HISTORY_MS } else { i64::MAX / 2 },
        ..Options::default()
    }
}

/// Facts that were handed over as one, and the answer.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) facts: Vec<Stored>,
    /// The broker's place that goes with it.
    pub(crate) place: Option<i64>,
    pub(crate) answer: Option<Result<u64, CommitFailure>>,
}

/// Whoever waits for an attempt, and the place that it brings forward.
struct Waiter {
    tell: Sender<Result<u64, CommitFailure>>,
    machine: Arc<Machine>,
    facts: u64,
    place: Option<Arc<dyn Mark>>,
}

impl Done for Waiter {
    fn done(self: Box<Self>, result: Result<u64, CommitFailure>) {
        if let Ok(first) = &result {
            self.machine.tell((first + self.facts).saturating_sub(1));
        }
        // Nobody listens any more when a test has failed.
        let _ = self.tell.send(result);
    }

    fn marks(&self, each: &mut dyn FnMut(Arc<dyn Mark>, usize)) {
        if let Some(place) = &self.place {
            each(Arc::clone(place), self.facts as usize);
        }
    }
}

struct Place(usize, [Position; 1]);

impl Mark for Place {
    fn completes(&self, rows: usize) -> bool {
        rows == self.0
    }

    fn positions(&self) -> &[Position] {
        &self.1
    }

    fn written(&self) {}
}

/// A start on a disk that fails must say so, and not that the store is damaged: nobody is to put back a backup for it.
pub(crate) fn refusal_of_a_broken_disk(why: &str) -> Result<(), String> {
    match why.contains("damaged") {
        true => Err(format!("a disk that fails is called a damaged store: {why}")),
        false => Ok(()),
    }
}

/// See the module.
pub(crate) struct Life {
    pub(crate) machine: Arc<Machine>,
    pub(crate) options: Options,
    store: Option<(Store, Keeper)>,
    pub(crate) attempts: Vec<Attempt>,
    chance: Chance,
    number: u64,
    held: BTreeSet<String>,
    /// Whether no snapshots are taken while it runs, so that the journal is all there is.
    lazy: bool,
}

impl Life {
    /// The life of a store on that machine; `known`: what its store has already.
    pub(crate) fn on(machine: Arc<Machine>, known: Vec<Attempt>, options: Options, seed: u64) -> Life {
        let number = known.iter().map(|attempt| attempt.facts.len() as u64).sum();
        Life {
            machine,
            options,
            store: None,
            attempts: known,
            chance: chance(seed),
            number,
            held: BTreeSet::new(),
            lazy: seed % 3 == 2,
        }
    }

    /// Makes the store when there is none, and opens it.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        if !self.machine.has_store() {
            create(&self.machine, &self.options).map_err(|error| format!("not created: {error}"))?;
        }
        let store = Store::open_with(self.machine.backends(), self.options.clone()).map_err(|error| error.to_string())?;
        let keeper = store.keeper();
        self.store = Some((store, keeper));
        Ok(())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store.as_ref().expect("opened before anything else").0
    }

    /// A clean stop.
    pub(crate) fn close(&mut self) {
        let now = self.now();
        if let Some((store, mut keeper)) = self.store.take() {
            // On a disk that fails, the next start reads more of the journal.
            let _ = keeper.finish(now);
            drop(keeper);
            drop(store);
        }
    }

    fn now(&self) -> Time {
        Time(1_000_100 + self.number as i64)
    }

    fn keeper(&mut self) -> &mut Keeper {
        &mut self.store.as_mut().expect("opened before anything else").1
    }

    /// Some steps of work. Errors of the disk are part of it; only a start that fails is an end.
    pub(crate) fn work(&mut self, steps: u32) -> Result<(), String> {
        for _ in 0..steps {
            let now = self.now();
            match self.chance.random_range(0..100) {
                0..34 => self.one(),
                34..50 => self.hold(),
                50..62 => self.end(),
                62..68 => self.burst(),
                68..70 => self.setting(),
                70..83 if self.lazy => self.one(),
                70..80 => drop(self.keeper().snapshot(now)),
                80..83 => drop(self.keeper().finish(now)),
                83..88 => while self.keeper().seal() == Ok(true) {},
                88..91 => drop(self.keeper().seal()),
                91..97 => while self.keeper().retain(now) == Ok(true) {},
                97 => {
                    let seq = self.store().view().durable_seq();
                    self.store().set_cursor("follower", seq);
                }
                _ => {
                    self.close();
                    self.reopen()?;
                }
            }
            self.ask()?;
        }
        Ok(())
    }

    /// Opens it once more. A start on a disk that fails may end with an error that says so; the next one may not, nor one on a disk
    /// that was mended.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            match self.open() {
                Err(why) if self.machine.is_broken() => refusal_of_a_broken_disk(&why)?,
                opened => return opened,
            }
        }
        self.machine.mend();
        self.open()
    }

    /// Asks for something that was answered: it is there, or cannot be read just now.
    fn ask(&mut self) -> Result<(), String> {
        let one = self.chance.random_range(0..self.attempts.len().max(1));
        let Some(Attempt {
            facts,
            answer: Some(Ok(first)),
            ..
        }) = self.attempts.get(one)
        else {
            return Ok(());
        };
        let store = self.store();
        let mut expected = facts[0].fact.clone();
        expected.seq = *first;
        let there = *first >= store.floor();
        match store.fact(*first) {
            Ok(Some(found)) if found == expected => {}
            Ok(None) if !there => {}
            Err(ReadError::Unavailable | ReadError::Disk(_)) if self.machine.is_broken() => {}
            other => return Err(format!("fact {first} was answered, and reads {other:?}")),
        }
        let old = expected.recorded < self.now().plus_ms(-self.options.id_window_ms);
        let (warehouse, source, id) = (&expected.warehouse, &expected.origin.source, &expected.origin.id);
        let hash = remembered::hash(warehouse.as_str(), source.as_str(), id.as_str());
        match store.known(hash, warehouse, source, id) {
            Ok(Known::Fact(found)) if *found == expected => Ok(()),
            Ok(_) if old => Ok(()),
            Err(ReadError::Unavailable | ReadError::Disk(_)) if self.machine.is_broken() => Ok(()),
            other => Err(format!("the id of fact {first} was answered, and is {other:?}")),
        }
    }

    fn next(&mut self, subject: impl FnOnce(u64) -> Subject) -> Stored {
        self.number += 1;
        fact("w", self.number, Outcome::APPLIED, subject(self.number))
    }

    fn moved(&mut self, sku: &str, mut changes: Changes, movement: Option<(Account, Account, i64)>) -> Stored {
        if let Some((from, to, quantity)) = movement {
            changes.push(Change::Move {
                lot: Id::no_lot(),
                from,
                to,
                quantity,
                role: Role::Own,
            });
        }
        let sku = Id::trusted(sku);
        self.next(|version| Subject::Sku {
            sku,
            version,
            changes,
            after: After::default(),
        })
    }

    fn sku(&mut self) -> &'static str {
        SKUS[self.chance.random_range(0..SKUS.len())]
    }

    fn sellable(&self, sku: &str) -> i64 {
        let view = self.store().view();
        let stock = view.keys().find("w", sku).and_then(|index| view.stock(index));
        stock.map_or(0, |stock| stock.accounts()[0] - stock.claimed())
    }

    /// A delivery, or a sale of what is there.
    fn one(&mut self) {
        let sku = self.sku();
        let there = self.sellable(sku);
        let movement = match there > 3 && self.chance.random() {
            true => (Account::Sellable, Account::Demand, self.chance.random_range(1..=3)),
            false => (Account::Supply, Account::Sellable, self.chance.random_range(1..=9)),
        };
        let mut facts = vec![self.moved(sku, smallvec![], Some(movement))];
        if self.chance.random_range(0..12) == 0 {
            // One that fills more than a page.
            facts[0].fact.payload = Some("x".repeat(9_000).into());
        }
        self.append(facts);
    }

    /// Deliveries that nobody waits for one by one: they meet in one commit, or in several.
    fn burst(&mut self) {
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let sku = self.sku();
            let fact = self.moved(sku, smallvec![], Some((Account::Supply, Account::Sellable, 1)));
            waiting.push(self.send(vec![fact]));
        }
        waiting.into_iter().for_each(|waiting| self.hear(waiting));
    }

    fn setting(&mut self) {
        let number = self.number;
        let subject = match self.chance.random() {
            true => Subject::Catalogue {
                sku: Id::trusted(self.sku()),
                entry: format!("{{\"name\":\"{number}\"}}").into(),
            },
            false => Subject::Warehouse(Box::new(Warehouse {
                id: Id::trusted("w"),
                name: number.to_string(),
                time_zone: "Europe/Moscow".into(),
                channels: [(Id::trusted("default"), Channel::default())].into(),
            })),
        };
        let fact = self.next(|_| subject);
        self.append(vec![fact]);
    }

    /// A basket of two SKUs: claims and basket are one record.
    fn hold(&mut self) {
        let lines: Vec<(&str, i64)> = ["a", "b"].map(|sku| (sku, self.chance.random_range(1..=2))).to_vec();
        if lines.iter().any(|(sku, units)| self.sellable(sku) < *units) {
            return self.one();
        }
        let id = format!("o-{}", self.number);
        let mut facts = Vec::new();
        for (sku, quantity) in &lines {
            let claim = Claim {
                reservation: Id::trusted(&id),
                quantity: *quantity,
                good_until: None,
                deadline: None,
                at_risk: false,
            };
            facts.push(self.moved(sku, smallvec![Change::Claim(claim.into())], None));
        }
        let line = |(sku, quantity): (&str, i64)| Line {
            sku: Id::trusted(sku),
            quantity,
            held: quantity,
            taken: 0,
            matched: 0,
            confirmed: 0,
            min_shelf_life_days: None,
            good_until: None,
        };
        let basket = Reservation {
            id: Id::trusted(&id),
            channel: Id::trusted("default"),
            state: State::Held,
            version: 1,
            request: self.number,
            extended: None,
            lines: lines.into_iter().map(line).collect(),
            created: self.now(),
            expires: None,
            end: None,
        };
        facts.push(self.next(|_| Subject::Reservation(Box::new(basket))));
        self.append(facts);
        self.held.insert(id);
    }

    /// A held basket is taken, or given back.
    fn end(&mut self) {
        let Some(id) = self.held.pop_first() else { return self.one() };
        let known = self.store().view().held("w", &id);
        // One whose record the disk refused is not there.
        let Some(known) = known.filter(|basket| basket.end.is_none()) else {
            return;
        };
        let mut basket = Reservation::clone(&known);
        let taken: bool = self.chance.random();
        let mut facts = Vec::new();
        for line in &mut basket.lines {
            let quantity = std::mem::take(&mut line.held);
            let change = Change::Unclaim {
                reservation: basket.id.clone(),
                quantity,
            };
            let movement = taken.then_some((Account::Sellable, Account::Demand, quantity));
            (line.taken, line.confirmed) = if taken { (quantity, quantity) } else { (0, 0) };
            let sku = line.sku.clone();
            facts.push(self.moved(sku.as_str(), smallvec![change], movement));
        }
        (basket.state, basket.version) = (if taken { State::Confirmed } else { State::Cancelled }, 2);
        basket.end = Some(End {
            at: self.now(),
            fingerprint: Some(1),
        });
        facts.push(self.next(|_| Subject::Reservation(Box::new(basket))));
        self.append(facts);
    }

    fn append(&mut self, facts: Vec<Stored>) {
        let waiting = self.send(facts);
        self.hear(waiting);
    }

    fn send(&mut self, facts: Vec<Stored>) -> (usize, Receiver<Result<u64, CommitFailure>>) {
        let store = self.store();
        let (tell, told) = channel();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for stored in &facts {
            encode_owned(&mut bytes, &stored.fact, stored.memory);
            ends.push(bytes.len() as u32);
        }
        let place = self.number.is_multiple_of(3).then_some(self.number as i64);
        let mark = place.map(|next| {
            let position = Position {
                topic: TOPIC.into(),
                partition: 0,
                next,
                print: 7,
            };
            Arc::new(Place(facts.len(), [position])) as Arc<dyn Mark>
        });
        store.journal().append(Append {
            epoch: store.journal().epoch(),
            bytes,
            ends,
            folds: facts.iter().map(|stored| store.view().folded_stored(stored)).collect(),
            done: Box::new(Waiter {
                tell,
                machine: Arc::clone(&self.machine),
                facts: facts.len() as u64,
                place: mark,
            }),
        });
        self.attempts.push(Attempt {
            facts,
            place,
            answer: None,
        });
        (self.attempts.len() - 1, told)
    }

    fn hear(&mut self, (number, told): (usize, Receiver<Result<u64, CommitFailure>>)) {
        self.attempts[number].answer = told.recv().ok();
    }
}
