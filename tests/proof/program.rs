//! Other programs: whether they are there, and what they say.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use replyfleet_tests::{ministack::venv, repository, skipped};
use serde_json::Value;

/// Python, with the packages of `tests/run` where it has installed them.
pub(crate) fn python() -> PathBuf {
    Some(venv().join("bin/python3")).filter(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

/// Whether a program is there. If it is not, that is said.
pub(crate) fn is_there(path: &str) -> bool {
    let is_there = Path::new(path).exists();
    if !is_there {
        skipped(&format!("no {path}; tests/run installs it"));
    }
    is_there
}

/// What a program says; it must end well, and within two minutes.
pub(crate) fn said(command: &mut Command) -> Vec<u8> {
    said_to(command, b"")
}

/// [`said`], with this on its standard input.
pub(crate) fn said_to(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=1", "120"]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = limited.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("timeout starts");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input)); // one that does not read to the end says so by its status
        child.wait_with_output().expect("output")
    });
    assert!(output.status.success(), "{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What one of our Python scripts, which lie beside this file, prints as JSON.
pub(crate) fn script(name: &str, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Value {
    let mut command = Command::new(python());
    command.arg(repository().join("tests/proof").join(name)).args(arguments);
    serde_json::from_slice(&said(&mut command)).expect("it prints JSON")
}
