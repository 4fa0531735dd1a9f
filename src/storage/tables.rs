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
//! | `run` | (kind, generation, first hash, first offset) | sorted (hash, offset), see `runs` | 12 B each, ≤ 16 KiB a row | by kind, below |
//! | – kind 0 | | remembered ids | one an event | the id window |
//! | – kind 1 | | ids of sources kept for ever | one an event | for ever |
//! | – kind 2 | | the ledger: where a SKU's facts are | one a fact | with the journal |
//! | – kind 3 | | what was ignored, by warehouse and by why | two a fact | with the journal |
//! | `generation` | number | that its runs are whole, how many ids they have, and when its newest fact was recorded | 32 B | with its runs |
//! | `answered` | first sequence of the row | what was answered to ids kept for ever, see `answered` | ~14 B an id, ≤ 1,024 a row | for ever; written when the journal lets their facts go |
//! | `position` | (topic, partition) | next offset (i64), fingerprint of the last message taken (u64) | 40 B | until the topic is taken from no more |
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
/// Sorted runs of sealed generations, of all kinds.
pub(crate) const RUN: TableDefinition<'static, (u8, u64, u64, u32), &[u8]> = TableDefinition::new("run");
/// Which generations are sealed.
pub(crate) const GENERATION: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("generation");
/// What was answered to ids that outlive their facts. A store of before it was known has it from its first row on.
pub(crate) const ANSWERED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("answered");
/// How far each partition of a broker has been taken. A store of before it was known has it from its first position on.
pub(crate) const POSITION: TableDefinition<'static, (&str, i32), &[u8]> = TableDefinition::new("position");

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
    /// Up to which of its own facts a warehouse's SKUs were told; see `told`.
    pub(crate) fn told(warehouse: &str) -> String {
        format!("told/{warehouse}")
    }
    /// A random name of this store (16 bytes), made once.
    pub(crate) const STORE_ID: &str = "store_id";
}
