//! What is remembered of an event's id: the fact that bound it, found by its hash and confirmed by its texts.

use crate::domain::fact::Fact;
use crate::domain::units::Id;
use crate::planted::{self, Bug};

use super::answered::{self, Answered};
use super::database::ReadError;
use super::remembered::Lookup;
use super::store::Store;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nobody has sent it within the window.
    Nothing,
    /// The fact that bound it.
    Fact(Box<Fact>),
    /// Kept for ever, and older than the journal: the hash alone must do.
    Gone {
        /// The sequence of the fact that bound it.
        seq: u64,
        /// What was answered; `None` in stores that let the fact go before answers were kept.
        answered: Option<Answered>,
    },
}

impl Store {
    /// Says of each of many hashes (of `remembered::hash`) whether nobody has sent it within the window for sure; of one that is not
    /// sure, ask [`Store::known`]. For a batch: asked one by one, each id costs some waits for memory, one after the other.
    pub fn surely_new(&self, hashes: &[u64], new: &mut Vec<bool>) {
        new.clear();
        new.resize(hashes.len(), true);
        if planted::is(Bug::SiftedBlind) {
            return;
        }
        // The live ones first: one that is sealed meanwhile was asked while it was live.
        for generation in self.shared().view.live.load().iter() {
            generation.strike(hashes, new);
        }
        self.shared().runs.strike(hashes, new);
    }

    /// What is remembered of the id of (warehouse, source, id), whose `remembered::hash` the caller has.
    pub fn known(&self, hash: u64, warehouse: &Id, source: &Id, id: &Id) -> Result<Known, ReadError> {
        let same = |fact: &Fact| fact.warehouse == *warehouse && fact.origin.source == *source && fact.origin.id == *id;
        let mut found = self.lookup(hash)?;
        // The first look goes where the last one was lucky; two ids may share a hash, so what follows goes down from the newest.
        let mut below = u64::MAX;
        while let Lookup::At(seq) = found {
            match self.fact(seq)? {
                Some(fact) if same(&fact) => return Ok(Known::Fact(Box::new(fact))),
                None if seq < self.floor() => {
                    let answered = answered::answered(&self.shared().database, seq)?;
                    return Ok(Known::Gone { seq, answered });
                }
                _ => {}
            }
            found = self.lookup_below(hash, below)?;
            if let Lookup::At(next) = found {
                below = next;
            }
        }
        Ok(Known::Nothing)
    }
}
