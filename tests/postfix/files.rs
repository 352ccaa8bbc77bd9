//! The Postfix of `ami/files`, as its files are: whom it takes, what it hands on, and what it does not.
//!
//! Two worlds, each for many questions, which are asked at once: one as it is by default, one with what settings change.

use std::{fs, os::unix::fs::PermissionsExt};

use replyfleet::envelope::{Envelope, Mail as Bytes};
use replyfleet_tests::{
    installation::said,
    milter, repository,
    world::{Backing, Intake, MX, Mail, Plan, SENDER, SENDER_INSTANCE, TWO_REPLIES, Talk, World},
};

use crate::common::{assert_both_replies, assert_nothing_is_left};

/// On one list that alone is enough.
const LISTED: &str = "203.0.113.9";
/// Of whom every list says, by its own code for it, that it does not serve us.
const ERRONEOUS: &str = "203.0.113.10";
/// On one list that alone is not enough.
const DOUBTFUL: &str = "203.0.113.11";
/// On two of those.
const TWICE_DOUBTFUL: &str = "203.0.113.12";

fn names() -> Vec<String> {
    let answer = |client: &str, list: &str, answer: &str| {
        let reversed = client.rsplit('.').collect::<Vec<_>>().join(".");
        format!("--address=/{reversed}.{list}/{answer}")
    };
    vec![
        answer(LISTED, "zen.spamhaus.org", "127.0.0.4"),
        answer(ERRONEOUS, "zen.spamhaus.org", "127.255.255.254"),
        answer(ERRONEOUS, "bl.spamcop.net", "127.0.0.255"),
        answer(ERRONEOUS, "list.dnswl.org", "127.0.0.255"),
        answer(DOUBTFUL, "bl.spamcop.net", "127.0.0.2"),
        answer(TWICE_DOUBTFUL, "bl.spamcop.net", "127.0.0.2"),
        answer(TWICE_DOUBTFUL, "psbl.surriel.com", "127.0.0.2"),
        // A host that is not there.
        "--mx-host=stuck.example.org,mail.stuck.example.org,10".into(),
        "--host-record=mail.stuck.example.org,192.0.2.99".into(),
    ]
}

fn world(files: &str) -> Option<World> {
    World::start(&Plan { intake: Intake::Lmtp, files: Some(files), names: &names(), ..Plan::on(Backing::Embedded) })
}

/// What a talk is for, the talk, and how each of its answers begins.
type Expected<'a> = (&'a str, Talk, &'a [&'a str]);

/// Has these talks at once; each is answered as expected.
#[track_caller]
fn assert_answers(world: &World, talks: &[Expected]) {
    let answers = world.talk(&talks.iter().map(|(_, talk, _)| talk).collect::<Vec<_>>());
    let is_expected = |answers: &[String], wanted: &[&str]| {
        answers.len() == wanted.len() && answers.iter().zip(wanted).all(|(answer, wanted)| answer.starts_with(wanted))
    };
    let others: Vec<_> = talks.iter().zip(&answers).filter(|((_, _, wanted), answers)| !is_expected(answers, wanted)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// The settings of an instance are the ones that stand in a file here.
#[track_caller]
fn assert_golden(world: &World, instance: &str, name: &str) {
    let file = repository().join("tests/postfix/golden").join(name);
    let found = world.postconf(instance);
    // Other versions fold and sort alike; only whether a line ends in a space differs.
    let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(lines(&golden), lines(&found), "{} is not what `postconf -n` says; if it should be:\n{found}", file.display());
}

/// The bytes of a mail that came with its envelope.
fn text(envelope: &Envelope) -> String {
    let Bytes::Inline(bytes) = &envelope.mail else { panic!("a small mail travels with its envelope") };
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_files_as_they_are_take_what_they_should_and_nothing_else() {
    let Some(world) = world("") else { return };
    assert_golden(&world, MX, "mx");
    assert_golden(&world, SENDER_INSTANCE, "out");

    let mx = Talk::with_the_mx;
    let content = format!("From: {SENDER}\r\nMessage-ID: <smuggler@client.example.org>\r\n\r\nhello\n.\r\nMAIL FROM:<forged@example.org>\r\n");
    let smuggled = format!("{content}RCPT TO:<{TWO_REPLIES}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n");
    let talks = [
        ("our address", mx().until_recipient("get@responder.test"), &["220", "250", "250 2.1.0", "250 2.1.5"][..]),
        ("in capitals and with a tag", mx().until_recipient("Get+tag@Responder.TEST"), &["220", "250", "250 2.1.0", "250 2.1.5"]),
        ("the bounce address", mx().until_recipient("bounce+0123abcd@responder.test"), &["220", "250", "250 2.1.0", "250 2.1.5"]),
        ("nobody", mx().until_recipient("nobody@responder.test"), &["220", "250", "250 2.1.0", "550 5.1.1"]),
        ("another's domain", mx().until_recipient("someone@example.org"), &["220", "250", "250 2.1.0", "554 5.7.1"]),
        ("a domain below ours", mx().until_recipient("get@below.responder.test"), &["220", "250", "250 2.1.0", "554 5.7.1"]),
        (
            "the machine itself may not relay either",
            mx().from("127.0.0.1").until_recipient("someone@example.org"),
            &["220", "250", "250 2.1.0", "554 5.7.1"],
        ),
        ("too large", mx().say("EHLO client.example.org").say("MAIL FROM:<someone@example.org> SIZE=10485761"), &["220", "250", "552 5.3.4"]),
        (
            "a domain that does not exist",
            mx().say("EHLO client.example.org").say("MAIL FROM:<a@example.invalid>").say("RCPT TO:<get@responder.test>"),
            &["220", "250", "250 2.1.0", "450 4.1.8"],
        ),
        (
            "who says that he is us",
            mx().say("EHLO mx.responder.test").say("MAIL FROM:<a@example.org>").say("RCPT TO:<get@responder.test>"),
            &["220", "250", "250 2.1.0", "554 5.7.1"],
        ),
        (
            "who says that he is localhost",
            mx().say("EHLO localhost.localdomain").say("MAIL FROM:<a@example.org>").say("RCPT TO:<get@responder.test>"),
            &["220", "250", "250 2.1.0", "554 5.7.1"],
        ),
        ("no HELO", mx().say("MAIL FROM:<a@example.org>"), &["220", "503 5.5.1"]),
        ("VRFY", mx().say("EHLO client.example.org").say("VRFY get"), &["220", "250", "502 5.5.1"]),
        ("listed", mx().from(LISTED).until_recipient("get@responder.test"), &["220", "250", "250 2.1.0", "550 5.7.1 Service unavailable"]),
        (
            "listed twice",
            mx().from(TWICE_DOUBTFUL).until_recipient("get@responder.test"),
            &["220", "250", "250 2.1.0", "550 5.7.1 Service unavailable"],
        ),
        ("an error is no listing", mx().from(ERRONEOUS).until_recipient("get@responder.test"), &["220", "250", "250 2.1.0", "250 2.1.5"]),
        ("one doubt", mx().from(DOUBTFUL).until_recipient("get@responder.test"), &["220", "250", "250 2.1.0", "250 2.1.5"]),
        (
            "a line break that is none",
            mx().until_recipient(TWO_REPLIES).say("DATA").raw(&smuggled),
            &["220", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"],
        ),
        (
            "pipelining that nobody offered",
            mx().say("HELO client.example.org").raw("MAIL FROM:<a@example.org>\r\nRCPT TO:<get@responder.test>\r\n"),
            &["220", "250", "554 5.5.0"],
        ),
        (
            "an early talker",
            mx().from("192.0.2.26").at_once("EHLO client.example.org\r\n").say("MAIL FROM:<a@example.org>").say("RCPT TO:<get@responder.test>"),
            &["220-mx.responder.test ESMTP\n250", "250 2.1.0", "550 5.5.1 Protocol error"],
        ),
        ("TLS 1.3", mx().say("EHLO client.example.org").say("STARTTLS").tls("TLSv1_3"), &["220", "250", "220 2.0.0", "TLSv1.3"]),
        ("TLS 1.2", mx().say("EHLO client.example.org").say("STARTTLS").tls("TLSv1_2"), &["220", "250", "220 2.0.0", "TLSv1.2"]),
        ("TLS 1.1", mx().say("EHLO client.example.org").say("STARTTLS").tls("TLSv1_1"), &["220", "250", "220 2.0.0", "refused"]),
        (
            "the sender's is for this machine",
            Talk::with_the_sender().until_recipient("someone@stuck.example.org").say("DATA").say("Subject: stuck\r\n\r\nx\r\n."),
            &["220 localhost", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"],
        ),
    ];
    assert_answers(&world, &talks);
    // One mail, and in its body all that was meant to be a second one.
    world.wait_for_handover(1);
    let queued = world.queued();
    assert_eq!(queued.len(), 1);
    assert!(text(&queued[0]).contains("MAIL FROM:<forged@example.org>") && text(&queued[0]).contains("Subject: smuggled"), "{}", text(&queued[0]));
    assert_eq!((world.mails_in(MX), world.mails_in(SENDER_INSTANCE)), (0, 1), "each has a queue of its own");

    // What a signature may be over arrives as it was sent, though Received fields were taken out before it.
    let head = format!("From: {SENDER}\nSubject: \nDKIM-Signature: v=1;\n\tb=x  \nX-Long: {}\nMIME-Version: 1.0\n", "x ".repeat(600)).into_bytes();
    let body = [&b"\n\xfa\xc4\xd2 \xff\xfe\x01 trailing \n.\n..x\n\nReceived: in the body\n"[..], &[b'y'; 5000], b"\n"].concat();
    let content = [head, body].concat();
    world.send(&Mail::of(content.clone()));
    world.wait_for_handover(2);
    let is_whole = |envelope: &Envelope| matches!(&envelope.mail, Bytes::Inline(bytes) if bytes.ends_with(&content));
    assert!(world.queued().iter().any(is_whole), "Postfix changed the mail");
}

#[test]
fn a_request_by_the_files_is_answered_and_neither_queue_nor_reply_says_what_they_need_not() {
    let socket = tempfile::tempdir().unwrap();
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let milter = socket.path().join("milter.sock");
    milter::listen(&milter);
    let Some(world) = world(&format!("FILTER=unix:{}", milter.display())) else { return };
    let fields = "Message-ID: <1@client.example.org>
Received: from home (unknown [203.0.113.77]) by smtp.example.org; Sat, 21 Nov 2026 00:00:00 +0000
Received: from
\tthe.room (localhost [127.0.0.1]); Sat, 21 Nov 2026 00:00:00 +0000
X-Originating-IP: [203.0.113.77]
X-Spam-Flag: NO
x-spam-status: No, score=-5
Authentication-Results: (forged) mx.responder.test; dkim=pass
Authentication-Results: mx.example.org; dkim=pass
User-Agent: kept
";
    world.send(&Mail::with_fields(fields));
    world.wait_for_handover(1);
    let queued = world.queued();
    let text = text(&queued[0]);
    for gone in ["203.0.113.77", "the.room", "198.51.100.7", "X-Originating-IP", "x-spam-status", "forged", "X-Spam-Flag: NO"] {
        assert!(!text.contains(gone), "{gone} is still there:\n{text}");
    }
    for kept in ["X-Spam-Flag: YES", "Authentication-Results: mx.example.org; dkim=pass", "User-Agent: kept", "From: Some One"] {
        assert!(text.contains(kept), "{kept} is not there:\n{text}");
    }
    assert!(!text.contains("Received:"), "{text}");
    for gone in ["203.0.113.77", "the.room", "replace: header"] {
        assert_eq!(world.times_in_log(gone), 0, "Postfix logs what it takes away: {gone}");
    }
    assert_eq!((queued[0].facts.client_address.as_str(), queued[0].facts.helo.as_str()), ("198.51.100.7", "client.example.org"));

    let _worker = world.start_worker();
    let replies = world.replies(2);
    assert_both_replies(&replies, "1@client.example.org");
    for reply in &replies {
        // The sink's own names the MX that it came from.
        let received = reply.header("received");
        assert!(received.contains("by mail.example.org (smtp-sink)") && !received.contains("127.0.0.1"), "a reply says how it came: {received}");
    }
    assert_nothing_is_left(&world);
}

#[test]
fn settings_bring_the_proxy_protocol_the_lists_the_size_and_tls() {
    let files = "PROXY_PROTOCOL=yes\nTLS_LEVEL=encrypt\nMESSAGE_SIZE_LIMIT=20000\nDNSBL=none\nDNSBL_SITES=list.test=127.0.0.2*3\n";
    let names = [names(), vec!["--address=/12.113.0.203.list.test/127.0.0.2".into()]].concat();
    let plan = Plan { intake: Intake::Lmtp, files: Some(files), names: &names, ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&plan) else { return };
    // Version 2, TCP over IPv4, from this client's port 5555 to the MX's port 25.
    let proxied = |client: &'static str| {
        let octets: std::net::Ipv4Addr = client.parse().unwrap();
        let addresses = [octets.octets(), [192, 0, 2, 25]].concat();
        let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses, &[0x15, 0xb3, 0, 25]].concat();
        Talk::with_the_mx().from("192.0.2.26").at_once(&header.iter().map(|&byte| char::from(byte)).collect::<String>())
    };
    let in_tls = |talk: Talk| talk.say("EHLO client.example.org").say("STARTTLS").tls("TLSv1_3");
    let content = "From: someone@example.org\r\nMessage-ID: <2@client.example.org>\r\n\r\nplease\r\n.";
    let talks = [
        (
            "a list that is switched off",
            in_tls(proxied(LISTED)).until_recipient("get@responder.test").say("DATA").say(content),
            &["220", "250", "220 2.0.0", "TLSv1.3", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"][..],
        ),
        (
            "a list of one's own",
            in_tls(proxied(TWICE_DOUBTFUL)).until_recipient("get@responder.test"),
            &["220", "250", "220 2.0.0", "TLSv1.3", "250", "250 2.1.0", "550 5.7.1 Service unavailable"],
        ),
        ("without TLS", proxied("198.51.100.7").until_recipient("get@responder.test"), &["220", "250", "530 5.7.0", "530 5.7.0"]),
        ("without the header, which is waited for", Talk::with_the_mx(), &["421 4.3.2"]),
        (
            "too large",
            in_tls(proxied("198.51.100.7")).say("EHLO client.example.org").say("MAIL FROM:<a@example.org> SIZE=20001"),
            &["220", "250", "220 2.0.0", "TLSv1.3", "250", "552 5.3.4"],
        ),
    ];
    assert_answers(&world, &talks);
    world.wait_for_handover(1);
    assert_eq!(world.queued()[0].facts.client_address, LISTED);

    // What cannot be is said with its place, and changes nothing; what is not said any more has its default again.
    let env = world.path("host/etc/replyfleet/postfix.env");
    let configure = || said(&mut world.command(repository().join("ami/files/usr/lib/replyfleet/postfix-configure")));
    let before = world.postconf(MX);
    for (line, wanted) in [
        ("MYHOSTNAME", "line 2: expected KEY=VALUE"),
        ("MYHOSTNAM=x", "line 2: MYHOSTNAM is not a key"),
        ("MYHOSTNAME=mx1", "it must be a whole name"),
        ("MYHOSTNAME=mx1.example.com, x", "it must be a host name"),
        ("RELAYHOST=$mydomain", "RELAYHOST has a character that no value has"),
        ("TLS_LEVEL=none", "it must be one of: may encrypt"),
        ("SEND_TLS_LEVEL=none", "it must be one of: may encrypt dane verify secure"),
        ("INSTANCES=mx worker", "INSTANCES is \"worker\""),
        ("PROXY_PROTOCOL=true", "it must be one of: yes no"),
        ("DNSBL=sorbs", "it must be one of: spamhaus spamcop psbl barracuda dnswl none"),
        ("DNSBL_SITES=zen.spamhaus.org*3", "without the answers that mean \"listed\""),
        ("MESSAGE_SIZE_LIMIT=10MB", "it must be a number of bytes"),
        ("MESSAGE_SIZE_LIMIT=60000000", "from 10000 to 50000000"),
        ("FILTER=clamav", "it must be none, rspamd, spamassassin"),
        ("POLICY_SERVICE=postgrey", "it must be inet:HOST:PORT or unix:PATH"),
        ("LOG=/var/log/mail.log", "a disk keeps what it names"),
        ("SPAMHAUS_KEY_FILE=/nonexistent", "cannot read /nonexistent"),
    ] {
        fs::write(&env, format!("# {wanted}\n{line}\n")).unwrap();
        let (status, text) = configure();
        assert!(status == Some(1) && text.contains(wanted) && text.contains("/etc/replyfleet/postfix.env"), "{line}: {status:?} {text}");
    }
    assert_eq!(world.postconf(MX), before);
    fs::write(world.path("key"), "abc123").unwrap();
    let key = format!("SPAMHAUS_KEY_FILE={}\nDNSBL=spamhaus\nTRANSPORT=pipe\nINSTANCES=mx\n", world.path("key").display());
    fs::write(&env, key).unwrap();
    assert_eq!(configure(), (Some(0), String::new()));
    for (instance, wanted) in [
        (MX, "postscreen_dnsbl_sites = abc123.zen.dq.spamhaus.net=127.0.0.[2..11]*3\n"),
        (MX, "virtual_transport = replyfleet:\n"),
        (MX, "multi_instance_enable = yes\n"),
        (SENDER_INSTANCE, "multi_instance_enable = no\n"),
    ] {
        assert!(world.postconf(instance).contains(wanted), "{wanted}");
    }
    assert_eq!(wanted(&world), [["postfix.service", "postfix@-.service"], ["postfix.service", ""]], "INSTANCES=mx");
    let replies = world.path("host/etc/postfix/replyfleet/dnsbl_reply");
    assert!(
        fs::read_to_string(&replies).unwrap().ends_with("\nabc123.zen.dq.spamhaus.net zen.spamhaus.org\n"),
        "a refused client would read our key"
    );
    fs::write(&env, "MYHOSTNAME=mx.responder.test\nINET_INTERFACES='192.0.2.25'\nLOG=/run/mail/mail.log\n").unwrap();
    assert_eq!(configure(), (Some(0), String::new()));
    assert_golden(&world, MX, "mx");
    assert_golden(&world, SENDER_INSTANCE, "out");
    assert!(!fs::read_to_string(&replies).unwrap().contains("abc123"));

    // With IPv6 only the worker still reaches the sender, by 127.0.0.1.
    fs::write(&env, "INET_INTERFACES=all\nINET_PROTOCOLS=ipv6\nINSTANCES=out\n").unwrap();
    assert_eq!(configure(), (Some(0), String::new()));
    assert!(world.postconf(MX).contains("inet_protocols = ipv6\n") && world.postconf(SENDER_INSTANCE).contains("inet_protocols = all\n"));
    assert_eq!(wanted(&world), [["postfix.service", "postfix@postfix-out.service"], ["postfix@out.service", ""]], "INSTANCES=out");
    let start = r#"postfix stop; postmulti -i postfix-out -p stop; set -e; postmulti -i postfix-out -p start; postmulti -i postfix-out -p status"#;
    let (status, text) = said(world.command("sh").args(["-c", start]));
    assert_eq!(status, Some(0), "{text}");
    let talk = Talk::with_the_sender().say("EHLO client.example.org");
    assert_answers(&world, &[("the worker's", talk, &["220 localhost", "250"])]);
}

/// The units that systemd starts: with the generator of Debian 12, and without it, as on Debian 13.
fn wanted(world: &World) -> [[String; 2]; 2] {
    let script = r#"
        mkdir -p "$1"
        if [ "$2" = 12 ]; then touch "$1/postfix-instance-generator"; fi
        mount --bind "$1" /usr/lib/systemd/system-generators
        for unit in postfix.service postfix@-.service postfix@postfix-out.service postfix@out.service; do
            status=0
            "$3" "$unit" || status=$?
            case $status in 0) echo "$unit" ;; 1) ;; *) exit "$status" ;; esac
        done
        umount /usr/lib/systemd/system-generators"#;
    ["12", "13"].map(|debian| {
        let mut command = world.command("sh");
        command.args(["-euc", script, "sh"]).arg(world.path(&format!("generators-{debian}"))).arg(debian);
        let (status, text) = said(command.arg(repository().join("ami/files/usr/lib/replyfleet/postfix-is-wanted")));
        assert_eq!(status, Some(0), "{text}");
        let mut units = text.lines().map(str::to_owned);
        [(); 2].map(|()| units.next().unwrap_or_default())
    })
}
