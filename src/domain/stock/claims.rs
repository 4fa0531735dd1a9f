//! The claims of one SKU, oldest first, and how the one of a reservation is found among hundreds.
//!
//! Ids alike in length and beginning lie each behind a pointer of its own, so comparing them one by one costs a miss of the cache
//! apiece; a tag of 32 bits beside each claim leaves one to compare. A map was rejected: the order of age decides who is at risk.

use std::ops::{Deref, DerefMut};

use crate::domain::fact::Claim;
use crate::domain::units::Id;

/// See the module. A claim's reservation must not be changed in place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Claims {
    all: Vec<Claim>,
    tags: Vec<u32>,
}

/// Equal ids, equal tags: FNV-1a over 64 bits, folded (G. Fowler, L. C. Noll, P. Vo).
fn tag(id: &Id) -> u32 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash >> 32) as u32 ^ hash as u32
}

impl Claims {
    fn place(&self, reservation: &Id) -> Option<usize> {
        let wanted = tag(reservation);
        let mut like = self.tags.iter().enumerate().filter(|(_, tag)| **tag == wanted);
        like.find(|(at, _)| self.all[*at].reservation == *reservation)
            .map(|(at, _)| at)
    }

    /// The claim of a reservation.
    pub fn of(&self, reservation: &Id) -> Option<&Claim> {
        self.place(reservation).map(|at| &self.all[at])
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, reservation: &Id) -> Option<&mut Claim> {
        self.place(reservation).map(|at| &mut self.all[at])
    }

    /// Makes a claim, or replaces the one that the reservation has: that keeps its place in the order of age.
    pub fn put(&mut self, claim: Claim) {
        match self.of_mut(&claim.reservation) {
            Some(known) => *known = claim,
            None => {
                self.tags.push(tag(&claim.reservation));
                self.all.push(claim);
            }
        }
    }

    /// Ends the claim of a reservation.
    pub fn end(&mut self, reservation: &Id) {
        if let Some(at) = self.place(reservation) {
            self.all.remove(at);
            self.tags.remove(at);
        }
        if self.all.is_empty() {
            *self = Claims::default();
        }
    }
}

impl Deref for Claims {
    type Target = [Claim];
    fn deref(&self) -> &[Claim] {
        &self.all
    }
}

impl DerefMut for Claims {
    fn deref_mut(&mut self) -> &mut [Claim] {
        &mut self.all
    }
}

impl FromIterator<Claim> for Claims {
    fn from_iter<I: IntoIterator<Item = Claim>>(claims: I) -> Claims {
        let all: Vec<Claim> = claims.into_iter().collect();
        let tags = all.iter().map(|claim| tag(&claim.reservation)).collect();
        Claims { all, tags }
    }
}

impl<'c> IntoIterator for &'c Claims {
    type Item = &'c Claim;
    type IntoIter = std::slice::Iter<'c, Claim>;
    fn into_iter(self) -> std::slice::Iter<'c, Claim> {
        self.all.iter()
    }
}
