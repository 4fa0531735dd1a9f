//! A dead letter as it is kept: what an actor died of, and what was done about it.
//!
//! By itself, because the codec writes it: what the codec needs is compiled without the view, too, where instructions are counted.

use crate::domain::units::{Id, Time};

/// A dead letter, as the list of them shows it. The event itself is in its fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where.
    pub warehouse: Id,
    /// Of which SKU; empty when it speaks of none.
    pub sku: Box<str>,
    /// What its actor died with.
    pub error: Box<str>,
    /// `open`, `replayed` or `discarded` (`restored` is `open` again).
    pub state: Box<str>,
    /// When its state was last decided.
    pub recorded: Time,
}
