//! The rules of one file each: layers, purity, sizes, openings, and what must not be left over.
//!
//! The table of layers is the one of ARCHITECTURE.md. Separate crates would hold the layers by the compiler, and were rejected: one
//! crate builds quicker and reads easier, and this test is as strict.

use std::collections::BTreeSet;

use crate::source::{Source, whole_words};

/// Who may know whom: a module at the top of `src`, and the modules that it may name. Leaves know nobody. Values are handed over
/// rather than the configuration, so only the top may know `config`.
const LAYERS: &[(&str, &str)] = &[
    ("domain", ""),
    ("config", ""),
    ("telemetry", ""),
    ("systemd", ""),
    ("plain", ""),
    ("planted", ""),
    ("host", ""),
    ("doom", "host"),
    ("storage", "domain planted doom host"),
    ("actors", "domain storage telemetry planted doom host"),
    ("metrics", "domain storage actors telemetry systemd"),
    ("ingress", "domain storage actors telemetry"),
    ("http", "domain storage actors ingress telemetry plain"),
    ("kafka", "domain storage actors ingress telemetry planted doom plain"),
    (
        "app",
        "domain storage actors metrics ingress http kafka config telemetry systemd planted host",
    ),
    (
        "cli",
        "domain storage actors metrics ingress http kafka app config telemetry systemd",
    ),
    (
        "main",
        "domain storage actors metrics ingress http kafka app cli config telemetry systemd",
    ),
    (
        "simulator",
        "domain storage actors ingress kafka app config host planted doom",
    ),
    ("fuzz", "domain storage ingress http config cli"),
    ("lib", ""),
];

/// A library, and the only folder that may name it.
const ROOMS: [(&str, &str); 4] = [
    ("redb", "src/storage"),
    ("axum", "src/http"),
    ("ractor", "src/actors"),
    ("rdkafka", "src/kafka"),
];

/// What a pure function has no use for. Paths end with `::`, so that a function called `time` is nobody's business.
const IMPURE: [&str; 25] = [
    "f32",
    "f64",
    "SystemTime",
    "Instant",
    "rand",
    "serde",
    "serde_json",
    "tokio",
    "redb",
    "ractor",
    "axum",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "thread_local",
    "std::fs",
    "std::io",
    "std::env",
    "std::net",
    "std::thread",
    "std::process",
    "Timestamp::now",
    "Zoned::now",
    "tracing",
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// The module at the top of `src` that a file belongs to; `None` outside `src`.
fn owner(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    inside.split('/').next().map(|first| first.trim_end_matches(".rs"))
}

/// A file names only modules to its left.
pub fn layers(source: &Source) -> Vec<String> {
    let Some(owner) = owner(&source.path) else { return Vec::new() };
    let Some((_, known)) = LAYERS.iter().find(|(name, _)| *name == owner) else {
        return vec![format!("{}: `{owner}` is not in the table of layers", source.path)];
    };
    let mut breaches = Vec::new();
    for root in ["crate", "shelfd"] {
        for at in source.words(root) {
            let Some(rest) = source.code[at + root.len()..].strip_prefix("::") else {
                continue;
            };
            let macros = ["__private"];
            for name in named(rest)
                .into_iter()
                .filter(|name| name != owner && !macros.contains(&name.as_str()))
            {
                if name.chars().next().is_some_and(char::is_lowercase) && !known.split(' ').any(|known| known == name) {
                    breaches.push(format!(
                        "{}: `{owner}` names `{name}`, which is not to its left",
                        source.place(at)
                    ));
                }
            }
        }
    }
    breaches.extend(climbs(source));
    breaches
}

/// A chain of `super::` that reaches the root would name a module past the table.
fn climbs(source: &Source) -> Vec<String> {
    let folder = source.module_folder();
    let depth = folder.split('/').count() - 1;
    let is_test = |at: &usize| source.is_test(*at);
    let mut breaches = Vec::new();
    for at in source.words("super").into_iter().filter(|at| !is_test(at)) {
        let mut rest = &source.code[at..];
        let mut steps = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            rest = next;
            steps += 1;
        }
        if depth > 0 && steps >= depth {
            breaches.push(format!("{}: climbs to the root; write crate::", source.place(at)));
        }
    }
    breaches
}

/// The first names after `crate::`: one, or each of a group.
fn named(rest: &str) -> Vec<String> {
    let word = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().expect("never empty").push(c),
        }
    }
    parts.iter().map(|part| word(part)).filter(|name| !name.is_empty()).collect()
}

/// redb only in the storage, axum only in the door, and so on.
pub fn rooms(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    for (library, room) in ROOMS {
        if !source.path.starts_with("src/") || source.path.starts_with(&format!("{room}/")) {
            continue;
        }
        for at in source.words(library) {
            let used = source.code[..at].trim_end().ends_with("use") || source.code[at + library.len()..].starts_with("::");
            if used {
                breaches.push(format!("{}: `{library}` belongs to {room}", source.place(at)));
            }
        }
    }
    breaches
}

/// The domain has no clock, no disk, no runtime, no randomness, no serialisation, no locks, no float. Its tests may.
pub fn purity(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/domain/") {
        return Vec::new();
    }
    let found = IMPURE
        .iter()
        .flat_map(|word| source.words(word).into_iter().map(move |at| (word, at)));
    let found = found.filter(|(_, at)| !source.is_test(*at));
    found
        .map(|(word, at)| format!("{}: `{word}` in the pure domain", source.place(at)))
        .collect()
}

/// Files stay readable.
pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.raw.lines().count();
    if lines < MAX_FILE_LINES {
        Vec::new()
    } else {
        vec![format!("{}: {lines} lines; split it by idea", source.path)]
    }
}

/// Functions fit a screen. Lines between the braces count.
pub fn function_length(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    for (at, name, open, close) in source.functions() {
        let lines = source.raw[open..close].matches('\n').count().saturating_sub(1);
        if lines >= MAX_FUNCTION_LINES {
            breaches.push(format!("{}: `{name}` has {lines} lines", source.place(at)));
        }
    }
    breaches
}

/// A file begins with why it exists.
pub fn opening(source: &Source) -> Vec<String> {
    let first = source.raw.lines().next().unwrap_or_default();
    if first.starts_with("//! ") && first.len() > 20 {
        Vec::new()
    } else {
        vec![format!("{}: does not open with its reason (//!)", source.path)]
    }
}

/// No markers of unfinished work, no stubs, no debugging.
pub fn left_overs(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    for marker in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
        breaches.extend(
            whole_words(&source.raw, marker)
                .into_iter()
                .map(|at| format!("{}: {marker} is left over", source.place(at))),
        );
    }
    for stub in ["todo", "unimplemented", "dbg"] {
        let calls = source
            .words(stub)
            .into_iter()
            .filter(|at| source.code[at + stub.len()..].starts_with('!'));
        breaches.extend(calls.map(|at| format!("{}: {stub}! is left over", source.place(at))));
    }
    breaches
}

/// A lint is expected with its reason, so that it is told when the reason is gone.
pub fn bare_allow(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    for (at, _) in source.code.match_indices("[allow(") {
        breaches.push(format!(
            "{}: write #[expect(…, reason = \"…\")] in place of allow",
            source.place(at)
        ));
    }
    for (at, _) in source.code.match_indices("[expect(") {
        let inside = source.code[at..].split(']').next().unwrap_or_default();
        if whole_words(inside, "reason").is_empty() {
            breaches.push(format!("{}: #[expect] without a reason", source.place(at)));
        }
    }
    breaches
}

/// A test that is not run promises nothing.
pub fn ignored_tests(source: &Source) -> Vec<String> {
    let found = source
        .code
        .match_indices("#[ignore")
        .map(|(at, _)| format!("{}: a test is ignored", source.place(at)));
    found.collect()
}

/// Outside tests an invariant is named: `expect("why it holds")`.
pub fn unwraps(source: &Source) -> Vec<String> {
    let found = source.code.match_indices(".unwrap()").filter(|(at, _)| !source.is_test(*at));
    found
        .map(|(at, _)| format!("{}: unwrap() outside tests", source.place(at)))
        .collect()
}

/// Every file of tests is a program of its own, named in the manifest, or a module of `tests/promises.rs`: what is neither is not run.
pub fn forgotten_tests(sources: &[Source], manifest: &str) -> Vec<String> {
    let promises = sources.iter().find(|source| source.path == "tests/promises.rs");
    let declared = promises.map_or("", |source| source.code.as_str());
    let forgotten = sources.iter().filter(|source| {
        let name = source.path.strip_prefix("tests/").and_then(|name| name.strip_suffix(".rs"));
        name.is_some_and(|name| {
            let named = manifest.contains(&format!("path = \"tests/{name}.rs\""));
            !name.contains('/') && !named && !declared.contains(&format!("mod {name};"))
        })
    });
    forgotten
        .map(|source| format!("{}: tests/promises.rs does not declare it, so it is not run", source.path))
        .collect()
}

/// Every file of `src` is declared as a module by its parent; a forgotten one is never compiled.
pub fn dead_files(sources: &[Source]) -> Vec<String> {
    let mut declared = BTreeSet::from(["src/lib.rs".to_owned(), "src/main.rs".to_owned()]);
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let folder = source.module_folder();
        let beside = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for at in source.words("mod") {
            let name: String = source.code[at + 3..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            declared.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
        }
        for (at, _) in source.uncommented.match_indices("#[path = \"") {
            let file = source.uncommented[at + "#[path = \"".len()..]
                .split('"')
                .next()
                .unwrap_or_default();
            declared.insert(format!("{beside}/{file}"));
        }
    }
    let dead = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !declared.contains(&source.path));
    dead.map(|source| format!("{}: no module declares it", source.path)).collect()
}
