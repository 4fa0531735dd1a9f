//! The only door to redb: tables, codec, journal, view, snapshots, remembered ids, the ledger's runs.
//!
//! One thread writes ([`journal`]), everybody reads ([`view`] from memory, [`store`] from disk). What is durable is written
//! by hand ([`codec`]), so that its bytes change only on purpose. See [`tables`] for every table on one page.

pub mod ahead;
pub mod answered;
pub mod append;
pub mod audit;
pub(crate) mod backend;
pub mod codec;
mod cursor;
pub mod database;
#[cfg(test)]
mod faults;
mod figures;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod journal;
pub mod keep;
pub mod known;
pub mod ledger;
pub mod letter;
pub mod opening;
pub mod payload;
mod position;
pub mod recent;
mod record;
pub mod remembered;
pub mod repair;
pub mod reservations;
mod retention;
mod rows;
mod runs;
mod salvage;
mod seal;
mod snapshot;
pub mod store;
mod tables;
#[cfg(test)]
pub(crate) mod testing;
mod told;
pub mod verify;
pub mod view;
