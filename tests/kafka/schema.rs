//! What is published is what `schemas/` says, and a schema never breaks those who read by it.
//!
//! The few words of JSON Schema that ours use are judged here, and any other is refused, so that a rule which nobody checks cannot be
//! written. A validator from outside was rejected: twenty crates to build for every test.

use std::path::Path;

use serde_json::{Value, json};

const WORDS: [&str; 13] = [
    "$schema",
    "$id",
    "title",
    "description",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "format",
    "minimum",
    "const",
];

fn load(folder: &str, kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(format!("{kind}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Panics unless the data is what its schema says.
#[track_caller]
pub fn fits(kind: &str, data: &Value) {
    let breaches = judge(&load("schemas", kind), data, "");
    assert!(breaches.is_empty(), "{kind}: {breaches:?}\n{data}");
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn formed(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        other => panic!("the format {other} is judged by nobody"),
    }
}

fn judge(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for word in schema.as_object().expect("a schema is an object").keys() {
        assert!(WORDS.contains(&word.as_str()), "the word {word} is judged by nobody");
    }
    let types = types(schema);
    if !types.is_empty() && !types.contains(&kind(value)) {
        return vec![format!("{place}: is {}, not {types:?}", kind(value))];
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        breaches.push(format!("{place}: {value} is none of {}", schema["enum"]));
    }
    if let (Some(format), Some(text)) = (schema["format"].as_str(), value.as_str())
        && !formed(format, text)
    {
        breaches.push(format!("{place}: \"{text}\" is no {format}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            breaches.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, inside) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(known), _) => breaches.extend(judge(known, inside, &place)),
            (None, Some(other)) if other.is_object() => breaches.extend(judge(other, inside, &place)),
            // A member that the schema does not know is a schema that was not written.
            (None, _) if !schema["properties"].is_null() => breaches.push(format!("{place}: the schema does not know it")),
            _ => {}
        }
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            breaches.extend(judge(items, item, &format!("{place}/{at}")));
        }
    }
    breaches
}

/// What of a new schema breaks those who read by the old one.
fn breaking(old: &Value, new: &Value, place: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let (was, is) = (types(old), types(new));
    if let Some(more) = is.iter().find(|kind| !was.contains(kind) && !was.is_empty()) {
        breaches.push(format!("{place}: may be {more} now"));
    }
    for name in old["required"].as_array().into_iter().flatten() {
        if !new["required"].as_array().is_some_and(|now| now.contains(name)) {
            breaches.push(format!("{place}: {name} is promised no more"));
        }
    }
    if let Some(known) = old["enum"].as_array()
        && let Some(more) = new["enum"]
            .as_array()
            .map_or(Some(&Value::Null), |now| now.iter().find(|word| !known.contains(word)))
    {
        breaches.push(format!("{place}: may say {more} now"));
    }
    if old["format"] != new["format"] {
        breaches.push(format!("{place}: the format was {}, and is {}", old["format"], new["format"]));
    }
    for (name, inside) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            Some(now) => breaches.extend(breaking(inside, now, &format!("{place}/{name}"))),
            None => breaches.push(format!("{place}: {name} is gone")),
        }
    }
    for word in ["items", "additionalProperties"] {
        if let (Some(was), Some(is)) = (old.get(word), new.get(word))
            && was.is_object()
            && is.is_object()
        {
            breaches.extend(breaking(was, is, &format!("{place}/{word}")));
        }
    }
    breaches
}

#[test]
fn a_schema_never_breaks_those_who_read_by_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/published");
    let mut judged = 0;
    for file in std::fs::read_dir(folder).expect("schemas/published") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        let kind = name.trim_end_matches(".json");
        let breaches = breaking(&load("schemas/published", kind), &load("schemas", kind), "");
        assert!(breaches.is_empty(), "{kind}: {breaches:?}");
        judged += 1;
    }
    assert_eq!(judged, 5);
}

#[test]
fn a_change_that_breaks_is_seen() {
    let old = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"type": "string", "enum": ["x"]}}});
    let breaks = |new: Value| !breaking(&old, &new, "").is_empty();
    assert!(!breaks(old.clone()));
    let mut more = old.clone();
    more["properties"]["c"] = json!({"type": "integer"});
    more["required"] = json!(["a", "c"]);
    assert!(!breaks(more), "growing is allowed");
    for (pointer, value) in [
        ("/required", json!([])),
        ("/properties", json!({"a": {"type": "integer"}})),
        ("/properties/a/type", json!("string")),
        ("/properties/a/type", json!(["integer", "null"])),
        ("/properties/b/enum", json!(["x", "y"])),
    ] {
        let mut new = old.clone();
        *new.pointer_mut(pointer).expect("a place") = value;
        assert!(breaks(new), "{pointer}");
    }
}
