//! Kafka as a faulty peer: who sends on it, what breaks, and what is looked at: no message is passed without an effect or a letter, no
//! change goes unpublished, and versions rise by one.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use serde_json::Value;

use super::fold::{Broken, Fold, Key, broken};
use super::life::Life;
use crate::domain::fact::{Fact, Subject};
use crate::domain::units::Id;
use crate::kafka::peer::{IN, OUT, PARTITIONS, Peer};

/// What may break.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The broker is away for so many steps.
    Away(u32),
    /// The group is balanced anew.
    Reassigned,
    /// The topic is deleted and made anew.
    MadeAnew,
    /// Retention takes so many messages of a partition.
    Cut(usize, usize),
    /// So many messages fail on their way.
    Fails(u32),
}

impl Trouble {
    pub(super) fn any(chance: &mut Xoshiro256PlusPlus) -> Trouble {
        match chance.random_range(0..12) {
            0..=2 => Trouble::Away(chance.random_range(1..6)),
            3..=6 => Trouble::Reassigned,
            7 => Trouble::MadeAnew,
            8 => Trouble::Cut(chance.random_range(0..PARTITIONS), chance.random_range(1..9)),
            _ => Trouble::Fails(chance.random_range(1..3)),
        }
    }
}

/// The broker, and what is known of it.
#[derive(Default)]
pub(super) struct Kafka {
    peer: Peer,
    /// Steps until it is back.
    away: u32,
    /// Changes that no message has told yet: by fact, the key and the version.
    owed: BTreeMap<u64, (Key, u64)>,
    /// By key, the ids of the messages that told its versions, from the first.
    told: BTreeMap<String, Vec<String>>,
    /// By key, the newest version that is available.
    latest: BTreeMap<String, u64>,
    published: u64,
}

impl Kafka {
    /// The node's new life begins to speak with it.
    pub(super) fn meets(&self, life: &Life) {
        life.spawn(self.peer.clone().live(life.node().clone(), life.valve.clone()));
    }

    pub(super) fn give(&self, partition: usize, body: &str) {
        self.peer.give(partition, body);
    }

    pub(super) fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Away(steps) => {
                self.away = steps;
                self.peer.away(true);
            }
            Trouble::Reassigned => self.peer.reassign(),
            Trouble::MadeAnew => self.peer.make_anew(),
            Trouble::Cut(partition, messages) => self.peer.cut(partition, messages),
            Trouble::Fails(messages) => self.peer.fail(messages),
        }
    }

    /// A step has passed.
    pub(super) fn pass(&mut self) {
        self.away = self.away.saturating_sub(1);
        if self.away == 0 {
            self.peer.away(false);
        }
    }

    /// Nothing of it breaks any more.
    pub(super) fn rest(&mut self) {
        self.away = 0;
        self.peer.away(false);
        self.peer.fail(0);
    }

    /// How many messages it has, in both directions, in words.
    pub(super) fn in_words(&self) -> String {
        format!("kafka: {} in, {} out", self.peer.len(), self.published)
    }

    /// New facts: what they change is owed to the topic.
    pub(super) fn absorb(&mut self, new: &[Fact]) {
        for fact in new {
            if let Subject::Sku {
                sku, version, changes, ..
            } = &fact.subject
                && !changes.is_empty()
            {
                self.owed.insert(fact.seq, ((fact.warehouse.clone(), sku.clone()), *version));
            }
        }
    }

    pub(super) fn check(&mut self, life: &Life, fold: &Fold) -> Result<(), Broken> {
        self.heard()?;
        let confirmed = Peer::confirmed(life.node());
        if let Some((seq, (key, version))) = self.owed.range(..=confirmed).next() {
            let what = format!(
                "all is said to be published up to fact {confirmed}, and fact {seq}, version {version} of {}/{}, is not",
                key.0, key.1
            );
            return Err(broken("ordered_publication", what));
        }
        for passed in self.peer.passed(life.node(), fold.seq).unwrap_or_default() {
            let (partition, offset) = (passed.partition, passed.offset);
            if !known(&passed.body, fold) && !is_letter(partition, offset, fold) {
                let text = String::from_utf8_lossy(&passed.body);
                let what = format!("the message {partition}/{offset} is passed, and nothing is known of it: {text}");
                return Err(broken("durable_reply", what));
            }
        }
        Ok(())
    }

    /// What the broker has been told.
    fn heard(&mut self) -> Result<(), Broken> {
        for message in self.peer.news() {
            self.published += 1;
            let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            let Some(version) = body["version"].as_u64() else {
                let what = format!("a message without a version: {}", String::from_utf8_lossy(&message.body));
                return Err(broken("ordered_publication", what));
            };
            if message.topic != OUT[0].0 {
                let newest = self.latest.entry(message.key).or_default();
                *newest = version.max(*newest);
                continue;
            }
            let told = self.told.entry(message.key.clone()).or_default();
            match (told.len() as u64 + 1).cmp(&version) {
                std::cmp::Ordering::Equal => told.push(message.id),
                // Told again, after a start or a failure: word for word.
                std::cmp::Ordering::Greater if told[version as usize - 1] == message.id => {}
                _ => {
                    let what = format!(
                        "{}: version {version} by {} is told after {} versions, the newest by {:?}",
                        message.key,
                        message.id,
                        told.len(),
                        told.last()
                    );
                    return Err(broken("ordered_publication", what));
                }
            }
            let Some((site, sku)) = message.key.split_once('/') else {
                continue;
            };
            let key = (Id::trusted(site), Id::trusted(sku));
            self.owed.retain(|_, owed| *owed != (key.clone(), version));
        }
        Ok(())
    }

    /// When everything has come to rest: all is taken, and all is told.
    pub(super) fn at_rest(&self, life: &Life, fold: &Fold) -> Result<(), Broken> {
        let (there, passed) = (self.peer.len(), self.peer.passed(life.node(), fold.seq));
        let passed = passed.map(|passed| passed.len());
        if passed != Some(there) {
            return Err(broken("durable_reply", format!("{passed:?} of {there} messages are taken")));
        }
        if let Some((seq, (key, version))) = self.owed.first_key_value() {
            let what = format!("fact {seq}, version {version} of {}/{}, is not published", key.0, key.1);
            return Err(broken("ordered_publication", what));
        }
        for ((site, sku), stock) in &fold.stocks {
            let newest = self.latest.get(&format!("{site}/{sku}"));
            if newest != Some(&stock.version) {
                let what = format!(
                    "{site}/{sku}: version {newest:?} is available on the topic, {} is true",
                    stock.version
                );
                return Err(broken("ordered_publication", what));
            }
        }
        Ok(())
    }
}

/// Whether there is a fact of the event that a message held.
fn known(body: &[u8], fold: &Fold) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(source), Some(id)) = (body["source"].as_str(), body["id"].as_str()) else {
        return false;
    };
    fold.heard.contains(&(Id::trusted(source), Id::trusted(id)))
}

/// Whether there is a dead letter of a message.
fn is_letter(partition: usize, offset: usize, fold: &Fold) -> bool {
    let begin = format!("{partition}/{offset}/");
    let source = Id::trusted(&format!("kafka/{IN}"));
    let from = (source.clone(), Id::trusted(&begin));
    let mut letters = fold.heard.range(from..);
    letters
        .next()
        .is_some_and(|(of, id)| *of == source && id.as_str().starts_with(&begin))
}
