//! From rows to memory: the snapshot, then the tail of the journal.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use redb::{Key, ReadableTableMetadata, TableDefinition};

use crate::storage::codec::{Corrupt, decode_dead_letter, decode_reservation, decode_stock, decode_warehouse};
use crate::storage::cursor::Cursors;
use crate::storage::database::{Handle, ReadError};
use crate::storage::opening::Stage;
use crate::storage::runs::Runs;
use crate::storage::tables::{self, meta};
use crate::storage::view::View;
use crate::storage::view::rows::StockRows;

use super::{Options, Shared, workers};

/// SKUs that room is made for beforehand, at the most; past them tables grow as they do while the node runs.
const MOST_ROOM: usize = 1 << 20;

/// Rows restored in one read transaction.
const PAGE: usize = 1_000;

/// Rows of a table, read together, with what their keys became. All texts and values lie one after the other: of a million rows, a
/// piece of memory for each would be asked for by one thread and given back by another.
struct Page<O> {
    texts: String,
    values: Vec<u8>,
    /// Of each row the place after its text, and after its value.
    rows: Vec<(O, usize, usize)>,
}

impl<O> Page<O> {
    fn with_room() -> Page<O> {
        Page {
            texts: String::new(),
            values: Vec::new(),
            rows: Vec::with_capacity(PAGE),
        }
    }

    /// Each row: what its key became, the text that was kept of it, and the value.
    fn rows(&self) -> impl Iterator<Item = (&O, &str, &[u8])> {
        let (mut text, mut value) = (0, 0);
        self.rows.iter().map(move |(key, text_end, value_end)| {
            let from = (
                std::mem::replace(&mut text, *text_end),
                std::mem::replace(&mut value, *value_end),
            );
            (key, &self.texts[from.0..*text_end], &self.values[from.1..*value_end])
        })
    }
}

/// Of a key within a warehouse keeps its text, and the warehouse as that of the row before, which it nearly always is.
fn within_warehouse() -> impl FnMut((&str, &str), &mut String) -> Arc<str> {
    let mut of = Arc::<str>::from("");
    move |(warehouse, text), texts| {
        if *of != *warehouse {
            of = warehouse.into();
        }
        texts.push_str(text);
        of.clone()
    }
}

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
        let owned = |key: &str, _: &mut String| key.to_owned();
        self.restore_stocks()?;
        self.each(tables::RESERVATION, "reservation", within_warehouse(), |warehouse, row| {
            decode_reservation(row).map(|(basket, seq)| view.restore_reservation(warehouse, basket, seq, replayed))
        })?;
        self.each(tables::WAREHOUSE, "warehouse", owned, |_, row| {
            decode_warehouse(row).map(|(warehouse, seq)| view.restore_warehouse(warehouse, seq))
        })?;
        self.each(tables::CATALOGUE, "catalogue", owned, |sku, row| {
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
            |seq, _| seq,
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
        // What a damaged file says is no reason to ask for more than that.
        self.view.reserve((many as usize).min(self.options.max_skus).min(MOST_ROOM));
        let read = |send: &mut dyn FnMut(_) -> Result<(), ReadError>| {
            let mut number = 0;
            self.pages(tables::STOCK, within_warehouse(), |page| {
                number += 1;
                send((number, page))
            })
        };
        workers::spread(read, |(number, page): (u32, Page<Arc<str>>)| {
            let many = page.rows.len();
            let mut runs: Vec<(Arc<str>, StockRows<'_>)> = Vec::new();
            for (warehouse, sku, row) in page.rows() {
                let (stock, seq) = decode_stock(row).map_err(|why| damaged("stock", &(warehouse, sku), &why))?;
                match runs.last_mut() {
                    Some((of, run)) if of == warehouse => run.push((sku, stock, seq)),
                    _ => {
                        let mut run = Vec::with_capacity(many);
                        run.push((sku, stock, seq));
                        runs.push((Arc::clone(warehouse), run));
                    }
                }
            }
            let restored = runs.into_iter().map(|(warehouse, run)| {
                let skus = self.view.restore_stocks(&warehouse, run);
                (number, warehouse, skus)
            });
            let restored: Vec<_> = restored.collect();
            known.lock().extend(restored);
            opening.advance(many as u64);
            Ok(())
        })?;
        let mut known = known.into_inner();
        known.sort_by_key(|(number, _, _)| *number);
        self.view
            .restore_shelves(known.into_iter().map(|(_, warehouse, skus)| (warehouse, skus)));
        Ok(())
    }

    /// Gives each row of a table to `take`, with what `own` made of its key.
    fn each<K: Key + 'static, O: std::fmt::Debug>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        name: &'static str,
        own: impl FnMut(K::SelfType<'_>, &mut String) -> O,
        mut take: impl FnMut(&O, &[u8]) -> Result<(), Corrupt>,
    ) -> Result<(), ReadError> {
        self.pages(table, own, |page| {
            let mut rows = page.rows();
            rows.try_for_each(|(key, text, row)| {
                take(key, row).map_err(|why| match text {
                    "" => damaged(name, key, &why),
                    text => damaged(name, &(key, text), &why),
                })
            })
        })
    }

    /// Gives the rows of a table to `take`, a page of rows in one short transaction. `own` says what a key becomes, and may put a part
    /// of it into the page's texts.
    fn pages<K: Key + 'static, O>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        mut own: impl FnMut(K::SelfType<'_>, &mut String) -> O,
        mut take: impl FnMut(Page<O>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (page, last) = self.database.read(|transaction| {
                let table = transaction.open_table(table)?;
                let mut page = Page::with_room();
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
                    let own = own(key.value(), &mut page.texts);
                    page.values.extend_from_slice(value.value());
                    page.rows.push((own, page.texts.len(), page.values.len()));
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
            let whole = page.rows.len() == PAGE;
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
