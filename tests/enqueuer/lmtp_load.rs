//! How much memory the service has at its peak, with many connections and with large mails: as much as the settings say.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    lmtp_world::{Client, Service},
    world::World,
};

const MB: usize = 1 << 20;
/// What the service has beside the mails: program, runtime, threads, connections, one group on its way to the disk.
const BESIDE: usize = 64 * MB;

#[test]
fn five_hundred_connections_with_mails_of_4_kb_are_all_served_in_little_memory() {
    let world = World::on_spool().with_service("connections_max = 500");
    let service = Service::start(&world);
    let mail = vec![b'x'; 4096];
    let mut clients: Vec<Client> = (0..500).map(|_| Client::connect_silently(&world)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert!(client.line().starts_with("220 "), "{index}");
        client.begin(&format!("4X{index}Z"), &["get@example.com"]);
        assert!(client.say("DATA").starts_with("354 "));
        client.send(&mail);
    }
    for client in &mut clients {
        client.send("\r\n.\r\n");
    }
    assert!(clients.iter_mut().all(|client| client.line() == "250 2.0.0 queued"));
    let peak = service.memory_peak();
    assert!(peak < BESIDE, "{} MB", peak / MB);
    assert_eq!(world.spooled_count(), 500);
}

#[test]
fn a_hundred_connections_with_mails_of_40_mb_hold_no_more_than_the_settings_say() {
    let world = World::on_spool().with_service("memory_bytes_max = 104_857_600");
    world.change_settings("mail_bytes_max = 100000", "mail_bytes_max = 41_943_040");
    let (service, finished) = (Service::start(&world), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for index in 0..100 {
            let (world, service, finished) = (&world, &service, &finished);
            scope.spawn(move || {
                let mut client = Client::connect_impatiently(world);
                client.begin(&format!("4X{index}Z"), &["get@example.com"]);
                if !client.say("DATA").starts_with("354 ") {
                    return; // no memory even to begin
                }
                let piece = vec![b'x'; MB];
                // Most are held back when they have sent what a mail may have that has no place of its own.
                if (0..39).all(|_| client.try_send(&piece)) && !finished.swap(true, Ordering::SeqCst) {
                    client.send("\r\n.\r\n");
                    assert_eq!(client.line(), "250 2.0.0 queued");
                }
                assert!(service.memory_peak() < 100 * MB + BESIDE, "{} MB", service.memory_peak() / MB);
            });
        }
    });
    let peak = service.memory_peak();
    assert!((39 * MB..100 * MB + BESIDE).contains(&peak), "{} MB", peak / MB);
    assert!(finished.load(Ordering::SeqCst), "one of them had the place to itself");
    assert_eq!(Client::connect(&world).mail("4XyZ", b"x\n"), "250 2.0.0 queued", "and it goes on");
}
