//! A machine in memory whose disk writes down every write, resize, sync and change of its directory, and fails on command.
//!
//! It stands where redb's file stands, so the code above it is the one that runs in production. Failing system calls under a real
//! file (a preloaded library, a FUSE mount) was rejected: it shows tens of cases a second where this shows hundreds.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt;
use redb::StorageBackend;

use super::disk::{Chance, Disk, Kept, SECTOR, Step, chance};
use crate::storage::backend::{Backends, Origin};
use crate::storage::store::{FILE, Place};

/// The name under which a store is made.
const FRESH: &str = "store.redb.new";

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Resize,
    Sync,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Read, Kind::Write, Kind::Resize, Kind::Sync];
}

/// Which of the things asked fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The how-manieth of its kind, from 0.
    pub(crate) nth: u64,
    /// Whether every one after it fails as well, until the fault goes away.
    pub(crate) lasts: bool,
    /// Whether it says that the disk is full.
    pub(crate) full: bool,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    steps: Option<Vec<Step>>,
    fault: Option<Fault>,
    asked: [u64; 4],
    failed: u64,
    chance: Chance,
    /// A note beside the store, which the next process sees, and nobody after a power cut.
    in_doubt: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine(Mutex<State>);

impl Machine {
    /// A machine with that store on its disk, or with none.
    pub(crate) fn with(beginning: Option<Vec<u8>>, seed: u64) -> Arc<Machine> {
        Arc::new(Machine(Mutex::new(State {
            disk: Disk::with(beginning),
            steps: None,
            fault: None,
            asked: [0; 4],
            failed: 0,
            chance: chance(seed),
            in_doubt: false,
        })))
    }

    /// From now on its steps are written down.
    pub(crate) fn record(&self) {
        self.0.lock().steps = Some(Vec::new());
    }

    /// What was written down.
    pub(crate) fn recorded(&self) -> Vec<Step> {
        self.0.lock().steps.take().unwrap_or_default()
    }

    /// Writes down that somebody has been told.
    pub(crate) fn tell(&self, what: u64) {
        self.0.lock().take(Step::Told(what));
    }

    /// Breaks it so.
    pub(crate) fn break_so(&self, fault: Fault) {
        let state = &mut *self.0.lock();
        (state.fault, state.asked, state.failed) = (Some(fault), [0; 4], 0);
    }

    /// Mends it; how many things had failed.
    pub(crate) fn mend(&self) -> u64 {
        let state = &mut *self.0.lock();
        state.fault = None;
        state.failed
    }

    /// Whether it may fail.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.lock().fault.is_some()
    }

    /// Whether anything has failed since it was broken.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().failed > 0
    }

    /// How often each kind was asked since it was broken.
    pub(crate) fn asked(&self, kind: Kind) -> u64 {
        self.0.lock().asked[kind as usize]
    }

    /// What a power cut now would leave.
    pub(crate) fn cut(&self) -> Option<Vec<u8>> {
        let state = &mut *self.0.lock();
        let kept = Kept::ALL[state.chance.random_range(0..Kept::ALL.len())];
        state.disk.after_a_cut(kept, &mut state.chance)
    }

    /// What makes redb's backends of its store.
    pub(crate) fn backends(self: &Arc<Machine>) -> Backends {
        Arc::new(From(Arc::clone(self)))
    }

    /// Whether the store has its name.
    pub(crate) fn has_store(&self) -> bool {
        self.0.lock().disk.names.contains_key(FILE)
    }
}

struct From(Arc<Machine>);

impl Origin for From {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let disk = &self.0.0.lock().disk;
        let file = *disk.names.get(FILE).ok_or(io::ErrorKind::NotFound)?;
        // As a real directory refuses it: redb would take an empty file for a new store.
        if disk.files[file].seen.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Box::new(Opened {
            machine: Arc::clone(&self.0),
            file,
        }))
    }

    fn set_in_doubt(&self, in_doubt: bool) {
        self.0.0.lock().in_doubt = in_doubt;
    }

    fn is_in_doubt(&self) -> bool {
        self.0.0.lock().in_doubt
    }
}

impl State {
    fn take(&mut self, step: Step) {
        self.disk.take(&step, &mut self.chance);
        if let Some(steps) = &mut self.steps {
            steps.push(step);
        }
    }

    /// Counts, and fails when it is to.
    fn ask(&mut self, kind: Kind) -> io::Result<()> {
        let asked = self.asked[kind as usize];
        self.asked[kind as usize] += 1;
        match self.fault {
            Some(fault) if fault.kind == kind && (asked == fault.nth || fault.lasts && asked > fault.nth) => {
                self.failed += 1;
                Err(match fault.full {
                    true => io::ErrorKind::StorageFull.into(),
                    false => io::Error::other("input/output error, planted"),
                })
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Opened {
    machine: Arc<Machine>,
    file: usize,
}

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.machine.0.lock().disk.files[self.file].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = &mut *self.machine.0.lock();
        state.ask(Kind::Read)?;
        let from = offset as usize;
        let seen = &state.disk.files[self.file].seen;
        out.copy_from_slice(seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.machine.0.lock();
        state.ask(Kind::Resize)?;
        state.take(Step::Resize(self.file, len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.machine.0.lock();
        let asked = state.ask(Kind::Sync);
        state.take(match asked {
            Ok(()) => Step::Sync(self.file),
            Err(_) => Step::Unsynced(self.file),
        });
        asked
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.machine.0.lock();
        let asked = state.ask(Kind::Write);
        // A write that fails may have got half-way.
        let whole = data.len() / SECTOR;
        let got = match asked {
            Ok(()) => data.len(),
            Err(_) => SECTOR * state.chance.random_range(0..=whole),
        };
        if got > 0 {
            state.take(Step::Write(self.file, offset, data[..got].into()));
        }
        asked
    }
}

impl Place for Arc<Machine> {
    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>> {
        let state = &mut *self.0.lock();
        if state.disk.names.contains_key(FRESH) {
            state.take(Step::Remove(FRESH));
        }
        state.take(Step::Create(FRESH));
        let file = state.disk.names[FRESH];
        Ok(Box::new(Opened {
            machine: Arc::clone(self),
            file,
        }))
    }

    fn sync_fresh(&self) -> io::Result<()> {
        let file = self.0.lock().disk.names[FRESH];
        Opened {
            machine: Arc::clone(self),
            file,
        }
        .sync_data()
    }

    fn give_name(&self) -> io::Result<()> {
        self.0.lock().take(Step::Rename(FRESH, FILE));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.lock().take(Step::SyncDirectory);
        Ok(())
    }

    fn discard(&self) {
        self.0.lock().take(Step::Remove(FRESH));
    }
}
