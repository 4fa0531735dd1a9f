//! The requests, written byte by byte into a buffer that each connection keeps.
//!
//! Everything in them has a fixed width, so the length of a body is known before it is written. Rejected: serde, which would
//! build and forget thousands of small strings for one batch.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::pick::Picker;
use super::work::Kind;

/// One row in ten of a batch is a receipt, the others are sales.
const RECEIPT_EVERY: usize = 10;
/// What the opening receipt of each SKU brings: enough for any run.
pub const OPENING_QUANTITY: u64 = 1_000_000_000;

/// What all requests of a run have in common.
#[derive(Clone, Debug)]
pub struct Terms {
    /// `host:port`.
    pub host: String,
    /// The warehouse id.
    pub warehouse: String,
    /// Makes ids of this run differ from those of another run on the same node.
    pub tag: String,
    /// Rows in a batch.
    pub batch: usize,
    /// Lines in a basket.
    pub lines: usize,
    /// How long a basket is held; without it, as the channel says.
    pub ttl_s: Option<u64>,
    /// The access token.
    pub token: Option<String>,
}

/// Writes the requests of one connection.
#[derive(Debug)]
pub struct Writer {
    terms: Terms,
    rng: Xoshiro256PlusPlus,
    /// The number of the next id; connections begin far from each other.
    next: u64,
    /// The basket that waits for its confirmation.
    held: Option<u64>,
    time: String,
    body: Vec<u8>,
    picked: Vec<u32>,
    /// The request as it is sent.
    pub request: Vec<u8>,
}

impl Writer {
    /// The writer of one connection.
    pub fn new(terms: Terms, connection: u64, seed: u64) -> Writer {
        Writer {
            terms,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ connection.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            next: connection << 40,
            held: None,
            time: String::new(),
            body: Vec::new(),
            picked: Vec::new(),
            request: Vec::new(),
        }
    }

    /// The business time that events carry from now on (RFC 3339).
    pub fn set_time(&mut self, time: &str) {
        time.clone_into(&mut self.time);
    }

    /// A number below `below`, for choices between kinds of work.
    pub fn draw(&mut self, below: u32) -> u32 {
        rand::RngExt::random_range(&mut self.rng, 0..below)
    }

    /// Whether a basket waits for its confirmation.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// The basket was refused: there is nothing to confirm.
    pub fn forget_held(&mut self) {
        self.held = None;
    }

    /// Writes the next request of a kind.
    pub fn write(&mut self, kind: Kind, picker: &Picker) {
        self.body.clear();
        match kind {
            Kind::Sale | Kind::Receipt => {
                let sku = picker.pick(&mut self.rng);
                self.event(kind, sku, 1);
                self.finish("POST", Path::Events);
            }
            Kind::Batch => {
                for row in 0..self.terms.batch {
                    self.body.push(if row == 0 { b'[' } else { b',' });
                    let kind = if row % RECEIPT_EVERY == 0 { Kind::Receipt } else { Kind::Sale };
                    let sku = picker.pick(&mut self.rng);
                    self.event(kind, sku, 1);
                }
                self.body.push(b']');
                self.finish("POST", Path::Events);
            }
            Kind::Hold | Kind::Basket => {
                let count = if kind == Kind::Hold { 1 } else { self.terms.lines };
                self.basket(count, picker);
                let id = self.id();
                self.held = (kind == Kind::Hold).then_some(id);
                self.finish("PUT", Path::Reservation(id, ""));
            }
            Kind::Confirm => {
                self.body.extend_from_slice(b"{}");
                let id = self.held.take().unwrap_or_default();
                self.finish("POST", Path::Reservation(id, "/confirm"));
            }
            Kind::Read => {
                let sku = picker.pick(&mut self.rng);
                self.finish("GET", Path::Sku(sku));
            }
        }
    }

    /// Writes a sale of one unit of one SKU.
    pub fn write_sale_of(&mut self, sku: u32) {
        self.body.clear();
        self.event(Kind::Sale, sku, 1);
        self.finish("POST", Path::Events);
    }

    /// Writes a batch of receipts for the SKUs from `from` until `until`.
    pub fn write_opening(&mut self, from: u32, until: u32) {
        self.body.clear();
        for sku in from..until {
            self.body.push(if sku == from { b'[' } else { b',' });
            self.event(Kind::Receipt, sku, OPENING_QUANTITY);
        }
        self.body.push(b']');
        self.finish("POST", Path::Events);
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn event(&mut self, kind: Kind, sku: u32, quantity: u64) {
        let id = self.id();
        let body = &mut self.body;
        body.extend_from_slice(br#"{"specversion":"1.0","id":""#);
        hex(body, id);
        body.extend_from_slice(br#"","source":"bench/"#);
        body.extend_from_slice(self.terms.tag.as_bytes());
        body.extend_from_slice(if kind == Kind::Sale {
            br#"","type":"inventory.sale","time":""#
        } else {
            br#"","type":"inventory.receipt","time":""#
        });
        body.extend_from_slice(self.time.as_bytes());
        body.extend_from_slice(br#"","data":{"warehouse":""#);
        body.extend_from_slice(self.terms.warehouse.as_bytes());
        body.extend_from_slice(br#"","sku":""#);
        sku_id(body, sku);
        body.extend_from_slice(br#"","quantity":"#);
        decimal(body, quantity, 1);
        body.extend_from_slice(b"}}");
    }

    fn basket(&mut self, lines: usize, picker: &Picker) {
        picker.pick_distinct(&mut self.rng, lines, &mut self.picked);
        self.lines_of_basket();
    }

    fn lines_of_basket(&mut self) {
        let body = &mut self.body;
        body.extend_from_slice(br#"{"lines":["#);
        for (index, sku) in self.picked.iter().enumerate() {
            body.extend_from_slice(if index == 0 { br#"{"sku":""# } else { br#",{"sku":""# });
            sku_id(body, *sku);
            body.extend_from_slice(br#"","quantity":1}"#);
        }
        body.push(b']');
        if let Some(ttl_s) = self.terms.ttl_s {
            body.extend_from_slice(br#","ttl_s":"#);
            decimal(body, ttl_s, 1);
        }
        body.push(b'}');
    }

    fn finish(&mut self, method: &str, path: Path) {
        let request = &mut self.request;
        request.clear();
        request.extend_from_slice(method.as_bytes());
        match path {
            Path::Events => request.extend_from_slice(b" /v1/events"),
            Path::Sku(sku) => {
                request.extend_from_slice(b" /v1/warehouses/");
                request.extend_from_slice(self.terms.warehouse.as_bytes());
                request.extend_from_slice(b"/skus/");
                sku_id(request, sku);
            }
            Path::Reservation(id, verb) => {
                request.extend_from_slice(b" /v1/warehouses/");
                request.extend_from_slice(self.terms.warehouse.as_bytes());
                request.extend_from_slice(b"/reservations/b");
                request.extend_from_slice(self.terms.tag.as_bytes());
                request.push(b'-');
                hex(request, id);
                request.extend_from_slice(verb.as_bytes());
            }
        }
        request.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        request.extend_from_slice(self.terms.host.as_bytes());
        if let Some(token) = &self.terms.token {
            request.extend_from_slice(b"\r\nauthorization: Bearer ");
            request.extend_from_slice(token.as_bytes());
        }
        if !self.body.is_empty() {
            request.extend_from_slice(b"\r\ncontent-type: application/json\r\ncontent-length: ");
            decimal(request, self.body.len() as u64, 1);
        }
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(&self.body);
    }
}

enum Path {
    Events,
    Sku(u32),
    Reservation(u64, &'static str),
}

/// The id of a SKU: `SKU-0000042`.
fn sku_id(buffer: &mut Vec<u8>, sku: u32) {
    buffer.extend_from_slice(b"SKU-");
    decimal(buffer, u64::from(sku), 7);
}

fn hex(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend(
        (0..16)
            .rev()
            .map(|digit| b"0123456789abcdef"[(number >> (digit * 4) & 15) as usize]),
    );
}

/// A number in decimal, with at least so many digits.
fn decimal(buffer: &mut Vec<u8>, mut number: u64, least: usize) {
    let start = buffer.len();
    while number > 0 || buffer.len() - start < least {
        buffer.push(b'0' + (number % 10) as u8);
        number /= 10;
    }
    buffer[start..].reverse();
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn writer() -> Writer {
        let terms = Terms {
            host: "127.0.0.1:7480".to_owned(),
            warehouse: "main".to_owned(),
            tag: "t1".to_owned(),
            batch: 20,
            lines: 3,
            ttl_s: Some(60),
            token: None,
        };
        let mut writer = Writer::new(terms, 1, 7);
        writer.set_time("2026-11-23T12:00:00Z");
        writer
    }

    /// The first line and the body, after checking that the body is as long as announced.
    fn parts(request: &[u8]) -> (String, Value) {
        let text = std::str::from_utf8(request).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let announced = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |n| n.parse().expect("a number"));
        assert_eq!(body.len(), announced);
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).expect("JSON")
        };
        (head.lines().next().expect("a line").to_owned(), body)
    }

    #[test]
    fn requests_are_the_apis() {
        let (mut writer, picker) = (writer(), Picker::new(100, 1.0));
        writer.write(Kind::Sale, &picker);
        let (line, event) = parts(&writer.request);
        assert_eq!(line, "POST /v1/events HTTP/1.1");
        assert_eq!(
            (event["type"].as_str(), event["data"]["quantity"].as_i64()),
            (Some("inventory.sale"), Some(1))
        );
        writer.write(Kind::Batch, &picker);
        let (_, rows) = parts(&writer.request);
        assert_eq!(rows.as_array().map(Vec::len), Some(20));
        assert_ne!(rows[0]["id"], rows[1]["id"]);
        writer.write(Kind::Basket, &picker);
        assert_eq!(parts(&writer.request).1["lines"].as_array().map(Vec::len), Some(3));
        writer.write(Kind::Read, &picker);
        assert!(parts(&writer.request).0.starts_with("GET /v1/warehouses/main/skus/SKU-00000"));
        writer.write_sale_of(7);
        assert_eq!(parts(&writer.request).1["data"]["sku"], "SKU-0000007");
        writer.write_opening(10, 15);
        assert_eq!(parts(&writer.request).1[4]["data"]["sku"], "SKU-0000014");
    }

    #[test]
    fn a_confirmation_names_the_basket_that_was_held() {
        let (mut writer, picker) = (writer(), Picker::new(100, 0.0));
        writer.write(Kind::Hold, &picker);
        let hold = parts(&writer.request).0;
        let path = hold.split(' ').nth(1).expect("a path").to_owned();
        assert!(writer.holds());
        writer.write(Kind::Confirm, &picker);
        assert_eq!(parts(&writer.request).0, format!("POST {path}/confirm HTTP/1.1"));
        assert!(!writer.holds());
    }
}
