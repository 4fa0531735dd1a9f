//! The only door to redb: tables, codec, journal, view, snapshots, remembered ids, the ledger's runs.

pub mod append;
