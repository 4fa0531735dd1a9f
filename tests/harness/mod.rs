//! What every black-box test needs: the real binary as a node of its own, an HTTP client, real data, and a tally of it.
//!
//! A test starts the `shelfd` that was just built, on a port of its own with a store of its own, and talks to it over
//! HTTP like anybody. Starting the node inside the test process was rejected: it could be neither killed nor restarted,
//! and would prove nothing about the binary.
//!
//! ```text
//! use crate::harness::node::Node;
//! let mut node = Node::start();
//! node.post("/v1/events", &json!({...})).expect_status(200);
//! node.kill();       // SIGKILL: what a power cut leaves to the process
//! node.restart();    // the same store, the same port
//! ```

pub mod data;
pub mod disk;
pub mod events;
pub mod http;
pub mod kafka;
pub mod node;
pub mod torture;
