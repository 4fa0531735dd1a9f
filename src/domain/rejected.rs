//! A row that is no event. The door reads it, the node records it, and neither should have to know the other for that.
//!
//! Leaving it with the actors that record it was rejected: whatever decodes rows would then bring the actors with it.

use super::refusal::Refusal;
use super::units::Id;

/// The most bytes of text that one fact keeps.
pub const KEPT_ROW_BYTES: usize = 4 << 10;

/// A row that is no event: why, and as whose it can be answered and recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The event's id as far as it could be read.
    pub id: Option<Box<str>>,
    /// Its source as far as it could be read.
    pub source: Option<Box<str>>,
    /// The warehouse that it names, when that is one of this node's.
    pub warehouse: Option<Id>,
    /// The SKU as far as it could be read.
    pub sku: Option<Box<str>>,
    /// What it reports (`receipt`, `sale`, …); `row` when that could not be read.
    pub what: &'static str,
    /// The row's text, at most [`KEPT_ROW_BYTES`] of it.
    pub text: Option<Box<str>>,
    /// What is wrong with it.
    pub refusal: Box<Refusal>,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Rejected {
        Rejected {
            id: None,
            source: None,
            warehouse: None,
            sku: None,
            what: "row",
            text: None,
            refusal: Box::new(refusal),
        }
    }
}

impl Rejected {
    /// With the beginning of the row's text.
    pub fn of_text(mut self, row: &[u8]) -> Rejected {
        let text = String::from_utf8_lossy(&row[..row.len().min(KEPT_ROW_BYTES)]);
        self.text = Some(text.trim().into());
        self
    }
}
