//! A `traceparent` of W3C Trace Context, version 00 (`00-<32 hex>-<16 hex>-<2 hex>`), as the 25 bytes that it stands for: a batch
//! writes the same 55 letters into a thousand facts.

/// How many bytes the three numbers have together.
pub(super) const SHORT_TRACE_BYTES: usize = 25;
/// Where its three numbers stand in the text, and how many bytes each has.
const TRACE_PARTS: [(usize, usize); 3] = [(3, 16), (36, 8), (53, 1)];

/// The value of each hexadecimal digit; [`NO_DIGIT`] for all other bytes.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// The numbers of a `traceparent`; `None` when its text would not come back letter by letter.
pub(super) fn short_trace(text: &str) -> Option<[u8; SHORT_TRACE_BYTES]> {
    let text: &[u8; 55] = text.as_bytes().try_into().ok()?;
    if (&text[..3], text[35], text[52]) != (b"00-", b'-', b'-') {
        return None;
    }
    let (mut short, mut at, mut seen) = ([0; SHORT_TRACE_BYTES], 0, 0);
    for (from, bytes) in TRACE_PARTS {
        for pair in text[from..from + 2 * bytes].chunks_exact(2) {
            let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
            // What is no digit has its high bits set; looked at once, at the end.
            seen |= high | low;
            short[at] = high << 4 | low;
            at += 1;
        }
    }
    (seen < 16).then_some(short)
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
