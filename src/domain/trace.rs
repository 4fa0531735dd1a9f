//! The trace that an event came in, as its sender or the node's door says it.
//!
//! Nearly every event of a request has the same one, of the same form: it is read once, and kept as the 25 bytes that its 55 letters stand
//! for, in the event, in the journal and in whatever is read back from it. As a shared text, which is what came before, each row of a
//! batch counted a holder more and a holder less, and each fact read the 55 letters again.

use std::borrow::Cow;
use std::fmt;

/// How many bytes the three numbers have together.
pub const TRACE_BYTES: usize = 25;
const TEXT_BYTES: usize = 55;
/// Where the three numbers stand in the text, and how many bytes each has.
const PARTS: [(usize, usize); 3] = [(3, 16), (36, 8), (53, 1)];
/// Of them the trace's id.
const ID: std::ops::Range<usize> = 3..35;

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

/// A W3C `traceparent` (Trace Context, 3.2), as received, or whatever stood in its place: it comes back letter by letter.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceParent(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// Version 00, `00-<32 hex>-<16 hex>-<2 hex>` in small letters: its numbers.
    Usual([u8; TRACE_BYTES]),
    /// Any other text.
    Other(Box<str>),
}

impl TraceParent {
    /// The trace of a text; none is refused, since an event is not worth less with a bad one.
    pub fn of(text: &str) -> TraceParent {
        TraceParent(match numbers(text) {
            Some(numbers) => Form::Usual(numbers),
            None => Form::Other(text.into()),
        })
    }

    /// The trace of the three numbers of a usual one.
    pub fn of_numbers(numbers: [u8; TRACE_BYTES]) -> TraceParent {
        TraceParent(Form::Usual(numbers))
    }

    /// The numbers, where it is a usual one; else its text.
    pub fn numbers(&self) -> Result<&[u8; TRACE_BYTES], &str> {
        match &self.0 {
            Form::Usual(numbers) => Ok(numbers),
            Form::Other(text) => Err(text),
        }
    }

    /// The `traceparent` as it was received.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Usual(numbers) => String::from_utf8_lossy(&spelled(numbers)).into_owned().into(),
            Form::Other(text) => Cow::Borrowed(text),
        }
    }

    /// The trace's id, 32 hexadecimal digits; of a text of another form what stands in that place, or all of it.
    pub fn id(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Usual(numbers) => String::from_utf8_lossy(&spelled(numbers)[ID]).into_owned().into(),
            Form::Other(text) => text
                .split('-')
                .nth(1)
                .filter(|id| id.len() == ID.len())
                .unwrap_or(text)
                .into(),
        }
    }
}

impl From<&str> for TraceParent {
    fn from(text: &str) -> TraceParent {
        TraceParent::of(text)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// The numbers of a text; `None` when it would not come back letter by letter.
fn numbers(text: &str) -> Option<[u8; TRACE_BYTES]> {
    let text: &[u8; TEXT_BYTES] = text.as_bytes().try_into().ok()?;
    if (&text[..3], text[35], text[52]) != (b"00-", b'-', b'-') {
        return None;
    }
    let (mut numbers, mut at, mut seen) = ([0; TRACE_BYTES], 0, 0);
    for (from, bytes) in PARTS {
        for pair in text[from..from + 2 * bytes].chunks_exact(2) {
            let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
            // What is no digit has its high bits set; looked at once, at the end.
            seen |= high | low;
            numbers[at] = high << 4 | low;
            at += 1;
        }
    }
    (seen < 16).then_some(numbers)
}

/// The text of those numbers.
fn spelled(numbers: &[u8; TRACE_BYTES]) -> [u8; TEXT_BYTES] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut numbers = numbers.iter();
    for (from, bytes) in PARTS {
        for (pair, byte) in text[from..from + 2 * bytes].chunks_exact_mut(2).zip(&mut numbers) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_usual_one_is_kept_as_its_numbers_and_has_its_id() {
        let trace = TraceParent::of(USUAL);
        assert_eq!(trace.numbers().map(|numbers| (numbers[0], numbers[24])), Ok((0x0a, 1)));
        assert_eq!((&*trace.text(), &*trace.id()), (USUAL, "0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn what_is_no_usual_one_is_kept_as_it_is() {
        let upper = USUAL.to_uppercase();
        let later = USUAL.replacen("00-", "01-", 1);
        for (text, id) in [
            ("", ""),
            ("00-a-b-01", "00-a-b-01"),
            (upper.as_str(), "0AF7651916CD43DD8448EB211C80319C"),
            (later.as_str(), "0af7651916cd43dd8448eb211c80319c"),
        ] {
            let trace = TraceParent::of(text);
            assert_eq!((trace.numbers(), &*trace.text(), &*trace.id()), (Err(text), text, id));
        }
    }

    #[test]
    fn a_trace_is_no_larger_than_four_words() {
        assert_eq!(size_of::<Option<TraceParent>>(), 32);
    }

    proptest! {
        /// Also a text that is the usual one but for a letter.
        #[test]
        fn it_comes_back_letter_by_letter(at in 0..TEXT_BYTES, letter in any::<char>(), text in ".{0,60}") {
            let near: String = USUAL.chars().enumerate().map(|(place, usual)| if place == at { letter } else { usual }).collect();
            for text in [near, text] {
                let trace = TraceParent::of(&text);
                prop_assert_eq!(&*trace.text(), &text);
            }
        }
    }
}
