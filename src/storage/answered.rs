//! What was answered to ids that are kept for ever, once their facts are no longer in the journal.
//!
//! When the facts of a generation are given up, what a repetition must be answered goes into rows of their own: about 14 bytes an
//! id. To keep whole facts was rejected: an import of years would hold on to the journal that retention is there to let go.

use redb::TableError;

use crate::domain::fact::{Outcome, Subject};

use super::codec::{Corrupt, Reader, Stored, outcome, put_outcome, put_u64, put_varint};
use super::database::{Handle, ReadError};
use super::tables;

/// Facts that one row speaks of, at most: a row is then about as large as the store likes them.
pub(crate) const CHUNK: u64 = 1_024;

const VERSION: u8 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of what the sender wrote.
    pub fingerprint: u64,
    /// The version of the SKU after it; 0: it was about no SKU.
    pub version: u64,
    /// The verdict.
    pub outcome: Outcome,
}

/// The row of the facts from `first` on; `None`: no id of theirs is kept for ever.
pub(crate) fn row<'a>(first: u64, facts: impl Iterator<Item = &'a Stored>) -> Option<Vec<u8>> {
    let mut out = vec![VERSION];
    for Stored { fact, .. } in facts.filter(|stored| stored.memory.id && stored.memory.keep_forever) {
        let version = match &fact.subject {
            Subject::Sku { version, .. } => *version,
            _ => 0,
        };
        put_varint(&mut out, fact.seq - first);
        put_u64(&mut out, fact.origin.fingerprint);
        put_varint(&mut out, version);
        put_outcome(&mut out, &fact.outcome);
    }
    (out.len() > 1).then_some(out)
}

/// What a row that begins at `first` says of one fact.
fn find(bytes: &[u8], first: u64, seq: u64) -> Result<Option<Answered>, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.u8("version of the answers")? != VERSION {
        return Err(reader.corrupt("version of the answers"));
    }
    while !reader.is_empty() {
        let offset = reader.varint("offset")?;
        let answered = Answered {
            fingerprint: reader.u64("fingerprint")?,
            version: reader.varint("version")?,
            outcome: outcome(&mut reader)?,
        };
        if first.checked_add(offset) == Some(seq) {
            return Ok(Some(answered));
        }
    }
    Ok(None)
}

/// What was answered to the id that the fact `seq` had bound; `None`: it was given up before answers were kept.
pub(crate) fn answered(database: &Handle, seq: u64) -> Result<Option<Answered>, ReadError> {
    let found = database.read(|transaction| {
        let table = match transaction.open_table(tables::ANSWERED) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let row = table.range(..=seq)?.next_back().transpose()?;
        Ok(row.map(|(key, value)| (key.value(), value.value().to_vec())))
    })?;
    let Some((first, bytes)) = found else { return Ok(None) };
    find(&bytes, first, seq).map_err(|why| ReadError::Damaged {
        table: "answered",
        key: first.to_string(),
        why: why.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::receipt;

    #[test]
    fn a_row_tells_of_each_fact_what_was_answered_and_of_others_nothing() {
        let outcomes = [
            Outcome::APPLIED,
            Outcome::Applied {
                found: 3,
                expired_lot: None,
            },
            Outcome::IncludedInCount,
            Outcome::Recorded,
        ];
        let facts: Vec<Stored> = (100..200u64)
            .map(|seq| {
                let mut stored = receipt("a", seq, 1, seq);
                stored.fact.seq = seq;
                stored.fact.outcome = outcomes[seq as usize % 4].clone();
                stored.fact.origin.fingerprint = seq * 7;
                stored.memory.keep_forever = !seq.is_multiple_of(3);
                stored
            })
            .collect();
        let bytes = row(100, facts.iter()).unwrap();
        for seq in 90..210u64 {
            let expected = (!seq.is_multiple_of(3) && (100..200).contains(&seq)).then(|| Answered {
                fingerprint: seq * 7,
                version: seq,
                outcome: outcomes[seq as usize % 4].clone(),
            });
            assert_eq!(find(&bytes, 100, seq), Ok(expected), "{seq}");
        }
        for cut in 1..bytes.len() {
            // Whatever a damaged row says, it says it without a panic.
            let _ = find(&bytes[..cut], 100, 199);
        }
        assert_eq!(row(300, facts[2..3].iter()), None, "102 is not kept for ever");
    }
}
