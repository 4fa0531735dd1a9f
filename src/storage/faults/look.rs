//! What must be true of a store that was spoilt, whatever it was: sound by `verify`, nothing answered missing, every record whole,
//! the view equal to the fold, ids known, the broker's place beside its effect, and able to go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::machine::Machine;
use super::picture::Picture;
use super::work::{Attempt, Life, TOPIC};
use crate::domain::fact::{Account, After, Change, Outcome, Role, Subject};
use crate::domain::units::Id;
use crate::storage::codec::Stored;
use crate::storage::known::Known;
use crate::storage::remembered;
use crate::storage::store::{Options, Store};
use crate::storage::testing::{append, fact};
use crate::storage::verify::inspect;
use crate::storage::view::View;

/// The newest facts whose texts and ids are looked at one by one.
const NEWEST: usize = 24;

/// What is known of a journal: its facts in order, where its records end, and what stands then.
pub(crate) struct Truth {
    facts: Vec<Stored>,
    /// By the sequence of a record's last fact, what a view shows then, and the broker's place.
    ends: BTreeMap<u64, (Picture, Option<i64>)>,
}

impl Truth {
    /// The truth of attempts that landed in this order, one after the other.
    pub(crate) fn of<'a>(landed: impl Iterator<Item = &'a Attempt>) -> Truth {
        let view = View::new(usize::MAX, 20, 0);
        let mut truth = Truth {
            facts: Vec::new(),
            ends: BTreeMap::from([(0, (Picture::default(), None))]),
        };
        let mut place = None;
        for attempt in landed {
            for stored in &attempt.facts {
                let mut stored = stored.clone();
                stored.fact.seq = truth.facts.len() as u64 + 1;
                view.fold_stored(&stored);
                truth.facts.push(stored);
            }
            place = attempt.place.or(place);
            truth.ends.insert(truth.facts.len() as u64, (Picture::of(&view), place));
        }
        truth
    }

    /// As [`Truth::of`], when only the end will be looked at.
    pub(crate) fn at_the_end(landed: &[&Attempt]) -> Truth {
        let view = View::new(usize::MAX, 20, 0);
        let mut facts = Vec::new();
        for stored in landed.iter().flat_map(|attempt| &attempt.facts) {
            let mut stored = stored.clone();
            stored.fact.seq = facts.len() as u64 + 1;
            view.fold_stored(&stored);
            facts.push(stored);
        }
        let place = landed.iter().rev().find_map(|attempt| attempt.place);
        Truth {
            ends: BTreeMap::from([(facts.len() as u64, (Picture::of(&view), place))]),
            facts,
        }
    }

    /// Looks at a store as it was found. `told`: up to which sequence somebody had been told that facts are durable.
    pub(crate) fn look(&self, found: &[u8], told: u64, options: &Options) -> Result<(), String> {
        let last = verified(found, told)?;
        let machine = Machine::with(Some(found.to_vec()), 0);
        let store = Store::open_with(machine.backends(), options.clone()).map_err(|error| format!("does not open: {error}"))?;
        self.holds(&store, last)?;
        goes_on(&store, last)
    }

    /// Whether an open store is what it must be.
    pub(crate) fn holds(&self, store: &Store, last: u64) -> Result<(), String> {
        if store.view().durable_seq() != last {
            return Err(format!("verify says {last}, the view {}", store.view().durable_seq()));
        }
        let Some((picture, place)) = self.ends.get(&last) else {
            return Err(format!("a record is half there: the journal ends at {last}"));
        };
        let found = Picture::of_store(store).map_err(|error| format!("at {last}: {error}"))?;
        if let Some(difference) = picture.differs(&found) {
            return Err(format!("at {last}: {difference}"));
        }
        let found = store.positions(TOPIC).map_err(|error| error.to_string())?;
        let found = found.first().map(|position| position.next);
        if found != *place {
            return Err(format!("at {last} the broker's place is {found:?}, not {place:?}"));
        }
        let newest = last.saturating_sub(NEWEST as u64).max(store.floor().saturating_sub(1)) as usize;
        for stored in &self.facts[newest..last as usize] {
            let fact = &stored.fact;
            let (warehouse, source, id) = (&fact.warehouse, &fact.origin.source, &fact.origin.id);
            let hash = remembered::hash(warehouse.as_str(), source.as_str(), id.as_str());
            match store.known(hash, warehouse, source, id) {
                Ok(Known::Fact(known)) if *known == *fact => {}
                other => return Err(format!("fact {} by its id is {other:?}", fact.seq)),
            }
        }
        let ahead = remembered::hash("w", "wms/7", "never");
        match store.known(ahead, &Id::trusted("w"), &Id::trusted("wms/7"), &Id::trusted("never")) {
            Ok(Known::Nothing) => Ok(()),
            other => Err(format!("an id that nobody sent is {other:?}")),
        }
    }
}

/// What `verify` says of it must be that it is sound, and that nothing told is missing. The newest sequence.
fn verified(found: &[u8], told: u64) -> Result<u64, String> {
    let machine = Machine::with(Some(found.to_vec()), 0);
    let report = inspect(machine.backends(), Path::new("(memory)")).map_err(|error| format!("verify: {error}"))?;
    if !report.is_sound() {
        return Err(format!("verify: {}", report.problems.join("; ")));
    }
    if report.last < told {
        return Err(format!("told up to {told}, and the journal ends at {}", report.last));
    }
    Ok(report.last)
}

/// It takes more, and says so.
fn goes_on(store: &Store, last: u64) -> Result<(), String> {
    let subject = Subject::Sku {
        sku: Id::trusted("z"),
        version: 1,
        changes: [Change::Move {
            lot: Id::no_lot(),
            from: Account::Supply,
            to: Account::Sellable,
            quantity: 1,
            role: Role::Own,
        }]
        .into_iter()
        .collect(),
        after: After::default(),
    };
    match append(store, &[fact("w", 1_000_000, Outcome::APPLIED, subject)]) {
        Ok(first) if first == last + 1 => Ok(()),
        other => Err(format!("the next fact after {last} is answered {other:?}")),
    }
}

/// All facts of a store that is whole, from the first.
pub(crate) fn all_facts(found: &[u8]) -> Vec<Stored> {
    let machine = Machine::with(Some(found.to_vec()), 0);
    let store = Store::open_with(machine.backends(), Options::default()).expect("it is whole");
    let last = store.view().durable_seq();
    let read = |seq| store.shared().stored(seq).expect("readable").expect("it is there");
    (1..=last).map(read).collect()
}

/// Facts as if each had been handed over by itself, and answered.
fn one_by_one(facts: Vec<Stored>) -> Vec<Attempt> {
    let attempts = facts.into_iter().zip(1..).map(|(stored, seq)| Attempt {
        facts: vec![stored],
        place: None,
        answer: Some(Ok(seq)),
    });
    attempts.collect()
}

/// A life without faults, with every step of its disk.
pub(crate) struct Lived {
    pub(crate) beginning: Option<Vec<u8>>,
    pub(crate) steps: Vec<super::disk::Step>,
    pub(crate) truth: Truth,
    pub(crate) options: Options,
}

/// Lives one.
pub(crate) fn lived(beginning: Option<&[u8]>, options: Options, seed: u64, work: u32) -> Result<Lived, String> {
    let beginning = beginning.map(<[u8]>::to_vec);
    let machine = Machine::with(beginning.clone(), seed);
    machine.record();
    let known = one_by_one(beginning.as_deref().map(all_facts).unwrap_or_default());
    let mut life = Life::on(Arc::clone(&machine), known, options.clone(), seed);
    life.open()?;
    life.work(work)?;
    life.close();
    if let Some(failed) = life.attempts.iter().find(|attempt| !matches!(attempt.answer, Some(Ok(_)))) {
        return Err(format!("nothing failed, and yet it is answered {:?}", failed.answer));
    }
    Ok(Lived {
        beginning,
        steps: machine.recorded(),
        truth: Truth::of(life.attempts.iter()),
        options,
    })
}
