//! A `traceparent` of W3C Trace Context, version 00 (`00-<32 hex>-<16 hex>-<2 hex>`), as the 25 bytes that it stands for: a batch
//! writes the same 55 letters into a thousand facts.

/// How many bytes the three numbers have together.
pub(super) const SHORT_TRACE_BYTES: usize = 25;
/// Where its three numbers stand in the text, and how many bytes each has.
const TRACE_PARTS: [(usize, usize); 3] = [(3, 16), (36, 8), (53, 1)];

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The numbers of a `traceparent`; `None` when its text would not come back letter by letter.
pub(super) fn short_trace(text: &str) -> Option<[u8; SHORT_TRACE_BYTES]> {
    let text: &[u8; 55] = text.as_bytes().try_into().ok()?;
    if (&text[..3], text[35], text[52]) != (b"00-", b'-', b'-') {
        return None;
    }
    let (mut short, mut at) = ([0; SHORT_TRACE_BYTES], 0);
    for (from, bytes) in TRACE_PARTS {
        for pair in text[from..from + 2 * bytes].chunks_exact(2) {
            short[at] = digit(pair[0])? << 4 | digit(pair[1])?;
            at += 1;
        }
    }
    Some(short)
}

/// The text of those numbers.
pub(super) fn long_trace(short: &[u8]) -> String {
    let mut text = String::with_capacity(55);
    let mut rest = short;
    text.push_str("00");
    for (_, bytes) in TRACE_PARTS {
        let (part, after) = rest.split_at(bytes.min(rest.len()));
        rest = after;
        text.push('-');
        for byte in part {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        }
    }
    text
}
