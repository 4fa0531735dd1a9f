//! An event as JSON text, kept with the facts that may need it again: a dead letter's event, to be replayed, and what the
//! receiving warehouse of a transfer must be told.
//!
//! CloudEvents in structured mode, as the API takes them, so that a person can read a dead letter and send it by hand. The
//! bytes as received were rejected: a row of a binary-mode message or of a table has none of its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::event::{Event, Inside, LotRef, Origin, ReturnTo, StreamPosition, What};
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::{date_of, days_of};

/// Stands before the message in a dead letter's JSON.
const MESSAGE: &str = ",\"message\":";

#[derive(Serialize, Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<String>,
    data: Data,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Data {
    warehouse: String,
    sku: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lot: Option<Lot>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lots: Vec<(Lot, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_warehouse: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_warehouse: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
}

#[derive(Serialize, Deserialize, Clone)]
struct Lot {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_on: Option<String>,
}

impl Lot {
    fn of(lot: &LotRef) -> Lot {
        Lot {
            id: lot.id.as_str().to_owned(),
            expires_on: lot.expires_on.and_then(date_of).map(|date| date.to_string()),
        }
    }

    fn read(&self) -> Option<LotRef> {
        let day = |text: &String| text.parse::<jiff::civil::Date>().ok().map(|date| Day(days_of(date)));
        let expires_on = match &self.expires_on {
            Some(text) => Some(day(text)?),
            None => None,
        };
        Some(LotRef {
            id: Id::trusted(&self.id),
            expires_on,
        })
    }
}

/// The event as JSON.
pub fn render(event: &Event) -> String {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let origin = &event.origin;
    let mut data = Data {
        warehouse: event.warehouse.to_string(),
        sku: event.sku.to_string(),
        unit: event.unit.map(|unit| unit.as_str().to_owned()),
        lot: event.lot.as_ref().map(Lot::of),
        reason: text(&origin.reason),
        document: text(&origin.document),
        stream: event.stream.as_ref().map(|stream| stream.stream.to_string()),
        stream_seq: event.stream.as_ref().map(|stream| stream.seq),
        expected_version: event.expected_version,
        ..Data::default()
    };
    write_what(&event.what, &mut data);
    let time = event.time.and_then(|time| jiff::Timestamp::from_millisecond(time.0).ok());
    let envelope = Envelope {
        specversion: "1.0".to_owned(),
        id: origin.id.to_string(),
        source: origin.source.to_string(),
        r#type: format!("inventory.{}", event.what.word()),
        time: time.map(|time| time.to_string()),
        traceparent: origin.trace.as_ref().map(|trace| trace.text().into_owned()),
        actor: text(&origin.actor),
        extensions: text(&origin.extensions),
        data,
    };
    // A structure of strings and integers always serialises.
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The event as JSON, and beside it the message (JSON, too) that it came with, for a dead letter: [`parse`] reads it as it does the
/// event alone.
pub fn render_with(event: &Event, message: Option<String>) -> String {
    let mut text = render(event);
    if let Some(message) = message
        && text.pop() == Some('}')
    {
        text.push_str(MESSAGE);
        text.push_str(&message);
        text.push('}');
    }
    text
}

/// The event and the message that [`render_with`] wrote, each as JSON; a text without a message is all event.
pub fn parts(text: &str) -> (Cow<'_, str>, Option<&str>) {
    // What an event's envelope holds is written before it, and a quotation mark within a text is escaped.
    match text.split_once(MESSAGE) {
        Some((event, message)) => (Cow::Owned(format!("{event}}}")), message.strip_suffix('}')),
        None => (Cow::Borrowed(text), None),
    }
}

fn write_what(what: &What, data: &mut Data) {
    match what {
        What::Receipt { quantity } | What::Quarantine { quantity } | What::Release { quantity } => {
            data.quantity = Some(*quantity)
        }
        What::Count { quantity } | What::Snapshot { quantity } => data.quantity = Some(*quantity),
        What::Sale { quantity, reservation } => {
            data.quantity = Some(*quantity);
            data.reservation = reservation.as_ref().map(Id::to_string);
        }
        What::Return { quantity, to } => {
            data.quantity = Some(*quantity);
            data.to = Some(
                if *to == ReturnTo::Quarantine {
                    "quarantine"
                } else {
                    "sellable"
                }
                .to_owned(),
            );
        }
        What::WriteOff { quantity, from } => {
            data.quantity = Some(*quantity);
            let from = match from {
                Inside::Sellable => "sellable",
                Inside::Quarantine => "quarantine",
                Inside::InTransit => "in_transit",
            };
            data.from = Some(from.to_owned());
        }
        What::TransferOut {
            quantity,
            transfer,
            to_warehouse,
        } => {
            data.quantity = Some(*quantity);
            data.transfer = Some(transfer.to_string());
            data.to_warehouse = Some(to_warehouse.to_string());
        }
        What::TransferIn { quantity, transfer } => {
            data.quantity = Some(*quantity);
            data.transfer = Some(transfer.to_string());
        }
        What::Underway {
            lots,
            transfer,
            from_warehouse,
        } => {
            data.lots = lots.iter().map(|(lot, units)| (Lot::of(lot), *units)).collect();
            data.transfer = Some(transfer.to_string());
            data.from_warehouse = Some(from_warehouse.to_string());
        }
        What::Adjustment { delta } => data.delta = Some(*delta),
        What::Void { event } => data.event = Some(event.to_string()),
    }
}

/// The event that [`render`] wrote; `None` when the text is none of its.
pub fn parse(text: &str) -> Option<Event> {
    let envelope: Envelope = serde_json::from_str(text).ok()?;
    let data = envelope.data;
    let boxed = |text: Option<String>| text.map(String::into_boxed_str);
    let time = match envelope.time {
        Some(text) => Some(Time(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())),
        None => None,
    };
    let what = read_what(envelope.r#type.strip_prefix("inventory.")?, &data)?;
    let stream = match (data.stream, data.stream_seq) {
        (Some(stream), Some(seq)) => Some(StreamPosition {
            stream: Id::trusted(&stream),
            seq,
        }),
        _ => None,
    };
    let lot = match &data.lot {
        Some(lot) => Some(lot.read()?),
        None => None,
    };
    Some(Event {
        origin: Origin {
            source: Id::trusted(&envelope.source),
            id: Id::trusted(&envelope.id),
            actor: boxed(envelope.actor),
            reason: boxed(data.reason),
            document: boxed(data.document),
            trace: envelope.traceparent.as_deref().map(Into::into),
            extensions: boxed(envelope.extensions),
            fingerprint: 0,
        },
        warehouse: Id::trusted(&data.warehouse),
        sku: Id::trusted(&data.sku),
        time,
        unit: data.unit.as_deref().and_then(Unit::parse),
        lot,
        stream,
        expected_version: data.expected_version,
        what,
    })
}

fn read_what(word: &str, data: &Data) -> Option<What> {
    let id = |text: &Option<String>| text.as_deref().map(Id::trusted);
    Some(match word {
        "receipt" => What::Receipt {
            quantity: data.quantity?,
        },
        "sale" => What::Sale {
            quantity: data.quantity?,
            reservation: id(&data.reservation),
        },
        "return" => {
            let to = if data.to.as_deref() == Some("quarantine") {
                ReturnTo::Quarantine
            } else {
                ReturnTo::Sellable
            };
            What::Return {
                quantity: data.quantity?,
                to,
            }
        }
        "quarantine" => What::Quarantine {
            quantity: data.quantity?,
        },
        "release" => What::Release {
            quantity: data.quantity?,
        },
        "write_off" => {
            let from = match data.from.as_deref() {
                Some("quarantine") => Inside::Quarantine,
                Some("in_transit") => Inside::InTransit,
                _ => Inside::Sellable,
            };
            What::WriteOff {
                quantity: data.quantity?,
                from,
            }
        }
        "transfer_out" => What::TransferOut {
            quantity: data.quantity?,
            transfer: id(&data.transfer)?,
            to_warehouse: id(&data.to_warehouse)?,
        },
        "transfer_in" => What::TransferIn {
            quantity: data.quantity?,
            transfer: id(&data.transfer)?,
        },
        "underway" => {
            let lots = data
                .lots
                .iter()
                .map(|(lot, units)| Some((lot.read()?, *units)))
                .collect::<Option<Vec<_>>>()?;
            What::Underway {
                lots,
                transfer: id(&data.transfer)?,
                from_warehouse: id(&data.from_warehouse)?,
            }
        }
        "adjustment" => What::Adjustment { delta: data.delta? },
        "count" => What::Count {
            quantity: data.quantity?,
        },
        "snapshot" => What::Snapshot {
            quantity: data.quantity?,
        },
        "void" => What::Void { event: id(&data.event)? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        let origin = Origin {
            source: Id::trusted("wms/7"),
            id: Id::trusted("e-1"),
            actor: Some("ivanova".into()),
            reason: Some("damaged".into()),
            document: None,
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            extensions: Some("{\"dataschema\":\"x\"}".into()),
            fingerprint: 0,
        };
        let lot = Some(LotRef {
            id: Id::trusted("L1"),
            expires_on: Some(Day(20_000)),
        });
        let stream = Some(StreamPosition {
            stream: Id::trusted("s"),
            seq: 4,
        });
        let (warehouse, sku) = (Id::trusted("main"), Id::trusted("молоко"));
        Event {
            origin,
            warehouse,
            sku,
            time: Some(Time(1_700_000_000_123)),
            unit: Some(Unit::G),
            lot,
            stream,
            expected_version: Some(3),
            what,
        }
    }

    #[test]
    fn every_kind_of_event_survives_the_round_trip() {
        let id = Id::trusted("t-1");
        let lots = vec![
            (
                LotRef {
                    id: Id::no_lot(),
                    expires_on: None,
                },
                3,
            ),
            (
                LotRef {
                    id: id.clone(),
                    expires_on: Some(Day(1)),
                },
                -4,
            ),
        ];
        let kinds = [
            What::Receipt { quantity: 1 },
            What::Sale {
                quantity: 2,
                reservation: Some(id.clone()),
            },
            What::Sale {
                quantity: 2,
                reservation: None,
            },
            What::Return {
                quantity: 3,
                to: ReturnTo::Quarantine,
            },
            What::Quarantine { quantity: 4 },
            What::Release { quantity: 5 },
            What::WriteOff {
                quantity: 6,
                from: Inside::InTransit,
            },
            What::TransferOut {
                quantity: 7,
                transfer: id.clone(),
                to_warehouse: id.clone(),
            },
            What::TransferIn {
                quantity: 8,
                transfer: id.clone(),
            },
            What::Underway {
                lots,
                transfer: id.clone(),
                from_warehouse: id.clone(),
            },
            What::Adjustment { delta: -9 },
            What::Count { quantity: 0 },
            What::Snapshot { quantity: 10 },
            What::Void { event: id },
        ];
        for what in kinds {
            let event = event(what);
            assert_eq!(parse(&render(&event)).as_ref(), Some(&event));
        }
        assert_eq!(parse("{}"), None);
    }

    #[test]
    fn a_message_stands_beside_its_event_and_is_told_apart_from_it() {
        let mut event = event(What::Receipt { quantity: 1 });
        event.origin.document = Some("a ,\"message\":{} of its own".into());
        let alone = render(&event);
        let message = r#"{"topic":"t","body":",\"message\":"}"#;
        let both = render_with(&event, Some(message.to_owned()));
        assert_eq!(parts(&both), (Cow::Borrowed(alone.as_str()), Some(message)));
        assert_eq!(parts(&alone), (Cow::Borrowed(alone.as_str()), None));
        assert_eq!(parse(&both).as_ref(), Some(&event));
        assert!(serde_json::from_str::<serde_json::Value>(&both).unwrap()["message"]["topic"] == "t");
    }
}
