//! The bytes of whole states: reservations and warehouses (in facts and in snapshots), SKUs and dead letters (in snapshots).
//!
//! A snapshot row begins with its version and with the sequence of the last fact in it, so that a replay knows what to skip.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::domain::reservation::{End, Line, Reservation, State};
use crate::domain::stock::{Belief, Book, Lot, Rare, Stock, StreamMark, Transfer};
use crate::domain::units::Id;
use crate::domain::warehouse::{Channel, Warehouse};
use crate::storage::letter::DeadLetter;

use super::change::{claim, put_claim, put_unit, unit};
use super::{Corrupt, Reader, put_bool, put_day, put_option, put_signed, put_str, put_time, put_u64, put_varint};

/// The version written in front of each snapshot row.
const VERSION: u8 = 1;

fn put_head(out: &mut Vec<u8>, seq: u64) {
    out.push(VERSION);
    put_varint(out, seq);
}

fn head(reader: &mut Reader<'_>) -> Result<u64, Corrupt> {
    match reader.u8("row version")? {
        VERSION => reader.varint("sequence"),
        _ => Err(reader.corrupt("row version")),
    }
}

fn put_list<T>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    put_varint(out, items.len() as u64);
    for item in items {
        put(out, item);
    }
}

fn list<T, L: FromIterator<T>>(
    reader: &mut Reader<'_>,
    what: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Corrupt>,
) -> Result<L, Corrupt> {
    let count = reader.count(what)?;
    (0..count).map(|_| read(reader)).collect()
}

pub(crate) fn encode_reservation(reservation: &Reservation, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put_head(&mut out, seq);
    put_reservation(&mut out, reservation);
    out
}

pub(crate) fn decode_reservation(bytes: &[u8]) -> Result<(Reservation, u64), Corrupt> {
    let mut reader = Reader::new(bytes);
    let seq = head(&mut reader)?;
    let found = reservation(&mut reader)?;
    reader.end("end of the reservation")?;
    Ok((found, seq))
}

pub(super) fn put_reservation(out: &mut Vec<u8>, reservation: &Reservation) {
    put_str(out, reservation.id.as_str());
    put_str(out, reservation.channel.as_str());
    out.push(match reservation.state {
        State::Held => 0,
        State::Confirmed => 1,
        State::Cancelled => 2,
        State::Expired => 3,
    });
    put_varint(out, reservation.version);
    put_u64(out, reservation.request);
    put_option(out, reservation.extended, |out, (request, until)| {
        put_u64(out, request);
        put_option(out, until, put_time);
    });
    put_list(out, reservation.lines.iter(), |out, line| {
        put_str(out, line.sku.as_str());
        for figure in [line.quantity, line.held, line.taken, line.matched, line.confirmed] {
            put_signed(out, figure);
        }
        put_option(out, line.min_shelf_life_days, |out, days| put_varint(out, u64::from(days)));
        put_option(out, line.good_until, put_day);
    });
    put_time(out, reservation.created);
    put_option(out, reservation.expires, put_time);
    put_option(out, reservation.end.as_ref(), |out, end| {
        put_time(out, end.at);
        put_option(out, end.fingerprint, put_u64);
    });
}

pub(super) fn reservation(reader: &mut Reader<'_>) -> Result<Reservation, Corrupt> {
    Ok(Reservation {
        id: reader.id("reservation")?,
        channel: reader.id("channel")?,
        state: match reader.u8("state")? {
            0 => State::Held,
            1 => State::Confirmed,
            2 => State::Cancelled,
            3 => State::Expired,
            _ => return Err(reader.corrupt("state")),
        },
        version: reader.varint("version")?,
        request: reader.u64("request")?,
        extended: reader.option("extended", |r| {
            Ok((r.u64("extended")?, r.option("until", |r| r.time("until"))?))
        })?,
        lines: list(reader, "lines", line)?,
        created: reader.time("created")?,
        expires: reader.option("expires", |r| r.time("expires"))?,
        end: reader.option("end", |r| {
            Ok(End {
                at: r.time("end")?,
                fingerprint: r.option("end", |r| r.u64("end"))?,
            })
        })?,
    })
}

fn line(reader: &mut Reader<'_>) -> Result<Line, Corrupt> {
    Ok(Line {
        sku: reader.id("sku")?,
        quantity: reader.signed("quantity")?,
        held: reader.signed("held")?,
        taken: reader.signed("taken")?,
        matched: reader.signed("matched")?,
        confirmed: reader.signed("confirmed")?,
        min_shelf_life_days: reader.option("days", |r| {
            let days = r.varint("days")?;
            u32::try_from(days).map_err(|_| r.corrupt("days"))
        })?,
        good_until: reader.option("day", |r| r.day("day"))?,
    })
}

pub(crate) fn encode_warehouse(warehouse: &Warehouse, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put_head(&mut out, seq);
    put_warehouse(&mut out, warehouse);
    out
}

pub(crate) fn decode_warehouse(bytes: &[u8]) -> Result<(Warehouse, u64), Corrupt> {
    let mut reader = Reader::new(bytes);
    let seq = head(&mut reader)?;
    let found = warehouse(&mut reader)?;
    reader.end("end of the warehouse")?;
    Ok((found, seq))
}

pub(super) fn put_warehouse(out: &mut Vec<u8>, warehouse: &Warehouse) {
    put_str(out, warehouse.id.as_str());
    put_str(out, &warehouse.name);
    put_str(out, &warehouse.time_zone);
    put_list(out, warehouse.channels.iter(), |out, (id, channel)| {
        put_str(out, id.as_str());
        put_signed(out, channel.buffer);
        put_varint(out, u64::from(channel.ttl_s));
        put_varint(out, u64::from(channel.max_ttl_s));
        put_bool(out, channel.allow_no_expiry);
    });
}

pub(super) fn warehouse(reader: &mut Reader<'_>) -> Result<Warehouse, Corrupt> {
    let seconds = |reader: &mut Reader<'_>| {
        let seconds = reader.varint("seconds")?;
        u32::try_from(seconds).map_err(|_| reader.corrupt("seconds"))
    };
    Ok(Warehouse {
        id: reader.id("warehouse")?,
        name: reader.str("name")?.to_owned(),
        time_zone: reader.str("time zone")?.to_owned(),
        channels: list::<_, BTreeMap<_, _>>(reader, "channels", |reader| {
            let id = reader.id("channel")?;
            let channel = Channel {
                buffer: reader.signed("buffer")?,
                ttl_s: seconds(reader)?,
                max_ttl_s: seconds(reader)?,
                allow_no_expiry: reader.bool("no expiry")?,
            };
            Ok((id, channel))
        })?,
    })
}

pub(crate) fn encode_stock(stock: &Stock, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let out = &mut out;
    put_head(out, seq);
    put_unit(out, stock.unit);
    put_varint(out, stock.version);
    put_list(out, stock.lots.iter(), |out, lot| {
        put_str(out, lot.id.as_str());
        put_option(out, lot.expires_on, put_day);
        lot.inside.iter().for_each(|figure| put_signed(out, *figure));
        put_option(out, lot.last_count.get(), put_time);
    });
    stock.outside.iter().for_each(|figure| put_signed(out, *figure));
    put_signed(out, stock.owed);
    put_bool(out, stock.dated);
    put_list(out, stock.claims.iter(), put_claim);
    put_option(out, stock.last_count.get(), put_time);
    put_bool(out, stock.count_due);
    put_varint(out, stock.book.len() as u64);
    for entry in stock.book.iter() {
        put_time(out, entry.at);
        put_str(out, entry.lot);
        put_signed(out, entry.own);
        put_signed(out, entry.found);
        put_signed(out, entry.set);
    }
    put_option(out, stock.book_floor.get(), put_time);
    put_option(out, stock.rare.as_deref(), put_rare);
    std::mem::take(out)
}

fn put_rare(out: &mut Vec<u8>, rare: &Rare) {
    put_list(out, rare.transfers.iter(), |out, transfer| {
        put_str(out, transfer.id.as_str());
        put_signed(out, transfer.sent);
        put_signed(out, transfer.arrived);
        put_time(out, transfer.touched);
    });
    put_list(out, rare.streams.iter(), |out, mark| {
        put_str(out, mark.source.as_str());
        put_str(out, mark.stream.as_str());
        put_option(out, mark.lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
        put_varint(out, mark.newest);
        put_varint(out, mark.newest_absolute);
        put_varint(out, mark.gaps);
    });
    put_list(out, rare.beliefs.iter(), |out, belief| {
        put_str(out, belief.source.as_str());
        put_option(out, belief.lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
        put_signed(out, belief.believes);
        put_signed(out, belief.book);
        put_time(out, belief.at);
        put_option(out, belief.since, put_time);
    });
    put_list(out, rare.buffers.iter(), |out, (channel, buffer)| {
        put_str(out, channel.as_str());
        put_signed(out, *buffer);
    });
}

pub(crate) fn decode_stock(bytes: &[u8]) -> Result<(Stock, u64), Corrupt> {
    let mut reader = Reader::new(bytes);
    let reader = &mut reader;
    let seq = head(reader)?;
    let (unit, version) = (unit(reader)?, reader.varint("version")?);
    let lots = list::<_, SmallVec<[Lot; 1]>>(reader, "lots", |r| {
        Ok(Lot {
            id: r.id("lot")?,
            expires_on: r.option("day", |r| r.day("day"))?,
            inside: [r.signed("sellable")?, r.signed("quarantine")?, r.signed("in transit")?],
            last_count: r.option("count", |r| r.time("count"))?.into(),
        })
    })?;
    let stock = Stock {
        unit,
        version,
        outside: [
            reader.signed("supply")?,
            reader.signed("demand")?,
            reader.signed("waste")?,
            reader.signed("discrepancy")?,
        ],
        owed: reader.signed("owed")?,
        dated: reader.bool("dated")?,
        claims: list(reader, "claims", claim)?,
        last_count: reader.option("count", |r| r.time("count"))?.into(),
        count_due: reader.bool("count due")?,
        book: book(reader, &lots)?,
        book_floor: reader.option("book floor", |r| r.time("book floor"))?.into(),
        rare: reader.option("rare", rare)?.map(Box::new),
        lots,
    };
    reader.end("end of the stock")?;
    Ok((stock, seq))
}

/// The recent book. Its entries share the ids of the lots, as they do while the node runs.
fn book(reader: &mut Reader<'_>, lots: &[Lot]) -> Result<Book, Corrupt> {
    let count = reader.count("book")?;
    let mut book = Book::default();
    for _ in 0..count {
        let at = reader.time("at")?;
        let lot = reader.str("lot")?;
        let figures = [reader.signed("own")?, reader.signed("found")?, reader.signed("set")?];
        match lots.iter().find(|known| known.id.is(lot)) {
            Some(known) => book.add(at, &known.id, figures),
            None => book.add(at, &Id::trusted(lot), figures),
        }
    }
    Ok(book)
}

fn rare(reader: &mut Reader<'_>) -> Result<Rare, Corrupt> {
    Ok(Rare {
        transfers: list(reader, "transfers", |r| {
            Ok(Transfer {
                id: r.id("transfer")?,
                sent: r.signed("sent")?,
                arrived: r.signed("arrived")?,
                touched: r.time("touched")?,
            })
        })?,
        streams: list(reader, "streams", |r| {
            Ok(StreamMark {
                source: r.id("source")?,
                stream: r.id("stream")?,
                lot: r.option("lot", |r| r.id("lot"))?,
                newest: r.varint("newest")?,
                newest_absolute: r.varint("newest absolute")?,
                gaps: r.varint("gaps")?,
            })
        })?,
        beliefs: list(reader, "beliefs", |r| {
            Ok(Belief {
                source: r.id("source")?,
                lot: r.option("lot", |r| r.id("lot"))?,
                believes: r.signed("believes")?,
                book: r.signed("book")?,
                at: r.time("at")?,
                since: r.option("since", |r| r.time("since"))?,
            })
        })?,
        buffers: list(reader, "buffers", |r| Ok((r.id("channel")?, r.signed("buffer")?)))?,
    })
}

pub(crate) fn encode_dead_letter(letter: &DeadLetter, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put_head(&mut out, seq);
    put_str(&mut out, letter.warehouse.as_str());
    put_str(&mut out, &letter.sku);
    put_str(&mut out, &letter.error);
    put_str(&mut out, &letter.state);
    put_time(&mut out, letter.recorded);
    out
}

pub(crate) fn decode_dead_letter(bytes: &[u8]) -> Result<(DeadLetter, u64), Corrupt> {
    let mut reader = Reader::new(bytes);
    let seq = head(&mut reader)?;
    let letter = DeadLetter {
        warehouse: Id::trusted(reader.str("warehouse")?),
        sku: reader.boxed("sku")?,
        error: reader.boxed("error")?,
        state: reader.boxed("state")?,
        recorded: reader.time("recorded")?,
    };
    reader.end("end of the dead letter")?;
    Ok((letter, seq))
}
