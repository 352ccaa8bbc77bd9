//! What turns machines into a fleet: packages and their units, tried on this machine and leaving nothing on it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod packages;
mod tree;
mod units;
