//! The header as two readers see it, and From in every disguise.

use proptest::prelude::*;

use super::*;
use crate::request;

#[test]
fn every_line_ends_in_crlf_whatever_came_in() {
    for (given, expected) in [
        ("", ""),
        ("a", "a"),
        ("\n", "\r\n"),
        ("a\nb", "a\r\nb"),
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\nb\r\nc\n\n", "a\r\nb\r\nc\r\n\r\n"),
        ("a\r\r\nb\rc\n", "a\r\r\nb\rc\r\n"),
    ] {
        assert_eq!(String::from_utf8_lossy(&with_crlf(given.as_bytes())), expected, "{given:?}");
    }
    assert!(matches!(with_crlf(b"a\r\nb"), Cow::Borrowed(_)), "nothing is copied that need not be");
}

#[test]
fn fields_are_split_byte_for_byte() {
    let raw = b"A:1\r\nb : 2\r\n\t3\r\nno colon\r\nC:\r\n\r\nbody\r\n";
    let mail = Mail::split(raw).expect("valid");
    let names: Vec<_> = mail.fields.iter().map(|field| (String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value))).collect();
    assert_eq!(
        names,
        [("A".into(), "1\r\n".into()), ("b ".into(), " 2\r\n\t3\r\n".into()), ("no colon\r\n".into(), "".into()), ("C".into(), "\r\n".into())]
    );
    assert_eq!(mail.body(), b"body\r\n");
    assert_eq!(Mail::split(b"A: 1\r\n").expect("valid").body(), b"");
    assert_eq!(Mail::split(b"A: 1").expect("valid").fields.len(), 1);
}

#[test]
fn a_header_over_the_limits_is_not_split() {
    assert!(Mail::split("A: 1\r\n".repeat(FIELD_COUNT_MAX + 1).as_bytes()).is_none());
    assert!(Mail::split("A: 1\r\n".repeat(FIELD_COUNT_MAX).as_bytes()).is_some());
    assert!(Mail::split(format!("A: {}\r\n", "x".repeat(2 * HEADER_BYTES_MAX)).as_bytes()).is_none());
}

fn address(text: &str) -> Address {
    Address::parse(text).expect(text)
}

#[test]
fn one_plain_from_is_agreed_upon() {
    for (mail, from) in [
        ("From: a@example.org\n\nx", "a@example.org"),
        ("From: \"A <b@c.org>\" <a@example.org>\r\n\r\nx", "a@example.org"),
        ("from:\n <A@Example.org>\n\n", "A@Example.org"),
        ("From: o'brien@example.org\n\n", "o'brien@example.org"),
        ("From b@example.org Mon Jan  1 10:00:00 2026\nFrom: a@example.org\n\n", "a@example.org"),
        ("From: 用户abc@example.org\n\n", "用户abc@example.org"),
    ] {
        assert!(author_agrees(mail.as_bytes(), &address(from)), "{mail:?}");
        assert!(!author_agrees(mail.as_bytes(), &address("x@example.org")), "{mail:?}");
    }
}

#[test]
fn a_second_from_in_any_disguise_ends_all_agreement() {
    for mail in [
        "From: a@example.org\nFrom: b@example.org\n\n",
        "From: a@example.org\nfrom : b@example.org\n\n",
        "From : a@example.org\n\n",
        "From\t: a@example.org\n\n",
        "From\nFrom: a@example.org\n\n",
        "From: a@example.org, b@example.org\n\n",
        "From: g: a@example.org, b@example.org;\n\n",
        "Subject: none\n\nFrom: a@example.org\n",
        "",
    ] {
        assert!(!author_agrees(mail.as_bytes(), &address("a@example.org")), "{mail:?}");
    }
    assert!(author_agrees(b"From-Line: x\nFromage: y\nFrom: a@example.org\n\n", &address("a@example.org")), "other fields are other fields");
}

/// Pieces from which hostile From fields are made.
const PIECES: [&str; 34] = [
    "a@example.org",
    "o'brien@example.org",
    "用户abc@example.org",
    "victim@example.net",
    "<",
    ">",
    "<a@example.org>",
    "<victim@example.net>",
    "\"",
    "\\",
    "\"a b\"@example.org",
    "\"<victim@example.net>\"",
    "(",
    ")",
    "(victim@example.net)",
    ",",
    ";",
    ":",
    "group:",
    " ",
    "\r\n ",
    "\r\n\t",
    "\r\nFrom: ",
    "\r\nfrom :",
    "\r\nSender: x@example.org",
    "\0",
    "=?utf-8?q?victim=40example.net?=",
    "=?utf-8?b?dmljdGltQGV4YW1wbGUubmV0?=",
    "@",
    "@relay.example:",
    "[192.0.2.1]",
    ".",
    "undisclosed",
    "\u{202e}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The address that is answered is the address that the prover sees, or nothing is proven.
    #[test]
    fn nobody_else_is_answered_than_who_is_proven(picks in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..8), is_lf in any::<bool>()) {
        let mut mail = format!("From: {}\r\nSubject: x\r\n\r\nbody\r\n", picks.concat());
        if is_lf {
            mail = mail.replace("\r\n", "\n");
        }
        let Ok(request) = request::read(mail.as_bytes(), 1 << 20) else { return Ok(()) };
        let Ok(from) = request.from else { return Ok(()) };
        if !author_agrees(mail.as_bytes(), &from) {
            return Ok(());
        }
        // Asked of the whole mail this time, as a prover would that splits the header itself.
        let crlf = with_crlf(mail.as_bytes());
        let seen = AuthenticatedMessage::parse(&crlf).expect("it has a header");
        prop_assert_eq!(seen.froms(), [from.as_str().to_lowercase()], "{:?}", mail);
    }
}
