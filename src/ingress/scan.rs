//! The usual row, read in one pass over its bytes: known fields, plain strings, whole numbers.
//!
//! serde goes through a visitor, a key and a checked string for each field, and took more than any other step of an event. Nearly every
//! row needs none of it. Whatever is out of the ordinary here (an escape, a field that nobody knows, one that is there twice, a
//! number with a fraction, a mistake) is no error but `None`: the row is then read by serde (`wire`), which alone knows how to
//! complain. So this must take nothing that serde would refuse, and understand nothing otherwise; a property test holds it to that.
//! A faster general parser was rejected: what costs is being general.

use serde_json::value::RawValue;

use super::alike::{Found, Slot};
use super::scalar::Scalar;
use super::wire::{Attribute, Envelope, Field, LOT_FIELDS, Lot, LotField};

/// Reads the object that begins at `at` (after white space) into an empty envelope, and answers with the place after it. With `None`
/// the envelope is worth nothing. Where its values are is noted in `found`, if that is wanted.
pub(super) fn envelope<'a>(text: &'a str, at: usize, row: &mut Envelope<'a>, found: Option<&mut Found>) -> Option<usize> {
    let mut scan = Scan { text, at, found };
    let mut has_data = false;
    scan.object(|scan, key| {
        if let Some(attribute) = Attribute::parse(key) {
            let place = &mut row.attributes[attribute as usize];
            let first = *place == Scalar::Absent;
            *place = scan.value(Slot::Attribute(attribute))?;
            first.then_some(())
        } else if key == "data" {
            let first = !std::mem::replace(&mut has_data, true);
            data(scan, row)?;
            first.then_some(())
        } else {
            extension(scan, key, row)
        }
    })?;
    has_data.then_some(scan.at)
}

fn data<'a>(scan: &mut Scan<'a, '_>, row: &mut Envelope<'a>) -> Option<()> {
    scan.object(|scan, key| {
        let field = Field::parse(key)?;
        if row.given & field.bit() != 0 {
            return None;
        }
        row.given |= field.bit();
        if field == Field::Lot {
            row.lot = lot(scan)?;
        } else {
            row.data[field as usize] = scan.value(Slot::Field(field))?;
        }
        Some(())
    })
}

fn lot<'a>(scan: &mut Scan<'a, '_>) -> Option<Lot<'a>> {
    let mut lot = <[Scalar<'a>; LOT_FIELDS.len()]>::default();
    scan.object(|scan, key| {
        let field = LotField::parse(key)?;
        let place = &mut lot[field as usize];
        let first = *place == Scalar::Absent;
        *place = scan.value(Slot::Lot(field))?;
        first.then_some(())
    })?;
    Some(Lot::Given(lot))
}

/// An attribute that is kept as received; one that is not a plain string is left to serde.
fn extension<'a>(scan: &mut Scan<'a, '_>, key: &'a str, row: &mut Envelope<'a>) -> Option<()> {
    scan.space();
    let from = scan.at;
    let raw = scan.raw()?;
    scan.note(Slot::Extension(row.extensions.len()), from);
    if row.extensions.iter().any(|(known, _)| known == key) {
        return None;
    }
    row.extensions.push((key.into(), raw));
    Some(())
}

/// A place in a text.
pub(super) struct Scan<'a, 'f> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Where to note the places of values.
    pub(super) found: Option<&'f mut Found>,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// The highest bit of each byte that is 0. Above the lowest one that is set, bits may be set wrongly.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

impl<'a, 'f> Scan<'a, 'f> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The next byte after white space, which must be this one.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// An object, each of whose values is read by `value`.
    fn object(&mut self, mut value: impl FnMut(&mut Scan<'a, 'f>, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            value(self, key)?;
            self.space();
            let after = self.peek()?;
            self.at += 1;
            match after {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn note(&mut self, slot: Slot, from: usize) {
        if let Some(found) = &mut self.found {
            found.push((slot, from, self.at));
        }
    }

    /// A scalar, and a note of where it was.
    fn value(&mut self, slot: Slot) -> Option<Scalar<'a>> {
        self.space();
        let from = self.at;
        let value = self.scalar()?;
        self.note(slot, from);
        Some(value)
    }

    /// Exactly this text.
    pub(super) fn literal(&mut self, text: &str) -> Option<()> {
        let end = self.at + text.len();
        (self.text.as_bytes().get(self.at..end)? == text.as_bytes()).then(|| self.at = end)
    }

    /// A string as it stands there, with its quotes.
    pub(super) fn raw(&mut self) -> Option<&'a RawValue> {
        self.space();
        let from = self.at;
        self.string()?;
        serde_json::from_str(self.text.get(from..self.at)?).ok()
    }

    pub(super) fn scalar(&mut self) -> Option<Scalar<'a>> {
        self.space();
        match self.peek()? {
            b'"' => self.string().map(|text| Scalar::Text(text.into())),
            b'n' => {
                let end = self.at + 4;
                (self.text.get(self.at..end)? == "null").then(|| self.at = end)?;
                Some(Scalar::Null)
            }
            _ => self.int().map(Scalar::Int),
        }
    }

    /// A string without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        if self.peek()? != b'"' {
            return None;
        }
        let from = self.at + 1;
        let end = plain_end(self.text.as_bytes(), from)?;
        self.at = end + 1;
        self.text.get(from..end)
    }

    /// A whole number that 63 bits hold in any case.
    fn int(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (from, mut number) = (self.at, 0i64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at - from == 18 {
                return None;
            }
            number = number * 10 + i64::from(digit - b'0');
            self.at += 1;
        }
        let digits = self.at - from;
        let zero = self.text.as_bytes().get(from) == Some(&b'0');
        // `-0` is no whole number to serde, and `007` none at all.
        if digits == 0 || zero && (digits > 1 || negative) || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        Some(if negative { -number } else { number })
    }
}

/// The place of the quote that ends a string; `None` when an escape or a control character comes first. Eight bytes at a time: the
/// lowest set bit is the first byte that is a quote, a backslash or below a space.
fn plain_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(Ok(eight)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stops = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | control;
        if stops != 0 {
            at += (stops.trailing_zeros() / 8) as usize;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    let stop = bytes
        .get(at..)?
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
    (bytes[at + stop] == b'"').then_some(at + stop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::Row;
    use super::*;

    /// What serde makes of the beginning of a text, and where it ends.
    fn by_serde(text: &str) -> Option<(Row<'_>, usize)> {
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Row<'_>>();
        let row = stream.next()?.ok()?;
        Some((row, stream.byte_offset()))
    }

    /// Whether the row was read here, after both have been found to agree.
    fn agrees(text: &str) -> bool {
        let mut mine = Envelope::default();
        let Some(end) = envelope(text, 0, &mut mine, None) else {
            return false;
        };
        let (theirs, their_end) = by_serde(text).unwrap_or_else(|| panic!("serde refuses {text}"));
        assert_eq!(end, their_end, "{text}");
        // Extensions compare by their text, which is how they are kept.
        assert_eq!(format!("{:?}", Row::Object(Box::new(mine))), format!("{theirs:?}"), "{text}");
        true
    }

    #[test]
    fn the_usual_row_is_read_here_and_the_unusual_one_is_not() {
        let row = |data: &str| format!(r#"{{"id":"1", "type" : null,"data":{{{data}}},"subject":"a/b"}}"#);
        for data in [
            "",
            r#""quantity":0"#,
            r#""quantity": -12 ,"sku":"молоко 3,2 %""#,
            "\n\"delta\"\t:\r999999999999999999",
            r#""lot":{"id":"L1","expires_on":null}"#,
            r#""lot":{}"#,
        ] {
            assert!(agrees(&row(data)), "{data}");
        }
        for data in [
            r#""quantity":-0"#,
            r#""quantity":007"#,
            r#""quantity":1.5"#,
            r#""quantity":1e3"#,
            r#""quantity":1000000000000000000"#,
            r#""quantity":-"#,
            r#""quantity":true"#,
            r#""quantity":[]"#,
            r#""quantity":1,"#,
            r#""quantity":1,"quantity":1"#,
            r#""quantty":1"#,
            r#""sku":"a\"b""#,
            "\"sku\":\"a\tb\"",
            r#""lot":null"#,
            r#""lot":{"id":"1","id":"2"}"#,
            r#""sku":nul"#,
        ] {
            assert!(!agrees(&row(data)), "{data}");
        }
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"data":{},"data":{}}"#,
            r#"{"data":{}"#,
            r#"{"data":{},"x":7}"#,
        ] {
            assert!(!agrees(text), "{text}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "\"[ -!#-\\[\\]-~а-я]{0,20}\"",
            1 => "\"(\\\\[\"\\\\nu]|[ -~\u{0}-\u{1f}]){0,12}\"",
            2 => "-?[0-9]{1,20}",
            1 => "-?[0-9]{1,3}(\\.[0-9]{1,2})?([eE][0-9])?",
            1 => Just("null".to_owned()),
            1 => prop_oneof![Just("true"), Just("[1,{}]"), Just("{\"id\":\"L\"}"), Just("{}"), Just("nul"), Just("")].prop_map(str::to_owned),
        ]
    }

    fn object(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
        let pair = (proptest::sample::select(keys), value(), "[ \n]?")
            .prop_map(|(key, value, space)| format!("{space}\"{key}\"{space}:{value}"));
        proptest::collection::vec(pair, 0..5).prop_map(|pairs| format!("{{{}}}", pairs.join(",")))
    }

    const OUTER: &[&str] = &[
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "traceparent",
        "actor",
        "subject",
        "x",
    ];
    const INNER: &[&str] = &[
        "warehouse",
        "sku",
        "quantity",
        "unit",
        "lot",
        "reason",
        "stream_seq",
        "reservation",
        "delta",
        "y",
    ];

    proptest! {
        #[test]
        fn whatever_is_read_here_is_read_as_serde_reads_it(outer in object(OUTER), inner in object(INNER), after in "[ \n,\\]x}]{0,3}") {
            let comma = if outer == "{}" { "" } else { "," };
            let text = format!("{}{comma}\"data\":{inner}}}{after}", &outer[..outer.len() - 1]);
            agrees(&text);
        }

        #[test]
        fn a_damaged_row_is_never_read_otherwise_than_by_serde(at in any::<proptest::sample::Index>(), byte in 0u8..0x80, cut in any::<bool>()) {
            let row = r#"{"specversion":"1.0","id":"7d0c51e4","source":"pos/2","type":"inventory.sale","time":"2026-11-23T12:00:00Z","data":{"warehouse":"main","sku":"SKU-0000042","quantity":1,"lot":{"id":"L1","expires_on":"2026-12-01"}}}"#;
            let mut bytes = row.as_bytes().to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            agrees(std::str::from_utf8(&bytes).expect("ASCII"));
        }
    }
}
