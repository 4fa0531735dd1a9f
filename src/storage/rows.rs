//! Background rows on their way into the journal's next transaction, and the wait for it.
//!
//! Snapshots, runs and retention all write through here, a bounded portion at a time. They run on a thread that may block.

use std::borrow::Borrow;
use std::sync::mpsc::{Sender, channel};

use redb::{Key, Table, TableDefinition, WriteTransaction};

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

    fn write<'t>(&self, to: &'t WriteTransaction, tables: &mut Tables<'t>) -> Result<(), redb::Error> {
        match self {
            Put::Stock(warehouse, sku, row) => {
                let key = (warehouse.as_str(), sku.as_str());
                put(&mut tables.stock, to, tables::STOCK, key, Some(row))
            }
            Put::Reservation(warehouse, id, row) => {
                let key = (warehouse.as_str(), id.as_str());
                put(&mut tables.reservation, to, tables::RESERVATION, key, row.as_deref())
            }
            Put::Warehouse(id, row) => put(&mut tables.warehouse, to, tables::WAREHOUSE, id.as_str(), Some(row)),
            Put::Catalogue(sku, row) => put(&mut tables.catalogue, to, tables::CATALOGUE, sku.as_str(), row.as_deref()),
            Put::DeadLetter(seq, row) => put(&mut tables.dead_letter, to, tables::DEAD_LETTER, seq, row.as_deref()),
            Put::Run(key, row) => put(&mut tables.run, to, tables::RUN, key, row.as_deref()),
            Put::Generation(number, row) => put(&mut tables.generation, to, tables::GENERATION, number, row.as_deref()),
            Put::Answered(first, row) => put(&mut tables.answered, to, tables::ANSWERED, first, Some(row)),
            Put::Journal(key) => put(&mut tables.journal, to, tables::JOURNAL, key, None),
            Put::Meta(name, number) => put(&mut tables.meta, to, tables::META, *name, Some(&number.to_le_bytes())),
        }
    }
}

type Rowed<'t, K> = Option<Table<'t, K, &'static [u8]>>;

/// The tables of one set of rows, each opened with its first row: opened for every row, it took a third as long as the writing.
#[derive(Default)]
struct Tables<'t> {
    stock: Rowed<'t, (&'static str, &'static str)>,
    reservation: Rowed<'t, (&'static str, &'static str)>,
    warehouse: Rowed<'t, &'static str>,
    catalogue: Rowed<'t, &'static str>,
    dead_letter: Rowed<'t, u64>,
    run: Rowed<'t, (u8, u64, u64, u32)>,
    generation: Rowed<'t, u64>,
    answered: Rowed<'t, u64>,
    journal: Rowed<'t, u64>,
    meta: Rowed<'t, &'static str>,
}

/// Puts a row into a table, or removes it.
fn put<'t, 'k, K: Key + 'static>(
    table: &mut Rowed<'t, K>,
    transaction: &'t WriteTransaction,
    definition: TableDefinition<'static, K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
    row: Option<&[u8]>,
) -> Result<(), redb::Error> {
    let table = match table {
        Some(open) => open,
        None => table.insert(transaction.open_table(definition)?),
    };
    match row {
        Some(row) => drop(table.insert(key, row)?),
        None => drop(table.remove(key)?),
    }
    Ok(())
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
        let mut tables = Tables::default();
        self.rows.iter().try_for_each(|row| row.write(transaction, &mut tables))
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
