//! The journal folded a second time, fact by fact, with what must hold of each: by the plain words of the rules, not by the node's
//! quick ways.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::fact::{Change, Claim, Fact, Outcome, Subject};
use crate::domain::reservation::{Reservation, State};
use crate::domain::stock::{Stock, check, evolve};
use crate::domain::units::{Day, Id, Time};
use crate::domain::warehouse::{Calendar, Warehouse};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

pub(super) fn broken(invariant: &'static str, what: impl Into<String>) -> Broken {
    Broken {
        invariant,
        what: what.into(),
    }
}

/// A warehouse and a SKU, or a basket of it.
pub(super) type Key = (Id, Id);

/// What was recorded of a SKU: the sequence, and its state from there on.
type Past = Vec<(u64, Time, Stock)>;

/// See the module.
#[derive(Default)]
pub(super) struct Fold {
    /// The newest fact in it.
    pub(super) seq: u64,
    pub(super) stocks: BTreeMap<Key, Stock>,
    pub(super) baskets: BTreeMap<Key, Reservation>,
    pub(super) sites: BTreeMap<Id, Warehouse>,
    /// Dead letters that nobody has put away.
    pub(super) letters: BTreeSet<u64>,
    /// Whatever a fact says who said it: source and id.
    pub(super) heard: BTreeSet<(Id, Id)>,
    /// Each event that has been taken: the fact that did.
    pub(super) taken: BTreeMap<(Id, Id, Id), u64>,
    /// A fingerprint of each fact, the first at 0.
    pub(super) prints: Vec<u64>,
    /// What each SKU was, as far back as somebody may still be answered.
    pub(super) past: BTreeMap<Key, Past>,
    /// What each SKU's newest fact says of its channels.
    pub(super) offers: BTreeMap<Key, Vec<(Id, i64)>>,
    /// Whether a decider was made to die: what could not be judged may be late then.
    pub(super) stumbled: bool,
}

/// A fact as one number.
pub(super) fn print(fact: &Fact) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{fact:?}").as_bytes())
}

/// Whether a day asked for is served by a lot, by the words of the rules.
fn outlives(stock: &Stock, lot: &crate::domain::stock::Lot, threshold: Option<Day>, today: Day) -> bool {
    match (lot.id.as_str().is_empty(), lot.expires_on) {
        (true, _) => threshold.is_none() || !stock.dated,
        (false, None) => true,
        (false, Some(last)) => last >= today && threshold.is_none_or(|asked| last >= asked),
    }
}

fn asked(claim: &Claim, today: Day) -> Option<Day> {
    claim.good_until.map(|day| day.max(today))
}

/// Units that outlive a threshold, less the live claims that ask for at least as much.
pub(super) fn difference(stock: &Stock, threshold: Option<Day>, today: Day, now: Time) -> i64 {
    let lots = stock.lots.iter().filter(|lot| outlives(stock, lot, threshold, today));
    let live = |claim: &&Claim| claim.deadline.is_none_or(|deadline| now < deadline);
    let claims = stock
        .claims
        .iter()
        .filter(live)
        .filter(|claim| asked(claim, today) >= threshold);
    lots.map(|lot| lot.sellable()).sum::<i64>() - claims.map(|claim| claim.quantity).sum::<i64>()
}

/// What may be promised, as it is defined.
pub(super) fn promisable(stock: &Stock, want: Option<Day>, today: Day, now: Time) -> i64 {
    let mut thresholds: Vec<Option<Day>> = stock.claims.iter().map(|claim| asked(claim, today)).collect();
    thresholds.extend([None, want]);
    let within = thresholds.into_iter().filter(|threshold| *threshold <= want);
    within
        .map(|threshold| difference(stock, threshold, today, now))
        .min()
        .unwrap_or(0)
}

impl Fold {
    /// The day of an instant in a warehouse.
    pub(super) fn day(&self, site: &Id, now: Time) -> Day {
        let zone = self.sites.get(site).map_or("UTC", |site| site.time_zone.as_str());
        Calendar::new(zone).unwrap_or_else(Calendar::utc).day_of(now)
    }

    /// Takes the next fact in, and says what it breaks.
    pub(super) fn take(&mut self, fact: &Fact) -> Result<(), Broken> {
        if fact.seq != self.seq + 1 {
            return Err(broken("replay", format!("fact {} follows fact {}", fact.seq, self.seq)));
        }
        self.seq = fact.seq;
        self.heard.insert((fact.origin.source.clone(), fact.origin.id.clone()));
        self.prints.push(print(fact));
        if let Outcome::DeadLetter { .. } = fact.outcome {
            self.letters.insert(fact.seq);
        }
        match &fact.subject {
            Subject::Sku { sku, .. } => self.sku((fact.warehouse.clone(), sku.clone()), fact),
            Subject::Reservation(after) => self.basket((fact.warehouse.clone(), after.id.clone()), after, fact),
            Subject::Warehouse(site) => {
                self.sites.insert(site.id.clone(), Warehouse::clone(site));
                Ok(())
            }
            Subject::DeadLetter { letter, action } => {
                match &**action {
                    "restored" => self.letters.insert(*letter),
                    _ => self.letters.remove(letter),
                };
                Ok(())
            }
            Subject::Catalogue { .. } | Subject::Row { .. } | Subject::Command { .. } => Ok(()),
        }
    }

    fn sku(&mut self, key: Key, fact: &Fact) -> Result<(), Broken> {
        let Subject::Sku {
            version, changes, after, ..
        } = &fact.subject
        else {
            return Ok(());
        };
        self.once(&key, fact)?;
        let before = self.stocks.get(&key).cloned().unwrap_or_default();
        let mut stock = before.clone();
        evolve(&mut stock, changes, fact.business, fact.recorded);
        let name = format!("{}/{} by fact {} ({})", key.0, key.1, fact.seq, fact.what);
        // A fact that changes nothing may be written while the newest copy is elsewhere.
        if (*version != stock.version && !changes.is_empty()) || *version > stock.version {
            let what = format!("{name}: version {version} after {}", before.version);
            return Err(broken("ordered_publication", what));
        }
        if let Err(violation) = check(&stock) {
            let invariant = match violation.name() {
                "no_negative" => "no_negative",
                "conservation" => "conservation",
                _ => "bounds",
            };
            return Err(broken(invariant, format!("{name}: {violation}")));
        }
        let today = self.day(&key.0, fact.recorded);
        if !changes.is_empty() {
            let available = promisable(&stock, None, today, fact.recorded).max(0);
            let says = (after.accounts, after.claimed, after.owed, after.available);
            let is = (stock.accounts(), stock.claimed(), stock.owed, available);
            if says != is {
                return Err(broken("replay", format!("{name}: it says {says:?}, the fold has {is:?}")));
            }
            let figures = after.per_channel().unwrap_or_default();
            let figures = figures.into_iter().map(|(channel, units)| (channel.clone(), units)).collect();
            self.offers.insert(key.clone(), figures);
        }
        for change in changes {
            if let Change::Claim(claim) = change {
                self.promised(&before, &stock, claim, today, fact, &name)?;
            }
        }
        if matches!(&*fact.what, "count") && matches!(fact.outcome, Outcome::Applied { .. }) {
            counted(&before, changes, &name)?;
        }
        self.past
            .entry(key.clone())
            .or_default()
            .push((fact.seq, fact.recorded, stock.clone()));
        if !changes.is_empty() {
            self.stocks.insert(key, stock);
        }
        Ok(())
    }

    /// Within the window an event has at most one effect.
    fn once(&mut self, key: &Key, fact: &Fact) -> Result<(), Broken> {
        let source = fact.origin.source.as_str();
        let own = matches!(source, "node" | "reservations" | "console");
        if own || !fact.outcome.binds() {
            return Ok(());
        }
        let id = (key.0.clone(), fact.origin.source.clone(), fact.origin.id.clone());
        match self.taken.insert(id, fact.seq) {
            None => Ok(()),
            Some(first) => Err(broken(
                "once",
                format!(
                    "{source} {} took effect by fact {first} and by fact {}",
                    fact.origin.id, fact.seq
                ),
            )),
        }
    }

    /// A promise is accepted only while the lots cover the claims, for every threshold up to its own.
    fn promised(&self, before: &Stock, stock: &Stock, claim: &Claim, today: Day, fact: &Fact, name: &str) -> Result<(), Broken> {
        let old = before.claims.of(&claim.reservation);
        let same_or_smaller = old.is_some_and(|old| claim.quantity <= old.quantity && claim.good_until <= old.good_until);
        if same_or_smaller {
            return Ok(());
        }
        let left = promisable(stock, asked(claim, today), today, fact.recorded);
        if left < 0 {
            let what = format!(
                "{name}: {} of {} were promised, {} too many",
                claim.quantity, claim.reservation, -left
            );
            return Err(broken("no_oversell", what));
        }
        let over = stock
            .claims
            .iter()
            .find(|claim| claim.deadline.is_some_and(|deadline| deadline <= fact.recorded));
        match over {
            Some(over) if !self.stumbled => Err(broken(
                "no_oversell",
                format!(
                    "{name}: the claim of {} had ended, and nobody had written that down before",
                    over.reservation
                ),
            )),
            _ => Ok(()),
        }
    }

    fn basket(&mut self, key: Key, after: &Reservation, fact: &Fact) -> Result<(), Broken> {
        let name = format!("{}/{} by fact {} ({})", key.0, key.1, fact.seq, fact.what);
        if let Some(before) = self.baskets.get(&key)
            && before.state != State::Held
        {
            let mut same = after.clone();
            // A sale that tells again what a confirmation took is counted against it; that is all that may still come.
            for (line, old) in same.lines.iter_mut().zip(&before.lines) {
                line.matched = old.matched;
            }
            same.version = before.version;
            if same != *before {
                let what = format!("{name}: it was {} and is {}", before.state.as_str(), after.state.as_str());
                return Err(broken("final_ends", what));
            }
        }
        let wrong = after
            .lines
            .iter()
            .find(|line| line.held < 0 || line.taken < 0 || line.held + line.taken > line.quantity);
        if let Some(line) = wrong {
            let what = format!(
                "{name}: of {} {} were asked, {} taken, {} held",
                line.sku, line.quantity, line.taken, line.held
            );
            return Err(broken("whole_basket", what));
        }
        self.baskets.insert(key, after.clone());
        Ok(())
    }

    /// A basket's claims are those of its lines: all of them, and no others.
    pub(super) fn whole(&self) -> Result<(), Broken> {
        let mut claims: BTreeMap<Key, BTreeMap<&Id, &Claim>> = BTreeMap::new();
        for ((site, sku), stock) in &self.stocks {
            for claim in &stock.claims {
                let of = (site.clone(), claim.reservation.clone());
                claims.entry(of).or_default().insert(sku, claim);
            }
        }
        for (key, basket) in self.baskets.iter().filter(|(_, basket)| basket.state == State::Held) {
            let mut own = claims.remove(key).unwrap_or_default();
            for line in basket.lines.iter().filter(|line| line.held > 0) {
                let claim = own.remove(&line.sku);
                let claimed = claim.map(|claim| (claim.quantity, claim.good_until, claim.deadline));
                let held = (line.held, line.good_until, basket.expires);
                if claimed != Some(held) {
                    let what = format!(
                        "{}/{}: its line of {} is {held:?}, the claim is {claimed:?}",
                        key.0, key.1, line.sku
                    );
                    return Err(broken("whole_basket", what));
                }
            }
            if let Some((sku, claim)) = own.first_key_value() {
                let what = format!(
                    "{}/{}: {} of {sku} are claimed, and no line says so",
                    key.0, key.1, claim.quantity
                );
                return Err(broken("whole_basket", what));
            }
        }
        match claims.first_key_value() {
            Some((key, of)) => Err(broken(
                "whole_basket",
                format!("{}/{} is not held, and {} SKUs are claimed for it", key.0, key.1, of.len()),
            )),
            None => Ok(()),
        }
    }

    /// Forgets what nobody can ask for any more.
    pub(super) fn forget_before(&mut self, seq: u64) {
        for past in self.past.values_mut() {
            let first = past.partition_point(|(at, ..)| *at <= seq).saturating_sub(1);
            past.drain(..first);
        }
    }
}

/// A figure older than the newest is never applied.
fn counted(before: &Stock, changes: &[Change], name: &str) -> Result<(), Broken> {
    for change in changes {
        let older = match change {
            Change::Counted { lot: None, as_of } => {
                let newest = before.lots.iter().filter_map(|lot| lot.last_count.get()).max();
                newest.max(before.last_count.get()).filter(|newest| newest > as_of)
            }
            Change::Counted { lot: Some(lot), as_of } => {
                let newest = before.lot(lot).and_then(|lot| lot.last_count.get());
                newest.max(before.last_count.get()).filter(|newest| newest > as_of)
            }
            _ => None,
        };
        if let Some(newest) = older {
            return Err(broken(
                "in_order",
                format!("{name}: it is older than the count of {newest:?}"),
            ));
        }
    }
    Ok(())
}
