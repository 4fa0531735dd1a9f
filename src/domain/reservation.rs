//! Reservations: `held → confirmed | cancelled | expired`, all lines or none.

use super::units::{Day, Id, Time};

/// Where a reservation stands. The three ends are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its claims are live.
    Held,
    /// Taken.
    Confirmed,
    /// Given back by the caller.
    Cancelled,
    /// Given back by the clock.
    Expired,
}

impl State {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Confirmed => "confirmed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }
}

/// One SKU of a basket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The SKU.
    pub sku: Id,
    /// Units asked for.
    pub quantity: i64,
    /// Units promised and not yet taken or released.
    pub held: i64,
    /// Units taken by confirm and by sales naming the basket.
    pub taken: i64,
    /// Of the units taken by a confirm, those that a sale has since matched.
    pub matched: i64,
    /// Of the units taken, those taken by the confirm (what later sales may match).
    pub confirmed: i64,
    /// Days of shelf life asked for.
    pub min_shelf_life_days: Option<u32>,
    /// The least expiry date that serves, fixed when it was held.
    pub good_until: Option<Day>,
}

/// How a reservation ended, to answer a repetition as the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Time,
    /// Fingerprint of the request that ended it.
    pub fingerprint: u64,
}

/// A basket of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, unique in its warehouse.
    pub id: Id,
    /// The channel it was promised on.
    pub channel: Id,
    /// Where it stands.
    pub state: State,
    /// 1 when new, one more with each change.
    pub version: u64,
    /// Fingerprint of the request that made it what it is (the `PUT`): the same again answers as the first time.
    pub request: u64,
    /// Fingerprint and result deadline of the last `extend`, if any.
    pub extended: Option<(u64, Option<Time>)>,
    /// The lines, in the order of the request.
    pub lines: Vec<Line>,
    /// When it was first held.
    pub created: Time,
    /// When it expires; `None`: never.
    pub expires: Option<Time>,
    /// How it ended, if it has.
    pub end: Option<End>,
}
