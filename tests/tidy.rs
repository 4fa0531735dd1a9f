//! Taste as a test: layers, sizes, left-over markers, and everything that has a page being on it.
//!
//! Each rule is a function from a source text to its breaches, and each is shown to fail on a small bad sample, since a rule that
//! cannot fail holds nothing. Reading the text was preferred to a compiler plug-in: it needs no nightly, runs in a blink, and its
//! few blind spots (a macro that hides a path) are looked at in review.

#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, tree};

/// Runs a rule over every file and fails with all breaches at once.
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = tree();
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    report(sources.iter().flat_map(rule).collect());
}

fn report(breaches: Vec<String>) {
    assert!(
        breaches.is_empty(),
        "{} breaches:\n  {}",
        breaches.len(),
        breaches.join("\n  ")
    );
}

#[test]
fn arrows_point_one_way() {
    hold(rules::layers);
}

#[test]
fn each_library_stays_in_its_room() {
    hold(rules::rooms);
}

#[test]
fn the_domain_is_pure() {
    hold(rules::purity);
}

#[test]
fn files_stay_below_500_lines() {
    hold(rules::file_length);
}

#[test]
fn functions_stay_below_70_lines() {
    hold(rules::function_length);
}

#[test]
fn every_module_opens_with_its_reason() {
    hold(rules::opening);
}

#[test]
fn nothing_is_left_over() {
    hold(rules::left_overs);
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    hold(rules::bare_allow);
}

#[test]
fn no_test_is_ignored() {
    hold(rules::ignored_tests);
}

#[test]
fn nothing_unwraps_outside_tests() {
    hold(rules::unwraps);
}

#[test]
fn no_file_is_dead() {
    report(rules::dead_files(&tree()));
}

#[test]
fn no_test_file_is_left_out() {
    let manifest = std::fs::read_to_string(source::root().join("Cargo.toml")).expect("the manifest");
    report(rules::forgotten_tests(&tree(), &manifest));
}

#[test]
fn every_table_is_on_its_page_with_key_size_and_lifetime() {
    report(pages::tables(&tree()));
}

#[test]
fn every_route_is_on_its_page() {
    report(pages::routes(&tree()));
}

#[test]
fn every_actor_is_in_the_tree() {
    report(pages::actors(&tree()));
}

#[test]
fn every_metric_is_on_its_page_and_recorded() {
    let names: Vec<&str> = shelfd::telemetry::METRICS.iter().map(|metric| metric.name).collect();
    let tree = tree();
    report([pages::metrics(&tree, &names), pages::unrecorded_metrics(&tree, &names)].concat());
}

#[test]
fn every_config_key_is_on_its_page_and_read() {
    let page = std::fs::read_to_string(source::root().join("config.toml")).expect("config.toml stands at the top");
    let keys: Vec<&str> = shelfd::config::KEYS.iter().map(|key| key.path).collect();
    report([pages::config_keys(&page, &keys), pages::unread_keys(&tree(), &keys)].concat());
}
