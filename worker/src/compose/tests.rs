//! The bytes of a reply, read back by another parser.

use mail_parser::{MessageParser, MimeHeaders};

use super::{
    render::{File, encoded, render},
    *,
};
use crate::{
    catalogue::{Attachment, SendMethod, Translation},
    language::Tag,
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
        is_null_sender: false,
        secret: Secret::from_text(KEY).expect("long enough"),
    }
}

fn response() -> Response {
    Response {
        address: "get@example.com".into(),
        plain: Some("سلام\n".repeat(3) + &"long ".repeat(1_000)),
        html: Some("<p>سلام</p>".into()),
        attachments: vec![Attachment { object: ObjectName::new("b", "k").expect("valid"), file_name: "برنامه.apk".into(), sha256: None }],
        send_method: SendMethod::Ses,
        needs: replyfleet::settings::Trust::Small,
        subject: Subject::Default,
        is_reply_to: false,
        lang: None,
        translations: Vec::new(),
        digest: String::new(),
    }
}

fn composed(header: &str, response: &Response) -> Reply {
    composed_in(header, response, None)
}

fn composed_in(header: &str, response: &Response, translation: Option<&Translation>) -> Reply {
    composed_by(&letterhead(), header, response, translation)
}

fn composed_by(letterhead: &Letterhead, header: &str, response: &Response, translation: Option<&Translation>) -> Reply {
    let mail = format!("{header}\nFrom: Some One <Some.One@example.org>\n\n");
    let request = request::read(mail.as_bytes(), 1 << 20).expect("readable");
    let to = request.from.clone().expect("clear");
    let content = Arc::new(encoded(&(0..=255).collect::<Vec<u8>>()));
    let file = |attachment: &Attachment| File { name: attachment.file_name.clone(), content: Arc::clone(&content) };
    let body = Arc::new(render(response, translation, &response.attachments.iter().map(file).collect::<Vec<_>>()));
    let recipient = Recipient { to: &to, asked: "get+Tag@example.com", request: &request, request_key: KEY };
    compose(letterhead, &recipient, 1, (response, translation), body, NOW, |_, _, _| Vec::new())
}

fn header_lines(reply: &Reply) -> Vec<String> {
    let text = String::from_utf8_lossy(&reply.to_vec()).into_owned();
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
        "In-Reply-To: <1@example.org>",
        "References: <a@x.org> <c@x.org> <1@example.org>",
        "Message-ID: <0123456789abcdef0123456789abcdef.1@example.com>",
        "Subject: Your request",
        "Date: Mon, 21 Sep 2026 14:13:20 +0000",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    }
    assert!(!String::from_utf8_lossy(&reply.to_vec()).contains("other@example.net"));
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
    let whole = reply.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
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
    for line in reply.to_vec().split_inclusive(|&byte| byte == b'\n') {
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
        let whole = reply.to_vec();
        let parsed = MessageParser::new().parse(&whole).expect("parses");
        parsed.root_part().content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())).expect("typed")
    };
    assert_eq!(kind(true, false, false), "text/plain");
    assert_eq!(kind(false, true, false), "multipart/alternative", "the plain part is taken from the HTML");
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
        // An encoded word within an encoded word: decoded twice it would act.
        ("Subject: =?utf-8?q?=3D=3Futf-8=3Fq=3F=3DE2=3D80=3DAEevil=3F=3D?=", "Re: =?utf-8?q?=E2=80=AEevil?="),
    ] {
        let reply = composed(header, &from_request);
        let whole = reply.to_vec();
        let parsed = MessageParser::new().parse(&whole).expect("parses");
        assert_eq!(parsed.subject(), Some(want), "{header}");
        assert!(parsed.bcc().is_none());
    }
    let long = composed(&format!("Subject: {}", "ä".repeat(5_000)), &from_request);
    let whole = long.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    assert_eq!(parsed.subject().map(|subject| subject.chars().count()), Some(4 + SUBJECT_CHARS_MAX));
}

#[test]
fn a_thread_that_cannot_be_trusted_is_left_out() {
    let lines = header_lines(&composed("Message-ID: <1@x.org> <2@x.org>\nReferences: <a@x.org>", &response()));
    assert!(!lines.iter().any(|line| line.starts_with("In-Reply-To") || line.starts_with("References")));
}

/// A response in English with a Persian translation.
fn bilingual() -> Response {
    let translation = Translation {
        lang: Tag::parse("fa").expect("valid"),
        plain: Some("سلام\n".into()),
        html: Some("<p>سلام</p>".into()),
        subject: Some("پاسخ".into()),
    };
    let (plain, html) = (Some("hello\n".into()), Some("<p>hello</p>".into()));
    Response { plain, html, lang: Tag::parse("en"), translations: vec![translation], subject: Subject::Fixed("Answer".into()), ..response() }
}

#[test]
fn a_translation_comes_first_and_the_own_text_after_it_in_every_part() {
    let response = bilingual();
    let reply = composed_in("Subject: x", &response, response.translations.first());
    let whole = reply.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    assert_eq!(parsed.subject(), Some("پاسخ"));
    let plain = parsed.body_text(0).expect("plain").replace("\r\n", "\n");
    assert_eq!(plain, "سلام\n\n----------------------------------------\n\nhello\n");
    let html = parsed.body_html(0).expect("html").replace("\r\n", "\n");
    let want = "<div lang=\"fa\" dir=\"rtl\">\n<p>سلام</p>\n</div>\n<hr>\n<div lang=\"en\" dir=\"ltr\">\n<p>hello</p>\n</div>";
    assert_eq!(html.trim_end(), want);
    for part in parsed.text_bodies().chain(parsed.html_bodies()) {
        assert_eq!(part.content_language().as_text_list(), Some(&["fa".into(), "en".into()][..]), "RFC 3282");
    }
    assert_eq!(parsed.attachment(0).expect("attached").attachment_name(), Some("برنامه.apk"));
    assert!(parsed.attachment(0).expect("attached").content_language().as_text_list().is_none());
}

#[test]
fn the_own_text_alone_is_marked_where_its_language_is_known() {
    let reply = composed("Subject: x", &bilingual());
    let whole = reply.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    assert_eq!(parsed.subject(), Some("Answer"));
    assert_eq!(parsed.body_text(0).expect("plain").trim_end(), "hello");
    assert_eq!(parsed.body_html(0).expect("html").replace("\r\n", "\n").trim_end(), "<div lang=\"en\" dir=\"ltr\">\n<p>hello</p>\n</div>");
    assert_eq!(parsed.text_bodies().next().expect("plain").content_language().as_text(), Some("en"));
    let document = Response { html: Some("<!doctype html><html><p>hello</p></html>".into()), translations: Vec::new(), ..bilingual() };
    let reply = composed("Subject: x", &document);
    let whole = reply.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    assert_eq!(parsed.body_html(0).expect("html").trim_end(), "<!doctype html><html><p>hello</p></html>", "a document has marks of its own");
    assert_eq!(parsed.html_bodies().next().expect("html").content_language().as_text(), Some("en"));
}

#[test]
fn a_translation_of_plain_text_without_files_is_one_part() {
    let mut response = Response { html: None, attachments: Vec::new(), ..bilingual() };
    response.translations[0].html = None;
    response.translations[0].subject = None;
    let reply = composed_in("Subject: x", &response, response.translations.first());
    let lines = header_lines(&reply);
    assert!(lines.iter().any(|line| line == "Content-Language: fa, en") && lines.iter().any(|line| line == "Subject: Answer"), "{lines:#?}");
    let whole = reply.to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    assert!(parsed.body_text(0).expect("plain").starts_with("سلام") && parsed.parts.len() == 1);
}

#[test]
fn a_response_of_unknown_language_goes_out_without_any_mark() {
    let message = String::from_utf8(composed("Subject: x", &response()).to_vec()).expect("ASCII");
    assert!(!message.contains("Content-Language"));
    let parsed = MessageParser::new().parse(message.as_bytes()).expect("parses");
    assert_eq!(parsed.body_html(0).expect("html").trim_end(), "<p>سلام</p>");
}

#[test]
fn plain_text_that_the_catalogue_lacks_is_taken_from_the_html_with_its_links() {
    let html = "<h1>Hello</h1><p>Take <a href=\"https://example.com/a?b=1&amp;c=2\">this one</a>.</p><script>x()</script><ul><li>one<li>two</ul>";
    let response = Response { plain: None, html: Some(html.into()), attachments: Vec::new(), ..response() };
    let whole = composed("Subject: x", &response).to_vec();
    let parsed = MessageParser::new().parse(&whole).expect("parses");
    let plain = parsed.body_text(0).expect("plain").replace("\r\n", "\n");
    for wanted in ["Hello", "this one", "https://example.com/a?b=1&c=2", "one\n", "two"] {
        assert!(plain.contains(wanted), "{wanted}: {plain}");
    }
    assert!(!plain.contains('<') && !plain.contains("x()"), "{plain}");
    assert_eq!(parsed.body_html(0).expect("html").trim_end(), html);
}

#[test]
fn answers_go_to_the_address_that_was_asked_where_the_catalogue_wants_that() {
    let response = Response { is_reply_to: true, ..response() };
    let lines = header_lines(&composed("Subject: x", &response));
    assert!(lines.iter().any(|line| line == "Reply-To: get+Tag@example.com"), "{lines:#?}");
    assert!(!header_lines(&composed("Subject: x", &self::response())).iter().any(|line| line.starts_with("Reply-To")));
}

#[test]
fn mail_from_is_empty_where_the_settings_ask_for_it() {
    let letterhead = Letterhead { is_null_sender: true, ..letterhead() };
    assert_eq!(composed_by(&letterhead, "Subject: x", &response(), None).mail_from, "");
}

#[test]
fn head_and_body_come_in_groups_of_three_so_that_base64_can_be_shared() {
    let files = |count: usize| vec![response().attachments[0].clone(); count];
    for count in 0..4 {
        for length in 0..6 {
            let response = Response { address: format!("{}@example.com", "g".repeat(1 + length)), attachments: files(count), ..response() };
            let reply = composed("Subject: x", &response);
            assert!(reply.head.len().is_multiple_of(3) && reply.head.ends_with(b"\r\n\r\n"));
            let (_, before) = reply.body.segments().split_last().expect("a body");
            assert!(before.iter().all(|segment| segment.bytes().len().is_multiple_of(3) && segment.bytes().ends_with(b"\r\n")));
            let whole = reply.to_vec();
            let parsed = MessageParser::new().parse(&whole).expect("parses");
            assert_eq!(parsed.attachments().filter(|part| part.contents() == (0..=255).collect::<Vec<u8>>()).count(), count);
            assert!(header_lines(&reply).iter().any(|line| line.split_whitespace().eq(["MIME-Version:", "1.0"])));
        }
    }
}

#[test]
fn a_body_is_the_same_wherever_it_is_rendered() {
    let whole = |header: &str| composed(header, &response()).body.segments().iter().map(|segment| segment.bytes().clone()).collect::<Vec<_>>();
    assert_eq!(whole("Subject: x"), whole("Subject: another"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    /// Any text, with what encodings and line ends are about put in more often than chance would.
    #[test]
    fn any_text_of_a_catalogue_arrives_as_it_was(pieces in proptest::collection::vec(
        proptest::prop_oneof![
            "\\PC{0,40}",
            "[ -~]{0,1200}",
            "[a\t ]{0,90}",
            proptest::prelude::Just("\n".to_owned()), proptest::prelude::Just("\r\n".to_owned()), proptest::prelude::Just("\n.\n..x\n".to_owned()),
            proptest::prelude::Just("From me\n".to_owned()), proptest::prelude::Just("سلام دنیا".to_owned()), proptest::prelude::Just("翻墙工具".repeat(30)),
            proptest::prelude::Just("👩‍👩‍👧".repeat(20)), proptest::prelude::Just("=20=_ \t\n".to_owned()), proptest::prelude::Just("x".repeat(5_000)),
        ], 0..12)) {
        let text = pieces.concat();
        let response = Response { plain: Some(text.clone()), html: Some(text.clone()), ..response() };
        let whole = composed("Subject: x", &response).to_vec();
        for line in whole.split_inclusive(|&byte| byte == b'\n') {
            proptest::prop_assert!(line.ends_with(b"\r\n") && line.len() <= 1_000 && line.is_ascii());
            proptest::prop_assert!(!line[..line.len() - 2].contains(&b'\r'));
        }
        let parsed = MessageParser::new().parse(&whole).expect("parses");
        let wanted = text.replace("\r\n", "\n").replace('\r', "\n");
        let arrived = |part: Option<&mail_parser::MessagePart<'_>>| {
            part.and_then(|part| part.text_contents()).unwrap_or_default().replace("\r\n", "\n").trim_end_matches('\n').to_owned()
        };
        proptest::prop_assert_eq!(arrived(parsed.text_bodies().next()), wanted.trim_end_matches('\n'));
        proptest::prop_assert_eq!(arrived(parsed.html_bodies().next()), wanted.trim_end_matches('\n'));
    }
}
