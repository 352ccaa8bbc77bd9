//! What replyfleet's enqueuer and worker must agree on, and nothing else.
//!
//! A mail travels as an [`envelope::Envelope`] over a [`queue::Queue`]; one that is too big for the queue leaves its
//! bytes in a [`store::Store`] and travels as a pointer. Everything that identifies a requester outside of those two is
//! a hash under the installation's [`keyed::Secret`]. [`settings`] reads the one file that all programs share.
//!
//! This library knows nothing of SMTP, MIME, DNS or databases: the enqueuer links it and must stay small.

#![forbid(unsafe_code)]

pub mod clock;
pub mod keyed;

pub mod envelope;
pub mod queue;
pub mod store;

pub mod aws;
pub mod durable;
pub mod ground;
pub mod settings;
pub mod telemetry;
