//! The enqueuer as Postfix meets it: a process with arguments, a mail on its standard input, and an end.
//!
//! Postfix bounces a mail on nearly every exit status. So here every way to end is looked at from outside: the status is
//! 0 or 75 (or the process dies by a signal, on which Postfix defers too), the output begins with `4.3.0`, and the queue
//! holds whole mails only, whatever failed and wherever the process was killed.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod bytes;
mod crates;
mod disk;
mod endings;
mod endpoint;
mod failing_calls;
mod killed;
mod lmtp_faults;
mod lmtp_load;
mod lmtp_mail;
mod lmtp_pipe;
mod lmtp_service;
mod lmtp_world;
mod power_cut;
mod sqs;
mod strace;
mod strangers;
mod world;
