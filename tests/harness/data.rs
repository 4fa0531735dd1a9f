//! Real data beside the project, and the count of what was run on it.
//!
//! The folder `../shared/data` is either there, and then complete, or absent as in a clone elsewhere, and then tests run
//! on the project's own samples. A file that is missing from a folder that is there is an error, not a reason to skip.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file `name` of `../shared/data`, or `None` where the whole folder is absent. Panics when the folder is there and the
/// file is not.
pub fn shared_file(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !root.is_dir() {
        return None;
    }
    let file = root.join(name);
    assert!(
        file.exists(),
        "{} is missing from a data folder that is there",
        file.display()
    );
    Some(file)
}

/// Adds a line to the file that `SHELFD_TEST_TALLY` names, which `make test` prints at its end; for instance
/// `online_retail 245903 rows`. Lines of parallel tests do not mix.
pub fn tally(what: &str, count: u64, unit: &str) {
    let Ok(path) = std::env::var("SHELFD_TEST_TALLY") else {
        return;
    };
    append(&path, &format!("{what} {count} {unit}\n"));
}

/// Says loudly that something could not be tried on this machine; `make test` lists it at its end.
pub fn not_checked(what: &str) {
    eprintln!("not checked: {what}");
    if let Ok(path) = std::env::var("SHELFD_TEST_TALLY") {
        append(&format!("{path}.not_checked"), &format!("not checked: {what}\n"));
    }
}

fn append(path: &str, line: &str) {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|e| panic!("tally file {path}: {e}"));
}
