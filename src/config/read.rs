//! Gathers values from the defaults, a file, the environment and flags, each remembered with the place it came from.
//!
//! Values are kept flat, by their path, so that laying one layer over another is an insert, and any later complaint can point at the
//! line, the variable or the flag. Deserialising the file straight into the structs was rejected: it stops at the first mistake,
//! and knows no places for mistakes between two keys.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::keys::{ENV_PREFIX, KEYS, Key, Kind};
use super::path::{KeyPath, Step, pattern};
use super::problem::{Origin, Problem, Source, did_you_mean};

/// All values by their place, and what was wrong on the way.
#[derive(Default)]
pub(super) struct Values {
    pub(super) leaves: BTreeMap<KeyPath, (Value, Origin)>,
    /// Elements of lists and of named tables: they exist even when nothing is said in them.
    elements: BTreeMap<KeyPath, Origin>,
    pub(super) problems: Vec<Problem>,
}

impl Values {
    /// Reads a TOML text: of a file, or (without a source) of the embedded defaults.
    pub(super) fn read_toml(text: &str, source: Option<&Source>) -> Values {
        let mut values = Values::default();
        let reader = Reader { source };
        match DeTable::parse(text) {
            Ok(table) => reader.table(&mut values, &KeyPath::default(), table.get_ref()),
            Err(error) => {
                let origin = reader.origin(error.span().unwrap_or(0..0));
                values.problems.push(Problem::new(
                    &origin,
                    format!("this is not TOML: {}", error.message()),
                    "see https://toml.io for the format",
                ));
            }
        }
        values
    }

    /// Lays the overriding variables of the environment over the values.
    pub(super) fn lay_env(&mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in vars {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with(ENV_PREFIX) {
                continue;
            }
            let origin = Origin::Env(name.clone());
            let Some(key) = KEYS.iter().find(|key| key.env().as_deref() == Some(&name)) else {
                self.problems.push(unknown_variable(&origin, &name));
                continue;
            };
            match value.into_string() {
                Ok(text) => self.lay_text(key, &text, origin),
                Err(_) => self.problems.push(Problem::new(&origin, "its value is not UTF-8", "")),
            }
        }
    }

    /// Lays one value that is given as text over the values.
    pub(super) fn lay_text(&mut self, key: &'static Key, text: &str, origin: Origin) {
        let value = match key.kind {
            Kind::Integer { .. } => text.trim().replace('_', "").parse().ok().map(Value::Integer),
            Kind::Boolean => text.trim().parse().ok().map(Value::Boolean),
            Kind::Text | Kind::Word(_) => Some(Value::String(text.to_owned())),
        };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        self.judge_leaf(key, &KeyPath::dotted(key.path), value, origin);
    }

    /// Fills in the default of every key that nobody has set, and complains about required ones.
    pub(super) fn fill_defaults(&mut self) {
        self.elements.entry(KeyPath::default()).or_insert(Origin::Default);
        let elements: Vec<_> = self
            .elements
            .iter()
            .map(|(path, origin)| (path.clone(), origin.clone()))
            .collect();
        for (element, origin) in elements {
            for key in KEYS {
                let Some(path) = below(&element, key) else { continue };
                if self.leaves.contains_key(&path) || self.problems.iter().any(|p| p.what().contains(&format!("`{path}`"))) {
                    continue;
                }
                match key.default_value() {
                    Some(value) => drop(self.leaves.insert(path, (value, Origin::Default))),
                    None => self
                        .problems
                        .push(Problem::new(&origin, format!("`{path}` is missing"), key.about)),
                }
            }
        }
    }

    /// Makes sure that an element exists, so that the defaults fill it.
    pub(super) fn declare(&mut self, element: KeyPath) {
        self.elements.entry(element).or_insert(Origin::Default);
    }

    /// Appends the elements of a list of `other` for which `wanted` holds.
    pub(super) fn append(&mut self, list: &str, other: &Values, wanted: impl Fn(&KeyPath, &Values) -> bool) {
        let root = KeyPath::default().name(list);
        let mut next = self.count(list);
        for index in 0..other.count(list) {
            let from = root.index(index);
            if !wanted(&from, other) {
                continue;
            }
            let to = root.index(next);
            next += 1;
            let moved = |path: &KeyPath| KeyPath(to.0.iter().chain(&path.0[2..]).cloned().collect());
            let is_below = |path: &KeyPath| path.0.starts_with(&from.0);
            self.leaves.extend(
                other
                    .leaves
                    .iter()
                    .filter(|(p, _)| is_below(p))
                    .map(|(p, leaf)| (moved(p), leaf.clone())),
            );
            self.elements.extend(
                other
                    .elements
                    .iter()
                    .filter(|(p, _)| is_below(p))
                    .map(|(p, origin)| (moved(p), origin.clone())),
            );
        }
    }

    /// How many elements a list has.
    pub(super) fn count(&self, list: &str) -> usize {
        self.count_at(&KeyPath::default().name(list))
    }

    /// How many elements the list at a place has.
    pub(super) fn count_at(&self, list: &KeyPath) -> usize {
        let inside = |path: &&KeyPath| path.0.len() == list.0.len() + 1 && path.0.starts_with(&list.0);
        self.elements.keys().filter(inside).count()
    }

    /// The text at a place.
    pub(super) fn text(&self, path: &KeyPath) -> Option<&str> {
        self.leaves.get(path).and_then(|(value, _)| value.as_str())
    }

    /// The whole number at a place.
    pub(super) fn integer(&self, path: &KeyPath) -> Option<i64> {
        self.leaves.get(path).and_then(|(value, _)| value.as_integer())
    }

    /// Where the value at a place, or the element, came from.
    pub(super) fn origin(&self, path: &KeyPath) -> Origin {
        let leaf = self.leaves.get(path).map(|(_, origin)| origin);
        leaf.or_else(|| self.elements.get(path)).cloned().unwrap_or(Origin::Default)
    }

    /// Complains about the value at a place.
    pub(super) fn complain(&mut self, path: &KeyPath, what: impl Into<String>, help: impl Into<String>) {
        let origin = self.origin(path);
        self.problems.push(Problem::new(&origin, what, help));
    }

    /// The names under a table, such as the channels of a warehouse.
    pub(super) fn names(&self, table: &KeyPath) -> Vec<String> {
        let below = self
            .elements
            .keys()
            .filter(|path| path.0.len() == table.0.len() + 1 && path.0.starts_with(&table.0));
        below
            .filter_map(|path| {
                if let Some(Step::Name(name)) = path.0.last() {
                    Some(name.clone())
                } else {
                    None
                }
            })
            .collect()
    }

    /// Takes a value when it is of the key's kind and range, and complains otherwise.
    fn judge_leaf(&mut self, key: &Key, path: &KeyPath, value: Value, origin: Origin) {
        let complaint = match (key.kind, &value) {
            (Kind::Integer { min, max }, Value::Integer(n)) if !(min..=max).contains(n) => Some((
                format!("`{path}` is {n}, and must be {min} to {max} ({})", key.unit),
                example(key),
            )),
            (Kind::Integer { .. }, Value::Integer(_)) | (Kind::Boolean, Value::Boolean(_)) | (Kind::Text, Value::String(_)) => {
                None
            }
            (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => None,
            (Kind::Word(words), Value::String(word)) => {
                let choice = words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" or ");
                Some((
                    format!("`{path}` is \"{word}\", and must be {choice}"),
                    did_you_mean(word, words.iter().copied()),
                ))
            }
            (kind, other) => Some((
                format!("`{path}` must be {}, not {}", kind_name(kind), shown(other)),
                example(key),
            )),
        };
        match complaint {
            Some((what, help)) => self.problems.push(Problem::new(&origin, what, help)),
            None => drop(self.leaves.insert(path.clone(), (value, origin))),
        }
    }
}

/// The place of a key directly below an element: `source[0]` + `source[].strict`, and not one that needs another element between.
fn below(element: &KeyPath, key: &Key) -> Option<KeyPath> {
    let steps = pattern(key.path);
    if !element.begins(&steps) {
        return None;
    }
    let rest = &steps[element.0.len()..];
    let single = !rest.is_empty() && rest.iter().all(|step| *step != "[]" && *step != "*");
    single.then(|| rest.iter().fold(element.clone(), |path, name| path.name(name)))
}

fn unknown_variable(origin: &Origin, name: &str) -> Problem {
    let section = name
        .trim_start_matches(ENV_PREFIX)
        .split("__")
        .next()
        .unwrap_or_default()
        .to_lowercase();
    if KEYS.iter().any(|key| key.path.starts_with(&format!("{section}[]"))) {
        return Problem::new(
            origin,
            format!("[[{section}]] cannot be set by a variable"),
            "declare it in the configuration file",
        );
    }
    let known: Vec<String> = KEYS.iter().filter_map(Key::env).collect();
    let near = did_you_mean(name, known.iter().map(String::as_str));
    let help = if near.is_empty() {
        "config.toml lists every key; a variable is SHELFD__SECTION__KEY".to_owned()
    } else {
        near
    };
    Problem::new(origin, "there is no such key", help)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer { .. } => "a whole number",
        Kind::Boolean => "true or false",
        Kind::Text | Kind::Word(_) => "text in quotes",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{text}\""),
        Value::Float(number) => format!("the fraction {number}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        other => format!("{other}"),
    }
}

fn example(key: &Key) -> String {
    let name = key.path.rsplit('.').next().unwrap_or(key.path);
    key.default
        .map(|default| format!("for instance: {name} = {default}"))
        .unwrap_or_default()
}

/// Walks a parsed text beside the key table.
struct Reader<'a> {
    source: Option<&'a Source>,
}

impl Reader<'_> {
    fn origin(&self, range: Range<usize>) -> Origin {
        self.source
            .map_or(Origin::Default, |source| Origin::File(source.clone(), range))
    }

    fn table(&self, values: &mut Values, at: &KeyPath, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let path = at.name(name.get_ref());
            let known = KEYS.iter().any(|key| path.begins(&pattern(key.path)));
            if !known {
                let origin = self.origin(name.span());
                values.problems.push(unknown_key(&origin, at, name.get_ref()));
            } else if let Some(key) = Key::find(&path) {
                self.leaf(values, key, &path, value);
            } else {
                self.section(values, &path, name.span(), value);
            }
        }
    }

    fn leaf(&self, values: &mut Values, key: &Key, path: &KeyPath, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(value.span());
        match plain(value.get_ref()) {
            Some(plain) => values.judge_leaf(key, path, plain, origin),
            None => values.problems.push(Problem::new(
                &origin,
                format!("`{path}` is a number past 64 bits"),
                example(key),
            )),
        }
    }

    fn section(&self, values: &mut Values, path: &KeyPath, name: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let is_list = KEYS
            .iter()
            .any(|key| path.begins(&pattern(key.path)) && pattern(key.path).get(path.0.len()) == Some(&"[]"));
        match (value.get_ref(), is_list) {
            (DeValue::Table(table), false) => {
                let chosen = KEYS
                    .iter()
                    .any(|key| path.begins(&pattern(key.path)) && pattern(key.path)[path.0.len() - 1] == "*");
                if chosen {
                    values.elements.insert(path.clone(), self.origin(name));
                }
                self.table(values, path, table);
            }
            (DeValue::Array(items), true) => {
                for (index, item) in items.iter().enumerate() {
                    let element = path.index(index);
                    let origin = self.origin(item.span());
                    match item.get_ref() {
                        DeValue::Table(table) => {
                            values.elements.insert(element.clone(), origin);
                            self.table(values, &element, table);
                        }
                        _ => values.problems.push(Problem::new(
                            &origin,
                            format!("`{element}` must be a table"),
                            format!("write [[{path}]]"),
                        )),
                    }
                }
            }
            (_, true) => {
                let what = format!("`{path}` is a list of tables");
                values.problems.push(Problem::new(
                    &self.origin(name),
                    what,
                    format!("write [[{path}]] with double brackets"),
                ));
            }
            (_, false) => {
                let what = format!("`{path}` is a section, not a value");
                values.problems.push(Problem::new(
                    &self.origin(name),
                    what,
                    format!("write [{path}] on a line of its own"),
                ));
            }
        }
    }
}

/// The value without places; `None` for a number that no 64 bits hold.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(_) => Value::Array(Vec::new()),
        DeValue::Table(_) => Value::Table(toml::Table::new()),
    })
}

fn unknown_key(origin: &Origin, at: &KeyPath, name: &str) -> Problem {
    let place = if at.0.is_empty() {
        "at the top".to_owned()
    } else {
        format!("in [{at}]")
    };
    let siblings: Vec<&str> = KEYS
        .iter()
        .filter(|key| at.begins(&pattern(key.path)))
        .filter_map(|key| pattern(key.path).get(at.0.len()).copied())
        .collect();
    let near = did_you_mean(name, siblings.iter().copied());
    let elsewhere = KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(name));
    let help = match elsewhere {
        _ if !near.is_empty() => near,
        Some(key) => format!("did you mean `{}`?", key.path),
        None => {
            let mut names = siblings;
            names.dedup();
            format!("known here: {}", names.join(", "))
        }
    };
    Problem::new(origin, format!("unknown key `{name}` {place}"), help)
}
