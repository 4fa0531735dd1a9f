//! Numbered streams, judged per source, stream, SKU and lot.

use super::*;

fn mark(shelf: &Shelf, place: usize) -> (u64, u64, u64) {
    let mark = &shelf.stock().rare.unwrap().streams[place];
    (mark.newest, mark.newest_absolute, mark.gaps)
}

#[test]
fn absolute_figure_older_than_the_newest_of_its_stream_is_stale() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(9).at("10:00").number(7));
    assert_eq!(shelf.send(count(5).at("10:30").number(6)), Outcome::Stale);
    shelf.shows(9, 0);
    assert_eq!(mark(&shelf, 0), (7, 7, 0));
    shelf.applies(count(8).at("10:30").number(8)).shows(8, 0);
    let snapshot = |seq| event(What::Snapshot { quantity: 3 }).said_by("erp").at("09:00").number(seq);
    assert_eq!(shelf.send(snapshot(4)), Outcome::Recorded);
    assert_eq!(shelf.send(snapshot(3)), Outcome::Stale);
}

#[test]
fn movement_with_an_old_number_is_taken_like_any_other() {
    let mut shelf = Shelf::with(10);
    shelf
        .applies(count(9).at("10:00").number(7))
        .applies(sale(2).at("10:10").number(5))
        .shows(7, 0);
}

#[test]
fn gaps_are_counted_and_filled() {
    let mut shelf = Shelf::with(10);
    shelf.applies(sale(1).number(3));
    assert_eq!(mark(&shelf, 0), (3, 0, 0));
    shelf.applies(sale(1).number(7));
    assert_eq!(mark(&shelf, 0), (7, 0, 3));
    shelf.applies(sale(1).number(5));
    assert_eq!(mark(&shelf, 0), (7, 0, 2));
}

#[test]
fn streams_of_other_sources_and_lots_are_judged_apart() {
    let mut shelf = Shelf::new();
    shelf
        .applies(receipt(9).at("06:00").lot("A").number(1))
        .applies(receipt(9).at("06:00").lot("B").number(50));
    shelf
        .applies(count(8).lot("A").at("10:00").number(9))
        .applies(count(8).lot("B").at("10:00").number(51));
    shelf.applies(count(7).lot("A").at("10:01").number(10));
    shelf.applies(count(6).lot("A").at("10:02").said_by("wms/8").number(1));
    assert_eq!(mark(&shelf, 0), (10, 10, 7));
}

#[test]
fn stale_figure_by_time_does_not_become_the_newest_of_its_stream() {
    let mut shelf = Shelf::with(10);
    shelf.applies(count(9).at("10:00").said_by("console"));
    assert_eq!(shelf.send(count(5).at("09:00").number(6)), Outcome::Stale);
    assert_eq!(mark(&shelf, 0), (6, 0, 0));
}
