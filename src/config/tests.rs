//! Promises of the configuration, from the outside.

use std::path::Path;

use miette::GraphicalReportHandler;

use super::*;

fn load(text: &str) -> Result<Config, Invalid> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shelfd.toml");
    std::fs::write(&path, text).unwrap();
    Layers::defaults().file(Some(&path)).load()
}

/// The complaints, without the directory of the test.
fn complaints(text: &str) -> Vec<String> {
    let invalid = load(text).expect_err("refused");
    invalid
        .lines()
        .map(|line| {
            line.rsplit_once("shelfd.toml")
                .map_or(line.clone(), |(_, rest)| format!("shelfd.toml{rest}"))
        })
        .collect()
}

fn with_env(vars: &[(&str, &str)]) -> Result<Config, Invalid> {
    Layers::defaults()
        .env(vars.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))))
        .load()
}

#[test]
fn embedded_defaults_declare_main_on_loopback() {
    let config = Config::default();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7480");
    assert_eq!(config.http.max_body_bytes, 16 << 20);
    let [main] = config.warehouse.as_slice() else {
        panic!("{:?}", config.warehouse)
    };
    assert_eq!((main.id.as_str(), main.time_zone.as_str()), ("main", "Europe/Moscow"));
    assert_eq!(main.channels.keys().collect::<Vec<_>>(), ["default", "web"]);
    assert_eq!(config.source_rule("import/retail").keep_ids, KeepIds::Forever);
    assert_eq!(config.source_rule("dead-letter").keep_ids, KeepIds::Forever);
    assert_eq!(config.source_rule("pos/2").keep_ids, KeepIds::Window);
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(load("").unwrap(), Config::default());
    assert_eq!(load("# nothing\n[http]\n").unwrap(), Config::default());
}

#[test]
fn unknown_key_is_refused_with_line_column_and_did_you_mean() {
    assert_eq!(
        complaints("[http]\n  lisen = \"127.0.0.1:1\"\n"),
        ["shelfd.toml:2:3: unknown key `lisen` in [http] (did you mean `listen`?)"]
    );
    assert_eq!(
        complaints("[htp]\n"),
        ["shelfd.toml:1:2: unknown key `htp` at the top (did you mean `http`?)"]
    );
    assert_eq!(
        complaints("[node]\ncache_bytes = 1\n"),
        ["shelfd.toml:2:1: unknown key `cache_bytes` in [node] (did you mean `storage.cache_bytes`?)"]
    );
    assert_eq!(
        complaints("[log]\nzzz = 1\n"),
        ["shelfd.toml:2:1: unknown key `zzz` in [log] (known here: level, format)"]
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let lines = complaints(
        "[http]\nmax_rows = \"ten\"\nidle_timeout_ms = 1.5\nmax_connections = 0\n[log]\nformat = \"jsn\"\nlevel = \"inof\"\n",
    );
    assert_eq!(
        lines,
        [
            "shelfd.toml:2:12: `http.max_rows` must be a whole number, not the text \"ten\" (for instance: max_rows = 10_000)",
            "shelfd.toml:3:19: `http.idle_timeout_ms` must be a whole number, not the fraction 1.5 (for instance: idle_timeout_ms = 60_000)",
            "shelfd.toml:4:19: `http.max_connections` is 0, and must be 1 to 1000000 (connections) (for instance: max_connections = 12_000)",
            "shelfd.toml:6:10: `log.format` is \"jsn\", and must be \"text\" or \"json\" (did you mean `json`?)",
            "shelfd.toml:7:9: `log.level` has no level \"inof\" (did you mean `info`?)",
        ]
    );
}

#[test]
fn the_report_shows_the_line_and_the_advice() {
    let invalid = load("[http]\nlisen = 1\n").unwrap_err();
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .render_report(&mut shown, &invalid)
        .unwrap();
    assert!(
        shown.contains("shelfd.toml:2:1") && shown.contains("lisen = 1") && shown.contains("did you mean `listen`?"),
        "{shown}"
    );
}

#[test]
fn broken_toml_and_huge_numbers_are_placed() {
    assert!(complaints("[http\n")[0].starts_with("shelfd.toml:1:"));
    assert!(
        complaints("[http]\nmax_rows = 99999999999999999999\n")[0]
            .contains("shelfd.toml:2:12: `http.max_rows` is a number past 64 bits")
    );
    assert!(complaints("http = 5\n")[0].contains("`http` is a section, not a value"));
    assert!(complaints("[warehouse]\nid = \"x\"\n")[0].contains("write [[warehouse]] with double brackets"));
    assert!(complaints("source = [1]\n")[0].contains("`source[0]` must be a table"));
}

#[test]
fn odd_shapes_are_refused_with_a_place_and_never_panic() {
    let texts = [
        "\"\" = 1",
        "[[http]]",
        "http = []",
        "http = { listen = {} }",
        "warehouse = {}",
        "[[warehouse.channels]]",
        "[[warehouse]]\nid = []\ntime_zone = 1979-05-27",
        "[[warehouse]]\nid = \"a\"\ntime_zone = \"Europe/Moscow\"\nchannels = { \"\" = {} }",
        "[[warehouse]]\nid = \"a\"\ntime_zone = \"Europe/Moscow\"\nchannels = { web = 3 }",
        "source = [[]]",
        "[http]\r\nlisten.port = 1",
        "[log]\nlevel = \"\"",
        "[log]\nlevel = \"info,[\"",
        "[log]\nlevel = \"\"\"",
        "ключ = 1",
        "[http]\nmax_rows = 0x_ff",
        "[node]\nname = \"\\u0000\"",
    ];
    for text in texts {
        let lines = complaints(text);
        assert!(lines.iter().all(|line| line.starts_with("shelfd.toml:")), "{text}: {lines:?}");
        let mut shown = String::new();
        GraphicalReportHandler::new()
            .render_report(&mut shown, &load(text).unwrap_err())
            .unwrap();
    }
}

#[test]
fn only_loopback_is_served_and_the_reason_is_told() {
    let lines = complaints("[http]\nlisten = \"0.0.0.0:7480\"\n");
    assert!(
        lines[0].contains("loopback only") && lines[0].contains("access rules do not exist yet"),
        "{lines:?}"
    );
    assert!(complaints("[http]\nlisten = \"7480\"\n")[0].contains("not an address and a port"));
    assert_eq!(
        load("[http]\nlisten = \"localhost:0\"\n").unwrap().http.listen.to_string(),
        "127.0.0.1:0"
    );
    assert!(load("[http]\nlisten = \"[::1]:7480\"\n").unwrap().http.listen.is_ipv6());
}

#[test]
fn variables_override_and_unknown_ones_are_refused() {
    let config = with_env(&[
        ("SHELFD__HTTP__MAX_ROWS", "5_000"),
        ("SHELFD__NODE__NAME", "42"),
        ("SHELFD_URL", "x"),
        ("HOME", "/"),
    ])
    .unwrap();
    assert_eq!((config.http.max_rows, config.node.name.as_str()), (5_000, "42"));
    let lines: Vec<_> = with_env(&[
        ("SHELFD__HTTP__MAX_ROW", "1"),
        ("SHELFD__WAREHOUSE__ID", "x"),
        ("SHELFD__HTTP__MAX_ROWS", "many"),
    ])
    .unwrap_err()
    .lines()
    .collect();
    assert_eq!(
        lines,
        [
            "environment variable SHELFD__HTTP__MAX_ROW: there is no such key (did you mean `SHELFD__HTTP__MAX_ROWS`?)",
            "environment variable SHELFD__WAREHOUSE__ID: [[warehouse]] cannot be set by a variable (declare it in the configuration file)",
            "environment variable SHELFD__HTTP__MAX_ROWS: `http.max_rows` must be a whole number, not the text \"many\" (for instance: max_rows = 10_000)",
        ]
    );
}

#[test]
fn flags_lie_over_variables_and_every_key_can_be_one() {
    let layers = Layers::defaults().env([("SHELFD__HTTP__LISTEN".into(), "127.0.0.1:1".into())]);
    assert_eq!(
        layers
            .flag("--listen", "http.listen", Some("127.0.0.1:2".to_owned()))
            .load()
            .unwrap()
            .http
            .listen
            .port(),
        2
    );
    let lines: Vec<_> = Layers::defaults()
        .flag("--listen", "http.listen", Some("10.0.0.1:1".to_owned()))
        .load()
        .unwrap_err()
        .lines()
        .collect();
    assert!(lines[0].starts_with("flag --listen: "), "{lines:?}");
    for key in KEYS.iter().filter(|key| key.env().is_some()) {
        let text = key
            .default_value()
            .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        assert_eq!(
            Layers::defaults().flag("--x", key.path, text).load().unwrap(),
            Config::default(),
            "{}",
            key.path
        );
    }
}

#[test]
fn limits_that_contradict_one_another_are_refused() {
    assert!(complaints("[http]\nmax_inflight_events = 100\n")[0].contains("less than `http.max_rows`"));
    assert!(complaints("[http]\nmax_body_bytes = 1_000_000_000\n")[0].contains("less than `http.max_body_bytes`"));
}

#[test]
fn warehouses_are_checked_and_replace_main() {
    let site = "[[warehouse]]\nid = \"msk-07\"\ntime_zone = \"Europe/Moscow\"\n";
    let config = load(&format!("{site}[warehouse.channels.express]\nbuffer = 2\n")).unwrap();
    let [own] = config.warehouse.as_slice() else {
        panic!("{:?}", config.warehouse)
    };
    assert_eq!(own.channels.keys().collect::<Vec<_>>(), ["default", "express"]);
    assert_eq!((own.channels["express"].buffer, own.channels["express"].ttl_s), (2, 900));
    assert!(complaints("[[warehouse]]\nid = \"a\"\n")[0].contains("`warehouse[0].time_zone` is missing"));
    assert!(
        complaints("[[warehouse]]\nid = \"a\"\ntime_zone = \"Europe/Moskow\"\n")[0].contains("did you mean `Europe/Moscow`?")
    );
    assert!(complaints(&format!("{site}{site}"))[0].contains("shelfd.toml:5:6: [[warehouse]] \"msk-07\" is declared twice"));
    assert!(complaints(&site.replace("msk-07", "msk/07"))[0].contains("without `/`"));
    assert!(complaints(&format!("{site}[warehouse.channels.web]\nttl_s = 0\n"))[0].contains("allow_no_expiry = true"));
    assert!(complaints(&format!("{site}[warehouse.channels.web]\nttl_s = 100_000\n"))[0].contains("more than `max_ttl_s`"));
    assert!(complaints(&format!("{site}[warehouse.channels.web]\nbufer = 1\n"))[0].contains("did you mean `buffer`?"));
}

#[test]
fn the_most_precise_source_rule_wins_and_embedded_ones_stay() {
    let config =
        load("[[source]]\nname = \"pos*\"\nstrict = true\n[[source]]\nname = \"pos/2\"\nauthoritative = true\n").unwrap();
    assert!(
        config.source_rule("pos/1").strict && !config.source_rule("pos/2").strict && config.source_rule("pos/2").authoritative
    );
    assert_eq!(config.source_rule("import").keep_ids, KeepIds::Forever);
    assert_eq!(
        load("[[source]]\nname = \"import*\"\n")
            .unwrap()
            .source_rule("import")
            .keep_ids,
        KeepIds::Window
    );
    assert!(complaints("[[source]]\nname = \"a*b\"\n")[0].contains("one `*` at its end"));
    assert!(complaints("[[source]]\nname = \"a\"\n[[source]]\nname = \"a\"\n")[0].contains("declared twice"));
    assert!(complaints("[[source]]\nstrict = true\n")[0].contains("`source[0].name` is missing"));
}

#[test]
fn a_missing_file_and_one_that_is_not_text_are_refused() {
    let lines: Vec<_> = Layers::defaults()
        .file(Some(Path::new("/nonexistent/shelfd.toml")))
        .load()
        .unwrap_err()
        .lines()
        .collect();
    assert!(
        lines[0].contains("cannot read the configuration file /nonexistent/shelfd.toml"),
        "{lines:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shelfd.toml");
    std::fs::write(&path, b"[http]\n\xff\n").unwrap();
    let lines: Vec<_> = Layers::defaults().file(Some(&path)).load().unwrap_err().lines().collect();
    assert!(lines[0].contains("shelfd.toml:2: this line is not UTF-8"), "{lines:?}");
}

#[test]
fn a_reload_tells_what_it_applies_and_what_waits() {
    let text = "[[warehouse]]\nid = \"a\"\ntime_zone = \"Europe/Moscow\"\n[warehouse.channels.web]\nbuffer = 1\n";
    let old = load(text).unwrap();
    let changed = text.replace("buffer = 1", "buffer = 3").replace("Europe/Moscow", "Asia/Omsk");
    let new = load(&format!("{changed}[http]\nmax_rows = 7\n[log]\nlevel = \"debug\"\n")).unwrap();
    let diff = Config::reload_diff(&old, &new);
    let applied: Vec<_> = diff.applied().map(ToString::to_string).collect();
    let waiting: Vec<_> = diff.waiting().map(ToString::to_string).collect();
    assert_eq!(
        applied,
        ["log.level: \"info\" -> \"debug\"", "warehouse[a].channels.web.buffer: 1 -> 3"]
    );
    assert_eq!(
        waiting,
        [
            "http.max_rows: 10000 -> 7 (after a restart)",
            "warehouse[a].time_zone: \"Europe/Moscow\" -> \"Asia/Omsk\" (after a restart)"
        ]
    );
    let now = Config::reloaded(&old, &new);
    assert_eq!(
        Config::reload_diff(&now, &new).applied().count(),
        0,
        "everything that may change has"
    );
    assert_eq!(
        Config::reload_diff(&old, &now).waiting().count(),
        0,
        "nothing that must wait has"
    );
    assert_eq!(Config::reload_diff(&new, &new), ReloadDiff::default());
}

#[test]
fn a_reload_applies_exactly_the_keys_that_say_so() {
    let mut layers = Layers::defaults();
    for key in KEYS.iter().filter(|key| key.env().is_some()) {
        let other = match (key.kind, key.default_value().unwrap()) {
            (Kind::Integer { .. }, toml::Value::Integer(n)) => (n + 1).to_string(),
            (Kind::Boolean, toml::Value::Boolean(yes)) => (!yes).to_string(),
            (Kind::Word(words), _) => words[1].to_owned(),
            _ if key.path == "http.listen" => "127.0.0.1:1".to_owned(),
            _ if key.path == "kafka.brokers" => "localhost:1".to_owned(),
            // A certificate wants its key, and a password its user, which this loop gives as well.
            _ => "warn".to_owned(),
        };
        layers = layers.flag("--x", key.path, Some(other));
    }
    let (old, new) = (Config::default(), layers.load().unwrap());
    let diff = Config::reload_diff(&old, &new);
    assert_eq!(diff.changes.len(), KEYS.iter().filter(|key| key.env().is_some()).count());
    let now = Config::reloaded(&old, &new);
    assert_eq!(
        Config::reload_diff(&old, &now).changes,
        diff.applied().cloned().collect::<Vec<_>>()
    );
    assert_eq!(
        Config::reload_diff(&now, &new).changes,
        diff.waiting().cloned().collect::<Vec<_>>()
    );
}

#[test]
fn config_toml_says_every_key_and_is_the_defaults() {
    let written = include_str!("../../config.toml");
    let expected = document();
    if written != expected {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/config.toml.expected");
        std::fs::write(&path, &expected).unwrap();
        panic!(
            "config.toml and the key table disagree; what it should be is in {}",
            path.display()
        );
    }
    assert_eq!(load(written).unwrap(), Config::default());
}

/// `config.toml` as the key table has it.
fn document() -> String {
    let mut out = String::from(HEAD);
    let mut section = String::new();
    for key in KEYS.iter().filter(|key| key.env().is_some()) {
        let (owner, name) = key.path.rsplit_once('.').unwrap();
        if owner != section {
            section = owner.to_owned();
            out += &format!("[{section}]\n");
        }
        out += &explained(key);
        out += &format!("{name} = {}\n\n", key.default.unwrap());
        if key.path == "kafka.key_file" {
            out += &shown("kafka.in", INS, &[("topic", "\"inventory.light\"")]);
            out += &shown(
                "kafka.out",
                OUTS,
                &[("topic", "\"inventory.updated\""), ("what", "\"updated\"")],
            );
        }
    }
    out += &list("source[].", SOURCES, &[("name", "\"import*\""), ("keep_ids", "\"forever\"")]);
    out += "[[source]]\nname = \"dead-letter*\"\nkeep_ids = \"forever\"\n\n";
    out += &list(
        "warehouse[].",
        WAREHOUSES,
        &[("id", "\"main\""), ("time_zone", "\"Europe/Moscow\"")],
    );
    out += "[warehouse.channels.default]\n";
    out += &list("warehouse[].channels.*.", "", &[]);
    out += "[warehouse.channels.web]\n";
    out
}

/// A list that the defaults do not have: as comments.
fn shown(list_of: &str, head: &str, said: &[(&str, &str)]) -> String {
    let mut out = format!("{head}# [[{list_of}]]\n");
    for line in list(&format!("{list_of}[]."), "", said).lines() {
        let line = if line.is_empty() || line.starts_with('#') {
            line.to_owned()
        } else {
            format!("# {line}")
        };
        out += &format!("{line}\n");
    }
    out
}

fn list(prefix: &str, head: &str, said: &[(&str, &str)]) -> String {
    let mut out = head.to_owned();
    for key in KEYS {
        let Some(name) = key.path.strip_prefix(prefix).filter(|name| !name.contains('.')) else {
            continue;
        };
        let value = said
            .iter()
            .find(|(said, _)| *said == name)
            .map(|(_, value)| *value)
            .or(key.default)
            .unwrap();
        out += &explained(key);
        out += &format!("{name} = {value}\n\n");
    }
    out
}

fn explained(key: &Key) -> String {
    let default = key.default.map_or("none, must be given".to_owned(), str::to_owned);
    let range = match key.kind {
        Kind::Integer { min, max } => format!("{}, {min} to {max}", key.unit),
        Kind::Word(words) => words.join(" or "),
        Kind::Boolean | Kind::Text => key.unit.to_owned(),
    };
    let reload = if key.reload { "yes" } else { "no, restart" };
    format!("# {}\n# unit: {range} | default: {default} | reload: {reload}\n", key.about)
}

const HEAD: &str = "\
# Every key of shelfd, with its unit, its default, and whether a reload (SIGHUP, `systemctl reload shelfd`) applies it.
# What stands here is what the node does without a file: keep only the lines that you change.
# SHELFD__SECTION__KEY in the environment overrides a key of a single section: SHELFD__HTTP__LISTEN=127.0.0.1:7481.
# `shelfd check --config FILE` says what is wrong with a file, and where.

";

const INS: &str = "\
# A topic that events are taken from; one [[kafka.in]] for each.
";
const OUTS: &str = "\
# A topic that the node publishes to; one [[kafka.out]] for each.
";
const SOURCES: &str = "\
# How a system that reports is judged; a source without a rule gets the defaults below. Each rule of yours stands beside
# the two embedded ones shown here, and replaces one of the same name.
[[source]]
";

const WAREHOUSES: &str = "\
# The sites of this node. The first [[warehouse]] of yours replaces the embedded `main`. Channels: `default` always exists;
# a warehouse that declares none has `default` and `web`.
[[warehouse]]
";

#[test]
fn kafka_is_refused_where_its_keys_contradict_each_other() {
    let refused = |text: &str| load(text).unwrap_err().lines().collect::<Vec<_>>().join("\n");
    let two_ways = "[kafka]\nbrokers = \"a:1\"\n[[kafka.in]]\ntopic = \"t\"\n[[kafka.out]]\ntopic = \"t\"\nwhat = \"drift\"\n";
    assert!(refused(two_ways).contains("named twice"), "{}", refused(two_ways));
    let nowhere = "[[kafka.in]]\ntopic = \"t\"\n";
    assert!(refused(nowhere).contains("`kafka.brokers` is empty"), "{}", refused(nowhere));
    let nobody = "[kafka]\nbrokers = \"a:1\"\nsecurity = \"sasl_ssl\"\n";
    assert!(refused(nobody).contains("kafka.password_file"), "{}", refused(nobody));
    let no_port = "[kafka]\nbrokers = \"kafka\"\n";
    assert!(refused(no_port).contains("not a host and a port"), "{}", refused(no_port));
    let whole =
        "[kafka]\nbrokers = \"a:1, b:2\"\n[[kafka.in]]\ntopic = \"light\"\n[[kafka.in]]\ntopic = \"heavy\"\nclass = \"heavy\"\n";
    let kafka = load(whole).unwrap().kafka;
    assert_eq!(kafka.r#in.len(), 2);
    assert_eq!((kafka.r#in[1].class, kafka.out.len()), (Class::Heavy, 0));
}
