//! A million remembered ids: never a wrong answer, hardly a read for a new one, and bounded memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::units::Time;
use crate::storage::database::Handle;
use crate::storage::rows::{self, Put};
use crate::storage::runs::{GROUP, Kind, Pairs, Runs, Sealed, rows as rows_of};
use crate::storage::testing::{Disk, store_on};

const BITS: u32 = 14;
const GENERATIONS: u64 = 64;

/// Has the filter take in a run of ids; between the steps of it, looks.
fn take_in(runs: &Runs, database: &Handle, generation: u64, pairs: &Pairs, look: &dyn Fn()) -> u32 {
    let (mut growth, mut steps) = (None, 0);
    while !runs.filter_in(database, (Kind::Ids, generation), pairs, &mut growth).unwrap() {
        steps += 1;
        look();
    }
    steps
}

fn sealed(ids: u64) -> Sealed {
    Sealed {
        newest: Time(0),
        ids,
        forever: 0,
        facts: true,
    }
}

fn id(number: u64) -> u64 {
    xxh3_64(&number.to_le_bytes())
}

#[test]
fn a_million_ids_are_known_and_a_new_one_hardly_reads_the_disk() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let (runs, database) = (Runs::new(BITS), &store.shared.database);
    let (mut model, mut steps) = (HashMap::new(), 0);
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
        let sealed = sealed(pairs.len() as u64);
        rows::write(store.journal(), vec![Put::Generation(generation, Some(sealed.encode()))]).unwrap();
        let known: Vec<u64> = (0..generation).map(|before| id((before << BITS) + 7)).collect();
        steps += take_in(&runs, database, generation, &pairs, &|| {
            let mut new = vec![true; known.len()];
            runs.strike(&known, &mut new);
            assert!(!new.contains(&true), "a filter that grows forgets nothing meanwhile");
        });
        runs.add(generation, sealed);
        let ids = (generation + 1) << BITS;
        assert!(
            runs.filter_bytes() as u64 <= (21 * ids / 2).min(7 * (ids + (GROUP << BITS)) / 2) + 64,
            "{} bytes of filters for {ids} ids",
            runs.filter_bytes()
        );
    }
    // Each group's first generations are read again, and not more than once or twice.
    assert!((1..2 * GENERATIONS as u32).contains(&steps), "{steps} steps");
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
        assert!(called >= new - 5, "{called} of {new} new ids are called new");
        // A false positive, one in 150,000 for each full filter, looks into all generations of its group.
        let reads = runs.id_reads.load(Ordering::Relaxed);
        assert!(reads <= 5 * GROUP, "{reads} rows read for {new} new ids");
        // Three bytes and a half an id: 35 megabytes for ten million, besides the live tables.
        assert_eq!(runs.filter_bytes() as u64 * 2, 7 * (GENERATIONS << BITS));
    }
}

#[test]
fn a_filter_that_cannot_grow_takes_what_comes_all_the_same() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let (runs, database) = (Runs::new(BITS), &store.shared.database);
    let unreadable = Handle::new(disk.backends(), 0, 0);
    let mut asked = Vec::new();
    for generation in 0..4 {
        let ids = (0..100).map(|offset| (id(generation * 100 + offset), offset as u32));
        let pairs: Pairs = ids.collect();
        asked.extend(pairs.iter().map(|(hash, _)| *hash));
        take_in(
            &runs,
            if generation < 2 { database } else { &unreadable },
            generation,
            &pairs,
            &|| {},
        );
        runs.add(generation, sealed(100));
    }
    let mut new = vec![true; asked.len()];
    runs.strike(&asked, &mut new);
    assert!(!new.contains(&true), "what is known is never called new");
}

/// A generation is sealed portion by portion, and an older one may lose its ids meanwhile.
#[test]
fn ids_that_are_being_sealed_are_known_though_all_before_them_are_forgotten() {
    let disk = Arc::new(Disk::default());
    let store = store_on(&disk);
    let (runs, database) = (Runs::new(BITS), &store.shared.database);
    let seal = |generation: u64, between: &dyn Fn()| {
        let pairs: Pairs = vec![(id(generation), 0)];
        let puts = rows_of(Kind::Ids, generation, &pairs).map(|(key, row)| Put::Run(key, Some(row)));
        rows::write(store.journal(), puts.collect()).unwrap();
        take_in(&runs, database, generation, &pairs, &|| {});
        between();
        runs.add(generation, sealed(1));
    };
    seal(0, &|| {});
    seal(1, &|| runs.change(0, Some(sealed(0))));
    assert_eq!(runs.newest(database, id(1), u64::MAX), Ok(Some(1 << BITS)));
    // A group that is past altogether takes no memory.
    (2..=GROUP).for_each(|generation| seal(generation, &|| {}));
    let before = runs.filter_bytes();
    (1..GROUP).for_each(|generation| runs.change(generation, Some(sealed(0))));
    assert!(runs.filter_bytes() < before);
    assert_eq!(runs.newest(database, id(GROUP), u64::MAX), Ok(Some(GROUP << BITS)));
}
