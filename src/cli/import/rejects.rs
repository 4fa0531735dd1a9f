//! The rows that could not be taken, in a table beside the input: line, who refused, code, reason, and the row as it was.
//!
//! The file grows as the import goes on, and a resumed import cuts it back to the rows that were done, so that no row stands
//! in it twice. While it is open it is locked: a second import of the same file is refused, not interleaved.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use csv::ByteRecord;

/// Who left a row out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This program: the row was never sent.
    Import,
    /// The node.
    Node,
}

/// The file of rejected rows.
pub struct Rejects {
    path: PathBuf,
    file: File,
    written: u64,
    buffer: Vec<u8>,
    header: Vec<u8>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another import has it.
    #[error("another import of this file is running: it holds {}", .0.display())]
    Busy(PathBuf),
    /// The system refused.
    #[error("cannot write {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A node's refusal that stands in the file: the line of the row, code and reason.
pub type Refusals = HashMap<u64, (String, String)>;

impl Rejects {
    /// Opens and locks the file without changing it.
    pub fn open(path: &Path, columns: &[String]) -> Result<Rejects, Error> {
        let failed = |source| Error::Io {
            file: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let own = ["line", "by", "code", "reason"];
        let header = line(
            own.iter()
                .map(|name| name.as_bytes())
                .chain(columns.iter().map(String::as_bytes)),
        );
        Ok(Rejects {
            path: path.to_owned(),
            file,
            written: 0,
            buffer: Vec::new(),
            header,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file is on disk.
    pub fn len_on_disk(&self) -> Result<u64, Error> {
        self.file
            .metadata()
            .map(|data| data.len())
            .map_err(|source| self.failed(source))
    }

    /// Keeps a copy of the file as it is, before it is begun anew; an empty file leaves an older copy alone.
    pub fn keep_as(&self, path: &Path) -> Result<(), Error> {
        if self.len_on_disk()? == 0 {
            return Ok(());
        }
        let failed = |source| Error::Io {
            file: path.to_owned(),
            source,
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        std::fs::copy(&self.path, &beside).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Cuts the file back to `bytes`, of an import that is resumed; 0 begins it anew.
    pub fn cut_to(&mut self, bytes: u64) -> Result<(), Error> {
        let result = self
            .file
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)).map(|_| ()));
        result.map_err(|source| self.failed(source))?;
        self.written = bytes;
        if bytes == 0 {
            self.buffer.clone_from(&self.header);
        }
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io {
            file: self.path.clone(),
            source,
        }
    }

    /// Adds a row; it is on disk after the next [`Rejects::sync`].
    pub fn add(&mut self, at: u64, by: By, code: &str, reason: &str, row: &ByteRecord) {
        let at = at.to_string();
        let by: &[u8] = if by == By::Import { b"import" } else { b"node" };
        let own = [at.as_bytes(), by, code.as_bytes(), reason.as_bytes()];
        self.buffer.extend(line(own.into_iter().chain(row.iter())));
    }

    /// Brings what was added to disk, and tells how long the file is.
    pub fn sync(&mut self) -> Result<u64, Error> {
        if !self.buffer.is_empty() {
            let result = self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data());
            result.map_err(|source| self.failed(source))?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(self.written)
    }

    /// Removes the file when no row stands in it.
    pub fn remove_if_empty(self) -> Result<(), Error> {
        if self.written <= self.header.len() as u64 {
            std::fs::remove_file(&self.path).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }
}

/// The code of rows that the node has put aside. They are no refusals: their ids are bound, and `shelfd dead-letters` has them.
pub const DEAD_LETTER: &str = "dead_letter";

/// The node's refusals in a file of rejected rows; none when there is no such file. A file that somebody edited beyond
/// recognition gives what can be read of it.
pub fn refusals(path: &Path) -> Refusals {
    let Ok(mut reader) = csv::ReaderBuilder::new().flexible(true).from_path(path) else {
        return Refusals::new();
    };
    let mut refusals = Refusals::new();
    for row in reader.byte_records().map_while(Result::ok) {
        let cell = |at: usize| {
            row.get(at)
                .map(|cell| String::from_utf8_lossy(cell).into_owned())
                .unwrap_or_default()
        };
        let code = cell(2);
        if let (Ok(line), "node") = (cell(0).parse(), cell(1).as_str())
            && code != DEAD_LETTER
        {
            refusals.insert(line, (code, cell(3)));
        }
    }
    refusals
}

fn line<'c>(cells: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and rows of different lengths are separate writers.
    let _ = writer.write_record(cells);
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_file_holds_each_row_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv.rejected.csv");
        let columns = ["sku".to_owned(), "note".to_owned()];
        let row = |note: &str| ByteRecord::from(vec!["A", note]);
        let mut rejects = Rejects::open(&path, &columns).unwrap();
        rejects.cut_to(0).unwrap();
        rejects.add(2, By::Node, "insufficient_stock", "the book has 3, not 5", &row("x,\"y\""));
        let done = rejects.sync().unwrap();
        rejects.add(
            3,
            By::Import,
            "invalid_value",
            "the time is empty",
            &row("lost with the process"),
        );
        rejects.sync().unwrap();
        drop(rejects);

        let mut rejects = Rejects::open(&path, &columns).unwrap();
        rejects.cut_to(done).unwrap();
        rejects.add(3, By::Import, "invalid_value", "the time is empty", &row(""));
        rejects.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "line,by,code,reason,sku,note\n2,node,insufficient_stock,\"the book has 3, not 5\",A,\"x,\"\"y\"\"\"\n\
                        3,import,invalid_value,the time is empty,A,\n";
        assert_eq!(text, expected);
        let refused = ("insufficient_stock".to_owned(), "the book has 3, not 5".to_owned());
        assert_eq!(refusals(&path), Refusals::from([(2, refused)]));
    }

    #[test]
    fn a_second_import_of_the_same_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.csv");
        let first = Rejects::open(&path, &[]).unwrap();
        assert!(matches!(Rejects::open(&path, &[]), Err(Error::Busy(_))));
        first.remove_if_empty().unwrap();
        assert!(!path.exists());
    }
}
