//! What systemd is told (sd_notify(3)): readiness, signs of life, what is waited for, and the end.
//!
//! A socket that nobody reads blocks who writes to it. So a thread of its own writes, and what finds too much waiting there
//! is left out: mail goes on. Without systemd nobody listens, and nothing here fails.

use std::{
    sync::{LazyLock, mpsc},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::oneshot;

/// Notices that may wait for systemd before further ones are left out.
const BACKLOG_MAX: usize = 16;

/// What is told.
pub(crate) enum Notice {
    /// Mail is taken.
    Ready,
    /// The start takes longer, by this much from now; and what for.
    Starting(Duration, String),
    /// The service moves, and how much it has to do.
    Moves(String),
    /// It finishes what is under way. Answered once systemd has it: a process that ends before has told nothing.
    Stopping(oneshot::Sender<()>),
}

/// The way to the thread that tells.
static TELLER: LazyLock<mpsc::SyncSender<Notice>> = LazyLock::new(|| {
    let (sender, notices) = mpsc::sync_channel(BACKLOG_MAX);
    std::thread::spawn(move || {
        for notice in notices {
            write(&notice);
            if let Notice::Stopping(told) = notice {
                let _ = told.send(()); // an error means that the end does not wait any more
            }
        }
    });
    sender
});

/// Tells systemd, sooner or later.
pub(crate) fn tell(notice: Notice) {
    let _ = TELLER.try_send(notice); // an error means that systemd does not read, or that the thread is gone
}

fn write(notice: &Notice) {
    let told = match notice {
        Notice::Ready => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("taking mail")]),
        Notice::Starting(longer, what) => {
            let micros = u32::try_from(longer.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(what)])
        }
        Notice::Moves(status) => sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(status)]),
        Notice::Stopping(_) => sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]),
    };
    if let Err(error) = told {
        tracing::debug!(error = %error, "systemd cannot be told");
    }
}
