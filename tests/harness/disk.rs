//! A disk of a test's own: a small file system in memory, in a mount namespace that nobody else sees, so that it can really be full
//! or read-only, also for the superuser, and without harm to the machine.
//!
//! A quota or a limit on the size of files was rejected: neither ends a write as a full disk does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A mounted disk; gone with this value, and with the test's process.
pub struct Disk {
    keeper: Child,
    mount: TempDir,
}

impl Disk {
    /// A disk of so many MiB; `None`, said loudly, where this machine does not let a test mount one.
    pub fn of_mib(size: u32, what_is_not_checked: &str) -> Option<Disk> {
        let mount = TempDir::new().expect("a directory to mount on");
        // It lives as long as the pipe to it: until this value, or the whole process, is gone.
        let script = format!("mount -t tmpfs -o size={size}m none \"$0\" && echo mounted && exec cat");
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(mount.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok();
        let mut said = String::new();
        if let Some(stdout) = keeper.as_mut().and_then(|keeper| keeper.stdout.take()) {
            BufReader::new(stdout).read_line(&mut said).expect("a pipe");
        }
        match keeper {
            Some(keeper) if said.trim() == "mounted" => Some(Disk { keeper, mount }),
            keeper => {
                let why = keeper.and_then(|keeper| keeper.wait_with_output().ok());
                let why = why.map_or_else(
                    || "unshare is not there".to_owned(),
                    |ended| String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; "),
                );
                super::data::not_checked(&format!("{what_is_not_checked} (no file system can be mounted here: {why})"));
                None
            }
        }
    }

    /// What starts a program where the disk is mounted.
    pub fn within(&self) -> Vec<String> {
        let pid = self.keeper.id().to_string();
        ["nsenter", "--target", &pid, "--user", "--preserve-credentials", "--mount"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The disk's root, as programs within see it.
    pub fn inside(&self) -> &Path {
        self.mount.path()
    }

    /// The disk's root, as this process sees it.
    pub fn outside(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.keeper.id());
        Path::new(&root).join(self.mount.path().strip_prefix("/").expect("an absolute path"))
    }

    /// Mounts it anew with other options, such as `ro`: the mount alone, since the file system's own owner need not be known inside.
    pub fn remount(&self, options: &str) {
        let within = self.within();
        let status = Command::new(&within[0])
            .args(&within[1..])
            .args(["mount", "-o", &format!("remount,bind,{options}")])
            .arg(self.inside())
            .status()
            .expect("nsenter is there");
        assert!(status.success(), "remount,{options}: {status}");
    }

    /// Takes every free byte of it.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("room for a name");
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            match file.write_all(&piece) {
                Ok(()) => {}
                // A page is what such a disk gives at least; then nothing more fits.
                Err(_) => piece.truncate(if piece.len() > 4_096 { 4_096 } else { 0 }),
            }
        }
    }

    /// Takes every free byte of it but these.
    pub fn fill_but(&self, left: u64) {
        self.fill();
        let file = std::fs::File::options()
            .write(true)
            .open(self.filler())
            .expect("the disk was filled");
        let taken = file.metadata().expect("its length").len();
        file.set_len(taken.checked_sub(left).expect("so much was free"))
            .expect("a shorter file");
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.outside().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
