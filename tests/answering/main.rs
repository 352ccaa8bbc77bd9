//! The whole answer within one process: mail taken by the enqueuer's own code, judged by a real worker that asks a real
//! DNS server on loopback, and replies in a Maildir. One scenario a file.
//!
//! Only the edges are left out, Postfix and SMTP: `tests/postfix` has those.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found, and panics where it cannot go on")]
#![forbid(unsafe_code)]

mod facing;
mod flood;
mod ladder;
mod providers;
mod rates;
mod shedding;
mod switches;
mod world;
