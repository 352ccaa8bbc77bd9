//! The connections of one sender: how many stand at a time, and which of them idle.
//!
//! Two counts hold the limit. A send needs a slot for as long as it takes; a connection, a place for as long as it stands.
//! There are as many of the one as of the other, so that whoever has a slot and no connection finds a free place or an
//! idle connection to take it from.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::Instant,
};

use super::connection::Connection;

/// How long a connection may idle; Postfix closes one after 300 s, others after 60.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A connection without work.
struct Idle {
    way: usize,
    connection: Connection,
    since: Instant,
}

/// The connections of one sender.
pub(super) struct Pool {
    slots: Semaphore,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// For at most `connections_max` connections.
    pub(super) fn new(connections_max: usize) -> Self {
        Self { slots: Semaphore::new(connections_max), places: Arc::new(Semaphore::new(connections_max)), idle: Mutex::default() }
    }

    /// A slot for one send, once there is one.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }

    /// The idle connection of a way that was used last.
    pub(super) fn reuse(&self, way: usize) -> Option<Connection> {
        // Poisoned: a list of connections is whole whatever panicked.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_MAX);
        let at = idle.iter().rposition(|idle| idle.way == way)?;
        Some(idle.remove(at).connection)
    }

    /// Keeps a connection for the next mail of its way.
    pub(super) fn keep(&self, way: usize, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Idle { way, connection, since: Instant::now() });
    }

    /// A place for a new connection, for whoever has a slot and no connection. If all are taken, the connection that has
    /// idled longest goes.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let oldest = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => return Some(place),
                Err(_) if idle.is_empty() => None,
                Err(_) => Some(idle.remove(0).connection),
            }
        };
        match oldest {
            Some(connection) => Some(connection.make_room().await),
            // Only `check`, which has no slot, or the moment in which a connection closes.
            None => Arc::clone(&self.places).acquire_owned().await.ok(),
        }
    }
}
