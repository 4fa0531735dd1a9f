//! Histories that others recorded, with the verdict of others: what proves the checker before it judges the node.
//!
//! `jepsen/`: a register of etcd under partitions (read, write, compare and set; a write whose client heard nothing may take effect
//! at any time after, or never). `kv/`: a map of strings (get, put, append), judged key by key.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::checker::{Call, Model, Verdict, check};

/// Far more than any of them takes.
const BOUND: usize = 10_000_000;

/// The verdict on one file, by what its folder holds.
pub fn judge(file: &Path, text: &str) -> bool {
    if file.components().any(|part| part.as_os_str() == "kv") {
        every(&Strings, &keys(text).into_values().collect::<Vec<_>>(), file)
    } else {
        every(&Register, &[register(text)], file)
    }
}

/// Whether all parts have an order. A part that has none decides, however hard the others are, so all get a quick look first.
fn every<M: Model>(model: &M, parts: &[Vec<Call<M::Op>>], file: &Path) -> bool {
    let mut bound = 10_000;
    let mut undecided: Vec<_> = parts.iter().collect();
    while !undecided.is_empty() {
        assert!(bound <= BOUND, "{}: given up", file.display());
        let mut harder = Vec::new();
        for part in undecided {
            match check(model, part, bound) {
                Verdict::Linearizable => {}
                Verdict::Refused { .. } => return false,
                Verdict::Undecided => harder.push(part),
            }
        }
        (undecided, bound) = (harder, bound * 10);
    }
    true
}

/// A call of a register. `None` for what was not heard.
#[derive(Debug)]
enum OnRegister {
    Read(Option<Option<i64>>),
    Write(i64),
    Cas(i64, i64, Option<bool>),
}

struct Register;

impl Model for Register {
    type Op = OnRegister;
    type State = Option<i64>;

    fn start(&self) -> Option<i64> {
        None
    }

    fn step(&self, state: &Option<i64>, op: &OnRegister) -> Vec<Option<i64>> {
        match op {
            OnRegister::Read(heard) if heard.is_none_or(|heard| heard == *state) => vec![*state],
            OnRegister::Read(_) => Vec::new(),
            OnRegister::Write(value) => vec![Some(*value)],
            OnRegister::Cas(from, to, heard) => {
                let swaps = *state == Some(*from);
                match heard.is_none_or(|heard| heard == swaps) {
                    true if swaps => vec![Some(*to)],
                    true => vec![*state],
                    false => Vec::new(),
                }
            }
        }
    }

    fn only_looks(&self, op: &OnRegister) -> bool {
        matches!(op, OnRegister::Read(_) | OnRegister::Cas(.., Some(false)))
    }
}

/// Reads a log of Jepsen: `INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :read|:write|:cas VALUE`, a line each.
fn register(text: &str) -> Vec<Call<OnRegister>> {
    let mut calls: Vec<Call<OnRegister>> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some((_, said)) = line.split_once("jepsen.util - ") else {
            continue;
        };
        let mut words = said.split_whitespace();
        let (Some(process), Some(kind), Some(verb)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let values: Vec<Option<i64>> = words.map(|word| word.trim_matches(['[', ']']).parse().ok()).collect();
        let number = |n: usize| values.get(n).copied().flatten();
        if kind == ":invoke" {
            let op = match verb {
                ":read" => OnRegister::Read(None),
                ":write" => OnRegister::Write(number(0).expect("a number to write")),
                ":cas" => OnRegister::Cas(number(0).expect("from"), number(1).expect("to"), None),
                other => panic!("line {at}: {other}"),
            };
            open.insert(process, calls.len());
            let (invoked, returned) = (at as u64, None);
            calls.push(Call { op, invoked, returned });
            continue;
        }
        // After `:info` nobody knows, and nothing more is heard of that process.
        let Some(call) = (kind != ":info").then(|| open.remove(process)).flatten() else {
            continue;
        };
        let timed_out = said.contains(":timed-out");
        let call = &mut calls[call];
        match &mut call.op {
            // A read that heard nothing says nothing.
            OnRegister::Read(heard) if !timed_out => *heard = Some(number(0)),
            OnRegister::Cas(_, _, heard) if !timed_out => *heard = Some(kind == ":ok"),
            _ => {}
        }
        if !timed_out || matches!(call.op, OnRegister::Read(_)) {
            call.returned = Some(at as u64);
        }
    }
    calls
}

#[derive(Debug)]
enum OnString {
    Get(String),
    Put(String),
    Append(String),
}

struct Strings;

impl Model for Strings {
    type Op = OnString;
    type State = String;

    fn start(&self) -> String {
        String::new()
    }

    fn step(&self, state: &String, op: &OnString) -> Vec<String> {
        match op {
            OnString::Get(heard) if heard == state => vec![state.clone()],
            OnString::Get(_) => Vec::new(),
            OnString::Put(value) => vec![value.clone()],
            OnString::Append(value) => vec![format!("{state}{value}")],
        }
    }

    fn only_looks(&self, op: &OnString) -> bool {
        matches!(op, OnString::Get(_))
    }
}

/// Reads lines of `{:process 4, :type :invoke, :f :get, :key "0", :value nil}`; a key's calls stand for themselves.
fn keys(text: &str) -> BTreeMap<&str, Vec<Call<OnString>>> {
    let mut by_key: BTreeMap<&str, Vec<Call<OnString>>> = BTreeMap::new();
    let mut open: HashMap<&str, (&str, usize)> = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            let rest = rest.trim_start();
            Some(match rest.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next().unwrap_or_default(),
                None => rest.split([',', '}']).next().unwrap_or_default(),
            })
        };
        let (Some(process), Some(kind), Some(key)) = (field(":process"), field(":type"), field(":key")) else {
            continue;
        };
        let value = field(":value").unwrap_or_default().to_owned();
        let calls = by_key.entry(key).or_default();
        if kind == ":invoke" {
            let op = match field(":f") {
                Some(":get") => OnString::Get(value),
                Some(":put") => OnString::Put(value),
                Some(":append") => OnString::Append(value),
                other => panic!("line {at}: {other:?}"),
            };
            open.insert(process, (key, calls.len()));
            let (invoked, returned) = (at as u64, None);
            calls.push(Call { op, invoked, returned });
        } else if let Some((_, call)) = open.remove(process) {
            let call = &mut calls[call];
            call.returned = Some(at as u64);
            if let OnString::Get(heard) = &mut call.op {
                *heard = value;
            }
        }
    }
    by_key
}
