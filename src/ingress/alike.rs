//! Rows of one body, each read as the one before it where it is written alike: what has been the same so far is compared as a whole, and
//! only the values that vary are read.
//!
//! A sender writes all its rows with the same code, so they have the same fields, in the same order, with the same spaces, and mostly the
//! same source, type and warehouse. To find that out again in each row, key by key, was half of reading it. What is read this way is
//! what the scan would have read: the same text stands around the values that vary, and these are read by the same code. Rejected: to
//! keep the forms of several kinds of rows; a body whose rows alternate is scanned.

use super::scan::{self, Scan};
use super::wire::{Attribute, Envelope, Field, Lot, LotField};

/// The place of a value in an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// An attribute's.
    Attribute(Attribute),
    /// A field's of `data`.
    Field(Field),
    /// A field's of the lot.
    Lot(LotField),
    /// An extension's, by its place among them.
    Extension(usize),
}

/// A value of a row that was scanned: its slot, the place of its first byte and the one after it.
pub(super) type Found = Vec<(Slot, usize, usize)>;

/// More misses than this beyond what was read alike, and a body is scanned from there on.
const MISSES: usize = 4;

/// A value that has not been the same in all rows.
struct Varying<'a> {
    /// What stands between it and the one before it.
    before: &'a str,
    slot: Slot,
}

/// The rows of one body; see the module.
#[derive(Default)]
pub(super) struct Alike<'a> {
    envelope: Envelope<'a>,
    /// The values that vary, in their order.
    parts: Vec<Varying<'a>>,
    /// What stands after the last of them.
    end: &'a str,
    /// All values of the row that was scanned last, with their text.
    values: Vec<(Slot, &'a str)>,
    /// Which of them vary.
    varies: Vec<bool>,
    found: Found,
    /// Rows read alike, and those in vain.
    hits: usize,
    misses: usize,
}

impl<'a> Alike<'a> {
    /// The row that begins at `at`, after white space, and the place after it; `None`: serde must read it.
    pub(super) fn row(&mut self, text: &'a str, at: usize) -> Option<(&Envelope<'a>, usize)> {
        if !self.values.is_empty() {
            if let Some(end) = self.as_before(text, at) {
                self.hits += 1;
                return Some((&self.envelope, end));
            }
            self.misses += 1;
        }
        self.envelope = Envelope::default();
        let end = if self.misses > self.hits + MISSES {
            self.values.clear();
            scan::envelope(text, at, &mut self.envelope, None)?
        } else {
            self.found.clear();
            let end = scan::envelope(text, at, &mut self.envelope, Some(&mut self.found));
            self.note(text, at, end);
            end?
        };
        Some((&self.envelope, end))
    }

    /// The row, when it is written as the one before.
    fn as_before(&mut self, text: &'a str, at: usize) -> Option<usize> {
        let mut scan = Scan { text, at, found: None };
        for Varying { before, slot } in &self.parts {
            scan.literal(before)?;
            match *slot {
                Slot::Attribute(attribute) => self.envelope.attributes[attribute as usize] = scan.scalar()?,
                Slot::Field(field) => self.envelope.data[field as usize] = scan.scalar()?,
                Slot::Lot(field) => {
                    let value = scan.scalar()?;
                    let Lot::Given(lot) = &mut self.envelope.lot else {
                        return None;
                    };
                    lot[field as usize] = value;
                }
                Slot::Extension(place) => self.envelope.extensions.get_mut(place)?.1 = scan.raw()?,
            }
        }
        scan.literal(self.end)?;
        Some(scan.at)
    }

    /// Learns from a row that was scanned, up to `end`, what varies; with no end it was none, and nothing is known of the next.
    fn note(&mut self, text: &'a str, at: usize, end: Option<usize>) {
        let Some(end) = end else { return self.values.clear() };
        let values = self.found.iter().map(|(slot, from, to)| (*slot, &text[*from..*to]));
        let same = values
            .clone()
            .map(|(slot, _)| slot)
            .eq(self.values.iter().map(|(slot, _)| *slot));
        if same {
            let changed = values.clone().zip(&self.values).map(|((_, new), (_, old))| new != *old);
            self.varies
                .iter_mut()
                .zip(changed)
                .for_each(|(varies, changed)| *varies |= changed);
        } else {
            self.varies.clear();
            self.varies.resize(self.found.len(), false);
        }
        self.values.clear();
        self.values.extend(values);
        self.parts.clear();
        let mut after = at;
        for ((slot, from, to), _) in self.found.iter().zip(&self.varies).filter(|(_, varies)| **varies) {
            self.parts.push(Varying {
                before: &text[after..*from],
                slot: *slot,
            });
            after = *to;
        }
        self.end = &text[after..end];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each text is read as after the others; checked against a scan of it alone. Says how many were read alike.
    fn agrees(texts: &[String]) -> usize {
        let mut alike = Alike::default();
        for text in texts {
            let mut alone = Envelope::default();
            let end = scan::envelope(text, 0, &mut alone, None);
            let read = alike.row(text, 0).map(|(envelope, end)| (format!("{envelope:?}"), end));
            assert_eq!(read, end.map(|end| (format!("{alone:?}"), end)), "{text}");
        }
        alike.hits
    }

    fn sale(id: &str, quantity: &str) -> String {
        format!(
            r#"{{"specversion":"1.0", "id":{id},"subject":"main/milk","data":{{"sku":"milk","lot":{{"id":"L"}},"quantity":{quantity}}}}}"#
        )
    }

    #[test]
    fn rows_that_differ_in_their_values_are_read_alike_and_those_that_differ_otherwise_are_not() {
        let same = ["1", "22", "-3", "null", "\"4\""].map(|quantity| sale(r#""a""#, quantity));
        assert_eq!(agrees(&same), 3, "the second tells what varies");
        let unlike = [
            sale(r#""a""#, "1"),
            sale(r#""a""#, "1.5"),
            sale(r#""a""#, "1"),
            sale(r#""\n""#, "1"),
            sale(r#""a""#, "1"),
            sale(r#""a""#, "1").replace("quantity", "delta"),
            sale(r#""a""#, "1").replace("}}", ",\"unit\":\"g\"}}"),
            sale(r#""a""#, "1")[..70].to_owned(),
            "{}".to_owned(),
        ];
        assert_eq!(agrees(&unlike), 0);
        // An extension has a value of its own in each row, and so has a lot.
        let own = [("main/milk", "\"L\""), ("main/m", "null"), ("", "\"M\"")].map(|(subject, lot)| {
            let row = sale(r#""a""#, "1").replace("main/milk", subject);
            row.replace("\"L\"", lot)
        });
        assert_eq!(agrees(&own), 1);
    }

    #[test]
    fn a_body_whose_rows_alternate_is_scanned() {
        let rows: Vec<String> = (0..40)
            .map(|row| {
                if row % 2 == 0 {
                    sale("\"a\"", "1")
                } else {
                    sale("\"a\"", "1").replace("quantity", "delta")
                }
            })
            .collect();
        let mut alike = Alike::default();
        for row in &rows {
            assert!(alike.row(row, 0).is_some());
        }
        assert_eq!((alike.hits, alike.misses), (0, MISSES + 1));
        assert_eq!(agrees(&rows), 0);
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_if_it_stood_alone(
            key in proptest::sample::select(vec!["\"id\":", "\"id\" :", " \"time\":", "\"x\":"]),
            field in proptest::sample::select(vec!["\"sku\":", "\"quantity\": ", "\"lot\":{\"id\":"]),
            rows in proptest::collection::vec(
                (
                    prop_oneof![6 => "\"[ab]\"", 1 => "(\"[a-z\"\\\\]{0,3}\"|-?[0-9]{1,3}|null|[0-9]\\.[0-9])"],
                    prop_oneof![6 => "[0-9]{1,2}", 1 => "(\"[a-z]{0,3}\"|-|null|\\{\\}|)"],
                    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just(",\"unit\":\"g\"")],
                ),
                1..12,
            ),
        ) {
            let close = if field.contains("lot") { "}" } else { "" };
            let texts: Vec<String> = rows
                .iter()
                .map(|(value, inner, after)| format!("{{{key}{value},\"data\":{{{field}{inner}{close}{after}}}}}"))
                .collect();
            agrees(&texts);
        }
    }
}
