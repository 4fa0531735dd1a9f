//! Operations that panic: tried again where they can hurt only their own SKUs, and buried when they panic again.
//!
//! An operation that panics has sent nothing, and its copies are rebuilt from the view. It is then tried once more, before all
//! that waits for its SKUs; the second time a sale ends as a dead letter like any event, and a command about a reservation as one
//! of its own kind, which is listed, replayed and discarded in the same way. An expiry has no caller who could send it again: it is
//! tried more often, further and further apart, before it is buried. Answering 503 each time was rejected: a caller that heeds it
//! would come back for ever.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::super::answers::{CommandError, Reply};
use super::super::letters;
use super::super::once;
use super::State;
use super::ops::{BasketCommand, Operation, Work};
use crate::domain::event::Origin;
use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, Time};
use crate::storage::append::Fold;
use crate::storage::codec::{FactParts, Memory, SubjectRef};
use crate::storage::known::Known;
use crate::storage::remembered::hash;

/// How often an operation may panic.
const TRIES: u32 = 2;
/// How often an expiry may panic …
const EXPIRY_TRIES: u32 = 5;
/// … and how long after the first time it is tried again, ms; twice as long each time.
const EXPIRY_WAIT_MS: i64 = 200;

/// An expiry that has panicked.
pub(super) struct Stumble {
    deaths: u32,
    again: Time,
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Under which source and id the dead letter of a command is remembered: the same command again finds it.
fn name(id: &Id, command: &BasketCommand) -> (Id, Id) {
    let key = format!("{}/{:016x}/{id}", command.word(), command.fingerprint());
    (Id::trusted("reservations"), Id::trusted(&key))
}

impl State {
    /// An operation has panicked; its copies are lost.
    pub(super) fn stumbled(&mut self, mut operation: Operation, error: String) {
        operation.deaths += 1;
        tracing::error!(warehouse = %self.desk.warehouse, error, deaths = operation.deaths, "an operation panicked; its SKUs are rebuilt");
        if let Work::Expire { id } = &operation.work {
            self.expire_later(id.clone(), &error);
        } else if operation.deaths < TRIES {
            self.begin_again(operation);
        } else {
            self.give_up(operation, &error);
        }
    }

    fn give_up(&mut self, operation: Operation, error: &str) {
        match operation.work {
            Work::Basket {
                id,
                command,
                origin,
                reply,
                letter,
            } => match (letter, reply) {
                // A dead letter that was tried again is one already.
                (Some(letter), reply) => {
                    let error = error.into();
                    drop(reply.map(|reply| reply.send(Err(CommandError::Dead { letter, error }))));
                    self.free.push(id);
                }
                (None, reply) => self.bury_command(&id, &command, origin, error, |index| {
                    reply.map(|reply| Reply::Buried(reply, index, error.into()))
                }),
            },
            Work::Sale { ticket, prepared, .. } => self.bury(&ticket, &prepared, error),
            Work::Sku { reply, .. } | Work::Configure { reply, .. } => {
                let detail = format!("the node fails on this setting ({error}); nothing was changed, and the log has more");
                // A caller that has gone away does not change what happened.
                drop(reply.map(|reply| reply.send(Err(Refusal::new(Code::InternalError, detail)))));
            }
            // Its neighbours of the same step are not to suffer for it.
            Work::Turn { turns } if turns.len() > 1 => {
                for (sku, turn) in turns {
                    let turns = BTreeMap::from([(sku, turn)]);
                    self.begin(Operation::new(Work::Turn { turns }, operation.now, vec![sku]));
                }
            }
            // The next day, buffer or event of the SKU says its figures again.
            Work::Turn { turns } => tracing::error!(?turns, error, "a SKU could not be told that its figures have turned"),
            Work::Expire { .. } => {}
        }
    }

    /// Writes the dead letter of a command. The reservation's next command waits until it is durable, so that the same one again
    /// finds it.
    fn bury_command(
        &mut self,
        id: &Id,
        command: &BasketCommand,
        origin: Origin,
        error: &str,
        reply: impl FnOnce(u32) -> Option<Reply>,
    ) {
        self.shared.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        let now = self.shared.clock.now();
        let (source, key) = name(id, command);
        let warehouse = self.desk.warehouse.clone();
        let remembered = hash(warehouse.as_str(), source.as_str(), key.as_str());
        let origin = Origin {
            source,
            id: key,
            fingerprint: command.fingerprint(),
            ..origin
        };
        let payload = letters::render(command);
        let parts = FactParts {
            warehouse: warehouse.as_str(),
            what: command.word(),
            business: now,
            recorded: now,
            origin: &origin,
            outcome: &Outcome::DeadLetter { error: error.into() },
            payload: Some(&payload),
            subject: SubjectRef::Command {
                reservation: id.as_str(),
            },
            memory: Memory {
                id: true,
                ..Memory::default()
            },
        };
        let draft = &mut self.draft;
        let fold = Fold::Noted {
            warehouse: warehouse.clone(),
        };
        let index = draft.other(fold, now, Some(remembered), parts);
        if let Some(reply) = reply(index) {
            draft.reply(reply);
            draft.frees(id.clone());
        }
    }

    /// The open dead letter of this very command, if it has one.
    pub(super) fn buried(&self, id: &Id, command: &BasketCommand) -> Option<CommandError> {
        let view = self.shared.store.view();
        if !view.has_dead_letters() {
            return None;
        }
        let (source, key) = name(id, command);
        let warehouse = &self.desk.warehouse;
        let remembered = hash(warehouse.as_str(), source.as_str(), key.as_str());
        // A store that cannot be read now lets the command be tried once more.
        let Ok(Known::Fact(fact)) = self.shared.store.known(remembered, warehouse, &source, &key) else {
            return None;
        };
        let letter = view.dead_letter(fact.seq).filter(|letter| &*letter.state == "open")?;
        Some(CommandError::Dead {
            letter: fact.seq,
            error: letter.error,
        })
    }

    /// An expiry has panicked: its deadline is not forgotten.
    fn expire_later(&mut self, id: Id, error: &str) {
        let now = self.shared.clock.now();
        let stumble = self.stumbles.entry(id.clone()).or_insert(Stumble { deaths: 0, again: now });
        stumble.deaths += 1;
        if stumble.deaths < EXPIRY_TRIES {
            stumble.again = now.plus_ms(EXPIRY_WAIT_MS << stumble.deaths);
            tracing::error!(reservation = %id, error, deaths = stumble.deaths, "a reservation could not be expired; it is tried again");
            return;
        }
        self.stumbles.remove(&id);
        tracing::error!(reservation = %id, error, "a reservation could not be expired; that is a dead letter now, and its promises no longer count");
        if self.buried(&id, &BasketCommand::Expire).is_none() {
            let origin = once::origin("reservations", id.clone());
            self.bury_command(&id, &BasketCommand::Expire, origin, error, |_| None);
        }
    }

    /// Expiries whose time to be tried again has come.
    pub(super) fn expire_again(&mut self, now: Time) {
        let due = |(id, stumble): (&Id, &mut Stumble)| {
            let due = stumble.again <= now;
            // Not before it has panicked once more.
            stumble.again = if due { Time(i64::MAX) } else { stumble.again };
            due.then(|| id.clone())
        };
        let due: Vec<Id> = self.stumbles.iter_mut().filter_map(due).collect();
        for id in due {
            let mut skus = Vec::new();
            self.add_lines(&id, &mut skus);
            self.begin(Operation::new(Work::Expire { id }, now, skus));
        }
    }
}
