//! Tables of headers and envelopes, each with its one reason.

use replyfleet::clock::UnixMillis;

use super::*;
use crate::{catalogue::SendMethod, request};

const CATALOGUE: &str = r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#;
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

struct World {
    facts: Facts,
    catalogue: Catalogue,
    policy: Policy,
}

fn settings(change: impl Fn(String) -> String) -> Settings {
    Settings::parse(&change(include_str!("../../../docs/replyfleet.toml").into()), "docs/replyfleet.toml", |_| None).expect("valid")
}

fn world() -> World {
    let settings = settings(|text| {
        text.replace("# block = [\"someone@example.org\", \"example.net\"]", "block = [\"Blocked.Person@gmail.com\", \"Example.NET\"]")
            .replace("# mail_farms = []", "mail_farms = [\"farm.test\"]")
            // As at SES, which has no SMTPUTF8.
            .replace("kind = \"maildir\"\ndir = \"/var/lib/replyfleet/replies\"", "kind = \"ses\"")
            .replace("# filter_headers = []", "filter_headers = [\"X-Spam-Flag\"]")
    });
    let facts = Facts { mail_from: "someone@example.org".into(), rcpt_to: "get@example.com".into(), arrived: NOW, ..Facts::default() };
    let catalogue = Catalogue::parse(CATALOGUE, &[SendMethod::Ses]).expect("valid");
    World { facts, catalogue, policy: Policy::new(&settings).expect("valid") }
}

impl World {
    fn verdict(&self, mail: &str) -> Result<(), Reason> {
        let request = request::read(mail.as_bytes(), 1 << 20).expect("readable");
        screen(&Seen { facts: &self.facts, request: &request, catalogue: &self.catalogue, policy: &self.policy, now: NOW })
    }
}

fn with_header(header: &str) -> Result<(), Reason> {
    world().verdict(&format!("{header}\nFrom: Some One <someone@example.org>\nTo: get@example.com\n\nplease\n"))
}

#[test]
fn people_are_answered_whatever_they_write() {
    for header in [
        "Subject:",
        "Subject: =?utf-8?b?2LPZhNin2YU=?=",
        "Subject: unsubscribe bulk list auto-replied",
        "Auto-Submitted: no",
        "Auto-Submitted: No (a person) ; x=y",
        "Precedence: normal",
        "X-Auto-Response-Suppress: None",
        "X-FC-MachineGenerated: false",
        "X-Spam-Flag: NO",
        "X-Virus-Status: Infected (says a stranger's filter)",
        "Importance: high",
        "Content-Type: multipart/mixed; boundary=x",
        "Content-Type: message/rfc822",
        "Reply-To: someone.else@example.net",
        "In-Reply-To: <1@example.org>",
        "Delivered-To: mail_responder@localhost",
    ] {
        assert_eq!(with_header(header), Ok(()), "{header}");
    }
}

#[test]
fn machines_are_not_answered() {
    for (header, reason) in [
        ("Auto-Submitted: auto-replied", Reason::AutoSubmitted),
        ("AUTO-SUBMITTED: Auto-Generated; owner-email=x", Reason::AutoSubmitted),
        ("Auto-Submitted: no\nAuto-Submitted: auto-notified", Reason::AutoSubmitted),
        ("Auto-Submitted: x-unknown", Reason::AutoSubmitted),
        ("List-Id: <a.example.org>", Reason::MailingList),
        ("List-Unsubscribe-Post: List-Unsubscribe=One-Click", Reason::MailingList),
        ("X-MLServer: fml [fml 4.0.3]", Reason::MailingList),
        ("Precedence: BULK", Reason::BulkPrecedence),
        ("X-Precedence: auto_reply", Reason::BulkPrecedence),
        ("Precedence: first-class, junk", Reason::BulkPrecedence),
        ("Content-Type: text/plain\nContent-Type: multipart/report; boundary=x", Reason::Report),
        ("Message-ID: <1@example.org>\nMessage-ID: <2@Example.com>", Reason::Loop),
        ("X-Auto-Response-Suppress: DR, OOF", Reason::ResponseSuppressed),
        ("X-Autoreply: yes", Reason::Autoresponder),
        ("X-FC-MachineGenerated: TRUE", Reason::Autoresponder),
        ("X-POST-MessageClass: 9; Autoresponder", Reason::Autoresponder),
        ("Feedback-ID: 1:2:3:x", Reason::Autoresponder),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=x", Reason::Report),
        ("Content-Type: MESSAGE/Feedback-Report", Reason::Report),
        ("X-Loop: get@example.com", Reason::Loop),
        ("Delivered-To: get@example.com", Reason::Loop),
        ("Message-ID: <abc.0@example.com>", Reason::Loop),
        ("X-Spam-Flag: YES", Reason::Filtered),
        ("Content-Type: text/calendar; method=REQUEST", Reason::NotText),
        ("Content-Type: application/pkcs7-mime; smime-type=enveloped-data", Reason::NotText),
    ] {
        assert_eq!(with_header(header), Err(reason), "{header}");
    }
    assert_eq!(with_header("Received: from a by b\n".repeat(RECEIVED_MAX + 1).trim_end()), Err(Reason::Loop));
    assert_eq!(with_header(&format!("References:{}", "\n <1@example.org>".repeat(REFERENCES_MAX + 1))), Err(Reason::Loop));
}

#[test]
fn only_the_topmost_verdict_of_our_own_filter_counts() {
    assert_eq!(with_header("X-Spam-Flag: NO\nX-Spam-Flag: YES"), Ok(()));
}

#[test]
fn senders_that_are_not_people_are_not_answered() {
    for (from, reason) in [
        ("MAILER-DAEMON@example.org", Reason::RoleSender),
        ("owner-list@example.org", Reason::RoleSender),
        ("list-request@example.org", Reason::RoleSender),
        ("no-reply+x@example.org", Reason::RoleSender),
        ("postmaster@example.org", Reason::RoleSender),
        ("staff@hotmail.com", Reason::RoleSender),
        ("other@example.com", Reason::OwnAddress),
        ("get+x@example.com", Reason::OwnAddress),
        ("a@b.org, c@d.org", Reason::UnclearFrom),
        ("用户@example.org", Reason::NonAsciiAddress),
        ("blockedperson+x@googlemail.com", Reason::Blocked),
        ("anyone@mail.example.net", Reason::Blocked),
        ("anyone@farm.test", Reason::MailFarm),
    ] {
        assert_eq!(world().verdict(&format!("Subject: x\nFrom: {from}\n\n")), Err(reason), "{from}");
    }
}

#[test]
fn the_envelope_has_its_say() {
    let verdict = |change: fn(&mut Facts)| {
        let mut world = world();
        change(&mut world.facts);
        world.verdict("Subject: x\nFrom: someone@example.org\n\n")
    };
    assert_eq!(verdict(|_| {}), Ok(()));
    assert_eq!(verdict(|facts| facts.rcpt_to = "GET+fa@Example.COM".into()), Ok(()));
    assert_eq!(verdict(|facts| facts.mail_from = String::new()), Err(Reason::NullSender));
    assert_eq!(verdict(|facts| facts.mail_from = "root".into()), Err(Reason::NullSender));
    assert_eq!(verdict(|facts| facts.mail_from = "bounces+1@lists.example.org".into()), Err(Reason::RoleSender));
    assert_eq!(verdict(|facts| facts.mail_from = "x@example.net".into()), Err(Reason::Blocked));
    assert_eq!(verdict(|facts| facts.rcpt_to = "got@example.com".into()), Err(Reason::UnknownRecipient));
    assert_eq!(verdict(|facts| facts.rcpt_to = "abuse@example.com".into()), Err(Reason::OperatorMail));
    assert_eq!(verdict(|facts| facts.rcpt_to = "bounces+token@example.com".into()), Err(Reason::OperatorMail));
    assert_eq!(verdict(|facts| facts.arrived = UnixMillis(0)), Err(Reason::TooOld));
}

#[test]
fn the_rules_stand_in_the_order_of_the_policy() {
    let numbers: Vec<u8> = RULES.iter().map(|rule| rule.number).collect();
    // 9 before 8: an address for the operator is not in the catalogue either, and its own word is the more telling.
    assert_eq!(numbers, [1, 2, 3, 4, 6, 7, 7, 9, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
}

#[test]
fn a_list_entry_that_could_never_match_is_refused() {
    for (entry, is_good) in
        [("bücher.example", true), ("a@b.org", true), ("@example.net", false), ("*.example.net", false), ("*@example.net", false), ("", false)]
    {
        let settings = settings(|text| text.replace("# mail_farms = []", &format!("mail_farms = [\"{entry}\"]")));
        assert_eq!(Policy::new(&settings).is_ok(), is_good, "{entry}");
    }
}
