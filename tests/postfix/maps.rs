//! The catalogue's addresses in Postfix: a change is seen without a reload, and what cannot be a catalogue changes nothing.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use replyfleet_tests::{
    installation::said,
    wait_for,
    world::{Backing, Intake, MX, Mail, Plan, SOON, Talk, World},
};

/// A catalogue that answers these addresses.
fn catalogue(addresses: &[&str]) -> String {
    let entries = addresses.iter().map(|address| serde_json::json!({ "email_addr": address, "body": "x", "send_method": "SMTP" }));
    serde_json::Value::from_iter(entries).to_string()
}

/// What tells a file from one that took its place, or was written anew.
fn identity(path: &Path) -> (u64, i64, i64) {
    let file = fs::metadata(path).unwrap();
    (file.ino(), file.mtime(), file.mtime_nsec())
}

#[test]
fn a_change_of_the_catalogue_is_seen_without_a_reload_and_a_bad_one_changes_nothing() {
    let plan = Plan { intake: Intake::Lmtp, files: Some("DNSBL=none"), ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&plan) else { return };
    let asked = |to: &str| world.talk(&[&Talk::with_the_mx().from("127.0.0.1").until_recipient(to)])[0].last().unwrap().clone();
    assert!(asked("get@responder.test").starts_with("250") && asked("new@responder.test").starts_with("550 5.1.1"));
    assert!(asked("get@other.test").starts_with("554 5.7.1"));
    let maps = world.path("host/etc/postfix/replyfleet");
    let all = || ["domains", "domains.db", "addresses", "addresses.db", "aliases", "aliases.db"].map(|name| identity(&maps.join(name)));

    let before = all();
    assert_eq!(world.write_maps(), "nothing changed: 2 addresses, 1 domains, 0 aliases\n");
    assert_eq!(all(), before, "a map was written though nothing changed");

    world.put_object("catalogue.json", catalogue(&["new@responder.test", "get@other.test"]).as_bytes());
    assert_eq!(world.write_maps(), "wrote addresses, domains: 3 addresses, 2 domains, 0 aliases\n");
    assert_eq!((all()[4..].to_vec(), all()[0] != before[0]), (before[4..].to_vec(), true), "only what changed is written");
    for (to, wanted) in [("new@responder.test", "250"), ("get@other.test", "250"), ("get@responder.test", "550 5.1.1")] {
        wait_for(&format!("{wanted} for {to}"), SOON, || asked(to).starts_with(wanted).then_some(()));
    }

    let before = all();
    for (content, wanted) in [
        (b"[]".to_vec(), "has no entry"),
        (b"[{".to_vec(), "the maps stay as they are"),
        (catalogue(&["get@other.test"]).replace("SMTP", "SES").into_bytes(), "send.SES"),
    ] {
        world.put_object("catalogue.json", &content);
        let (status, text) = said(&mut world.maps_command());
        assert!(status == Some(1) && text.contains(wanted) && text.lines().count() == 1, "{status:?} {text}");
        assert_eq!(all(), before);
    }
    fs::remove_file(world.path("store/files/catalogue.json")).unwrap();
    let (status, text) = said(&mut world.maps_command());
    assert!(status == Some(1) && text.contains("the maps stay as they are"), "{status:?} {text}");
    assert_eq!(all(), before);
    assert!(asked("get@other.test").starts_with("250"));

    // A power cut after the first of the two files that a map is.
    world.put_object("catalogue.json", catalogue(&["new@responder.test", "get@other.test", "more@other.test"]).as_bytes());
    fs::remove_file(maps.join("domains.db")).unwrap();
    fs::write(maps.join(".addresses.new"), "half").unwrap();
    assert_eq!(world.write_maps(), "wrote addresses, domains: 4 addresses, 2 domains, 0 aliases\n");
    assert!(!maps.join(".addresses.new").exists() && maps.join("domains.db").exists());
    wait_for("the address that came last", SOON, || asked("more@other.test").starts_with("250").then_some(()));

    // People get what is for people, with all that says how it came.
    let settings = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    fs::write(world.path("replyfleet.toml"), settings + "[postfix]\npostmaster = \"operators@example.org\"\n").unwrap();
    assert_eq!(world.write_maps(), "wrote aliases: 4 addresses, 2 domains, 7 aliases\n");
    wait_for("the postmaster", SOON, || asked("abuse@other.test").starts_with("250").then_some(()));
    let mail = "Subject: trouble\nReceived: by home\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n";
    world.send(&Mail { to: "Postmaster@responder.test", ..Mail::of(mail.into()) });
    let mail = world.replies(1).remove(0);
    assert_eq!((mail.rcpt_to.as_str(), mail.header("subject")), ("<operators@example.org>", "trouble"));
    assert_eq!(mail.headers.iter().filter(|(name, _)| name == "received").count(), 3, "the sink's, ours and its own");
    assert_eq!(world.depth(), (0, 0), "it went to the queue");

    // Nothing is lost while there is no map.
    fs::remove_file(maps.join("addresses.db")).unwrap();
    wait_for("mail to wait", SOON, || asked("get@other.test").starts_with("451").then_some(()));
    assert_eq!(world.times_in_log("reload"), 0);
    assert_eq!(world.mails_in(MX), 0);
}

#[test]
fn a_map_that_postmap_does_not_make_stays_as_it_was() {
    let world = replyfleet_tests::installation::Installation::new();
    fs::create_dir(world.path("maps")).unwrap();
    let maps = world.path("maps").display().to_string();
    let arguments = ["postfix-maps", "--directory", &maps, "--config-directory", &maps];
    // No main.cf: postmap ends with an error, or is not there at all.
    let (status, text) = world.run(&arguments);
    assert!(status == Some(1) && text.contains("cannot write") && text.contains("which stays as it was"), "{status:?} {text}");
    assert_eq!(fs::read_dir(&maps).unwrap().count(), 0, "something is left");
    let (status, text) = world.run(&["postfix-maps", "--directory", "/nonexistent"]);
    assert!(status == Some(1) && text.contains("/nonexistent; make it, or name it by --directory"), "{status:?} {text}");
    let lock = fs::File::open(&maps).unwrap();
    lock.lock().unwrap();
    let (status, text) = world.run(&arguments);
    assert!(status == Some(1) && text.contains("another `replyfleet postfix-maps` is at work"), "{status:?} {text}");
}
