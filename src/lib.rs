//! The map of the house: see ARCHITECTURE.md.

pub mod cli;
pub mod domain;
pub mod storage;
