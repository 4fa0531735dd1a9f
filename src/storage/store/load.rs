//! From rows to memory: the snapshot, then the tail of the journal.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use redb::{Key, ReadableTableMetadata, TableDefinition};

use crate::domain::units::Id;
use crate::storage::append::SkuIndex;
use crate::storage::codec::{Corrupt, decode_dead_letter, decode_reservation, decode_stock, decode_warehouse};
use crate::storage::cursor::Cursors;
use crate::storage::database::{Handle, ReadError};
use crate::storage::opening::Stage;
use crate::storage::runs::Runs;
use crate::storage::tables::{self, meta};
use crate::storage::view::View;

use super::{Options, Shared, workers};

/// Rows restored in one read transaction.
const PAGE: usize = 1_000;

/// Rows with their keys.
type Page<O> = Vec<(O, Vec<u8>)>;

impl Shared {
    /// Builds the memory of an open database: snapshot rows, then the journal from wherever a row may lack a fact, or where a
    /// generation is not sealed.
    pub(crate) fn load(database: Handle, options: Options, generation_bits: u32) -> Result<Shared, ReadError> {
        let runs = Runs::new(generation_bits);
        runs.load(&database)?;
        let snapshot_floor = database.number(meta::SNAPSHOT_FLOOR)?.unwrap_or(0);
        let journal_floor = database.number(meta::JOURNAL_FLOOR)?.unwrap_or(1);
        let cursors = Cursors::load(&database)?;
        let first_live = runs.first_live();
        let view = View::new(options.max_skus, generation_bits, first_live);
        let shared = Shared {
            database,
            view,
            runs,
            options,
            generation_bits,
            snapshot_floor: AtomicU64::new(snapshot_floor),
            journal_floor: AtomicU64::new(journal_floor),
            cursors,
        };
        let from = (snapshot_floor + 1).min(first_live << generation_bits).max(journal_floor);
        shared.restore(from)?;
        shared.replay(from)?;
        shared.view.restored_reservations();
        shared.options.opening.begin(Stage::Open, 0);
        Ok(shared)
    }

    /// `replayed`: facts from there on are folded afterwards.
    fn restore(&self, replayed: u64) -> Result<(), ReadError> {
        let view = &self.view;
        let pairs = |key: (&str, &str)| (key.0.to_owned(), key.1.to_owned());
        self.restore_stocks()?;
        self.each(tables::RESERVATION, "reservation", pairs, |(warehouse, _), row| {
            decode_reservation(row).map(|(basket, seq)| view.restore_reservation(warehouse, basket, seq, replayed))
        })?;
        self.each(tables::WAREHOUSE, "warehouse", str::to_owned, |_, row| {
            decode_warehouse(row).map(|(warehouse, seq)| view.restore_warehouse(warehouse, seq))
        })?;
        self.each(tables::CATALOGUE, "catalogue", str::to_owned, |sku, row| {
            let corrupt = |at| Corrupt {
                what: "catalogue entry",
                at,
            };
            let (seq, entry) = row.split_first_chunk::<8>().ok_or(corrupt(0))?;
            let entry = std::str::from_utf8(entry).map_err(|_| corrupt(8))?;
            view.restore_catalogue(sku, entry, u64::from_le_bytes(*seq));
            Ok(())
        })?;
        self.each(
            tables::DEAD_LETTER,
            "dead_letter",
            |seq| seq,
            |seq, row| decode_dead_letter(row).map(|(letter, at)| view.restore_letter(*seq, letter, at)),
        )
    }

    /// The SKUs, on every core: there are by far the most of them.
    fn restore_stocks(&self) -> Result<(), ReadError> {
        let known = Mutex::new(Vec::new());
        let opening = &self.options.opening;
        let many = self
            .database
            .read(|transaction| Ok(transaction.open_table(tables::STOCK)?.len()?))?;
        opening.begin(Stage::Snapshot, many);
        let read = |send: &mut dyn FnMut(_) -> Result<(), ReadError>| {
            let (mut number, mut of) = (0, Arc::<str>::from(""));
            let own = move |(warehouse, sku): (&str, &str)| {
                // The same as that of the row before, nearly always.
                if *of != *warehouse {
                    of = warehouse.into();
                }
                (of.clone(), sku.to_owned())
            };
            self.pages(tables::STOCK, own, |page| {
                number += 1;
                send((number, page))
            })
        };
        workers::spread(read, |(number, page): (u32, Page<(Arc<str>, String)>)| {
            let many = page.len();
            let mut skus: Vec<(Id, SkuIndex)> = Vec::with_capacity(many);
            let mut runs = Vec::new();
            let mut of: Option<Arc<str>> = None;
            for (key, row) in page {
                let (stock, seq) = decode_stock(&row).map_err(|why| damaged("stock", &key, &why))?;
                let (warehouse, sku) = key;
                if of.as_ref().is_some_and(|of| *of != warehouse)
                    && let Some(of) = of.take()
                {
                    runs.push((number, of, std::mem::take(&mut skus)));
                }
                skus.push(self.view.restore_stock(&warehouse, &sku, stock, seq));
                of.get_or_insert(warehouse);
            }
            if let Some(of) = of {
                runs.push((number, of, skus));
            }
            known.lock().extend(runs);
            opening.advance(many as u64);
            Ok(())
        })?;
        let mut known = known.into_inner();
        known.sort_by_key(|(number, _, _)| *number);
        self.view
            .restore_shelves(known.into_iter().map(|(_, warehouse, skus)| (warehouse, skus)));
        Ok(())
    }

    /// Gives each row of a table to `take`.
    fn each<K: Key + 'static, O: std::fmt::Debug>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        name: &'static str,
        own: impl Fn(K::SelfType<'_>) -> O,
        mut take: impl FnMut(&O, &[u8]) -> Result<(), Corrupt>,
    ) -> Result<(), ReadError> {
        self.pages(table, own, |page| {
            let mut rows = page.iter();
            rows.try_for_each(|(key, row)| take(key, row).map_err(|why| damaged(name, key, &why)))
        })
    }

    /// Gives the rows of a table to `take`, a page of rows in one short transaction.
    fn pages<K: Key + 'static, O>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        mut own: impl FnMut(K::SelfType<'_>) -> O,
        mut take: impl FnMut(Page<O>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (page, last) = self.database.read(|transaction| {
                let table = transaction.open_table(table)?;
                let mut page = Vec::new();
                let mut last = None;
                let start = match &after {
                    None => std::ops::Bound::Unbounded,
                    Some(key) => std::ops::Bound::Excluded(K::from_bytes(key)),
                };
                for row in table
                    .range::<K::SelfType<'_>>((start, std::ops::Bound::Unbounded))?
                    .take(PAGE)
                {
                    let (key, value) = row?;
                    page.push((own(key.value()), value.value().to_vec()));
                    last = Some(key);
                }
                Ok((page, last.map(|key| K::as_bytes(&key.value()).as_ref().to_vec())))
            })?;
            if let (Some(after), Some(last)) = (&after, &last)
                && !K::compare(after, last).is_lt()
            {
                // In a damaged file the keys may go back, and would be read for ever.
                return Err(ReadError::Pages("the rows of a table are not in order".into()));
            }
            let whole = page.len() == PAGE;
            take(page)?;
            match last {
                Some(last) if whole => after = Some(last),
                _ => return Ok(()),
            }
        }
    }
}

fn damaged(table: &'static str, key: &dyn std::fmt::Debug, why: &Corrupt) -> ReadError {
    ReadError::Damaged {
        table,
        key: format!("{key:?}"),
        why: why.to_string(),
    }
}
