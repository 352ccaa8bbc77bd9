//! The drill, in the size that every change can afford: a few configurations with one seed each. By hand it takes any seed
//! (`tests/drill --help`).

#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::print_stdout, reason = "what the drill says is the test's output")]

use std::{process::Command, sync::Mutex};

use replyfleet_tests::{program, skipped};

/// What the drill ends with where it cannot run.
const CANNOT_RUN: i32 = 77;

/// One at a time: a drill takes what processors there are, and what it does takes time.
static TURN: Mutex<()> = Mutex::new(());

fn drill(arguments: &str) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = Command::new(program("replyfleet-drill")).args(arguments.split(' ')).output().expect("the drill starts");
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(CANNOT_RUN) {
        return skipped(String::from_utf8_lossy(&output.stderr).trim());
    }
    println!("{said}");
    assert!(output.status.success(), "the drill failed: {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("passed\n"), "it ends well and does not say so");
}

#[test]
fn two_thousand_mails_by_lmtp_sqs_and_postgresql_under_thirty_faults() {
    drill("--mails 2000 --faults 30 --seed 1 --intake lmtp --queue sqs --database postgresql");
}

#[test]
fn three_hundred_mails_by_lmtp_spool_and_sqlite_under_twenty_faults() {
    drill("--mails 300 --faults 20 --seed 2 --intake lmtp --queue spool --database sqlite");
}

#[test]
fn three_hundred_mails_by_pipe_sqs_and_mariadb_under_twenty_faults() {
    drill("--mails 300 --faults 20 --seed 3 --intake pipe --queue sqs --database mariadb");
}

#[test]
fn without_a_fault_every_reply_comes_exactly_once() {
    drill("--mails 200 --faults 0 --seed 4 --intake pipe --queue sqs --database postgresql");
}
