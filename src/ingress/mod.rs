//! The door for what sources report: bytes in, checked events out, and the one valve before the actors.
//!
//! Whatever carries the bytes (HTTP today, a broker tomorrow) decodes and is admitted here, so that no way in has rules of its
//! own. Decoding inside the HTTP handlers was rejected for that reason.

pub mod admission;
mod alike;
pub mod check;
pub mod decode;
mod fingerprint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod inflate;
pub mod lobby;
pub mod message;
pub mod rows;
mod scalar;
mod scan;
pub mod suggest;
mod wire;
