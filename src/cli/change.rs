//! Changing what is named of a setting and keeping the rest: read it, put what was named over it, write the whole.
//!
//! The API's `PUT` replaces the whole, so that a repetition means the same; a person names one thing. Rejected: passing the whole on
//! the command line, which would reset what the person had forgotten.

use serde_json::{Value, json};

use super::Context;
use super::client::{Answer, Path, Query};
use super::exit::Failure;
use super::field::Field;

/// Writes a setting: what is known of it by `keys`, with what `over` puts over that.
pub async fn put(context: &Context, path: &Path, keys: &[&str], over: impl FnOnce(&mut Value)) -> Result<Answer, Failure> {
    let known = match context.api.get::<Value>(path, &Query::new()).await {
        Ok(known) => known,
        Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let mut body = kept(&known, keys);
    over(&mut body);
    Ok(context.api.put(path, &body).await?)
}

/// What is known by these keys; an answer has others, which cannot be set.
pub fn kept(known: &Value, keys: &[&str]) -> Value {
    let mut body = json!({});
    for key in keys.iter().filter(|key| known.has(&format!("/{key}"))) {
        body[*key] = known[*key].clone();
    }
    body
}
