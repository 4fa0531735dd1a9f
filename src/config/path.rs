//! The place of a value in the configuration, such as `warehouse[0].channels.web.buffer`, and patterns of places.
//!
//! Steps are kept apart, where a dotted string would split a channel whose name holds a dot.

use std::fmt;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a table.
    Name(String),
    /// Into a list.
    Index(usize),
}

/// The steps from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<Step>);

impl KeyPath {
    /// The place `name` below this one.
    pub(super) fn name(&self, name: &str) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(Step::Name(name.to_owned()));
        KeyPath(steps)
    }

    /// The place of element `index` below this one.
    pub(super) fn index(&self, index: usize) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        KeyPath(steps)
    }

    /// The place of a key that is in no list: `http.listen`.
    pub(super) fn dotted(path: &str) -> KeyPath {
        KeyPath(path.split('.').map(|name| Step::Name(name.to_owned())).collect())
    }

    /// Whether this is a place of the pattern.
    pub(super) fn matches(&self, pattern: &[&str]) -> bool {
        self.0.len() == pattern.len() && self.begins(pattern)
    }

    /// Whether places of the pattern lie below this one (or are it).
    pub(super) fn begins(&self, pattern: &[&str]) -> bool {
        self.0.len() <= pattern.len()
            && self.0.iter().zip(pattern).all(|(step, wanted)| match step {
                Step::Name(name) => *wanted == "*" || name == wanted,
                Step::Index(_) => *wanted == "[]",
            })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if depth == 0 => write!(out, "{name}")?,
                Step::Name(name) => write!(out, ".{name}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The steps of a pattern of the key table: names, `[]` for each element of a list, `*` for any name.
pub(super) fn pattern(path: &'static str) -> Vec<&'static str> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        match part.strip_suffix("[]") {
            Some(list) => steps.extend([list, "[]"]),
            None => steps.push(part),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_its_pattern_and_begins_it() {
        let buffer = pattern("warehouse[].channels.*.buffer");
        let list = KeyPath::default().name("warehouse").index(3);
        let place = list.name("channels").name("a.b").name("buffer");
        assert!(place.matches(&buffer));
        assert!(list.begins(&buffer) && !list.matches(&buffer));
        assert!(!KeyPath::dotted("warehouse.channels").begins(&buffer));
        assert_eq!(place.to_string(), "warehouse[3].channels.a.b.buffer");
    }
}
