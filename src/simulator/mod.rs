//! The whole node in a simulator: the code of the daemon on one thread, with a clock that is turned, a disk that lies and a seed
//! that decides everything. TigerBeetle's is the model. docs/simulator.md says how it works, how a seed is repeated, and what it
//! leaves out.
//!
//! Within the crate, because it stands on the seam of `host`, which only tests of the crate have: a black-box simulator would have to
//! ship that seam. Beside it, the black-box tests kill the real binary.

mod check;
mod disk;
mod fold;
mod kafka;
mod life;
mod rules;
mod run;
mod work;

mod tests;
