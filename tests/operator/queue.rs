//! `replyfleet queue` and what it does with dead letters.

use std::{fs, time::Duration};

use replyfleet::{
    envelope::{Envelope, Facts, Mail},
    queue::{Queue, sqs::SqsQueue},
};
use replyfleet_tests::{installation::Installation, ministack::load_aws, sqs, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn queue_shows_reasons_and_never_content() {
    let world = Installation::after_a_start();
    let (status, said) = world.run(&["queue"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("unreadable_envelope") && said.contains("25 B") && !said.contains("no envelope"), "{said}");
    let (_, json) = world.run(&["queue", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["visible"], &json["parked"][0]["reason"]), (&0.into(), &"unreadable_envelope".into()));
}

#[test]
fn dead_letters_are_listed_dropped_and_replayed_and_what_is_named_must_be_there() {
    let world = Installation::after_a_start();
    for number in 1..=3 {
        world.write(&format!("spool/parked/169000000000{number}-1790000000000_{number}.7.mail_missing"), "no envelope");
    }
    let listed = world.json(&["queue", "parked"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(4), "{listed}");
    let id = listed[0]["id"].as_str().unwrap();
    let (status, said) = world.run(&["queue", "drop", id]);
    assert_eq!((status, said.trim()), (Some(0), "1 dropped"));
    let (status, said) = world.run(&["queue", "replay", id]);
    assert!(status == Some(1) && said.contains("1 of the ids are not parked"), "{said}");
    let (status, said) = world.run(&["queue", "replay", "--reason", "mail_missing"]);
    assert_eq!((status, said.trim()), (Some(0), "2 replayed"));
    let (_, said) = world.run(&["queue", "parked"]);
    assert!(said.contains("unreadable_envelope") && !said.contains("mail_missing"), "{said}");
    for nothing_chosen in [&["queue", "drop"][..], &["queue", "drop", "--all", "--reason", "x"], &["queue", "replay", "--all", id]] {
        let (status, said) = world.run(nothing_chosen);
        assert_eq!(status, Some(2), "{said}");
    }
    assert_eq!(world.run(&["queue", "drop", "--all"]).1.trim(), "1 dropped");
    assert_eq!(world.run(&["queue", "parked"]).1.trim(), "nothing is parked");
    assert_eq!(world.json(&["queue"])["visible"], 2, "what was replayed waits");
}

#[test]
fn a_hundred_dead_letters_that_are_replayed_twice_give_no_extra_copy() {
    let world = Installation::after_a_start();
    assert_eq!(world.run(&["queue", "drop", "--all"]).0, Some(0));
    for number in 0..100 {
        world.take(&format!("person{number}@example.org"), &format!("4XyZ{number:03}z"));
    }
    // As if each had been parked, and a copy of it stayed: what a replay that was cut off leaves on SQS.
    let names = || fs::read_dir(world.path("spool/new")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wires: Vec<Vec<u8>> = names().map(|name| fs::read(world.path("spool/new").join(name)).unwrap()).collect();
    let park_all = || {
        for (number, wire) in wires.iter().enumerate() {
            fs::write(world.path(&format!("spool/parked/1690000000000-1790000000000_{number}.3.received_too_often")), wire).unwrap();
        }
    };
    park_all();
    let mut worker = world.worker();
    for _ in 0..2 {
        let (status, said) = world.run(&["queue", "replay", "--all"]);
        assert_eq!((status, said.trim()), (Some(0), "100 replayed"));
        let is_empty = |folder: &str| fs::read_dir(world.path(folder)).unwrap().next().is_none();
        wait_for("the queue to be empty", DEADLINE, || (is_empty("spool/new") && is_empty("spool/cur")).then_some(()));
        assert!(is_empty("spool/parked"));
        assert_eq!(fs::read_dir(world.path("replies/new")).unwrap().count(), 100, "a reply each, and no other");
        park_all();
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn all_dead_letters_on_sqs_are_replayed_even_just_after_a_look_at_them() {
    const LETTERS: usize = 300;
    let (installation, sqs) = (Installation::new(), sqs::Endpoint::start());
    let (url, dead) = (sqs.create_queue("requests"), sqs.create_queue("dead"));
    installation.queue_on_sqs(&sqs, &url, &dead, 60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dead = SqsQueue::new(&load_aws(sqs.endpoint()).await, &dead, &dead, Duration::from_secs(60), 262_144);
        let letters = vec![Envelope { facts: Facts::default(), mail: Mail::Inline("x".into()) }; LETTERS];
        assert!(dead.put_all(&letters).await.iter().all(Result::is_ok));
    });
    assert_eq!(installation.run(&["queue", "parked", "--most", "300"]).0, Some(0), "a look hides what it saw for a moment");
    let (status, said) = installation.run(&["queue", "replay", "--all"]);
    assert_eq!((status, said.trim()), (Some(0), "300 replayed"));
    assert_eq!((sqs.depth("requests").visible, sqs.messages("dead").len()), (LETTERS, 0));
}
