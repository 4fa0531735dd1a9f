//! `shelfd check`: everything that would stop a start or bite later, found before it does: the configuration, the data
//! directory, the store, the disk, the port, the clock, the limit of open files. Each finding says what to do.
//!
//! It changes nothing and may run beside a node. Rejected: finding these out by starting. A start ends at the first trouble,
//! and a small limit of open files bites at the ten-thousandth connection.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::Context;
use super::client::{Client, Patience, Query, path};
use super::exit::{Code, Failure};
use super::out::Tone;
use super::settings::{Settings, tell, url_of};
use crate::config::Config;
use crate::storage::store::{self, OpenError, Peek};

mod kafka;

/// Files that a node needs beside one for each connection: store, logs, epoll, standard streams, snapshots.
const OWN_FILES: u64 = 64;
/// 2026-01-01: no clock that is right shows a time before this version was written.
const OLDEST_S: u64 = 1_767_225_600;
/// 2100-01-01: a clock beyond it lost its battery.
const NEWEST_S: u64 = 4_102_444_800;
/// How far a file may lie in the future before the clock is suspected to have gone back.
const MAX_AHEAD: Duration = Duration::from_secs(300);

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd check                                    embedded defaults and this machine
  shelfd check --config /etc/shelfd/config.toml   before a start or a reload
  shelfd check --config config.toml --show        and what is in force, as TOML
  shelfd check --config config.toml --kafka       and the broker: topics, rights, formats

Exit code 0 when a node would start, 78 when something must be done first.")]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Print the configuration that is in force
    #[arg(long)]
    pub show: bool,
    /// Try the broker as well: every topic, rights and formats
    #[arg(long)]
    pub kafka: bool,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Warn,
    Bad,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    detail: String,
    help: Option<String>,
}

fn good(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        verdict: Verdict::Good,
        detail: detail.into(),
        help: None,
    }
}

fn warn(what: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding {
        what,
        verdict: Verdict::Warn,
        detail: detail.into(),
        help: Some(help.into()),
    }
}

fn bad(what: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Bad,
        ..warn(what, detail, help)
    }
}

/// Checks, and prints what was found.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    let config = match args.settings.load() {
        Ok(config) => config,
        Err(invalid) if out.json => {
            let findings: Vec<_> = invalid
                .lines()
                .map(|line| json!({"check": "configuration", "verdict": "bad", "detail": line}))
                .collect();
            out.value(&json!({"ok": false, "findings": findings}))?;
            return Err(Failure::silent(Code::Configuration));
        }
        Err(invalid) => {
            out.line(tell(&invalid, out.colour()).trim_end())?;
            return Err(Failure::silent(Code::Configuration));
        }
    };
    let mut findings = findings(&args.settings, &config).await;
    if args.kafka {
        findings.extend(kafka::findings(&config).await);
    }
    let trouble = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    if out.json {
        let listed: Vec<_> = findings.iter().map(as_json).collect();
        out.value(&json!({"ok": trouble == 0, "findings": listed}))?;
    } else {
        if args.show {
            out.line(config.to_toml())?;
        }
        for finding in &findings {
            let (word, tone) = mark(finding.verdict);
            out.line(format!("{}  {:<16} {}", out.paint(tone, word), finding.what, finding.detail))?;
            if let Some(help) = &finding.help {
                out.line(format!("      {:<16} {}", "", out.paint(Tone::Dim, &format!("help: {help}"))))?;
            }
        }
        out.line("")?;
        out.line(if trouble == 0 {
            "a node would start".to_owned()
        } else if findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Bad || finding.what == kafka::WHAT)
        {
            format!("{trouble} to be mended; a node would start meanwhile, and wait for the broker")
        } else {
            format!("{trouble} to be mended before a start")
        })?;
    }
    if trouble == 0 {
        Ok(())
    } else {
        Err(Failure::silent(Code::Configuration))
    }
}

fn mark(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Good => ("ok  ", Tone::Good),
        Verdict::Warn => ("warn", Tone::Warn),
        Verdict::Bad => ("bad ", Tone::Bad),
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({"check": finding.what, "verdict": mark(finding.verdict).0.trim_end(), "detail": finding.detail, "help": finding.help})
}

async fn findings(settings: &Settings, config: &Config) -> Vec<Finding> {
    let from = settings
        .config
        .as_ref()
        .map_or_else(|| "embedded defaults".to_owned(), |file| file.display().to_string());
    let mut findings = vec![good("configuration", format!("{from}: every key is understood"))];
    let dir = &config.node.data_dir;
    findings.push(data_dir(dir));
    findings.extend(store(dir));
    findings.extend(disk(dir, config.storage.reserve_bytes));
    findings.push(port(config).await);
    findings.push(clock(SystemTime::now()));
    findings.extend(newest_file(dir, SystemTime::now()));
    findings.push(open_files(config.http.max_connections));
    findings
}

/// The directory can be written, or made.
fn data_dir(dir: &Path) -> Finding {
    const WHAT: &str = "data directory";
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => bad(
            WHAT,
            format!("{shown} is no directory"),
            "name another with --data or node.data_dir",
        ),
        Ok(_) => match try_to_write(dir) {
            Ok(()) => good(WHAT, format!("{shown} can be written")),
            Err(error) => bad(WHAT, format!("{shown} cannot be written: {error}"), advice(&error, dir)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = dir.ancestors().skip(1).find(|parent| parent.is_dir()) else {
                return bad(
                    WHAT,
                    format!("{shown} is not there, nor anything above it"),
                    "is the disk mounted?",
                );
            };
            match try_to_write(parent) {
                Ok(()) => good(
                    WHAT,
                    format!("{shown} is not there yet; it will be made in {}", parent.display()),
                ),
                Err(error) => bad(
                    WHAT,
                    format!("{shown} is not there, and {} cannot be written: {error}", parent.display()),
                    format!("make it for the node's user: install -d -o shelfd {shown}, or name another with --data"),
                ),
            }
        }
        Err(error) => bad(WHAT, format!("{shown} cannot be looked at: {error}"), advice(&error, dir)),
    }
}

/// Makes and removes a file: the only test that read-only mounts, quotas and odd rights all answer truly.
fn try_to_write(dir: &Path) -> io::Result<()> {
    let probe = dir.join(format!(".shelfd-check-{}", uuid::Uuid::now_v7().simple()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

fn advice(error: &io::Error, dir: &Path) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("give it to the node's user: chown shelfd {}", dir.display()),
        io::ErrorKind::ReadOnlyFilesystem => "mount it read-write; a disk that turned read-only by itself is failing".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room".to_owned(),
        _ => "name another with --data or node.data_dir".to_owned(),
    }
}

/// The store's file, looked into without being changed; `None` where the directory has none, and the first start makes it.
fn store(dir: &Path) -> Option<Finding> {
    const WHAT: &str = "store";
    let shown = dir.join(store::FILE);
    let shown = shown.display();
    Some(match store::peek(dir) {
        Ok(None) => return None,
        Ok(Some(Peek {
            bytes: size,
            format,
            closed,
        })) => {
            let state = if closed {
                "it can be opened"
            } else {
                "it was not closed in good order; the next start mends it, and nothing is lost"
            };
            good(WHAT, format!("{shown}: {}, format {format}, {state}", bytes(size)))
        }
        Err(OpenError::Locked { pid, .. }) => warn(
            WHAT,
            format!("{shown} is in use by a node, pid {pid}"),
            "a second node needs another data directory",
        ),
        Err(error @ OpenError::Damaged { .. }) => bad(WHAT, error.to_string(), format!("shelfd verify {}", dir.display())),
        Err(error @ OpenError::Newer { .. }) => bad(WHAT, error.to_string(), "run the newer shelfd; nothing was changed"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let detail = format!("{error}{}", cause.unwrap_or_default());
            bad(WHAT, detail, "give the node's user access to it")
        }
    })
}

/// Free space on the disk of the data directory, against the reserve that the node keeps.
fn disk(dir: &Path, reserve: u64) -> Option<Finding> {
    const WHAT: &str = "disk";
    let there = dir.ancestors().find(|above| above.is_dir())?;
    let found = match rustix::fs::statvfs(there) {
        Ok(found) => found,
        Err(error) => {
            return Some(warn(
                WHAT,
                format!("free space of {} is unknown: {error}", there.display()),
                "look with df",
            ));
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let detail = format!(
        "{} free at {}, {} kept in reserve",
        bytes(free),
        there.display(),
        bytes(reserve)
    );
    Some(if free <= reserve {
        bad(
            WHAT,
            detail,
            "make room: a node would take nothing new (storage.reserve_bytes)",
        )
    } else if free < reserve.saturating_mul(4) {
        warn(WHAT, detail, "make room soon")
    } else {
        good(WHAT, detail)
    })
}

/// Whether the address can be listened on; a node that already does is no trouble.
async fn port(config: &Config) -> Finding {
    const WHAT: &str = "port";
    let listen = config.http.listen;
    let error = match TcpListener::bind(listen) {
        Ok(_) => return good(WHAT, format!("{listen} is free")),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse if a_node_answers(&url_of(listen)).await => warn(
            WHAT,
            format!("{listen} is in use by a node that runs"),
            "a second one needs another port and another data directory",
        ),
        io::ErrorKind::AddrInUse => bad(
            WHAT,
            format!("{listen} is in use by another program"),
            format!(
                "`ss -ltnp 'sport = :{}'` names it; or choose another with --listen",
                listen.port()
            ),
        ),
        io::ErrorKind::PermissionDenied => bad(WHAT, format!("{listen} may not be listened on"), "choose a port above 1023"),
        _ => bad(
            WHAT,
            format!("{listen} cannot be listened on: {error}"),
            "choose another with --listen or http.listen",
        ),
    }
}

async fn a_node_answers(url: &str) -> bool {
    let Ok(client) = Client::new(url, None) else { return false };
    let client = client.with_patience(Patience::NONE);
    let asked = tokio::time::timeout(Duration::from_secs(2), client.fetch(&path(["livez"]), &Query::new())).await;
    matches!(asked, Ok(Ok(_)))
}

fn clock(now: SystemTime) -> Finding {
    const WHAT: &str = "clock";
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shown = jiff::Timestamp::try_from(now).map_or_else(
        |_| "no time at all".to_owned(),
        |stamp| stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    );
    if (OLDEST_S..NEWEST_S).contains(&seconds) {
        good(WHAT, format!("it is {shown}"))
    } else {
        bad(
            WHAT,
            format!("it shows {shown}"),
            "set it, and keep it right with NTP: timedatectl set-ntp true",
        )
    }
}

/// A store written after now means that the clock has gone back; the node's time never does, and would run ahead of it.
fn newest_file(dir: &Path, now: SystemTime) -> Option<Finding> {
    let newest = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max()?;
    let ahead = newest.duration_since(now).ok().filter(|ahead| *ahead > MAX_AHEAD)?;
    Some(warn(
        "clock",
        format!("the store was written {} s after now", ahead.as_secs()),
        "has the clock gone back? the node's own time goes on from the newest fact",
    ))
}

fn open_files(max_connections: u32) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    // No limit is told as none.
    judge_open_files(
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
        max_connections,
    )
}

fn judge_open_files(soft: u64, hard: u64, max_connections: u32) -> Finding {
    const WHAT: &str = "open files";
    let needed = u64::from(max_connections) + OWN_FILES;
    let detail = |limit: u64| format!("at most {limit}, and {max_connections} connections need {needed}");
    let help = format!("LimitNOFILE={needed} in the unit, or ulimit -n {needed}, or a lower http.max_connections");
    if soft >= needed {
        good(WHAT, detail(soft))
    } else if hard >= needed {
        warn(WHAT, detail(soft), help)
    } else {
        warn(WHAT, format!("{}, and no more can be had", detail(hard)), help)
    }
}

/// A size for people: `12.3 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_a_file_or_cannot_be_made_is_bad_and_a_new_one_is_good() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_dir(dir.path()).verdict, Verdict::Good);
        assert_eq!(data_dir(&dir.path().join("new/deep")).verdict, Verdict::Good);
        assert!(
            fs::read_dir(dir.path()).unwrap().next().is_none(),
            "a check leaves nothing behind"
        );
        assert_eq!(data_dir(Path::new("/dev/null")).verdict, Verdict::Bad);
        assert_eq!(data_dir(Path::new("/proc/shelfd")).verdict, Verdict::Bad);
    }

    #[test]
    fn a_clock_without_a_battery_is_bad() {
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(3600)).verdict, Verdict::Bad);
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(NEWEST_S)).verdict, Verdict::Bad);
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(OLDEST_S + 1)).verdict, Verdict::Good);
    }

    #[test]
    fn a_clock_that_went_back_is_seen_by_the_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store"), "x").unwrap();
        assert!(newest_file(dir.path(), SystemTime::now() - Duration::from_secs(3600)).is_some());
        assert!(newest_file(dir.path(), SystemTime::now()).is_none());
    }

    #[test]
    fn a_full_disk_is_bad_before_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(disk(dir.path(), u64::MAX).map(|finding| finding.verdict), Some(Verdict::Bad));
        assert_eq!(disk(dir.path(), 1).map(|finding| finding.verdict), Some(Verdict::Good));
    }

    #[test]
    fn too_few_open_files_are_told_with_the_number_that_is_needed() {
        assert_eq!(judge_open_files(1024, 4096, 20_000).verdict, Verdict::Warn);
        assert!(
            judge_open_files(1024, 4096, 20_000)
                .help
                .is_some_and(|help| help.contains("20064"))
        );
        assert_eq!(judge_open_files(65_536, 65_536, 20_000).verdict, Verdict::Good);
    }

    #[test]
    fn sizes_are_told_for_people() {
        assert_eq!(
            (bytes(12).as_str(), bytes(1536).as_str(), bytes(13_207_024_435).as_str()),
            ("12 B", "1.5 KiB", "12.3 GiB")
        );
    }
}
