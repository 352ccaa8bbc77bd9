//! A replyfleet in a surge, as a seeded discrete-event simulation in whole milliseconds: mail arrives, workers answer it, their
//! metrics reach CloudWatch late, alarms change state, and the Auto Scaling group obeys them.
//!
//! What decides is what is deployed: [`scaling`] is read from the stack's template. No file and no clock is read here.

#![forbid(unsafe_code)]

mod alarm;
mod arrivals;
mod event_queue;
pub mod group;
pub mod histogram;
mod limiter;
mod mail_queue;
pub mod math;
mod metric;
mod pipe;
pub mod plan;
mod random;
mod recorder;
pub mod report;
pub mod run;
pub mod scaling;
pub mod simulation;
pub mod stories;
pub mod template;
pub mod traffic;
mod worker;
