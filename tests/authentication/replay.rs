//! What can be done with a signed mail that somebody captured: sent again as it is, for two weeks; and nothing that would
//! make it another mail.

use replyfleet::{clock::UnixMillis, envelope::Facts};
use replyfleet_tests::dns::Dns;
use replyfleet_worker::authenticate::Evidence;
use serde_json::json;

use crate::{address, authenticator, facts, python::Keys, said};

const FROM: &str = "joe@example.org";
const MAIL: &str = "From: joe@example.org\r\nTo: get@responder.example\r\nSubject: please\r\nMessage-ID: <1@example.org>\r\n\r\nplease\r\n";

fn served(keys: Keys) -> Dns {
    Dns::start(|zone| keys.publish(zone, "example.org"))
}

async fn judged(dns: &Dns, mail: &[u8]) -> Evidence {
    authenticator(dns).authenticate(mail, &address(FROM), &facts("x@elsewhere.net")).await
}

/// As some sign: without Message-ID.
fn signed_without_id(keys: Keys) -> String {
    let signed = keys.sign(MAIL.as_bytes(), "example.org", "rsa2048", &json!({"headers": ["From", "To", "Subject"]}));
    String::from_utf8(signed).unwrap()
}

#[tokio::test]
async fn a_captured_mail_cannot_be_made_another_one() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let signed = String::from_utf8(keys.sign(MAIL.as_bytes(), "example.org", "rsa2048", &json!({}))).unwrap();
    let known = judged(&dns, signed.as_bytes()).await;
    assert_eq!(known.word(), "dkim", "{}", said(&known));
    let key = known.replay_key().unwrap().to_owned();
    for (what, mail, is_proven) in [
        ("as it is", signed.clone(), true),
        ("with what is nobody's", format!("Received: x\r\nX-Y: z\r\n{signed}"), true),
        ("Message-ID folded", signed.replace("Message-ID: <", "Message-ID:\r\n\t<"), true),
        ("another Message-ID", signed.replace("<1@", "<2@"), false),
        ("a second Message-ID", format!("Message-ID: <2@example.org>\r\n{signed}"), false),
        ("a second one in disguise", format!("Message-ID : <2@example.org>\r\n{signed}"), false),
        ("a second Subject", format!("Subject: other\r\n{signed}"), false),
        ("a second To", format!("To: other@responder.example\r\n{signed}"), false),
        ("a second Subject at the end", signed.replace("\r\n\r\nplease", "\r\nSubject: other\r\n\r\nplease"), false),
    ] {
        let evidence = judged(&dns, mail.as_bytes()).await;
        assert_eq!((evidence.word() == "dkim", evidence.waits()), (is_proven, false), "{what}: {}", said(&evidence));
        assert_eq!(evidence.replay_key(), is_proven.then_some(key.as_str()), "{what}");
    }
}

#[tokio::test]
async fn a_mail_whose_message_id_is_not_signed_is_known_by_its_signature() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let signed = signed_without_id(keys);
    let known = judged(&dns, signed.as_bytes()).await;
    assert_eq!(known.word(), "dkim", "it counts: {}", said(&known));
    let folded: String = {
        let (field, rest) = signed.split_at(signed.find("From: joe").unwrap());
        let at = field.rfind("b=").unwrap() + 4;
        [&field[..at], "\r\n  ", &field[at..], rest].concat()
    };
    for (what, mail) in [
        ("another Message-ID", signed.replace("<1@", "<2@")),
        ("none", signed.replace("Message-ID: <1@example.org>\r\n", "")),
        ("another Date", format!("Date: Mon, 16 Nov 2026 10:00:00 +0000\r\n{signed}")),
        ("another form of b=", folded),
    ] {
        assert_ne!(mail, signed, "{what}");
        let evidence = judged(&dns, mail.as_bytes()).await;
        assert_eq!((evidence.word(), evidence.replay_key()), ("dkim", known.replay_key()), "{what}: {}", said(&evidence));
    }
    let again = keys.sign(MAIL.replace("please\r\n", "please!\r\n").as_bytes(), "example.org", "rsa2048", &json!({}));
    assert_ne!(judged(&dns, &again).await.replay_key(), known.replay_key(), "another mail is another one");
    let unsigned = judged(&dns, MAIL.as_bytes()).await;
    assert_eq!((unsigned.word(), unsigned.replay_key()), ("nothing", None));
    let broken = judged(&dns, signed.replace("Subject: please", "Subject: more").as_bytes()).await;
    assert_eq!((broken.word(), broken.replay_key()), ("nothing", None), "{}", said(&broken));
}

#[tokio::test]
async fn a_captured_mail_is_worth_nothing_after_two_weeks() {
    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let authenticator = authenticator(&dns);
    let dated = MAIL.replace("Subject", "Date: Mon, 16 Nov 2026 10:00:00 +0000\r\nSubject");
    let date = UnixMillis(1_794_823_200_000);
    let sign = |more| keys.sign(dated.as_bytes(), "example.org", "rsa2048", &more);
    let by_date = sign(json!({"tags": {"t": null}}));
    let by_time = sign(json!({"tags": {"t": "1794823200"}, "headers": ["From"]}));
    let by_none = sign(json!({"tags": {"t": null}, "headers": ["From"]}));
    for (what, mail, days, is_proven) in [
        ("Date", &by_date, 13, true),
        ("Date", &by_date, 15, false),
        ("t=", &by_time, 13, true),
        ("t=", &by_time, 15, false),
        ("neither is signed", &by_none, 1_000, true),
    ] {
        let facts = Facts { arrived: UnixMillis(date.0 + days * DAY_MS), ..facts("x@elsewhere.net") };
        let evidence = authenticator.authenticate(mail, &address(FROM), &facts).await;
        assert_eq!((evidence.word() == "dkim", evidence.waits()), (is_proven, false), "{what}, {days} days: {}", said(&evidence));
    }
}
