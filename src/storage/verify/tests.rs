//! What is wrong is said, with its place; a sound store is called sound.

use std::fs;
use std::path::Path;

use redb::{Builder, ReadableTable};

use crate::storage::store::{FILE, FORMAT, OpenError, Store};
use crate::storage::tables::{self, meta};
use crate::storage::testing::{append, options, receipt};
use crate::storage::verify::verify;

fn filled(directory: &Path) {
    let store = Store::open(directory, options()).unwrap();
    for number in 1..=300 {
        append(&store, &[receipt("a", number, 1, number)]).unwrap();
    }
    let mut keeper = store.keeper();
    keeper.finish(crate::domain::units::Time(0)).unwrap();
    while keeper.seal().unwrap() {}
}

fn meddle(directory: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Builder::new().open(directory.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_sound_store_is_called_sound() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let report = verify(directory.path()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(
        (report.facts, report.last, report.skus, report.from_zero),
        (300, 300, 1, true)
    );
}

#[test]
fn a_flipped_bit_a_lost_row_and_a_wrong_snapshot_are_found() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    meddle(directory.path(), |transaction| {
        let mut table = transaction.open_table(tables::JOURNAL).unwrap();
        let mut row = table.get(7).unwrap().unwrap().value().to_vec();
        let middle = row.len() / 2;
        row[middle] ^= 1;
        table.insert(7, row.as_slice()).unwrap();
        table.remove(9).unwrap();
    });
    let report = verify(directory.path()).unwrap();
    let text = report.problems.join("\n");
    assert!(text.contains("journal row 7 is damaged"), "{text}");
    assert!(text.contains("facts 9 to 9 are missing"), "{text}");

    let other = tempfile::tempdir().unwrap();
    filled(other.path());
    meddle(other.path(), |transaction| {
        let mut table = transaction.open_table(tables::STOCK).unwrap();
        let row = table.get(("w", "a")).unwrap().unwrap().value().to_vec();
        let (mut stock, seq) = crate::storage::codec::decode_stock(&row).unwrap();
        stock.owed += 1;
        table
            .insert(("w", "a"), crate::storage::codec::encode_stock(&stock, seq).as_slice())
            .unwrap();
    });
    let text = verify(other.path()).unwrap().problems.join("\n");
    assert!(text.contains("snapshot differs"), "{text}");
}

#[test]
fn a_store_that_cannot_be_opened_says_what_where_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let refusal = |path: &Path| Store::open(path, options()).err().map(|error| (error.to_string(), error));

    let (text, error) = refusal(&path.join("no/such")).unwrap();
    assert!(matches!(error, OpenError::Missing { .. }), "{text}");
    fs::write(path.join("file"), "x").unwrap();
    let (text, error) = refusal(&path.join("file")).unwrap();
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{text}");

    filled(path);
    let running = Store::open(path, options()).unwrap();
    let (text, _) = refusal(path).unwrap();
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    drop(running);

    let whole = fs::read(path.join(FILE)).unwrap();
    for damaged in [&whole[..0], &whole[..100], &whole[..whole.len() / 3], &[7u8; 100_000][..]] {
        fs::write(path.join(FILE), damaged).unwrap();
        let (text, error) = refusal(path).unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {text}", damaged.len());
        assert!(text.contains(FILE) && text.contains("shelfd verify"), "{text}");
        assert!(verify(path).is_err() || !verify(path).unwrap().is_sound());
    }

    fs::write(path.join(FILE), &whole).unwrap();
    meddle(path, |transaction| {
        let mut table = transaction.open_table(tables::META).unwrap();
        table.insert(meta::FORMAT, (FORMAT + 1).to_le_bytes().as_slice()).unwrap();
    });
    let (text, error) = refusal(path).unwrap();
    assert!(
        matches!(error, OpenError::Newer { found, known: FORMAT, .. } if found == FORMAT + 1),
        "{text}"
    );
}

#[test]
fn a_half_made_store_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("store.redb.new"), "half").unwrap();
    filled(directory.path());
    assert!(verify(directory.path()).unwrap().is_sound());
}
