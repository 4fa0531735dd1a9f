//! What the storage tests stand on: a disk that fails on command, and facts to write to it.

pub(crate) mod arbitrary;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use redb::StorageBackend;
use smallvec::smallvec;

use crate::domain::event::Origin;
use crate::domain::fact::{Account, After, Change, Changes, Fact, Outcome, Role, Subject};
use crate::domain::units::{Id, Time};

use super::append::{Append, CommitFailure, Done};
use super::backend::Backends;
use super::codec::{Memory, Stored, encode_owned};
use super::store::{Options, Store};

/// A disk in memory that survives its store, and fails on command.
#[derive(Default, Debug)]
pub(crate) struct Disk {
    pub(crate) bytes: Mutex<Vec<u8>>,
    /// Writes fail with "no space left".
    pub(crate) full: AtomicBool,
    /// Syncs fail, after the bytes have been written.
    pub(crate) deaf: AtomicBool,
    /// How many of the next syncs fail, after the bytes have been written.
    pub(crate) hiccups: AtomicU32,
    /// Nothing at all can be read or opened.
    pub(crate) gone: AtomicBool,
    /// Syncs wait for as long as a test holds this.
    pub(crate) stall: Mutex<()>,
}

#[derive(Debug)]
struct Plug(Arc<Disk>);

impl Disk {
    pub(crate) fn backends(self: &Arc<Disk>) -> Backends {
        let disk = Arc::clone(self);
        Arc::new(move || {
            disk.alive()?;
            Ok(Box::new(Plug(Arc::clone(&disk))) as Box<dyn StorageBackend>)
        })
    }

    fn alive(&self) -> io::Result<()> {
        if self.gone.load(Ordering::SeqCst) {
            Err(io::Error::other("the disk was pulled out"))
        } else {
            Ok(())
        }
    }

    fn writable(&self) -> io::Result<()> {
        self.alive()?;
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        self.0.alive()?;
        Ok(self.0.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.alive()?;
        let bytes = self.0.bytes.lock();
        let from = offset as usize;
        let read = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.writable()?;
        self.0.bytes.lock().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.0.stall.lock());
        self.0.writable()?;
        let hiccup = |left: u32| left.checked_sub(1);
        let fails = self
            .0
            .hiccups
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, hiccup)
            .is_ok();
        if fails || self.0.deaf.load(Ordering::SeqCst) {
            return Err(io::Error::other("the sync failed"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.writable()?;
        let mut bytes = self.0.bytes.lock();
        let from = offset as usize;
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// Options with generations of 64 facts, so that a few hundred cross several.
pub(crate) fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        generation_bits: 6,
        ..Options::default()
    }
}

/// A store on that disk.
pub(crate) fn store_on(disk: &Arc<Disk>) -> Store {
    Store::open_with(disk.backends(), options()).unwrap()
}

/// The first sequence of the journal's row in which a fact stands.
pub(crate) fn row_of(store: &Store, seq: u64) -> u64 {
    let first = store.shared().database.read(|transaction| {
        let journal = transaction.open_table(super::tables::JOURNAL)?;
        let row = journal.range(..=seq)?.next_back().transpose()?;
        Ok(row.map_or(0, |(key, _)| key.value()))
    });
    first.unwrap()
}

/// Who said it, with an id of that number.
pub(crate) fn origin(number: u64) -> Origin {
    Origin {
        source: Id::source("wms/7").unwrap(),
        id: Id::source(&format!("e-{number}")).unwrap(),
        actor: None,
        reason: Some("because".into()),
        document: None,
        trace: None,
        extensions: None,
        fingerprint: number,
    }
}

/// A receipt of units of a SKU of warehouse `w`.
pub(crate) fn receipt(sku: &str, version: u64, units: i64, number: u64) -> Stored {
    let changes: Changes = smallvec![Change::Move {
        lot: Id::no_lot(),
        from: Account::Supply,
        to: Account::Sellable,
        quantity: units,
        role: Role::Own,
    }];
    fact(
        "w",
        number,
        Outcome::APPLIED,
        Subject::Sku {
            sku: Id::new(sku).unwrap(),
            version,
            changes,
            after: After::default(),
        },
    )
}

/// A fact of a warehouse; its times follow its number.
pub(crate) fn fact(warehouse: &str, number: u64, outcome: Outcome, subject: Subject) -> Stored {
    let binds = outcome.binds();
    Stored {
        fact: Fact {
            seq: 0,
            warehouse: Id::trusted(warehouse),
            what: "receipt".into(),
            business: Time(1_000_000 + number as i64),
            recorded: Time(1_000_100 + number as i64),
            origin: origin(number),
            outcome,
            payload: None,
            subject,
        },
        memory: Memory {
            id: binds,
            ..Memory::default()
        },
    }
}

struct Tell(std::sync::mpsc::Sender<Result<u64, CommitFailure>>);

impl Done for Tell {
    fn done(self: Box<Self>, result: Result<u64, CommitFailure>) {
        // The test may have stopped listening.
        let _ = self.0.send(result);
    }
}

/// A disk with the same bytes: what a power cut at this moment would leave of what was synced.
pub(crate) fn copy(disk: &Disk) -> Arc<Disk> {
    let copied = Disk::default();
    *copied.bytes.lock() = disk.bytes.lock().clone();
    Arc::new(copied)
}

/// Hands facts over, decided in an epoch.
pub(crate) fn append_in(store: &Store, epoch: u64, facts: &[Stored]) -> Receiver<Result<u64, CommitFailure>> {
    let (tell, told) = channel();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for stored in facts {
        encode_owned(&mut bytes, &stored.fact, stored.memory);
        ends.push(bytes.len() as u32);
    }
    let folds = facts.iter().map(|stored| store.view().folded_stored(stored)).collect();
    store.journal().append(Append {
        epoch,
        bytes,
        ends,
        folds,
        done: Box::new(Tell(tell)),
    });
    told
}

/// Hands facts over in the present epoch and waits for the answer.
pub(crate) fn append(store: &Store, facts: &[Stored]) -> Result<u64, CommitFailure> {
    append_in(store, store.journal().epoch(), facts).recv().unwrap()
}
