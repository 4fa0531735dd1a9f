//! What single values cannot say alone: addresses, names, zones, and keys that must agree with one another.
//!
//! Every check complains at the place of the value. Checking at the first use was rejected: a wrong time zone would then be found by
//! the first expiry date, hours after the start.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::path::KeyPath;
use super::problem::did_you_mean;
use super::read::Values;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Judges all values together; complaints go to `values.problems`.
pub(super) fn check(values: &mut Values) {
    listen(values);
    log_level(values);
    names(values);
    limits(values);
    sources(values);
    warehouses(values);
    super::kafka::check(values);
}

fn listen(values: &mut Values) {
    let path = KeyPath::dotted("http.listen");
    let Some(text) = values.text(&path).map(str::to_owned) else {
        return;
    };
    let numeric = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.clone(), |port| format!("127.0.0.1:{port}"));
    match numeric.parse::<SocketAddr>() {
        Err(_) => values.complain(
            &path,
            format!("`http.listen` is \"{text}\", which is not an address and a port"),
            "for instance: listen = \"127.0.0.1:7480\"",
        ),
        Ok(address) if !address.ip().is_loopback() => values.complain(
            &path,
            format!("`http.listen` is \"{text}\", and the node serves on loopback only"),
            "access rules do not exist yet, so anybody who reaches the address could change the stock; \
             listen on 127.0.0.1 or [::1], and put a proxy that knows its callers before it",
        ),
        Ok(address) => {
            if let Some((value, _)) = values.leaves.get_mut(&path) {
                *value = toml::Value::String(address.to_string());
            }
        }
    }
}

fn log_level(values: &mut Values) {
    let path = KeyPath::dotted("log.level");
    let Some(text) = values.text(&path).map(str::to_owned) else {
        return;
    };
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            let near = did_you_mean(level, LEVELS);
            let help = if near.is_empty() {
                format!("levels: {}; for one module: shelfd::actors=debug", LEVELS.join(", "))
            } else {
                near
            };
            values.complain(&path, format!("`log.level` has no level \"{level}\""), help);
            return;
        }
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&text) {
        values.complain(
            &path,
            format!("`log.level` is \"{text}\": {error}"),
            "for instance: info,shelfd::actors=debug",
        );
    }
}

fn names(values: &mut Values) {
    let data_dir = KeyPath::dotted("node.data_dir");
    if values.text(&data_dir).is_some_and(|path| path.trim().is_empty()) {
        values.complain(
            &data_dir,
            "`node.data_dir` is empty",
            "name the directory of the store, for instance /var/lib/shelfd",
        );
    }
    id(values, &KeyPath::dotted("node.name"));
}

/// The rule for ids of stock.md: 1 to 128 bytes of printable UTF-8, no `/`, not `.` or `..`.
fn id(values: &mut Values, path: &KeyPath) {
    let Some(text) = values.text(path).map(str::to_owned) else {
        return;
    };
    let good =
        (1..=128).contains(&text.len()) && !text.contains('/') && !text.contains(char::is_control) && text != "." && text != "..";
    if !good {
        values.complain(
            path,
            format!("`{path}` is \"{}\"", text.escape_debug()),
            "a name is 1 to 128 bytes of printable text, without `/`, and not `.` or `..`",
        );
    }
}

fn limits(values: &mut Values) {
    for (valve, least) in [
        ("http.max_inflight_events", "http.max_rows"),
        ("http.max_inflight_bytes", "http.max_body_bytes"),
    ] {
        let (valve_path, least_path) = (KeyPath::dotted(valve), KeyPath::dotted(least));
        if let (Some(have), Some(need)) = (values.integer(&valve_path), values.integer(&least_path))
            && have < need
        {
            let help = format!("raise `{valve}` to {need} or more, or lower `{least}`");
            values.complain(
                &valve_path,
                format!("`{valve}` is {have}, less than `{least}` ({need}): the largest request could never be taken"),
                help,
            );
        }
    }
}

fn sources(values: &mut Values) {
    let mut seen = BTreeSet::new();
    for index in 0..values.count("source") {
        let path = KeyPath::default().name("source").index(index).name("name");
        let Some(name) = values.text(&path).map(str::to_owned) else {
            continue;
        };
        if name.is_empty() || name.trim_end_matches('*').len() + 1 < name.len() || name.trim_end_matches('*').contains('*') {
            values.complain(
                &path,
                format!("`{path}` is \"{name}\""),
                "an exact name such as \"pos/2\", or a beginning with one `*` at its end such as \"pos/*\"",
            );
        }
        if !seen.insert(name.clone()) {
            values.complain(
                &path,
                format!("[[source]] \"{name}\" is declared twice"),
                "put both into one [[source]]",
            );
        }
    }
}

fn warehouses(values: &mut Values) {
    let mut seen = BTreeSet::new();
    for index in 0..values.count("warehouse") {
        let warehouse = KeyPath::default().name("warehouse").index(index);
        let id_path = warehouse.name("id");
        id(values, &id_path);
        if let Some(name) = values.text(&id_path).map(str::to_owned)
            && !seen.insert(name.clone())
        {
            values.complain(
                &id_path,
                format!("[[warehouse]] \"{name}\" is declared twice"),
                "one [[warehouse]] for each site",
            );
        }
        time_zone(values, &warehouse.name("time_zone"));
        let channels = warehouse.name("channels");
        for name in values.names(&channels) {
            channel(values, &channels.name(&name), &name);
        }
    }
}

fn time_zone(values: &mut Values, path: &KeyPath) {
    let Some(name) = values.text(path).map(str::to_owned) else {
        return;
    };
    if name.trim().is_empty() || jiff::tz::TimeZone::get(&name).is_err() {
        let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let near = did_you_mean(&name, known.iter().map(String::as_str));
        let help = if near.is_empty() {
            "an IANA name, for instance Europe/Moscow".to_owned()
        } else {
            near
        };
        values.complain(path, format!("there is no time zone \"{name}\""), help);
    }
}

fn channel(values: &mut Values, path: &KeyPath, name: &str) {
    if name.is_empty() || name.len() > 128 || name.contains('/') || name.contains(char::is_control) {
        values.complain(
            path,
            format!("\"{}\" is not a name of a channel", name.escape_debug()),
            "1 to 128 bytes of printable text, without `/`",
        );
    }
    let (ttl_path, max_path, forever_path) = (path.name("ttl_s"), path.name("max_ttl_s"), path.name("allow_no_expiry"));
    let (Some(ttl), Some(max)) = (values.integer(&ttl_path), values.integer(&max_path)) else {
        return;
    };
    let forever = values
        .leaves
        .get(&forever_path)
        .and_then(|(value, _)| value.as_bool())
        .unwrap_or(false);
    if ttl > max {
        values.complain(
            &ttl_path,
            format!("`{ttl_path}` is {ttl}, more than `max_ttl_s` ({max})"),
            "a basket that says nothing could not be held",
        );
    }
    if ttl == 0 && !forever {
        values.complain(
            &ttl_path,
            format!("`{ttl_path}` is 0, for ever, and the channel does not allow that"),
            "give it a time, or set allow_no_expiry = true",
        );
    }
}
