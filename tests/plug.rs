//! The plug: the node installed on a Debian machine with real systemd, under load when the power goes. It comes back by itself, and
//! nothing that was answered is missing.
//!
//! The machine is emulated (`scripts/plug.sh`), and `kill -9` of the emulator is the cut: its kernel's page cache goes with it, which
//! no death of a process alone takes away. Booting takes minutes, so `make test` has the same clerks and the same comparison with a
//! process in the machine's place, and `make torture` the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::crash::clerk::Deeds;
use crate::crash::{
    answered_baskets_stand, answered_events_stand, ledgers_name_every_event_once, open, settle_what_was_not_answered,
    stock_is_what_was_done, work_until,
};
use crate::harness::http::Http;
use crate::harness::node::Node;
use crate::harness::torture;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/plug.sh");
/// An emulated machine beside other work boots in one minute or in three.
const BOOTED_WITHIN: Duration = Duration::from_secs(600);

/// Something with a node on it, whose power can be cut.
trait Powered {
    /// A client of the node as it is now.
    fn client(&self) -> Http;
    /// No more power, from one instant to the next.
    fn cut(&mut self);
    /// Power again. Nobody starts the node; whether it comes is what is tested.
    fn power(&mut self);
}

impl Powered for Node {
    fn client(&self) -> Http {
        Node::client(self)
    }

    fn cut(&mut self) {
        self.kill();
    }

    fn power(&mut self) {
        self.restart();
    }
}

/// An emulated machine with a disk of its own.
struct Machine {
    dir: TempDir,
    port: u16,
    emulator: Child,
}

impl Machine {
    fn installed() -> Machine {
        let dir = TempDir::new_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).expect("a directory for the disk");
        let installed = Command::new(SCRIPT)
            .arg("install")
            .arg(env!("CARGO_BIN_EXE_shelfd"))
            .arg(disk(dir.path()))
            .status()
            .expect("the script runs");
        assert!(installed.success(), "the machine could not be made; the script said why");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let emulator = power_on(dir.path(), port);
        let machine = Machine { dir, port, emulator };
        machine.await_ready();
        machine
    }

    fn console(&self) -> String {
        let text = std::fs::read(self.dir.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn await_ready(&self) {
        let (begun, client) = (Instant::now(), self.client());
        let ready = || {
            let answer = client.try_send("GET", "/readyz", &[], Vec::new());
            answer.is_ok_and(|answer| answer.status == 200)
        };
        while !ready() {
            assert!(
                begun.elapsed() < BOOTED_WITHIN,
                "the unit did not start by itself within {BOOTED_WITHIN:?}; the console:\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        eprintln!("plug: the node answers {} s after power", begun.elapsed().as_secs());
    }
}

fn disk(dir: &Path) -> PathBuf {
    dir.join("disk.img")
}

fn power_on(dir: &Path, port: u16) -> Child {
    let console = File::options().create(true).append(true).open(dir.join("console"));
    let console = console.expect("a file for the console");
    Command::new(SCRIPT)
        .arg("run")
        .arg(disk(dir))
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(console.try_clone().expect("the same file"))
        .stderr(console)
        .spawn()
        .expect("the script becomes the emulator")
}

impl Powered for Machine {
    fn client(&self) -> Http {
        Http::new(&format!("127.0.0.1:{}", self.port))
    }

    fn cut(&mut self) {
        self.emulator.kill().expect("SIGKILL");
        self.emulator.wait().expect("it is gone");
    }

    fn power(&mut self) {
        self.emulator = power_on(self.dir.path(), self.port);
        self.await_ready();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        if std::thread::panicking() {
            eprintln!("the machine's console:\n{}", self.console());
        }
    }
}

/// Cuts the power under load, again and again, and compares each time what stands with what was answered.
fn pull(machine: &mut dyn Powered, cuts: u64, answers: usize) {
    let (mut deeds, begun) = (Deeds::default(), Instant::now());
    open(&machine.client(), &mut deeds);
    for cut in 0..cuts {
        let client = machine.client();
        let mut news = work_until(&client, torture::seed(), cut, answers + 37 * cut as usize, || machine.cut());
        machine.power();
        let client = machine.client();
        answered_events_stand(&client, &news);
        answered_baskets_stand(&client, &news);
        settle_what_was_not_answered(&client, &mut news);
        deeds.extend(news);
        stock_is_what_was_done(&client, &deeds);
        torture::progress("plug", cut + 1, begun);
    }
    let client = machine.client();
    answered_events_stand(&client, &deeds);
    answered_baskets_stand(&client, &deeds);
    ledgers_name_every_event_once(&client, &deeds);
    println!("{cuts} cuts, {} events, {} baskets", deeds.events.len(), deeds.baskets.len());
}

#[test]
fn a_node_comes_back_by_itself_after_its_power_was_cut_and_nothing_answered_is_missing() {
    if torture::tortured() {
        let cuts = torture::cases(0, 3);
        pull(&mut Machine::installed(), cuts, 150);
        torture::report("plug", cuts, 0);
    } else {
        pull(&mut Node::start(), 2, 60);
    }
}
