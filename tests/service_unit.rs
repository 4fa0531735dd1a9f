//! The systemd unit says what it promises, and systemd understands it where it is at hand.
//!
//! Reading the file alone was rejected: a misspelt option is ignored by systemd with a warning that nobody sees, and a hardening
//! that is ignored protects nothing.

use std::path::Path;
use std::process::Command;

/// Known to systemd 253 or 254 and newer; an older one says that it ignores them.
const NEWER: [&str; 3] = ["notify-reload", "RestartSteps", "RestartMaxDelaySec"];

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/shelfd.service"))
        .expect("the unit is in systemd/")
}

/// The last value of an option, which is the one that counts.
fn value<'a>(unit: &'a str, option: &str) -> Option<&'a str> {
    unit.lines()
        .rev()
        .find_map(|line| line.strip_prefix(option)?.strip_prefix('='))
}

#[test]
fn unit_is_notified_watched_restarted_and_hardened() {
    let unit = unit();
    for (option, wanted) in [
        ("Type", "notify-reload"),
        ("Restart", "on-failure"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("StateDirectory", "shelfd"),
        ("IPAddressDeny", "any"),
        ("CapabilityBoundingSet", ""),
    ] {
        assert_eq!(value(&unit, option), Some(wanted), "{option}");
    }
    for option in [
        "WatchdogSec",
        "MemoryMax",
        "LimitNOFILE",
        "RestartSec",
        "RestartMaxDelaySec",
        "TimeoutStopSec",
        "SystemCallFilter",
    ] {
        assert!(value(&unit, option).is_some_and(|value| !value.is_empty()), "{option}");
    }
    assert!(
        value(&unit, "ExecReload").is_none(),
        "notify-reload sends SIGHUP itself; two would reload twice"
    );
}

#[test]
fn systemd_understands_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("systemd-analyze is not installed: the unit was read, and not judged");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shelfd.service");
    // The binary is not installed where the unit will look for it.
    std::fs::write(&path, unit().replace("/usr/bin/shelfd", env!("CARGO_BIN_EXE_shelfd"))).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("shelfd.service")).collect();
    let real: Vec<&&str> = complaints
        .iter()
        .filter(|line| !NEWER.iter().any(|newer| line.contains(newer)))
        .collect();
    assert!(real.is_empty(), "systemd-analyze verify: {real:#?}");
}
