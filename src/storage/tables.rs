//! Every durable table on one page: key, value, size, lifetime.
//!
//! | table | key | value | size | lifetime |
//! |---|---|---|---|---|
//! | `meta` | name | little-endian numbers, see [`meta`] | a few rows | the store's |
//! | `journal` | first sequence of the row | a checked row of facts, see `record` | ≤ 16 KiB a row, ~160 B a fact | `history_days`, see `retention` |
//! | `stock` | (warehouse, SKU) | snapshot of a SKU, see `codec::state` | ~150 B | while the SKU is known |
//! | `reservation` | (warehouse, id) | snapshot of a basket | ~150 B | the id window after its end |
//! | `warehouse` | id | snapshot of a warehouse | ~150 B | for ever |
//! | `catalogue` | SKU | sequence, then the entry's JSON | ~200 B | until removed |
//! | `dead_letter` | sequence of its fact | snapshot of its state | ~300 B | the id window after it is settled |
//! | `run_id` | (generation, first hash) | sorted (hash, offset) of remembered ids, see `runs` | 12 B an id, ≤ 16 KiB a row | the id window |
//! | `run_forever` | (generation, first hash) | the same, of sources kept for ever | as above | for ever |
//! | `run_ledger` | (generation, first hash) | sorted (hash of a SKU, offset): where its facts are | 12 B a fact | with the journal |
//! | `run_noted` | (generation, first key) | sorted (warehouse, why, offset): what was ignored | 12 B each | with the journal |
//! | `generation` | number | what was sealed, and when its newest fact was recorded | 40 B | with its runs |
//!
//! All rows are written by the journal's thread, in its own transactions: there is no second writer.

use redb::TableDefinition;

/// Names and numbers about the store itself.
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// The facts.
pub(crate) const JOURNAL: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("journal");
/// Snapshots of SKUs.
pub(crate) const STOCK: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("stock");
/// Snapshots of baskets.
pub(crate) const RESERVATION: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("reservation");
/// Snapshots of warehouses.
pub(crate) const WAREHOUSE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("warehouse");
/// Snapshots of the catalogue.
pub(crate) const CATALOGUE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("catalogue");
/// Snapshots of dead letters.
pub(crate) const DEAD_LETTER: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("dead_letter");
/// Remembered ids of sealed generations.
pub(crate) const RUN_ID: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("run_id");
/// Remembered ids that are never forgotten.
pub(crate) const RUN_FOREVER: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("run_forever");
/// The ledger's index of sealed generations.
pub(crate) const RUN_LEDGER: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("run_ledger");
/// What was ignored, in sealed generations.
pub(crate) const RUN_NOTED: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("run_noted");
/// Which generations are sealed.
pub(crate) const GENERATION: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("generation");

/// The names of the rows of `meta`. Each value is one little-endian `u64` unless said otherwise.
pub(crate) mod meta {
    /// The version of the whole format; see `store::MIGRATIONS`.
    pub(crate) const FORMAT: &str = "format";
    /// Binary logarithm of the facts in one generation; fixed when the store is made.
    pub(crate) const GENERATION_BITS: &str = "generation_bits";
    /// Every fact up to this sequence is in the snapshot rows.
    pub(crate) const SNAPSHOT_FLOOR: &str = "snapshot_floor";
    /// The oldest sequence that the journal still holds.
    pub(crate) const JOURNAL_FLOOR: &str = "journal_floor";
    /// Counts the probes of a store that is recovering: a row whose only use is to be written.
    pub(crate) const PROBE: &str = "probe";
    /// How far a follower has come; see `cursor`.
    pub(crate) fn cursor(name: &str) -> String {
        format!("cursor/{name}")
    }
    /// A random name of this store (16 bytes), made once.
    pub(crate) const STORE_ID: &str = "store_id";
}
