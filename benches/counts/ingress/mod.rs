//! The parts of the door that know no request. Compiling the whole of it was rejected: it brings the actors and the compressors.

#[path = "../../../src/ingress/alike.rs"]
mod alike;
#[path = "../../../src/ingress/check.rs"]
pub mod check;
#[path = "../../../src/ingress/decode.rs"]
pub mod decode;
#[path = "../../../src/ingress/fingerprint.rs"]
mod fingerprint;
#[path = "../../../src/ingress/rows.rs"]
pub mod rows;
#[path = "../../../src/ingress/scalar.rs"]
mod scalar;
#[path = "../../../src/ingress/scan.rs"]
mod scan;
#[path = "../../../src/ingress/suggest.rs"]
pub mod suggest;
#[path = "../../../src/ingress/wire.rs"]
mod wire;
