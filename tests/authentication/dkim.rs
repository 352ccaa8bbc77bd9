//! DKIM as dkimpy signs it: what counts, what rule 22 lets not count, and canonical forms that readers get wrong.

use replyfleet_tests::dns::{Dns, Zone};
use replyfleet_worker::authenticate::{Authenticator, Evidence};
use serde_json::{Value, json};

use crate::{
    address, authenticator, facts,
    python::{Keys, run},
    said,
};

const FROM: &str = "joe@mail.example.org";
const DOMAIN: &str = "mail.example.org";
const HEADER: &str = "From: Joe <joe@mail.example.org>\r\nTo: get@responder.example\r\nSubject: please\r\nMessage-ID: <1@mail.example.org>\r\n";

fn mail(body: &str) -> Vec<u8> {
    format!("{HEADER}\r\n{body}").into_bytes()
}

/// MAIL FROM is somewhere else, so that only signatures can prove anything.
async fn judged(authenticator: &Authenticator, mail: &[u8]) -> Evidence {
    authenticator.authenticate(mail, &address(FROM), &facts("bounce@elsewhere.net")).await
}

fn served(keys: Keys) -> Dns {
    Dns::start(|zone| keys.publish(zone, DOMAIN))
}

/// The body forms that matter: empty, without a last line end, with white space in all the wrong places.
const BODIES: [&str; 12] = [
    "please\r\n",
    "",
    "\r\n",
    "\r\n\r\n\r\n",
    "no line end",
    "blank end\r\n\r\n\r\n",
    "white end\r\n \r\n\t\r\n",
    "white end\r\n \t \r\n\r\n  \r\n",
    " \r\n \r\n",
    "two  spaces\tand  a tab \t \r\n\r\n  indented\t\r\n",
    "8 bit: gr\u{fc}\u{df}e, 你好\r\n.\r\n..\r\n",
    "From the start\r\n>From a quote\r\n",
];

#[tokio::test]
async fn what_dkimpy_signs_is_proven_in_every_form() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let authenticator = authenticator(&dns);
    let forms = [["relaxed", "relaxed"], ["relaxed", "simple"], ["simple", "relaxed"], ["simple", "simple"]];
    let cases: Vec<(&str, [&str; 2], &str)> =
        BODIES.iter().flat_map(|body| forms.iter().flat_map(move |form| ["rsa2048", "ed25519"].map(|kind| (*body, *form, kind)))).collect();
    let jobs: Vec<Value> = cases.iter().map(|(body, form, kind)| keys.job(&mail(body), DOMAIN, kind, &json!({"canonicalize": form}))).collect();
    let fields = run(&json!(jobs), None).unwrap();
    for ((body, form, kind), field) in cases.iter().zip(&fields) {
        let signed = [crate::python::decoded(field), mail(body)].concat();
        let evidence = judged(&authenticator, &signed).await;
        assert_eq!(evidence.word(), "dkim", "{body:?} {form:?} {kind}: {}", said(&evidence));
        // Postfix's pipe(8) hands it over with bare LF.
        let with_lf = String::from_utf8(signed).unwrap().replace("\r\n", "\n");
        let evidence = judged(&authenticator, with_lf.as_bytes()).await;
        assert_eq!(evidence.word(), "dkim", "LF: {body:?} {form:?} {kind}: {}", said(&evidence));
    }
}

#[tokio::test]
async fn a_signature_holds_for_these_bytes_only() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let authenticator = authenticator(&dns);
    let signed = String::from_utf8(keys.sign(&mail("please\r\n"), DOMAIN, "rsa2048", &json!({"canonicalize": ["simple", "simple"]}))).unwrap();
    for (from, to) in [
        ("please\r\n\r\n", "Please\r\n\r\n"),
        ("\r\n\r\nplease", "\r\n\r\nplease "),
        ("Subject: please", "Subject:  please"),
        ("Joe <", "Joe  <"),
        ("b=", "b=A"),
    ] {
        let changed = if from.starts_with("please") { signed.replace("\r\n\r\nplease", "\r\n\r\nPlease") } else { signed.replacen(from, to, 1) };
        assert_ne!(changed, signed, "{from:?}");
        let evidence = judged(&authenticator, changed.as_bytes()).await;
        assert_eq!((evidence.word(), evidence.waits()), ("nothing", false), "{from:?}: {}", said(&evidence));
    }
    let evidence = judged(&authenticator, format!("Received: x\r\nX-Other: y\r\n{signed}").as_bytes()).await;
    assert_eq!(evidence.word(), "dkim", "what is not signed may be added: {}", said(&evidence));
}

/// Rule 22: what is wrong with the signature, and what is said of it.
#[tokio::test]
async fn a_signature_that_rule_22_names_does_not_count() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let authenticator = authenticator(&dns);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (past, future) = ((now - 100).to_string(), (now + 90_000).to_string());
    let cases = [
        ("rsa2048", json!({}), None),
        ("rsa1024", json!({}), None),
        ("rsa2048", json!({"tags": {"x": future}}), None),
        ("rsa2048", json!({"tags": {"t": null}}), None),
        ("rsa2048", json!({"tags": {"i": "joe@sub.mail.example.org"}}), None),
        ("rsa2048", json!({"tags": {"r": "y"}}), None),
        ("rsa2048", json!({"tags": {"atps": "evil.net", "atpsh": "sha256"}}), None),
        ("rsa2048", json!({"headers": ["From", "From", "To", "To", "Subject", "Subject", "Cc"]}), None),
        ("rsa2048", json!({"length": true}), Some("l= leaves a part of the body unsigned")),
        ("rsa2048", json!({"tags": {"l": "0"}}), Some("l= leaves a part of the body unsigned")),
        ("rsa2048", json!({"tags": {"L": "3"}}), Some("l= leaves a part of the body unsigned")),
        ("rsa2048", json!({"algorithm": "rsa-sha1"}), Some("rsa-sha1 proves nothing")),
        ("rsa768", json!({}), Some("its RSA key is under 1024 bits")),
        ("rsa2048", json!({"tags": {"t": past, "x": past}}), Some("past x=")),
        ("rsa2048", json!({"tags": {"t": null, "x": past}}), Some("past x=")),
        ("rsa2048", json!({"tags": {"t": future, "x": (now + 80_000).to_string()}}), Some("past x=")),
        ("rsa2048", json!({"tags": {"t": future}}), Some("t= is in the future")),
        ("rsa2048", json!({"tags": {"x": "1 2"}}), Some("t= or x= is no time")),
        ("rsa2048", json!({"tags": {"x": "soon"}}), Some("malformed, or of a kind")),
        ("rsa2048", json!({"without_from": true}), Some("it does not sign From")),
        ("rsa2048", json!({"tags": {"i": "joe@example.org"}}), Some("i= is not within d=")),
        ("rsa2048", json!({"tags": {"i": "joe@notmail.example.org"}}), Some("i= is not within d=")),
        ("rsa2048", json!({"tags": {"i": "joe"}}), Some("i= is not within d=")),
        ("rsa2048", json!({"tags": {"v": "2"}}), Some("malformed, or of a kind")),
        ("rsa2048", json!({"tags": {"v": null}}), Some("v= is not 1")),
        ("rsa2048", json!({"tags": {"q": "dns/other"}}), Some("q= names no way to a key")),
        ("rsa2048", json!({"tags": {"d": "example.net"}}), Some("d= is not aligned with From")),
        ("rsa2048", json!({"tags": {"D": "example.net"}}), Some("its tag list is malformed")),
        ("rsa2048", json!({"tags": {"s": "ed25519"}}), Some("the key is of another kind than a= says")),
        ("rsa2048", json!({"tags": {"s": "missing"}}), Some("there is no key under this selector")),
    ];
    let jobs: Vec<Value> = cases.iter().map(|(kind, more, _)| keys.job(&mail("please\r\n"), DOMAIN, kind, more)).collect();
    for ((kind, more, fault), field) in cases.iter().zip(run(&json!(jobs), None).unwrap()) {
        let evidence = judged(&authenticator, &[crate::python::decoded(&field), mail("please\r\n")].concat()).await;
        let said = said(&evidence);
        assert!(!evidence.waits(), "{kind} {more}: {said}");
        match fault {
            None => assert_eq!(evidence.word(), "dkim", "{kind} {more}: {said}"),
            Some(fault) => assert!(evidence.word() == "nothing" && said.contains(fault), "{kind} {more}: {said}"),
        }
    }
}

/// What a key record may say, and what then becomes of a good signature (made with i= below d=).
#[tokio::test]
async fn a_key_speaks_only_for_what_its_record_says() {
    let Some(keys) = Keys::get() else { return };
    let signed = keys.sign(&mail("please\r\n"), DOMAIN, "rsa2048", &json!({"tags": {"i": "joe@sub.mail.example.org"}}));
    let key = keys.public("rsa2048");
    let at = "rsa2048._domainkey.mail.example.org";
    let spaced: String = key.chars().map(|c| format!("{c} ")).collect();
    for (record, fault) in [
        (format!("v=DKIM1; k=rsa; p={key}"), None),
        (format!("p={key}"), None),
        (format!("v=DKIM1; p={spaced}; n=note"), None),
        (format!("v=DKIM1; h=sha1:sha256; s=email; t=y; p={key};"), None),
        (format!("v=DKIM1; s=*; p={key}"), None),
        (format!("v=DKIM1; t=s; p={key}"), Some("the key is for d= itself")),
        (format!("v=DKIM1; t=y:s; p={key}"), Some("the key is for d= itself")),
        (format!("v=DKIM1; h=sha1; p={key}"), Some("not for sha256")),
        (format!("v=DKIM1; h=sha512; p={key}"), Some("not for sha256")),
        (format!("v=DKIM1; s=tlsrpt; p={key}"), Some("not for mail")),
        (format!("v=DKIM1; k=ed25519; p={key}"), Some("of another kind")),
        (format!("v=DKIM1; k=dsa; p={key}"), Some("of a kind that is not known")),
        (format!("v=DKIM2; p={key}"), Some("of another version")),
        ("v=DKIM1; p=".into(), Some("revoked")),
        ("v=DKIM1; k=rsa".into(), Some("has no key")),
        (format!("v=DKIM1; p={key}; p={}", keys.public("rsa1024")), Some("malformed")),
        ("v=DKIM1; p=!!!".into(), Some("")),
        ("v=DKIM1; p=AAAA".into(), Some("")),
        (format!("v=DKIM1; p={}", keys.public("rsa1024")), Some("not of this header and this key")),
        (String::new(), Some("malformed")),
        (format!("v=DKIM1; p={key}; n={}", "x".repeat(5_000)), Some("there is no key")),
    ] {
        let dns = Dns::start(|zone| _ = zone.txt(at, &record));
        let evidence = judged(&authenticator(&dns), &signed).await;
        let said = said(&evidence);
        match fault {
            None => assert_eq!(evidence.word(), "dkim", "{record}: {said}"),
            Some(fault) => assert!(evidence.word() == "nothing" && !evidence.waits() && said.contains(fault), "{record}: {said}"),
        }
    }
    let dns = Dns::start(|zone| _ = zone.txt(at, "something else").txt(at, format!("v=DKIM1; p={key}")));
    assert_eq!(judged(&authenticator(&dns), &signed).await.word(), "dkim", "a record that is no key is passed over");
}

fn junk(domain: &str, count: usize) -> Vec<u8> {
    let field = |n| {
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d={domain}; s=junk{n}; h=from; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n"
        )
    };
    (0..count).map(field).collect::<String>().into_bytes()
}

#[tokio::test]
async fn a_hundred_signatures_cost_ten_and_push_nobody_out() {
    let Some(keys) = Keys::get() else { return };
    let dns = served(keys);
    let authenticator = authenticator(&dns);
    let signed = keys.sign(&mail("please\r\n"), DOMAIN, "rsa2048", &json!({"canonicalize": ["simple", "simple"]}));

    let evidence = judged(&authenticator, &[junk("evil.net", 100), signed.clone()].concat()).await;
    assert_eq!(evidence.word(), "dkim", "{}", said(&evidence));
    assert_eq!(dns.asked("junk0._domainkey.evil.net", "TXT"), 0, "who cannot be aligned is not looked up");
    assert!(evidence.lines().len() < 40, "nor is every one named");

    // With From's own domain and this very body, junk is looked up: ten times at most, whatever stands behind it.
    let body_hash =
        String::from_utf8(signed.clone()).unwrap().replace(['\r', '\n', ' '], "").split("bh=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let junk = String::from_utf8(junk(DOMAIN, 100)).unwrap().replace("2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=", &body_hash);
    let before = dns.asked_in_all();
    let evidence = judged(&authenticator, &[junk.clone().into_bytes(), signed.clone()].concat()).await;
    assert_eq!(evidence.word(), "nothing", "{}", said(&evidence));
    assert!(dns.asked_in_all() - before < 25, "{} look-ups", dns.asked_in_all() - before);
    let (signature, rest) = std::str::from_utf8(&signed).unwrap().split_at(signed.len() - mail("please\r\n").len());
    let evidence = judged(&authenticator, [signature, &junk, rest].concat().as_bytes()).await;
    assert_eq!(evidence.word(), "dkim", "the first ten in the header's order: {}", said(&evidence));

    // Those of the rest of the organisation come after the one of From's very domain, wherever that stands.
    let of_others = junk.replace(&format!("d={DOMAIN}"), "d=other.example.org");
    let before = dns.asked_in_all();
    let evidence = judged(&authenticator, &[of_others.as_bytes(), &signed].concat()).await;
    assert_eq!(evidence.word(), "dkim", "{}", said(&evidence));
    assert!(dns.asked_in_all() - before < 25, "{} look-ups", dns.asked_in_all() - before);
}

#[tokio::test]
async fn alignment_is_as_close_as_the_dmarc_record_asks() {
    let Some(keys) = Keys::get() else { return };
    let publish = |zone: &mut Zone, record: Option<(&str, &str)>| {
        keys.publish(zone, "example.org");
        if let Some((at, record)) = record {
            zone.txt(at, record);
        }
    };
    let signed = keys.sign(&mail("please\r\n"), "example.org", "rsa2048", &json!({}));
    for (record, word) in [
        (None, "dkim"),
        (Some(("_dmarc.example.org", "v=DMARC1; p=reject")), "dmarc"),
        (Some(("_dmarc.example.org", "v=DMARC1; p=none; adkim=s")), "nothing"),
        (Some(("_dmarc.mail.example.org", "v=DMARC1; p=none; adkim=s")), "nothing"),
        (Some(("_dmarc.mail.example.org", "v=DMARC1; p=none; adkim=r")), "dmarc"),
        (Some(("_dmarc.mail.example.org", "v=DMARC1; p=none; psd=n")), "nothing"),
        (Some(("_dmarc.example.org", "v=DMARC1; adkim=s")), "dkim"), // asks for nothing: no p=, no rua=
        (Some(("_dmarc.example.org", "v=DMARC2; p=none; adkim=s")), "dkim"),
        (Some(("_dmarc.org", "v=DMARC1; p=none; adkim=s")), "dkim"), // a registry's
    ] {
        let dns = Dns::start(|zone| publish(zone, record));
        let evidence = judged(&authenticator(&dns), &signed).await;
        assert_eq!((evidence.word(), evidence.waits()), (word, false), "{record:?}: {}", said(&evidence));
    }
    let two = Dns::start(|zone| {
        publish(zone, Some(("_dmarc.example.org", "v=DMARC1; p=none; adkim=s")));
        zone.txt("_dmarc.example.org", "v=DMARC1; p=reject; adkim=s");
    });
    assert_eq!(judged(&authenticator(&two), &signed).await.word(), "dkim", "two records are none");
}
