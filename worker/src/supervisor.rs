//! What systemd is told (sd_notify): that the worker is ready, what it waits for, that it stops, and that it still moves.
//!
//! Without systemd nothing is told, and nothing here fails: a notice that gets lost is systemd's to miss.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;

use crate::pulse::Pulse;

/// The worker answers requests.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("answering")]);
}

/// The worker finishes what it has in hand.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in hand")]);
}

/// What the worker does, for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Tells systemd that the worker moves, for as long as `pulse` is alive, if its unit has a watchdog (`WatchdogSec=`): in half
/// of that time, as sd_watchdog_enabled(3) would like it. Else it ends at once.
pub async fn keep_telling(pulse: Arc<Pulse>) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((within / 2).max(Duration::from_millis(10)));
    let mut was_alive = true;
    loop {
        ticks.tick().await;
        let is_alive = pulse.is_alive();
        if is_alive {
            tell(&[NotifyState::Watchdog]);
        } else if was_alive {
            tracing::error!("the worker's loop is stuck; systemd is told no more that it moves");
        }
        was_alive = is_alive;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "systemd cannot be told");
    }
}
