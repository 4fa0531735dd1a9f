//! What a disk has, what a program sees of it, and what is found of it when the power has been cut.
//!
//! What has not been synced may be there or not, each sector of 512 bytes by itself and in any order; a resize and a change of the
//! directory are there or not, in their order, as a journalling file system keeps them. After a failed sync the kernel goes on to
//! show what the disk may never have got, and no later sync writes it (the Linux of "fsyncgate"). A real file system behind a
//! device-mapper target was rejected: it needs the superuser, and shows a few cuts a second.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::storage::store::FILE;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

pub(crate) type Chance = Xoshiro256PlusPlus;

/// Chance from a seed.
pub(crate) fn chance(seed: u64) -> Chance {
    Chance::seed_from_u64(seed)
}

/// One step of a machine, in the order in which they were asked for.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(&'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    SyncDirectory,
    Write(usize, u64, Arc<[u8]>),
    Resize(usize, u64),
    Sync(usize),
    /// A sync that failed.
    Unsynced(usize),
    /// Somebody has been told that so many things are durable.
    Told(u64),
}

/// How much of what was not synced is found after a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    /// What was written first, up to a place at which a write is torn.
    Beginning,
    /// Everything but one sector.
    AllButOne,
    /// One write.
    One,
    /// Each sector as chance has it.
    Any,
}

impl Kept {
    pub(crate) const ALL: [Kept; 6] = [
        Kept::Any,
        Kept::Beginning,
        Kept::AllButOne,
        Kept::One,
        Kept::Everything,
        Kept::Nothing,
    ];
}

#[derive(Clone, Debug)]
enum Pending {
    Write(u64, Arc<[u8]>),
    Resize(u64),
}

/// A file: as programs see it, as the disk has it, and what lies between.
#[derive(Clone, Default, Debug)]
pub(super) struct File {
    pub(super) seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = at as usize;
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl File {
    fn write(&mut self, at: u64, data: Arc<[u8]>) {
        put(&mut self.seen, at, &data);
        self.pending.push(Pending::Write(at, data));
    }

    fn resize(&mut self, length: u64) {
        self.seen.resize(length as usize, 0);
        self.pending.push(Pending::Resize(length));
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write(at, data) => put(&mut self.durable, at, &data),
                Pending::Resize(length) => self.durable.resize(length as usize, 0),
            }
        }
    }

    /// The disk has got some of it, and nobody will write the rest: what is seen may be more than is there, or may not.
    fn sync_fails(&mut self, chance: &mut Chance) {
        let kept = Kept::ALL[chance.random_range(0..Kept::ALL.len())];
        self.durable = self.after_a_cut(kept, chance);
        self.pending.clear();
        // The length is kept in memory as long as the file is open.
        self.durable.resize(self.seen.len(), 0);
        if chance.random() {
            self.seen.clone_from(&self.durable);
        }
    }

    fn after_a_cut(&self, kept: Kept, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let resizes = self.pending.iter().filter(|one| matches!(one, Pending::Resize(_))).count();
        let resized = match kept {
            Kept::Nothing => 0,
            Kept::Everything | Kept::AllButOne => resizes,
            _ => chance.random_range(0..=resizes),
        };
        let all: usize = self.pending.iter().map(sectors).sum();
        let one = chance.random_range(0..all.max(1));
        let (mut resize, mut sector) = (0, 0);
        // What was written past an end that was never moved is not there.
        let mut length = bytes.len();
        for pending in &self.pending {
            match pending {
                Pending::Resize(to) => {
                    resize += 1;
                    if resize <= resized {
                        bytes.resize(*to as usize, 0);
                        length = *to as usize;
                    }
                }
                Pending::Write(at, data) => {
                    let (from, to) = (sector, sector + sectors(pending));
                    for part in data
                        .chunks(SECTOR)
                        .zip(0..)
                        .map(|(part, n): (&[u8], u64)| (at + n * SECTOR as u64, part))
                    {
                        let there = match kept {
                            Kept::Nothing => false,
                            Kept::Everything => true,
                            Kept::Beginning => sector <= one,
                            Kept::AllButOne => sector != one,
                            Kept::One => (from..to).contains(&one),
                            Kept::Any => chance.random(),
                        };
                        sector += 1;
                        if there {
                            put(&mut bytes, part.0, part.1);
                        }
                    }
                }
            }
        }
        bytes.truncate(length);
        bytes
    }
}

fn sectors(pending: &Pending) -> usize {
    match pending {
        Pending::Write(_, data) => data.len().div_ceil(SECTOR),
        Pending::Resize(_) => 0,
    }
}

/// Files and their names.
#[derive(Clone, Default, Debug)]
pub(super) struct Disk {
    pub(super) files: Vec<File>,
    pub(super) names: BTreeMap<&'static str, usize>,
    durable_names: BTreeMap<&'static str, usize>,
    pending_names: Vec<Step>,
}

fn rename(names: &mut BTreeMap<&'static str, usize>, step: &Step, new: usize) {
    match step {
        Step::Create(name) => {
            names.insert(name, new);
        }
        Step::Remove(name) => {
            names.remove(name);
        }
        Step::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to, file);
            }
        }
        _ => {}
    }
}

impl Disk {
    /// A disk with that store on it, or with none.
    pub(super) fn with(beginning: Option<Vec<u8>>) -> Disk {
        let mut disk = Disk::default();
        if let Some(bytes) = beginning {
            disk.files.push(File {
                seen: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            });
            disk.names.insert(FILE, 0);
            disk.durable_names.insert(FILE, 0);
        }
        disk
    }

    pub(super) fn take(&mut self, step: &Step, chance: &mut Chance) {
        match step {
            Step::Create(_) | Step::Remove(_) | Step::Rename(..) => {
                let new = self.files.len();
                if matches!(step, Step::Create(_)) {
                    self.files.push(File::default());
                }
                rename(&mut self.names, step, new);
                self.pending_names.push(step.clone());
            }
            Step::SyncDirectory => {
                self.pending_names.clear();
                self.durable_names.clone_from(&self.names);
            }
            Step::Write(file, at, data) => self.files[*file].write(*at, Arc::clone(data)),
            Step::Resize(file, length) => self.files[*file].resize(*length),
            Step::Sync(file) => self.files[*file].sync(),
            Step::Unsynced(file) => self.files[*file].sync_fails(chance),
            Step::Told(_) => {}
        }
    }

    /// The store's file as it is found when the power is back, if it has its name.
    pub(super) fn after_a_cut(&self, kept: Kept, chance: &mut Chance) -> Option<Vec<u8>> {
        let mut names = self.durable_names.clone();
        let changes = self.pending_names.len();
        let changed = match kept {
            Kept::Nothing => 0,
            Kept::Everything => changes,
            _ => chance.random_range(0..=changes),
        };
        let mut created = self.files.len()
            - self
                .pending_names
                .iter()
                .filter(|step| matches!(step, Step::Create(_)))
                .count();
        for step in &self.pending_names[..changed] {
            rename(&mut names, step, created);
            created += usize::from(matches!(step, Step::Create(_)));
        }
        names.get(FILE).map(|file| self.files[*file].after_a_cut(kept, chance))
    }
}

/// Walks along the steps of a run, and shows what a cut after each would leave.
pub(crate) struct Cutter<'a> {
    disk: Disk,
    steps: std::slice::Iter<'a, Step>,
    told: u64,
}

impl<'a> Cutter<'a> {
    pub(crate) fn along(beginning: Option<Vec<u8>>, steps: &'a [Step]) -> Cutter<'a> {
        Cutter {
            disk: Disk::with(beginning),
            steps: steps.iter(),
            told: 0,
        }
    }

    /// Takes the next step; `None` at the end.
    pub(crate) fn step(&mut self, chance: &mut Chance) -> Option<&'a Step> {
        let step = self.steps.next()?;
        self.disk.take(step, chance);
        if let Step::Told(told) = step {
            self.told = self.told.max(*told);
        }
        Some(step)
    }

    /// What had been told by then.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    pub(crate) fn cut(&self, kept: Kept, chance: &mut Chance) -> Option<Vec<u8>> {
        self.disk.after_a_cut(kept, chance)
    }
}
