//! An event as it stands on the wire: one pass over the text, strings borrowed, faults noted with their place.
//!
//! The pass goes on after the first fault, so that a row which is no JSON is always told apart from one that is JSON with a
//! wrong field.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::{Key, Scalar};
use super::suggest;
use crate::domain::refusal::{Code, Refusal};

macro_rules! fields {
    ($name:ident, $list:ident: $($variant:ident = $text:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum $name { $($variant),* }
        /// The names on the wire, in the order of the enum.
        pub(super) const $list: &[&str] = &[$($text),*];
        impl $name {
            pub(super) fn parse(text: &str) -> Option<$name> { match text { $($text => Some($name::$variant),)* _ => None } }
        }
    };
}

fields! { Attribute, ATTRIBUTES:
    SpecVersion = "specversion", Id = "id", Source = "source", Type = "type", Time = "time", Trace = "traceparent", Actor = "actor",
}

fields! { Field, FIELDS:
    Warehouse = "warehouse", Sku = "sku", Quantity = "quantity", Unit = "unit", Lot = "lot", Reason = "reason",
    Document = "document", Stream = "stream", StreamSeq = "stream_seq", ExpectedVersion = "expected_version",
    Reservation = "reservation", To = "to", From = "from", Transfer = "transfer", ToWarehouse = "to_warehouse",
    Delta = "delta", Event = "event",
}

impl Field {
    /// Its bit in a set of fields.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

fields! { LotField, LOT_FIELDS: Id = "id", ExpiresOn = "expires_on" }

/// The `lot` of an event.
#[derive(Debug, Default)]
pub(super) enum Lot<'a> {
    #[default]
    Absent,
    Given([Scalar<'a>; LOT_FIELDS.len()]),
    NotAnObject(&'static str),
}

/// A row that is a JSON object.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) attributes: [Scalar<'a>; ATTRIBUTES.len()],
    /// What `data` is when it is not an object.
    pub(super) data_kind: Option<&'static str>,
    pub(super) data: [Scalar<'a>; FIELDS.len()],
    /// Which fields of `data` were written, null included.
    pub(super) given: u32,
    pub(super) lot: Lot<'a>,
    /// Everything else, kept as received.
    pub(super) extensions: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// The first fault of form: an unknown or repeated field.
    pub(super) fault: Option<Refusal>,
}

impl<'a> Envelope<'a> {
    pub(super) fn attribute(&self, attribute: Attribute) -> &Scalar<'a> {
        &self.attributes[attribute as usize]
    }

    pub(super) fn field(&self, field: Field) -> &Scalar<'a> {
        &self.data[field as usize]
    }
}

/// A row that is JSON.
#[derive(Debug)]
pub(super) enum Row<'a> {
    Object(Box<Envelope<'a>>),
    Other(&'static str),
}

/// A key's text as one step of a JSON pointer (RFC 6901).
pub(super) fn pointer(parent: &str, key: &str) -> String {
    let key: String = key.chars().take(64).collect();
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn repeated(parent: &str, key: &str) -> Refusal {
    Refusal::field(
        Code::InvalidValue,
        pointer(parent, key),
        format!("the field {} is there twice; send it once", suggest::quoted(key)),
    )
}

pub(super) fn unknown(parent: &str, key: &str, known: &[&'static str]) -> Refusal {
    Refusal::field(
        Code::UnknownField,
        pointer(parent, key),
        format!(
            "nobody knows the field {}{}",
            suggest::quoted(key),
            suggest::hint(key, known.iter().copied())
        ),
    )
}

impl<'de> Deserialize<'de> for Row<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row<'de>, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Row<'de>, E> {
        Ok(Row::Other("a boolean"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Row<'de>, E> {
        Ok(Row::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Row<'de>, E> {
        Ok(Row::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Row<'de>, E> {
        Ok(Row::Other("a number"))
    }
    fn visit_str<E>(self, _: &str) -> Result<Row<'de>, E> {
        Ok(Row::Other("a string"))
    }
    fn visit_unit<E>(self) -> Result<Row<'de>, E> {
        Ok(Row::Other("null"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Row<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Row::Other("an array"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
        let mut row = Box::<Envelope<'de>>::default();
        let mut has_data = false;
        while let Some(Key(key)) = map.next_key()? {
            if let Some(attribute) = Attribute::parse(&key) {
                let place = &mut row.attributes[attribute as usize];
                let twice = *place != Scalar::Absent;
                *place = map.next_value()?;
                if twice {
                    row.fault.get_or_insert_with(|| repeated("", &key));
                }
            } else if key == "data" {
                if has_data {
                    row.fault.get_or_insert_with(|| repeated("", "data"));
                }
                has_data = true;
                row.data_kind = map.next_value_seed(DataSeed(&mut row))?;
            } else {
                let raw: &'de RawValue = map.next_value()?;
                if row.extensions.iter().any(|(known, _)| *known == key) {
                    row.fault.get_or_insert_with(|| repeated("", &key));
                }
                row.extensions.push((key, raw));
            }
        }
        if !has_data {
            row.data_kind = Some("nothing");
        }
        Ok(Row::Object(row))
    }
}

/// Reads `data` into the envelope; gives the kind of what is there when it is no object.
struct DataSeed<'r, 'a>(&'r mut Envelope<'a>);

impl<'de> DeserializeSeed<'de> for DataSeed<'_, 'de> {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! not_an_object {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value("a boolean"))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value("a number"))
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value("a number"))
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value("a number"))
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value("a string"))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value("an array"))
        }
    };
}

impl<'de> Visitor<'de> for DataSeed<'_, 'de> {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event's data")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some("null"))
    }
    not_an_object!(Some);
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let row = self.0;
        while let Some(Key(key)) = map.next_key()? {
            let Some(field) = Field::parse(&key) else {
                map.next_value::<IgnoredAny>()?;
                row.fault.get_or_insert_with(|| unknown("/data", &key, FIELDS));
                continue;
            };
            if row.given & field.bit() != 0 {
                row.fault.get_or_insert_with(|| repeated("/data", &key));
            }
            row.given |= field.bit();
            if field == Field::Lot {
                row.lot = map.next_value_seed(LotSeed(&mut row.fault))?;
            } else {
                row.data[field as usize] = map.next_value()?;
            }
        }
        Ok(None)
    }
}

struct LotSeed<'r>(&'r mut Option<Refusal>);

impl<'de> DeserializeSeed<'de> for LotSeed<'_> {
    type Value = Lot<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Lot<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LotSeed<'_> {
    type Value = Lot<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a lot")
    }
    fn visit_unit<E>(self) -> Result<Lot<'de>, E> {
        Ok(Lot::Absent)
    }
    not_an_object!(Lot::NotAnObject);
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lot<'de>, A::Error> {
        let mut lot = <[Scalar<'de>; LOT_FIELDS.len()]>::default();
        while let Some(Key(key)) = map.next_key()? {
            let Some(field) = LotField::parse(&key) else {
                map.next_value::<IgnoredAny>()?;
                self.0.get_or_insert_with(|| unknown("/data/lot", &key, LOT_FIELDS));
                continue;
            };
            let place = &mut lot[field as usize];
            if *place != Scalar::Absent {
                self.0.get_or_insert_with(|| repeated("/data/lot", &key));
            }
            *place = map.next_value()?;
        }
        Ok(Lot::Given(lot))
    }
}
