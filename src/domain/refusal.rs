//! A business refusal: a value with a stable code, never a crash. The HTTP status of each code is `http::error`'s.

use super::units::{Id, Overflow};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The stable codes of every problem the node can answer with. They are part of the API and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }
        impl Code {
            /// Every code, in the order of the API's page.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            /// The code on the wire.
            pub fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }
            /// The code of that text.
            pub fn parse(text: &str) -> Option<Code> { match text { $($text => Some(Code::$name),)* _ => None } }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson = "malformed_json",
    /// A header cannot be read.
    MalformedHeader = "malformed_header",
    /// One row of a batch is not a JSON object.
    MalformedRow = "malformed_row",
    /// Who are you?
    Unauthenticated = "unauthenticated",
    /// You may not.
    Forbidden = "forbidden",
    /// No such warehouse here (404 in a path, 422 in a body).
    UnknownWarehouse = "unknown_warehouse",
    /// No such SKU here.
    UnknownSku = "unknown_sku",
    /// No such reservation.
    UnknownReservation = "unknown_reservation",
    /// The event to be voided is not known.
    UnknownEvent = "unknown_event",
    /// No such page.
    NotFound = "not_found",
    /// The page does not take this method.
    MethodNotAllowed = "method_not_allowed",
    /// The answer cannot be given in the form asked for.
    NotAcceptable = "not_acceptable",
    /// The journal no longer reaches back that far.
    HistoryGone = "history_gone",
    /// The cursor is of an epoch, or an age, that is gone.
    CursorGone = "cursor_gone",
    /// The body is of a kind this page does not read.
    UnsupportedMediaType = "unsupported_media_type",
    /// The request did not arrive in time.
    TooSlow = "too_slow",
    /// More bytes than the limit.
    BodyTooLarge = "body_too_large",
    /// More rows than the limit.
    BatchTooLarge = "batch_too_large",
    /// The address is too long.
    UriTooLong = "uri_too_long",
    /// The headers are too large.
    HeadersTooLarge = "headers_too_large",
    /// The same id with other content.
    IdReused = "id_reused",
    /// Not enough to promise, to take away or to release.
    InsufficientStock = "insufficient_stock",
    /// The SKU or reservation has moved on.
    VersionMismatch = "version_mismatch",
    /// The reservation was confirmed.
    AlreadyConfirmed = "already_confirmed",
    /// The reservation was cancelled.
    AlreadyCancelled = "already_cancelled",
    /// The reservation has expired.
    AlreadyExpired = "already_expired",
    /// The event was voided before.
    AlreadyVoided = "already_voided",
    /// A basket partly taken cannot be replaced.
    PartlyTaken = "partly_taken",
    /// A field nobody knows.
    UnknownField = "unknown_field",
    /// A field's value is not what it must be.
    InvalidValue = "invalid_value",
    /// The unit is not the SKU's.
    UnitMismatch = "unit_mismatch",
    /// The lot has another expiry date.
    LotMismatch = "lot_mismatch",
    /// More than the basket holds.
    ExceedsHeld = "exceeds_held",
    /// Counts, snapshots and voids cannot be voided.
    NotVoidable = "not_voidable",
    /// An account would leave ±10^12.
    QuantityOverflow = "quantity_overflow",
    /// The time is older than what is remembered, or too far ahead.
    TimeOutOfRange = "time_out_of_range",
    /// The node failed; the dead letter's id tells more.
    InternalError = "internal_error",
    /// Too many requests from one caller.
    RateLimited = "rate_limited",
    /// The valve is shut: try again after `Retry-After`.
    Overloaded = "overloaded",
    /// The node is still starting.
    Starting = "starting",
    /// The node is stopping.
    Stopping = "stopping",
    /// The disk is full: reads go on.
    StorageFull = "storage_full",
}

/// One line of a basket that could not be promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The SKU.
    pub sku: Id,
    /// Base units asked for.
    pub requested: i64,
    /// Base units that could have been promised.
    pub available: i64,
}

/// Why something was refused: a code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What is wrong, where, and what to do, in one or two sentences.
    pub detail: String,
    /// A JSON pointer to the field at fault, where there is one.
    pub field: Option<String>,
    /// For [`Code::InsufficientStock`]: the lines that fell short.
    pub lines: Vec<Shortage>,
}

impl Refusal {
    /// A refusal without a field.
    pub fn new(code: Code, detail: impl Into<String>) -> Refusal {
        Refusal {
            code,
            detail: detail.into(),
            field: None,
            lines: Vec::new(),
        }
    }

    /// A refusal of one field, named by JSON pointer (`/data/quantity`).
    pub fn field(code: Code, field: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal {
            field: Some(field.into()),
            ..Refusal::new(code, detail)
        }
    }
}

impl From<Overflow> for Refusal {
    fn from(_: Overflow) -> Refusal {
        Refusal::new(
            Code::QuantityOverflow,
            "an account would leave ±10^12 base units; nothing was changed",
        )
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}
