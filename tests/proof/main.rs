//! What other programs make of our replies: Python's email package, Postfix, SpamAssassin, Dovecot, Chromium,
//! and those who verify signatures. One a file.
//!
//! All look at the same replies, from every branch of composing ([`cases`]), which a real worker sent by SMTP once
//! ([`run`]). A program that is missing skips its tests; `tests/run` installs them all.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found, and panics where it cannot go on")]
#![forbid(unsafe_code)]

mod cases;
mod imap;
mod pictures;
mod program;
mod python;
mod relayed;
mod run;
mod signed;
mod spamassassin;
