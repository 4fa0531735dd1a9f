//! A Rust file as the rules see it: its code without comments and texts, line by line, and which lines are tests.
//!
//! Blanks keep every character in its place, so that a position in the code is a position in the file. A real parser was rejected:
//! the rules look at words, braces and lines, and nothing else.

use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    /// As written.
    pub raw: String,
    /// Comments blanked.
    pub uncommented: String,
    /// Comments and the insides of texts blanked.
    pub code: String,
    /// For each line from 0: whether it belongs to a test.
    test_line: Vec<bool>,
}

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project.
pub fn tree() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let read = |path: &PathBuf| {
        let name = path
            .strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .replace('\\', "/");
        Source::new(&name, &std::fs::read_to_string(path).expect("a source is readable text"))
    };
    let mut sources: Vec<Source> = files.iter().map(read).collect();
    mark_test_files(&mut sources);
    sources
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder of sources is readable").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// A module declared under `#[cfg(test)]` in its parent is a test file as a whole.
fn mark_test_files(sources: &mut [Source]) {
    let mut test_files = Vec::new();
    for source in sources.iter() {
        let folder = source.module_folder();
        for (at, _) in source.code.match_indices("#[cfg(test)]") {
            let mut rest = source.code[at + "#[cfg(test)]".len()..].trim_start();
            let mut file = None;
            if let Some(path) = rest.strip_prefix("#[path = \"") {
                let from = source.code.len() - path.len();
                file = source.raw[from..]
                    .split('"')
                    .next()
                    .map(|name| format!("{}/{name}", parent(&source.path)));
                rest = path.split_once(']').map_or("", |(_, rest)| rest.trim_start());
            }
            let rest = rest.strip_prefix("pub(crate) ").unwrap_or(rest);
            let Some(name) = rest
                .strip_prefix("mod ")
                .and_then(|rest| rest.split_once(';'))
                .map(|(name, _)| name)
            else {
                continue;
            };
            test_files.extend(file);
            test_files.push(format!("{folder}/{name}.rs"));
            test_files.push(format!("{folder}/{name}/"));
        }
    }
    for source in sources {
        if test_files
            .iter()
            .any(|file| source.path == *file || (file.ends_with('/') && source.path.starts_with(file)))
        {
            source.test_line.fill(true);
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Source {
    /// Reads a text as the file `path`.
    pub fn new(path: &str, raw: &str) -> Source {
        let (uncommented, code) = blank(raw);
        let all_tests = ["tests/", "benches/", "examples/"]
            .iter()
            .any(|folder| path.starts_with(folder));
        let mut test_line = vec![all_tests; raw.lines().count()];
        for (at, _) in code.match_indices("#[cfg(test)]") {
            if let Some((_, end)) = braces(&code, at) {
                let (first, last) = (line_of(raw, at), line_of(raw, end));
                test_line[first..=last].fill(true);
            }
        }
        Source {
            path: path.to_owned(),
            raw: raw.to_owned(),
            uncommented,
            code,
            test_line,
        }
    }

    /// Whether the byte belongs to a test.
    pub fn is_test(&self, at: usize) -> bool {
        self.test_line.get(line_of(&self.raw, at)).copied().unwrap_or(false)
    }

    /// `file:line`, for a breach.
    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.raw, at) + 1)
    }

    /// The folder in which the modules that this file declares are found.
    pub fn module_folder(&self) -> String {
        let folder = parent(&self.path);
        let stem = self.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if ["mod", "lib", "main"].contains(&stem) || folder == "tests" {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        }
    }

    /// Where a word stands in the code, whole words only.
    pub fn words(&self, word: &str) -> Vec<usize> {
        whole_words(&self.code, word)
    }

    /// Each function: where its name stands, its name, and the range of its body with the braces.
    pub fn functions(&self) -> Vec<(usize, String, usize, usize)> {
        let mut found = Vec::new();
        for at in self.words("fn") {
            let rest = self.code[at + 2..].trim_start();
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let (false, Some((open, close))) = (name.is_empty(), braces(&self.code, at)) {
                found.push((at, name, open, close));
            }
        }
        found
    }
}

/// Where `word` stands in `text`, not as a part of a longer word.
pub fn whole_words(text: &str, word: &str) -> Vec<usize> {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let starts = text.match_indices(word).map(|(at, _)| at);
    starts
        .filter(|at| !part(text[..*at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
        .collect()
}

/// The line of a byte, from 0.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// The braces of the item that begins at `from`; `None` when it ends with `;` before any.
fn braces(code: &str, from: usize) -> Option<(usize, usize)> {
    let (mut open, mut depth, mut nested) = (None, 0_usize, 0_usize);
    for (offset, byte) in code.as_bytes()[from..].iter().enumerate() {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested = nested.saturating_sub(1),
            b';' if open.is_none() && nested == 0 => return None,
            b'{' => {
                open = open.or(Some(from + offset));
                depth += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return open.map(|open| (open, from + offset));
                }
            }
            _ => {}
        }
    }
    None
}

/// The text with comments blanked, and with comments and the insides of texts blanked.
fn blank(raw: &str) -> (String, String) {
    let bytes = raw.as_bytes();
    let (mut uncommented, mut code) = (bytes.to_vec(), bytes.to_vec());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(bytes, at)
        } else if let Some(end) = text_end(bytes, at) {
            wipe(&mut code[at + 1..end - 1]);
            at = end;
            continue;
        } else {
            at += 1;
            continue;
        };
        wipe(&mut uncommented[at..end]);
        wipe(&mut code[at..end]);
        at = end;
    }
    let text = |bytes| String::from_utf8(bytes).expect("whole characters were blanked");
    (text(uncommented), text(code))
}

fn wipe(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

fn block_comment(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of a text or character literal that begins here.
fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
    let inside_word = before.is_ascii_alphanumeric() || before == b'_';
    match bytes[at] {
        b'"' => Some(escaped_end(bytes, at + 1, b'"')),
        b'r' if !inside_word || before == b'b' || before == b'c' => {
            let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
            let open = at + 1 + hashes;
            if bytes.get(open) != Some(&b'"') {
                return None;
            }
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let body = &bytes[open + 1..];
            let length = body.windows(close.len()).position(|window| window == close)?;
            Some(open + 1 + length + close.len())
        }
        b'\'' => {
            let text = std::str::from_utf8(&bytes[at + 1..]).ok()?;
            let first = text.chars().next()?;
            let closed = text[first.len_utf8()..].starts_with('\'');
            (first == '\\' || (closed && first != '\'')).then(|| escaped_end(bytes, at + 1, b'\''))
        }
        _ => None,
    }
}

fn escaped_end(bytes: &[u8], from: usize, close: u8) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == close => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
