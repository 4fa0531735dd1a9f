//! Which SKUs of the latest are published now, and which at their round's end.
//!
//! The first change of a SKU in a round is published at once; what changes it again in the same round waits for the round's end, where
//! it is published once. Waiting with each for a while of its own was rejected: then there is always one that waits, and the
//! publisher's place never moves.

use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::storage::append::SkuIndex;

/// How long a round is.
const ROUND: Duration = Duration::from_millis(250);
/// SKUs remembered as published, to skip what the view had already shown.
const REMEMBERED: usize = 200_000;

/// What of a SKU has been published.
struct Shown {
    version: u64,
    /// In which round.
    round: u64,
    /// It has changed since, and waits for the round's end.
    held: bool,
}

/// See the module.
pub(super) struct Rounds {
    shown: HashMap<SkuIndex, Shown>,
    round: u64,
    begun: Instant,
    held: Vec<SkuIndex>,
}

impl Rounds {
    pub(super) fn new() -> Rounds {
        Rounds {
            shown: HashMap::new(),
            round: 0,
            begun: Instant::now(),
            held: Vec::new(),
        }
    }

    /// A fact has changed a SKU. Whether it is to be published now; else it has been, or will be at the round's end.
    pub(super) fn touch(&mut self, index: SkuIndex, version: u64) -> bool {
        match self.shown.get_mut(&index) {
            Some(shown) if shown.held || shown.version >= version => false,
            Some(shown) if shown.round == self.round => {
                shown.held = true;
                self.held.push(index);
                false
            }
            _ => true,
        }
    }

    /// A SKU is about to be published as it is at a version. Whether that is anything new.
    pub(super) fn show(&mut self, index: SkuIndex, version: u64) -> bool {
        if self.shown.len() >= REMEMBERED {
            self.shown.clear();
        }
        let shown = Shown {
            version,
            round: self.round,
            held: false,
        };
        self.shown.insert(index, shown).is_none_or(|before| before.version != version)
    }

    /// Whether nothing waits for the round's end.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How long something waits still; `None`: nothing does.
    pub(super) fn rests(&self) -> Option<Duration> {
        (!self.held.is_empty()).then(|| ROUND.saturating_sub(self.begun.elapsed()))
    }

    /// Whether the round has lasted its time.
    pub(super) fn is_due(&self) -> bool {
        self.begun.elapsed() >= ROUND
    }

    /// Begins the next round: what waited for the end of this one.
    pub(super) fn turn(&mut self) -> Vec<SkuIndex> {
        self.begun = Instant::now();
        self.round += 1;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SkuIndex = SkuIndex(1);
    const B: SkuIndex = SkuIndex(2);

    fn touch(rounds: &mut Rounds, index: SkuIndex, version: u64) -> bool {
        let now = rounds.touch(index, version);
        if now {
            assert!(rounds.show(index, version));
        }
        now
    }

    #[test]
    fn a_sku_is_published_at_once_and_again_at_the_rounds_end_however_often_it_changes() {
        let mut rounds = Rounds::new();
        assert!(touch(&mut rounds, A, 1));
        assert!(rounds.is_empty() && rounds.rests().is_none());
        for version in 2..100 {
            assert!(!touch(&mut rounds, A, version));
        }
        assert!(touch(&mut rounds, B, 7), "another SKU does not wait for it");
        assert!(!rounds.is_empty() && rounds.rests().is_some());
        assert_eq!(rounds.turn(), [A]);
        assert!(rounds.show(A, 99) && rounds.is_empty());
        assert!(
            !touch(&mut rounds, A, 100),
            "what the round's end has published counts for the next round"
        );
        assert!(touch(&mut rounds, B, 8));
        assert_eq!(rounds.turn(), [A]);
        assert!(rounds.show(A, 100));
        assert_eq!(rounds.turn(), []);
        assert!(touch(&mut rounds, A, 101), "after a quiet round it goes at once again");
    }

    #[test]
    fn what_the_view_had_already_shown_is_not_published_again() {
        let mut rounds = Rounds::new();
        assert!(rounds.touch(A, 1) && rounds.show(A, 5));
        for version in 2..=5 {
            assert!(!rounds.touch(A, version));
        }
        assert!(rounds.is_empty(), "its newest is published: nothing waits");
        assert!(!rounds.show(A, 5));
        assert!(!rounds.touch(A, 6));
        assert_eq!(rounds.turn(), [A]);
    }
}
