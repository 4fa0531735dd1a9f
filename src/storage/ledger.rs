//! Why is it 3, and what was true at 14:05: a SKU's facts, newest first, and its state as of a time.
//!
//! Where a SKU's facts are is known in memory for live generations and from runs for sealed ones; the facts themselves are
//! read from the journal. A table of its own (SKU, sequence) was rejected: it would cost a random write for each fact.

use std::collections::BTreeMap;

use crate::domain::fact::{Account, Change, Fact, Subject};
use crate::domain::units::{Day, Id, Time};

use super::append::SkuIndex;
use super::codec::Stored;
use super::database::ReadError;
use super::remembered::{Why, noted_hash, sku_hash};
use super::runs::Kind;
use super::store::Store;

/// Sealed generations looked into for one page: about 130 million facts.
const PATIENCE: usize = 512;

/// Facts read at a time while walking back through a ledger.
const WALK_PAGE: usize = 256;

/// The longest that a business time may lie ahead of the recorded time, ms (stock.md: 5 minutes, then arrival counts).
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// The balance with which a ledger begins when older facts have been dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The oldest sequence that is retained: facts below it are in the balance.
    pub floor: u64,
    /// The seven accounts, in the order of `Account::ALL`.
    pub accounts: [i64; 7],
}

/// A page of a SKU's ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerPage {
    /// Its facts, newest first; those that changed nothing (refused, stale) among them.
    pub facts: Vec<Fact>,
    /// `before` of the next page; `None`: this was the last.
    pub next: Option<u64>,
    /// On the last page, when history was cut: the balance before its oldest fact.
    pub opening: Option<Opening>,
}

/// A page of what was ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotedPage {
    /// The facts, newest first.
    pub facts: Vec<Fact>,
    /// `before` of the next page; `None`: this was the last.
    pub next: Option<u64>,
}

/// One lot as it stood at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotThen {
    /// Its expiry date as it is known now; `None` also for a lot that has been forgotten since.
    pub expires_on: Option<Day>,
    /// Units in sellable, quarantine, in_transit.
    pub inside: [i64; 3],
}

/// A SKU as it stood at a business time, as far as was known at a recorded time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// The seven accounts, in the order of `Account::ALL`.
    pub accounts: [i64; 7],
    /// The lots that had units or are known now.
    pub lots: BTreeMap<Id, LotThen>,
    /// Units claimed: by the newest fact decided at or before both times.
    pub claimed: i64,
    /// Units owed.
    pub owed: i64,
    /// Version of the newest fact that counts.
    pub version: u64,
    /// Sequence of that fact; 0: none.
    pub seq: u64,
}

impl Store {
    /// A page of a SKU's facts below the sequence `before`, newest first.
    pub fn ledger(&self, sku: SkuIndex, before: Option<u64>, limit: usize) -> Result<LedgerPage, ReadError> {
        let (stored, next) = self.ledger_stored(sku, before.unwrap_or(u64::MAX), limit)?;
        let facts: Vec<Fact> = stored.into_iter().map(|stored| stored.fact).collect();
        let floor = self.floor();
        let opening = (next.is_none() && floor > 1).then(|| Opening {
            floor,
            accounts: match facts.last() {
                Some(fact) => accounts_before(fact),
                None => self.view().stock(sku).map_or([0; 7], |stock| stock.accounts()),
            },
        });
        Ok(LedgerPage { facts, next, opening })
    }

    fn ledger_stored(&self, sku: SkuIndex, before: u64, limit: usize) -> Result<(Vec<Stored>, Option<u64>), ReadError> {
        let names = self.view().keys().names(sku);
        let hash = names.map_or(0, |(warehouse, sku)| sku_hash(warehouse.as_str(), sku.as_str()));
        let live = self.shared.view.live.load();
        let mut seqs = Vec::new();
        for generation in live.iter().rev() {
            seqs.extend(generation.facts_of(sku, before, (limit + 1).saturating_sub(seqs.len())));
        }
        self.page(seqs, Kind::Ledger, hash, before, limit)
    }

    /// What a warehouse ignored below the sequence `before`, newest first, for one reason or for any.
    pub fn noted(&self, warehouse: &str, why: Option<Why>, before: Option<u64>, limit: usize) -> Result<NotedPage, ReadError> {
        let before = before.unwrap_or(u64::MAX);
        let live = self.shared.view.live.load();
        let mut seqs = Vec::new();
        for generation in live.iter().rev() {
            seqs.extend(generation.noted_of(warehouse, why, before, (limit + 1).saturating_sub(seqs.len())));
        }
        let (stored, next) = self.page(seqs, Kind::Noted, noted_hash(warehouse, why), before, limit)?;
        let facts = stored.into_iter().map(|stored| stored.fact).collect();
        Ok(NotedPage { facts, next })
    }

    /// Goes on from what is live into the runs, and reads the facts.
    fn page(
        &self,
        mut seqs: Vec<u64>,
        kind: Kind,
        hash: u64,
        before: u64,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<u64>), ReadError> {
        let mut next = None;
        if seqs.len() <= limit {
            // A generation may have been sealed since the live ones were listed: it is answered once, not twice.
            let below = seqs.last().copied().unwrap_or(before);
            let (more, stopped) =
                self.shared
                    .runs
                    .walk(&self.shared.database, kind, hash, below, limit + 1 - seqs.len(), PATIENCE)?;
            seqs.extend(more);
            next = stopped;
        }
        if seqs.len() > limit {
            seqs.truncate(limit);
            next = seqs.last().copied();
        }
        let floor = self.floor();
        let mut facts = Vec::with_capacity(seqs.len());
        for seq in seqs.into_iter().filter(|seq| *seq >= floor) {
            facts.extend(self.shared.stored(seq)?);
        }
        Ok((facts, next.filter(|next| *next > floor)))
    }

    /// A SKU as it stood at the business time `as_of` (or now), as far as was known at the recorded time `known_at` (or now): all
    /// that happened after the one, or was decided after the other, is undone from the present state.
    pub fn as_of(&self, sku: SkuIndex, as_of: Option<Time>, known_at: Option<Time>) -> Result<Then, ReadError> {
        let Some((stock, newest)) = self.view().read(sku, |stock, seq| stock.map(|stock| (stock.clone(), seq))) else {
            return Ok(Then::default());
        };
        let mut then = Then {
            accounts: stock.accounts(),
            lots: BTreeMap::new(),
            claimed: stock.claimed(),
            owed: stock.owed,
            version: stock.version,
            seq: newest,
        };
        for lot in &stock.lots {
            let known = LotThen {
                expires_on: lot.expires_on,
                inside: lot.inside,
            };
            then.lots.insert(lot.id.clone(), known);
        }
        self.undo(sku, newest, as_of, known_at, then)
    }

    fn undo(
        &self,
        sku: SkuIndex,
        newest: u64,
        as_of: Option<Time>,
        known_at: Option<Time>,
        mut then: Then,
    ) -> Result<Then, ReadError> {
        let (as_of, known_at) = (as_of.unwrap_or(Time(i64::MAX)), known_at.unwrap_or(Time(i64::MAX)));
        let mut before = newest + 1;
        let mut counted = false;
        let mut claimed = None;
        loop {
            let (page, next) = self.ledger_stored(sku, before, WALK_PAGE)?;
            for stored in &page {
                let fact = &stored.fact;
                let Subject::Sku {
                    version, changes, after, ..
                } = &fact.subject
                else {
                    continue;
                };
                if changes.is_empty() {
                    continue;
                }
                if claimed.is_none() && fact.recorded <= as_of && fact.recorded <= known_at {
                    claimed = Some(after.claimed);
                }
                if fact.business > as_of || fact.recorded > known_at {
                    changes.iter().for_each(|change| undo(&mut then, change));
                } else if !counted {
                    counted = true;
                    (then.version, then.seq) = (*version, fact.seq);
                }
                if counted && claimed.is_some() && fact.recorded.plus_ms(AHEAD_MS) <= as_of && fact.recorded <= known_at {
                    return Ok(finished(then, claimed));
                }
            }
            let Some(next) = next else { break };
            before = next;
        }
        // The ledger's beginning: before it there was nothing, unless it was cut.
        let floor = self.floor();
        if floor > 1 && then.accounts != [0; 7] {
            return Err(ReadError::HistoryGone { floor });
        }
        if !counted {
            (then.version, then.seq) = (0, 0);
        }
        Ok(finished(then, claimed.or(Some(0))))
    }
}

fn finished(mut then: Then, claimed: Option<i64>) -> Then {
    then.claimed = claimed.unwrap_or(then.claimed);
    then.lots.retain(|_, lot| lot.inside != [0; 3] || lot.expires_on.is_some());
    then
}

/// The accounts before a fact: those after it, less its movements.
fn accounts_before(fact: &Fact) -> [i64; 7] {
    let Subject::Sku { changes, after, .. } = &fact.subject else {
        return [0; 7];
    };
    let mut accounts = after.accounts;
    for change in changes {
        if let Change::Move { from, to, quantity, .. } = change {
            accounts[*from as usize] += quantity;
            accounts[*to as usize] -= quantity;
        }
    }
    accounts
}

fn undo(then: &mut Then, change: &Change) {
    match change {
        Change::Move {
            lot, from, to, quantity, ..
        } => {
            shift(then, lot, *from, *quantity);
            shift(then, lot, *to, -quantity);
        }
        Change::Owed(by) => then.owed -= by,
        _ => {}
    }
}

fn shift(then: &mut Then, lot: &Id, account: Account, units: i64) {
    then.accounts[account as usize] += units;
    if account.inside() {
        let place = then.lots.entry(lot.clone()).or_insert(LotThen {
            expires_on: None,
            inside: [0; 3],
        });
        place.inside[account as usize] += units;
    }
}
