//! A file that can be written without being changed: what is written stays in memory, over what is read from the file.
//!
//! With it redb mends a store that was not closed, and tells what it finds, and the file stays as it is. Copying the file was
//! rejected: it may be larger than what is free on the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::storage::backend::Backends;

/// Bytes that are kept together.
const BLOCK: u64 = 4_096;

/// Opens a store, mends it if need be, and leaves its file as it is.
pub(super) fn open(path: &Path) -> Result<Database, DatabaseError> {
    Builder::new().create_with_backend(Overlay::over(path)?)
}

/// For everything else that is to leave the file as it is.
pub(crate) fn backends(path: &Path) -> Backends {
    let path = path.to_owned();
    Arc::new(move || Ok(Box::new(Overlay::over(&path)?) as Box<dyn StorageBackend>))
}

#[derive(Debug)]
struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// How long the whole is now.
    length: u64,
    /// Up to where the file shows through: what was cut off does not come back.
    below: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over a file that must be there and must not be empty: redb would take an empty file for a new store.
    fn over(path: &Path) -> io::Result<Overlay> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
        }
        Ok(Overlay {
            file,
            written: Mutex::new(Written {
                length,
                below: length,
                blocks: BTreeMap::new(),
            }),
        })
    }

    /// A block as the file has it, zeros where it has nothing.
    fn beneath(&self, block: u64, below: u64) -> io::Result<Vec<u8>> {
        let start = block * BLOCK;
        let mut bytes = vec![0; BLOCK as usize];
        let there = below.saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut bytes[..there], start)?;
        Ok(bytes)
    }
}

/// The parts of blocks that a range covers: the block, where the part begins in it, and where in the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let end = offset + length as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let (from, to) = (offset.max(block * BLOCK), end.min((block + 1) * BLOCK));
        let inside = (from - block * BLOCK) as usize..(to - block * BLOCK) as usize;
        (block, inside, (from - offset) as usize..(to - offset) as usize)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset + out.len() as u64 > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, inside, within) in parts(offset, out.len()) {
            match written.blocks.get(&block) {
                Some(bytes) => out[within].copy_from_slice(&bytes[inside]),
                None => out[within].copy_from_slice(&self.beneath(block, written.below)?[inside]),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        if length < written.length {
            written.blocks.split_off(&length.div_ceil(BLOCK));
            if let Some(bytes) = written.blocks.get_mut(&(length / BLOCK)) {
                bytes[(length % BLOCK) as usize..].fill(0);
            }
            written.below = written.below.min(length);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        let below = written.below;
        for (block, inside, within) in parts(offset, data.len()) {
            let bytes = match written.blocks.entry(block) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => new.insert(self.beneath(block, below)?),
            };
            bytes[inside].copy_from_slice(&data[within]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_over_the_file_and_the_file_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let whole: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(file.path(), &whole).unwrap();
        let overlay = Overlay::over(file.path()).unwrap();
        overlay.write(4_000, &[255; 200]).unwrap();
        let mut expected = whole.clone();
        expected[4_000..4_200].fill(255);
        let all = |overlay: &Overlay| {
            let mut all = vec![0; overlay.len().unwrap() as usize];
            overlay.read(0, &mut all).unwrap();
            all
        };
        assert_eq!(all(&overlay), expected);
        overlay.set_len(4_100).unwrap();
        overlay.set_len(9_000).unwrap();
        expected.truncate(4_100);
        expected.resize(9_000, 0);
        assert_eq!(all(&overlay), expected, "what was cut off does not come back");
        assert!(overlay.read(8_999, &mut [0; 2]).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), whole);
    }
}
