//! A client of the node's HTTP API: JSON in and out, problems as a typed error, and patience.
//!
//! Every write of the API carries an id from its caller, so every request may be repeated; a node that is starting, full or
//! out of reach is asked again with growing pauses, and `Retry-After` is honoured. The answer's text is kept as it came:
//! `--json` prints what the node said, not what this program understood of it. Rejected: a client generated from the
//! OpenAPI document. It would be far bigger than the few calls here, and would drop fields that a newer node adds.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::error::{Error, Problem};

mod error;
pub mod sse;

/// Everything but RFC 3986's unreserved characters is encoded in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long a connection may take to be made: the node is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one answer may take; longer than the longest long poll (30 s).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// The longest pause that `Retry-After` may ask of somebody who sits before a terminal.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A path below the node's address, its ids percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

/// Builds a path of segments: `path(["v1", "warehouses", w])`. Ids may hold any character; each is encoded.
pub fn path<'a>(segments: impl IntoIterator<Item = &'a str>) -> Path {
    let mut whole = String::new();
    for segment in segments {
        whole.push('/');
        whole.extend(utf8_percent_encode(segment, SEGMENT));
    }
    Path(whole)
}

impl Path {
    /// The path as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How often to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries after the first.
    pub retries: usize,
    /// The first pause; each is about twice the one before, with jitter.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Patience {
    /// One try: for `status` and `top`, which report what is.
    pub const NONE: Patience = Patience {
        retries: 0,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(1),
    };
    /// A few tries within about two seconds: for a person who waits.
    pub const SHORT: Patience = Patience {
        retries: 4,
        first: Duration::from_millis(100),
        longest: Duration::from_secs(1),
    };
    /// About ten minutes: for work that runs unattended and resumes (imports, feeds).
    pub const LONG: Patience = Patience {
        retries: 80,
        first: Duration::from_millis(100),
        longest: Duration::from_secs(8),
    };
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, below 400.
    pub status: u16,
    body: String,
}

impl Answer {
    /// The body as it came.
    pub fn text(&self) -> &str {
        &self.body
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.body).map_err(|source| Error::Unreadable { source })
    }
}

/// A page of a list: each item as it came, and where the next page begins.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The items, unread.
    pub items: Vec<Box<RawValue>>,
    /// The cursor of the next page; none after the last.
    #[serde(default)]
    pub next: Option<String>,
    /// What the ledger begins with when older facts have been folded away.
    #[serde(default)]
    pub opening: Option<Value>,
}

impl Page {
    /// The items, read.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        self.items
            .iter()
            .map(|raw| serde_json::from_str(raw.get()).map_err(|source| Error::Unreadable { source }))
            .collect()
    }
}

/// A query string's pairs.
pub type Query = Vec<(&'static str, String)>;

/// A node, as seen from outside. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    patience: Patience,
}

impl Client {
    /// A client of the node at `url` (`http://host:port`, no trailing slash needed).
    pub fn new(url: &str, token: Option<&str>) -> Result<Client, Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("shelfd/", env!("CARGO_PKG_VERSION")))
            // The node is reached directly; a proxy of the environment is for the world outside.
            .no_proxy()
            .build()
            .map_err(|source| Error::Broken { source })?;
        Ok(Client {
            http,
            base: url.trim_end_matches('/').to_owned(),
            token: token.map(str::to_owned),
            patience: Patience::SHORT,
        })
    }

    /// The same client with other patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Client {
        self.patience = patience;
        self
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The access token that it shows.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// `GET`, the answer read as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &Path, query: &Query) -> Result<T, Error> {
        self.fetch(path, query).await?.json()
    }

    /// `GET`, the answer as it came.
    pub async fn fetch(&self, path: &Path, query: &Query) -> Result<Answer, Error> {
        self.ask(Method::GET, path, query, None).await
    }

    /// `PUT` of a JSON body.
    pub async fn put(&self, path: &Path, body: &Value) -> Result<Answer, Error> {
        self.ask(
            Method::PUT,
            path,
            &Query::new(),
            Some(("application/json", body.to_string().into())),
        )
        .await
    }

    /// `POST` of a JSON body.
    pub async fn post(&self, path: &Path, body: &Value) -> Result<Answer, Error> {
        self.ask(
            Method::POST,
            path,
            &Query::new(),
            Some(("application/json", body.to_string().into())),
        )
        .await
    }

    /// `POST` of a body of any type, for instance a batch as `application/x-ndjson`.
    pub async fn post_raw(&self, path: &Path, content_type: &'static str, body: bytes::Bytes) -> Result<Answer, Error> {
        self.ask(Method::POST, path, &Query::new(), Some((content_type, body))).await
    }

    /// `POST` with a query and a JSON body.
    pub async fn post_query(&self, path: &Path, query: &Query, body: &Value) -> Result<Answer, Error> {
        self.ask(Method::POST, path, query, Some(("application/json", body.to_string().into())))
            .await
    }

    /// One page of a list, from a cursor on.
    pub async fn page(&self, path: &Path, query: &Query, cursor: Option<&str>) -> Result<Page, Error> {
        let mut query = query.clone();
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        self.get(path, &query).await
    }

    /// Opens a stream of server-sent events; not repeated, since the caller knows where to go on.
    pub async fn stream(&self, path: &Path, query: &Query) -> Result<reqwest::Response, Error> {
        let request = self.request(Method::GET, path, query).header(ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|source| self.sending(source))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refused(response).await)
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &Path,
        query: &Query,
        body: Option<(&'static str, bytes::Bytes)>,
    ) -> Result<Answer, Error> {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.patience.first)
            .with_max_delay(self.patience.longest)
            .with_max_times(self.patience.retries);
        (|| self.ask_once(method.clone(), path, query, body.clone()))
            .retry(pauses)
            .when(Error::passes)
            .adjust(|error, pause| {
                pause.map(|pause| {
                    error
                        .problem()
                        .and_then(|p| p.retry_after)
                        .map_or(pause, |asked| asked.min(LONGEST_PAUSE).max(pause))
                })
            })
            .await
    }

    async fn ask_once(
        &self,
        method: Method,
        path: &Path,
        query: &Query,
        body: Option<(&'static str, bytes::Bytes)>,
    ) -> Result<Answer, Error> {
        let mut request = self.request(method, path, query).timeout(ANSWER_TIMEOUT);
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        let response = request.send().await.map_err(|source| self.sending(source))?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(refused(response).await);
        }
        let body = response.text().await.map_err(|source| Error::Broken { source })?;
        Ok(Answer {
            status: status.as_u16(),
            body,
        })
    }

    fn request(&self, method: Method, path: &Path, query: &Query) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{}", self.base, path.as_str()));
        let request = if query.is_empty() { request } else { request.query(query) };
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn sending(&self, source: reqwest::Error) -> Error {
        if source.is_connect() {
            Error::Unreachable {
                url: self.base.clone(),
                source,
            }
        } else if source.is_timeout() {
            Error::TooSlow { source }
        } else {
            Error::Broken { source }
        }
    }
}

/// The error that a refusing answer means.
async fn refused(response: reqwest::Response) -> Error {
    let status: StatusCode = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    match response.text().await {
        Err(source) => Error::Broken { source },
        Ok(body) => match Problem::read(status.as_u16(), retry_after, &body) {
            Some(problem) => Error::Problem(Box::new(problem)),
            None => Error::Unexpected {
                status: status.as_u16(),
                excerpt: body.chars().take(1000).collect(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_characters_stay_one_segment() {
        assert_eq!(
            path(["v1", "skus", "a b/50%?#é.~"]).as_str(),
            "/v1/skus/a%20b%2F50%25%3F%23%C3%A9.~"
        );
    }
}
