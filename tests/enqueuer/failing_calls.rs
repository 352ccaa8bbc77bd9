//! The enqueuer with one system call that fails: after its first line of output, any of them. It ends with 0 only if the
//! queue has the mail, else with 75 or by a signal, and leaves nothing torn.
//!
//! Before its first line the dynamic linker is at work, which ends with 127 if it cannot load a library; nothing of ours
//! runs yet then.

use bytes::Bytes;
use replyfleet::envelope::Envelope;

use crate::{
    sqs::{Manner, Sqs},
    strace,
    world::{World, wild_mail},
};

/// What the system says when a call fails; none of these is "try again at once".
fn errors(name: &str) -> &'static [&'static str] {
    match name {
        "mmap" | "mprotect" | "brk" | "madvise" | "munmap" => &["ENOMEM"],
        "clone3" => &["EAGAIN"],
        "openat" | "socket" | "socketpair" | "epoll_create1" | "eventfd2" => &["EMFILE", "EIO"],
        "write" | "fsync" | "rename" | "mkdir" => &["ENOSPC", "EIO"],
        "connect" => &["ENETUNREACH", "EADDRNOTAVAIL"],
        _ => &["EIO"],
    }
}

/// Calls that cannot fail.
const INFALLIBLE: [&str; 4] = ["exit_group", "exit", "gettid", "rt_sigreturn"];
/// Of a call that is made often, as many as this.
const OF_EACH: usize = 12;

fn points(world: &World, mail: &[u8]) -> Vec<(String, usize)> {
    let calls = strace::calls(world.run().mail(mail), &world.path("trace"));
    let mut points = Vec::new();
    for (name, calls) in calls {
        if INFALLIBLE.contains(&name.as_str()) {
            continue;
        }
        let nths: Vec<usize> = (calls.before_first_line + 1..=calls.most).collect();
        let every = nths.len().div_ceil(OF_EACH).max(1);
        points.extend(nths.into_iter().step_by(every).map(|nth| (name.clone(), nth)));
    }
    points
}

/// Told "delivered", the mail is queued: once, or again under the same key where a try had its effect unseen.
fn assert_queued(what: &str, copies: &[(Envelope, Bytes)]) {
    assert!((1..=4).contains(&copies.len()), "{what}: told delivered, and {} are queued", copies.len());
    let key = &copies[0].0.facts.request_key;
    assert!(copies.iter().all(|(envelope, _)| envelope.facts.request_key == *key), "{what}: two keys");
}

#[test]
fn any_failing_call_on_the_spool_defers_or_did_not_matter() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    let mut deferred = 0;
    for (name, nth) in points(&World::on_spool(), &mail) {
        for error in errors(&name) {
            let what = format!("{name} {nth} {error}");
            let world = World::on_spool().with_short_deadline();
            let ending = world.run().mail(&mail).by(strace::inject(&name, &format!("error={error}"), nth)).end();
            ending.assert_never_bounced(&what);
            let spooled = world.spooled();
            assert!(spooled.iter().all(|(_, bytes)| bytes == mail.as_slice()), "{what}: torn");
            match ending.status {
                Some(0) => assert_queued(&what, &spooled),
                _ => deferred += 1,
            }
        }
    }
    assert!(deferred > 0, "a folder that cannot be made is not tried again");
}

#[test]
fn a_spool_that_keeps_failing_defers_and_one_that_failed_once_does_not() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    for (name, error) in [("fsync", "EIO"), ("fsync", "ENOSPC"), ("rename", "EIO"), ("rename", "ENOSPC")] {
        let world = World::on_spool().furnished();
        let ending = world.run().mail(&mail).by(strace::inject_from(name, &format!("error={error}"), 1)).end();
        ending.assert_deferred("cannot write to the spool");
        // Renamed, and then the folder could not be synced: it may be there, whole.
        assert!(world.spooled().iter().all(|(_, bytes)| bytes == mail.as_slice()), "{name} {error}: torn");

        let world = World::on_spool().furnished();
        world.run().mail(&mail).by(strace::inject(name, &format!("error={error}"), 1)).end().assert_delivered();
        assert_queued(&format!("{name} {error}"), &world.spooled());
    }
}

#[test]
fn any_failing_call_to_sqs_defers_or_did_not_matter() {
    if strace::is_missing() {
        return;
    }
    let mail = wild_mail(8 << 10);
    let points = points(&World::on_sqs(&Sqs::start(Manner::Takes)), &mail);
    for (name, nth) in points {
        for error in errors(&name) {
            let what = format!("{name} {nth} {error}");
            let sqs = Sqs::start(Manner::Takes);
            let world = World::on_sqs(&sqs).with_short_deadline();
            let ending = world.run().mail(&mail).by(strace::inject(&name, &format!("error={error}"), nth)).end();
            ending.assert_never_bounced(&what);
            let taken: Vec<_> = sqs.taken().into_iter().map(|envelope| world.with_mail(envelope)).collect();
            assert!(taken.iter().all(|(_, bytes)| bytes == mail.as_slice()), "{what}: torn");
            if ending.status == Some(0) {
                assert_queued(&what, &taken);
            }
        }
    }
    let sqs = Sqs::start(Manner::Takes);
    let world = World::on_sqs(&sqs);
    world.run().mail(&mail).by(strace::inject_from("connect", "error=ENETUNREACH", 1)).end().assert_deferred("the queue is not available");
    assert!(sqs.taken().is_empty());
}

/// The runtime panics when it cannot have a thread for the spool's file: a panic without a hook in our code.
#[test]
fn a_panic_defers_and_names_only_its_place() {
    if strace::is_missing() {
        return;
    }
    // The first thread is the deadline's own.
    let world = World::on_spool();
    let ending = world.run().mail(b"x").by(strace::inject("clone3", "error=EAGAIN", 2)).end();
    ending.assert_deferred("panic at ");
    assert_eq!(ending.stderr, "", "nothing else is said");
    assert!(world.spooled().is_empty());

    let world = World::on_spool();
    world.run().mail(b"x").by(strace::inject("clone3", "error=EAGAIN", 1)).end().assert_deferred("no deadline thread");
}
