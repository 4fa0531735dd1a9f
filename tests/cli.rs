//! The command line as a person or a script meets it: the real binary, its exit codes, its help, its manual. What needs a
//! node is tested with one elsewhere; here nobody answers, on purpose.

use std::net::TcpListener;
use std::process::{Command, Output};

fn shelfd(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shelfd"));
    for variable in ["SHELFD_URL", "SHELFD_TOKEN", "SHELFD_WAREHOUSE", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.args(words).output().expect("the binary starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code, not a signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// An address where nobody listens: a port that was free a moment ago.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn a_wrong_command_line_exits_64_and_says_what_was_expected() {
    for (words, expected) in [
        (&["stokc"][..], "stock"),
        (&["stock", "--belwo", "5"], "--below"),
        (&["stock", "a/b"], "must not contain '/'"),
        (&["stock", "milk", "--as-of", "yesterday"], "expected a time"),
        (&["stock", "--url", "127.0.0.1:7480"], "http://host:port"),
        (&["stock", "milk", "--flag", "count_due"], "cannot be used with"),
        (&["reserve", "hold", "o-1"], "SKU=QTY"),
        (&["reserve", "hold", "o-1", "milk"], "SKU=QTY"),
        (&["events", "write-off", "milk", "1"], "--reason"),
        (&["events", "sale", "milk", "1.5"], "1.5"),
        (&["dead-letters", "discard", "17"], "--reason"),
        (&["dead-letters", "replay"], "<ID>"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let output = shelfd(words);
        assert_eq!(code(&output), 64, "{words:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(expected),
            "{words:?} does not mention {expected:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{words:?} wrote to stdout");
    }
}

#[test]
fn nothing_at_all_shows_the_help_and_exits_64() {
    let output = shelfd(&[]);
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("Usage: shelfd"));
}

#[test]
fn help_and_version_were_asked_for_and_exit_0() {
    let help = shelfd(&["--help"]);
    assert_eq!(code(&help), 0);
    for word in ["stock", "ledger", "reserve", "SHELFD_URL", "--json", "Exit codes", "Examples"] {
        assert!(stdout(&help).contains(word), "the help lacks {word}");
    }
    let version = shelfd(&["--version"]);
    assert_eq!(
        (code(&version), stdout(&version)),
        (0, format!("shelfd {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn every_verb_explains_itself_with_an_example() {
    for words in [
        &["stock"][..],
        &["ledger"],
        &["reserve", "hold"],
        &["reserve", "confirm"],
        &["events", "send"],
        &["events", "write-off"],
        &["events", "follow"],
        &["warehouses", "put"],
        &["skus", "put"],
        &["dead-letters", "replay"],
        &["status"],
        &["drift"],
        &["man"],
    ] {
        let output = shelfd(&[words, &["--help"]].concat());
        assert_eq!(code(&output), 0, "{words:?}");
        let example = format!("  shelfd {}", words.join(" "));
        assert!(
            stdout(&output).contains(&example),
            "{words:?} --help has no example of itself"
        );
    }
}

#[test]
fn a_node_that_is_not_there_exits_69_and_says_how_to_start_one() {
    let url = nobody();
    let output = shelfd(&["status", "--url", &url]);
    assert_eq!(code(&output), 69, "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("no node answers at {url}: Connection refused")),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("shelfd run"));
}

#[test]
fn with_json_a_failure_is_json_too() {
    let output = shelfd(&["status", "--json", "--url", &nobody()]);
    let failure: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
    assert_eq!(failure["exit"], 69);
    assert!(output.stdout.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_exits_65_and_is_named() {
    for file in ["/nonexistent/today.ndjson", "/"] {
        let output = shelfd(&["events", "send", file, "--url", &nobody()]);
        assert_eq!(code(&output), 65);
        assert!(
            stderr(&output).contains(&format!("cannot read {file}")),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn an_empty_file_needs_no_node() {
    let output = shelfd(&["events", "send", "/dev/null", "--url", &nobody()]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "no events\n"));
}

#[test]
fn each_shell_gets_completions_that_know_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = shelfd(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        assert!(stdout(&output).contains("dead-letters"), "{shell}");
    }
}

#[test]
fn the_manual_is_printed_or_written_with_a_page_for_each_verb() {
    let page = stdout(&shelfd(&["man"]));
    assert!(
        page.contains(".TH shelfd") && page.contains("SHELFD_URL") && page.contains("shelfd demo"),
        "{page}"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let target = dir.path().join("man1");
    let output = shelfd(&["man", target.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for name in [
        "shelfd.1",
        "shelfd-stock.1",
        "shelfd-reserve-hold.1",
        "shelfd-dead-letters-replay.1",
    ] {
        assert!(target.join(name).is_file(), "{name} is missing");
    }
}

#[test]
fn a_manual_that_cannot_be_written_says_where() {
    let output = shelfd(&["man", "/dev/null/man1"]);
    assert_eq!(code(&output), 74);
    assert!(stderr(&output).contains("/dev/null/man1"));
}

/// What `shelfd check` is told: a data directory of its own and a port that is free.
fn check(words: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("UTF-8");
    shelfd(&[&["check", "--data", dir, "--listen", "127.0.0.1:0"], words].concat())
}

#[test]
fn a_good_configuration_and_environment_exit_0() {
    let output = check(&[]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    for word in ["data directory", "disk", "port", "clock", "open files", "a node would start"] {
        assert!(stdout(&output).contains(word), "no {word} in {}", stdout(&output));
    }
}

#[test]
fn a_typo_in_the_configuration_exits_78_with_its_place_and_a_suggestion() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "[http]\nlisen = \"127.0.0.1:7480\"\n").expect("written");
    let output = check(&["--config", file.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), 78);
    let told = stdout(&output);
    assert!(
        told.contains("lisen") && told.contains("listen") && told.contains("config.toml:2"),
        "{told}"
    );
    let json = check(&["--json", "--config", file.to_str().expect("UTF-8")]);
    let findings: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((code(&json), &findings["ok"]), (78, &serde_json::Value::Bool(false)));
}

#[test]
fn a_port_in_use_and_a_data_directory_that_is_none_exit_78_and_say_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let output = shelfd(&["check", "--data", "/dev/null", "--listen", &address]);
    assert_eq!(code(&output), 78);
    let told = stdout(&output);
    assert!(told.contains(&format!("{address} is in use by another program")), "{told}");
    assert!(
        told.contains("/dev/null is no directory") && told.contains("--data"),
        "{told}"
    );
    assert!(told.contains("2 to be mended"), "{told}");
}

#[test]
fn top_does_not_draw_into_a_pipe_unless_asked_to() {
    let output = shelfd(&["top", "--url", &nobody()]);
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("--once"));
    assert_eq!(
        code(&shelfd(&["top", "--once", "--interval-ms", "50", "--url", &nobody()])),
        69
    );
}

#[test]
fn a_directory_without_a_store_is_never_called_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in [dir.path().join("missing"), dir.path().to_owned()] {
        let output = shelfd(&["verify", path.to_str().expect("UTF-8")]);
        assert_eq!(code(&output), 65, "{}{}", stdout(&output), stderr(&output));
        assert!(
            stderr(&output).contains(dir.path().to_str().expect("UTF-8")),
            "{}",
            stderr(&output)
        );
    }
}
