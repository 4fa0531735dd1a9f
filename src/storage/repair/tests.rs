//! What is damaged and can be made from the journal is made; what cannot is said, and nothing is changed.

use std::fs;
use std::path::Path;

use redb::{Builder, ReadableTable};

use super::{Outcome, RepairError, repair};
use crate::domain::fact::Fact;
use crate::domain::units::Time;
use crate::storage::remembered::{self, Lookup};
use crate::storage::store::{FILE, OpenError, Store};
use crate::storage::tables;
use crate::storage::testing::{append, options, receipt};
use crate::storage::verify::verify;

fn filled(directory: &Path, facts: u64) {
    let store = Store::open(directory, options()).unwrap();
    for number in 1..=facts {
        append(&store, &[receipt(["a", "b"][number as usize % 2], number, 1, number)]).unwrap();
    }
    store.set_cursor("publisher", 250);
    let mut keeper = store.keeper();
    keeper.finish(Time(0)).unwrap();
    while keeper.seal().unwrap() {}
}

fn meddle(directory: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Builder::new().open(directory.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// Everything that a store answers.
fn answers(directory: &Path) -> (Vec<Fact>, Vec<i64>, Vec<Vec<u64>>, String) {
    let store = Store::open(directory, options()).unwrap();
    for number in store.floor()..=300 {
        let hash = remembered::hash("w", "wms/7", &format!("e-{number}"));
        assert_eq!(store.lookup(hash), Ok(Lookup::At(number)));
    }
    let skus = ["a", "b"].map(|sku| store.view().keys().find("w", sku).unwrap());
    let ledger = |sku| {
        let page = store.ledger(sku, None, 1_000).unwrap();
        page.facts.iter().map(|fact| fact.seq).collect()
    };
    let units = |sku| store.view().stock(sku).unwrap().accounts()[0];
    (
        store.facts(store.floor(), 1_000).unwrap(),
        skus.map(units).to_vec(),
        skus.map(ledger).to_vec(),
        store.id().unwrap(),
    )
}

fn repaired(directory: &Path) -> Vec<&'static str> {
    let damaged = fs::read(directory.join(FILE)).unwrap();
    let outcome = repair(directory).unwrap();
    let Outcome::Repaired { aside, notes, after, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(after.is_sound());
    assert_eq!(fs::read(aside).unwrap(), damaged, "the damaged file is kept as it is");
    assert!(verify(directory).unwrap().is_sound());
    notes
}

#[test]
fn snapshots_ids_and_indexes_are_made_anew_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 300);
    let before = answers(directory.path());
    meddle(directory.path(), |transaction| {
        let mut stock = transaction.open_table(tables::STOCK).unwrap();
        stock.remove(("w", "a")).unwrap();
        let mut runs = transaction.open_table(tables::RUN).unwrap();
        let keys: Vec<_> = runs.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        runs.remove(keys[0]).unwrap();
        runs.remove(keys[keys.len() - 1]).unwrap();
    });
    let text = verify(directory.path()).unwrap().problems.join("\n");
    assert!(text.contains("remembered ids of facts 0 to 63"), "{text}");
    assert!(text.contains("the ledger's index of facts 192 to 255"), "{text}");
    assert_eq!(repaired(directory.path()), [""; 0]);
    assert_eq!(answers(directory.path()), before);
    assert_eq!(
        Store::open(directory.path(), options()).unwrap().cursor("publisher"),
        Ok(Some(250))
    );
    assert!(matches!(repair(directory.path()), Ok(Outcome::Sound(_))), "once is enough");
}

/// Flips a bit in the first page that holds such bytes.
fn flip_in_a_page_with(directory: &Path, mark: &[u8]) {
    let path = directory.join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(mark.len()).rposition(|part| part == mark).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_page_that_redb_refuses_is_no_loss_when_the_journal_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 300);
    let before = answers(directory.path());
    // A table's name stands in no row of the journal.
    let mut refused = 0;
    let whole = fs::read(directory.path().join(FILE)).unwrap();
    for page in 1..whole.len() / 4_096 {
        let mut bytes = whole.clone();
        bytes[page * 4_096 + 100] ^= 4;
        fs::write(directory.path().join(FILE), &bytes).unwrap();
        let Ok(report) = verify(directory.path()) else { continue };
        if report.is_sound() || !report.is_repairable() {
            continue;
        }
        refused += 1;
        let notes = repaired(directory.path());
        assert_eq!(notes.len(), 1, "followers are told again");
        assert_eq!(answers(directory.path()), before);
        assert_eq!(
            Store::open(directory.path(), options()).unwrap().cursor("publisher"),
            Ok(Some(0))
        );
    }
    assert!(refused > 3, "{refused} pages of derived rows");
}

#[test]
fn a_damaged_journal_is_said_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 300);
    flip_in_a_page_with(directory.path(), b"e-7");
    let damaged = fs::read(directory.path().join(FILE)).unwrap();
    let Ok(Outcome::Unrepairable(report)) = repair(directory.path()) else {
        panic!("it was repaired")
    };
    let text = report.problems.join("\n");
    assert!(text.contains("journal"), "{text}");
    assert!(report.advice().contains("backup"));
    assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), damaged);
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn opening_balances_are_taken_over_and_never_guessed() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 300);
    let store = Store::open(directory.path(), options()).unwrap();
    store.set_cursor("publisher", 300);
    let mut keeper = store.keeper();
    while keeper.retain(Time(i64::MAX / 2)).unwrap() {}
    assert_eq!(store.floor(), 256);
    drop((keeper, store));
    let units = |directory: &Path| {
        let store = Store::open(directory, options()).unwrap();
        ["a", "b"].map(|sku| {
            store
                .view()
                .stock(store.view().keys().find("w", sku).unwrap())
                .unwrap()
                .accounts()[0]
        })
    };
    meddle(directory.path(), |transaction| {
        let mut table = transaction.open_table(tables::WAREHOUSE).unwrap();
        table.insert("w", [9u8; 3].as_slice()).unwrap();
    });
    // A row that no journal can give back is not made up.
    let report = verify(directory.path()).unwrap();
    assert!(!report.is_sound() && !report.from_zero);
    assert!(matches!(repair(directory.path()), Err(RepairError::NotSound(_))));
    meddle(directory.path(), |transaction| {
        transaction.open_table(tables::WAREHOUSE).unwrap().remove("w").unwrap();
    });
    assert_eq!(units(directory.path()), [150, 150]);
    assert!(verify(directory.path()).unwrap().is_sound());
}

#[test]
fn a_store_that_a_node_runs_on_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 10);
    let _running = Store::open(directory.path(), options()).unwrap();
    assert!(matches!(
        repair(directory.path()),
        Err(RepairError::Open(OpenError::Locked { .. }))
    ));
}
