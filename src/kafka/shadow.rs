//! SKUs as they stood after a fact, for a publisher that is behind the view.
//!
//! A fact carries the sums after it and not the lots, and the view may be facts ahead. So the publisher folds its own copies of the
//! SKUs that it meets, without their recent book, and keeps those met lately. A copy begins with the view's when that is at
//! this very fact. Otherwise the view's is taken back, fact by fact, to where this one had left it; where something lies between that
//! cannot be taken back (a date, a count, a claim: the change does not say what was before), the SKU's ledger is folded from its beginning
//! instead, and where that has been cut, what can be taken back is. Publishing the view's newest state with each older fact was
//! rejected: versions would repeat, and nobody could tell what a fact did.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::domain::fact::{Account, Change, Changes, Fact, Subject};
use crate::domain::stock::{Lot, Stock, evolve};
use crate::domain::units::{Id, Time};
use crate::storage::append::SkuIndex;
use crate::storage::store::{ReadError, Store};

/// Copies kept: half of them are of the SKUs met last.
const KEPT: usize = 40_000;
/// Facts of a ledger read at once.
const PAGE: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(super) struct Shadows {
    young: HashMap<SkuIndex, Stock>,
    old: HashMap<SkuIndex, Stock>,
}

impl Shadows {
    /// The SKU as it stood after this fact; facts come in the order of the journal.
    pub(super) fn after(&mut self, store: &Store, fact: &Fact) -> Result<Option<&Stock>, ReadError> {
        let Subject::Sku {
            sku, version, changes, ..
        } = &fact.subject
        else {
            return Ok(None);
        };
        let Some(index) = store.view().keys().find(fact.warehouse.as_str(), sku.as_str()) else {
            return Ok(None);
        };
        if self.young.len() >= KEPT / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if let Some(stock) = self.old.remove(&index) {
            self.young.insert(index, stock);
        }
        let place = match self.young.entry(index) {
            // Nearly always: in place, since a copy is large to move.
            Entry::Occupied(mut known) if known.get().version + 1 == *version => {
                fold(known.get_mut(), changes, fact.business, fact.recorded, *version);
                return Ok(Some(known.into_mut()));
            }
            place => place,
        };
        let Some(stock) = begin(store, index, fact, *version)? else {
            return Ok(None);
        };
        Ok(Some(place.insert(stock).into_mut()))
    }
}

fn fold(stock: &mut Stock, changes: &[Change], business: Time, recorded: Time, version: u64) {
    evolve(stock, changes, business, recorded);
    stock.version = version;
    stock.book.clear();
}

/// The SKU after this fact, without what came before.
fn begin(store: &Store, index: SkuIndex, fact: &Fact, version: u64) -> Result<Option<Stock>, ReadError> {
    let now = store
        .view()
        .read(index, |stock, seq| stock.map(|stock| (seq, stock.without_book())));
    // The view is not there yet, or the SKU has no state: neither happens to a durable fact that changes something.
    let Some((newest, mut stock)) = now else { return Ok(None) };
    if newest == fact.seq {
        return Ok(Some(stock));
    }
    if version == 1 {
        return Ok(Some(first(fact, version)));
    }
    let whole = take_back(store, index, (fact.seq, version), newest, &mut stock)?;
    stock.version = version;
    if whole {
        return Ok(Some(stock));
    }
    Ok(folded(store, index, fact.seq, version)?.or(Some(stock)))
}

/// The SKU after its first fact.
fn first(fact: &Fact, version: u64) -> Stock {
    let mut stock = Stock::default();
    if let Subject::Sku { changes, .. } = &fact.subject {
        fold(&mut stock, changes, fact.business, fact.recorded, version);
    }
    stock
}

/// Takes back all that was decided after a fact. Whether that is all of it: what cannot be taken back is as it is now.
fn take_back(store: &Store, index: SkuIndex, fact: (u64, u64), newest: u64, stock: &mut Stock) -> Result<bool, ReadError> {
    let (until, version) = fact;
    let (mut before, mut whole) = (Some(newest + 1), true);
    // As many as there are since, and the fact itself: a ledger that is asked for more is looked through to its beginning.
    let since = usize::try_from(stock.version.saturating_sub(version)).unwrap_or(PAGE);
    while before.is_some() {
        let page = store.ledger(index, before, (since + 1).min(PAGE))?;
        before = page.next;
        for fact in page.facts {
            // What is not cut is better folded from its beginning than half taken back.
            if fact.seq <= until || (!whole && store.floor() <= 1) {
                return Ok(whole);
            }
            if let Subject::Sku { changes, .. } = &fact.subject {
                for change in changes.iter().rev() {
                    whole &= unfold(stock, change);
                }
            }
        }
    }
    Ok(whole)
}

/// The opposite of `evolve`, for what a published SKU shows. Whether it is.
fn unfold(stock: &mut Stock, change: &Change) -> bool {
    match change {
        Change::Move {
            lot, from, to, quantity, ..
        } => shift(stock, lot, *from, *quantity) & shift(stock, lot, *to, -quantity),
        Change::Owed(by) => {
            stock.owed -= by;
            true
        }
        Change::CountDue(due) => {
            stock.count_due = !due;
            false
        }
        // Before its date was told a lot was not there, when it has nothing left.
        Change::Lot { lot, .. } => {
            stock.lots.retain(|known| known.id != *lot || known.inside != [0; 3]);
            false
        }
        Change::Unit(_) | Change::Counted { .. } | Change::LotGone(_) => false,
        // Of claims only that one is at risk is shown.
        Change::Claim(_) | Change::Unclaim { .. } | Change::AtRisk { .. } => false,
        Change::Deadline { .. } | Change::Book { .. } | Change::BookCut(_) | Change::Turned => true,
        Change::Transfer { .. } | Change::TransferGone(_) | Change::Stream(_) | Change::Belief(_) | Change::Buffer { .. } => true,
    }
}

/// Whether it is certain that the lot was there: one that has nothing left may not have been.
fn shift(stock: &mut Stock, lot: &Id, account: Account, units: i64) -> bool {
    if !account.inside() {
        return true;
    }
    let at = stock.lots.binary_search_by(|known| known.id.cmp(lot)).unwrap_or_else(|at| {
        stock.lots.insert(at, Lot::new(lot.clone(), None));
        at
    });
    stock.lots[at].inside[account as usize] += units;
    stock.lots[at].inside != [0; 3]
}

/// The SKU's ledger folded from its beginning up to a fact; `None` where that has been cut.
fn folded(store: &Store, index: SkuIndex, until: u64, version: u64) -> Result<Option<Stock>, ReadError> {
    let mut facts: Vec<(u64, Changes, Time, Time)> = Vec::new();
    let mut before = Some(until + 1);
    let mut first = version;
    while before.is_some() {
        let page = store.ledger(index, before, PAGE)?;
        before = page.next;
        for fact in page.facts {
            if let Subject::Sku { version, changes, .. } = fact.subject
                && !changes.is_empty()
            {
                first = version;
                facts.push((version, changes, fact.business, fact.recorded));
            }
        }
    }
    if first > 1 {
        return Ok(None);
    }
    let mut stock = Stock::default();
    for (version, changes, business, recorded) in facts.into_iter().rev() {
        fold(&mut stock, &changes, business, recorded, version);
    }
    Ok(Some(stock))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::domain::fact::{After, Outcome, Role};
    use crate::domain::units::Day;
    use crate::storage::testing::{Disk, append, fact, store_on};

    /// Units that come in, go, or move within; sometimes a date, a count or a flag.
    fn changes() -> impl Strategy<Value = Changes> {
        let lot = || prop::sample::select(vec!["", "L1", "L2", "L3"]).prop_map(Id::trusted);
        let ways = vec![
            (Account::Supply, Account::Sellable),
            (Account::Sellable, Account::Demand),
            (Account::Sellable, Account::Quarantine),
            (Account::Quarantine, Account::Sellable),
        ];
        let moved = (lot(), prop::sample::select(ways), 1i64..5).prop_map(|(lot, (from, to), quantity)| Change::Move {
            lot,
            from,
            to,
            quantity,
            role: Role::Own,
        });
        let other = prop_oneof![
            (-3i64..4).prop_map(Change::Owed),
            any::<bool>().prop_map(Change::CountDue),
            lot().prop_map(|lot| Change::Lot {
                lot,
                expires_on: Some(Day(20_000)),
            }),
            Just(Change::Turned),
        ];
        prop_oneof![6 => moved.prop_map(|change| smallvec![change]), 1 => other.prop_map(|change| smallvec![change])]
    }

    fn facts(all: &[Changes]) -> Vec<crate::storage::codec::Stored> {
        let one = |(number, changes): (u64, &Changes)| {
            let subject = Subject::Sku {
                sku: Id::trusted("a"),
                version: number,
                changes: changes.clone(),
                after: After::default(),
            };
            fact("w", number, Outcome::APPLIED, subject)
        };
        (1..).zip(all).map(one).collect()
    }

    fn units(stock: &Stock) -> Vec<(Id, [i64; 3])> {
        let lots = stock.lots.iter().filter(|lot| lot.inside != [0; 3]);
        lots.map(|lot| (lot.id.clone(), lot.inside)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Whatever a publisher that begins at a fact is shown of its SKU is what stood after that fact: all of it while the ledger is
        /// whole, and the units of each lot where its beginning has been cut.
        #[test]
        fn a_sku_stands_as_it_did_after_each_fact(all in prop::collection::vec(changes(), 200..260), cut in any::<bool>()) {
            let disk = Arc::new(Disk::default());
            let store = store_on(&disk);
            append(&store, &facts(&all)).unwrap();
            if cut {
                store.set_cursor("kafka/updated", 130);
                let (mut keeper, far) = (store.keeper(), Time(i64::MAX / 2));
                keeper.finish(far).unwrap();
                while keeper.seal().unwrap() {}
                while keeper.retain(far).unwrap() {}
                prop_assert_eq!(store.floor(), 128);
            }
            let mut stock = Stock::default();
            for (number, changes) in (1u64..).zip(&all) {
                let (at, decided) = (Time(1_000_000 + number as i64), Time(1_000_100 + number as i64));
                fold(&mut stock, changes, at, decided, number);
                if number < store.floor() || !(number == 1 || number.is_multiple_of(7)) {
                    continue;
                }
                let read = store.facts(number, 1).unwrap().remove(0);
                let mut shadows = Shadows::default();
                let shown = shadows.after(&store, &read).unwrap().expect("the SKU is known");
                prop_assert_eq!(shown.version, number);
                prop_assert_eq!(units(shown), units(&stock));
                prop_assert_eq!(shown.owed, stock.owed);
                if !cut {
                    prop_assert_eq!((&shown.lots, shown.count_due), (&stock.lots, stock.count_due));
                }
            }
        }
    }
}
