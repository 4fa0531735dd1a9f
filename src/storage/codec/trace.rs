//! A `traceparent` of W3C Trace Context, version 00 (`00-<32 hex>-<16 hex>-<2 hex>`), as the 25 bytes that it stands for: a batch
//! writes the same 55 letters into a thousand facts.

use std::sync::Arc;

/// How many bytes the three numbers have together.
pub(super) const SHORT_TRACE_BYTES: usize = 25;
/// Where its three numbers stand in the text, and how many bytes each has.
const TRACE_PARTS: [(usize, usize); 3] = [(3, 16), (36, 8), (53, 1)];

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The value of each hexadecimal digit; [`NO_DIGIT`] for all other bytes.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[HEX[value as usize] as usize] = value;
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

/// The text of those numbers; made in place, since every fact that is read back has one.
pub(super) fn long_trace(short: &[u8]) -> Arc<str> {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut short = short.iter();
    for (from, bytes) in TRACE_PARTS {
        for (pair, byte) in text[from..from + 2 * bytes].chunks_exact_mut(2).zip(&mut short) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
    }
    String::from_utf8_lossy(&text).into()
}
