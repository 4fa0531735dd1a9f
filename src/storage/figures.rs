//! What the store says of itself in numbers, for metrics and `status`.

use std::sync::atomic::Ordering;

use super::database::ReadError;
use super::remembered::Generation;
use super::store::Store;
use super::tables::meta;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Figures {
    /// Event ids remembered, on disk and in memory.
    pub ids: u64,
    /// Rows read to answer for an id, since the start.
    pub id_reads: u64,
    /// Facts up to here are in the sealed runs of the ledger's index; those above are in memory.
    pub indexed_seq: u64,
    /// Every fact up to here is in the snapshot rows.
    pub snapshot_seq: u64,
    /// Bytes of the store's file; `None` for one in memory.
    pub file_bytes: Option<u64>,
    /// Bytes free beside it, where the disk can be asked.
    pub free_bytes: Option<u64>,
}

impl Store {
    /// The figures now.
    pub fn figures(&self) -> Result<Figures, ReadError> {
        let shared = self.shared();
        let sealed: u64 = shared.runs.all().iter().map(|(_, sealed)| sealed.ids + sealed.forever).sum();
        let live = shared.view.live.load();
        let in_memory: usize = live.iter().map(|generation| Generation::ids(generation)).sum();
        let disk = rustix::fs::statvfs(self.path()).ok();
        Ok(Figures {
            ids: sealed + in_memory as u64,
            id_reads: shared.runs.id_reads.load(Ordering::Relaxed),
            indexed_seq: live.first().map_or(0, |generation| generation.base.saturating_sub(1)),
            snapshot_seq: shared.database.number(meta::SNAPSHOT_FLOOR)?.unwrap_or(0),
            file_bytes: std::fs::metadata(self.path()).ok().map(|file| file.len()),
            free_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        })
    }
}
