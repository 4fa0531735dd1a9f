//! How far each partition of a broker has been taken: written in the commit that completes the last message's effect.
//!
//! A crash therefore leaves the effect and the place after it, or neither. Keeping the place with the broker was rejected: its
//! commit and ours are two, and whatever comes between them happens twice, or never.

use std::sync::Arc;

use redb::{TableError, WriteTransaction};
use tokio::sync::oneshot;

use super::append::{CommitFailure, Mark, Position};
use super::database::ReadError;
use super::journal::SideWrite;
use super::store::Store;
use super::tables;

fn value(position: &Position) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&position.next.to_le_bytes());
    value[8..].copy_from_slice(&position.print.to_le_bytes());
    value
}

fn read(topic: &str, partition: i32, value: &[u8]) -> Option<Position> {
    let (next, print) = value.split_at_checked(8)?;
    Some(Position {
        topic: topic.into(),
        partition,
        next: i64::from_le_bytes(next.try_into().ok()?),
        print: u64::from_le_bytes(print.try_into().ok()?),
    })
}

/// Writes positions into a transaction.
pub(crate) fn write(transaction: &WriteTransaction, positions: &[Position]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(tables::POSITION)?;
    for position in positions {
        table.insert((&*position.topic, position.partition), value(position).as_slice())?;
    }
    Ok(())
}

/// The marks of one transaction: those that it completes are written with it.
#[derive(Default)]
pub(crate) struct Marks(Vec<(Arc<dyn Mark>, usize)>);

impl Marks {
    pub(crate) fn add(&mut self, mark: Arc<dyn Mark>, rows: usize) {
        let same = |known: &&mut (Arc<dyn Mark>, usize)| std::ptr::addr_eq(Arc::as_ptr(&known.0), Arc::as_ptr(&mark));
        match self.0.iter_mut().find(same) {
            Some((_, known)) => *known += rows,
            None => self.0.push((mark, rows)),
        }
    }

    /// Keeps only what this transaction completes, and writes it.
    pub(crate) fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        self.0.retain(|(mark, rows)| mark.completes(*rows));
        self.0.iter().try_for_each(|(mark, _)| write(transaction, mark.positions()))
    }

    /// They are durable.
    pub(crate) fn landed(&self) {
        self.0.iter().for_each(|(mark, _)| mark.written());
    }
}

struct Moved {
    positions: Vec<Position>,
    tell: oneshot::Sender<Result<(), CommitFailure>>,
}

impl SideWrite for Moved {
    fn bytes(&self) -> usize {
        64 * self.positions.len()
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        write(transaction, &self.positions)
    }

    fn done(self: Box<Self>, result: Result<(), CommitFailure>) {
        // Whoever waited may have gone away.
        let _ = self.tell.send(result);
    }
}

impl Store {
    /// How far the partitions of a topic have been taken.
    pub fn positions(&self, topic: &str) -> Result<Vec<Position>, ReadError> {
        self.shared().database.read(|transaction| {
            let table = match transaction.open_table(tables::POSITION) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut found = Vec::new();
            for row in table.range((topic, i32::MIN)..=(topic, i32::MAX))? {
                let (key, value) = row?;
                found.extend(read(topic, key.value().1, value.value()));
            }
            Ok(found)
        })
    }

    /// Writes positions by themselves, when what they cover had no effect to be written with. Returns when they are durable.
    pub async fn set_positions(&self, positions: Vec<Position>) -> Result<(), CommitFailure> {
        let (tell, told) = oneshot::channel();
        self.journal().side(Box::new(Moved { positions, tell }));
        told.await.unwrap_or(Err(CommitFailure::Stopping))
    }
}
