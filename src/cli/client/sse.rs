//! Server-sent events, as far as `/v1/changes` uses them: `id`, `event`, `data`, comments.
//! Source: WHATWG HTML, section "Interpreting an event stream".
//!
//! Rejected: a library with its own reconnection. Where to go on is a cursor that the verb keeps, and must not be guessed.

use std::collections::VecDeque;

use super::Error;

/// An event that grows past this is no change of stock, and is not gathered in memory without end.
const LONGEST_BYTES: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// The last `id` seen: the cursor after this event.
    pub id: String,
    /// The event's name; `""` when it has none.
    pub name: String,
    /// Its data, lines joined.
    pub data: String,
}

/// Takes bytes as they come and gives whole events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    id: String,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.take(&String::from_utf8_lossy(&line));
                }
                b'\r' => {}
                other if self.line.len() < LONGEST_BYTES => self.line.push(*other),
                _ => {}
            }
        }
    }

    /// The next whole event.
    pub fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            if let Some(data) = self.data.take() {
                self.ready.push_back(Event {
                    id: self.id.clone(),
                    name,
                    data,
                });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" => self.id = value.to_owned(),
            "event" => self.name = value.to_owned(),
            // A comment (the node's heartbeat), `retry`, or a field of tomorrow.
            _ => {}
        }
    }
}

/// A stream of events that is open.
#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    parser: Parser,
}

impl Stream {
    /// The events of an answer of type `text/event-stream`.
    pub fn new(response: reqwest::Response) -> Stream {
        Stream {
            response,
            parser: Parser::default(),
        }
    }

    /// The next event; `None` when the node has closed the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.parser.pop() {
                return Ok(Some(event));
            }
            match self.response.chunk().await.map_err(|source| Error::Broken { source })? {
                Some(bytes) => self.parser.feed(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_whole_however_its_bytes_were_cut() {
        let text = ": hello\r\nid: 7\r\nevent: change\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\nid:8\ndata:\u{043c}\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            for chunk in text.as_bytes().chunks(size) {
                parser.feed(chunk);
            }
            let first = Event {
                id: "7".into(),
                name: "change".into(),
                data: "{\"a\":\n1}".into(),
            };
            let second = Event {
                id: "8".into(),
                name: String::new(),
                data: "м".into(),
            };
            assert_eq!(
                (parser.pop(), parser.pop(), parser.pop()),
                (Some(first), Some(second), None),
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn a_heartbeat_is_no_event() {
        let mut parser = Parser::default();
        parser.feed(b":\n\n: ping\n\nid: 3\n\n");
        assert_eq!(parser.pop(), None);
    }
}
