//! A disk that knows what has been synced, and how it may look after the power has gone.
//!
//! Pages are shared between images, so that an image of what is synced at this very moment costs nearly nothing and can be taken at
//! every answer.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::storage::backend::{Backends, StorageBackend};

const PAGE: usize = 4096;
/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// The bytes of a disk at one moment.
#[derive(Clone, Default)]
pub(super) struct Image {
    len: u64,
    pages: Vec<Arc<[u8; PAGE]>>,
    syncs: u64,
}

impl Image {
    /// How often it was synced: equal numbers, equal images of one disk.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    fn resize(&mut self, len: u64) {
        let pages = (len as usize).div_ceil(PAGE);
        let cut = (len < self.len).then_some(len as usize % PAGE).filter(|cut| *cut > 0);
        self.pages.resize_with(pages, || Arc::new([0; PAGE]));
        if let (Some(cut), Some(last)) = (cut, self.pages.last_mut()) {
            Arc::make_mut(last)[cut..].fill(0);
        }
        self.len = len;
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut done) = (offset as usize, 0);
        while done < out.len() {
            let part = (PAGE - at % PAGE).min(out.len() - done);
            out[done..done + part].copy_from_slice(&self.pages[at / PAGE][at % PAGE..at % PAGE + part]);
            at += part;
            done += part;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if offset + data.len() as u64 > self.len {
            self.resize(offset + data.len() as u64);
        }
        let (mut at, mut done) = (offset as usize, 0);
        while done < data.len() {
            let part = (PAGE - at % PAGE).min(data.len() - done);
            Arc::make_mut(&mut self.pages[at / PAGE])[at % PAGE..at % PAGE + part].copy_from_slice(&data[done..done + part]);
            at += part;
            done += part;
        }
    }
}

/// What is on its way to the platter.
enum Pending {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Pending {
    fn reach(&self, image: &mut Image) {
        match self {
            Pending::Write(offset, data) => image.write(*offset, data),
            Pending::Resize(len) => image.resize(*len),
        }
    }
}

struct Inside {
    now: Image,
    synced: Image,
    pending: Vec<Pending>,
    chance: Xoshiro256PlusPlus,
    /// The power goes at the so-manieth write, resize or sync from now.
    cut_in: Option<u32>,
    /// The power has gone: what the disk looks like to whoever comes next.
    left: Option<Image>,
    full: bool,
    /// How many of the next syncs fail, after the bytes have been written.
    hiccups: u32,
    /// All that was ever done to it, as one number.
    history: u64,
}

/// See the module.
pub(super) struct Disk(Mutex<Inside>);

#[derive(Clone)]
struct Plug(Arc<Disk>);

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plug")
    }
}

impl Disk {
    /// A disk that holds this.
    pub(super) fn with(image: Image, seed: u64) -> Arc<Disk> {
        Arc::new(Disk(Mutex::new(Inside {
            now: image.clone(),
            synced: image,
            pending: Vec::new(),
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            cut_in: None,
            left: None,
            full: false,
            hiccups: 0,
            history: seed,
        })))
    }

    pub(super) fn backends(self: &Arc<Disk>) -> Backends {
        let disk = Arc::clone(self);
        Arc::new(move || match disk.is_dead() {
            true => Err(io::Error::other("the power is gone")),
            false => Ok(Box::new(Plug(Arc::clone(&disk))) as Box<dyn StorageBackend>),
        })
    }

    /// What a power cut at this moment is sure to leave.
    pub(super) fn synced(&self) -> Image {
        self.0.lock().synced.clone()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().left.is_some()
    }

    pub(super) fn history(&self) -> u64 {
        self.0.lock().history
    }

    /// The power goes at the so-manieth write, resize or sync from now.
    pub(super) fn cut_in(&self, steps: u32) {
        self.0.lock().cut_in = Some(steps);
    }

    /// Every write fails with "no space left", or no longer.
    pub(super) fn fill(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// So many of the next syncs fail, after the bytes have been written.
    pub(super) fn hiccup(&self, syncs: u32) {
        self.0.lock().hiccups = syncs;
    }

    /// The machine stands still at this moment; what is left of the disk. `power`: the power goes, so that what was not synced is
    /// there, or not, or in part; otherwise only the process ends, and all that it wrote is there.
    pub(super) fn stop(&self, power: bool) -> Image {
        let inside = &mut *self.0.lock();
        if inside.left.is_none() {
            inside.left = Some(match power {
                true => inside.after_a_cut(),
                false => inside.now.clone(),
            });
        }
        inside.left.clone().unwrap_or_default()
    }
}

impl Inside {
    fn note(&mut self, kind: u8, offset: u64, data: &[u8]) {
        let seed = self.history ^ offset.rotate_left(8) ^ u64::from(kind);
        self.history = xxhash_rust::xxh3::xxh3_64_with_seed(data, seed);
    }

    /// Before each operation that changes something; whether the machine is still on.
    fn powered(&mut self) -> io::Result<()> {
        match &mut self.cut_in {
            Some(0 | 1) if self.left.is_none() => {
                self.left = Some(self.after_a_cut());
                self.cut_in = None;
            }
            Some(steps) => *steps = steps.saturating_sub(1),
            None => {}
        }
        match (&self.left, self.full) {
            (Some(_), _) => Err(io::Error::other("the power is gone")),
            (None, true) => Err(io::ErrorKind::StorageFull.into()),
            (None, false) => Ok(()),
        }
    }

    /// What was synced, and of the rest nothing, all, or any part.
    fn after_a_cut(&mut self) -> Image {
        let mut image = self.synced.clone();
        let share = [0.0, 0.5, 0.9, 1.0][self.chance.random_range(0..4)];
        let torn = self.chance.random_bool(0.5);
        for pending in &self.pending {
            if !self.chance.random_bool(share) {
                continue;
            }
            match pending {
                Pending::Write(offset, data) if torn && data.len() > SECTOR => {
                    for (at, sector) in data.chunks(SECTOR).enumerate() {
                        if self.chance.random_bool(0.7) {
                            image.write(offset + (at * SECTOR) as u64, sector);
                        }
                    }
                }
                whole => whole.reach(&mut image),
            }
        }
        image
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().now.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.0.lock().now.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let inside = &mut *self.0.0.lock();
        inside.powered()?;
        inside.note(1, len, &[]);
        inside.now.resize(len);
        inside.pending.push(Pending::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let inside = &mut *self.0.0.lock();
        inside.powered()?;
        inside.note(2, 0, &[]);
        if inside.hiccups > 0 {
            inside.hiccups -= 1;
            return Err(io::Error::other("the sync failed"));
        }
        for pending in std::mem::take(&mut inside.pending) {
            pending.reach(&mut inside.synced);
        }
        inside.synced.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inside = &mut *self.0.0.lock();
        // A write that the power cut hits may have reached the platter in part.
        let pending = || Pending::Write(offset, data.to_vec());
        if matches!(inside.cut_in, Some(0 | 1)) {
            inside.pending.push(pending());
        }
        inside.powered()?;
        inside.note(3, offset, data);
        inside.now.write(offset, data);
        inside.pending.push(pending());
        Ok(())
    }
}
