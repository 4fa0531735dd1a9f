//! Background rows on their way into the journal's next transaction, and the wait for it.
//!
//! Snapshots, runs and retention all write through here, a bounded portion at a time. They run on a thread that may block.

use std::sync::mpsc::{Sender, channel};

use redb::WriteTransaction;

use super::append::CommitFailure;
use super::journal::{JournalHandle, SideWrite};
use super::tables;

/// One row to be put or removed.
#[derive(Debug)]
pub(crate) enum Put {
    Stock(String, String, Vec<u8>),
    Reservation(String, String, Option<Vec<u8>>),
    Warehouse(String, Vec<u8>),
    Catalogue(String, Option<Vec<u8>>),
    DeadLetter(u64, Option<Vec<u8>>),
    Run((u8, u64, u64, u32), Option<Vec<u8>>),
    Generation(u64, Option<Vec<u8>>),
    Answered(u64, Vec<u8>),
    Journal(u64),
    Meta(&'static str, u64),
}

impl Put {
    fn bytes(&self) -> usize {
        32 + match self {
            Put::Stock(_, _, row) | Put::Warehouse(_, row) | Put::Answered(_, row) => row.len(),
            Put::Reservation(_, _, row)
            | Put::Catalogue(_, row)
            | Put::DeadLetter(_, row)
            | Put::Run(_, row)
            | Put::Generation(_, row) => row.as_ref().map_or(0, Vec::len),
            // A removed row frees its pages, which costs about as much as writing one.
            Put::Journal(_) => 4096,
            Put::Meta(..) => 8,
        }
    }

    fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        match self {
            Put::Stock(warehouse, sku, row) => {
                let mut table = transaction.open_table(tables::STOCK)?;
                table.insert((warehouse.as_str(), sku.as_str()), row.as_slice())?;
            }
            Put::Reservation(warehouse, id, row) => {
                let mut table = transaction.open_table(tables::RESERVATION)?;
                let key = (warehouse.as_str(), id.as_str());
                match row {
                    Some(row) => table.insert(key, row.as_slice())?,
                    None => table.remove(key)?,
                };
            }
            Put::Warehouse(id, row) => {
                transaction
                    .open_table(tables::WAREHOUSE)?
                    .insert(id.as_str(), row.as_slice())?;
            }
            Put::Catalogue(sku, row) => {
                let mut table = transaction.open_table(tables::CATALOGUE)?;
                match row {
                    Some(row) => table.insert(sku.as_str(), row.as_slice())?,
                    None => table.remove(sku.as_str())?,
                };
            }
            Put::DeadLetter(seq, row) => {
                let mut table = transaction.open_table(tables::DEAD_LETTER)?;
                match row {
                    Some(row) => table.insert(seq, row.as_slice())?,
                    None => table.remove(seq)?,
                };
            }
            Put::Run(key, row) => {
                let mut table = transaction.open_table(tables::RUN)?;
                match row {
                    Some(row) => table.insert(key, row.as_slice())?,
                    None => table.remove(key)?,
                };
            }
            Put::Generation(number, row) => {
                let mut table = transaction.open_table(tables::GENERATION)?;
                match row {
                    Some(row) => table.insert(number, row.as_slice())?,
                    None => table.remove(number)?,
                };
            }
            Put::Answered(first, row) => {
                let mut table = transaction.open_table(tables::ANSWERED)?;
                table.insert(first, row.as_slice())?;
            }
            Put::Journal(key) => {
                transaction.open_table(tables::JOURNAL)?.remove(key)?;
            }
            Put::Meta(name, number) => {
                let mut table = transaction.open_table(tables::META)?;
                table.insert(*name, number.to_le_bytes().as_slice())?;
            }
        }
        Ok(())
    }
}

struct Rows {
    rows: Vec<Put>,
    bytes: usize,
    tell: Sender<Result<(), CommitFailure>>,
}

impl SideWrite for Rows {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        self.rows.iter().try_for_each(|row| row.write(transaction))
    }

    fn done(self: Box<Self>, result: Result<(), CommitFailure>) {
        // Whoever waits may have gone with its thread; the rows are durable all the same.
        let _ = self.tell.send(result);
    }
}

/// Bytes of a set of rows, as the journal counts them.
pub(crate) fn size(rows: &[Put]) -> usize {
    rows.iter().map(Put::bytes).sum()
}

/// Writes rows with the journal's next transaction and waits until they are durable. Blocks: never call it from a task.
pub(crate) fn write(journal: &JournalHandle, rows: Vec<Put>) -> Result<(), CommitFailure> {
    if rows.is_empty() {
        return Ok(());
    }
    let (tell, told) = channel();
    let bytes = size(&rows);
    journal.side(Box::new(Rows { rows, bytes, tell }));
    journal.wait(&told).unwrap_or(Err(CommitFailure::Stopping))
}
