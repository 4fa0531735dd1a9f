//! A JSON string into a buffer: nearly all are written as they are.

/// Appends a text with its quotes, and with escapes where JSON wants them (RFC 8259, 7).
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    // All bytes at once: looking for the first that needs an escape takes them one by one.
    let plain = |b: u8| (b >= 0x20) & (b != b'"') & (b != b'\\');
    if text.bytes().fold(true, |all, b| all & plain(b)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_written_as_serde_writes_it(text in "([ -~а-я]|[\"\\\\\u{0}-\u{1f}\u{7f}]){0,40}") {
            let mut out = Vec::new();
            super::put_text(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).ok(), serde_json::to_string(&text).ok());
        }
    }
}
