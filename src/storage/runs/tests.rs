//! A million remembered ids: never a wrong answer, hardly a read for a new one, and bounded memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::units::Time;
use crate::storage::rows::{self, Put};
use crate::storage::runs::{GROUP, Kind, Pairs, Runs, Sealed, rows as rows_of};
use crate::storage::testing::{Disk, store_on};

const BITS: u32 = 14;
const GENERATIONS: u64 = 64;

fn id(number: u64) -> u64 {
    xxh3_64(&number.to_le_bytes())
}

#[test]
fn a_million_ids_are_known_and_a_new_one_hardly_reads_the_disk() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let runs = Runs::new(BITS);
    let mut model = HashMap::new();
    for generation in 0..GENERATIONS {
        let base = generation << BITS;
        // Every hundredth id comes a second time in the next generation: the newest counts.
        let number = |offset: u64| {
            if offset.is_multiple_of(100) && generation > 0 {
                base - (1 << BITS) + offset
            } else {
                base + offset
            }
        };
        let mut pairs: Pairs = (0..1u64 << BITS).map(|offset| (id(number(offset)), offset as u32)).collect();
        model.extend(pairs.iter().map(|(hash, offset)| (*hash, base + u64::from(*offset))));
        pairs.sort_unstable();
        let puts = rows_of(Kind::Ids, generation, &pairs).map(|(key, row)| Put::Run(key, Some(row)));
        rows::write(store.journal(), puts.collect()).unwrap();
        let sealed = Sealed {
            newest: Time(0),
            ids: pairs.len() as u64,
            forever: 0,
            facts: true,
        };
        rows::write(store.journal(), vec![Put::Generation(generation, Some(sealed.encode()))]).unwrap();
        runs.filter_in(Kind::Ids, generation, &pairs);
        runs.add(generation, sealed);
    }
    let database = &store.shared.database;
    let reopened = Runs::new(BITS);
    reopened.load(database).unwrap();
    for runs in [&runs, &reopened] {
        for (hash, seq) in model.iter().take(20_000) {
            assert_eq!(runs.newest(database, *hash, u64::MAX), Ok(Some(*seq)));
            // The lucky guess may be an older one of the same id, never another id's.
            let any = runs.any(database, *hash).unwrap().expect("it is known");
            assert!(any == *seq || any + (1 << BITS) == *seq, "{any} for {seq}");
        }
        runs.id_reads.store(0, Ordering::Relaxed);
        let new = 200_000;
        for number in 0..new {
            assert_eq!(runs.any(database, id(u64::MAX - number)), Ok(None));
        }
        let (mut asked, mut sure) = (Vec::from_iter((0..new).map(|number| id(u64::MAX - number))), Vec::new());
        asked.extend(model.keys().take(20_000));
        sure.resize(asked.len(), true);
        runs.strike(&asked, &mut sure);
        let (fresh, known) = sure.split_at(new as usize);
        assert!(!known.contains(&true), "what is known is never called new");
        let called = fresh.iter().filter(|sure| **sure).count() as u64;
        assert!(called > new - new / 1_000, "{called} of {new} new ids are called new");
        // A false positive looks into up to sixteen generations of its group.
        let reads = runs.id_reads.load(Ordering::Relaxed);
        assert!(reads / GROUP < new / 1_000, "{reads} rows read for {new} new ids");
        // Three bytes and a half an id: 35 megabytes for ten million, besides the live tables.
        assert_eq!(runs.filter_bytes() as u64 * 2, 7 * (GENERATIONS << BITS));
    }
}

/// A generation is sealed portion by portion, and an older one may lose its ids meanwhile.
#[test]
fn ids_that_are_being_sealed_are_known_though_all_before_them_are_forgotten() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let runs = Runs::new(BITS);
    let sealed = |ids| Sealed {
        newest: Time(0),
        ids,
        forever: 0,
        facts: true,
    };
    let seal = |generation: u64, between: &dyn Fn()| {
        let pairs: Pairs = vec![(id(generation), 0)];
        let puts = rows_of(Kind::Ids, generation, &pairs).map(|(key, row)| Put::Run(key, Some(row)));
        rows::write(store.journal(), puts.collect()).unwrap();
        runs.filter_in(Kind::Ids, generation, &pairs);
        between();
        runs.add(generation, sealed(1));
    };
    seal(0, &|| {});
    seal(1, &|| runs.change(0, Some(sealed(0))));
    let database = &store.shared.database;
    assert_eq!(runs.newest(database, id(1), u64::MAX), Ok(Some(1 << BITS)));
    // A group that is past altogether takes no memory.
    (2..=GROUP).for_each(|generation| seal(generation, &|| {}));
    let before = runs.filter_bytes();
    (1..GROUP).for_each(|generation| runs.change(generation, Some(sealed(0))));
    assert!(runs.filter_bytes() < before);
    assert_eq!(runs.newest(database, id(GROUP), u64::MAX), Ok(Some(GROUP << BITS)));
}
