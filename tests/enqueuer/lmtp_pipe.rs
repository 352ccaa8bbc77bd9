//! The pipe hands its mail to the service, and goes to the queue itself when there is none that takes it.

use std::{fs, os::unix::net::UnixListener};

use crate::{
    bytes::mails,
    lmtp_world::{Client, Service},
    world::World,
};

/// The settings of the pipe: as the service's, but with a queue that cannot be opened.
fn without_queue(world: &World) -> World {
    let pipe = World::on_spool().with_service("");
    let text = fs::read_to_string(&pipe.config).unwrap();
    fs::write(&pipe.config, text.replace(&pipe.socket().display().to_string(), &world.socket().display().to_string())).unwrap();
    fs::write(&pipe.spool, "a file").unwrap();
    pipe
}

#[test]
fn with_a_service_the_pipe_opens_no_queue_and_every_byte_arrives() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let pipe = without_queue(&world);
    for mail in mails() {
        let ending = pipe.run().mail(&mail).end();
        ending.assert_delivered();
        assert_eq!(ending.stdout, "4.3.0 not finished\n");
        let spooled = world.spooled();
        assert!(spooled.len() == 1 && spooled[0].1 == mail, "{} bytes", mail.len());
        for file in fs::read_dir(world.spool.join("new")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn by_the_service_and_by_itself_the_pipes_mail_has_one_envelope() {
    let world = World::on_spool().with_service("");
    // The second has no queue of its own: what arrives, came by the service.
    let pipe = without_queue(&world);
    let run = |world: &World| {
        let run = world.run().mail(b"x\n").argument("--original-recipient=get+tag@example.com").argument("--client-helo=a b=c");
        run.argument("--client-address=2001:db8::1").argument("--sender=").end().assert_delivered();
    };
    run(&world);
    let service = Service::start(&world);
    run(&pipe);
    drop(service);
    run(&world);
    let spooled = world.spooled();
    assert_eq!(spooled.len(), 3);
    let told = |index: usize| {
        let mut facts = serde_json::to_value(&spooled[index].0.facts).unwrap();
        facts["arrived"] = 0.into();
        facts
    };
    assert!(told(0) == told(1) && told(1) == told(2), "{} {} {}", told(0), told(1), told(2));
}

#[test]
fn without_a_service_that_takes_it_the_pipe_goes_to_the_queue_itself() {
    let queued = |world: &World, what: &str| {
        world.run().mail(b"x\n").end().assert_delivered();
        assert_eq!(world.spooled().len(), 1, "{what}");
    };
    let world = World::on_spool().with_service("");
    queued(&world, "no socket");

    let world = World::on_spool().with_service("");
    drop(UnixListener::bind(world.socket()).unwrap());
    queued(&world, "refused");

    let world = World::on_spool().with_service("");
    let silent = UnixListener::bind(world.socket()).unwrap();
    queued(&world, "silent");
    drop(silent);

    let world = World::on_spool().with_service("");
    let closing = UnixListener::bind(world.socket()).unwrap();
    std::thread::spawn(move || closing.incoming().for_each(drop));
    queued(&world, "closed");

    // An address that LMTP cannot tell as it is.
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    world.run().argument("--sender=\"a>b\"@example.org").mail(b"x\n").end().assert_delivered();
    assert_eq!(world.spooled()[0].0.facts.mail_from, "\"a>b\"@example.org");
}

#[test]
fn a_service_whose_queue_fails_or_hangs_leaves_the_pipe_time_for_its_own() {
    for (url, deadline) in [("a queue that cannot be written", 10), ("a service that is stopped half way", 4)] {
        let world = World::on_spool().with_service("");
        world.change_settings("deadline_s = 10", &format!("deadline_s = {deadline}"));
        let service = Service::start(&world);
        let pipe = World::on_spool().with_service("");
        let text = fs::read_to_string(&pipe.config).unwrap();
        fs::write(&pipe.config, text.replace(&pipe.socket().display().to_string(), &world.socket().display().to_string())).unwrap();
        pipe.change_settings("deadline_s = 10", &format!("deadline_s = {deadline}"));
        match deadline {
            10 => fs::remove_dir_all(world.spool.join("tmp")).unwrap(),
            _ => service.signal("STOP"),
        }
        pipe.run().mail(b"x\n").end().assert_delivered();
        assert_eq!(pipe.spooled().len(), 1, "{url}");
        if deadline == 4 {
            service.signal("CONT");
        }
    }
}

#[test]
fn a_short_queue_id_defers_before_anything_is_handed_over() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    world.run().argument("--queue-id=4A09C2E1F3").end().assert_deferred("enable_long_queue_ids = yes");
    assert!(world.spooled().is_empty());
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
}
