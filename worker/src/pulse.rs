//! Whether a loop moves: it says at each step how long that may take, and another asks whether it has kept its word.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a loop last said.
pub struct Pulse(Mutex<Instant>);

impl Pulse {
    /// A loop that begins now, and says more within this time.
    pub fn new(within: Duration) -> Self {
        Self(Mutex::new(Instant::now() + within))
    }

    /// It moves, and will say so again within this time.
    pub fn beat(&self, within: Duration) {
        // Poisoned: it is assigned whole. So below.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + within;
    }

    /// Whether it has kept its word so far.
    pub fn is_alive(&self) -> bool {
        Instant::now() <= *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
