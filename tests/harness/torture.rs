//! How long the long tests run: a little in `make test`, and as long as it takes in `make torture`.

use std::time::Instant;

/// So many cases in an ordinary run, and so many where `SHELFD_TORTURE` is set, which `make torture` does. `SHELFD_TORTURE_CASES`
/// asks for another number, to try one of them out.
pub fn cases(usual: u64, torture: u64) -> u64 {
    let asked = std::env::var("SHELFD_TORTURE_CASES").ok();
    match asked.and_then(|cases| cases.parse().ok()) {
        Some(cases) => cases,
        None if tortured() => torture,
        None => usual,
    }
}

/// Whether this is a long run.
pub fn tortured() -> bool {
    std::env::var_os("SHELFD_TORTURE").is_some()
}

/// A line of progress, in a long run only.
pub fn progress(name: &str, cases: u64, begun: Instant) {
    if tortured() {
        eprintln!("{name}: {cases} cases in {} s", begun.elapsed().as_secs());
    }
}

/// The line that `make torture` gathers into its table.
pub fn report(name: &str, cases: u64, found: u64) {
    println!("torture: {name}: {cases} cases, {found} found");
}

/// What the random choices of a run begin with: `SHELFD_TEST_SEED`, or always the same.
pub fn seed() -> u64 {
    let asked = std::env::var("SHELFD_TEST_SEED").ok();
    asked.and_then(|seed| seed.parse().ok()).unwrap_or(0x5E1F_D001)
}
