//! The map of the house: see ARCHITECTURE.md.

pub mod actors;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
mod doom;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod host;
pub mod http;
pub mod ingress;
pub mod kafka;
pub mod metrics;
mod plain;
mod planted;
#[cfg(test)]
mod simulator;
pub mod storage;
pub mod systemd;
pub mod telemetry;
