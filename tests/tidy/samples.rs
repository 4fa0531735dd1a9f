//! Each rule on a small bad sample, and on a good one beside it: a rule that cannot fail holds nothing.
//!
//! The samples are texts, not files: a bad file in the tree would have to be kept from the compiler and from the rules themselves.

use crate::source::Source;
use crate::{pages, rules};

fn breaches(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    rule(&Source::new(path, text))
}

#[test]
fn an_arrow_that_turns_back_is_found() {
    let found = |path, text| breaches(rules::layers, path, text);
    assert_eq!(
        found("src/storage/x.rs", "use crate::actors::sku;\n"),
        ["src/storage/x.rs:1: `storage` names `actors`, which is not to its left"]
    );
    assert_eq!(found("src/domain/x.rs", "fn f() { crate::storage::g() }\n").len(), 1);
    assert_eq!(
        found("src/actors/x.rs", "use crate::{domain::{a, b}, http, storage::x};\n"),
        ["src/actors/x.rs:1: `actors` names `http`, which is not to its left"]
    );
    assert_eq!(found("src/config/x.rs", "use crate::domain::Sku;\n").len(), 1, "a leaf");
    assert_eq!(
        found("src/http/x.rs", "use crate::config::Http;\n").len(),
        1,
        "values, not the configuration"
    );
    assert_eq!(
        found("src/gossip.rs", "\n"),
        ["src/gossip.rs: `gossip` is not in the table of layers"]
    );
    assert!(
        found(
            "src/http/x.rs",
            "// crate::cli\nuse crate::{domain, actors::Handle};\nuse crate::http::y;\n"
        )
        .is_empty()
    );
    assert!(found("src/main.rs", "use shelfd::cli;\n").is_empty());
    assert_eq!(
        found("src/storage/x.rs", "use super::super::actors;\n"),
        ["src/storage/x.rs:1: climbs to the root; write crate::"]
    );
    assert_eq!(found("src/storage/mod.rs", "use super::actors;\n").len(), 1);
    assert!(
        found(
            "src/storage/x.rs",
            "use super::tables;\n#[cfg(test)]\nmod tests {\n use super::super::a;\n}\n"
        )
        .is_empty()
    );
}

#[test]
fn a_library_outside_its_room_is_found() {
    let found = |path, text| breaches(rules::rooms, path, text);
    assert_eq!(
        found("src/actors/x.rs", "use redb::Database;\n"),
        ["src/actors/x.rs:1: `redb` belongs to src/storage"]
    );
    assert_eq!(found("src/app.rs", "fn f() { axum::serve() }\n").len(), 1);
    assert!(found("src/storage/x.rs", "use redb::Database; // axum::x\n").is_empty());
    assert!(found("src/http/x.rs", "let redb = \"redb::\";\n").is_empty());
}

#[test]
fn an_impure_domain_is_found() {
    let found = |path, text| breaches(rules::purity, path, text);
    assert_eq!(
        found("src/domain/x.rs", "fn f(x: f64) {}\n"),
        ["src/domain/x.rs:1: `f64` in the pure domain"]
    );
    assert_eq!(found("src/domain/x.rs", "use std::time::{Instant, SystemTime};\n").len(), 2);
    assert_eq!(found("src/domain/x.rs", "#[derive(serde::Serialize)]\nstruct X;\n").len(), 1);
    assert!(
        found(
            "src/domain/x.rs",
            "// f64\nfn f(operand: i64) {}\n#[cfg(test)]\nmod tests {\n use rand::Rng;\n}\n"
        )
        .is_empty()
    );
    assert!(found("src/cli/x.rs", "fn f(x: f64) {}\n").is_empty());
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    assert_eq!(breaches(rules::file_length, "src/x.rs", &"\n".repeat(500)).len(), 1);
    assert!(breaches(rules::file_length, "src/x.rs", &"\n".repeat(499)).is_empty());
    let long = |lines: usize| {
        format!(
            "trait T {{ fn g(&self, x: [u8; 2]);\n}}\nfn f<'a>(x: &'a str) -> char {{\n{}'{{'\n}}\n",
            "// x\n".repeat(lines - 1)
        )
    };
    assert_eq!(
        breaches(rules::function_length, "src/x.rs", &long(70)),
        ["src/x.rs:3: `f` has 70 lines"]
    );
    assert!(breaches(rules::function_length, "src/x.rs", &long(69)).is_empty());
}

#[test]
fn a_file_without_a_reason_is_found() {
    assert_eq!(breaches(rules::opening, "src/x.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(
        breaches(rules::opening, "src/x.rs", "//! X.\n").len(),
        1,
        "a reason is longer"
    );
    assert!(breaches(rules::opening, "src/x.rs", "//! Why this exists, in a sentence.\n").is_empty());
}

#[test]
fn left_overs_are_found() {
    let found = |text: &str| breaches(rules::left_overs, "src/x.rs", text);
    assert_eq!(found(concat!("// TO", "DO later\n")).len(), 1);
    assert_eq!(found(concat!("/* FIX", "ME */ let x = \"XX", "X\";\n")).len(), 2);
    assert_eq!(
        found(concat!(
            "fn f() { todo",
            "!() }\nfn g() { db",
            "g!(1); unimplemented",
            "!() }\n"
        ))
        .len(),
        3
    );
    assert!(found("// a method\nfn todo() {}\n").is_empty());
}

#[test]
fn lints_that_are_silenced_without_a_reason_are_found() {
    let found = |text: &str| breaches(rules::bare_allow, "src/x.rs", text);
    assert_eq!(
        found(concat!("#[al", "low(dead_code)]\nfn f() {}\n#![al", "low(unused)]\n")).len(),
        2
    );
    assert_eq!(found(concat!("#[exp", "ect(dead_code)]\nfn f() {}\n")).len(), 1);
    assert!(found("#[expect(dead_code, reason = \"each file uses a part\")]\nmod x;\n").is_empty());
}

#[test]
fn ignored_tests_and_unwraps_are_found() {
    assert_eq!(
        breaches(rules::ignored_tests, "src/x.rs", concat!("#[ig", "nore]\nfn f() {}\n")).len(),
        1
    );
    let text = "fn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests {\n fn g() { y.unwrap(); }\n}\nfn h() { z.unwrap(); }\n";
    assert_eq!(
        breaches(rules::unwraps, "src/x.rs", text),
        ["src/x.rs:1: unwrap() outside tests", "src/x.rs:6: unwrap() outside tests"]
    );
    assert!(breaches(rules::unwraps, "tests/x.rs", text).is_empty());
    assert!(breaches(rules::unwraps, "src/x.rs", "fn f() { x.unwrap_or(1); } // .unwrap()\n").is_empty());
}

#[test]
fn a_forgotten_file_is_found() {
    let tree = [
        Source::new("src/lib.rs", "pub mod a;\n"),
        Source::new("src/a/mod.rs", "mod b;\n"),
        Source::new("src/a/b.rs", "#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;\n"),
        Source::new("src/a/b_tests.rs", ""),
        Source::new("src/a/old.rs", ""),
    ];
    assert_eq!(rules::dead_files(&tree), ["src/a/old.rs: no module declares it"]);
}

#[test]
fn a_table_off_its_page_or_without_a_lifetime_is_found() {
    let head = "//! | table | key | size | lifetime |\n//! |---|---|---|---|\n//! | `a` | id | 8 B | the store's |\n";
    let good = format!("{head}const A: TableDefinition<u64, u64> = TableDefinition::new(\"a\");\n");
    let other = "const B: TableDefinition<u64, u64> =\n    TableDefinition::new(\"b\");\n";
    let found = |page: &str| pages::tables(&[Source::new("src/storage/tables.rs", page)]);
    assert!(found(&good).is_empty());
    assert_eq!(
        found(&format!("{good}{other}")),
        ["src/storage/tables.rs:6: table \"b\" has no full row on the page"]
    );
    assert_eq!(found(&good.replace("8 B", "")).len(), 1);
    assert_eq!(found(&good.replace("lifetime", "value")).len(), 1);
    assert_eq!(
        pages::tables(&[
            Source::new("src/storage/tables.rs", &good),
            Source::new("src/storage/x.rs", other)
        ])
        .len(),
        1
    );
    assert_eq!(
        pages::tables(&[Source::new("src/storage/x.rs", other)]).len(),
        2,
        "the page is missing, too"
    );
}

#[test]
fn a_route_an_actor_and_a_metric_off_their_page_are_found() {
    let handler = Source::new(
        "src/http/sku.rs",
        "#[utoipa::path(get, path = \"/v1/skus/{s}\", tag = \"x\")]\nfn f() {}\n",
    );
    let tree = [Source::new("src/http/mod.rs", "//! GET /v1/skus/{s}/ledger\n"), handler];
    assert_eq!(
        pages::routes(&tree),
        ["src/http/sku.rs:1: route /v1/skus/{s} is not on src/http/mod.rs"]
    );
    let tree = [
        Source::new("src/http/mod.rs", "//! GET /v1/skus\n"),
        Source::new("src/http/x.rs", "r.route(\"/livez\", get(f))\n"),
    ];
    assert_eq!(pages::routes(&tree).len(), 1);

    let actor = "impl Actor for Sku {}\n";
    let tree = [
        Source::new("src/actors/mod.rs", "//! root\n//! ├ journal\nmod sku;\n"),
        Source::new("src/actors/sku.rs", actor),
    ];
    assert_eq!(
        pages::actors(&tree),
        ["src/actors/sku.rs:1: actor `sku` is not in the tree of src/actors/mod.rs"]
    );
    let tree = [
        Source::new("src/actors/mod.rs", "//! └ warehouse -> SKUs (sku)\n"),
        Source::new("src/actors/sku.rs", actor),
    ];
    assert!(pages::actors(&tree).is_empty());

    let recorder = [Source::new(
        "src/http/x.rs",
        "metrics::counter!(\"shelfd_a_total\").increment(1);\n",
    )];
    assert!(pages::metrics(&recorder, &["shelfd_a_total"]).is_empty());
    assert_eq!(
        pages::metrics(&recorder, &["shelfd_b_total"]),
        ["src/http/x.rs:1: metric shelfd_a_total is not in METRICS"]
    );
}

#[test]
fn a_key_off_its_page_is_found() {
    assert_eq!(
        pages::config_keys("listen = 1\n# max_rows\n", &["http.listen", "http.max_rows"]),
        ["config.toml does not say http.max_rows"]
    );
}

#[test]
fn a_key_that_nothing_reads_and_a_metric_that_nothing_records_are_found() {
    let app = Source::new(
        "src/app.rs",
        "fn f(c: Config) { g(c.http.max_rows); counter!(\"a\") } // listen \"b\"\n",
    );
    let tree = [app, Source::new("src/config/mod.rs", "struct Http { listen: X }\n")];
    assert_eq!(
        pages::unread_keys(&tree, &["http.max_rows", "http.listen"]),
        ["nothing reads the key http.listen"]
    );
    assert_eq!(
        pages::unrecorded_metrics(&tree, &["a", "b"]),
        ["nothing records the metric b"]
    );
    assert!(
        pages::unread_keys(&tree[1..], &["http.listen"]).is_empty(),
        "the node is not put together yet"
    );
}

#[test]
fn a_test_file_that_is_not_run_is_found() {
    let sources = [
        Source::new("tests/promises.rs", "mod restart;\n"),
        Source::new("tests/restart.rs", ""),
        Source::new("tests/tidy.rs", ""),
        Source::new("tests/tidy/rules.rs", ""),
        Source::new("tests/forgotten.rs", ""),
    ];
    let manifest = "[[test]]\npath = \"tests/promises.rs\"\n[[test]]\npath = \"tests/tidy.rs\"\n";
    let found = rules::forgotten_tests(&sources, manifest);
    assert_eq!(
        found,
        ["tests/forgotten.rs: tests/promises.rs does not declare it, so it is not run"]
    );
}
