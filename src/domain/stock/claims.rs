//! The claims of one SKU, oldest first, and what is asked of all of them together.
//!
//! A basket item has hundreds of claims, and each new promise asks what they take and whether one of them has ended. So their sum,
//! how many ask for a date or are at risk, and the first deadline are kept beside them, and going through all of them is left to
//! the SKUs where that matters. Ids alike in length and beginning lie each behind a pointer of its own, so comparing them one by
//! one costs a miss of the cache apiece; a tag of 32 bits beside each claim leaves one to compare. A map was rejected: the order
//! of age decides who is at risk. A SKU without claims, as nearly all are, has a null pointer.

use std::ops::Deref;

use crate::domain::fact::Claim;
use crate::domain::units::{Id, Time};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Claims(Option<Box<Kept>>);

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Kept {
    all: Vec<Claim>,
    tags: Vec<u32>,
    /// Wide enough for as many claims as memory can hold.
    units: i128,
    dated: usize,
    at_risk: usize,
    first: Option<Time>,
}

/// Equal ids, equal tags: FNV-1a over 64 bits, folded (G. Fowler, L. C. Noll, P. Vo).
fn tag(id: &Id) -> u32 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash >> 32) as u32 ^ hash as u32
}

impl Kept {
    fn place(&self, reservation: &Id) -> Option<usize> {
        let wanted = tag(reservation);
        let is = |at: &usize| self.tags[*at] == wanted && self.all[*at].reservation == *reservation;
        // Thirty-two tags at once, whatever they are: stopping at the first that is alike takes them one by one.
        let (groups, rest) = self.tags.as_chunks::<32>();
        let alike = |group: &[u32; 32]| group.iter().fold(false, |any, tag| any | (*tag == wanted));
        for (number, _) in groups.iter().enumerate().filter(|(_, group)| alike(group)) {
            let found = (number * 32..(number + 1) * 32).find(is);
            if found.is_some() {
                return found;
            }
        }
        (self.tags.len() - rest.len()..self.tags.len()).find(is)
    }

    fn count_in(&mut self, at: usize) {
        let claim = &self.all[at];
        self.units += i128::from(claim.quantity);
        self.dated += usize::from(claim.good_until.is_some());
        self.at_risk += usize::from(claim.at_risk);
        self.first = earlier(self.first, claim.deadline);
    }

    /// Before a claim changes or goes; the first deadline is looked for again after that.
    fn count_out(&mut self, at: usize) {
        let claim = &self.all[at];
        self.units -= i128::from(claim.quantity);
        self.dated -= usize::from(claim.good_until.is_some());
        self.at_risk -= usize::from(claim.at_risk);
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Claim)) {
        let before = self.all[at].deadline;
        self.count_out(at);
        change(&mut self.all[at]);
        self.count_in(at);
        self.look_for_first(before);
    }

    /// The first deadline, when the one that was it may be gone.
    fn look_for_first(&mut self, gone: Option<Time>) {
        if gone.is_some() && gone == self.first {
            self.first = self.all.iter().filter_map(|claim| claim.deadline).min();
        }
    }
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Claims {
    fn place(&self, reservation: &Id) -> Option<usize> {
        self.0.as_ref()?.place(reservation)
    }

    /// The claim of a reservation.
    pub fn of(&self, reservation: &Id) -> Option<&Claim> {
        self.place(reservation).map(|at| &self[at])
    }

    /// Base units that all of them take together, however long their deadlines have passed.
    pub fn units(&self) -> i64 {
        let units = self.0.as_ref().map_or(0, |kept| kept.units);
        i64::try_from(units).unwrap_or(i64::MAX)
    }

    /// Whether one of them asks for a date.
    pub fn any_dated(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.dated > 0)
    }

    /// Whether one of them is a promise at risk.
    pub fn any_at_risk(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.at_risk > 0)
    }

    /// Whether the deadline of one of them has passed; one that is `now` has.
    pub fn any_ended(&self, now: Time) -> bool {
        let first = self.0.as_ref().and_then(|kept| kept.first);
        first.is_some_and(|first| first <= now)
    }

    /// Makes a claim, or replaces the one that the reservation has: that keeps its place in the order of age.
    pub fn put(&mut self, claim: Claim) {
        let kept = self.0.get_or_insert_default();
        match kept.place(&claim.reservation) {
            Some(at) => kept.change(at, |known| *known = claim),
            None => {
                kept.tags.push(tag(&claim.reservation));
                kept.all.push(claim);
                kept.count_in(kept.all.len() - 1);
            }
        }
    }

    /// Changes the claim of a reservation, if it has one, and ends it when nothing is left of it. The reservation stays.
    pub fn change(&mut self, reservation: &Id, change: impl FnOnce(&mut Claim)) {
        let Some(kept) = &mut self.0 else { return };
        let Some(at) = kept.place(reservation) else { return };
        kept.change(at, change);
        if kept.all[at].quantity <= 0 {
            self.end(reservation);
        }
    }

    /// Ends the claim of a reservation.
    pub fn end(&mut self, reservation: &Id) {
        let Some(kept) = &mut self.0 else { return };
        let Some(at) = kept.place(reservation) else { return };
        kept.count_out(at);
        let gone = kept.all.remove(at).deadline;
        kept.tags.remove(at);
        if kept.all.is_empty() {
            self.0 = None;
        } else {
            kept.look_for_first(gone);
        }
    }
}

impl Deref for Claims {
    type Target = [Claim];
    fn deref(&self) -> &[Claim] {
        self.0.as_ref().map_or(&[], |kept| &kept.all)
    }
}

/// Of claims of different reservations.
impl FromIterator<Claim> for Claims {
    fn from_iter<I: IntoIterator<Item = Claim>>(claims: I) -> Claims {
        let all: Vec<Claim> = claims.into_iter().collect();
        if all.is_empty() {
            return Claims::default();
        }
        let tags = all.iter().map(|claim| tag(&claim.reservation)).collect();
        let mut kept = Kept {
            all,
            tags,
            ..Kept::default()
        };
        (0..kept.all.len()).for_each(|at| kept.count_in(at));
        Claims(Some(Box::new(kept)))
    }
}

impl<'c> IntoIterator for &'c Claims {
    type Item = &'c Claim;
    type IntoIter = std::slice::Iter<'c, Claim>;
    fn into_iter(self) -> std::slice::Iter<'c, Claim> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::units::Day;

    fn claim() -> impl Strategy<Value = Claim> {
        let deadline = prop::option::of((0i64..6).prop_map(Time));
        let date = prop::option::of((0i32..2).prop_map(Day));
        (0u8..6, 1i64..9, date, deadline, any::<bool>()).prop_map(|(id, quantity, good_until, deadline, at_risk)| Claim {
            reservation: Id::trusted(&id.to_string()),
            quantity,
            good_until,
            deadline,
            at_risk,
        })
    }

    proptest! {
        /// What is kept beside the claims is what going through them says, whatever was put, changed and ended before.
        #[test]
        fn what_is_kept_of_all_claims_is_what_they_say_one_by_one(steps in prop::collection::vec((0u8..3, claim()), 0..40)) {
            let mut claims = Claims::default();
            for (what, claim) in steps {
                match what {
                    0 => claims.put(claim),
                    1 => claims.end(&claim.reservation),
                    _ => claims.change(&claim.reservation.clone(), |known| {
                        known.quantity -= claim.quantity;
                        known.deadline = claim.deadline;
                        known.at_risk = claim.at_risk;
                    }),
                }
                prop_assert_eq!(claims.units(), claims.iter().map(|claim| claim.quantity).sum::<i64>());
                prop_assert_eq!(claims.any_dated(), claims.iter().any(|claim| claim.good_until.is_some()));
                prop_assert_eq!(claims.any_at_risk(), claims.iter().any(|claim| claim.at_risk));
                for now in (0..7).map(Time) {
                    let ended = claims.iter().any(|claim| claim.deadline.is_some_and(|deadline| deadline <= now));
                    prop_assert_eq!(claims.any_ended(now), ended);
                }
                prop_assert!(claims.iter().all(|claim| claim.quantity > 0));
                prop_assert_eq!(claims.iter().cloned().collect::<Claims>(), claims.clone());
            }
        }

        /// A basket item's hundreds of claims are found as going through them one by one finds them: those that are there, and no other.
        #[test]
        fn claims_are_found_among_hundreds(count in 0u32..200, gone in prop::collection::vec(0u32..200, 0..60)) {
            let number = |number: u32| Id::trusted(&number.to_string());
            let mut claims = Claims::default();
            for id in 0..count {
                claims.put(Claim { reservation: number(id), quantity: 1, good_until: None, deadline: None, at_risk: false });
            }
            gone.iter().for_each(|id| claims.end(&number(*id)));
            for id in (0..200).map(number) {
                prop_assert_eq!(claims.of(&id), claims.iter().find(|claim| claim.reservation == id));
            }
        }
    }
}
