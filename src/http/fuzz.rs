//! A target for addresses: parameters, cursors, times, ids.

use crate::domain::units::Id;

use super::params::{Params, id, sealed};

const KNOWN: [&str; 6] = ["limit", "cursor", "as_of", "below", "state", "since"];

/// A query, and its bytes as an id and as a cursor.
pub fn paths(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(params) = Params::read(Some(text), &KNOWN) {
        if let Ok(limit) = params.limit() {
            assert!((1..=super::params::MAX_LIMIT).contains(&limit));
        }
        let _ = (params.after().is_ok(), params.before().is_ok(), params.time("as_of").is_ok());
        let _ = (
            params.number("below", 0..=1_000_000).is_ok(),
            params.word("state", &["held"]).is_ok(),
        );
    }
    let cursor = format!("cursor={}", sealed(text));
    let params = Params::read(Some(&cursor), &KNOWN).ok();
    let after = params.and_then(|params| params.after().ok());
    assert_eq!(after, Some(Some(text.to_owned())), "a cursor is read as it was written");
    if let Ok(id) = id("sku", text) {
        assert_eq!(Id::check(id.as_str()), Ok(()));
        assert!(!text.is_empty() && text.len() <= 128 && !text.contains('/') && text != "." && text != "..");
    }
}
