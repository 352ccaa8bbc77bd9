//! Row 14: the same message at two workers at once. Each reply is sent by one of them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::Stdio,
};

use replyfleet_tests::{
    faults::{Fault, Rule},
    wait_for,
};
use serde_json::Value;

use crate::{
    clouded::OnSqs,
    running::{DEADLINE, Running, names},
};

const MAILS: usize = 40;
const COPIES: usize = 20;

#[test]
fn a_message_that_two_workers_have_at_once_is_answered_by_one_of_them() {
    let world = OnSqs::new();
    let lines = |worker: &str, message: &str| {
        let log = fs::read_to_string(world.installation.path(worker)).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect::<Vec<_>>()
    };
    let ended = |worker: &str| lines(worker, "message ended").iter().map(|line| line["request"].to_string()).collect::<Vec<_>>();
    let start = |worker: &str| Running::saying(&world.installation, Stdio::from(File::create(world.installation.path(worker)).unwrap()));
    let _workers = ["one", "other"].map(start);
    // Both are there before the mail is, so that what is given twice finds another.
    wait_for("both workers", DEADLINE, || ["one", "other"].iter().all(|worker| !lines(worker, "ready").is_empty()).then_some(()));
    world.sqs.faults().add(Rule::new("ReceiveMessage", Fault::Duplicate).times(COPIES as u64));
    world.take(MAILS);
    // A copy that came while the other worker had the reply waits for that one's claim to end, for longer than this test: it has
    // ended once, without a reply, and that is what counts.
    wait_for("every message, and every copy, to end", DEADLINE, || {
        (ended("one").len() + ended("other").len() >= MAILS + COPIES && world.replies() == MAILS).then_some(())
    });
    let [one, other] = ["one", "other"].map(|worker| ended(worker).into_iter().collect::<BTreeSet<_>>());
    assert!(one.intersection(&other).next().is_some(), "some came to both");
    assert_eq!(one.union(&other).count(), MAILS);
    assert_eq!(world.replies(), MAILS);
    assert!(names(&world.installation, "replies/tmp").is_empty());
}
