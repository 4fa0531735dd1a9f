//! Whose clock is ahead: what they report is taken at its arrival, and a person is told which clock to set.
//!
//! In memory and since the start, like everything that a status says. A fact that says the time that was claimed was rejected:
//! it would keep for ever what is of use only until somebody sets a clock.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::domain::units::{Id, Time};

/// How many sources are kept; past it the one goes that was quiet for longest.
const KEPT: usize = 256;

/// What was seen of one source's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Events that were dated too far ahead.
    pub events: u64,
    /// The id of the newest of them.
    pub last: Id,
    /// When it came.
    pub at: Time,
    /// How far ahead of the node's clock it was dated, ms.
    pub by_ms: i64,
}

/// See the module. By warehouse and source.
#[derive(Debug, Default)]
pub struct ClocksAhead(Mutex<BTreeMap<(Id, Id), Ahead>>);

impl ClocksAhead {
    /// An event `id` was dated `claimed` when the node's clock said `now`.
    pub fn heard(&self, warehouse: &Id, source: &Id, id: &Id, claimed: Time, now: Time) {
        let mut all = self.0.lock();
        let key = (warehouse.clone(), source.clone());
        let events = all.get(&key).map_or(0, |ahead| ahead.events) + 1;
        let quiet = all.iter().min_by_key(|(_, ahead)| ahead.at).map(|(key, _)| key.clone());
        if events == 1 && all.len() == KEPT {
            quiet.map(|quiet| all.remove(&quiet));
        }
        let ahead = Ahead {
            events,
            last: id.clone(),
            at: now,
            by_ms: claimed.0.saturating_sub(now.0),
        };
        all.insert(key, ahead);
    }

    /// All of them, by warehouse and source.
    pub fn all(&self) -> Vec<((Id, Id), Ahead)> {
        let all = self.0.lock();
        all.iter().map(|(key, ahead)| (key.clone(), ahead.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_told_once_and_the_quietest_makes_room() {
        let clocks = ClocksAhead::default();
        let heard = |source: &str, at: i64| {
            let [warehouse, source, id] = ["w", source, &format!("e-{at}")].map(Id::trusted);
            clocks.heard(&warehouse, &source, &id, Time(at + 400_000), Time(at));
        };
        heard("pos/2", 1);
        heard("pos/1", 2);
        heard("pos/2", 3);
        let all = clocks.all();
        let told: Vec<_> = all
            .iter()
            .map(|((_, source), ahead)| (source.as_str(), ahead.events))
            .collect();
        assert_eq!(told, [("pos/1", 1), ("pos/2", 2)]);
        let two = &all[1].1;
        assert_eq!((two.last.as_str(), two.at, two.by_ms), ("e-3", Time(3), 400_000));
        (4..).take(KEPT - 1).for_each(|at| heard(&format!("wms/{at}"), at));
        let all = clocks.all();
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].0.1.as_str(), "pos/2", "pos/1 was quiet for longest");
    }
}
