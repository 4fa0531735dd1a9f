//! A blocking HTTP client, since a test reads best from top to bottom.
//!
//! It may be shared between threads. Async tests were rejected: most of them do one thing after another, and those that
//! want many at once say so with `std::thread::scope`.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::runtime::Runtime;

/// One runtime for all clients of the test process.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime for the test's client")
});

/// A client that keeps its connections; any number of threads may use it at once.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it came.
    pub bytes: Vec<u8>,
}

impl Http {
    /// A client of `http://{address}`.
    pub fn new(address: &str) -> Http {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(120))
            .build()
            .expect("an HTTP client");
        Http {
            client,
            base: format!("http://{address}"),
        }
    }

    /// One request with any body and headers; `Err` when no answer came (refused, reset, closed).
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("an HTTP method");
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            request = request.header(name, HeaderValue::from_str(value).expect("a header value"));
        }
        RUNTIME.block_on(async move {
            let response = request.body(body).send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Answer {
                status,
                headers,
                bytes: response.bytes().await?.to_vec(),
            })
        })
    }

    /// As [`Http::try_send`]; panics when no answer came.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|e| panic!("{method} {path}: {e:?}"))
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new())
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().into_bytes(),
        )
    }

    /// `PUT path` with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string().into_bytes(),
        )
    }

    /// `POST path` with one JSON row a line.
    pub fn post_ndjson(&self, path: &str, rows: &[Value]) -> Answer {
        let body = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        self.send("POST", path, &[("content-type", "application/x-ndjson")], body.into_bytes())
    }

    /// All items of a paged list, page by page along `next`. `path` may have a query already.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = match &cursor {
                None => path.to_owned(),
                Some(cursor) => {
                    let cursor = percent_encoding::utf8_percent_encode(cursor, percent_encoding::NON_ALPHANUMERIC);
                    format!("{path}{}cursor={cursor}", if path.contains('?') { '&' } else { '?' })
                }
            };
            let body = self.get(&page).expect_status(200).json();
            let page_items = body["items"]
                .as_array()
                .unwrap_or_else(|| panic!("{page} is no list: {body}"));
            items.extend(page_items.iter().cloned());
            match body["next"].as_str() {
                Some(next) if Some(next) != cursor.as_deref() => cursor = Some(next.to_owned()),
                Some(next) => panic!("{page} repeats the cursor {next}"),
                None => return items,
            }
        }
    }
}

impl Answer {
    /// The body as JSON; panics with the body when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|e| panic!("{} with a body that is no JSON ({e}): {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The stable code of a problem body; empty when there is none.
    pub fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.bytes)
            .ok()
            .and_then(|b| b["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Panics with the body unless the status is this one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Panics with the body unless this is the problem `code` with `status`.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Answer {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}
