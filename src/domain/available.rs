//! What may still be promised: lots against claims, threshold by threshold, as `stock.md` ("Available") defines it.
//!
//! A *threshold* is the least expiry date that serves a claim; *none* is below every date. Lots that outlive a threshold
//! also outlive every earlier one, so the sets of lots that serve two claims are nested, and a set of claims can be
//! served exactly when, for every threshold, what outlives it covers what asks for it (Hall's condition for nested
//! sets). The alternative, assigning lots to claims when they are held, was rejected: a delivery, a count or a
//! write-off would have to reassign, and a claim tied to a lot refuses what another lot could serve.
//!
//! A claim whose date has passed counts as today's: what is unexpired is the best that the shelf can still do for it.

use smallvec::SmallVec;

use super::fact::{Change, Changes, Claim};
use super::stock::{Claims, Lot, Stock, evolve};
use super::units::{Day, Id, Time};
use super::warehouse::Warehouse;

/// The least expiry date that serves; `None` (any unexpired stock) sorts below every date.
type Threshold = Option<Day>;

/// What outlives everything: a lot without a date, and `""` where no lot was ever dated.
const FOREVER: Threshold = Some(Day(i32::MAX));

/// The steps of the difference "lots − claims": units that a lot adds, or a claim takes, at a threshold and below it.
type Steps = SmallVec<[(Threshold, i64); 24]>;

/// The highest threshold that the lot serves today; `None`: it is expired and counts for nothing.
fn serves_up_to(lot: &Lot, dated: bool, today: Day) -> Option<Threshold> {
    match lot.expires_on {
        _ if lot.id.as_str().is_empty() => Some(if dated { None } else { FOREVER }),
        None => Some(FOREVER),
        Some(day) if day < today => None,
        Some(day) => Some(Some(day)),
    }
}

/// Whether units of this lot serve a claim that asks for `good_until`: the one rule for promising and for picking.
/// `dated`: whether a lot of the SKU ever had a date, which leaves `""` to claims without a threshold.
pub fn serves(lot: &Lot, dated: bool, good_until: Option<Day>, today: Day) -> bool {
    serves_up_to(lot, dated, today).is_some_and(|top| top >= asked(good_until, today))
}

/// A date as it counts today: one that has passed is today's.
fn asked(good_until: Option<Day>, today: Day) -> Threshold {
    good_until.map(|day| day.max(today))
}

fn sellable(lot: &Lot) -> i64 {
    lot.inside[0]
}

fn live(claim: &Claim, now: Time) -> bool {
    claim.deadline.is_none_or(|deadline| now < deadline)
}

fn lot_steps(stock: &Stock, today: Day) -> impl Iterator<Item = (Threshold, i64)> + '_ {
    let top = move |lot: &Lot| serves_up_to(lot, stock.dated, today);
    stock
        .lots
        .iter()
        .filter_map(move |lot| top(lot).map(|top| (top, sellable(lot))))
}

/// Base units that may still be promised on a channel that keeps `buffer` back, to someone who asks for goods that are
/// good until `want` (`None`: any unexpired stock). Never negative.
///
/// `today` and `now` are one instant, as a day of the warehouse and as a time: claims whose deadline is not after `now`
/// count for nothing, whether or not anything has swept them. The claims of the reservation `without` do not count
/// either: it is being replaced. O(n log n) in lots and claims; where no claim asks for a date, one pass over both; and
/// where none has ended either, over the lots alone.
pub fn available(stock: &Stock, want: Option<Day>, buffer: i64, today: Day, now: Time, without: Option<&Id>) -> i64 {
    let want = asked(want, today);
    let own = without.and_then(|reservation| stock.claims.of(reservation));
    let counts = |claim: &&Claim| live(claim, now) && !own.is_some_and(|own| std::ptr::eq(own, *claim));
    let claims = || stock.claims.iter().filter(counts);
    let taken = match stock.claims.any_dated() || stock.claims.any_ended(now) {
        false => Some(stock.claims.units().saturating_sub(own.map_or(0, |own| own.quantity))),
        true => taken_of_anything(claims()),
    };
    let least = match taken {
        Some(taken) => {
            let (serving, all) = lot_sums(stock, want, today);
            serving.min(all.saturating_sub(taken))
        }
        None => {
            let takes = claims().map(|claim| (asked(claim.good_until, today), -claim.quantity));
            least_difference(lot_steps(stock, today).chain(takes).collect(), want)
        }
    };
    least.saturating_sub(buffer).max(0)
}

/// What claims take together; `None` when one of them asks for a date. Without such a claim the difference "lots − claims" has two
/// places to be looked at: what serves the wanted date, and everything.
fn taken_of_anything<'c>(mut claims: impl Iterator<Item = &'c Claim>) -> Option<i64> {
    claims.try_fold(0i64, |taken, claim| {
        claim.good_until.is_none().then(|| taken.saturating_add(claim.quantity))
    })
}

/// Units that serve a threshold, and all that are not expired.
fn lot_sums(stock: &Stock, want: Threshold, today: Day) -> (i64, i64) {
    lot_steps(stock, today).fold((0, 0), |(serving, all): (i64, i64), (top, units)| {
        let serves = if top >= want { units } else { 0 };
        (serving.saturating_add(serves), all.saturating_add(units))
    })
}

/// The least difference "lots − claims" over all thresholds from `want` down to *none*.
///
/// It is looked at wherever a lot or a claim steps, which includes every threshold that matters; at a lot's own date it
/// is never less than at the next claim's above, or at `want`, so that the extra places are harmless.
fn least_difference(mut steps: Steps, want: Threshold) -> i64 {
    steps.sort_unstable_by_key(|(threshold, _)| std::cmp::Reverse(*threshold));
    let mut sum = 0i64;
    let mut steps = steps.into_iter().peekable();
    while let Some((_, units)) = steps.next_if(|(threshold, _)| *threshold >= want) {
        sum = sum.saturating_add(units);
    }
    let mut least = sum;
    while let Some((threshold, units)) = steps.next() {
        sum = sum.saturating_add(units);
        if steps.peek().is_none_or(|(next, _)| *next != threshold) {
            least = least.min(sum);
        }
    }
    least
}

/// Base units kept back from a channel for this SKU: its override, or else the channel's default; 0 for a channel that
/// the warehouse does not have.
pub fn buffer_of(stock: &Stock, channel: &Id, warehouse: &Warehouse) -> i64 {
    let overridden = stock
        .rare
        .as_ref()
        .and_then(|rare| rare.buffers.iter().find(|(of, _)| of == channel));
    match overridden {
        Some((_, buffer)) => *buffer,
        None => warehouse.channels.get(channel).map_or(0, |channel| channel.buffer),
    }
}

/// Whether all claims together can be served from the shelf: the difference is negative for no threshold. Claims that
/// have ended are not among them, by the contract that every command first expires them.
pub fn set_fits(stock: &Stock, today: Day) -> bool {
    if !stock.claims.any_dated() {
        let taken = stock.claims.units();
        return taken == 0 || lot_sums(stock, None, today).1 >= taken;
    }
    let takes = stock
        .claims
        .iter()
        .map(|claim| (asked(claim.good_until, today), -claim.quantity));
    let steps: Steps = lot_steps(stock, today).chain(takes).collect();
    least_difference(steps, FOREVER) >= 0
}

/// Which promises no longer fit, or fit again, once `changes` are made. Where no claim asks for a date or is at risk, and the shelf
/// still covers them all, the claims (there may be hundreds) need not be copied to know that nothing changes.
pub fn risks_after(stock: &Stock, changes: &[Change], today: Day) -> Changes {
    // All that promises depend on; the recent book, which may be long, stays behind.
    let shelf = |claims| Stock {
        lots: stock.lots.clone(),
        dated: stock.dated,
        claims,
        book_floor: Some(Time(i64::MAX)).into(),
        ..Stock::default()
    };
    let after = |claims| {
        let mut after = shelf(claims);
        evolve(&mut after, changes, Time(0), Time(0));
        after
    };
    if let Some(taken) = taken_after(stock, changes)
        && lot_sums(&after(Claims::default()), None, today).1 >= taken
    {
        return Changes::new();
    }
    at_risk_changes(&after(stock.claims.clone()), today)
}

/// What all claims take together after the changes; `None` when that alone does not tell who is at risk.
fn taken_after(stock: &Stock, changes: &[Change]) -> Option<i64> {
    if stock.claims.any_at_risk() || stock.claims.any_dated() {
        return None;
    }
    let mut taken = stock.claims.units();
    let has = |reservation| stock.claims.of(reservation).map_or(0, |claim| claim.quantity);
    let promises = changes
        .iter()
        .filter(|change| matches!(change, Change::Claim(_) | Change::Unclaim { .. }));
    if promises.count() > 1 {
        return None;
    }
    for change in changes {
        let more = match change {
            Change::Claim(claim) if claim.good_until.is_some() || claim.at_risk => return None,
            Change::Claim(claim) => claim.quantity - has(&claim.reservation),
            Change::Unclaim { reservation, quantity } => -has(reservation).min(*quantity),
            _ => 0,
        };
        taken = taken.saturating_add(more);
    }
    Some(taken)
}

/// Which promises no longer fit, or fit again: each claim, oldest first, is fitted beside the older ones that fit, and a
/// [`Change::AtRisk`] is given for those whose mark changes. O(n log n); one sweep when all fit.
pub fn at_risk_changes(stock: &Stock, today: Day) -> Changes {
    if set_fits(stock, today) {
        if !stock.claims.any_at_risk() {
            return Changes::new();
        }
        let again = stock.claims.iter().filter(|claim| claim.at_risk);
        return again.map(|claim| at_risk(claim, false)).collect();
    }
    let mut slack = Slack::new(stock, today);
    let mut changes = Changes::new();
    for claim in &stock.claims {
        let fits = slack.fit(asked(claim.good_until, today), claim.quantity);
        if claim.at_risk == fits {
            changes.push(at_risk(claim, !fits));
        }
    }
    changes
}

fn at_risk(claim: &Claim, at_risk: bool) -> Change {
    Change::AtRisk {
        reservation: claim.reservation.clone(),
        at_risk,
    }
}

/// What each threshold still has to give, while claims are fitted one after another.
///
/// A tree over the thresholds in use, ascending. A leaf holds the units that serve its threshold and not the next one,
/// less what was fitted there; what a threshold has left is the sum from its leaf to the end. Each node keeps the sum of
/// its leaves and the least of the sums that start within it and run to its end.
struct Slack {
    thresholds: Vec<Threshold>,
    width: usize,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    sum: i64,
    least: i64,
}

impl Node {
    const NOTHING: Node = Node { sum: 0, least: i64::MAX };

    fn leaf(units: i64) -> Node {
        Node {
            sum: units,
            least: units,
        }
    }

    fn then(self, right: Node) -> Node {
        Node {
            sum: self.sum.saturating_add(right.sum),
            least: right.least.min(self.least.saturating_add(right.sum)),
        }
    }
}

impl Slack {
    fn new(stock: &Stock, today: Day) -> Slack {
        let mut thresholds: Vec<Threshold> = stock.claims.iter().map(|claim| asked(claim.good_until, today)).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let width = thresholds.len().next_power_of_two();
        let mut nodes = vec![Node::NOTHING; 2 * width];
        for leaf in nodes.iter_mut().skip(width).take(thresholds.len()) {
            *leaf = Node::leaf(0);
        }
        for (top, units) in lot_steps(stock, today) {
            // The lot belongs to the highest threshold that it serves; one that serves none of those in use is left out.
            if let Some(place) = thresholds.partition_point(|threshold| *threshold <= top).checked_sub(1) {
                nodes[width + place] = Node::leaf(nodes[width + place].sum.saturating_add(units));
            }
        }
        for node in (1..width).rev() {
            nodes[node] = nodes[2 * node].then(nodes[2 * node + 1]);
        }
        Slack {
            thresholds,
            width,
            nodes,
        }
    }

    /// Takes `quantity` at `threshold`, if it and every lower threshold still have as much.
    fn fit(&mut self, threshold: Threshold, quantity: i64) -> bool {
        let place = self.width + self.thresholds.partition_point(|other| *other < threshold);
        let (mut node, mut above, mut upto) = (place, 0i64, self.nodes[place]);
        while node > 1 {
            if node % 2 == 0 {
                above = above.saturating_add(self.nodes[node + 1].sum);
            } else {
                upto = self.nodes[node - 1].then(upto);
            }
            node /= 2;
        }
        if upto.least.saturating_add(above) < quantity {
            return false;
        }
        self.nodes[place] = Node::leaf(self.nodes[place].sum - quantity);
        let mut node = place / 2;
        while node >= 1 {
            self.nodes[node] = self.nodes[2 * node].then(self.nodes[2 * node + 1]);
            node /= 2;
        }
        true
    }
}

#[cfg(test)]
#[path = "available_tests.rs"]
mod tests;
