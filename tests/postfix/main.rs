//! From a mail given to a real Postfix to the replies at a sink: one scenario a file, each in a world of its own.
//!
//! Skipped without root or the daemons, which `tests/run` installs. A scenario that fails shows its world's logs.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod answered;
mod authenticated;
mod big;
mod common;
mod enqueuer_killed;
mod files;
mod foreign_bytes;
mod ignored;
mod maps;
mod people;
mod queue_away;
mod worker_killed;
mod worker_stopped;
