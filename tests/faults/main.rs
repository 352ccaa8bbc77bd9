//! The faults of the delivery contract, one a file: what breaks, and what must happen. `docs/reliability.md` lists all of
//! them with the tests that hold them; what needs no process of its own is tested beside its code or at its seam.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod alone;
mod bed;
mod claim_check;
mod clouded;
mod cloudwatch;
mod database_away;
mod delete_fails;
mod lifecycle;
mod log_full;
mod partial_batches;
mod poison;
mod postfix_killed;
mod recipients;
mod running;
mod ses_crash;
mod ses_paused;
mod start;
mod terminations;
mod two_workers;
mod versions;
mod worker_frozen;
