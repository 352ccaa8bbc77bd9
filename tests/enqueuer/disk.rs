//! A queue folder that cannot be written: a file in its place, read-only, full.

use std::{
    ffi::OsString,
    fs,
    process::{Command, Stdio},
};

use replyfleet_tests as harness;

use crate::world::{World, read_envelopes, wild_mail};

/// Runs the words behind it in a mount namespace of its own, after `mount`.
pub(crate) fn in_namespace(mount: &str) -> Vec<OsString> {
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"].map(OsString::from).into()
}

/// Whether there are no mount namespaces here; says so.
pub(crate) fn has_no_namespaces() -> bool {
    let script = ["--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    let works = Command::new("unshare").args(script).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        harness::skipped("needs root, for a mount namespace");
    }
    !works
}

#[test]
fn a_file_in_place_of_the_queue_folder_defers() {
    let world = World::on_spool();
    fs::write(&world.spool, "a file").unwrap();
    world.run().mail(b"x").end().assert_deferred("queue.url: ");

    let world = World::on_spool();
    fs::create_dir(&world.spool).unwrap();
    fs::write(world.spool.join("new"), "a file").unwrap();
    world.run().mail(b"x").end().assert_deferred("queue.url: ");
}

#[test]
fn a_read_only_queue_folder_defers() {
    if has_no_namespaces() {
        return;
    }
    let world = World::on_spool();
    world.run().mail(b"x").end().assert_delivered();
    let spool = world.spool.display();
    let mount = format!(r#"mount --bind '{spool}' '{spool}' && mount -o remount,bind,ro '{spool}' && exec "$@""#);
    world.run().mail(b"x").by(in_namespace(&mount)).end().assert_deferred("Read-only file system");
    assert_eq!(world.spooled().len(), 1);
}

#[test]
fn a_full_disk_defers_and_nothing_half_accepted_is_queued() {
    if has_no_namespaces() {
        return;
    }
    let world = World::on_spool();
    let mail = wild_mail(9_000);
    let out = world.path("out");
    fs::create_dir_all(&world.spool).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(world.path("mail"), &mail).unwrap();
    // 64 KB take five such mails; ten are tried, and what the folder holds then is copied out of the namespace.
    let script = format!(
        r#"mount -t tmpfs -o size=64k tmpfs '{spool}' || exit 9
        for n in 0 1 2 3 4 5 6 7 8 9; do "$@" --queue-id=Q$n < '{mail}' > '{out}/said.'$n; echo $? > '{out}/status.'$n; done
        cp -a '{spool}/new' '{spool}/tmp' '{out}'; exit 0"#,
        spool = world.spool.display(),
        mail = world.path("mail").display(),
        out = out.display()
    );
    let ending = world.run().without_argument("queue-id").by(in_namespace(&script)).end();
    assert_eq!(ending.status, Some(0), "{ending:?}");

    let read = |name: &str, n: usize| fs::read_to_string(out.join(format!("{name}.{n}"))).unwrap();
    let mut told_delivered = Vec::new();
    for n in 0..10 {
        let (status, said) = (read("status", n), read("said", n));
        assert!(said.starts_with("4.3.0 "), "{said}");
        match status.trim() {
            "0" => told_delivered.push(format!("Q{n}")),
            "75" => assert!(said.contains("No space left"), "{said}"),
            other => panic!("status {other}: {said}"),
        }
    }
    assert!((1..10).contains(&told_delivered.len()), "some were taken, then the disk was full: {told_delivered:?}");
    let queued = read_envelopes(&out.join("new"));
    assert!(queued.iter().all(|envelope| envelope.mail == replyfleet::envelope::Mail::Inline(mail.clone().into())), "whole mails only");
    let mut ids: Vec<String> = queued.into_iter().map(|envelope| envelope.facts.queue_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, told_delivered, "queued is what was told delivered");
    assert_eq!(fs::read_dir(out.join("tmp")).unwrap().count(), 0, "a failed write gives its space back");
}
