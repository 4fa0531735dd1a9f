//! CloudEvents 1.0 over Kafka: attributes as headers (binary mode), or one JSON object with the data in it (structured mode).
//!
//! Written by hand into one buffer: a million messages need no million trees of values. An id is the store's name and the fact's
//! sequence, so the same fact has the same id however often it is published, and another store's facts have others.

use rdkafka::message::{Header, OwnedHeaders};

use crate::domain::trace::TraceParent;
use crate::domain::units::Time;
use crate::plain::put_text;

use super::body::put_utc;
use super::flight::Sender;

/// What every message of a topic has in common.
pub(super) struct Cloud {
    structured: bool,
    source: String,
    kind: &'static str,
    key: String,
    whole: Vec<u8>,
    time: Vec<u8>,
}

/// What one message has for itself.
pub(super) struct About<'a> {
    /// Its key and subject: first and second part.
    pub(super) key: (&'a str, &'a str),
    /// Unique for the source.
    pub(super) id: &'a str,
    /// When it was decided.
    pub(super) time: Time,
    /// The trace in which it came.
    pub(super) trace: Option<&'a TraceParent>,
}

impl Cloud {
    pub(super) fn new(node: &str, kind: &'static str, structured: bool) -> Cloud {
        Cloud {
            structured,
            source: format!("shelfd/{node}"),
            kind,
            key: String::new(),
            whole: Vec::new(),
            time: Vec::new(),
        }
    }

    /// Sends one message whose data is `data`.
    pub(super) fn send(&mut self, sender: &mut Sender, about: &About<'_>, data: &[u8]) {
        self.key.clear();
        self.key.push_str(about.key.0);
        if !about.key.1.is_empty() {
            self.key.push('/');
            self.key.push_str(about.key.1);
        }
        self.time.clear();
        put_utc(&mut self.time, about.time);
        // Digits and punctuation only.
        let time = std::str::from_utf8(&self.time).unwrap_or_default();
        let trace = about.trace.map(TraceParent::text);
        if self.structured {
            self.whole.clear();
            structured(&mut self.whole, &self.source, self.kind, about, &self.key, time, data);
            let mut headers = OwnedHeaders::new_with_capacity(2).insert(header("content-type", "application/cloudevents+json"));
            if let Some(trace) = trace.as_deref() {
                headers = headers.insert(header("traceparent", trace));
            }
            sender.send(&self.key, &self.whole, headers);
            return;
        }
        let mut headers = OwnedHeaders::new_with_capacity(9)
            .insert(header("ce_specversion", "1.0"))
            .insert(header("ce_id", about.id))
            .insert(header("ce_source", &self.source))
            .insert(header("ce_type", self.kind))
            .insert(header("ce_time", time))
            .insert(header("ce_subject", &self.key))
            .insert(header("content-type", "application/json"));
        if let Some(trace) = trace.as_deref() {
            headers = headers
                .insert(header("ce_traceparent", trace))
                .insert(header("traceparent", trace));
        }
        sender.send(&self.key, data, headers);
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

fn structured(out: &mut Vec<u8>, source: &str, kind: &str, about: &About<'_>, subject: &str, time: &str, data: &[u8]) {
    let trace = about.trace.map(TraceParent::text);
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
    put_text(out, about.id);
    for (name, text) in [
        ("source", Some(source)),
        ("type", Some(kind)),
        ("time", Some(time)),
        ("subject", Some(subject)),
        ("traceparent", trace.as_deref()),
    ] {
        if let Some(text) = text {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            put_text(out, text);
        }
    }
    out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
}
