//! Programs in a world: run to their end, or running beside the test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{SOON, World};
use crate::wait_for;

/// Longest run of a program that is waited for, in seconds.
const RUN_LIMIT_S: &str = "60";

/// A program that runs in a world, killed with it.
pub struct Process {
    name: String,
    nsenter: Child,
    /// As the machine numbers it.
    pid: u32,
}

impl Process {
    /// The name it was started by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal (`TERM`, `KILL`, `STOP`, `CONT`).
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, signal: &str) {
        assert!(kill(signal, self.pid), "cannot send {signal} to {}", self.name);
        if signal == "CONT" {
            assert!(kill(signal, self.nsenter.id()), "nsenter stops with its child, and does not go on with it");
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.nsenter.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `limit`.
    pub fn wait(mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || self.nsenter.try_wait().expect("wait"))
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    /// If it had ended by itself before.
    pub fn kill(self) {
        self.signal("KILL");
        let status = self.wait(SOON);
        assert!(!status.success(), "it had ended by itself");
    }
}

impl Drop for Process {
    /// Ends `nsenter`, which may be stopped; the program itself is reaped in its world.
    fn drop(&mut self) {
        if self.is_running() {
            kill("KILL", self.pid);
            let _ = self.nsenter.kill();
            let _ = self.nsenter.wait();
        }
    }
}

fn kill(signal: &str, pid: u32) -> bool {
    let status = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &pid.to_string()]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl World {
    /// A program with its arguments to follow, to be run in this world.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--net", "--mount", "--pid", "--wdns=/", "--"]).arg(program);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and returns its output.
    ///
    /// # Panics
    /// If it fails, or takes longer than a minute.
    pub fn run(&self, command: &mut Command) -> Vec<u8> {
        self.run_with_input(command, b"")
    }

    /// As [`World::run`], with bytes on its standard input.
    pub(super) fn run_with_input(&self, command: &mut Command, input: &[u8]) -> Vec<u8> {
        let mut limited = Command::new("timeout");
        limited.args(["--kill-after=1", RUN_LIMIT_S]).arg(command.get_program()).args(command.get_args());
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = limited.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("timeout starts");
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input)); // one that does not read to the end says so by its status
            child.wait_with_output().expect("output")
        });
        let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{:?}: {}\n{}", command.get_args().collect::<Vec<_>>(), output.status, said());
        output.stdout
    }

    /// Starts a program beside the test; its output goes to `NAME.log` in the world's folder.
    pub(super) fn spawn(&self, name: &str, command: &mut Command) -> Process {
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).expect("log file");
        let mut nsenter = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("nsenter starts");
        let pid = wait_for(name, SOON, || {
            assert!(nsenter.try_wait().unwrap().is_none(), "{name} ended: {}", fs::read_to_string(self.path(&format!("{name}.log"))).unwrap());
            let child = child(nsenter.id())?;
            (comm(child)? != "nsenter").then_some(child)
        });
        Process { name: name.to_owned(), nsenter, pid }
    }

    pub(super) fn start_daemon(&mut self, name: &str, command: &mut Command) {
        let daemon = self.spawn(name, command);
        self.daemons.push(daemon);
    }
}

/// The child of a process, once it runs the program of this name.
pub(super) fn only_child(parent: u32, name: &str) -> Option<u32> {
    child(parent).filter(|&child| comm(child).as_deref() == Some(name))
}

fn child(parent: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

fn comm(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|comm| comm.trim().to_owned())
}
