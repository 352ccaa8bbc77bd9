//! The enqueuer killed at every system call that matters. Postfix defers on a signal and runs it again, so after one more
//! run the queue must hold the mail: whole, at least once, and under one request key however often.

use std::ffi::OsString;

use bytes::Bytes;
use replyfleet::envelope::Envelope;

use crate::{
    sqs::{Manner, Sqs},
    strace,
    world::{Ending, World, wild_mail},
};

const SIGKILL: i32 = 9;
const SIGXFSZ: i32 = 25;
const FATE: &str = "signal=SIGKILL";

/// Calls by which the world outside changes, or answers: killed at each of them. Of the others some are taken.
const EFFECTS: [&str; 26] = [
    "clone3",
    "close",
    "connect",
    "epoll_wait",
    "exit_group",
    "fdatasync",
    "fsync",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "openat",
    "pwrite64",
    "pwritev",
    "read",
    "recvfrom",
    "rename",
    "renameat",
    "renameat2",
    "sendmsg",
    "sendto",
    "shutdown",
    "socket",
    "unlink",
    "write",
    "writev",
];

/// The points of a sweep: a call's name and how many-th it is.
fn points(world: &World, mail: &[u8]) -> Vec<(String, usize)> {
    let calls = strace::calls(world.run().mail(mail), &world.path("trace"));
    let mut points = Vec::new();
    for (name, calls) in calls {
        let picked: Vec<usize> = match EFFECTS.contains(&name.as_str()) {
            true => (1..=calls.most).collect(),
            false => vec![1, calls.most.div_ceil(2), calls.most],
        };
        points.extend(picked.into_iter().map(|nth| (name.clone(), nth)));
    }
    points.dedup();
    points
}

/// Runs the enqueuer killed at each point and then once more, each in a world of its own, and looks at what is queued.
/// Returns the points at which it really died, each with the number of copies.
fn sweep(
    make: impl Fn() -> World,
    points: Vec<(String, usize)>,
    mail: &[u8],
    queued: impl Fn(&World) -> Vec<(Envelope, Bytes)>,
) -> Vec<(String, usize)> {
    let mut died = Vec::new();
    for (name, nth) in points {
        let point = format!("{name} {nth}");
        let world = make();
        let first = world.run().mail(mail).by(strace::inject(&name, FATE, nth)).end();
        assert!(matches!((first.status, first.signal), (Some(0), None) | (None, Some(SIGKILL))), "{point}: {first:?}");
        let copies = assert_once_more(&world, &point, &first, mail, &queued);
        if first.signal.is_some() {
            died.push((point, copies));
        }
    }
    died
}

/// After `first` Postfix delivers again, unless it was told 0. Returns how many copies are queued then.
fn assert_once_more(world: &World, point: &str, first: &Ending, mail: &[u8], queued: impl Fn(&World) -> Vec<(Envelope, Bytes)>) -> usize {
    let before = queued(world).len();
    if first.status == Some(0) {
        assert_eq!(before, 1, "{point}: told delivered");
    } else {
        assert!(before <= 1, "{point}: {before} copies of one run");
        world.run().mail(mail).end().assert_delivered();
    }
    let copies = queued(world);
    assert!(!copies.is_empty(), "{point}: the mail is lost");
    assert!(copies.iter().all(|(_, bytes)| bytes == mail), "{point}: a copy has other bytes");
    let key = &copies[0].0.facts.request_key;
    assert!(copies.iter().all(|(envelope, _)| &envelope.facts.request_key == key), "{point}: two request keys for one delivery");
    copies.len()
}

fn assert_died_at(died: &[(String, usize)], points: &[&str]) {
    for point in points {
        assert!(died.iter().any(|(at, _)| at == point), "nothing died at {point}; died at {died:?}");
    }
}

fn copies_at(died: &[(String, usize)], point: &str) -> usize {
    died.iter().find(|(at, _)| at == point).map_or(0, |(_, copies)| *copies)
}

#[test]
fn killed_at_any_call_of_the_first_mail_on_a_new_machine_it_is_neither_lost_nor_torn() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    let points = points(&World::on_spool(), &mail);
    let died = sweep(World::on_spool, points, &mail, World::spooled);
    // The folders are made, and synced, before the mail is written by a thread of its own.
    assert_died_at(&died, &["write 1", "mkdir 1", "fsync 1", "rename 1", "exit_group 1"]);
    assert_eq!(copies_at(&died, "mkdir 1"), 1);
    assert_eq!(copies_at(&died, "exit_group 1"), 2, "accepted, and then killed before Postfix heard of it");
}

#[test]
fn killed_at_any_call_on_the_spool_a_mail_is_neither_lost_nor_torn() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    let make = || World::on_spool().furnished();
    let died = sweep(make, points(&make(), &mail), &mail, World::spooled);
    // The mail's bytes, its place, and both made durable.
    assert_died_at(&died, &["write 1", "rename 1", "fsync 1", "fsync 2", "exit_group 1"]);
    assert_eq!(copies_at(&died, "rename 1"), 1, "nobody's before the rename");
    assert_eq!(copies_at(&died, "fsync 1"), 2, "in its place, not accepted, and not taken back");
    assert_eq!(copies_at(&died, "exit_group 1"), 2, "accepted, and then killed before Postfix heard of it");
}

#[test]
fn killed_at_any_call_of_a_claim_check_no_message_points_to_a_missing_mail() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(40 << 10);
    let make = || World::on_spool_with_claim_checks().furnished();
    let died = sweep(make, points(&make(), &mail), &mail, World::spooled);
    // strace counts by thread, and the message may be written by another thread than the object was: that both are
    // killed at each of their calls shows only when one thread does both, as it mostly does.
    assert_died_at(&died, &["fsync 1", "rename 1", "fsync 2", "exit_group 1"]);
}

#[test]
fn killed_at_any_call_to_sqs_a_mail_is_neither_lost_nor_torn() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    let sqs = Sqs::start(Manner::Takes);
    let points = points(&World::on_sqs(&sqs), &mail);
    let mut died = Vec::new();
    for point in points {
        let sqs = Sqs::start(Manner::Takes);
        died.extend(sweep(
            || World::on_sqs(&sqs),
            vec![point],
            &mail,
            |world| sqs.taken().into_iter().map(|envelope| world.with_mail(envelope)).collect(),
        ));
    }
    assert_died_at(&died, &["connect 1", "recvfrom 1", "exit_group 1"]);
    assert_eq!(copies_at(&died, "connect 1"), 1, "nothing was sent before the connection");
    assert_eq!(copies_at(&died, "exit_group 1"), 2, "taken, and then killed before Postfix heard of it");
    let sends = ["write", "writev", "sendto", "sendmsg"];
    assert!(died.iter().any(|(at, _)| sends.contains(&at.split(' ').next().unwrap())), "nothing died at a send: {died:?}");
}

/// The write of the mail itself happens in a thread whose first `write` comes after the main thread's. A limit on the
/// size of files kills it there, after as many bytes as the limit lets through.
#[test]
fn killed_in_the_middle_of_writing_the_mail_nothing_half_written_is_queued() {
    let mail = wild_mail(8 << 10);
    for limit in [0, 1, 100, 512, 4096, 8000, 8192] {
        let world = World::on_spool();
        let first = world.run().mail(&mail).by(["prlimit", &format!("--fsize={limit}"), "--core=0"].map(OsString::from)).end();
        assert_eq!(first.signal, Some(SIGXFSZ), "{limit}: {first:?}");
        let torn: Vec<u64> = std::fs::read_dir(world.spool.join("tmp")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(torn, [limit], "the write was cut");
        assert_eq!(assert_once_more(&world, &format!("{limit} bytes written"), &first, &mail, World::spooled), 1);
    }
}
