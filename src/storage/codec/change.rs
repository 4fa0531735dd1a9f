//! The bytes of a [`Change`]: one tag, then its fields in the order of the enum. Tags are never used again for something else.

use crate::domain::fact::{Account, Change, Changes, Claim, Role};
use crate::domain::stock::{Belief, StreamMark};
use crate::domain::units::Unit;

use super::{Corrupt, Reader, put_bool, put_day, put_option, put_signed, put_str, put_time, put_varint};

pub(super) fn put_unit(out: &mut Vec<u8>, unit: Unit) {
    out.push(match unit {
        Unit::Each => 0,
        Unit::G => 1,
        Unit::Ml => 2,
    });
}

pub(super) fn unit(reader: &mut Reader<'_>) -> Result<Unit, Corrupt> {
    match reader.u8("unit")? {
        0 => Ok(Unit::Each),
        1 => Ok(Unit::G),
        2 => Ok(Unit::Ml),
        _ => Err(reader.corrupt("unit")),
    }
}

fn account(reader: &Reader<'_>, number: u8) -> Result<Account, Corrupt> {
    Account::ALL
        .get(usize::from(number))
        .copied()
        .ok_or_else(|| reader.corrupt("account"))
}

pub(super) fn put_claim(out: &mut Vec<u8>, claim: &Claim) {
    put_str(out, claim.reservation.as_str());
    put_signed(out, claim.quantity);
    put_option(out, claim.good_until, put_day);
    put_option(out, claim.deadline, put_time);
    put_bool(out, claim.at_risk);
}

pub(super) fn claim(reader: &mut Reader<'_>) -> Result<Claim, Corrupt> {
    Ok(Claim {
        reservation: reader.id("reservation")?,
        quantity: reader.signed("quantity")?,
        good_until: reader.option("day", |r| r.day("day"))?,
        deadline: reader.option("deadline", |r| r.time("deadline"))?,
        at_risk: reader.bool("at risk")?,
    })
}

pub(super) fn put_changes(out: &mut Vec<u8>, changes: &[Change]) {
    put_varint(out, changes.len() as u64);
    for change in changes {
        put_change(out, change);
    }
}

pub(super) fn changes(reader: &mut Reader<'_>) -> Result<Changes, Corrupt> {
    let count = reader.count("changes")?;
    let mut changes = Changes::new();
    for _ in 0..count {
        changes.push(read_change(reader)?);
    }
    Ok(changes)
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Move {
            lot,
            from,
            to,
            quantity,
            role,
        } => {
            out.push(0);
            // Two accounts of seven fit one byte; the role has the next.
            out.push((*from as u8) << 4 | *to as u8);
            out.push(*role as u8);
            put_str(out, lot.as_str());
            put_signed(out, *quantity);
        }
        Change::Lot { lot, expires_on } => {
            out.push(1);
            put_str(out, lot.as_str());
            put_option(out, *expires_on, put_day);
        }
        Change::Unit(unit) => {
            out.push(2);
            put_unit(out, *unit);
        }
        Change::Owed(by) => {
            out.push(3);
            put_signed(out, *by);
        }
        Change::Counted { lot, as_of } => {
            out.push(4);
            put_option(out, lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
            put_time(out, *as_of);
        }
        Change::CountDue(due) => {
            out.push(5);
            put_bool(out, *due);
        }
        Change::BookCut(at) => {
            out.push(6);
            put_time(out, *at);
        }
        Change::LotGone(lot) => {
            out.push(7);
            put_str(out, lot.as_str());
        }
        Change::TransferGone(transfer) => {
            out.push(8);
            put_str(out, transfer.as_str());
        }
        Change::Turned => out.push(9),
        Change::Claim(_) | Change::Unclaim { .. } | Change::Deadline { .. } | Change::AtRisk { .. } => put_promise(out, change),
        Change::Transfer { .. } | Change::Stream(_) | Change::Belief(_) | Change::Book { .. } | Change::Buffer { .. } => {
            put_rare(out, change)
        }
    }
}

fn put_promise(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Claim(claim) => {
            out.push(16);
            put_claim(out, claim);
        }
        Change::Unclaim { reservation, quantity } => {
            out.push(17);
            put_str(out, reservation.as_str());
            put_signed(out, *quantity);
        }
        Change::Deadline { reservation, deadline } => {
            out.push(18);
            put_str(out, reservation.as_str());
            put_option(out, *deadline, put_time);
        }
        Change::AtRisk { reservation, at_risk } => {
            out.push(19);
            put_str(out, reservation.as_str());
            put_bool(out, *at_risk);
        }
        _ => {}
    }
}

fn put_rare(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Transfer { transfer, sent, arrived } => {
            out.push(32);
            put_str(out, transfer.as_str());
            put_signed(out, *sent);
            put_signed(out, *arrived);
        }
        Change::Stream(mark) => {
            out.push(33);
            put_str(out, mark.source.as_str());
            put_str(out, mark.stream.as_str());
            put_option(out, mark.lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
            put_varint(out, mark.newest);
            put_varint(out, mark.newest_absolute);
            put_varint(out, mark.gaps);
        }
        Change::Belief(belief) => {
            out.push(34);
            put_str(out, belief.source.as_str());
            put_option(out, belief.lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
            put_signed(out, belief.believes);
            put_signed(out, belief.book);
            put_time(out, belief.at);
            put_option(out, belief.since, put_time);
        }
        Change::Book {
            at,
            lot,
            own,
            found,
            set,
        } => {
            out.push(36);
            put_time(out, *at);
            put_str(out, lot.as_str());
            [*own, *found, *set].into_iter().for_each(|units| put_signed(out, units));
        }
        Change::Buffer { channel, buffer } => {
            out.push(35);
            put_str(out, channel.as_str());
            put_option(out, *buffer, put_signed);
        }
        _ => {}
    }
}

fn read_change(reader: &mut Reader<'_>) -> Result<Change, Corrupt> {
    Ok(match reader.u8("change")? {
        0 => read_move(reader)?,
        1 => Change::Lot {
            lot: reader.id("lot")?,
            expires_on: reader.option("day", |r| r.day("day"))?,
        },
        2 => Change::Unit(unit(reader)?),
        3 => Change::Owed(reader.signed("owed")?),
        4 => Change::Counted {
            lot: reader.option("lot", |r| r.id("lot"))?,
            as_of: reader.time("as of")?,
        },
        5 => Change::CountDue(reader.bool("count due")?),
        6 => Change::BookCut(reader.time("book cut")?),
        7 => Change::LotGone(reader.id("lot")?),
        8 => Change::TransferGone(reader.id("transfer")?),
        9 => Change::Turned,
        16 => Change::Claim(claim(reader)?.into()),
        17 => Change::Unclaim {
            reservation: reader.id("reservation")?,
            quantity: reader.signed("quantity")?,
        },
        18 => Change::Deadline {
            reservation: reader.id("reservation")?,
            deadline: reader.option("deadline", |r| r.time("deadline"))?,
        },
        19 => Change::AtRisk {
            reservation: reader.id("reservation")?,
            at_risk: reader.bool("at risk")?,
        },
        tag => return read_rare(reader, tag),
    })
}

fn read_move(reader: &mut Reader<'_>) -> Result<Change, Corrupt> {
    let accounts = reader.u8("accounts")?;
    let role = match reader.u8("role")? {
        0 => Role::Own,
        1 => Role::Found,
        2 => Role::Repaid,
        3 => Role::Counted,
        4 => Role::Filled,
        5 => Role::Voided,
        _ => return Err(reader.corrupt("role")),
    };
    Ok(Change::Move {
        from: account(reader, accounts >> 4)?,
        to: account(reader, accounts & 0x0f)?,
        role,
        lot: reader.id("lot")?,
        quantity: reader.signed("quantity")?,
    })
}

fn read_rare(reader: &mut Reader<'_>, tag: u8) -> Result<Change, Corrupt> {
    Ok(match tag {
        32 => Change::Transfer {
            transfer: reader.id("transfer")?,
            sent: reader.signed("sent")?,
            arrived: reader.signed("arrived")?,
        },
        33 => Change::Stream(Box::new(StreamMark {
            source: reader.id("source")?,
            stream: reader.id("stream")?,
            lot: reader.option("lot", |r| r.id("lot"))?,
            newest: reader.varint("newest")?,
            newest_absolute: reader.varint("newest absolute")?,
            gaps: reader.varint("gaps")?,
        })),
        34 => Change::Belief(Box::new(Belief {
            source: reader.id("source")?,
            lot: reader.option("lot", |r| r.id("lot"))?,
            believes: reader.signed("believes")?,
            book: reader.signed("book")?,
            at: reader.time("at")?,
            since: reader.option("since", |r| r.time("since"))?,
        })),
        36 => Change::Book {
            at: reader.time("at")?,
            lot: reader.id("lot")?,
            own: reader.signed("own")?,
            found: reader.signed("found")?,
            set: reader.signed("set")?,
        },
        35 => Change::Buffer {
            channel: reader.id("channel")?,
            buffer: reader.option("buffer", |r| r.signed("buffer"))?,
        },
        _ => return Err(reader.corrupt("change")),
    })
}
