//! What turns an account or a bare host into a fleet: packages and their units, the image, the stack, and a fleet that grows and shrinks.
//! All of it is tried on this machine and leaves nothing on it.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod image;
mod interrupted;
mod local_fleet;
mod mail_queue;
mod packages;
mod secrets;
mod stack;
mod tree;
mod units;
