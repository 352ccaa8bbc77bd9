//! Which system calls a run makes, and runs in which one of them fails or is its last.
//!
//! strace(1) counts calls by name and *for each thread*: "the 2nd `write`" is that of whichever thread comes to its own
//! second first. A call that another thread always comes to earlier cannot be reached so; `killed` says what it does
//! about the one that matters, the write of the mail. Without `--seccomp-bpf`: with it most injected signals never come.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use replyfleet_tests as harness;

use crate::world::Run;

/// Whether strace(1) can be used here; says so if not.
pub(crate) fn is_missing() -> bool {
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        harness::skipped("strace is missing, or may not trace here");
    }
    !works
}

/// The words before the enqueuer's own that make `fate` befall the `nth` call of `name`.
pub(crate) fn inject(name: &str, fate: &str, nth: usize) -> Vec<OsString> {
    inject_when(name, fate, &nth.to_string())
}

/// The same from the `nth` call on.
pub(crate) fn inject_from(name: &str, fate: &str, nth: usize) -> Vec<OsString> {
    inject_when(name, fate, &format!("{nth}+"))
}

fn inject_when(name: &str, fate: &str, when: &str) -> Vec<OsString> {
    let inject = format!("inject={name}:{fate}:when={when}");
    ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject].map(OsString::from).into()
}

/// How often a run makes a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// The most that one thread makes.
    pub(crate) most: usize,
    /// Those of the main thread before the enqueuer's first line of output.
    pub(crate) before_first_line: usize,
}

/// The system calls of a run, by name.
pub(crate) fn calls(run: Run, log: &Path) -> BTreeMap<String, Calls> {
    let words = ["strace", "-f", "-qqq", "-o"].map(OsString::from).into_iter().chain([log.into()]);
    run.by(words).end().assert_delivered();
    let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut calls: BTreeMap<String, Calls> = BTreeMap::new();
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let mut is_silent = true;
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let Some((name, rest)) = call.split_once('(') else { continue };
        // "<... read resumed>" and "+++ exited" are no calls of their own.
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        is_silent &= !(name == "write" && rest.starts_with("1, "));
        let count = by_thread.entry((thread.to_owned(), name.to_owned())).or_default();
        *count += 1;
        let calls = calls.entry(name.to_owned()).or_default();
        calls.most = calls.most.max(*count);
        if is_silent {
            calls.before_first_line = *count;
        }
    }
    assert!(!is_silent, "the trace has the first line of output");
    calls
}
