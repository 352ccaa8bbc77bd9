//! The worker's status page: what it serves while a real worker starts, answers, is blocked and stops, who may ask, and how it
//! looks in a browser.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod endpoints;
mod fixture;
mod pictures;
mod world;
