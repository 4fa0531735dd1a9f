//! The table: CSV, gzipped or not, row by row, with the line on which each row begins.
//!
//! Rows are read as bytes: a table in another encoding is refused where a cell that matters is not UTF-8, and a café in a
//! column that nobody asked for harms nothing. Cells are kept as they are, blanks included, since they are the row's name.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Terminator};
use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

use super::identity::{CopyCounters, CopyFinder, Hasher};

/// Why a table cannot be read. Problems of one row are not here: they reject the row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot open {}: {source}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It broke off: a truncated gzip file, a failing disk.
    #[error("cannot read {} after row {rows}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Rows read before.
        rows: u64,
        /// What the system or the decoder said.
        source: csv::Error,
    },
    /// It has no first line that names the columns.
    #[error("{} has no header: its first line must name the columns", file.display())]
    NoHeader {
        /// The file.
        file: PathBuf,
    },
    /// A column's name is not UTF-8.
    #[error("the header of {} is not UTF-8: column {column}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// Which column, from 1.
        column: usize,
    },
}

/// The bytes on their way to the reader: hashed, so that the table is read once for its rows and its fingerprint, and ended
/// with a line feed where the file has none, so that every row ends with one.
struct Bytes<R> {
    inner: R,
    hash: Xxh3,
    last: u8,
}

impl<R: Read> Read for Bytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        if let Some(last) = buffer[..read].last() {
            self.last = *last;
        } else if let (Some(first), true) = (buffer.first_mut(), self.last != b'\n') {
            (*first, self.last) = (b'\n', b'\n');
            return Ok(1);
        }
        Ok(read)
    }
}

/// An open table, after its header.
pub struct Table {
    file: PathBuf,
    reader: csv::Reader<Bytes<Box<dyn Read + Send>>>,
    header: Vec<String>,
    rows: u64,
}

impl Table {
    /// Opens a table; a name that ends in `.gz` is unpacked on the way.
    pub fn open(file: &Path, delimiter: u8) -> Result<Table, Error> {
        let opened = File::open(file).map_err(|source| Error::Open {
            file: file.to_owned(),
            source,
        })?;
        let is_gzip = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
        let bytes: Box<dyn Read + Send> = match is_gzip {
            true => Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, opened))),
            false => Box::new(opened),
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            // A line feed ends a row, and the carriage return before it is taken off: the reader's own CRLF loses count of
            // the lines.
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(1 << 16)
            .from_reader(Bytes {
                inner: bytes,
                hash: Xxh3::new(),
                last: b'\n',
            });
        let mut names = reader
            .byte_headers()
            .map_err(|source| Error::Read {
                file: file.to_owned(),
                rows: 0,
                source,
            })?
            .clone();
        trim_end(&mut names);
        if names.is_empty() || names.iter().all(<[u8]>::is_empty) {
            return Err(Error::NoHeader { file: file.to_owned() });
        }
        let name = |(at, name): (usize, &[u8])| match std::str::from_utf8(name) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(Error::Header {
                file: file.to_owned(),
                column: at + 1,
            }),
        };
        let header = names.iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()?;
        Ok(Table {
            file: file.to_owned(),
            reader,
            header,
            rows: 0,
        })
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads the next row into `row` and tells the line on which it begins, from 1; `None` at the end.
    pub fn next_row(&mut self, row: &mut ByteRecord) -> Result<Option<u64>, Error> {
        loop {
            let from = self.reader.position().line();
            match self.reader.read_byte_record(row) {
                Ok(true) => trim_end(row),
                Ok(false) => return Ok(None),
                Err(source) => {
                    return Err(Error::Read {
                        file: self.file.clone(),
                        rows: self.rows,
                        source,
                    });
                }
            }
            let is_blank = row.len() == 1 && row[0].is_empty();
            if !is_blank {
                self.rows += 1;
                // The reader stands behind the row's own line feed; those within its cells come before. The last row may
                // have none, and then begins no earlier than where the reader stood.
                let within = row.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
                return Ok(Some(self.reader.position().line().saturating_sub(1 + within).max(from)));
            }
        }
    }
}

/// Takes the carriage return of a CRLF off the last cell.
fn trim_end(row: &mut ByteRecord) {
    let Some(last) = row
        .get(row.len().wrapping_sub(1))
        .and_then(|cell| cell.strip_suffix(b"\r"))
        .map(<[u8]>::to_vec)
    else {
        return;
    };
    row.truncate(row.len() - 1);
    row.push_field(&last);
}

/// What one pass over the whole table tells before the import.
#[derive(Debug)]
pub struct Survey {
    /// Rows below the header.
    pub rows: u64,
    /// The hash of the content.
    pub fingerprint: u128,
    /// Where copies have to be counted.
    pub copies: CopyCounters,
}

/// Reads the whole table once: how many rows, which content, where copies may be.
pub fn survey(file: &Path, delimiter: u8) -> Result<Survey, Error> {
    let mut table = Table::open(file, delimiter)?;
    let hasher = Hasher::new(table.header());
    let (mut finder, mut row) = (CopyFinder::default(), ByteRecord::new());
    while table.next_row(&mut row)?.is_some() {
        finder.see(hasher.content(&row));
    }
    Ok(Survey {
        rows: table.rows,
        fingerprint: table.reader.into_inner().hash.digest128(),
        copies: finder.into_counters(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(name: &str, content: &[u8]) -> Vec<(u64, Vec<Vec<u8>>)> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        let packed = name.ends_with(".gz").then(|| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        });
        std::fs::write(&file, packed.as_deref().unwrap_or(content)).unwrap();
        let mut table = Table::open(&file, b',').unwrap();
        assert_eq!(table.header(), ["a", "b"]);
        let (mut row, mut rows) = (ByteRecord::new(), Vec::new());
        while let Some(line) = table.next_row(&mut row).unwrap() {
            rows.push((line, row.iter().map(<[u8]>::to_vec).collect()));
        }
        rows
    }

    #[test]
    fn a_row_knows_the_line_that_an_editor_shows() {
        let text = b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n\"x\ny\",2\r\n3\r\n\xe9,4";
        let expected = vec![
            (2, vec![b"1".to_vec(), b"2".to_vec()]),
            (4, vec![b"x\ny".to_vec(), b"2".to_vec()]),
            (6, vec![b"3".to_vec()]),
            (7, vec![b"\xe9".to_vec(), b"4".to_vec()]),
        ];
        assert_eq!(lines("t.csv", text), expected);
        assert_eq!(lines("t.csv.gz", text), expected);
        // A quote that nobody closes takes the rest of the file with it.
        let open = lines("open.csv", b"a,b\n1,2\n3,\"x\n4,5\n");
        assert_eq!(open.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_cut_gzip_file_and_an_empty_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.csv.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (0..10_000).for_each(|n| writeln!(encoder, "{n},{}", n * 7919 % 1000).unwrap());
        let packed = encoder.finish().unwrap();
        std::fs::write(&file, &packed[..packed.len() / 2]).unwrap();
        assert!(matches!(survey(&file, b','), Err(Error::Read { .. })));
        let empty = dir.path().join("e.csv");
        std::fs::write(&empty, "").unwrap();
        assert!(matches!(survey(&empty, b','), Err(Error::NoHeader { .. })));
    }
}
