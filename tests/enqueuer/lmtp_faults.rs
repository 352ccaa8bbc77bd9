//! The service with a queue that is full, hangs, throttles, fails in part; and killed between the queue's yes and its own.

use std::{fs, time::Instant};

use crate::{
    disk::{has_no_namespaces, in_namespace},
    lmtp_world::{Client, SOON, Service},
    sqs::{Manner, Sqs},
    strace,
    world::{World, read_envelopes, wild_mail},
};

#[test]
fn a_full_disk_is_452_and_nothing_half_accepted_is_queued() {
    if has_no_namespaces() {
        return;
    }
    let world = World::on_spool().with_service("");
    fs::create_dir_all(&world.spool).unwrap();
    // 64 KB take some of the ten mails.
    let mount = format!(r#"mount -t tmpfs -o size=64k tmpfs '{}' && exec "$@""#, world.spool.display());
    let service = Service::start_by(&world, in_namespace(&mount), &[]);
    let mail = wild_mail(9_000);
    let mut client = Client::connect(&world);
    let mut told_queued = Vec::new();
    for n in 0..10 {
        // Two at once, so that the group's way is gone as well.
        client.begin(&format!("Q{n}z"), &["get@example.com", "win@example.com"]);
        for (recipient, reply) in ["get", "win"].iter().zip(client.data(&mail, 2)) {
            match reply.as_str() {
                "250 2.0.0 queued" => told_queued.push(format!("Q{n}z {recipient}@example.com")),
                full => assert!(full.starts_with("452 4.3.1 ") && full.contains("No space left"), "{full}"),
            }
        }
    }
    let inside = format!("/proc/{}/root{}", service.id(), world.spool.display());
    let queued = read_envelopes(format!("{inside}/new").as_ref());
    let mut ids: Vec<String> = queued.iter().map(|envelope| format!("{} {}", envelope.facts.queue_id, envelope.facts.rcpt_to)).collect();
    ids.sort_unstable();
    told_queued.sort_unstable();
    assert!((1..19).contains(&ids.len()), "some were taken, then the disk was full: {ids:?}");
    assert_eq!(ids, told_queued, "queued is what was told queued");
    assert_eq!(fs::read_dir(format!("{inside}/tmp")).unwrap().count(), 0, "a failed write gives its space back");
}

#[test]
fn a_queue_that_hangs_is_451_within_the_deadline() {
    let sqs = Sqs::start(Manner::IsSilent);
    let world = World::on_sqs(&sqs).with_short_deadline().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    let start = Instant::now();
    assert_eq!(client.mail("4XyZ", b"x\n"), "451 4.3.0 deadline passed");
    assert!(start.elapsed() < SOON / 4, "{:?}", start.elapsed());
    sqs.set_manner(Manner::Takes);
    assert_eq!(client.mail("4XyZ", b"x\n"), "250 2.0.0 queued");
}

#[test]
fn what_is_not_a_yes_is_451_with_its_code_and_without_what_stands_in_brackets() {
    let json = |code: &str| format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"account 1234"}}"#);
    let sqs = Sqs::start(Manner::Takes);
    let world = World::on_sqs(&sqs).with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    for (status, code) in [(400, "RequestThrottled"), (500, "InternalFailure"), (400, "AccessDenied")] {
        sqs.set_manner(Manner::Answers(status, json(code)));
        let reply = client.mail("4XyZ", b"x\n");
        assert!(reply.starts_with("451 4.3.0 ") && reply.contains(code) && !reply.contains("1234"), "{reply}");
    }
    sqs.set_manner(Manner::Takes);
    assert_eq!(client.mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    assert_eq!(sqs.taken_so_far().len(), 1);
}

#[test]
fn of_a_batch_only_what_sqs_did_not_take_is_sent_again() {
    let sqs = Sqs::start(Manner::TakesAllButTheFirst);
    let world = World::on_sqs(&sqs).with_service("");
    let _service = Service::start(&world);
    let recipients: Vec<String> = (0..25).map(|n| format!("get{n}@example.com")).collect();
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &recipients.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(client.data(b"x\n", 25), ["250 2.0.0 queued"; 25]);
    let mut taken: Vec<String> = sqs.taken_so_far().into_iter().map(|envelope| envelope.facts.rcpt_to).collect();
    taken.sort_unstable();
    let mut wanted = recipients;
    wanted.sort_unstable();
    assert_eq!(taken, wanted, "each once");
    assert!(sqs.batches().contains(&10), "as many as go in one call: {:?}", sqs.batches());
}

#[test]
fn a_connection_cut_after_a_batch_was_taken_makes_copies_with_the_same_keys() {
    let sqs = Sqs::start(Manner::TakesAndCuts);
    let world = World::on_sqs(&sqs).with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com", "win@example.com"]);
    let replies = client.data(b"x\n", 2);
    assert!(replies.iter().all(|reply| reply.starts_with("451 4.3.0 ")), "{replies:?}");
    sqs.set_manner(Manner::Takes);
    client.begin("4XyZ", &["get@example.com", "win@example.com"]);
    assert_eq!(client.data(b"x\n", 2), ["250 2.0.0 queued"; 2]);
    let mut keys: Vec<String> = sqs.taken_so_far().into_iter().map(|envelope| envelope.facts.request_key).collect();
    let copies = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(copies > 2 && keys.len() == 2, "{copies} copies, {keys:?}");
}

#[test]
fn a_mail_too_big_for_a_message_of_sqs_goes_through_the_store() {
    let sqs = Sqs::start(Manner::Takes);
    let world = World::on_sqs(&sqs).with_service("");
    world.change_settings("[store]", "message_bytes_max = 20_000\n[store]");
    let _service = Service::start(&world);
    let mail = wild_mail(16_000);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com"]);
    assert_eq!(client.bdat(&mail), "250 2.0.0 queued");
    let taken = sqs.taken_so_far();
    assert!(taken.len() == 1 && world.with_mail(taken[0].clone()).1 == mail);
}

#[test]
fn killed_between_the_queues_yes_and_its_own_the_mail_comes_again_with_the_same_key() {
    let sqs = Sqs::start(Manner::TakesAndIsSilent);
    let world = World::on_sqs(&sqs).with_service("");
    let service = Service::start(&world);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com"]);
    client.say("DATA");
    client.send("x\r\n.\r\n");
    replyfleet_tests::wait_for("the queue to take it", SOON, || (sqs.taken_so_far().len() == 1).then_some(()));
    service.signal("KILL");
    assert_eq!(service.end(), -9);
    assert_eq!(client.line(), "", "Postfix heard nothing, and has the mail");

    sqs.set_manner(Manner::Takes);
    let _service = Service::start(&world);
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    let taken = sqs.taken_so_far();
    assert!(taken.len() == 2 && taken[0].facts.request_key == taken[1].facts.request_key && taken[0].mail == taken[1].mail);
}

#[test]
fn a_disk_that_cannot_sync_is_451_and_one_that_could_not_once_is_tried_again() {
    if strace::is_missing() {
        return;
    }
    // The first syncs are those of the folders that the service makes.
    let world = World::on_spool().furnished().with_service("");
    let service = Service::start_by(&world, strace::inject_from("fsync,syncfs", "error=EIO", 1), &[]);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com", "win@example.com", "mac@example.com"]);
    let replies = client.data(b"x\n", 3);
    assert!(replies.iter().all(|reply| reply.starts_with("451 4.3.0 ") && reply.contains("cannot write to the spool")), "{replies:?}");
    assert!(world.spooled().is_empty() && fs::read_dir(world.spool.join("tmp")).unwrap().count() == 0);
    drop(service);
    let _service = Service::start_by(&world, strace::inject("fsync,syncfs", "error=EIO", 1), &[]);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com", "win@example.com", "mac@example.com"]);
    assert_eq!(client.data(b"x\n", 3), ["250 2.0.0 queued"; 3]);
}
