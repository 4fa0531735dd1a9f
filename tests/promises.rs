//! What the product promises, kept by the real binary: one module per promise, in the file of its name.
//!
//! All of them are one program. A program for each file was rejected: each would compile the harness and link the library anew,
//! which took a minute of a cold run, and while the tests of one file wait for a node, a time limit or a disk, nobody else
//! would run. `cargo test --test promises restart::` runs one file; tests/tidy.rs sees that no file is left out.

mod harness;

mod audit;
mod backpressure;
mod bad_input;
mod bad_requests;
mod baskets;
mod bench;
mod changes;
mod cli;
mod cli_answers;
mod clocks;
mod contract;
mod crash;
mod dead_letters;
mod demo;
mod full_disk;
mod history;
mod http2;
mod import;
mod json_suite;
mod kafka;
mod linearizable;
mod model;
mod museum;
mod offer;
mod online_retail;
mod plug;
mod poison;
mod readme;
mod refused_rows;
mod restart;
mod service_unit;
mod settings;
mod setup_script;
mod start;
mod transfers;
