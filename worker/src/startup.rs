//! The start of a worker while something is away: it waits, says for what, and is not ready meanwhile. systemd is told again and
//! again how long it may still take, or its time limit for a start would end what only waits.
//!
//! What nobody but a person can mend ends the start at once: settings, refused permissions, a schema that a newer version has
//! made. What may pass by itself is tried again, rarer and rarer, with one line in the log a minute.

use std::{sync::Arc, time::Duration};

use replyfleet::{ground::GroundError, queue::QueueError, settings::Settings, store::StoreError};
use tokio::{sync::watch, time::Instant};

use crate::{OpenError, Stage, Worker, catalogue::keeper::KeeperError, pulse::Pulse, status::Status, supervisor};

/// The pause after the first failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often it is told what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The longest that one try takes: a database that hangs, while its schema is brought up, and a store that hangs.
const TRY_MAX: Duration = Duration::from_secs(300);
/// How often systemd is told that an open worker still waits.
const BEGIN_TELL_EVERY: Duration = Duration::from_secs(10);
/// How much longer than it says a start may take before systemd ends it.
const START_GRACE: Duration = Duration::from_secs(30);

impl OpenError {
    /// What is away, if that is all that is wrong.
    pub fn waits_for(&self) -> Option<&'static str> {
        let is_away = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
        match self {
            OpenError::Ledger(error) if error.is_temporary() => Some("the database"),
            OpenError::Catalogue(KeeperError::Store(error)) if is_away(error) => Some("the store"),
            OpenError::Ground(GroundError::Store(error)) if is_away(error) => Some("the store"),
            OpenError::Ground(GroundError::Queue(QueueError::Unavailable(_))) => Some("the queue"),
            OpenError::Ledger(_) | OpenError::Catalogue(_) | OpenError::Ground(_) | OpenError::Settings(_) | OpenError::Value(_) => None,
        }
    }
}

/// Opens a worker, however long that takes; `None` if `stop` turns true first. `pulse` beats meanwhile, and `status` hears what is waited for.
///
/// # Errors
/// [`OpenError`], where waiting does not help.
pub async fn open(settings: &Settings, mut stop: watch::Receiver<bool>, pulse: &Pulse, status: &Status) -> Result<Option<Worker>, OpenError> {
    let (mut pause, mut tell_at) = (PAUSE_MIN, Instant::now());
    loop {
        pulse.beat(TRY_MAX);
        supervisor::starts_within(TRY_MAX + START_GRACE);
        let tried = tokio::select! {
            tried = Worker::open(settings) => tried,
            () = stopped(&mut stop) => return Ok(None),
        };
        let error = match tried {
            Ok(worker) => return Ok(Some(worker)),
            Err(error) => error,
        };
        let Some(what) = error.waits_for() else { return Err(error) };
        if Instant::now() >= tell_at {
            tracing::error!(error = %error, next_try_s = pause.as_secs(), "waiting for {what}");
            tell_at = Instant::now() + TELL_EVERY;
        }
        supervisor::status(&format!("waiting for {what}"));
        status.waits_for(what);
        pulse.beat(pause + TRY_MAX);
        supervisor::starts_within(pause + TRY_MAX + START_GRACE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Tells systemd and the log that the worker is ready once it receives, and until then, as long as `pulse` beats, that it waits.
pub async fn tell_when_receiving(mut stage: watch::Receiver<Stage>, pulse: Arc<Pulse>) {
    loop {
        if pulse.is_alive() {
            supervisor::starts_within(BEGIN_TELL_EVERY + START_GRACE);
        }
        match tokio::time::timeout(BEGIN_TELL_EVERY, stage.wait_for(|stage| *stage > Stage::Beginning)).await {
            Ok(Ok(stage)) if *stage == Stage::Receiving => break,
            Ok(_) => return, // it was stopped before
            Err(_) => supervisor::status("waiting for the database"),
        }
    }
    supervisor::ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error means that nobody is there to stop us, or to want us
}
