//! One keep-alive connection, as cheap as it can be: a prepared request out, the answer in, nothing allocated in between.
//!
//! The generator shares its cores with the node that it measures, so each microsecond spent here is taken from the figure.
//! Rejected: reqwest and hyper's client. Both are better clients; hyper hands each request to a connection task and back,
//! which costs as much as the two system calls, and builds header maps that nobody reads here. The header is read by
//! httparse, as hyper does.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// Headers of an answer; the node sends about eight.
const MOST_HEADERS: usize = 64;
/// The longest answer: the verdicts of the largest batch.
const LIMIT_BYTES: usize = 32 << 20;
/// What one read asks for.
const READ_BYTES: usize = 64 << 10;

/// A connection that waits for one answer at a time.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the last request that had not been sent when its answer was there.
    unsent: usize,
}

/// An answer.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

/// How long the body is.
enum Length {
    Bytes(usize),
    Chunked,
}

struct Head {
    status: u16,
    bytes: usize,
    length: Length,
}

impl Wire {
    /// Connects, without Nagle's delay.
    pub async fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream,
            inbox: Vec::with_capacity(READ_BYTES),
            body: Vec::new(),
            unsent: 0,
        })
    }

    /// Sends one request and waits for its answer. A refusal may be there before a long body has been sent, and is not waited for any
    /// longer, as clients of HTTP hand it over; before the next request [`Wire::finish`] has to send the rest.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        if self.unsent > 0 {
            return Err(broken("the request before this one has not been sent to its end"));
        }
        self.inbox.clear();
        self.unsent = self.send(request).await?;
        let head = loop {
            if let Some(head) = read_head(&self.inbox)? {
                break head;
            }
            self.fill().await?;
        };
        match head.length {
            Length::Bytes(length) => {
                let end = head.bytes + length;
                if end > LIMIT_BYTES {
                    return Err(broken("the answer is too long"));
                }
                while self.inbox.len() < end {
                    self.fill().await?;
                }
                Ok(Reply {
                    status: head.status,
                    body: &self.inbox[head.bytes..end],
                })
            }
            Length::Chunked => {
                self.unchunk(head.bytes).await?;
                Ok(Reply {
                    status: head.status,
                    body: &self.body,
                })
            }
        }
    }

    /// Sends what of this request, the last one, has not been sent.
    pub async fn finish(&mut self, request: &[u8]) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent).min(request.len());
        self.stream.write_all(&request[request.len() - unsent..]).await
    }

    /// Sends a request until it has been sent or its answer begins; how much of it is left.
    async fn send(&mut self, mut request: &[u8]) -> io::Result<usize> {
        while !request.is_empty() && self.inbox.is_empty() {
            match self.stream.try_write(request) {
                Ok(sent) => request = &request[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
                    if ready.is_readable() {
                        self.glance()?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(request.len())
    }

    /// Reads what is there, which may be nothing.
    fn glance(&mut self) -> io::Result<()> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) => Err(closed()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.inbox.len() > LIMIT_BYTES {
            return Err(broken("the answer is too long"));
        }
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(closed()),
            _ => Ok(()),
        }
    }

    /// Joins the chunks of a body that begins at `at` (RFC 9112, section 7.1).
    async fn unchunk(&mut self, mut at: usize) -> io::Result<()> {
        self.body.clear();
        loop {
            let (line, length) = loop {
                match httparse::parse_chunk_size(&self.inbox[at..]) {
                    Ok(httparse::Status::Complete((line, length))) => {
                        break (line, usize::try_from(length).unwrap_or(usize::MAX));
                    }
                    Ok(httparse::Status::Partial) => self.fill().await?,
                    Err(_) => return Err(broken("a chunk of the answer has no size")),
                }
            };
            if length > LIMIT_BYTES {
                return Err(broken("the answer is too long"));
            }
            at += line;
            while self.inbox.len() < at + length + 2 {
                self.fill().await?;
            }
            self.body.extend_from_slice(&self.inbox[at..at + length]);
            at += length + 2;
            if length == 0 {
                return Ok(());
            }
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection")
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_head(inbox: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(inbox) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(broken("the answer is not HTTP")),
    };
    let status = response.code.unwrap_or_default();
    let named = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let length = match (named("content-length"), named("transfer-encoding")) {
        (Some(value), _) => {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
            Length::Bytes(length.ok_or_else(|| broken("the answer has a bad content-length"))?)
        }
        (None, Some(_)) => Length::Chunked,
        (None, None) if status == 204 || status == 304 => Length::Bytes(0),
        (None, None) => return Err(broken("the answer does not say how long it is")),
    };
    Ok(Some(Head { status, bytes, length }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these pieces, each written by itself, and then closes.
    async fn answer(pieces: &'static [&'static str]) -> io::Result<(u16, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut request = [0; 4];
            stream.read_exact(&mut request).await?;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await?;
                tokio::task::yield_now().await;
            }
            Ok::<_, io::Error>(())
        };
        let client = async {
            let mut wire = Wire::connect(address).await?;
            let reply = wire.ask(b"ping").await?;
            Ok::<_, io::Error>((reply.status, String::from_utf8_lossy(reply.body).into_owned()))
        };
        let (served, answered) = tokio::join!(server, client);
        served?;
        answered
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_however_it_is_cut() {
        let sized = answer(&["HTTP/1.1 20", "0 OK\r\nContent-Length: 5\r\n", "\r\nhe", "llo"])
            .await
            .expect("an answer");
        assert_eq!(sized, (200, "hello".to_owned()));
        let chunked = answer(&[
            "HTTP/1.1 207 Multi\r\nTransfer-Encoding: chunked\r\n\r\n3\r",
            "\nhel\r\n2\r\nlo\r\n",
            "0\r\n\r\n",
        ])
        .await;
        assert_eq!(chunked.expect("an answer"), (207, "hello".to_owned()));
    }

    #[tokio::test]
    async fn a_refusal_is_heard_before_the_body_has_been_sent_and_the_next_answer_is_the_next_requests() {
        /// More than the buffers of a connection hold.
        const LONG: usize = 64 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (heard, goes_on) = tokio::sync::oneshot::channel();
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.read_u8().await?;
            stream
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
                .await?;
            // Reads on only when the caller has its answer.
            let _ = goes_on.await;
            let mut rest = vec![0; LONG - 1];
            stream.read_exact(&mut rest).await?;
            stream.read_exact(&mut [0; 4]).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong").await
        };
        let client = async {
            let (mut wire, long) = (Wire::connect(address).await?, vec![b'x'; LONG]);
            let refused = wire.ask(&long).await?.status;
            assert!(wire.ask(b"ping").await.is_err(), "it would be read as a part of the body");
            let _ = heard.send(());
            wire.finish(&long).await?;
            let reply = wire.ask(b"ping").await?;
            Ok::<_, io::Error>((refused, reply.status, String::from_utf8_lossy(reply.body).into_owned()))
        };
        let (served, answered) = tokio::join!(server, client);
        served.expect("it serves both");
        assert_eq!(answered.expect("two answers"), (503, 200, "pong".to_owned()));
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        assert!(answer(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"]).await.is_err());
        assert!(answer(&["SSH-2.0-OpenSSH\r\n\r\n"]).await.is_err());
    }
}
