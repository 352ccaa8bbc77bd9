//! What the end-to-end tests share: the built programs, waiting with a deadline, skipping honestly, and worlds of real
//! daemons that end with their test.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod autoscaling;
pub mod cloudwatch;
pub mod cloudwatch_figures;
pub mod cloudwatch_read;
pub mod corpora;
pub mod databases;
pub mod dkim;
pub mod dns;
pub mod faults;
mod http;
pub mod installation;
pub mod metadata;
pub mod milter;
pub mod ministack;
pub mod proxy;
pub mod ses;
pub mod smtp;
pub mod sqs;
pub mod web;
pub mod world;

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// The names and versions of all crates that a package of this workspace links, as `cargo tree` sees it built alone.
///
/// # Panics
/// If cargo cannot tell.
pub fn linked_crates(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--offline", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes text");
    // "name v1.2.3 (proc-macro)", "name v1.2.3 (*)"
    let mut crates: Vec<String> = text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    crates.sort_unstable();
    crates.dedup();
    crates
}

/// In how many versions a crate is among `crates`.
pub fn versions_of(crates: &[String], wanted: &str) -> usize {
    crates.iter().filter(|name| name.split(' ').next() == Some(wanted)).count()
}

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a test's surroundings cannot be had on this machine: the test is skipped.
#[derive(Debug)]
pub struct NoWorld(pub String);

/// A built program of this workspace: tests run beside them (`target/<profile>/deps/<test>`).
///
/// # Panics
/// If it is not built; `tests/run` builds all programs first.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; run: cargo build --workspace", path.display());
    path
}

/// The repository's root folder.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Says that a test was skipped, and why. With `CI=true` a skip is a failure.
///
/// # Panics
/// With `CI=true`.
pub fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped under CI: {why}");
    eprintln!("skipped: {why}");
    // The runner hides what a passing test says; tests/run shows this file at its end.
    if let Some(file) = std::env::var_os("REPLYFLEET_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("tests/run names a file");
        writeln!(file, "{why}").expect("it can be written");
    }
}

/// Waits until `look` returns something, and returns it.
///
/// # Panics
/// After `limit`, with what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// [`wait_for`] where looking is asynchronous.
///
/// # Panics
/// After `limit`, with what was waited for.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("waited {limit:?} in vain for {what}"))
}
