//! Where an import stands, so that it goes on there after Ctrl-C, `kill -9` or a power cut.
//!
//! A small file beside the input is replaced as a whole after each batch that the node has answered. The batch in flight at
//! the end may have been taken or not; it is simply sent again, since the node knows its rows. Keeping the place on the node
//! was rejected: the node keeps stock, and what it must know about an import it knows by the ids of the rows.
//!
//! A place is worth something only with the same table, the same mapping and a node that still has what it answered, so the
//! file names all three; with anything else the import starts over, and the node tells what it knows already.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// The version of the file and of what a row becomes. A higher one starts over.
const FORMAT: u32 = 1;

/// Where an import stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// What is imported: table, mapping and source, as one hash.
    pub fingerprint: String,
    /// The address of the node.
    pub node: String,
    /// Rows that have been answered or rejected.
    pub rows_done: u64,
    /// The most rows in a batch; the first batch after a resume is cut as the one in flight was.
    pub batch: usize,
    /// Bytes of the file of rejected rows that belong to the rows done.
    pub rejected_bytes: u64,
    /// Whether the table was imported to its end.
    pub finished: bool,
    /// Whether rows refused by an earlier import are left out of this one.
    pub skips_refused: bool,
    /// What became of the rows done.
    pub tally: Tally,
    /// Something that the node must still know.
    pub witness: Option<Witness>,
}

/// The last row that the node took, by what became of its SKU. A node that has the SKU at a lower version has lost it, or is
/// another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The warehouse.
    pub warehouse: String,
    /// The SKU.
    pub sku: String,
    /// Its version after the row.
    pub version: u64,
}

impl State {
    /// The beginning of an import.
    pub fn begin(fingerprint: String, node: String, batch: usize) -> State {
        State {
            format: FORMAT,
            fingerprint,
            node,
            rows_done: 0,
            batch,
            rejected_bytes: 0,
            finished: false,
            skips_refused: false,
            tally: Tally::default(),
            witness: None,
        }
    }

    /// Reads a state file; `None` when there is none or it is of no use: a broken one costs a start over, not an error.
    pub fn read(file: &Path) -> Option<State> {
        let state = serde_json::from_slice::<State>(&std::fs::read(file).ok()?).ok()?;
        (state.format == FORMAT).then_some(state)
    }

    /// Replaces the state file: written beside, synced, renamed, so that it is always one whole state or the other.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut new = File::create(&beside)?;
        new.write_all(&serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?)?;
        new.sync_data()?;
        std::fs::rename(&beside, file)
    }
}
