//! The rules of pages: what exists in the code stands on the page where a reader looks for it.
//!
//! Pages that are generated from the code were preferred where that is possible (OpenAPI, `# HELP`, `config.toml`); for the rest a
//! list is kept by hand, since its order and words are what a reader needs, and these rules see that nothing is missing from it.

use crate::source::{Source, whole_words};

const TABLES: &str = "src/storage/tables.rs";
const ROUTES: &str = "src/http/mod.rs";
const ACTORS: &str = "src/actors/mod.rs";

/// The text of the page, and complaints when something that belongs on it exists and the page does not.
fn page<'a>(sources: &'a [Source], path: &str, exists: bool) -> Result<&'a Source, Vec<String>> {
    let missing = || {
        if exists {
            vec![format!("{path} is missing")]
        } else {
            Vec::new()
        }
    };
    sources.iter().find(|source| source.path == path).ok_or_else(missing)
}

/// The text between the next quotes after `from`.
fn quoted(text: &str, from: usize) -> Option<&str> {
    text[from..].split('"').nth(1)
}

/// Every durable table is defined on one page, whose head has a row for it with key, size and lifetime.
pub fn tables(sources: &[Source]) -> Vec<String> {
    let kinds = ["TableDefinition", "MultimapTableDefinition"];
    let defines = |source: &Source| kinds.iter().any(|kind| source.code.contains(&format!("{kind}::new(")));
    let mut breaches = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && source.path != TABLES && defines(source))
    {
        let at = source.code.find("TableDefinition::new(").unwrap_or_default();
        if !source.is_test(at) {
            breaches.push(format!("{}: a table is defined outside {TABLES}", source.place(at)));
        }
    }
    let page = match page(
        sources,
        TABLES,
        sources.iter().any(|s| s.path.starts_with("src/storage/") && defines(s)),
    ) {
        Ok(page) => page,
        Err(missing) => return breaches.into_iter().chain(missing).collect(),
    };
    let rows: Vec<Vec<&str>> = page
        .raw
        .lines()
        .filter_map(|line| line.strip_prefix("//! |"))
        .map(cells)
        .collect();
    let head = rows.first().cloned().unwrap_or_default();
    for word in ["table", "key", "size", "lifetime"] {
        if !head.contains(&word) {
            breaches.push(format!("{TABLES}: the page has no column `{word}`"));
        }
    }
    for (at, _) in page
        .code
        .match_indices("TableDefinition::new(")
        .filter(|(at, _)| !page.is_test(*at))
    {
        let name = quoted(&page.raw, at).unwrap_or_default();
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        if row.is_none_or(|row| row.len() != head.len() || row.iter().any(|cell| cell.is_empty())) {
            breaches.push(format!("{}: table \"{name}\" has no full row on the page", page.place(at)));
        }
    }
    breaches
}

/// The cells of a row of a Markdown table, after its first bar.
fn cells(row: &str) -> Vec<&str> {
    row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect()
}

/// Every route that a handler declares (`#[utoipa::path]` or a plain `.route`) stands on the page of routes.
pub fn routes(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/http/")) {
        for (at, _) in source.code.match_indices("utoipa::path(") {
            let attribute = &source.code[at..];
            let Some(key) = whole_words(attribute, "path")
                .into_iter()
                .find(|key| attribute[key + 4..].trim_start().starts_with('='))
            else {
                continue;
            };
            found.extend(quoted(&source.raw, at + key).map(|path| (source.place(at), path.to_owned())));
        }
        for (at, _) in source.code.match_indices(".route(\"").filter(|(at, _)| !source.is_test(*at)) {
            found.extend(quoted(&source.raw, at).map(|path| (source.place(at), path.to_owned())));
        }
    }
    let page = match page(sources, ROUTES, !found.is_empty()) {
        Ok(page) => page,
        Err(missing) => return missing,
    };
    let known = |path: &str| {
        page.raw
            .match_indices(path)
            .any(|(at, _)| !page.raw[at + path.len()..].starts_with(['/', '{', '-', '_']))
    };
    let unknown = found.into_iter().filter(|(_, path)| !known(path));
    unknown
        .map(|(place, path)| format!("{place}: route {path} is not on {ROUTES}"))
        .collect()
}

/// Every actor is in the tree at the head of the actors' page, by the name of its module.
pub fn actors(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/actors/")) {
        let heads = source.code.match_indices("Actor for ").map(|(at, _)| at);
        if let Some(at) = heads
            .filter(|at| !source.is_test(*at))
            .find(|at| source.code[..*at].trim_end().ends_with("impl"))
        {
            let inside = source
                .path
                .trim_start_matches("src/actors/")
                .trim_end_matches(".rs")
                .trim_end_matches("/mod");
            found.push((source.place(at), inside.rsplit('/').next().unwrap_or(inside).to_owned()));
        }
    }
    let page = match page(sources, ACTORS, !found.is_empty()) {
        Ok(page) => page,
        Err(missing) => return missing,
    };
    let tree: String = page
        .raw
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect::<Vec<_>>()
        .join("\n")
        .to_lowercase();
    let unknown = found
        .into_iter()
        .filter(|(_, name)| whole_words(&tree, name).is_empty() && whole_words(&tree, &format!("{name}s")).is_empty());
    unknown
        .map(|(place, name)| format!("{place}: actor `{name}` is not in the tree of {ACTORS}"))
        .collect()
}

/// Every metric that is recorded is in the table of metrics.
pub fn metrics(sources: &[Source], table: &[&str]) -> Vec<String> {
    let mut recorded = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        for kind in ["counter", "gauge", "histogram"] {
            for at in source
                .words(kind)
                .into_iter()
                .filter(|at| source.code[at + kind.len()..].starts_with("!(\""))
            {
                recorded.extend(quoted(&source.raw, at).map(|name| (source.place(at), name.to_owned())));
            }
        }
    }
    let unknown = recorded.iter().filter(|(_, name)| !table.contains(&name.as_str()));
    unknown
        .map(|(place, name)| format!("{place}: metric {name} is not in METRICS"))
        .collect()
}

/// Every key of the table stands in `config.toml`; one of a list that the defaults do not have, as a comment.
pub fn config_keys(page: &str, keys: &[&str]) -> Vec<String> {
    let said = |key: &str| {
        let name = key.rsplit('.').next().unwrap_or(key);
        let mark = if key.starts_with("kafka.") { "# " } else { "" };
        page.lines().any(|line| {
            let line = line.strip_prefix(mark).unwrap_or(line);
            line.split('=').next().is_some_and(|key| key.trim() == name)
        })
    };
    let missing = keys.iter().filter(|key| !said(key));
    missing.map(|key| format!("config.toml does not say {key}")).collect()
}

/// Whether the node is put together here; before that, keys and metrics wait for their users.
fn assembled(sources: &[Source]) -> bool {
    sources
        .iter()
        .any(|source| source.path == "src/app.rs" || source.path == "src/app/mod.rs")
}

/// Every key of the table is read by somebody: one that is not is a promise that nothing keeps.
pub fn unread_keys(sources: &[Source], keys: &[&str]) -> Vec<String> {
    if !assembled(sources) {
        return Vec::new();
    }
    let readers: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !source.path.starts_with("src/config/"))
        .collect();
    let read = |name: &str| {
        let reads = |source: &&Source| source.words(name).into_iter().any(|at| !source.is_test(at));
        readers.iter().any(reads)
    };
    let unread = keys.iter().filter(|key| !read(key.rsplit('.').next().unwrap_or(key)));
    unread.map(|key| format!("nothing reads the key {key}")).collect()
}

/// Every metric of the table is recorded by somebody.
pub fn unrecorded_metrics(sources: &[Source], table: &[&str]) -> Vec<String> {
    if !assembled(sources) {
        return Vec::new();
    }
    let named = |source: &Source, name: &str| source.uncommented.contains(&format!("\"{name}\""));
    let recorded = |name: &str| {
        let elsewhere = sources
            .iter()
            .any(|s| s.path.starts_with("src/") && s.path != "src/telemetry.rs" && named(s, name));
        elsewhere
            || sources
                .iter()
                .any(|s| s.path == "src/telemetry.rs" && s.uncommented.contains(&format!("!(\"{name}\"")))
    };
    table
        .iter()
        .filter(|name| !recorded(name))
        .map(|name| format!("nothing records the metric {name}"))
        .collect()
}
