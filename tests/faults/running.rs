//! A worker that runs beside a test, and what it says.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::Duration,
};

use replyfleet_tests::{installation::Installation, program, wait_for};
use serde_json::Value;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running worker, killed with the test.
pub(crate) struct Running<'a> {
    installation: &'a Installation,
    child: Child,
}

impl<'a> Running<'a> {
    /// Starts one; what it says is appended to the file `log`.
    pub(crate) fn start(installation: &'a Installation) -> Self {
        let log = File::options().create(true).append(true).open(installation.path("log")).unwrap();
        Self::saying(installation, Stdio::from(log))
    }

    /// Starts one that says what it says there.
    pub(crate) fn saying(installation: &'a Installation, stderr: Stdio) -> Self {
        let mut command = Command::new(program("replyfleet-worker"));
        command.arg("--config").arg(installation.path("replyfleet.toml")).stdout(Stdio::null()).stderr(stderr);
        Self { installation, child: command.spawn().unwrap() }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The log's lines whose message is this.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.installation.path("log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Waits until `count` messages have ended for this reason.
    pub(crate) fn wait_for_ends(&self, outcome: &str, why: &str, count: usize) {
        let is_it = |line: &&Value| line["outcome"] == outcome && line["why"] == why;
        wait_for(&format!("{count} x {outcome} {why}"), DEADLINE, || {
            (self.lines("message ended").iter().filter(is_it).count() >= count).then_some(())
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes what waits for its time in the spool due now.
pub(crate) fn hurry(installation: &Installation) {
    for name in names(installation, "spool/new") {
        let (_, rest) = name.split_once('-').unwrap();
        let new = installation.path("spool/new");
        let _ = fs::rename(new.join(&name), new.join(format!("1790000000000-{rest}"))); // a worker was faster
    }
}

/// The names of the files in a folder.
pub(crate) fn names(installation: &Installation, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(installation.path(folder)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
