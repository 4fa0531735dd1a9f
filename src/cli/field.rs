//! Reading the API's JSON leniently: by JSON pointer, with a blank for what is missing.
//!
//! A command line may be older or newer than its node, and should then show less, not fail. Rejected: structs for every
//! answer, which turn each field that a node adds or leaves out into an error at the person's terminal.

use serde_json::Value;

use super::arg;

/// Lenient access by JSON pointer (`/accounts/sellable`).
pub trait Field {
    /// A text; `""` when there is none. Numbers and booleans are written out.
    fn word(&self, pointer: &str) -> String;
    /// An integer; 0 when there is none.
    fn units(&self, pointer: &str) -> i64;
    /// A time, in the reader's zone; `""` when there is none.
    fn when(&self, pointer: &str) -> String;
    /// A list; empty when there is none.
    fn list(&self, pointer: &str) -> &[Value];
    /// The texts of a list, joined with `, `.
    fn words(&self, pointer: &str) -> String;
    /// The members of an object, in their order; none when there is no object.
    fn members(&self, pointer: &str) -> Vec<(&str, &Value)>;
    /// Whether there is something other than null.
    fn has(&self, pointer: &str) -> bool;
}

impl Field for Value {
    fn word(&self, pointer: &str) -> String {
        match self.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    fn units(&self, pointer: &str) -> i64 {
        self.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
    }

    fn when(&self, pointer: &str) -> String {
        self.pointer(pointer)
            .and_then(Value::as_str)
            .map(arg::local_time)
            .unwrap_or_default()
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn words(&self, pointer: &str) -> String {
        self.list(pointer)
            .iter()
            .map(|item| item.word(""))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn members(&self, pointer: &str) -> Vec<(&str, &Value)> {
        self.pointer(pointer)
            .and_then(Value::as_object)
            .map(|map| map.iter().map(|(key, value)| (key.as_str(), value)).collect())
            .unwrap_or_default()
    }

    fn has(&self, pointer: &str) -> bool {
        self.pointer(pointer).is_some_and(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_blank_and_never_an_error() {
        let value = json!({"a": {"b": 3}, "flags": ["x", "y"], "n": null});
        assert_eq!(
            (
                value.units("/a/b"),
                value.units("/a/c"),
                value.word("/a/b").as_str(),
                value.word("/n").as_str()
            ),
            (3, 0, "3", "")
        );
        assert_eq!(value.words("/flags"), "x, y");
        assert!(value.list("/a").is_empty() && value.members("/flags").is_empty() && !value.has("/n"));
    }
}
