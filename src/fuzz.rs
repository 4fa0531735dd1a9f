//! What fuzzers feed: one function for each decoder and one for whole sequences of operations. A target panics when something does
//! not hold; it says nothing otherwise.
//!
//! The targets exist in builds for tests and for the fuzzer only (`cfg(fuzzing)`): `make fuzz` runs each behind libFuzzer
//! (the package in `fuzz/`), and the test below runs each over its corpus in `fuzz/corpus`, so that whatever a fuzzer has found
//! stays found. A second copy of the calls in the fuzzer's package was rejected: the two would drift apart. See docs/adr/0009.

use crate::{cli, config, domain, http, ingress, storage};

/// A target, and the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("events", ingress::fuzz::events),
    ("messages", ingress::fuzz::messages),
    ("paths", http::fuzz::paths),
    ("mapping", cli::import::fuzz::mapping),
    ("config", config::fuzz::config),
    ("facts", storage::fuzz::facts),
    ("rows", storage::fuzz::rows),
    ("snapshots", storage::fuzz::snapshots),
    ("operations", domain::fuzz::operations),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn corpus() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
    }

    #[test]
    fn every_input_of_every_corpus_is_survived() {
        for (name, target) in TARGETS {
            let inputs = std::fs::read_dir(corpus().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut count = 0;
            for input in inputs {
                let path = input.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                    panic!("{} is not survived", path.display());
                }
                count += 1;
            }
            assert!(count >= 10, "{name} has a corpus of {count}");
        }
        let folders = std::fs::read_dir(corpus()).unwrap().count();
        assert_eq!(folders, TARGETS.len(), "a corpus whose target is gone tests nothing");
    }

    /// Each target must be able to fail: what it is fed reaches the code that it is for.
    #[test]
    fn the_corpora_reach_what_they_are_for() {
        let all = |name: &str| {
            let files = std::fs::read_dir(corpus().join(name)).unwrap();
            files
                .map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .collect::<Vec<_>>()
        };
        assert!(all("facts").iter().any(|input| storage::fuzz::is_a_fact(input)));
        assert!(all("rows").iter().any(|input| storage::fuzz::is_a_row(input)));
        assert!(all("events").iter().any(|input| ingress::fuzz::has_an_event(input)));
        assert!(all("mapping").iter().any(|input| cli::import::fuzz::is_a_mapping(input)));
        assert!(all("config").iter().any(|input| config::fuzz::is_a_configuration(input)));
        assert!(all("operations").iter().any(|input| domain::fuzz::happened(input) > 20));
    }
}
