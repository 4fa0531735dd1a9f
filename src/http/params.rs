//! What stands in an address: ids in the path, parameters in the query. Unknown parameters are refused by name.
//!
//! axum's `Query` ignores what it does not know, and a filter with a typo would then silently show everything.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::error::{Answer, Problem};
use crate::domain::refusal::Code;
use crate::domain::units::{Id, Time};
use crate::ingress::{check, suggest};

/// Items of a page when the caller does not say.
const DEFAULT_LIMIT: usize = 100;
/// The most items of a page.
pub const MAX_LIMIT: usize = 1_000;

/// The parameters of the path, in their order, as they were written before percent-encoding.
pub struct Segments<const N: usize>(pub [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Segments<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments<N>, Problem> {
        let bad = || {
            Problem::field(
                Code::InvalidValue,
                "path",
                "the path holds a percent-encoding that is no UTF-8",
            )
        };
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| bad())?;
        let values: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
        values.try_into().map(Segments).map_err(|_| bad())
    }
}

/// An id that stands in the path.
pub fn id(what: &str, text: &str) -> Answer<Id> {
    Id::new(text).map_err(|why| {
        Problem::field(
            Code::InvalidValue,
            what,
            format!("{} in the path is no id: it {why}", suggest::quoted(text)),
        )
    })
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query; every name must be known, and be there once.
    pub fn read(query: Option<&str>, known: &[&'static str]) -> Answer<Params> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                let detail = format!(
                    "nobody knows the parameter {}{}",
                    suggest::quoted(&name),
                    suggest::hint(&name, known.iter().copied())
                );
                return Err(Problem::field(Code::UnknownField, name, detail));
            }
            if pairs.iter().any(|(there, _)| *there == name) {
                return Err(Problem::field(
                    Code::InvalidValue,
                    name,
                    "the parameter is there twice; send it once",
                ));
            }
            pairs.push((name, value));
        }
        Ok(Params(pairs))
    }

    /// A parameter's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(there, _)| there == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is one of a few words.
    pub fn word<'p>(&'p self, name: &str, words: &[&str]) -> Answer<Option<&'p str>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if words.contains(&text) {
            return Ok(Some(text));
        }
        let detail = format!("must be one of {}; is {}", words.join(", "), suggest::quoted(text));
        Err(Problem::field(Code::InvalidValue, name, detail))
    }

    /// A whole number in a range.
    pub fn number(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Answer<Option<i64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(n) if range.contains(&n) => Ok(Some(n)),
            _ => {
                let detail = format!(
                    "must be a whole number from {} to {}, is {}",
                    range.start(),
                    range.end(),
                    suggest::quoted(text)
                );
                Err(Problem::field(Code::InvalidValue, name, detail))
            }
        }
    }

    /// An instant. A `+` that was not encoded arrives as a space; nothing else can be meant by it there.
    pub fn time(&self, name: &str) -> Answer<Option<Time>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        check::parse_time(&text.replace(' ', "+")).map(Some).ok_or_else(|| {
            let detail = format!(
                "{} is no time: it must be RFC 3339 with an offset, like 2026-11-22T14:05:00+03:00 (the + encoded as %2B)",
                suggest::quoted(text)
            );
            Problem::field(Code::InvalidValue, name, detail)
        })
    }

    /// How many items the page may have.
    pub fn limit(&self) -> Answer<usize> {
        let limit = self.number("limit", 1..=MAX_LIMIT as i64)?;
        Ok(limit.map_or(DEFAULT_LIMIT, |limit| limit as usize))
    }

    /// Where the page begins: after this key. Cursors are opaque to callers, and hold no more than a key.
    pub fn after(&self) -> Answer<Option<String>> {
        self.text("cursor")
            .map(|text| unsealed(text).ok_or_else(bad_cursor))
            .transpose()
    }

    /// Where the page begins, when it goes by sequence.
    pub fn before(&self) -> Answer<Option<u64>> {
        let after = self.after()?;
        after.map(|key| key.parse().map_err(|_| bad_cursor())).transpose()
    }
}

fn bad_cursor() -> Problem {
    Problem::field(
        Code::InvalidValue,
        "cursor",
        "this is no cursor of this list; begin without one, and follow `next`",
    )
}

fn decoded(text: &str) -> Answer<String> {
    let plus = text.replace('+', " ");
    percent_decode_str(&plus)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| {
            Problem::field(
                Code::InvalidValue,
                "query",
                "the query holds a percent-encoding that is no UTF-8",
            )
        })
}

/// A key as an opaque cursor.
pub fn sealed(key: &str) -> String {
    key.bytes().fold(String::from("k"), |mut out, byte| {
        out.push_str(&format!("{byte:02x}"));
        out
    })
}

fn unsealed(cursor: &str) -> Option<String> {
    let hex = cursor.strip_prefix('k').filter(|hex| hex.is_ascii() && hex.len() % 2 == 0)?;
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_or_repeated_parameter_is_refused_by_name() {
        let known = ["as_of", "limit"];
        assert_eq!(Params::read(Some("as_off=1"), &known).unwrap_err().code(), Code::UnknownField);
        assert_eq!(
            Params::read(Some("limit=1&limit=2"), &known).unwrap_err().code(),
            Code::InvalidValue
        );
        assert!(Params::read(Some("limit=0"), &known).unwrap().limit().is_err());
        assert_eq!(Params::read(Some("limit=7"), &known).unwrap().limit().unwrap(), 7);
    }

    #[test]
    fn a_time_may_come_with_its_plus_unencoded() {
        let known = ["as_of"];
        for query in ["as_of=2026-11-22T14:05:00+03:00", "as_of=2026-11-22T14%3A05%3A00%2B03%3A00"] {
            let params = Params::read(Some(query), &known).unwrap();
            assert_eq!(params.time("as_of").unwrap(), Some(Time(1_795_345_500_000)));
        }
        assert!(Params::read(Some("as_of=14:05"), &known).unwrap().time("as_of").is_err());
    }

    #[test]
    fn a_cursor_gives_back_its_key() {
        for key in ["", "A", "молоко/7"] {
            assert_eq!(unsealed(&sealed(key)).as_deref(), Some(key));
        }
        assert_eq!(unsealed("k0"), None);
        assert_eq!(unsealed("kzz"), None);
    }
}
