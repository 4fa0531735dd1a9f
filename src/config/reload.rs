//! What SIGHUP may change while the node runs.
//!
//! A reload never half-applies a key: what needs a restart keeps its old value and is named. Restarting parts of the node under
//! load to apply more keys was rejected: the systemd restart is as quick, and tested daily.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

use super::keys::{KEYS, Key};
use super::path::pattern;
use super::{Config, Source, Warehouse};

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place; elements of lists by their name: `warehouse[main].channels.web.buffer`.
    pub key: String,
    /// The old value as TOML; `None` when it is new.
    pub old: Option<String>,
    /// The new value as TOML; `None` when it is gone.
    pub new: Option<String>,
    /// Whether it waits for the next start.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(out, "{}: {} -> {}", self.key, side(&self.old), side(&self.new))?;
        if self.needs_restart {
            write!(out, " (after a restart)")
        } else {
            Ok(())
        }
    }
}

/// All differences between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadDiff {
    /// In the order of their places.
    pub changes: Vec<Change>,
}

impl ReloadDiff {
    /// What a reload applies.
    pub fn applied(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| !change.needs_restart)
    }

    /// What waits for the next start.
    pub fn waiting(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.needs_restart)
    }
}

impl Config {
    /// Which keys differ, and which of them need a restart. A warehouse or source that is new or gone is applied as a whole.
    pub fn reload_diff(old: &Config, new: &Config) -> ReloadDiff {
        let (was, is) = (flat(old), flat(new));
        let mut places: Vec<&String> = was.keys().chain(is.keys()).collect();
        places.sort();
        places.dedup();
        let changes = places
            .into_iter()
            .filter(|place| was.get(*place).map(|leaf| &leaf.1) != is.get(*place).map(|leaf| &leaf.1));
        let changes = changes.map(|place| {
            let (before, after) = (was.get(place), is.get(place));
            let key = before.or(after).and_then(|(key, _)| *key);
            let needs_restart = before.is_some() && after.is_some() && key.is_some_and(|key| !key.reload);
            let text = |leaf: Option<&(Option<&Key>, Value)>| leaf.map(|(_, value)| value.to_string());
            Change {
                key: place.clone(),
                old: text(before),
                new: text(after),
                needs_restart,
            }
        });
        ReloadDiff {
            changes: changes.collect(),
        }
    }

    /// What is in force after a reload: `new`, with every key that needs a restart as it was.
    #[must_use]
    pub fn reloaded(old: &Config, new: &Config) -> Config {
        let zone_of = |id: &str| old.warehouse.iter().find(|w| w.id == id).map(|w| w.time_zone.clone());
        let keep_zone = |w: &Warehouse| Warehouse {
            time_zone: zone_of(&w.id).unwrap_or_else(|| w.time_zone.clone()),
            ..w.clone()
        };
        let mut next = old.clone();
        next.log.level.clone_from(&new.log.level);
        next.source = new.source.iter().map(Source::clone).collect();
        next.warehouse = new.warehouse.iter().map(keep_zone).collect();
        next
    }
}

type Leaves = BTreeMap<String, (Option<&'static Key>, Value)>;

/// Every value by its place, elements of lists by their name, so that their order does not matter.
fn flat(config: &Config) -> Leaves {
    let mut leaves = Leaves::new();
    if let Ok(root) = toml::Table::try_from(config) {
        descend(&mut leaves, "", &mut Vec::new(), &Value::Table(root));
    }
    leaves
}

fn descend(leaves: &mut Leaves, place: &str, steps: &mut Vec<String>, value: &Value) {
    match value {
        Value::Table(table) => {
            for (name, below) in table {
                let place = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                steps.push(name.clone());
                descend(leaves, &place, steps, below);
                steps.pop();
            }
        }
        Value::Array(items) => {
            for item in items {
                let name = item
                    .get("id")
                    .or_else(|| item.get("name"))
                    .or_else(|| item.get("topic"))
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                steps.push("[]".to_owned());
                descend(leaves, &format!("{place}[{name}]"), steps, item);
                steps.pop();
            }
        }
        leaf => drop(leaves.insert(place.to_owned(), (key_of(steps), leaf.clone()))),
    }
}

fn key_of(steps: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let wanted = pattern(key.path);
        wanted.len() == steps.len()
            && wanted
                .iter()
                .zip(steps)
                .all(|(wanted, step)| *wanted == "*" || wanted == step)
    })
}
