//! Every released format opens, with everything in it.

use std::fs;
use std::path::Path;

use redb::Builder;

use crate::domain::fact::{OnOffer, Subject};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Channel, Warehouse};
use crate::storage::codec::Stored;
use crate::storage::remembered::{self, Lookup};
use crate::storage::store::{FILE, FORMAT, Options, Store};
use crate::storage::testing::{append, fact, options, origin, receipt};
use crate::storage::verify::verify;

const FACTS: u64 = 100;

fn fixture(format: u64) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/store-v{format}.redb"))
}

/// What the store files of a format hold: a warehouse, a catalogue entry, and receipts of one unit each; since format 2 these say
/// what each channel has on offer.
fn facts(format: u64) -> Vec<Stored> {
    use crate::domain::fact::Outcome;
    let warehouse = Warehouse {
        id: Id::trusted("w"),
        name: "Склад".into(),
        time_zone: "Europe/Moscow".into(),
        channels: [(Id::trusted("default"), Channel::default())].into(),
    };
    let entry = Subject::Catalogue {
        sku: Id::trusted("a"),
        entry: "{\"name\":\"Молоко\"}".into(),
    };
    let mut facts = vec![
        fact("w", 1, Outcome::APPLIED, Subject::Warehouse(Box::new(warehouse))),
        fact("", 2, Outcome::APPLIED, entry),
    ];
    facts.extend((3..=FACTS).map(|number| receipt("a", number - 2, 1, number)));
    if format >= 2 {
        let channels = ["default", "web"].map(Id::trusted);
        for (stored, number) in facts.iter_mut().zip(1i64..) {
            if let Subject::Sku { after, .. } = &mut stored.fact.subject {
                after.on_offer = match number % 4 {
                    0 => OnOffer::Each(channels.clone().map(|channel| (channel, number)).into()),
                    1 => OnOffer::Alike(channels.clone().into()),
                    2 => OnOffer::Alike([Id::trusted("app")].into()),
                    _ => OnOffer::Unknown,
                };
            }
        }
    }
    facts
}

/// Writes the fixture of a new format, once: a released one is never written again.
fn write_the_fixture_of_this_format() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    let facts = facts(FORMAT);
    append(&store, &facts[..90]).unwrap();
    let mut keeper = store.keeper();
    keeper.finish(Time(0)).unwrap();
    while keeper.seal().unwrap() {}
    append(&store, &facts[90..]).unwrap();
    drop((keeper, store));
    let file = directory.path().join(FILE);
    let mut database = Builder::new().open(&file).unwrap();
    while database.compact().unwrap() {}
    drop(database);
    fs::copy(file, fixture(FORMAT)).unwrap();
}

#[test]
fn a_store_of_every_released_format_opens_with_everything_in_it() {
    if !fixture(FORMAT).exists() {
        write_the_fixture_of_this_format();
        panic!("format {FORMAT} had no store file: it has been written now, look at it and commit it");
    }
    for format in 1..=FORMAT {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(fixture(format), directory.path().join(FILE)).unwrap();
        let store = Store::open(directory.path(), Options::default()).unwrap();
        let view = store.view();
        assert_eq!(view.durable_seq(), FACTS);
        assert_eq!(view.warehouse("w").unwrap().name, "Склад");
        assert_eq!(view.catalogue_entry("a").as_deref(), Some("{\"name\":\"Молоко\"}"));
        let sku = view.keys().find("w", "a").unwrap();
        assert_eq!(view.stock(sku).unwrap().accounts(), [98, 0, 0, -98, 0, 0, 0]);
        for (stored, seq) in facts(format).into_iter().zip(1..) {
            let mut expected = stored.fact;
            expected.seq = seq;
            assert_eq!(store.fact(seq).unwrap(), Some(expected));
            let known = remembered::hash(if seq == 2 { "" } else { "w" }, "wms/7", origin(seq).id.as_str());
            assert_eq!(store.lookup(known), Ok(Lookup::At(seq)));
        }
        assert_eq!(store.ledger(sku, None, 200).unwrap().facts.len(), 98);
        drop(store);
        assert_eq!(verify(directory.path()).unwrap().problems, Vec::<String>::new());
    }
}
