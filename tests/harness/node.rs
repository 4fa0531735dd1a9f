//! The real binary as a process: started on a free port, waited for, killed, restarted, and gone with the test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http::Http;

/// The longest that a start, a stop or a condition may take on a loaded machine before it counts as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn shelfd() -> Command {
    shelfd_within(&[])
}

/// The binary under test, started by a program that becomes it.
pub fn shelfd_within(starter: &[String]) -> Command {
    const BINARY: &str = env!("CARGO_BIN_EXE_shelfd");
    let mut command = Command::new(starter.first().map_or(BINARY, String::as_str));
    if let [_, more @ ..] = starter {
        command.args(more).arg(BINARY);
    }
    // A developer's own settings must not reach a test.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHELFD_") && name != "SHELFD_TEST_TALLY") {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// Waits until `condition` holds, looking again every few milliseconds; panics with `what` when it never does.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a node is to be started.
pub struct NodeBuilder {
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    data: Option<PathBuf>,
    within: Vec<String>,
}

/// A running (or killed) `shelfd run` with a store of its own. Everything of it is gone when this is dropped. All of
/// [`Http`] can be called on it directly.
pub struct Node {
    child: Child,
    http: Http,
    address: String,
    data: PathBuf,
    work: TempDir,
    builder: NodeBuilder,
}

/// What a command that ran to its end left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl NodeBuilder {
    /// A `config.toml` of this text.
    pub fn config(mut self, toml: &str) -> NodeBuilder {
        self.config = Some(toml.to_owned());
        self
    }

    /// One more argument of `shelfd run`.
    pub fn arg(mut self, arg: &str) -> NodeBuilder {
        self.args.push(arg.to_owned());
        self
    }

    /// An environment variable, such as `SHELFD__ADMISSION__EVENTS`.
    pub fn env(mut self, name: &str, value: &str) -> NodeBuilder {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A data directory of the test's own, which outlives the node.
    pub fn data(mut self, dir: &Path) -> NodeBuilder {
        self.data = Some(dir.to_owned());
        self
    }

    /// What starts the binary, such as [`super::disk::Disk::within`]; it must become the binary.
    pub fn within(mut self, starter: Vec<String>) -> NodeBuilder {
        self.within = starter;
        self
    }

    /// Starts the node and waits until it is ready; panics with its log when it does not come up.
    pub fn start(self) -> Node {
        let mut node = self.launched();
        node.await_ready();
        node
    }

    fn launched(self) -> Node {
        let work = TempDir::new().expect("a directory for the node");
        let data = self.data.clone().unwrap_or_else(|| work.path().join("data"));
        if let Some(config) = &self.config {
            std::fs::write(work.path().join("config.toml"), config).expect("the node's configuration");
        }
        let (child, address) = launch(&self, work.path(), &data, "127.0.0.1:0");
        Node {
            child,
            http: Http::new(&address),
            address,
            data,
            work,
            builder: self,
        }
    }

    /// As [`NodeBuilder::start`], for a node that will not call itself ready: waits only until it says where it listens.
    pub fn start_unready(self) -> Node {
        self.launched()
    }

    /// Runs `shelfd run` for a start that is expected to fail, and returns what it left.
    pub fn start_expecting_failure(self) -> Ran {
        let work = TempDir::new().expect("a directory for the node");
        let data = self.data.clone().unwrap_or_else(|| work.path().join("data"));
        if let Some(config) = &self.config {
            std::fs::write(work.path().join("config.toml"), config).expect("the node's configuration");
        }
        let mut command = command(&self, work.path(), &data, "127.0.0.1:0");
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        finish_within(child, PATIENCE, "a start that must fail")
    }
}

fn command(builder: &NodeBuilder, work: &Path, data: &Path, listen: &str) -> Command {
    let mut command = shelfd_within(&builder.within);
    command.arg("run").arg("--data").arg(data);
    // A test that says where to listen knows better.
    if !builder.args.iter().any(|arg| arg == "--listen") {
        command.arg("--listen").arg(listen);
    }
    if builder.config.is_some() {
        command.arg("--config").arg(work.join("config.toml"));
    }
    // The auditor goes over every store of every test, again and again. A test that spoils a store on purpose switches it off, by
    // `SHELFD__AUDIT__FACTS_PER_S` 0.
    command
        .env("SHELFD__AUDIT__REST_S", "0")
        .env("SHELFD__AUDIT__FACTS_PER_S", "200000");
    command
        .args(&builder.args)
        .envs(builder.env.iter().map(|(n, v)| (n, v)))
        .current_dir(work)
        .stdin(Stdio::null());
    command
}

/// Spawns the node and waits for the address that it prints.
fn launch(builder: &NodeBuilder, work: &Path, data: &Path, listen: &str) -> (Child, String) {
    let log_path = work.join("node.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .expect("the node's log");
    let mut child = command(builder, work, data, listen)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the binary starts");
    let stdout = child.stdout.take().expect("stdout was piped");
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // Reads on after the address, so that the node never blocks on a full pipe.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = line.split("listening on http://").nth(1) {
                let _ = send.send(
                    address
                        .split_whitespace()
                        .next()
                        .unwrap_or_default()
                        .trim_end_matches('/')
                        .to_owned(),
                );
            }
        }
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(address) => (child, address),
        Err(_) => {
            let _ = child.kill();
            let status = child.wait();
            panic!(
                "the node never said where it listens ({status:?}); its log:\n{}",
                read_log(&log_path)
            )
        }
    }
}

fn read_log(path: &Path) -> String {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines = text.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Waits for a process to end and reads its output meanwhile; kills it and panics when it takes too long.
fn finish_within(mut child: Child, limit: Duration, what: &str) -> Ran {
    let collect = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = collect(child.stdout.take().map(|p| Box::new(p) as Box<dyn std::io::Read + Send>));
    let stderr = collect(child.stderr.take().map(|p| Box::new(p) as Box<dyn std::io::Read + Send>));
    let status = wait_for_exit(&mut child, limit);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let ran = Ran {
        code: status.and_then(|s| s.code()),
        stdout: stdout.join().expect("the reader of stdout"),
        stderr: stderr.join().expect("the reader of stderr"),
    };
    assert!(status.is_some(), "{what} did not end within {limit:?}: {ran:?}");
    ran
}

fn wait_for_exit(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the process is ours to wait for") {
            return Some(status);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Node {
    /// A node with embedded defaults, ready.
    pub fn start() -> Node {
        Node::builder().start()
    }

    /// A node with settings of its own.
    pub fn builder() -> NodeBuilder {
        NodeBuilder {
            config: None,
            args: Vec::new(),
            env: Vec::new(),
            data: None,
            within: Vec::new(),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of its own, to hand to another thread.
    pub fn client(&self) -> Http {
        self.http.clone()
    }

    /// Where the store is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory for the test's own files, gone with the node.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The newest lines that the node logged.
    pub fn log(&self) -> String {
        read_log(&self.work.path().join("node.log"))
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id above 0");
        kill_process(pid, signal).expect("the node can be signalled");
    }

    /// SIGKILL, and waits until the process is gone: no handler runs and nothing is flushed.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the exit; panics with the log when it takes longer than the 10 s that a stop may take (and
    /// a little for the machine).
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        match wait_for_exit(&mut self.child, Duration::from_secs(15)) {
            Some(status) => status,
            None => panic!("the node did not stop; its log:\n{}", self.log()),
        }
    }

    /// Waits until the process has ended by itself; panics with the log when it does not.
    pub fn wait(&mut self) -> ExitStatus {
        match wait_for_exit(&mut self.child, PATIENCE) {
            Some(status) => status,
            None => panic!("the node did not end; its log:\n{}", self.log()),
        }
    }

    /// Starts the node again on the same store and port, after [`Node::kill`] or [`Node::terminate`], and waits until it is
    /// ready.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "stop or kill the node before it is started again");
        let (child, address) = launch(&self.builder, self.work.path(), &self.data, &self.address);
        self.child = child;
        if address != self.address {
            self.http = Http::new(&address);
            self.address = address;
        }
        self.await_ready();
    }

    fn await_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(answer) = self.http.try_send("GET", "/readyz", &[], Vec::new())
                && answer.status == 200
            {
                return;
            }
            let status = self.child.try_wait().expect("the node is ours to wait for");
            if status.is_some() || start.elapsed() > PATIENCE {
                panic!("the node did not become ready ({status:?}); its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command of the command line that speaks to this node, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = shelfd();
        command
            .args(args)
            .env("SHELFD_URL", self.url())
            .current_dir(self.work.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `shelfd ARGS…` against this node to its end.
    pub fn cli(&self, args: &[&str]) -> Ran {
        let child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        finish_within(child, Duration::from_secs(300), &format!("shelfd {}", args.join(" ")))
    }
}

impl Deref for Node {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.log());
            return;
        }
        let log = std::fs::read(self.work.path().join("node.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let found: Vec<&str> = log.lines().filter(|line| line.contains("the auditor found")).collect();
        assert!(found.is_empty(), "the node's auditor found: {found:#?}");
    }
}

impl Ran {
    /// Standard output as JSON; panics with everything when it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Panics with everything unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}
