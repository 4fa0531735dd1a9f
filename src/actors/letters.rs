//! Dead letters: what they hold is tried again, as it was received.
//!
//! An event's letter has the event as its payload, a command's the command, both as JSON that a person can read. A table of its own
//! for commands was rejected: a dead letter is a fact like others, found, settled and forgotten in one way.

use serde::{Deserialize, Serialize};

use super::batch::Verdict;
use super::node::{CommandError, Node, Setting, lost};
use super::warehouse::{BasketCommand, REPLAYED};
use crate::domain::fact::{Fact, Outcome, Subject};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{ConfirmLine, ConfirmRequest, HoldRequest, LineRequest};
use crate::domain::units::{Id, Time};
use crate::storage::payload;

#[derive(Serialize, Deserialize)]
struct WrittenLine {
    sku: String,
    quantity: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_shelf_life_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lots: Vec<(String, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Written {
    Hold {
        channel: String,
        lines: Vec<WrittenLine>,
        ttl_s: Option<u32>,
        allow_partial: bool,
        expected_version: Option<u64>,
        fingerprint: u64,
    },
    Confirm {
        time: Option<String>,
        lines: Option<Vec<WrittenLine>>,
        fingerprint: u64,
    },
    Cancel {
        fingerprint: u64,
    },
    Extend {
        until: String,
        fingerprint: u64,
    },
    Expire,
}

fn time_text(time: Time) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_| String::new(), |time| time.to_string())
}

fn time_of(text: &str) -> Option<Time> {
    Some(Time(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()))
}

/// A command about a reservation as JSON.
pub(super) fn render(command: &BasketCommand) -> String {
    let held = |line: &LineRequest| WrittenLine {
        sku: line.sku.to_string(),
        quantity: line.quantity,
        min_shelf_life_days: line.min_shelf_life_days,
        lots: Vec::new(),
    };
    let taken = |line: &ConfirmLine| WrittenLine {
        sku: line.sku.to_string(),
        quantity: line.quantity,
        min_shelf_life_days: None,
        lots: line.lots.iter().map(|(lot, units)| (lot.to_string(), *units)).collect(),
    };
    let written = match command {
        BasketCommand::Hold(request) => Written::Hold {
            channel: request.channel.to_string(),
            lines: request.lines.iter().map(held).collect(),
            ttl_s: request.ttl_s,
            allow_partial: request.allow_partial,
            expected_version: request.expected_version,
            fingerprint: request.fingerprint,
        },
        BasketCommand::Confirm(request) => Written::Confirm {
            time: request.time.map(time_text),
            lines: request.lines.as_ref().map(|lines| lines.iter().map(taken).collect()),
            fingerprint: request.fingerprint,
        },
        BasketCommand::Cancel(fingerprint) => Written::Cancel {
            fingerprint: *fingerprint,
        },
        BasketCommand::Extend { until, fingerprint } => Written::Extend {
            until: time_text(*until),
            fingerprint: *fingerprint,
        },
        BasketCommand::Expire => Written::Expire,
    };
    // A structure of strings and integers always serialises.
    serde_json::to_string(&written).unwrap_or_default()
}

/// The command that [`render`] wrote about that reservation; `None` when the text is none of its.
fn parse(text: &str, reservation: &Id) -> Option<BasketCommand> {
    let held = |line: WrittenLine| LineRequest {
        sku: Id::trusted(&line.sku),
        quantity: line.quantity,
        min_shelf_life_days: line.min_shelf_life_days,
    };
    let taken = |line: WrittenLine| ConfirmLine {
        sku: Id::trusted(&line.sku),
        quantity: line.quantity,
        lots: line.lots.iter().map(|(lot, units)| (Id::trusted(lot), *units)).collect(),
    };
    Some(match serde_json::from_str(text).ok()? {
        Written::Hold {
            channel,
            lines,
            ttl_s,
            allow_partial,
            expected_version,
            fingerprint,
        } => BasketCommand::Hold(HoldRequest {
            id: reservation.clone(),
            channel: Id::trusted(&channel),
            lines: lines.into_iter().map(held).collect(),
            ttl_s,
            allow_partial,
            expected_version,
            fingerprint,
        }),
        Written::Confirm {
            time,
            lines,
            fingerprint,
        } => BasketCommand::Confirm(ConfirmRequest {
            time: match time {
                Some(text) => Some(time_of(&text)?),
                None => None,
            },
            lines: lines.map(|lines| lines.into_iter().map(taken).collect()),
            fingerprint,
        }),
        Written::Cancel { fingerprint } => BasketCommand::Cancel(fingerprint),
        Written::Extend { until, fingerprint } => BasketCommand::Extend {
            until: time_of(&until)?,
            fingerprint,
        },
        Written::Expire => BasketCommand::Expire,
    })
}

fn unreadable(letter: u64) -> Refusal {
    Refusal::new(
        Code::InternalError,
        format!("dead letter {letter} holds nothing that can be read"),
    )
}

impl Node {
    /// Sends what a dead letter holds in again, as it was received; the verdict says what came of it.
    ///
    /// An event goes in as one of the source `dead-letter/…` whose id is the letter's, so that a letter replayed twice takes
    /// effect once, and its time may be as old as it likes. A command goes in as it is: it knows its repetition by its content.
    pub async fn replay(&self, letter: u64) -> Result<Verdict, Refusal> {
        let fact = self.letter(letter)?;
        let verdict = match &fact.subject {
            Subject::Command { reservation } => self.replay_command(letter, &fact, reservation).await?,
            _ => self.replay_event(letter, &fact).await?,
        };
        if let Verdict::Judged { outcome, .. } = &verdict
            && outcome.binds()
            && !matches!(outcome, Outcome::DeadLetter { .. })
        {
            self.set(
                Setting::DeadLetter {
                    letter,
                    action: "replayed",
                    reason: None,
                },
                None,
                None,
            )
            .await?;
        }
        Ok(verdict)
    }

    async fn replay_event(&self, letter: u64, fact: &Fact) -> Result<Verdict, Refusal> {
        let event = fact.payload.as_deref().and_then(payload::parse);
        let mut event = event.ok_or_else(|| unreadable(letter))?;
        event.origin.source = Id::trusted(&format!("{REPLAYED}{}", event.origin.source));
        event.origin.id = Id::trusted(&letter.to_string());
        self.events(vec![event]).await.into_iter().next().ok_or_else(lost)
    }

    async fn replay_command(&self, letter: u64, fact: &Fact, reservation: &Id) -> Result<Verdict, Refusal> {
        let command = fact.payload.as_deref().and_then(|text| parse(text, reservation));
        let command = command.ok_or_else(|| unreadable(letter))?;
        let trace = fact.origin.trace.clone();
        let expiry = matches!(command, BasketCommand::Expire);
        let answer = self
            .basket_of(&fact.warehouse, reservation, command, trace, Some(letter))
            .await;
        let (outcome, version) = match answer {
            Ok(answer) => (Outcome::APPLIED, answer.reservation.version),
            Err(CommandError::Dead { error, .. }) => (Outcome::DeadLetter { error }, 0),
            Err(CommandError::Refused(refusal)) => match refusal.code {
                Code::Overloaded | Code::Stopping | Code::StorageFull => return Ok(Verdict::NotJudged(refusal.into())),
                // It has ended since: there is nothing left to expire.
                Code::AlreadyExpired | Code::AlreadyConfirmed | Code::AlreadyCancelled if expiry => (Outcome::Recorded, 0),
                _ => (Outcome::Refused(refusal.into()), 0),
            },
        };
        Ok(Verdict::Judged {
            outcome,
            seq: 0,
            version,
            duplicate: false,
        })
    }

    pub(super) fn letter(&self, letter: u64) -> Result<Fact, Refusal> {
        let unknown = || Refusal::new(Code::NotFound, format!("there is no dead letter {letter}"));
        self.view().dead_letter(letter).ok_or_else(unknown)?;
        let fact = self
            .store()
            .fact(letter)
            .map_err(|error| Refusal::new(Code::InternalError, error.to_string()))?;
        fact.ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_survives_the_round_trip() {
        let id = Id::trusted("o-1");
        let line = LineRequest {
            sku: Id::trusted("молоко"),
            quantity: 2,
            min_shelf_life_days: Some(3),
        };
        let taken = ConfirmLine {
            sku: Id::trusted("A"),
            quantity: 1,
            lots: vec![(Id::trusted("L1"), 1), (Id::no_lot(), 0)],
        };
        let hold = HoldRequest {
            id: id.clone(),
            channel: Id::trusted("web"),
            lines: vec![line],
            ttl_s: Some(0),
            allow_partial: true,
            expected_version: Some(4),
            fingerprint: u64::MAX,
        };
        let confirm = |lines| ConfirmRequest {
            time: Some(Time(1_700_000_000_123)),
            lines,
            fingerprint: 7,
        };
        let commands = [
            BasketCommand::Hold(hold),
            BasketCommand::Confirm(confirm(Some(vec![taken]))),
            BasketCommand::Confirm(confirm(None)),
            BasketCommand::Cancel(1 << 63),
            BasketCommand::Extend {
                until: Time(1_800_000_000_000),
                fingerprint: 3,
            },
            BasketCommand::Expire,
        ];
        for command in commands {
            let again = parse(&render(&command), &id);
            assert_eq!(again.map(|again| format!("{again:?}")), Some(format!("{command:?}")));
        }
        assert!(parse("{}", &id).is_none());
    }
}
