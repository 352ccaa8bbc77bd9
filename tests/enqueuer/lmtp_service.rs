//! The service's life: sockets, systemd, signals, and who is one too many.

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixListener},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use replyfleet_tests as harness;

use crate::{
    lmtp_world::{Client, SOON, Service},
    sqs::{Manner, Sqs},
    world::World,
};

#[test]
fn one_connection_too_many_is_sent_away_and_a_place_that_is_free_again_is_given() {
    let world = World::on_spool().with_service("connections_max = 2");
    let _service = Service::start(&world);
    let connect = || {
        harness::wait_for("a place", SOON, || {
            let mut client = Client::connect_silently(&world);
            client.line().starts_with("220 ").then_some(client)
        })
    };
    let (first, mut second) = (connect(), connect());
    let mut third = Client::connect_silently(&world);
    assert!(third.line().starts_with("421 4.3.2 "), "one too many");
    assert_eq!(third.line(), "");
    drop(first);
    drop(connect());
    assert!(second.say("NOOP").starts_with("250 "));
}

#[test]
fn who_finds_no_memory_is_sent_away_with_452_and_is_served_later() {
    // A quarter of it is for mails as they begin: three of 16 KB.
    let world = World::on_spool().with_service("memory_bytes_max = 200_000");
    let _service = Service::start(&world);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&world)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.begin(&format!("4Xy{index}Z"), &["get@example.com"]);
        assert!(client.say("DATA").starts_with("354 "));
    }
    let mut fourth = Client::connect(&world);
    fourth.begin("4XyZ", &["get@example.com"]);
    assert_eq!(fourth.say("DATA"), "452 4.3.1 no memory free for this mail now");
    assert_eq!(fourth.bdat(b"x\n"), "452 4.3.1 no memory free for this mail now");
    for client in &mut clients {
        client.send("x\r\n.\r\n");
        assert_eq!(client.line(), "250 2.0.0 queued");
    }
    assert_eq!(fourth.mail("4XyZ", b"x\n"), "250 2.0.0 queued");
}

#[test]
fn on_sigterm_under_load_every_mail_that_was_confirmed_is_queued_and_the_idle_are_told() {
    let world = World::on_spool().with_service("");
    let service = Service::start(&world);
    let mut idle = Client::connect(&world);
    let is_stopping = AtomicBool::new(false);
    let confirmed: Vec<String> = std::thread::scope(|scope| {
        let client = |thread: usize| {
            let (world, is_stopping) = (&world, &is_stopping);
            move || {
                let (mut client, mut confirmed) = (Client::connect(world), Vec::new());
                for n in 0.. {
                    let id = format!("4X{thread}y{n}Z");
                    // It may have hung up since the last mail, and said so.
                    let mail = format!("XFORWARD IDENT={id}\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2 LAST\r\nx\n");
                    let _ = client.try_send(mail.as_bytes());
                    let replies: Vec<String> = (0..4).map(|_| client.line()).take_while(|line| line.starts_with("250 ")).collect();
                    match replies.len() {
                        4 => confirmed.push(id),
                        // Between two mails, and not within one.
                        0 => break,
                        _ => panic!("{id}: {replies:?}"),
                    }
                    assert!(is_stopping.load(Ordering::SeqCst) || n < 100_000);
                }
                confirmed
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(client(thread))).collect();
        harness::wait_for("a load", SOON, || (world.spooled_count() > 50).then_some(()));
        is_stopping.store(true, Ordering::SeqCst);
        service.signal("TERM");
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(idle.line().starts_with("421 4.3.2 "));
    assert_eq!(service.end(), 0);
    let queued: Vec<String> = world.spooled().into_iter().map(|(envelope, _)| envelope.facts.queue_id).collect();
    let missing: Vec<_> = confirmed.iter().filter(|id| !queued.contains(id)).collect();
    assert!(confirmed.len() > 50 && missing.is_empty(), "{} confirmed, missing {missing:?}", confirmed.len());
}

#[test]
fn a_transaction_that_is_under_way_at_sigterm_is_finished() {
    let sqs = Sqs::start(Manner::IsSilent);
    let world = World::on_sqs(&sqs).with_service("");
    let service = Service::start(&world);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com"]);
    client.say("DATA");
    service.signal("TERM");
    harness::wait_for("the service to stop listening", SOON, || std::os::unix::net::UnixStream::connect(world.socket()).err());
    sqs.set_manner(Manner::Takes);
    client.send("x\r\n.\r\n");
    assert_eq!(client.line(), "250 2.0.0 queued");
    assert!(client.line().starts_with("421 4.3.2 "));
    assert_eq!(service.end(), 0);
}

#[test]
fn a_stop_that_takes_too_long_or_a_second_signal_ends_it_at_once() {
    let world = World::on_spool().with_service("stop_timeout_s = 1");
    for signals in [1, 2] {
        if signals == 2 {
            world.change_settings("stop_timeout_s = 1", "stop_timeout_s = 3000");
        }
        let service = Service::start(&world);
        let mut client = Client::connect(&world);
        client.begin("4XyZ", &["get@example.com"]);
        service.signal("TERM");
        harness::wait_for("the service to stop listening", SOON, || std::os::unix::net::UnixStream::connect(world.socket()).err());
        if signals == 2 {
            service.signal("INT");
        }
        assert_eq!(service.end(), 1, "not finished");
        assert_eq!(client.line(), "");
    }
}

#[test]
fn a_service_that_cannot_start_says_why_and_where() {
    let ended = |world: &World| {
        let status = Service::spawn::<&str>(world, [], &[]).end();
        (status, fs::read_to_string(world.path("service.log")).unwrap())
    };
    let world = World::on_spool();
    let (status, said) = ended(&world);
    assert!(status == 1 && said.contains("enqueuer.lmtp: names no socket"), "{said}");

    let world = World::on_spool().with_service("");
    let _living = Service::start(&world);
    let (status, said) = ended(&world);
    assert!(status == 1 && said.contains("another service listens there"), "{said}");
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
}

/// A socket as systemd has it, and the environment that names it and says how often it wants to hear, in microseconds.
fn systemd(world: &World, watchdog_us: u32) -> (UnixDatagram, [(&'static str, String); 2]) {
    let address = world.path("notify.sock");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    (socket, [("NOTIFY_SOCKET", address.display().to_string()), ("WATCHDOG_USEC", watchdog_us.to_string())])
}

#[test]
fn what_is_not_there_yet_is_waited_for_and_systemd_is_told() {
    let world = World::on_spool().with_service("");
    let kept = world.path("kept");
    fs::rename(&world.secret, &kept).unwrap();
    let (socket, environment) = systemd(&world, 60_000_000);
    let _service = Service::spawn::<&str>(&world, [], &environment);
    let mut message = [0; 1024];
    let bytes = socket.recv(&mut message).unwrap();
    let told = String::from_utf8_lossy(&message[..bytes]);
    assert!(told.contains("EXTEND_TIMEOUT_USEC=") && told.contains("secret") && !told.contains("READY"), "{told}");
    fs::rename(&kept, &world.secret).unwrap();
    harness::wait_for("the service to listen", SOON, || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");

    let world = World::on_spool().with_service("");
    fs::write(&world.spool, "a file").unwrap();
    let service = Service::spawn::<&str>(&world, [], &[]);
    let said = || fs::read_to_string(world.path("service.log")).unwrap();
    harness::wait_for("it to say what it waits for", SOON, || said().contains("queue.url: ").then_some(()));
    assert!(!world.socket().exists(), "Postfix waits, too");
    service.signal("TERM");
    assert_eq!(service.end(), 0);
}

#[test]
fn a_systemd_that_does_not_read_keeps_no_mail_waiting() {
    let world = World::on_spool().with_service("");
    let (_unread, environment) = systemd(&world, 3_000);
    let _service = Service::start_by::<&str>(&world, [], &environment);
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    // Its own notices must have filled it; a few of ours beside do not.
    let is_full = || other.send_to(b"x", world.path("notify.sock")).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    harness::wait_for("the socket to be full", SOON, || is_full().then_some(()));
    for _ in 0..3 {
        assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    }
}

#[test]
fn after_kill_9_a_new_service_takes_the_place_of_the_dead_ones_socket() {
    let world = World::on_spool().with_service("");
    let service = Service::start(&world);
    service.signal("KILL");
    assert_eq!(service.end(), -9);
    assert!(world.socket().exists());
    let _service = Service::start(&world);
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
}

#[test]
fn a_socket_from_systemd_is_used_in_place_of_the_settings() {
    let works = Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return harness::skipped("systemd-socket-activate is missing");
    }
    let world = World::on_spool().with_service("");
    // The settings name a place that cannot be; the socket that is passed has the path the client uses.
    let text = fs::read_to_string(&world.config).unwrap();
    fs::write(&world.config, text.replace("lmtp.sock", "missing/lmtp.sock")).unwrap();
    let listen = format!("--listen={}", world.socket().display());
    let service = Service::spawn(&world, ["systemd-socket-activate", &listen], &[]);
    harness::wait_for("the socket", SOON, || world.socket().exists().then_some(()));
    // It waited in the socket while the service started.
    let mut client = Client::connect(&world);
    assert_eq!(client.mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    service.signal("TERM");
    assert!(client.line().starts_with("421 4.3.2 "));
    assert_eq!(service.end(), 0);
}

#[test]
fn systemd_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let world = World::on_spool().with_service("");
    let (socket, environment) = systemd(&world, 90_000);
    let service = Service::start_by::<&str>(&world, [], &environment);
    let hear = |wanted: &str| {
        let mut heard = Vec::new();
        for _ in 0..1000 {
            let mut message = [0; 1024];
            let bytes = socket.recv(&mut message).unwrap_or_else(|error| panic!("{wanted} was not heard: {error}; {heard:?}"));
            let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return text;
            }
            heard.push(text);
        }
        panic!("{wanted} was not heard: {heard:?}")
    };
    hear("READY=1");
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    let said = hear("WATCHDOG=1");
    assert!(said.contains("STATUS="), "{said}");
    harness::wait_for("the mail in the status", SOON, || hear("WATCHDOG=1").contains(", 1 mails taken").then_some(()));
    service.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(service.end(), 0);
}

#[test]
fn postfix_cannot_start_the_service() {
    let world = World::on_spool().with_service("");
    world.run().argument("--lmtp").mail(b"x").end().assert_deferred("bad arguments in master.cf");
    assert!(!world.socket().exists());
    drop(UnixListener::bind(world.socket()).unwrap());
}
