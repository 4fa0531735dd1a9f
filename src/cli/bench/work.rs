//! What may be driven: the kinds of requests, and the mixes of them that have a name.
//!
//! Rejected: a script language for mixes, as other generators have. The few that matter here have a name, and so a figure of one
//! run can be compared with that of another.

use clap::ValueEnum;

use super::request::Writer;

/// One kind of request; each has its own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One sale of one unit.
    Sale,
    /// One receipt of one unit.
    Receipt,
    /// A basket of one line, held.
    Hold,
    /// The same basket, confirmed.
    Confirm,
    /// A basket of several lines, held.
    Basket,
    /// What is true of one SKU now.
    Read,
    /// Many sales and receipts in one request.
    Batch,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Kind; 7] = [
        Kind::Sale,
        Kind::Receipt,
        Kind::Hold,
        Kind::Confirm,
        Kind::Basket,
        Kind::Read,
        Kind::Batch,
    ];

    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sale => "sale",
            Kind::Receipt => "receipt",
            Kind::Hold => "hold",
            Kind::Confirm => "confirm",
            Kind::Basket => "basket",
            Kind::Read => "read",
            Kind::Batch => "batch",
        }
    }
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Sales, one a request
    Sale,
    /// Receipts, one a request
    Receipt,
    /// Baskets of one line, each held and then confirmed
    HoldConfirm,
    /// Baskets of several lines, held (--lines)
    Basket,
    /// What is true of one SKU
    Read,
    /// Many events in a request (--batch)
    Batch,
    /// A shop's day: 55 % reads, 25 % sales, 15 % hold and confirm, 3 % receipts, 2 % baskets
    Mixed,
}

impl Work {
    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Work::Sale => "sale",
            Work::Receipt => "receipt",
            Work::HoldConfirm => "hold-confirm",
            Work::Basket => "basket",
            Work::Read => "read",
            Work::Batch => "batch",
            Work::Mixed => "mixed",
        }
    }

    /// The kind of the next request of a connection.
    pub fn next(self, writer: &mut Writer) -> Kind {
        // A basket that was held by this connection is confirmed before anything else is done.
        if writer.holds() {
            return Kind::Confirm;
        }
        match self {
            Work::Sale => Kind::Sale,
            Work::Receipt => Kind::Receipt,
            Work::HoldConfirm => Kind::Hold,
            Work::Basket => Kind::Basket,
            Work::Read => Kind::Read,
            Work::Batch => Kind::Batch,
            Work::Mixed => match writer.draw(100) {
                0..55 => Kind::Read,
                55..80 => Kind::Sale,
                80..95 => Kind::Hold,
                95..98 => Kind::Receipt,
                _ => Kind::Basket,
            },
        }
    }
}
