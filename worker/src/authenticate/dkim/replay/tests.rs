//! What can be changed about a signed mail, and how old it may be: tables.

use super::*;

const ARRIVED_S: u64 = 1_795_000_000; // Wed, 18 Nov 2026 11:06:40 +0000
const DAY_S: u64 = 24 * 3_600;
const GMAIL: &str = "to:subject:message-id:date:from:mime-version:from:to:cc:subject:date:message-id:reply-to";

fn signature(h: &str, b: &str) -> Signature {
    Signature::parse(format!("v=1; a=rsa-sha256; d=example.org; s=s; h={h}; bh=AAAA; b={b}").as_bytes()).expect("valid")
}

fn header(fields: &[&str]) -> Header {
    let mail = format!("{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
    Header::of(&Mail::split(mail.as_bytes()).expect("valid"))
}

fn fault(fields: &[&str], h: &str, signed_s: Option<u64>) -> Option<&'static str> {
    header(fields).fault(&signature(h, "AAAA"), signed_s, ARRIVED_S)
}

#[test]
fn a_field_that_is_signed_cannot_be_there_once_more() {
    let plain = ["From: a@example.org", "To: b@example.com", "Subject: x", "Message-ID: <1@example.org>"];
    let and = |more: &[&'static str]| [&plain[..], more].concat();
    for (fields, h, is_good) in [
        (and(&[]), "from:to:subject:message-id", true),
        (and(&[]), GMAIL, true),
        (and(&[]), "from", true),
        (and(&["Cc: c@example.com", "MIME-Version: 1.0", "X-Other: 1", "X-Other: 2", "Received: 1", "Received: 2"]), "from:to:x-other", true),
        (and(&["Subject: y"]), "from:subject", false),
        (and(&["SUBJECT: y"]), "from:subject", false),
        (and(&["Subject : y"]), "from:subject", false),
        (and(&["Subject\t: y"]), "from:subject:subject", false),
        (and(&["Subject: y"]), "from:subject:subject", true), // the signer's own doing
        (and(&["Subject: y", "Subject: z"]), "from:subject:subject", false),
        (and(&["To: c@example.com"]), "from:to", false),
        (and(&["Reply-To: c@example.com"]), GMAIL, true),
        (and(&["Reply-To: c@example.com", "Reply-To: d@example.com"]), GMAIL, false),
        (and(&["Content-Type: text/html", "Content-Type: text/plain"]), "from:content-type", false),
        (and(&["Auto-Submitted: no", "Auto-Submitted: no"]), "from:auto-submitted", false),
        // Not signed at all: it may be anything, and being there twice changes nothing, but for those that tell mails apart.
        (and(&["To: c@example.com", "MIME-Version: 1.0", "MIME-Version: 1.0"]), "from", true),
        (and(&["Message-ID: <2@example.org>"]), "from:to", false),
        (and(&["Message-ID : <2@example.org>"]), "from:to", false),
        (and(&["Subject: y"]), "from:to", false),
        (and(&["Date: x", "Date: y"]), "from:to", false),
    ] {
        assert_eq!(fault(&fields, h, Some(ARRIVED_S)).is_none(), is_good, "{fields:?} {h}");
    }
}

#[test]
fn a_signature_proves_something_for_two_weeks() {
    let date = |seconds: u64| format!("Date: {}", DateTime::from_timestamp(i64::try_from(seconds).expect("a time")).to_rfc822());
    let (now, week, month) = (ARRIVED_S, ARRIVED_S - 7 * DAY_S, ARRIVED_S - 30 * DAY_S);
    for (what, date, h, signed_s, is_good) in [
        ("t= now", date(now), "from:date", Some(now), true),
        ("t= a week ago", date(week), "from:date", Some(week), true),
        ("t= to the second", date(now), "from:date", Some(now - 14 * DAY_S), true),
        ("t= over that", date(now), "from:date", Some(now - 14 * DAY_S - 1), false),
        ("t= tells more than Date", date(month), "from:date", Some(now), true),
        ("t= of long ago, Date unsigned", date(now), "from", Some(month), false),
        ("Date now", date(now), "from:date", None, true),
        ("Date to the second", date(now - 14 * DAY_S), "from:date", None, true),
        ("Date over that", date(now - 14 * DAY_S - 1), "from:date", None, false),
        ("Date tomorrow", date(now + DAY_S), "from:date", None, true),
        ("Date after that", date(now + DAY_S + 1), "from:date", None, false),
        ("Date of a month ago, unsigned", date(month), "from", None, true),
        ("no time at all", "X: y".into(), "from:date", None, true),
        ("a Date that nobody can read", "Date: soon".into(), "from:date", None, true),
        ("in another zone", "Date: Wed, 4 Nov 2026 13:06:40 +0200".into(), "from:date", None, true),
        ("in another zone, over that", "Date: Wed, 4 Nov 2026 13:06:39 +0200".into(), "from:date", None, false),
    ] {
        assert_eq!(fault(&["From: a@example.org", &date], h, signed_s).is_none(), is_good, "{what}: {date}");
    }
    let two = [date(now), date(month)];
    assert!(fault(&["From: a@example.org", &two[0], &two[1]], "from:date:date", None).is_some(), "each of two counts");
    let header = header(&["From: a@example.org", "Date: Sat, 31 Dec 2999 23:59:59 +0000"]);
    for arrived_s in [0, u64::MAX] {
        assert!(header.fault(&signature("from:date", "AAAA"), None, arrived_s).is_some(), "no overflow at {arrived_s}");
    }
}

#[test]
fn a_mail_stays_the_same_whatever_is_changed_that_is_not_signed() {
    let key = |fields: &[&str], h: &str, b: &str| header(fields).replay_key(&signature(h, b)).into_hex();
    let one = key(&["From: a@example.org", "Message-ID: <1@x>"], "from", "AAAA");
    assert_eq!(one.len(), 64);
    for (fields, h, b, is_same) in [
        (&["From: a@example.org", "Message-ID: <2@x>"][..], "from", "AAAA", true),
        (&["From: a@example.org", "Subject: y"], "from", "A A\r\n A A", true),
        (&["From: a@example.org", "Message-ID: <1@x>"], "from", "AAAB", false),
    ] {
        assert_eq!(key(fields, h, b) == one, is_same, "{fields:?} {h} {b:?}");
    }
    // A Message-ID that is signed tells more: it is the same, too, in a second signature of the same mail.
    let signed = key(&["From: a@example.org", "Message-ID: <1@x>"], "from:message-id", "AAAA");
    for (id, is_same) in [
        ("Message-ID: <1@x>", true),
        ("Message-ID:\r\n <1@x> ", true),
        ("MESSAGE-id: < 1@x\t>", true),
        ("Message-ID: <2@x>", false),
        ("Message-ID: <1@X>", false),
        ("Message-ID: x", false),
        ("Message-ID: <1>", false),
        ("Message-ID: <@>", false),
        ("Message-ID: <1@x><2@x>", false),
        ("X: y", false),
    ] {
        let (first, second) =
            (key(&["From: a@example.org", id], "from:message-id", "AAAA"), key(&["From: a@example.org", id], "from:message-id", "AAAB"));
        assert_eq!((first == signed, first == second), (is_same, is_same || id == "Message-ID: <2@x>" || id == "Message-ID: <1@X>"), "{id}");
    }
}
