//! A replyfleet in a surge, as a seeded discrete-event simulation in whole milliseconds: mail arrives, workers answer it, their
//! metrics reach CloudWatch late, alarms change state, and the Auto Scaling group obeys them.
//!
//! What decides is what is deployed: [`scaling`] is read from the stack's template. No file and no clock is read here.

#![forbid(unsafe_code)]

pub mod histogram;
pub mod math;
pub mod plan;
pub mod report;
pub mod run;
pub mod scaling;
pub mod template;
pub mod traffic;
