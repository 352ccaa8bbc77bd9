//! From the queue to a reply: the whole answering domain, in the order of a message's way.
//!
//! [`Worker::open`] opens what the settings name; [`Worker::run`] drains the queue until it is told to stop.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod crypto;

mod alone;
mod breaker;
mod drain;
mod isolation;
mod journal;
mod lease;
pub mod pulse;
mod quarantine;
mod queue_age;
mod respond;
mod timer;

pub mod request;

pub mod address;
pub mod authenticate;
pub mod catalogue;
pub mod judge;
pub mod reason;
pub mod screen;

pub mod ledger;
pub mod retention;
pub mod switches;

pub mod language;
pub mod script;

pub mod attachments;
mod bodies;
pub mod compose;
pub mod composer;
mod pace;
pub mod provider;
pub mod published;
pub mod send;
pub mod sign;

pub mod outcome;

mod settle;

pub mod metrics;
mod upkeep;
mod worker;

pub mod lifecycle;
pub mod startup;
pub mod status;
pub mod supervisor;

pub use worker::{OpenError, Stage, Worker, catalogue_object};
