//! The operator's commands, run as people run them: what they print, and with which status they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod answer;
mod check;
mod demo;
mod dns;
mod explain;
mod lists;
mod mrtg;
mod queue;
mod status;
mod switches;
mod upkeep;
