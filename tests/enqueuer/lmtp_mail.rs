//! Mail by LMTP: the same envelope, the same key and the same bytes as by the pipe, and a reply for each recipient.

use replyfleet::envelope::{Facts, Mail};
use replyfleet_tests::ministack::free_port;

use crate::{
    bytes::mails,
    lmtp_world::{Client, Service, XFORWARD},
    world::{INLINE_BYTES_MAX, MAIL_BYTES_MAX, World, wild_mail},
};

/// The facts of all that is spooled, without the times, which differ.
fn facts(world: &World) -> Vec<Facts> {
    let mut facts: Vec<Facts> = world.spooled().into_iter().map(|(envelope, _)| Facts { arrived: Default::default(), ..envelope.facts }).collect();
    facts.sort_by(|a, b| a.request_key.cmp(&b.request_key));
    facts
}

#[test]
fn by_lmtp_and_by_the_pipe_a_mail_has_the_same_envelope() {
    let world = World::on_spool();
    let mail = b"Subject: please\n\n.\n..\nplease\n";
    world.run().mail(mail).end().assert_delivered();
    world.run().mail(mail).argument("--client-hostname=unknown").argument("--queue-id=4XyA").argument("--sender=").end().assert_delivered();
    world.run().mail(mail).argument("--client-address=2001:db8::1").argument("--queue-id=4XyB").end().assert_delivered();
    let by_pipe = world.spooled().len();
    assert_eq!(by_pipe, 3);
    let (pipe_facts, pipe_mails) = (facts(&world), world.spooled());
    assert!(pipe_mails.iter().all(|(_, bytes)| bytes.as_ref() == mail));

    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    assert_eq!(client.mail("4XyZ", mail), "250 2.0.0 queued");
    client.say("XFORWARD ADDR=192.0.2.7 PROTO=ESMTP NAME=[UNAVAILABLE]");
    client.say("XFORWARD HELO=mail.example.org IDENT=4XyA SOURCE=REMOTE");
    client.say("MAIL FROM:<> BODY=8BITMIME");
    client.say("RCPT TO:<other@example.com> ORCPT=rfc822;get@example.com");
    assert_eq!(client.data(mail, 1), ["250 2.0.0 queued"]);
    client.say(&XFORWARD.replace("192.0.2.7", "IPV6:2001:db8::1").replace("4XyZ", "4XyB"));
    client.say("MAIL FROM:<someone@example.org>");
    client.say("RCPT TO:<get@example.com>");
    assert_eq!(client.data(mail, 1), ["250 2.0.0 queued"]);
    assert_eq!(facts(&world).len(), 3);
    for (lmtp, pipe) in facts(&world).iter().zip(&pipe_facts) {
        // Facts hide themselves from a test's report: compared as they travel.
        assert_eq!(serde_json::to_value(lmtp).unwrap(), serde_json::to_value(pipe).unwrap());
    }
    assert!(world.spooled().iter().all(|(_, bytes)| bytes.as_ref() == mail));
}

#[test]
fn each_recipient_has_a_reply_and_one_that_is_named_twice_has_one_envelope() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    client.begin("4XyZ", &["get@example.com", "win@example.com", "get@example.com", "Get@Example.com", "mac@example.com"]);
    assert_eq!(client.data(b"x\n", 5), ["250 2.0.0 queued"; 5]);
    let mut recipients: Vec<String> = world.spooled().into_iter().map(|(envelope, _)| envelope.facts.rcpt_to).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["get@example.com", "mac@example.com", "win@example.com"]);
}

#[test]
fn the_spool_holds_the_bytes_that_came_by_either_command() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    for (index, mail) in mails().into_iter().enumerate() {
        client.begin(&format!("4Xy{index}Z"), &["get@example.com"]);
        assert_eq!(client.bdat(&mail), "250 2.0.0 queued");
        let spooled = world.spooled();
        assert!(spooled.len() == 1 && spooled[0].1 == mail, "BDAT: mail {index} differs");
        clear(&world);
        assert_eq!(client.mail(&format!("4Xz{index}Z"), &mail), "250 2.0.0 queued");
        let spooled = world.spooled();
        assert!(spooled.len() == 1 && spooled[0].1 == as_pipe_gives(&mail), "DATA: mail {index} differs");
        clear(&world);
    }
}

/// In whole lines.
fn as_pipe_gives(mail: &[u8]) -> Vec<u8> {
    let end = if mail.is_empty() || mail.ends_with(b"\n") { &b""[..] } else { b"\n" };
    [mail, end].concat()
}

fn clear(world: &World) {
    for file in std::fs::read_dir(world.spool.join("new")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
}

#[test]
fn a_mail_too_big_for_the_queue_goes_through_the_store_first() {
    let world = World::on_spool_with_claim_checks().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    let mail = wild_mail(70_000);
    client.begin("4XyZ", &["get@example.com"]);
    assert_eq!(client.bdat(&mail), "250 2.0.0 queued");
    client.begin("4XyA", &["get@example.com"]);
    assert_eq!(client.bdat(&mail[..INLINE_BYTES_MAX]), "250 2.0.0 queued");
    let spooled = world.spooled();
    let (stored, inline): (Vec<_>, Vec<_>) = spooled.iter().partition(|(envelope, _)| matches!(envelope.mail, Mail::Stored(_)));
    assert!(stored.len() == 1 && stored[0].1 == mail && inline.len() == 1);
}

#[test]
fn a_mail_over_the_limit_is_deferred_with_the_remedy_and_one_at_the_limit_is_taken() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    let largest = [vec![b'x'; MAIL_BYTES_MAX - 1], b"\n".to_vec()].concat();
    let too_large = [b"x", &largest[..]].concat();
    for _ in 0..3 {
        let reply = client.mail("4XyA", &too_large);
        assert!(reply.starts_with("452 4.3.1 ") && reply.contains("enqueuer.mail_bytes_max = 100000; lower Postfix's"), "{reply}");
        client.begin("4XyB", &["get@example.com"]);
        assert!(client.bdat(&too_large).starts_with("452 4.3.1 "));
    }
    assert_eq!(client.mail("4XyZ", &largest), "250 2.0.0 queued");
    let spooled = world.spooled();
    assert!(spooled.len() == 1 && spooled[0].1 == largest);
}

#[test]
fn commands_in_one_piece_have_their_replies_in_order_and_a_mail_in_chunks_is_whole() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    let recipients = "RCPT TO:<get@example.com>\r\nRCPT TO:<>\r\nRCPT TO:<win@example.com>\r\n";
    client.send(format!("{XFORWARD}\r\nMAIL FROM:<a@b.example>\r\n{recipients}BDAT 4\r\na\r\n.BDAT 3 LAST\r\n\r\nbRSET\r\nNOOP\r\n"));
    let codes: Vec<String> = (0..10).map(|_| client.line()[..9].to_owned()).collect();
    let wanted = ["250 2.0.0", "250 2.1.0", "250 2.1.5", "451 4.1.3", "250 2.1.5", "250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.0.0"];
    assert_eq!(codes, wanted);
    let spooled = world.spooled();
    assert!(spooled.len() == 2 && spooled.iter().all(|(_, mail)| mail.as_ref() == b"a\r\n.\r\nb"));
}

#[test]
fn without_a_queue_id_that_is_used_once_nothing_is_taken() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let mut client = Client::connect(&world);
    for ident in ["", "IDENT=[UNAVAILABLE]", "IDENT=[TEMPUNAVAIL]", "IDENT=4A09C2E1F3"] {
        client.say(&format!("XFORWARD ADDR=192.0.2.7 {ident}"));
        let reply = client.say("MAIL FROM:<someone@example.org>");
        let remedy = if ident.ends_with("F3") { "enable_long_queue_ids = yes" } else { "lmtp_send_xforward_command = yes" };
        assert!(reply.starts_with("451 4.3.5 ") && reply.contains(remedy), "{ident}: {reply}");
        assert!(client.say("RCPT TO:<get@example.com>").starts_with("451 "));
        assert!(client.say("DATA").starts_with("451 "));
    }
    // An id belongs to one mail only.
    assert_eq!(client.mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    assert!(client.say("MAIL FROM:<someone@example.org>").starts_with("451 4.3.5 "));
    assert_eq!(world.spooled().len(), 1);
}

#[test]
fn nothing_that_is_said_of_a_mail_is_refused_for_good() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    let lines = ["EHLO x", "HELO x", "MAIL FROM:<a@b>", "MAIL", "RCPT TO:<a@b>", "RCPT", "DATA", "BDAT 0 LAST", "BDAT 0", "MAIL FROM:a", "RCPT TO:<"];
    let mut client = Client::connect(&world);
    for line in lines {
        let reply = client.say(line);
        assert!(reply.starts_with('4'), "{line}: {reply}");
    }
    client.begin("4XyZ", &["get@example.com"]);
    for line in ["MAIL FROM:<a@b>", "RCPT TO:a"] {
        assert!(client.say(line).starts_with("451 "), "{line}");
    }
    assert_eq!(client.data(b"x\n", 1), ["250 2.0.0 queued"]);
    client.begin("4XyA", &["get@example.com"; 100]);
    assert!(client.say("RCPT TO:<one@more.example>").starts_with("452 4.5.3 "));
    client.say("RSET");
    // One number that is none: where the bytes end is unknown, and nothing can be said any more.
    assert!(client.say("BDAT x").starts_with("421 "));
    assert_eq!(client.line(), "");

    let mut client = Client::connect(&world);
    let replies: Vec<String> = (0..20).map(|_| client.say("GET / HTTP/1.1")).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("500 5.5.1")), "{replies:?}");
    assert!(client.line().starts_with("421 4.7.0"));
    assert_eq!(client.line(), "");

    let mut client = Client::connect(&world);
    assert!(client.say(&"x".repeat(1 << 20)).starts_with("451 4.5.2"));
    assert!(client.say("NOOP").starts_with("250 "));
    client.send([0xff; 100]);
    drop(client);
    assert_eq!(world.spooled().len(), 1);
}

#[test]
fn a_connection_that_ends_before_the_mail_does_leaves_nothing() {
    let world = World::on_spool().with_service("");
    let _service = Service::start(&world);
    for cut in ["x\r\n", "x\r\n.", "x\r\n.\r"] {
        let mut client = Client::connect(&world);
        client.begin("4XyZ", &["get@example.com"]);
        client.say("DATA");
        client.send(cut);
        drop(client);
        let mut client = Client::connect(&world);
        client.begin("4XyA", &["get@example.com"]);
        client.send("BDAT 10 LAST\r\n123");
    }
    assert_eq!(Client::connect(&world).mail("4XyB", b"x\n"), "250 2.0.0 queued");
    assert_eq!(facts(&world).len(), 1);
}

#[test]
fn loopback_tcp_takes_mail_as_well() {
    let port = free_port();
    let world = World::on_spool().with_service("");
    world.change_settings("lmtp = [", &format!("lmtp = [\"tcp:127.0.0.1:{port}\", "));
    let _service = Service::start(&world);
    assert_eq!(Client::connect_tcp(port).mail("4XyZ", b"x\n"), "250 2.0.0 queued");
    assert_eq!(Client::connect(&world).mail("4XyA", b"x\n"), "250 2.0.0 queued");
    assert_eq!(world.spooled().len(), 2);
}
