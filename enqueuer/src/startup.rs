//! The service's start while secret, spool or store are not there yet: it waits, says for what, and is not ready meanwhile.
//!
//! A disk may be mounted late, a secret be written by whatever sets the machine up. So these are tried again, rarer and
//! rarer, with one line in the log a minute. What the settings say wrong ends the start at once: they are read only once.

use std::time::Duration;

use replyfleet::{
    ground::{Ground, GroundError},
    keyed::Secret,
    settings::{Settings, SettingsError},
    telemetry::chain,
};
use tokio::{sync::watch, time::Instant};

use crate::supervisor::{Notice, tell};

/// The pause after the first failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often the log is told what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The longest that one try takes, as systemd is told.
const TRY_MAX: Duration = Duration::from_secs(60);

/// Opens secret, queue and store, however long that takes; `None` if `stop` turns true first.
///
/// # Errors
/// [`GroundError`], where the settings are wrong.
pub(crate) async fn open(settings: &Settings, stop: &mut watch::Receiver<bool>) -> Result<Option<(Secret, Ground)>, GroundError> {
    let (mut pause, mut tell_at) = (PAUSE_MIN, Instant::now());
    loop {
        let error = match try_to_open(settings).await {
            Ok(opened) => return Ok(Some(opened)),
            Err(error @ GroundError::Settings(SettingsError::Secret(_)) | error @ (GroundError::Queue(_) | GroundError::Store(_))) => chain(&error),
            Err(error) => return Err(error),
        };
        if Instant::now() >= tell_at {
            tracing::error!(error, next_try_s = pause.as_secs(), "waiting for secret, queue or store");
            tell_at = Instant::now() + TELL_EVERY;
        }
        tell(Notice::Starting(pause + TRY_MAX, format!("waiting: {error}")));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn try_to_open(settings: &Settings) -> Result<(Secret, Ground), GroundError> {
    Ok((settings.secret()?, Ground::open(settings, false).await?))
}
