//! Headers as people and attackers write them.

use super::*;

const MAX: usize = 10 << 20;

fn from(value: &str) -> Result<String, FromFault> {
    let mail = format!("Subject: x\nFrom: {value}\n\nbody");
    read(mail.as_bytes(), MAX).expect("readable").from.map(|address| address.as_str().to_owned())
}

#[test]
fn the_one_from_mailbox_is_found_as_it_stands() {
    for (value, want) in [
        ("someone@example.org", "someone@example.org"),
        ("Some One <someone@example.org>", "someone@example.org"),
        ("\"One, Some\" <Some.One@Example.org>", "Some.One@Example.org"),
        ("=?utf-8?q?J=C3=B6rg?= <j@example.org>", "j@example.org"),
        ("O'Brien <o'brien@example.org>", "o'brien@example.org"),
        ("<a@b.org> (a comment)", "a@b.org"),
        ("\"victim@example.net\" <real@example.org>", "real@example.org"),
        ("\"a < b\" <a@b.org>", "a@b.org"),
        ("(a (nested) comment) a@b.org", "a@b.org"),
        ("用户 <用户abc@example.org>", "用户abc@example.org"),
    ] {
        assert_eq!(from(value).as_deref(), Ok(want), "{value}");
    }
}

#[test]
fn a_from_that_could_mean_another_person_is_no_from() {
    for (value, want) in [
        ("a@b.org, c@d.org", FromFault::SeveralMailboxes),
        ("Group: a@b.org, c@d.org;", FromFault::Group),
        ("Group: a@b.org;", FromFault::Group),
        ("\"a b\"@c.org", FromFault::NotReproducible),
        ("a@[192.0.2.1]", FromFault::NotReproducible),
        ("a.(x)b@example.com", FromFault::NotReproducible), // a.b@example.com to RFC 5322, b@ to a careless parser
        ("<a.(x)b@example.com>", FromFault::NotReproducible),
        ("a. (x) b@example.com", FromFault::NotReproducible),
        ("user@example.com(x).evil.org", FromFault::NotReproducible),
        ("\"a\"b@c.org", FromFault::NotReproducible),
        ("a@(c)b.org (a@b.org)", FromFault::NotReproducible),
        ("<a@b.org> (never closed", FromFault::NotReproducible),
        ("<victim@example.net> <real@example.org>", FromFault::NotReproducible),
        ("<@relay.example:a@b.org>", FromFault::NotReproducible),
        ("undisclosed-recipients:;", FromFault::Group),
        ("Nobody", FromFault::Missing),
        ("", FromFault::Missing),
    ] {
        assert_eq!(from(value), Err(want), "{value}");
    }
    let twice = read(b"From: a@b.org\nFrom: c@d.org\n\n", MAX).expect("readable");
    assert_eq!(twice.from.expect_err("two fields"), FromFault::SeveralFields);
}

#[test]
fn fields_are_found_whatever_their_case_and_folding() {
    let request =
        read(b"AUTO-submitted:\r\n\tauto-replied; x=y\r\nsubject: =?utf-8?b?2LPZhNin2YU=?=\r\nFrom: a@b.org\r\n\r\n", MAX).expect("readable");
    assert_eq!(request.values("auto-submitted").collect::<Vec<_>>(), ["auto-replied; x=y"]);
    assert_eq!(request.subject, "سلام");
    assert_eq!(request.content_type, "text/plain");
}

#[test]
fn only_ids_that_can_be_written_back_are_believed() {
    let request = |header: &str| read(format!("{header}\nFrom: a@b.org\n\n").as_bytes(), MAX).expect("readable");
    assert_eq!(request("Message-ID: <1@b.org>").message_id.as_deref(), Some("<1@b.org>"));
    for bad in ["<1@b.org> <2@b.org>", "1@b.org", "<@b.org>", "<1 2@b.org>", "<1@b.org", "<1@b.org>x", "<\u{e9}@b.org>"] {
        assert_eq!(request(&format!("Message-ID: {bad}")).message_id, None, "{bad}");
    }
    assert_eq!(request("Message-ID: <1@b.org>\nMessage-ID: <2@b.org>").message_id, None);
    assert_eq!(request("References: <1@b.org>\n <evil\n @x> junk <2@b.org>").references, ["<1@b.org>", "<2@b.org>"]);
}

#[test]
fn a_mail_of_headers_only_is_a_mail() {
    read(b"From: a@b.org\nSubject: x\n", MAX).expect("no body, no empty line");
    for unreadable in [&b""[..], b"\n\nbody", b"no line end", b"From: a@b.org\nSubject: cut", b"\n"] {
        assert_eq!(read(unreadable, MAX).expect_err("unreadable"), Reason::Unreadable);
    }
}

#[test]
fn limits_hold_before_the_parser() {
    let bombs: [(&str, Vec<u8>); 6] = [
        ("size", vec![b'x'; MAX + 1]),
        ("header bytes", [b"X: y\n".repeat(10), vec![b'Y'; 60 << 10], b"\n".to_vec(), vec![b'Z'; 60 << 10], b"\n\n".to_vec()].concat()),
        ("fields", b"X: y\n".repeat(FIELD_COUNT_MAX + 1)),
        ("line", [b"X: ".to_vec(), vec![b'y'; LINE_BYTES_MAX]].concat()),
        ("addresses", [b"From: ".to_vec(), b"a@b.org, ".repeat(FROM_ADDRESSES_MAX + 1), b"\n\n".to_vec()].concat()),
        ("no end of header", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n".repeat(900)[..60 << 10].to_vec()),
    ];
    for (name, bomb) in bombs {
        let reason = read(&bomb, MAX).expect_err(name);
        assert!(matches!(reason, Reason::OverLimits | Reason::Unreadable), "{name}");
    }
    let open = [b"From: <a@b.org> ".to_vec(), b"(((((((((((((((((((((((((((((((((((((((\n ".repeat(2_000), b"\n\n".to_vec()].concat();
    let start = std::time::Instant::now();
    let _ = read(&open, MAX);
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "read in one pass");
    let nested = [b"From: a@b.org\n".to_vec(), b"Content-Type: message/rfc822\n\n".repeat(100_000)].concat();
    assert_eq!(read(&nested, MAX).expect("the body is not parsed").content_type, "message/rfc822");
}
