//! Up to which of a warehouse's own facts all its SKUs have said, in facts of theirs, what they have on offer since.
//!
//! A buffer or a channel that changes is published SKU by SKU. When a warehouse is rebuilt half-way, this mark says whether that
//! was finished; SKUs without a fact since the warehouse's own are then told again. (To compare every SKU's newest fact with
//! what it should say was rejected: it would read the journal once for each SKU at every start.)

use redb::WriteTransaction;

use super::append::CommitFailure;
use super::database::ReadError;
use super::journal::{JournalHandle, SideWrite};
use super::store::Store;
use super::tables::{self, meta};
use crate::domain::units::Id;

struct Told {
    warehouse: Id,
    seq: u64,
    journal: JournalHandle,
    epoch: u64,
}

impl SideWrite for Told {
    fn bytes(&self) -> usize {
        64
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        // What it speaks of has been rolled back.
        if self.journal.epoch() != self.epoch {
            return Ok(());
        }
        let mut table = transaction.open_table(tables::META)?;
        let name = meta::told(self.warehouse.as_str());
        table.insert(name.as_str(), self.seq.to_le_bytes().as_slice())?;
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), CommitFailure>) {
        if let Err(failure) = result {
            // The SKUs will be told once more after the next start; nothing is lost.
            tracing::debug!(warehouse = %self.warehouse, ?failure, "the mark of a finished turn was not written");
        }
    }
}

impl Store {
    /// The sequence of the newest fact of the warehouse that all its SKUs were told of; 0: none.
    pub fn told(&self, warehouse: &Id) -> Result<u64, ReadError> {
        let seq = self.shared().database.number(&meta::told(warehouse.as_str()))?;
        Ok(seq.unwrap_or(0))
    }

    /// All SKUs of the warehouse have been told of its fact `seq`, in facts handed to the journal in this epoch.
    pub fn set_told(&self, warehouse: &Id, seq: u64, epoch: u64) {
        self.journal().side(Box::new(Told {
            warehouse: warehouse.clone(),
            seq,
            journal: self.journal().clone(),
            epoch,
        }));
    }
}
