//! A target for the mapping of an import, and for rows that go through it.

use csv::ByteRecord;

use super::claim::Layout;
use super::mapping::Mapping;

/// What stands between the mapping and the table.
const BETWEEN: &str = "\n===\n";

/// A mapping, and after a line of `===` a table with its header.
pub fn mapping(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (mapping, table) = text.split_once(BETWEEN).unwrap_or((text, ""));
    let Ok(mapping) = Mapping::parse("fuzz.toml", mapping) else {
        return;
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(table.as_bytes());
    let mut rows = reader.byte_records().map_while(Result::ok);
    let header: Vec<String> = rows
        .next()
        .unwrap_or_default()
        .iter()
        .map(|cell| String::from_utf8_lossy(cell).into_owned())
        .collect();
    let Ok(layout) = Layout::new(mapping, "fuzz".to_owned(), &header) else {
        return;
    };
    for row in rows.take(64) {
        judged(&layout, &row);
    }
}

fn judged(layout: &Layout, row: &ByteRecord) {
    match layout.event(row) {
        Ok(event) => assert!(event.kind().starts_with("inventory.") && serde_json::to_string(&event).is_ok()),
        Err(rejection) => assert!(!rejection.code.is_empty()),
    }
}

#[cfg(test)]
pub(crate) fn is_a_mapping(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mapping = text.split_once(BETWEEN).map_or(text, |(mapping, _)| mapping);
    Mapping::parse("fuzz.toml", mapping).is_ok()
}
