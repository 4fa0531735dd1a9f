//! A node with a throw-away store: this very binary as a child process, its data in a directory that goes with it.
//!
//! `shelfd bench` measures over a socket between two processes, as every client would have it. Rejected: a node on threads of
//! the measuring process, whose allocator and scheduler would be shared with the one who holds the clock.
//!
//! The node stops when its standard input ends, so that it outlives this process in no case, `kill -9` included, and then removes
//! the directory that this process can remove no more. The kernel's
//! signal at a parent's death was rejected: it is sent when the thread that started the child ends.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::exit::{Code, Failure};

/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an orderly stop may take; the node itself promises ten seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of the node's log is shown when it does not start.
const SHOWN_LOG_BYTES: u64 = 2_000;
/// What the node prints when it takes requests.
const LISTENING: &str = "listening on ";

/// Whether `--url` was typed. `SHELFD_URL` in the environment names the node that a person works with every day; a verb that
/// writes what nobody ordered must not go there unless the command line itself says so.
pub fn url_was_typed() -> bool {
    names_url(std::env::args_os().filter_map(|word| word.into_string().ok()))
}

fn names_url(words: impl Iterator<Item = String>) -> bool {
    words
        .take_while(|word| word != "--")
        .any(|word| word == "--url" || word.starts_with("--url="))
}

/// A directory of its own, removed with this value unless it is to be kept.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// A new directory below `parent`, readable for its owner alone.
    pub fn new(parent: &Path, purpose: &str, keep: bool) -> Result<Directory, Failure> {
        let name = format!("shelfd-{purpose}-{}", uuid::Uuid::now_v7().simple());
        let path = parent.join(name);
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path)
            .map_err(|error| Failure::new(Code::Io, format!("cannot create {}: {error}", path.display())))?;
        Ok(Directory { path, keep })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed lies in the system's directory for temporary files, which cleans up by itself.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A running node of ours; it is stopped, and its store removed, when this is dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    url: String,
    directory: Directory,
    config: Option<PathBuf>,
}

impl Node {
    /// Starts this binary as `run` on a free port of the loopback interface and waits until it listens.
    pub fn start(directory: Directory, listen: &str, config: Option<&Path>) -> Result<Node, Failure> {
        let (child, url) = launch(&directory, listen, config)?;
        Ok(Node {
            child,
            url,
            directory,
            config: config.map(Path::to_owned),
        })
    }

    /// Starts it anew on its store, on whatever port is free. One that still runs is stopped first.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.stop();
        (self.child, self.url) = launch(&self.directory, "127.0.0.1:0", self.config.as_deref())?;
        Ok(())
    }

    /// `kill -9`: it gets no chance to finish anything.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its store is.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in good order; its store stays.
    pub fn stop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            // Failing means that it is gone already.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let asked = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if asked.elapsed() > STOP_TIMEOUT {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts this binary on the store of a directory; the process and where it listens.
fn launch(directory: &Directory, listen: &str, config: Option<&Path>) -> Result<(Child, String), Failure> {
    let log_path = directory.path().join("node.log");
    let log = File::create(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("run")
        .arg("--data")
        .arg(directory.path().join("data"))
        .args(["--listen", listen])
        .arg("--until-stdin-ends");
    if !directory.keep {
        command.arg("--then-remove").arg(directory.path());
    }
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    // Ctrl-C at the terminal reaches this process alone, which then stops the node in good order.
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let stdout = child.stdout.take();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        // Reads to the end, so that a full pipe never stops the node.
        for line in stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines())
            .map_while(Result::ok)
        {
            if let Some(at) = line.find(LISTENING) {
                let _ = send.send(line[at + LISTENING.len()..].trim().to_owned());
            }
        }
    });
    if let Ok(url) = receive.recv_timeout(START_TIMEOUT) {
        return Ok((child, url));
    }
    // It is no use to anybody, and it must not outlive this; failing means that it is gone already.
    let _ = child.kill();
    let _ = child.wait();
    Err(Failure::new(Code::Unavailable, "the node did not start").with_help(format!("its log says: {}", tail(&log_path))))
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("(unreadable: {error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_typed_url_counts() {
        let typed = |line: &str| names_url(line.split(' ').map(str::to_owned));
        assert!(typed("shelfd bench --url http://127.0.0.1:1"));
        assert!(typed("shelfd --url=http://127.0.0.1:1 demo"));
        assert!(!typed("shelfd demo --seed 1"));
        assert!(!typed("shelfd demo -- --url"));
    }

    #[test]
    fn a_directory_is_gone_with_its_owner_unless_kept() {
        let parent = std::env::temp_dir();
        let gone = Directory::new(&parent, "test", false).expect("a directory").path().to_owned();
        assert!(!gone.exists());
        let kept = Directory::new(&parent, "test", true).expect("a directory").path().to_owned();
        assert!(kept.is_dir());
        fs::remove_dir(kept).expect("an empty directory");
    }
}
