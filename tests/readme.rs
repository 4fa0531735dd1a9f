//! The README's tour, typed word for word: what it shows is what comes.
//!
//! Each ```console block is typed in order, in a directory with the repository's `examples/`. Times, durations and the number
//! of journal rows vary; everything else must be equal, up to the width of blanks. A line that fails is followed by `echo $?`. The
//! node listens on a free port instead of the usual one. Rejected: a copy of the commands in a test of its own, which would stay
//! right when the README goes wrong.

use std::path::Path;
use std::process::Command;

use crate::harness::node::Node;

/// A command of the tour, and what it is said to print.
#[derive(Debug)]
struct Typed {
    command: String,
    shown: String,
}

fn tour(readme: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            typed.push(Typed {
                command: command.to_owned(),
                shown: String::new(),
            });
        } else if let (true, Some(last)) = (inside, typed.last_mut()) {
            last.shown.push_str(line);
            last.shown.push('\n');
        }
    }
    typed
}

/// A word that differs from one run to the next, as a mark; any other as it is.
fn steady(word: &str) -> &str {
    let like = |pattern: &str| {
        let digit = |(c, p): (char, char)| if p == '0' { c.is_ascii_digit() } else { c == p };
        word.len() == pattern.len() && word.chars().zip(pattern.chars()).all(digit)
    };
    match word {
        _ if like("00:00:00") => "TIME",
        _ if like("0000-00-00") && word.starts_with("202") => "DAY",
        _ if is_duration(word) => "SECONDS",
        _ => word,
    }
}

/// Seconds with a tenth, however many: `0.7`, `12.3`.
fn is_duration(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.')
        .is_some_and(|(whole, tenth)| digits(whole) && digits(tenth) && tenth.len() == 1)
}

/// What a busy machine is told while it waits: `3,587 of 5,217 rows, 667 rows/s`.
fn is_progress(line: &str) -> bool {
    line.contains(" rows, ") && line.ends_with(" rows/s")
}

fn normal(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().map(steady).collect();
        // `verify` counts journal rows, which depend on what one sync found waiting.
        let rows = words.iter().position(|word| *word == "rows,");
        let counted = |(at, word): (usize, &&str)| if Some(at + 1) == rows { "N" } else { *word }.to_owned();
        words.iter().enumerate().map(counted).collect::<Vec<_>>().join(" ")
    };
    let lines = text.lines().filter(|line| !is_progress(line));
    lines.map(line).filter(|line| !line.is_empty()).collect()
}

/// Where the tour is typed: what a shell remembers from one line to the next.
struct Shell<'a> {
    directory: &'a Path,
    /// The assignment of `counted`, the one name that the tour sets.
    set: String,
    /// How the line before ended.
    code: i32,
}

impl Shell<'_> {
    /// Types a line; what came.
    fn type_in(&mut self, node: &Node, command: &str) -> String {
        if command == "echo $?" {
            return format!("{}\n", std::mem::take(&mut self.code));
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_shelfd"));
        let bin = binary.parent().expect("the binary is in a directory");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let command = command.replace("localhost:7480", node.address());
        let kept = self.directory.join("set");
        let script = format!(
            "{}{{ {command}\n}} 2>&1; code=$?; echo \"counted=$counted\" >'{}'; exit $code",
            self.set,
            kept.display()
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path)
            .env("SHELFD_URL", node.url())
            .env("TZ", "UTC")
            .env("NO_COLOR", "1")
            .current_dir(self.directory)
            .output()
            .expect("bash is there");
        self.set = std::fs::read_to_string(kept).expect("what was set");
        self.code = output.status.code().expect("no signal");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn the_tour_of_the_readme_works_word_for_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README is there");
    let directory = tempfile::tempdir().expect("a directory for the tour");
    let examples = directory.path().join("examples/online_retail");
    std::fs::create_dir_all(&examples).expect("room for the examples");
    for name in ["online_retail.csv", "mapping.toml"] {
        std::fs::copy(root.join("examples/online_retail").join(name), examples.join(name)).expect("the example is there");
    }
    let mut node: Option<Node> = None;
    let tour = tour(&readme);
    assert!(tour.len() > 10, "the README has a tour");
    let mut shell = Shell {
        directory: directory.path(),
        set: String::new(),
        code: 0,
    };
    for Typed { command, shown } in &tour {
        assert!(
            shell.code == 0 || command == "echo $?",
            "the tour does not show that the line before `{command}` ended with {}",
            shell.code
        );
        match (command.as_str(), &mut node) {
            ("shelfd run --data ./tour-data &", Some(node)) => node.restart(),
            ("shelfd run --data ./tour-data &", none) => {
                *none = Some(Node::builder().data(&directory.path().join("tour-data")).start());
            }
            ("kill -9 %1", Some(node)) => node.kill(),
            (command, Some(node)) => {
                let came = shell.type_in(node, command);
                assert_eq!(normal(&came), normal(shown), "\n$ {command}\n{came}");
            }
            (command, None) => panic!("`{command}` comes before the node is started"),
        }
    }
}

#[test]
fn what_varies_is_told_from_what_must_not() {
    assert_eq!(
        normal("2026-11-23 21:30:41  count  -1"),
        normal("2027-01-02 01:00:00 count -1")
    );
    assert_ne!(normal("2010-12-02 18:15:00 sale"), normal("2010-12-03 18:15:00 sale"));
    assert_ne!(normal("balance 8"), normal("balance 9"));
    assert_eq!(
        normal("3,587 of 5,217 rows, 667 rows/s\nx: 5,217 rows in 16.9 s"),
        normal("x: 5,217 rows in 0.7 s")
    );
}
