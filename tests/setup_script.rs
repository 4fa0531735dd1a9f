//! `scripts/setup.sh` on a machine that lacks something: it installs what it may, and otherwise names the one command.
//!
//! A container of a fresh Debian would be the real thing, and needs a container runtime and a network; a `PATH` of stand-ins
//! shows every branch anywhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/setup.sh");

/// Tools of a machine on which everybody builds.
const BUILDS: [(&str, &str); 2] = [("make", "exit 0"), ("pkg-config", "exit 0")];

/// Runs the script where only the given stand-ins exist beside the plain tools of every Debian and those of [`BUILDS`].
fn setup(stand_ins: &[(&str, &str)]) -> Output {
    setup_for(&[], &[&BUILDS, stand_ins].concat())
}

/// Runs it with these words, and only these stand-ins.
fn setup_for(words: &[&str], stand_ins: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).expect("an empty directory");
    for tool in ["bash", "sh", "sed", "dirname", "env", "cat", "true"] {
        let real = ["/usr/bin", "/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(tool))
            .find(|path| path.exists());
        symlink(real.expect("every Debian has it"), bin.join(tool)).expect("a link");
    }
    for (name, script) in stand_ins {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a stand-in");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let mut command = Command::new("/bin/bash");
    command
        .arg(SETUP)
        .args(words)
        .env_clear()
        .env("PATH", &bin)
        .env("HOME", dir.path())
        .output()
        .expect("the script runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

const ORDINARY_USER: (&str, &str) = ("id", "echo 1000");
const ROOT: (&str, &str) = ("id", "echo 0");
const COMPILER: (&str, &str) = ("cc", "cat >/dev/null");
const TOOLCHAIN: (&str, &str) = ("rustup", "exit 0");

#[test]
fn says_nothing_when_nothing_is_missing() {
    let output = setup(&[ORDINARY_USER, COMPILER, TOOLCHAIN]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "");
}

#[test]
fn names_the_one_command_when_it_may_not_install() {
    let output = setup(&[ORDINARY_USER, ("apt-get", "echo touched"), ("sudo", "exit 1")]);
    assert_eq!(output.status.code(), Some(69));
    let said = said(&output);
    assert!(
        said.contains(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev curl ca-certificates\n"
        ),
        "{said}"
    );
    assert!(!said.contains("touched"), "{said}");
}

#[test]
fn installs_what_is_missing_when_it_may() {
    let apt = ("apt-get", "echo called \"$@\"");
    let sudo = ("sudo", "shift; exec \"$@\"");
    for machine in [&[ROOT, TOOLCHAIN, apt][..], &[ORDINARY_USER, TOOLCHAIN, sudo, apt]] {
        let output = setup(machine);
        assert!(output.status.success(), "{}", said(&output));
        let said = said(&output);
        assert!(
            said.contains("called update")
                && said.contains("called install -y --no-install-recommends gcc libc6-dev libssl-dev\n"),
            "{said}"
        );
    }
}

#[test]
fn a_broker_needs_java_and_only_for_tests() {
    let machine = [ORDINARY_USER, COMPILER, TOOLCHAIN, BUILDS[0], BUILDS[1]];
    assert!(setup_for(&[], &machine).status.success());
    let output = setup_for(
        &["broker"],
        &[&machine[..], &[("apt-get", "exit 0"), ("sudo", "exit 1")]].concat(),
    );
    assert_eq!(output.status.code(), Some(69));
    let said = said(&output);
    assert!(
        said.contains("install -y --no-install-recommends default-jre-headless maven openssl python3-venv\n"),
        "{said}"
    );
}

#[test]
fn the_plug_needs_an_emulator_and_only_for_the_long_tests() {
    let machine = [ORDINARY_USER, COMPILER, TOOLCHAIN, BUILDS[0], BUILDS[1]];
    let output = setup_for(
        &["plug"],
        &[&machine[..], &[("apt-get", "exit 0"), ("sudo", "exit 1")]].concat(),
    );
    assert_eq!(output.status.code(), Some(69));
    let said = said(&output);
    assert!(
        said.contains("install -y --no-install-recommends debootstrap qemu-system-x86 e2fsprogs\n"),
        "{said}"
    );
}

#[test]
fn what_is_good_to_have_is_named_and_does_not_stop_the_tests() {
    let machine = [ORDINARY_USER, COMPILER, TOOLCHAIN, BUILDS[0], BUILDS[1]];
    let output = setup_for(
        &["counter", "clock"],
        &[&machine[..], &[("apt-get", "echo touched"), ("sudo", "exit 1")]].concat(),
    );
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("sudo apt-get install -y --no-install-recommends valgrind faketime\n"),
        "{}",
        said(&output)
    );
    let tools = [("valgrind", "exit 0"), ("faketime", "exit 0")];
    let there = setup_for(&["counter", "clock"], &[&machine[..], &tools].concat());
    assert_eq!((there.status.code(), said(&there).as_str()), (Some(0), ""));
}

#[test]
fn names_the_command_when_rust_cannot_be_fetched() {
    let output = setup(&[ORDINARY_USER, COMPILER, ("curl", "exit 6")]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        said(&output).contains("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"),
        "{}",
        said(&output)
    );
    let output = setup(&[ORDINARY_USER, COMPILER, ("rustup", "exit 1")]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        said(&output).contains("    rustup toolchain install 1.95.0 --profile minimal"),
        "{}",
        said(&output)
    );
}
