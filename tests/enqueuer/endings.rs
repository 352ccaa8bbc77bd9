//! Every way for a run to end that needs no second party: settings, secret, arguments, the mail itself, the outputs.

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt, time::Duration};

use replyfleet_tests::wait_for;

use crate::world::{MAIL_BYTES_MAX, World};

#[test]
fn a_mail_that_is_queued_ends_with_0_and_still_said_4_3_0_first() {
    let world = World::on_spool();
    let ending = world.run().mail(b"Subject: please\n\n").end();
    ending.assert_delivered();
    assert_eq!((ending.stdout.as_str(), ending.stderr.as_str()), ("4.3.0 not finished\n", ""));
    assert_eq!(world.spooled().len(), 1);
}

#[test]
fn settings_that_cannot_be_used_defer() {
    type Spoil = fn(&World);
    let cases: [(&str, Spoil); 9] = [
        ("cannot read", |world| fs::remove_file(&world.config).unwrap()),
        ("cannot read", |world| {
            fs::remove_file(&world.config).unwrap();
            fs::create_dir(&world.config).unwrap();
        }),
        ("cannot read", |world| fs::write(&world.config, b"\xff\xfe").unwrap()),
        ("run: replyfleet check", |world| fs::write(&world.config, b"").unwrap()),
        ("replyfleet.toml: line 1, column 3; run: replyfleet check", |world| fs::write(&world.config, b"[[[").unwrap()),
        ("run: replyfleet check", |world| world.change_settings("[enqueuer]", "[enqueuer]\nretries = 3")),
        ("run: replyfleet check", |world| world.change_settings("deadline_s = 10", "deadline_s = 0")),
        ("run: replyfleet check", |world| world.change_settings(&format!("spool:{}", world.spool.display()), "spool:queue")),
        ("run: replyfleet check", |world| world.change_settings("[queue]", "[queue]\ndead_letter_url = \"x\"")),
    ];
    for (why, spoil) in cases {
        let world = World::on_spool();
        spoil(&world);
        let ending = world.run().mail(b"x").end();
        ending.assert_deferred(why);
        // The reader's own words can quote a value, and Postfix may show ours to the sender.
        assert!(!ending.stdout.contains("expected") && !ending.stdout.contains("spool:queue"), "{ending:?}");
        assert!(world.spooled().is_empty());
    }
}

#[test]
fn a_secret_that_cannot_be_used_defers_and_is_not_shown() {
    let world = World::on_spool();
    fs::set_permissions(&world.secret, fs::Permissions::from_mode(0o644)).unwrap();
    let ending = world.run().mail(b"x").end();
    ending.assert_deferred("readable by every user");
    assert!(!ending.stdout.contains("0123456789abcdef"));

    fs::set_permissions(&world.secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&world.secret, "hunter2\n").unwrap();
    let ending = world.run().mail(b"x").end();
    ending.assert_deferred("7 characters");
    assert!(!ending.stdout.contains("hunter2"));

    fs::write(&world.secret, b"\xff".repeat(40)).unwrap();
    world.run().mail(b"x").end().assert_deferred("secret");

    fs::remove_file(&world.secret).unwrap();
    world.run().mail(b"x").end().assert_deferred("cannot read the secret key file");
    assert!(world.spooled().is_empty());
}

#[test]
fn arguments_that_master_cf_got_wrong_defer() {
    let world = World::on_spool();
    for name in ["sender", "original-recipient", "queue-id"] {
        world.run().without_argument(name).end().assert_deferred("bad arguments in master.cf");
    }
    for argument in ["--unknown=x", "stray", "--config", "--sender", "--help", "-h", "--version", "-V", "--", "-"] {
        let ending = world.run().argument(argument).end();
        // A "--" without anything behind it changes nothing.
        if argument == "--" { ending.assert_delivered() } else { ending.assert_deferred("bad arguments in master.cf") }
    }
    world.run().only_arguments(&[]).end().assert_deferred("bad arguments");
    world.run().only_arguments(&["--help"]).end().assert_deferred("bad arguments");
    world.run().only_arguments(&["--version"]).end().assert_deferred("bad arguments");
    assert_eq!(world.spooled().len(), 1);
}

#[test]
fn a_person_who_asks_for_help_gets_it_with_0() {
    let world = World::on_spool();
    for (asked, answer) in [("--help", "--original-recipient"), ("-h", "Usage:"), ("--version", "replyfleet-enqueue"), ("-V", "replyfleet-enqueue")] {
        let ending = world.run().by_a_person().only_arguments(&[asked]).end();
        assert!(ending.status == Some(0) && ending.stdout.contains(answer) && !ending.stdout.contains("4.3.0 not"), "{ending:?}");
    }
}

#[test]
fn a_mail_over_the_limit_defers_and_one_at_the_limit_is_taken() {
    let world = World::on_spool();
    world.run().mail(&vec![b'x'; MAIL_BYTES_MAX + 1]).end().assert_deferred("enqueuer.mail_bytes_max = 100000");
    assert!(world.spooled().is_empty());
    world.run().mail(&vec![b'x'; MAIL_BYTES_MAX]).end().assert_delivered();
    assert_eq!(world.spooled()[0].1.len(), MAIL_BYTES_MAX);
}

#[test]
fn a_mail_that_never_ends_defers_at_the_deadline() {
    let world = World::on_spool().with_short_deadline();
    let ending = world.run().mail_that_never_ends().end();
    ending.assert_deferred("deadline passed");
    assert!(ending.took < Duration::from_secs(5), "{ending:?}");
    assert!(world.spooled().is_empty());
}

#[test]
fn settings_that_cannot_be_read_to_their_end_defer_at_a_deadline_of_their_own() {
    let world = World::on_spool();
    fs::remove_file(&world.config).unwrap();
    // Whoever opens a pipe without a writer waits.
    assert!(std::process::Command::new("mkfifo").arg(&world.config).status().unwrap().success());
    let ending = world.run().mail(b"x").end();
    ending.assert_deferred("deadline passed");
    assert!(ending.took < Duration::from_secs(20), "{ending:?}");
}

#[test]
fn a_reader_that_is_gone_changes_nothing() {
    let world = World::on_spool();
    let shell = |script: &str| ["sh", "-c", script, "sh"].map(OsString::from);
    // No standard output at all; then one whose reader ended.
    let ending = world.run().mail(b"x").by(shell(r#"exec "$@" >&-"#)).end();
    assert_eq!((ending.status, ending.stdout.as_str()), (Some(0), ""));

    let mut child = world.run().mail(b"").start();
    drop((child.stdin.take(), child.stdout.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let mut child = world.run().without_argument("sender").start();
    drop((child.stdin.take(), child.stdout.take()));
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert_eq!(world.spooled().len(), 2);
}

#[test]
fn a_missing_store_or_bucket_name_defers_a_mail_that_needs_it() {
    let world = World::on_spool_with_claim_checks();
    world.change_settings("\"claims\"", "\"../claims\"");
    world.run().mail(&[b'x'; 2000]).end().assert_deferred("store.claim_check_bucket");
    let world = World::on_spool_with_claim_checks();
    fs::write(&world.store, "a file").unwrap();
    world.run().mail(&[b'x'; 2000]).end().assert_deferred("store.url");
    assert!(world.spooled().is_empty());
}

#[test]
fn a_mail_that_was_cut_because_its_writer_died_is_not_queued() {
    let world = World::on_spool().furnished();
    let (pipe, said) = (world.path("pipe"), world.path("said"));
    // As pipe(8): the parent of the enqueuer, which writes it the mail, and is killed half way.
    let script = format!(
        r#"mkfifo '{pipe}'; "$@" < '{pipe}' > '{said}' & exec 9> '{pipe}'; printf 'From: a@example.org\n' >&9; read forever"#,
        pipe = pipe.display(),
        said = said.display()
    );
    let said = || fs::read_to_string(&said).unwrap_or_default();
    let mut writer = world.run().by(["sh", "-c", &script, "sh"]).start();
    wait_for("the enqueuer to start", Duration::from_secs(10), || said().starts_with("4.3.0 not finished").then_some(()));
    writer.kill().unwrap();
    writer.wait().unwrap();
    wait_for("the enqueuer to end", Duration::from_secs(10), || said().contains("4.3.0 what gave us the mail has died").then_some(()));
    assert!(world.spooled().is_empty());
}

#[test]
fn a_queue_id_that_postfix_will_use_again_defers_with_the_remedy() {
    let world = World::on_spool();
    world.run().argument("--queue-id=4A09C2E1F3").end().assert_deferred("enable_long_queue_ids = yes");
    assert!(world.spooled().is_empty());
    world.run().argument("--queue-id=4SrKkT0GxFz1").end().assert_delivered();
}
