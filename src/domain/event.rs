//! What a source *claims* happened: it can be wrong, late, repeated or out of order. Deciding what is true is `stock`'s.

use super::trace::TraceParent;
use super::units::{Day, Id, Time, Unit};

/// Who said it, and everything about the saying that the ledger must be able to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The reporting system: `erp`, `wms/7`, `pos/2`, `console`; `node` for what the node does by itself.
    pub source: Id,
    /// The sender's id of the event; unique within (warehouse, source).
    pub id: Id,
    /// The person or account behind it, where known.
    pub actor: Option<Box<str>>,
    /// Why, in the sender's words.
    pub reason: Option<Box<str>>,
    /// The paper it belongs to: delivery note, invoice, act.
    pub document: Option<Box<str>>,
    /// W3C `traceparent`, as received.
    pub trace: Option<TraceParent>,
    /// Other CloudEvents attributes and extensions, as one JSON object, kept as received.
    pub extensions: Option<Box<str>>,
    /// 64-bit fingerprint of what the sender wrote (not of arrival time or trace): equal content, equal fingerprint.
    pub fingerprint: u64,
}

/// A lot as an event names it. The id `""` names the stock without a lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotRef {
    /// The lot's id.
    pub id: Id,
    /// Its expiry date, where the sender knows it.
    pub expires_on: Option<Day>,
}

/// A place in a numbered stream of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The stream's name.
    pub stream: Id,
    /// The number within it.
    pub seq: u64,
}

/// Where a return goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnTo {
    /// Back on the shelf.
    Sellable,
    /// To be looked at first.
    Quarantine,
}

/// An inside account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// On the shelf.
    Sellable,
    /// Held back.
    Quarantine,
    /// Underway to this warehouse.
    InTransit,
}

/// What happened, by type. Quantities are base units, positive unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `inventory.receipt`: goods came in.
    Receipt {
        /// Units that came.
        quantity: i64,
    },
    /// `inventory.sale`: goods went out, perhaps from a basket.
    Sale {
        /// Units that went.
        quantity: i64,
        /// The basket it belongs to.
        reservation: Option<Id>,
    },
    /// `inventory.return`: goods came back.
    Return {
        /// Units that came back.
        quantity: i64,
        /// Where they went.
        to: ReturnTo,
    },
    /// `inventory.quarantine`: sellable → quarantine.
    Quarantine {
        /// Units set aside.
        quantity: i64,
    },
    /// `inventory.release`: quarantine → sellable; refused beyond the book.
    Release {
        /// Units put back.
        quantity: i64,
    },
    /// `inventory.write_off`: gone for good; the origin carries the reason.
    WriteOff {
        /// Units lost.
        quantity: i64,
        /// The account that they leave.
        from: Inside,
    },
    /// `inventory.transfer_out`: left for another warehouse.
    TransferOut {
        /// Units that left.
        quantity: i64,
        /// The transfer's id.
        transfer: Id,
        /// Where they go.
        to_warehouse: Id,
    },
    /// `inventory.transfer_in`: arrived from another warehouse.
    TransferIn {
        /// Units that arrived.
        quantity: i64,
        /// The transfer's id.
        transfer: Id,
    },
    /// The other leg of a `transfer_out`, told to the receiving warehouse by the node itself: supply → in_transit.
    Underway {
        /// The lots that left, in base units each; they arrive as the same lots.
        lots: Vec<(LotRef, i64)>,
        /// The transfer's id.
        transfer: Id,
        /// Where they come from.
        from_warehouse: Id,
    },
    /// `inventory.adjustment`: sellable ↔ discrepancy; negative beyond the book is refused.
    Adjustment {
        /// Units more (or fewer, when negative). Not 0.
        delta: i64,
    },
    /// `inventory.count`: what physically stood there at the event's time, of one lot or of the SKU. May be 0.
    Count {
        /// Units seen.
        quantity: i64,
    },
    /// `inventory.snapshot`: what another system believes. May be 0.
    Snapshot {
        /// Units believed.
        quantity: i64,
    },
    /// `inventory.void`: takes back an earlier event of the same source.
    Void {
        /// The id of the event to be taken back.
        event: Id,
    },
}

impl What {
    /// The word for it on the wire, without the `inventory.` prefix.
    pub fn word(&self) -> &'static str {
        match self {
            What::Receipt { .. } => "receipt",
            What::Sale { .. } => "sale",
            What::Return { .. } => "return",
            What::Quarantine { .. } => "quarantine",
            What::Release { .. } => "release",
            What::WriteOff { .. } => "write_off",
            What::TransferOut { .. } => "transfer_out",
            What::TransferIn { .. } => "transfer_in",
            What::Underway { .. } => "underway",
            What::Adjustment { .. } => "adjustment",
            What::Count { .. } => "count",
            What::Snapshot { .. } => "snapshot",
            What::Void { .. } => "void",
        }
    }
}

/// One claim of one source about one SKU in one warehouse. Ids, ranges and required fields were checked at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who said it.
    pub origin: Origin,
    /// Where.
    pub warehouse: Id,
    /// Of what.
    pub sku: Id,
    /// The business time; `None` when the sender gave none (then: the time of arrival).
    pub time: Option<Time>,
    /// The unit, where the sender names it.
    pub unit: Option<Unit>,
    /// The lot, where the sender names it.
    pub lot: Option<LotRef>,
    /// The stream position, where the source numbers its events.
    pub stream: Option<StreamPosition>,
    /// Refused with `version_mismatch` when the SKU is not at this version.
    pub expected_version: Option<u64>,
    /// What happened.
    pub what: What,
}
