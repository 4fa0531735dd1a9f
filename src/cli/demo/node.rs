//! The node that the demo feeds: one of its own with a throw-away store, or the one that `--url` names.
//!
//! Everything that ties the demo to how a node is started stands in [`open`], and nothing else of the demo knows it.

use crate::cli::client::{Client, Patience};
use crate::cli::exit::Failure;
use crate::cli::scratch;

/// A node to feed, for as long as this lives.
#[derive(Debug)]
pub struct Fed {
    /// Its API.
    pub api: Client,
    /// The node itself, when it is the demo's own.
    pub own: Option<scratch::Node>,
}

/// Starts a node on `listen`, or takes the one that was named.
pub fn open(named: Option<&Client>, listen: &str, keep: bool) -> Result<Fed, Failure> {
    // A feed that meets a busy node waits for it.
    if let Some(api) = named {
        return Ok(Fed {
            api: api.clone().with_patience(Patience::SHORT),
            own: None,
        });
    }
    let directory = scratch::Directory::new(&std::env::temp_dir(), "demo", keep)?;
    let node = scratch::Node::start(directory, listen, None)?;
    let api = Client::new(node.url(), None)?.with_patience(Patience::SHORT);
    Ok(Fed { api, own: Some(node) })
}
