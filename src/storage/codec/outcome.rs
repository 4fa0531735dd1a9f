//! The bytes of what came of an event: one tag, then what goes with it.

use crate::domain::fact::Outcome;
use crate::domain::refusal::{Code, Refusal, Shortage};

use super::{Corrupt, Reader, put_option, put_signed, put_str, put_varint};

pub(crate) fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Applied {
            found: 0,
            expired_lot: None,
        } => out.push(0),
        Outcome::Applied { found, expired_lot } => {
            out.push(1);
            put_signed(out, *found);
            put_option(out, expired_lot.as_ref(), |out, lot| put_str(out, lot.as_str()));
        }
        Outcome::IncludedInCount => out.push(2),
        Outcome::Stale => out.push(3),
        Outcome::Recorded => out.push(4),
        Outcome::Refused(refusal) => {
            out.push(5);
            put_str(out, refusal.code.as_str());
            put_str(out, &refusal.detail);
            put_option(out, refusal.field.as_deref(), put_str);
            put_varint(out, refusal.lines.len() as u64);
            for line in &refusal.lines {
                put_str(out, line.sku.as_str());
                put_signed(out, line.requested);
                put_signed(out, line.available);
            }
        }
        Outcome::DeadLetter { error } => {
            out.push(6);
            put_str(out, error);
        }
    }
}

pub(crate) fn outcome(reader: &mut Reader<'_>) -> Result<Outcome, Corrupt> {
    Ok(match reader.u8("outcome")? {
        0 => Outcome::APPLIED,
        1 => Outcome::Applied {
            found: reader.signed("found")?,
            expired_lot: reader.option("lot", |r| r.id("lot"))?,
        },
        2 => Outcome::IncludedInCount,
        3 => Outcome::Stale,
        4 => Outcome::Recorded,
        5 => Outcome::Refused(refusal(reader)?.into()),
        6 => Outcome::DeadLetter {
            error: reader.boxed("error")?,
        },
        _ => return Err(reader.corrupt("outcome")),
    })
}

fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, Corrupt> {
    let code = reader.str("refusal")?;
    let code = Code::parse(code).ok_or_else(|| reader.corrupt("code of a refusal"))?;
    let detail = reader.str("detail")?.to_owned();
    let field = reader.option("field", |r| r.str("field"))?.map(str::to_owned);
    let count = reader.count("lines")?;
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(Shortage {
            sku: reader.id("sku")?,
            requested: reader.signed("requested")?,
            available: reader.signed("available")?,
        });
    }
    Ok(Refusal {
        code,
        detail,
        field,
        lines,
    })
}
