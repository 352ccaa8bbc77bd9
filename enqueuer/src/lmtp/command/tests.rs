//! Commands as Postfix writes them, and as nobody should.

use super::*;

fn parse(line: &str) -> Result<Command, Fault> {
    Command::parse(line.as_bytes())
}

fn rcpt(to: &str, original: Option<&str>) -> Result<Command, Fault> {
    Ok(Command::Rcpt { to: to.into(), original: original.map(str::to_owned) })
}

#[test]
fn what_postfix_writes_is_read() {
    assert_eq!(parse("LHLO mx.example.com"), Ok(Command::Lhlo));
    assert_eq!(parse("MAIL FROM:<a@example.org> SIZE=438 BODY=8BITMIME"), Ok(Command::Mail("a@example.org".into())));
    assert_eq!(parse("MAIL FROM:<>"), Ok(Command::Mail(String::new())));
    assert_eq!(
        parse("RCPT TO:<get@responder.test> ORCPT=rfc822;alias+2Btag@responder.test"),
        rcpt("get@responder.test", Some("alias+tag@responder.test"))
    );
    assert_eq!(
        parse("RCPT TO:<g\u{e9}t@responder.test> ORCPT=utf-8;g\u{e9}t@responder.test NOTIFY=NEVER"),
        rcpt("g\u{e9}t@responder.test", Some("g\u{e9}t@responder.test"))
    );
    let client = vec![(Attribute::Name, Some("mail.example.org".into())), (Attribute::Addr, Some("IPV6:2001:db8::1".into()))];
    assert_eq!(parse("XFORWARD NAME=mail.example.org ADDR=IPV6:2001:db8::1 PORT=60605"), Ok(Command::Xforward(client)));
    let rest = vec![(Attribute::Proto, Some("ESMTP".into())), (Attribute::Helo, Some("a b".into())), (Attribute::Ident, None)];
    assert_eq!(parse("XFORWARD PROTO=ESMTP HELO=a+20b IDENT=[UNAVAILABLE] SOURCE=REMOTE"), Ok(Command::Xforward(rest)));
    assert_eq!(parse("DATA"), Ok(Command::Data));
    assert_eq!(parse("BDAT 12"), Ok(Command::Bdat { bytes: 12, is_last: false }));
    assert_eq!(parse("BDAT 0 LAST"), Ok(Command::Bdat { bytes: 0, is_last: true }));
    assert_eq!((parse("RSET"), parse("NOOP x"), parse("QUIT")), (Ok(Command::Rset), Ok(Command::Noop), Ok(Command::Quit)));
}

#[test]
fn case_and_stray_spaces_change_nothing() {
    assert_eq!(parse("mail from: <a@b> \t"), Ok(Command::Mail("a@b".into())));
    assert_eq!(parse("rcpt\tto:<a@b>  orcpt=RFC822;c@d"), rcpt("a@b", Some("c@d")));
    assert_eq!(parse("data\r"), Ok(Command::Data));
    assert_eq!(parse("bdat 3 last"), Ok(Command::Bdat { bytes: 3, is_last: true }));
}

#[test]
fn a_bracket_in_quotes_does_not_end_an_address() {
    assert_eq!(parse(r#"MAIL FROM:<"a>b"@c>"#), Ok(Command::Mail(r#""a>b"@c"#.into())));
    assert_eq!(parse(r#"RCPT TO:<"a\">b"@c> X=y"#), rcpt(r#""a\">b"@c"#, None));
}

#[test]
fn an_original_recipient_that_cannot_be_read_is_none() {
    for value in ["rfc822;+", "x400;x", "", "rfc822;"] {
        assert_eq!(parse(&format!("RCPT TO:<a@b> ORCPT={value}")), rcpt("a@b", None), "{value}");
    }
}

#[test]
fn hostile_lines_are_faults_and_only_what_no_postfix_says_is_one_for_good() {
    for line in ["MAIL", "MAIL FROM:", "MAIL FROM:a@b", "MAIL FROM:<a@b", "MAIL TO:<a@b>", "MAIL FROM:<\"a@b>", "MAIL FROM:<a\\>"] {
        assert_eq!(parse(line), Err(NO_SENDER), "{line}");
    }
    for line in ["RCPT", "RCPT TO:", "RCPT TO:<>", "RCPT TO:a@b", "RCPT FROM:<a@b>"] {
        assert_eq!(parse(line), Err(NO_RECIPIENT), "{line}");
    }
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT +1", "BDAT 1 2", "BDAT 1 LAST x", "BDAT 99999999999999999999 LAST"] {
        assert_eq!(parse(line), Err(NO_SIZE), "{line}");
    }
    for line in ["", " ", "\0", "VRFY x", "STARTTLS", "MAILFROM:<a@b>", "From: a@b", "DATA\0"] {
        assert_eq!(parse(line), Err(UNKNOWN), "{line}");
    }
    assert_eq!(Command::parse(b"\xff\xfe\xfd"), Err(UNKNOWN));
    assert_eq!(parse("XFORWARD NAME"), Err(NO_ATTRIBUTE));
    assert_eq!(parse("XFORWARD IDENT=+"), Err(NO_ATTRIBUTE));
    for fault in [NO_SENDER, NO_RECIPIENT, NO_SIZE] {
        assert!(fault.0.starts_with('4'), "on a 5xx here Postfix bounces: {}", fault.0);
    }
}

#[test]
fn an_address_that_is_no_utf_8_is_kept_as_the_pipe_keeps_it() {
    assert_eq!(Command::parse(b"MAIL FROM:<\xe9@b>"), Ok(Command::Mail("\u{fffd}@b".into())));
}
