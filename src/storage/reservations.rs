//! Reservations as they are now, wherever they are: in memory while they are held or have changed since the last snapshot, and on the
//! disk once they have ended.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use redb::ReadTransaction;

use crate::domain::reservation::{Reservation, State};
use crate::domain::units::{Id, Time};

use super::codec::decode_reservation;
use super::database::ReadError;
use super::store::{Shared, Store};
use super::tables;
use super::view::Found;

/// Rows looked at in one transaction.
const ROWS_A_LOOK: usize = 1_000;
/// Rows looked at for one page; past it the page is short and goes on.
const ROWS_A_PAGE: usize = 20_000;

/// A page of reservations, by id.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The reservations.
    pub items: Vec<Arc<Reservation>>,
    /// After which id the next page begins; `None`: this is the last one.
    pub next: Option<Id>,
}

/// Rows of one look: who they are, and their bytes.
struct Rows {
    rows: Vec<(String, String, Vec<u8>)>,
    /// There are no more.
    end: bool,
}

impl Store {
    /// One reservation: held, or ended within the id window.
    pub fn reservation(&self, warehouse: &str, id: &str) -> Result<Option<Arc<Reservation>>, ReadError> {
        Ok(self.shared().reservation(warehouse, id)?.map(|(basket, _)| basket))
    }

    /// A page of a warehouse's reservations, by id, after the one named; of one state, or of all. It may have fewer than `limit` and
    /// go on.
    pub fn reservations(
        &self,
        warehouse: &str,
        state: Option<State>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let shared = self.shared();
        let wanted = |basket: &Reservation| state.is_none_or(|state| state == basket.state);
        // Memory first: what goes to the disk meanwhile is then seen twice and not never.
        let here = shared.view.reservations(warehouse, state, after, limit);
        let mut found: BTreeMap<Id, Arc<Reservation>> = here.into_iter().map(|basket| (basket.id.clone(), basket)).collect();
        let mut seen_to: Option<Id> = None;
        if state != Some(State::Held) && shared.view.any_on_disk(warehouse) {
            let (mut looked, mut matches) = (0, 0);
            let mut from = after.map(str::to_owned);
            loop {
                let Rows { rows, end } = shared.database.read(|transaction| {
                    let after = (warehouse, from.as_deref().unwrap_or_default());
                    rows_after(transaction, after, |of| of == warehouse)
                })?;
                looked += rows.len();
                from = rows.last().map(|(_, id, _)| id.clone());
                for (_, id, row) in rows {
                    let basket = match shared.view.reservation(warehouse, &id) {
                        Found::Here(basket, _) => basket,
                        Found::OnDisk => opened(warehouse, &id, &row)?.0,
                        // On its way to be forgotten.
                        Found::Nowhere => continue,
                    };
                    if wanted(&basket) {
                        matches += 1;
                        found.entry(basket.id.clone()).or_insert(basket);
                    }
                }
                if end {
                    break;
                }
                if matches >= limit || looked >= ROWS_A_PAGE {
                    seen_to = from.as_deref().map(Id::trusted);
                    break;
                }
            }
        }
        let within = |id: &Id| seen_to.as_ref().is_none_or(|to| id <= to);
        let items: Vec<_> = found
            .into_iter()
            .filter(|(id, _)| within(id))
            .map(|(_, basket)| basket)
            .take(limit)
            .collect();
        let full = items.last().filter(|_| items.len() == limit).map(|last| last.id.clone());
        Ok(Page {
            next: full.or(seen_to),
            items,
        })
    }
}

impl Shared {
    /// One reservation, with the sequence of its newest fact.
    pub(crate) fn reservation(&self, warehouse: &str, id: &str) -> Result<Option<(Arc<Reservation>, u64)>, ReadError> {
        match self.view.reservation(warehouse, id) {
            Found::Here(basket, seq) => Ok(Some((basket, seq))),
            Found::Nowhere => Ok(None),
            Found::OnDisk => {
                let row = self.database.read(|transaction| {
                    let table = transaction.open_table(tables::RESERVATION)?;
                    Ok(table.get((warehouse, id))?.map(|row| row.value().to_vec()))
                })?;
                row.map(|row| opened(warehouse, id, &row)).transpose()
            }
        }
    }

    /// Looks at some rows after `at`, which goes on, also past a row that cannot be read, and forgets the reservations that ended before
    /// a time.
    pub(crate) fn forget_ended(&self, at: &mut (String, String), before: Time, rows: usize) -> Result<(), ReadError> {
        let mut looked = 0;
        while looked < rows {
            let Rows { rows, end } = self
                .database
                .read(|transaction| rows_after(transaction, (&at.0, &at.1), |_| true))?;
            looked += rows.len();
            for (warehouse, id, row) in rows {
                *at = (warehouse, id);
                let (basket, _) = opened(&at.0, &at.1, &row)?;
                if basket.end.as_ref().is_some_and(|end| end.at < before) {
                    self.view.forget(&at.0, &basket.id);
                }
            }
            if end {
                *at = Default::default();
                break;
            }
        }
        Ok(())
    }
}

fn rows_after(transaction: &ReadTransaction, after: (&str, &str), of: impl Fn(&str) -> bool) -> Result<Rows, redb::Error> {
    let table = transaction.open_table(tables::RESERVATION)?;
    let mut found = Rows {
        rows: Vec::new(),
        end: true,
    };
    for row in table.range::<(&str, &str)>((Bound::Excluded(after), Bound::Unbounded))? {
        let (key, value) = row?;
        let (warehouse, id) = key.value();
        if !of(warehouse) {
            break;
        }
        if found.rows.len() == ROWS_A_LOOK {
            found.end = false;
            break;
        }
        found.rows.push((warehouse.to_owned(), id.to_owned(), value.value().to_vec()));
    }
    Ok(found)
}

fn opened(warehouse: &str, id: &str, row: &[u8]) -> Result<(Arc<Reservation>, u64), ReadError> {
    let opened = decode_reservation(row).map(|(basket, seq)| (Arc::new(basket), seq));
    opened.map_err(|why| ReadError::Damaged {
        table: "reservation",
        key: format!("{warehouse}/{id}"),
        why: why.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::ReadableTableMetadata;

    use super::*;
    use crate::domain::fact::{Outcome, Subject};
    use crate::domain::reservation::End;
    use crate::storage::codec::Stored;
    use crate::storage::testing::{Disk, append, copy, fact, store_on};

    const STATES: [State; 4] = [State::Held, State::Confirmed, State::Cancelled, State::Expired];

    fn basket(number: usize, state: State) -> Reservation {
        Reservation {
            id: Id::new(&format!("o-{number:03}")).unwrap(),
            channel: Id::new("web").unwrap(),
            state,
            version: 1,
            request: 1,
            extended: None,
            lines: Vec::new(),
            created: Time(0),
            expires: None,
            end: (state != State::Held).then_some(End {
                at: Time(i64::try_from(number).unwrap()),
                fingerprint: None,
            }),
        }
    }

    fn said(basket: &Reservation) -> Stored {
        fact("w", 1, Outcome::APPLIED, Subject::Reservation(Box::new(basket.clone())))
    }

    /// All of a list, a few a page.
    fn all(store: &Store, state: Option<State>) -> Vec<Reservation> {
        let (mut found, mut after) = (Vec::new(), None::<Id>);
        loop {
            let page = store.reservations("w", state, after.as_ref().map(Id::as_str), 7).unwrap();
            found.extend(page.items.iter().map(|basket| Reservation::clone(basket)));
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    #[test]
    fn reservations_answer_the_same_from_memory_from_the_disk_and_after_a_start() {
        let disk = Arc::new(Disk::default());
        let store = store_on(&disk);
        let mut wanted: Vec<_> = (0..100).map(|number| basket(number, STATES[number % 4])).collect();
        append(&store, &wanted.iter().map(said).collect::<Vec<_>>()).unwrap();
        let look = |store: &Store, wanted: &[Reservation], when: &str| {
            for state in STATES.map(Some).into_iter().chain([None]) {
                let wanted = wanted.iter().filter(|basket| state.is_none_or(|state| state == basket.state));
                assert_eq!(all(store, state), wanted.cloned().collect::<Vec<_>>(), "{when}: {state:?}");
            }
            for basket in wanted {
                let here = store.reservation("w", basket.id.as_str()).unwrap();
                assert_eq!(here.as_deref(), Some(basket), "{when}");
            }
            assert_eq!(store.reservation("w", "o-100"), Ok(None), "{when}");
        };
        look(&store, &wanted, "in memory");
        store.keeper().finish(Time(0)).unwrap();
        assert_eq!(store.view().on_disk(), 75, "what has ended is on the disk only");
        look(&store, &wanted, "on the disk");
        // A sale tells again what a confirmation took: an ended one changes after all.
        for number in [1, 5, 97] {
            wanted[number].version = 2;
            append(&store, &[said(&wanted[number])]).unwrap();
        }
        look(&store, &wanted, "some are in memory again");
        look(&store_on(&copy(&disk)), &wanted, "after a start with some facts to fold");
        store.keeper().finish(Time(0)).unwrap();
        look(&store, &wanted, "on the disk again");
        let again = store_on(&copy(&disk));
        assert_eq!(again.view().on_disk(), 75, "a start leaves on the disk what has ended");
        look(&again, &wanted, "after a start");
    }

    #[test]
    fn what_ended_before_the_window_is_forgotten_in_turn_and_for_good() {
        let disk = Arc::new(Disk::default());
        let store = store_on(&disk);
        let wanted: Vec<_> = (0..100).map(|number| basket(number, STATES[number % 4])).collect();
        append(&store, &wanted.iter().map(said).collect::<Vec<_>>()).unwrap();
        let window = store.shared().options.id_window_ms;
        store.keeper().finish(Time(window + 50)).unwrap();
        let left: Vec<_> = wanted
            .iter()
            .filter(|basket| basket.end.as_ref().is_none_or(|end| end.at >= Time(50)))
            .cloned()
            .collect();
        assert_eq!(all(&store, None), left);
        let rows = |transaction: &ReadTransaction| Ok(transaction.open_table(tables::RESERVATION)?.len()?);
        assert_eq!(
            store.shared().database.read(rows),
            Ok(left.len() as u64),
            "their rows are gone as well"
        );
        let again = store_on(&copy(&disk));
        again.keeper().finish(Time(window + 50)).unwrap();
        assert_eq!(all(&again, None), left, "what was folded once more is forgotten once more");
        assert_eq!(store.view().reservation("w", "o-001"), Found::Nowhere);
        // A name that is forgotten is free.
        append(&store, &[said(&basket(1, State::Held))]).unwrap();
        store.keeper().finish(Time(window + 50)).unwrap();
        let again = store_on(&copy(&disk));
        assert!(again.view().held("w", "o-001").is_some());
    }
}
