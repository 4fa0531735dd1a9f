//! The parts of the storage that know no store. Compiling the whole of it was rejected: it brings redb and its threads.

#[path = "../../../src/storage/codec/mod.rs"]
pub mod codec;
#[path = "../../../src/storage/letter.rs"]
pub mod letter;
