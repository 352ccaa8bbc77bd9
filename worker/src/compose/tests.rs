//! The bytes of a reply, read back by another parser.

use mail_parser::{MessageParser, MimeHeaders};

use super::*;
use crate::{
    catalogue::{Attachment, SendMethod},
    request,
};
use replyfleet::store::ObjectName;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn letterhead() -> Letterhead {
    Letterhead {
        from_name: "Réponse".into(),
        subject: "Your request".into(),
        bounce: Address::parse("bounces@example.com").expect("valid"),
        secret: Secret::from_text(KEY).expect("long enough"),
    }
}

fn response() -> Response {
    Response {
        address: "get@example.com".into(),
        plain: Some("سلام\n".repeat(3) + &"long ".repeat(1_000)),
        html: Some("<p>سلام</p>".into()),
        attachments: vec![Attachment { object: ObjectName::new("b", "k").expect("valid"), file_name: "برنامه.apk".into() }],
        send_method: SendMethod::Ses,
        needs: replyfleet::settings::Trust::Small,
        subject: Subject::Default,
        digest: String::new(),
    }
}

fn composed(header: &str, response: &Response) -> Reply {
    let mail = format!("{header}\nFrom: Some One <Some.One@example.org>\n\n");
    let request = request::read(mail.as_bytes(), 1 << 20).expect("readable");
    let to = request.from.clone().expect("clear");
    let attachments: Vec<Bytes> = response.attachments.iter().map(|_| Bytes::from((0..=255).collect::<Vec<u8>>())).collect();
    compose(&letterhead(), &Recipient { to: &to, request: &request, request_key: KEY }, 1, response, &attachments, NOW)
}

fn header_lines(reply: &Reply) -> Vec<String> {
    let text = String::from_utf8_lossy(&reply.message).into_owned();
    let head = text.split("\r\n\r\n").next().expect("a header").replace("\r\n ", " ").replace("\r\n\t", " ");
    head.split("\r\n").map(str::to_owned).collect()
}

#[test]
fn a_reply_goes_to_the_sender_alone_and_says_that_a_machine_wrote_it() {
    let reply = composed("Message-ID: <1@example.org>\nReferences: <a@x.org> <b@x.org> <c@x.org>\nCc: other@example.net", &response());
    assert_eq!(reply.rcpt_to, "Some.One@example.org");
    let lines = header_lines(&reply);
    for line in [
        "To: Some.One@example.org",
        "Auto-Submitted: auto-replied",
        "X-Auto-Response-Suppress: All",
        "X-Loop: get@example.com",
        "MIME-Version: 1.0",
        "In-Reply-To: <1@example.org>",
        "References: <a@x.org> <c@x.org> <1@example.org>",
        "Message-ID: <0123456789abcdef0123456789abcdef.1@example.com>",
        "Subject: Your request",
        "Date: Mon, 21 Sep 2026 14:13:20 +0000",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    }
    assert!(!String::from_utf8_lossy(&reply.message).contains("other@example.net"));
}

#[test]
fn every_attempt_has_the_same_id_and_a_bounce_address_that_cannot_be_guessed() {
    let (first, second) = (composed("Subject: x", &response()), composed("Subject: x", &response()));
    assert_eq!((&first.id, &first.mail_from), (&second.id, &second.mail_from));
    let token = first.mail_from.strip_prefix("bounces+").and_then(|rest| rest.strip_suffix("@example.com")).expect("VERP");
    assert_eq!(token.len(), TOKEN_CHARS);
    assert!(!KEY.contains(token));
}

#[test]
fn bodies_and_attachments_come_back_as_they_were() {
    let reply = composed("Subject: x", &response());
    let parsed = MessageParser::new().parse(&reply.message).expect("parses");
    assert_eq!(parsed.body_text(0).expect("plain").replace("\r\n", "\n").trim_end(), response().plain.expect("set").trim_end());
    assert_eq!(parsed.body_html(0).expect("html").trim_end(), "<p>سلام</p>");
    let attachment = parsed.attachment(0).expect("attached");
    assert_eq!(attachment.attachment_name(), Some("برنامه.apk"));
    assert_eq!(attachment.contents(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(parsed.root_part().content_type().map(|kind| kind.subtype().expect("mixed")), Some("mixed"));
}

#[test]
fn every_line_is_short_ascii_and_ends_with_crlf() {
    let reply = composed("Subject: x", &response());
    for line in reply.message.split_inclusive(|&byte| byte == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= 1_000 && line.is_ascii(), "{:?}", String::from_utf8_lossy(line));
        assert!(!line[..line.len() - 2].contains(&b'\r'));
    }
}

#[test]
fn only_the_parts_that_there_are_are_sent() {
    let kind = |plain: bool, html: bool, files: bool| {
        let full = response();
        let partial = Response {
            plain: full.plain.clone().filter(|_| plain),
            html: full.html.clone().filter(|_| html),
            attachments: if files { full.attachments.clone() } else { Vec::new() },
            ..full
        };
        let reply = composed("Subject: x", &partial);
        let parsed = MessageParser::new().parse(&reply.message).expect("parses");
        parsed.root_part().content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())).expect("typed")
    };
    assert_eq!(kind(true, false, false), "text/plain");
    assert_eq!(kind(false, true, false), "text/html");
    assert_eq!(kind(true, true, false), "multipart/alternative");
    assert_eq!(kind(true, false, true), "multipart/mixed");
}

#[test]
fn a_hostile_subject_is_only_text() {
    let from_request = Response { subject: Subject::FromRequest, ..response() };
    for (header, want) in [
        ("Subject: hello", "Re: hello"),
        ("Subject: RE: hello", "RE: hello"),
        ("Subject: =?utf-8?q?x=0D=0ABcc:_victim@example.net?=", "Re: xBcc: victim@example.net"),
        ("Subject: =?utf-8?q?=E2=80=AEevil=00?=", "Re: evil"),
        ("Subject:", "Re:"),
    ] {
        let reply = composed(header, &from_request);
        let parsed = MessageParser::new().parse(&reply.message).expect("parses");
        assert_eq!(parsed.subject(), Some(want), "{header}");
        assert!(parsed.bcc().is_none());
    }
    let long = composed(&format!("Subject: {}", "ä".repeat(5_000)), &from_request);
    let parsed = MessageParser::new().parse(&long.message).expect("parses");
    assert_eq!(parsed.subject().map(|subject| subject.chars().count()), Some(4 + SUBJECT_CHARS_MAX));
}

#[test]
fn a_thread_that_cannot_be_trusted_is_left_out() {
    let lines = header_lines(&composed("Message-ID: <1@x.org> <2@x.org>\nReferences: <a@x.org>", &response()));
    assert!(!lines.iter().any(|line| line.starts_with("In-Reply-To") || line.starts_with("References")));
}
