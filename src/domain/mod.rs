//! What is true about stock, and what follows from it: pure functions over plain data.
//!
//! Everything that decides lives here, and nothing that acts: no clock, no disk, no runtime, no randomness, no
//! serialisation, no float. A decision is a function of a state, a command and a stamped time, so that the daemon, the
//! replay, the simulator and the property tests run the same code and must agree.
//!
//! The alternative, deciding inside the actors, was rejected: what cannot be called without a runtime cannot be tested
//! against a model ten thousand times a second.

pub mod available;
pub mod event;
pub mod fact;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod offer;
pub mod refusal;
pub mod rejected;
pub mod reservation;
pub mod stock;
pub mod trace;
pub mod units;
pub mod warehouse;

/// So many random cases, or as many as `PROPTEST_CASES` asks for, when that is more.
#[cfg(test)]
fn at_least(cases: u32) -> proptest::test_runner::Config {
    let usual = proptest::test_runner::Config::default();
    let cases = usual.cases.max(cases);
    proptest::test_runner::Config { cases, ..usual }
}
