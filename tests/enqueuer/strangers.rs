//! What a stranger may write into MAIL FROM, HELO or a recipient stands behind a `=` and stays a value.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use crate::world::World;

const HOSTILE: [&str; 17] = [
    "",
    "--help",
    "-h",
    "--version",
    "--config=/nowhere",
    "--",
    "-",
    "=",
    "=--help",
    "@/etc/passwd",
    "$(id)`id`;id|id&id",
    "a\nb\r\nc: d",
    "\"a b\"@example.org",
    "{\"v\":2}",
    "é@exämple.org",
    "%s%n",
    "' or 1=1 --",
];

#[test]
fn hostile_values_are_queued_as_they_are() {
    let world = World::on_spool();
    for value in HOSTILE {
        world.run().mail(b"x").argument(format!("--sender={value}")).argument(format!("--client-helo={value}")).end().assert_delivered();
        let spooled = world.spooled();
        assert_eq!(spooled.len(), 1, "{value:?}: 0 means queued");
        assert_eq!((spooled[0].0.facts.mail_from.as_str(), spooled[0].0.facts.helo.as_str()), (value, value));
        std::fs::remove_dir_all(world.spool.join("new")).unwrap();
    }
}

#[test]
fn hostile_recipients_and_queue_ids_are_queued_as_they_are() {
    let world = World::on_spool_with_claim_checks();
    for value in HOSTILE {
        // Big enough for the store: no name there may come from the value.
        let run = world.run().mail(&[b'x'; 2000]).argument(format!("--original-recipient={value}")).argument(format!("--queue-id={value}"));
        run.end().assert_delivered();
        let spooled = world.spooled();
        assert_eq!(spooled.len(), 1, "{value:?}: 0 means queued");
        assert_eq!((spooled[0].0.facts.rcpt_to.as_str(), spooled[0].0.facts.queue_id.as_str()), (value, value));
        std::fs::remove_dir_all(world.spool.join("new")).unwrap();
    }
}

#[test]
fn a_value_as_long_as_the_system_allows_is_queued() {
    let world = World::on_spool();
    let long = "x".repeat(100_000);
    world.run().mail(b"x").argument(format!("--client-helo={long}")).end().assert_delivered();
    assert_eq!(world.spooled()[0].0.facts.helo, long);
}

#[test]
fn a_value_that_is_not_utf8_is_queued_with_replacement_characters() {
    let world = World::on_spool();
    let argument = OsString::from_vec(b"--sender=caf\xe9@example.org".to_vec());
    world.run().mail(b"x").argument(argument).end().assert_delivered();
    assert_eq!(world.spooled()[0].0.facts.mail_from, "caf\u{fffd}@example.org");
}

/// A path that is not UTF-8 is the administrator's, not a stranger's; it defers as a file that is not there.
#[test]
fn a_settings_path_that_is_not_utf8_defers() {
    let world = World::on_spool();
    world.run().argument(OsString::from_vec(b"--config=/caf\xe9".to_vec())).end().assert_deferred("cannot read");
}
