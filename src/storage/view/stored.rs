//! Facts as they were read back from the journal, on their way into the view.

use std::sync::Arc;

use super::super::append::{Fold, Folded, SkuIndex};
use super::super::codec::{Folding, ForFold};
use super::super::remembered::{self, Why};
use super::View;
use crate::domain::fact::Subject;
use crate::domain::units::Id;
use crate::planted::{self, Bug};

impl View {
    /// As [`View::folded`], of many facts: their SKUs are looked up together.
    pub(crate) fn folded_all(&self, facts: Vec<ForFold<'_>>) -> Vec<Folded> {
        let pairs = facts.iter().map(|fact| match fact.subject {
            Folding::Sku { sku, .. } => (fact.warehouse, sku),
            Folding::Other(_) => ("", ""),
        });
        let known = self.keys.find_all(pairs);
        facts
            .into_iter()
            .zip(known)
            .map(|(fact, known)| self.described(fact, known))
            .collect()
    }

    /// What a fact does to the view, as its decider would have described it.
    pub(crate) fn folded(&self, fact: ForFold<'_>) -> Folded {
        self.described(fact, None)
    }

    /// As [`View::folded`]; the index of the fact's SKU may be known.
    fn described(&self, fact: ForFold<'_>, known: Option<SkuIndex>) -> Folded {
        let warehouse = fact.warehouse;
        let id = (fact.memory.id && !planted::is(Bug::IdsForgotten)).then(|| remembered::hash(warehouse, fact.source, fact.id));
        let sku = |sku: &str, version, changes| Fold::Sku {
            sku: known.unwrap_or_else(|| self.keys.intern_known(warehouse, sku)),
            version,
            changes,
            business: fact.business,
        };
        let fold = match fact.subject {
            Folding::Sku {
                sku: name,
                version,
                changes,
            } => sku(name, version, changes),
            Folding::Other(subject) => match subject {
                Subject::Sku {
                    sku: name,
                    version,
                    changes,
                    after: _,
                } => sku(name.as_str(), version, changes),
                Subject::Reservation(reservation) => Fold::Reservation {
                    warehouse: Id::trusted(warehouse),
                    reservation: Arc::from(reservation),
                    // Nobody looks while the journal is read back.
                    lines: 0,
                },
                Subject::Warehouse(warehouse) => Fold::Warehouse(warehouse),
                Subject::Catalogue { sku, entry } => Fold::Catalogue { sku, entry },
                Subject::DeadLetter { letter, action } => Fold::DeadLetter { letter, action },
                Subject::Row { .. } | Subject::Command { .. } => Fold::Noted {
                    warehouse: Id::trusted(warehouse),
                },
            },
        };
        Folded {
            fold,
            recorded: fact.recorded,
            id,
            voids: fact.memory.voids,
            keep_forever: fact.memory.keep_forever,
            noted: Why::of(&fact.outcome).map(|_| fact.outcome),
        }
    }
}

#[cfg(test)]
mod testing {
    use super::super::super::codec::{Stored, decode_for_fold, encode_owned};
    use super::*;

    /// Facts that tests have made go the way of those that are read: by their bytes.
    impl View {
        pub(crate) fn fold_stored(&self, stored: &Stored) {
            self.fold(self.folded_stored(stored), stored.fact.seq);
        }

        pub(crate) fn folded_stored(&self, stored: &Stored) -> Folded {
            let mut bytes = Vec::new();
            encode_owned(&mut bytes, &stored.fact, stored.memory);
            self.folded(decode_for_fold(&bytes).unwrap())
        }
    }
}
