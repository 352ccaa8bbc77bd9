//! What systemd is told (sd_notify): that the worker is ready, what it waits for, that it stops, and that it still moves. The
//! operator's services tell it by this, too.
//!
//! Without systemd nothing is told, and nothing here fails: a notice that gets lost is systemd's to miss. A socket that nobody
//! reads blocks who writes to it; so a thread of its own writes, and the worker goes on.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use sd_notify::NotifyState;

use crate::pulse::Pulse;

/// Notices that may wait for systemd before signs of life are left out.
const BACKLOG_MAX: usize = 16;

/// What is told.
enum Notice {
    Ready(&'static str),
    Stopping,
    Status(String),
    StartsWithin(Duration),
    Moves,
}

/// Notices that the thread has not told yet.
static BACKLOG: AtomicUsize = AtomicUsize::new(0);
/// The way to the thread that tells.
static TELLER: LazyLock<mpsc::Sender<Notice>> = LazyLock::new(|| {
    let (sender, notices) = mpsc::channel();
    std::thread::spawn(move || {
        for notice in notices {
            write(&notice);
            BACKLOG.fetch_sub(1, Ordering::Relaxed);
        }
    });
    sender
});

/// The worker answers requests.
pub fn ready() {
    ready_as("answering");
}

/// A program is ready, and does this, for `systemctl status`.
pub fn ready_as(text: &'static str) {
    tell(Notice::Ready(text));
}

/// The worker finishes what it has in hand.
pub fn stopping() {
    tell(Notice::Stopping);
}

/// What the worker does, for `systemctl status`.
pub fn status(text: &str) {
    tell(Notice::Status(text.to_owned()));
}

/// The worker still waits, and says more within this time: its unit's `TimeoutStartSec=` is not to end it meanwhile.
pub fn starts_within(time: Duration) {
    tell(Notice::StartsWithin(time));
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
        if is_alive && BACKLOG.load(Ordering::Relaxed) < BACKLOG_MAX {
            tell(Notice::Moves);
        } else if !is_alive && was_alive {
            tracing::error!("the loop is stuck; systemd is told no more that it moves");
        }
        was_alive = is_alive;
    }
}

fn tell(notice: Notice) {
    BACKLOG.fetch_add(1, Ordering::Relaxed);
    let _ = TELLER.send(notice); // an error means that the thread has panicked, and nobody is told any more
}

fn write(notice: &Notice) {
    let told = match notice {
        Notice::Ready(text) => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(text)]),
        Notice::Stopping => sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("finishing what is in hand")]),
        Notice::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
        Notice::StartsWithin(time) => sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))]),
        Notice::Moves => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        tracing::debug!(error = %error, "systemd cannot be told");
    }
}
