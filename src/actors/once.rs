//! A setting that carries its caller's key takes effect once, however often it is sent.
//!
//! The key is remembered like an event's id: under (warehouse, `console`, key), by the fact that the setting made, for the same
//! window and across restarts. A table of keys of its own was rejected: it would be a second memory with a second set of rules.

use xxhash_rust::xxh3::xxh3_64;

use super::node::{Node, Setting};
use crate::domain::event::Origin;
use crate::domain::fact::Fact;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::trace::TraceParent;
use crate::domain::units::Id;
use crate::host;
use crate::storage::known::Known;
use crate::storage::remembered;
use crate::storage::store::ReadError;

/// Who sets what is set.
const SOURCE: &str = "console";

/// The hash under which a setting's key is remembered; `None` without a key, which leaves no fingerprint.
pub(super) fn remembered(warehouse: &Id, origin: &Origin) -> Option<u64> {
    let keyed = origin.fingerprint != 0;
    keyed.then(|| remembered::hash(warehouse.as_str(), origin.source.as_str(), origin.id.as_str()))
}

/// Who says it, and nothing more.
pub(super) fn origin(source: &str, id: Id) -> Origin {
    Origin {
        source: Id::trusted(source),
        id,
        actor: None,
        reason: None,
        document: None,
        trace: None,
        extensions: None,
        fingerprint: 0,
    }
}

impl Node {
    /// Records a setting; `id` is the caller's idempotency key, where it gave one. Answers with the fact's sequence: that of
    /// the first time when the key comes again with the same content. With other content it is refused (`id_reused`).
    pub async fn set(&self, setting: Setting, id: Option<Id>, trace: Option<TraceParent>) -> Result<u64, Refusal> {
        let said = xxh3_64(format!("{setting:?}").as_bytes());
        self.set_as_said(setting, said, id, trace).await
    }

    /// As [`Node::set`], for a setting that also depends on what was set before: `said` is the fingerprint of what the caller wrote.
    pub async fn set_as_said(
        &self,
        setting: Setting,
        said: u64,
        id: Option<Id>,
        trace: Option<TraceParent>,
    ) -> Result<u64, Refusal> {
        let Some(key) = id else {
            let id = Id::trusted(&host::fresh_name().to_string());
            return self
                .write(
                    setting,
                    Origin {
                        trace,
                        ..origin(SOURCE, id)
                    },
                )
                .await;
        };
        let origin = Origin {
            trace,
            // Never 0, which says that there is no key.
            fingerprint: said | 1,
            ..origin(SOURCE, key)
        };
        let warehouse = match &setting {
            Setting::Warehouse(site) => site.id.clone(),
            Setting::Catalogue { .. } => Id::no_lot(),
            Setting::LotDate { warehouse, .. } | Setting::Buffers { warehouse, .. } => warehouse.clone(),
            Setting::DeadLetter { letter, .. } => self.letter(*letter)?.warehouse,
        };
        let _one_at_a_time = self.keyed.lock().await;
        let before = self.heard(&warehouse, &origin);
        match before.map_err(|error| Refusal::new(Code::InternalError, error.to_string()))? {
            Some(fact) if fact.origin.fingerprint == origin.fingerprint => Ok(fact.seq),
            Some(fact) => Err(Refusal::new(
                Code::IdReused,
                format!(
                    "the key {} was used before for another write (sequence {}): give a new write a new key",
                    origin.id, fact.seq
                ),
            )),
            None => self.write(setting, origin).await,
        }
    }

    /// The fact that a key has made.
    fn heard(&self, warehouse: &Id, origin: &Origin) -> Result<Option<Fact>, ReadError> {
        let hash = remembered::hash(warehouse.as_str(), origin.source.as_str(), origin.id.as_str());
        Ok(match self.store().known(hash, warehouse, &origin.source, &origin.id)? {
            Known::Fact(fact) => Some(*fact),
            Known::Nothing | Known::Gone { .. } => None,
        })
    }
}
