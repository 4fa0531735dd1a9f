//! Facts as they were read back from the journal, on their way into the view.

use std::sync::Arc;

use super::super::append::{Fold, Folded, SkuIndex};
use super::super::codec::Stored;
use super::super::remembered::{self, Why};
use super::View;
use crate::domain::fact::Subject;
use crate::planted::{self, Bug};

impl View {
    /// Folds one fact as it was read back. It goes through [`View::fold`], so that the two cannot disagree.
    pub(crate) fn fold_stored(&self, stored: Stored) {
        let seq = stored.fact.seq;
        let folded = self.folded(stored);
        self.fold(folded, seq);
    }

    /// As [`View::folded`], of many facts: their SKUs are looked up together.
    pub(crate) fn folded_all(&self, facts: Vec<Stored>) -> Vec<Folded> {
        let pairs = facts.iter().map(|stored| match &stored.fact.subject {
            Subject::Sku { sku, .. } => (stored.fact.warehouse.as_str(), sku.as_str()),
            _ => ("", ""),
        });
        let known = self.keys.find_all(pairs);
        facts
            .into_iter()
            .zip(known)
            .map(|(stored, known)| self.described(stored, known))
            .collect()
    }

    /// What a fact does to the view, as its decider would have described it.
    pub(crate) fn folded(&self, stored: Stored) -> Folded {
        self.described(stored, None)
    }

    /// As [`View::folded`]; the index of the fact's SKU may be known.
    fn described(&self, stored: Stored, known: Option<SkuIndex>) -> Folded {
        let Stored { fact, memory } = stored;
        let (warehouse, origin) = (&fact.warehouse, &fact.origin);
        let id = (memory.id && !planted::is(Bug::IdsForgotten))
            .then(|| remembered::hash(warehouse.as_str(), origin.source.as_str(), origin.id.as_str()));
        let fold = match fact.subject {
            Subject::Sku {
                sku,
                version,
                changes,
                after: _,
            } => Fold::Sku {
                sku: known.unwrap_or_else(|| self.keys.intern_known(warehouse.as_str(), sku.as_str())),
                version,
                changes,
                business: fact.business,
            },
            Subject::Reservation(reservation) => Fold::Reservation {
                warehouse: fact.warehouse,
                reservation: Arc::from(reservation),
                // Nobody looks while the journal is read back.
                lines: 0,
            },
            Subject::Warehouse(warehouse) => Fold::Warehouse(warehouse),
            Subject::Catalogue { sku, entry } => Fold::Catalogue { sku, entry },
            Subject::DeadLetter { letter, action } => Fold::DeadLetter { letter, action },
            Subject::Row { .. } | Subject::Command { .. } => Fold::Noted {
                warehouse: fact.warehouse,
            },
        };
        Folded {
            fold,
            recorded: fact.recorded,
            id,
            voids: memory.voids,
            keep_forever: memory.keep_forever,
            noted: Why::of(&fact.outcome).map(|_| fact.outcome),
        }
    }
}
