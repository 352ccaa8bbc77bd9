//! The machine image: what is laid on a machine is asked of the programs that read it, an image is published to an account that
//! checks every block, and (in the long tests) one is built, compared, and booted.
//!
//! Needs root for namespaces, and the programs; without them a test is skipped, and with `CI=true` that is a failure.

mod boot;
mod files;
mod publish;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use replyfleet_tests::{repository, skipped};

/// What is laid on every machine.
fn files() -> PathBuf {
    repository().join("ami/files")
}

/// Whether all of these programs are here and the test may use namespaces. Says so if not: the test is skipped.
fn has(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| !Command::new("sh").args(["-c", r#"command -v "$1" >/dev/null"#, "sh", program]).status().unwrap().success();
    if let Some(missing) = programs.iter().find(is_missing) {
        skipped(&format!("no {missing}; tests/run installs it"));
        return false;
    }
    if !Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).status().is_ok_and(|status| status.success()) {
        skipped("namespaces of its own are root's");
        return false;
    }
    true
}

/// Runs a shell script and gives what it said on standard output. `$1` and on are the arguments.
fn run(script: &str, arguments: &[&Path]) -> String {
    checked(Command::new("timeout").args(["60", "sh", "-euc", script, "sh"]).args(arguments))
}

/// As [`run`], in namespaces of its own: the network is an empty one, and every process in there ends with the script.
fn run_alone(script: &str, arguments: &[&Path]) -> String {
    let unshare = ["60", "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-euc", script, "sh"];
    checked(Command::new("timeout").args(unshare).args(arguments))
}

fn checked(command: &mut Command) -> String {
    let output = command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    said.into_owned()
}
