//! A stand-in for the node that can be told to misbehave: to be full, to lose its answer, to forget everything. A real node does
//! none of that on demand. It knows rows by id and counts versions, which is all that an import sees of a node.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What goes wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Fine,
    /// 503 with `Retry-After`, and nothing taken.
    Full,
    /// Taken, but the connection closes without an answer.
    AnswerLost,
    /// The first row is not judged now, the others are taken.
    FirstRowLater,
    /// 507: the disk is full.
    DiskFull,
    /// Taken and answered after the test has let go of [`StandIn::gate`].
    Held,
}

/// What the stand-in has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Troubles to come, one for each batch; afterwards all goes well.
    pub troubles: VecDeque<Trouble>,
    /// The rows of each batch, in the order in which they came.
    pub batches: Vec<Vec<Value>>,
    taken: HashMap<String, u64>,
    versions: HashMap<String, u64>,
}

/// A listening stand-in.
pub struct StandIn {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// What it has seen, and what it is to do.
    pub seen: Arc<Mutex<Seen>>,
    /// While it is locked, a [`Trouble::Held`] batch gets no answer.
    pub gate: Arc<Mutex<()>>,
}

impl StandIn {
    /// Listens on a free port, with these troubles ahead.
    pub fn start(troubles: &[Trouble]) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Seen {
            troubles: troubles.iter().copied().collect(),
            ..Seen::default()
        }));
        let gate = Arc::new(Mutex::new(()));
        let (shared, held) = (Arc::clone(&seen), Arc::clone(&gate));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, gate) = (Arc::clone(&shared), Arc::clone(&held));
                std::thread::spawn(move || serve(&stream, &seen, &gate));
            }
        });
        StandIn { url, seen, gate }
    }

    /// Forgets all rows, as a node does whose store was thrown away.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().expect("nobody panicked");
        seen.taken.clear();
        seen.versions.clear();
    }

    /// How many batches have come.
    pub fn batches(&self) -> usize {
        self.seen.lock().expect("nobody panicked").batches.len()
    }
}

/// Serves one connection until it closes, or until an answer is to be lost.
fn serve(stream: &TcpStream, seen: &Mutex<Seen>, gate: &Mutex<()>) {
    let mut reader = BufReader::new(stream);
    while let Some((line, body)) = request(&mut reader) {
        let trouble = line
            .starts_with("POST")
            .then(|| seen.lock().expect("nobody panicked").troubles.pop_front())
            .flatten();
        let Some((status, headers, answer)) = answer(&line, &body, trouble, seen) else {
            return;
        };
        if trouble == Some(Trouble::Held) {
            drop(gate.lock());
        }
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            text.len()
        );
        let mut out = stream;
        if out.write_all(format!("{head}{text}").as_bytes()).is_err() {
            return;
        }
    }
}

/// The request line and the body; `None` when the client has gone.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if first.is_empty() {
            first = line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

fn answer(line: &str, body: &[u8], trouble: Option<Trouble>, seen: &Mutex<Seen>) -> Option<(u16, &'static str, Value)> {
    let mut seen = seen.lock().expect("nobody panicked");
    let path = line.split(' ').nth(1).unwrap_or_default();
    if let Some(sku) = path.strip_prefix("/v1/warehouses/main/skus/") {
        return Some(match seen.versions.get(sku) {
            Some(version) => (200, "", json!({"sku": sku, "version": version})),
            None => (
                404,
                "",
                json!({"code": "unknown_sku", "status": 404, "detail": "no such SKU"}),
            ),
        });
    }
    if path != "/v1/events" {
        return Some(match path {
            "/v1/warehouses/main" => (200, "", json!({"name": "main"})),
            _ => (
                404,
                "",
                json!({"code": "unknown_warehouse", "status": 404, "detail": "no such warehouse; did you mean `main`?"}),
            ),
        });
    }
    let rows = String::from_utf8_lossy(body)
        .lines()
        .map(|row| serde_json::from_str(row).expect("a row of JSON"))
        .collect::<Vec<Value>>();
    seen.batches.push(rows.clone());
    match trouble {
        Some(Trouble::Full) => {
            return Some((
                503,
                "retry-after: 0\r\n",
                json!({"code": "overloaded", "status": 503, "detail": "full"}),
            ));
        }
        Some(Trouble::DiskFull) => {
            return Some((
                507,
                "",
                json!({"code": "storage_full", "status": 507, "detail": "the disk is full"}),
            ));
        }
        _ => {}
    }
    let later = trouble == Some(Trouble::FirstRowLater);
    let verdicts = rows
        .iter()
        .enumerate()
        .map(|(at, row)| seen.judge(row, later && at == 0))
        .collect::<Vec<_>>();
    let status = if verdicts.iter().any(|verdict| verdict["verdict"] == "refused") {
        207
    } else {
        200
    };
    (trouble != Some(Trouble::AnswerLost)).then(|| (status, "", json!({"verdicts": verdicts})))
}

impl Seen {
    fn judge(&mut self, row: &Value, later: bool) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, sku) = (text(&row["id"]), text(&row["data"]["sku"]));
        let refused = |code: &str, status: u16, detail: &str| json!({"id": id, "verdict": "refused", "problem": {"code": code, "status": status, "detail": detail}});
        if later {
            return refused("overloaded", 503, "not now");
        }
        if sku == "REFUSE" {
            return refused("unit_mismatch", 422, "it is kept in g");
        }
        if let Some(version) = self.taken.get(&id) {
            return json!({"id": id, "verdict": "duplicate", "first": "applied", "version": version});
        }
        let version = self.versions.entry(sku).or_default();
        *version += 1;
        self.taken.insert(id.clone(), *version);
        json!({"id": id, "verdict": "applied", "version": *version})
    }
}
