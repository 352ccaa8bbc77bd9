//! Postfix's own program for its queue, postqueue(1): what waits (`-j`, a JSON object for each mail), and that all of it be tried
//! now (`-f`). Whoever runs it must reach Postfix's public sockets: root, or with the group `postdrop`, since a sandbox takes the
//! program's own set-group-id away.
//!
//! It tells addresses. Of its lines only the time is read, as a stream, and no word of them leaves this file.

use std::{
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use replyfleet::clock::UnixMillis;
use replyfleet_worker::metrics::gauges::MailQueue;
use serde::Deserialize;

const PROGRAM: &str = "postqueue";
/// The longest that it may take; then it is killed.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(60);
/// The most that is read of what it says on standard error.
const SAID_BYTES_MAX: u64 = 1_000;

/// An instance of Postfix.
pub(super) struct Instance(PathBuf);

/// A mail that waits, as far as it is anybody's business.
#[derive(Deserialize)]
struct Waiting {
    /// Seconds since 1970.
    arrival_time: u64,
}

impl Instance {
    /// By its folder of configuration.
    pub(super) fn new(config_directory: &Path) -> Self {
        Self(config_directory.to_owned())
    }

    /// That folder.
    pub(super) fn directory(&self) -> &Path {
        &self.0
    }

    /// What waits in it, wherever in its queues: incoming, active, deferred, on hold.
    ///
    /// # Errors
    /// What the program said, or that it did not end in time.
    pub(super) async fn look(&self) -> Result<MailQueue, String> {
        self.run("-j", |output| {
            let (mut depth, mut first) = (0, None::<u64>);
            for mail in serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Waiting>() {
                // Not the reader's own words: they would quote the mail.
                let mail = mail.map_err(|_| format!("line {} of {PROGRAM} -j is not what is expected of Postfix 3.1 and later", depth + 1))?;
                depth += 1;
                first = Some(first.map_or(mail.arrival_time, |first| first.min(mail.arrival_time)));
            }
            let oldest_age = first.map(|first| UnixMillis::now().since(UnixMillis(first.saturating_mul(1_000)))).unwrap_or_default();
            Ok(MailQueue { depth, oldest_age })
        })
        .await
    }

    /// Has all of it tried now.
    ///
    /// # Errors
    /// As for [`Instance::look`].
    pub(super) async fn flush(&self) -> Result<(), String> {
        self.run("-f", |_| Ok(())).await
    }

    async fn run<T: Send + 'static>(
        &self,
        option: &'static str,
        read: impl FnOnce(&mut dyn Read) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(&self.0).arg(option).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{PROGRAM} cannot be started: {error}"))?;
        let (output, said) = (child.stdout.take(), child.stderr.take());
        let (Some(mut output), Some(said)) = (output, said) else { return Err("no pipe".into()) };
        let child = Arc::new(Mutex::new(child));
        let ending = Ending(Arc::clone(&child));
        let running = tokio::task::spawn_blocking(move || {
            let result = read(&mut output);
            drop(output); // one that still writes is not waited for
            let mut text = Vec::new();
            let _ = said.take(SAID_BYTES_MAX).read_to_end(&mut text); // it is only for the log
            let status = lock(&child).wait().map_err(|error| error.to_string())?;
            result.and_then(|value| ended(option, status, &text).map(|()| value))
        });
        let finished = tokio::time::timeout(LOOK_MAX, running).await;
        drop(ending);
        match finished {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("reading it has panicked".into()),
            Err(_) => Err(format!("{PROGRAM} {option} did not end within {} s", LOOK_MAX.as_secs())),
        }
    }
}

/// Kills the program, if it still runs.
struct Ending(Arc<Mutex<Child>>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Held only by one that waits for the end of a program that has closed its output: then nothing has to be killed.
        if let Ok(mut child) = self.0.try_lock() {
            let _ = child.kill(); // it has ended
            let _ = child.try_wait(); // else it is reaped with us
        }
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    // Poisoned: a handle is whole whatever panicked.
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it said, if it failed: its last line, unless an address is in it.
fn ended(option: &str, status: ExitStatus, said: &[u8]) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rfind(|line| !line.is_empty() && !line.contains('@')).unwrap_or_default();
    Err(format!("{PROGRAM} {option}: {status}: {line}"))
}
