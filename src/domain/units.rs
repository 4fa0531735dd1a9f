//! The measures everything else is written in: ids, quantities, times and days.
//!
//! They are newtypes where a mix-up would lose units (a day is not an instant), and plain `i64` where arithmetic is
//! the point (quantities), with checked helpers as the only way to add.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The most base units in one event or one account, either sign: 10^12.
pub const MAX_QUANTITY: i64 = 1_000_000_000_000;

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 128;

/// The id of a warehouse, SKU, lot, source, channel or reservation: 1 to 128 bytes of printable UTF-8, no `/`, not `.`
/// or `..`. Cheap to clone. (A source may contain `/`: see [`Id::source`].)
#[derive(Clone)]
pub struct Id(
    /// `None`: the lot `""`. Nearly every SKU has it and every event names it, so that it is no place in memory that all of them count in.
    Option<Arc<str>>,
);

/// Why a text is no [`Id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadId {
    /// Nothing there.
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    TooLong,
    /// A control character, a line separator or another character that does not print.
    Unprintable,
    /// A `/`, which paths need for themselves.
    Slash,
    /// `.` or `..`, which paths would resolve away.
    Dots,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadId::Empty => "must not be empty",
            BadId::TooLong => "must be at most 128 bytes of UTF-8",
            BadId::Unprintable => "must be printable: no control characters",
            BadId::Slash => "must not contain '/'",
            BadId::Dots => "must not be '.' or '..'",
        })
    }
}

fn printable(text: &str) -> bool {
    // ASCII, the usual case, is decided by its bytes, all of them at once; the rest by Unicode's own classes of what cannot be seen.
    let ascii = text.bytes().fold(true, |plain, b| plain & (0x20..0x7f).contains(&b));
    ascii || text.chars().all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

impl Id {
    /// Checks a text against the rules of an id.
    pub fn check(text: &str) -> Result<(), BadId> {
        if text.contains('/') {
            return Err(BadId::Slash);
        }
        Id::check_source(text)
    }

    /// Checks a text against the rules of a source or event id: those of an id, but `/` is allowed (`wms/7`).
    pub fn check_source(text: &str) -> Result<(), BadId> {
        if text.is_empty() {
            Err(BadId::Empty)
        } else if text.len() > MAX_ID_BYTES {
            Err(BadId::TooLong)
        } else if text == "." || text == ".." {
            Err(BadId::Dots)
        } else if !printable(text) {
            Err(BadId::Unprintable)
        } else {
            Ok(())
        }
    }

    /// An id of a warehouse, SKU, lot, channel, transfer or reservation.
    pub fn new(text: &str) -> Result<Id, BadId> {
        Id::check(text).map(|()| Id::trusted(text))
    }

    /// The id of a source or of an event: as [`Id::new`], with `/` allowed.
    pub fn source(text: &str) -> Result<Id, BadId> {
        Id::check_source(text).map(|()| Id::trusted(text))
    }

    /// The lot `""`: stock without a lot. The only empty id.
    pub fn no_lot() -> Id {
        Id(None)
    }

    /// An id that was checked before, for instance when it was written: not checked again.
    pub fn trusted(text: &str) -> Id {
        Id((!text.is_empty()).then(|| text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether that is its text. To be asked of what is often the lot `""`: two texts of no length are compared at addresses that
    /// nothing lies at, for which a processor with masked loads (AVX-512) takes up to 150 ns.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Some(own) => **own == *text,
            None => text.is_empty(),
        }
    }
}

impl PartialEq for Id {
    /// As the texts are. One text that is shared is not read for it, and neither is the lot `""`.
    fn eq(&self, other: &Id) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || **one == **other,
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Id) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Id) -> Ordering {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => one.cmp(other),
            // The empty text is before every other.
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub i64);

impl Time {
    /// The instant `ms` milliseconds later (earlier when negative); stays at the ends of time instead of wrapping.
    pub fn plus_ms(self, ms: i64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

/// An instant that may be missing, in the room of one: of a hundred thousand SKUs each has three. It takes the earliest instant of all
/// for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaybeTime(i64);

impl MaybeTime {
    /// None.
    pub const NONE: MaybeTime = MaybeTime(i64::MIN);

    /// The instant, if there is one.
    pub fn get(self) -> Option<Time> {
        (self != MaybeTime::NONE).then_some(Time(self.0))
    }

    /// Puts it to a later instant, or leaves it.
    pub fn raise(&mut self, to: Time) {
        self.0 = self.0.max(to.0);
    }
}

impl Default for MaybeTime {
    fn default() -> MaybeTime {
        MaybeTime::NONE
    }
}

impl From<Option<Time>> for MaybeTime {
    fn from(time: Option<Time>) -> MaybeTime {
        time.map_or(MaybeTime::NONE, |time| MaybeTime(time.0))
    }
}

impl fmt::Debug for MaybeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A calendar day in some warehouse's zone: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub i32);

impl Day {
    /// The day `days` later; stays at the ends of time.
    pub fn plus(self, days: i32) -> Day {
        Day(self.0.saturating_add(days))
    }
}

/// The base unit of a SKU; quantities are integers of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Unit {
    /// Pieces.
    #[default]
    Each,
    /// Grams.
    G,
    /// Millilitres.
    Ml,
}

impl Unit {
    /// The unit's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Each => "each",
            Unit::G => "g",
            Unit::Ml => "ml",
        }
    }

    /// The unit of that name.
    pub fn parse(text: &str) -> Option<Unit> {
        match text {
            "each" => Some(Unit::Each),
            "g" => Some(Unit::G),
            "ml" => Some(Unit::Ml),
            _ => None,
        }
    }
}

/// A sum that would leave ±[`MAX_QUANTITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// `a + b`, refused when it would leave ±[`MAX_QUANTITY`].
pub fn add(a: i64, b: i64) -> Result<i64, Overflow> {
    a.checked_add(b)
        .filter(|sum| sum.unsigned_abs() <= MAX_QUANTITY as u64)
        .ok_or(Overflow)
}

/// `a - b`, refused when it would leave ±[`MAX_QUANTITY`].
pub fn sub(a: i64, b: i64) -> Result<i64, Overflow> {
    b.checked_neg().ok_or(Overflow).and_then(|b| add(a, b))
}
