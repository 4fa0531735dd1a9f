//! What the sender wrote, as 64 bits: the same content under the same id is a repetition, other content is `id_reused`.
//!
//! The digest is of what the fields mean, in a fixed order, not of the text: a retry may come with other spacing, another
//! order of fields or another (equal) offset. Attributes that brokers add on the way (trace, partition, extensions) are left out.
//! Hashing the row's bytes was rejected for that reason.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::event::{Event, Inside, LotRef, ReturnTo, What};

/// Collects fields into one buffer; each text is preceded by its length, so that no two contents read alike.
pub(super) struct Canon<'b>(pub(super) &'b mut Scratch);

/// Where fields are collected, event after event.
pub(super) type Scratch = Vec<u8>;

/// Of the fields of one event, usually: a single event pays for each time that they outgrow their place.
pub(super) const USUAL_BYTES: usize = 192;

impl Canon<'_> {
    fn number(&mut self, n: i64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn optional(&mut self, n: Option<i64>) {
        self.0.push(u8::from(n.is_some()));
        self.number(n.unwrap_or_default());
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn lot(&mut self, lot: &LotRef) {
        self.text(lot.id.as_str());
        self.optional(lot.expires_on.map(|day| i64::from(day.0)));
    }

    fn what(&mut self, what: &What) {
        self.text(what.word());
        match what {
            What::Receipt { quantity }
            | What::Quarantine { quantity }
            | What::Release { quantity }
            | What::Count { quantity }
            | What::Snapshot { quantity } => self.number(*quantity),
            What::Sale { quantity, reservation } => {
                self.number(*quantity);
                self.maybe(reservation.as_ref().map(|id| id.as_str()));
            }
            What::Return { quantity, to } => {
                self.number(*quantity);
                self.0.push(u8::from(*to == ReturnTo::Quarantine));
            }
            What::WriteOff { quantity, from } => {
                self.number(*quantity);
                self.0.push(match from {
                    Inside::Sellable => 0,
                    Inside::Quarantine => 1,
                    Inside::InTransit => 2,
                });
            }
            What::TransferOut {
                quantity,
                transfer,
                to_warehouse,
            } => {
                self.number(*quantity);
                self.text(transfer.as_str());
                self.text(to_warehouse.as_str());
            }
            What::TransferIn { quantity, transfer } => {
                self.number(*quantity);
                self.text(transfer.as_str());
            }
            What::Underway {
                lots,
                transfer,
                from_warehouse,
            } => {
                for (lot, quantity) in lots {
                    self.lot(lot);
                    self.number(*quantity);
                }
                self.text(transfer.as_str());
                self.text(from_warehouse.as_str());
            }
            What::Adjustment { delta } => self.number(*delta),
            What::Void { event } => self.text(event.as_str()),
        }
    }
}

/// The bytes of the optional fields, when none of them is there: four texts and a stream's name of five bytes each, two numbers of
/// nine, and the lot's mark.
const NOTHING_MORE: usize = 5 * 5 + 2 * 9 + 1;

/// Whether an event has none of the optional fields that stand after its time.
fn says_no_more(event: &Event) -> bool {
    let origin = &event.origin;
    let plain = event.unit.is_none() && event.lot.is_none() && event.stream.is_none() && event.expected_version.is_none();
    plain && origin.actor.is_none() && origin.reason.is_none() && origin.document.is_none()
}

/// The fingerprint of an event; `scratch` is emptied and used.
pub(super) fn of(event: &Event, scratch: &mut Scratch) -> u64 {
    scratch.clear();
    let mut canon = Canon(scratch);
    canon.what(&event.what);
    canon.text(event.warehouse.as_str());
    canon.text(event.sku.as_str());
    canon.optional(event.time.map(|time| time.0));
    if says_no_more(event) {
        // What is left out is written as zeros: so are all the fields below, and most events have none of them.
        canon.0.extend_from_slice(&[0; NOTHING_MORE]);
        return xxh3_64(canon.0);
    }
    canon.maybe(event.unit.map(|unit| unit.as_str()));
    canon.0.push(u8::from(event.lot.is_some()));
    if let Some(lot) = &event.lot {
        canon.lot(lot);
    }
    canon.maybe(event.stream.as_ref().map(|position| position.stream.as_str()));
    canon.optional(event.stream.as_ref().map(|position| position.seq as i64));
    canon.optional(event.expected_version.map(|version| version as i64));
    canon.maybe(event.origin.actor.as_deref());
    canon.maybe(event.origin.reason.as_deref());
    canon.maybe(event.origin.document.as_deref());
    xxh3_64(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Origin;
    use crate::domain::units::{Id, Time};

    /// Field by field, without the short cut.
    fn spelt(event: &Event) -> u64 {
        let mut scratch = Scratch::new();
        let mut canon = Canon(&mut scratch);
        canon.what(&event.what);
        canon.text(event.warehouse.as_str());
        canon.text(event.sku.as_str());
        canon.optional(event.time.map(|time| time.0));
        canon.maybe(None);
        canon.0.push(0);
        canon.maybe(None);
        canon.optional(None);
        canon.optional(None);
        (0..3).for_each(|_| canon.maybe(None));
        xxh3_64(&scratch)
    }

    /// Fingerprints lie in the journal: a repetition after an upgrade must have the same.
    #[test]
    fn an_event_that_says_no_more_has_the_fingerprint_that_it_always_had() {
        let id = |text: &str| Id::trusted(text);
        let event = Event {
            origin: Origin {
                source: id("pos/2"),
                id: id("e-1"),
                actor: None,
                reason: None,
                document: None,
                trace: None,
                extensions: None,
                fingerprint: 0,
            },
            warehouse: id("main"),
            sku: id("milk"),
            time: Some(Time(1_795_435_200_000)),
            unit: None,
            lot: None,
            stream: None,
            expected_version: None,
            what: What::Sale {
                quantity: 3,
                reservation: None,
            },
        };
        assert_eq!(of(&event, &mut Scratch::new()), spelt(&event));
    }
}
