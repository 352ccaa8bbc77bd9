//! ARC chains as dkimpy seals them.

use replyfleet_tests::dns::{Dns, Zone};
use replyfleet_worker::authenticate::{Authenticator, Evidence};
use serde_json::{Value, json};

use crate::{
    address, facts,
    python::{Keys, decoded, encoded, run},
    said, settings,
};

const FROM: &str = "joe@example.org";
/// What the first forwarder saw and wrote down.
const SEEN: &str = "Authentication-Results: forwarder.example.net; dkim=pass header.d=example.org; spf=pass smtp.mailfrom=joe@example.org\r\n";
const MAIL: &str = "From: joe@example.org\r\nTo: list@example.net\r\nSubject: please\r\nDate: Mon, 16 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nplease\r\n";

/// The mail with one more set on top, by `domain`.
fn sealed(keys: Keys, mail: &[u8], domain: &str, authserv_id: &str) -> Vec<u8> {
    let job = json!({"do": "seal", "mail": encoded(mail), "domain": domain, "selector": "rsa2048", "key": keys.private("rsa2048"), "authserv_id": authserv_id});
    let fields = run(&json!([job]), None).unwrap().remove(0);
    [decoded(&fields), mail.to_vec()].concat()
}

fn publish(keys: Keys) -> impl FnOnce(&mut Zone) {
    move |zone| {
        for domain in ["example.net", "list.example.net", "example.com"] {
            keys.publish(zone, domain);
        }
    }
}

async fn judged(dns: &Dns, more: Value, mail: &[u8]) -> Evidence {
    let authenticator = Authenticator::open(&settings(dns, more)).unwrap();
    authenticator.authenticate(mail, &address(FROM), &facts("bounce@elsewhere.net")).await
}

#[tokio::test]
async fn a_chain_counts_only_if_all_who_sealed_it_are_trusted() {
    let Some(keys) = Keys::get() else { return };
    let once = sealed(keys, format!("{SEEN}{MAIL}").as_bytes(), "example.net", "forwarder.example.net");
    let twice = sealed(
        keys,
        &[b"Authentication-Results: second.example.com; dkim=fail header.d=example.org; arc=pass\r\n", once.as_slice()].concat(),
        "example.com",
        "second.example.com",
    );
    for (mail, sealers, word) in [
        (&once, json!([]), "nothing"),
        (&once, json!(["example.com"]), "nothing"),
        (&once, json!(["example.net"]), "arc"),
        (&once, json!(["Example.NET"]), "arc"),
        (&once, json!(["mail.example.net"]), "nothing"),
        (&twice, json!(["example.net"]), "nothing"),
        (&twice, json!(["example.com"]), "nothing"),
        (&twice, json!(["example.com", "example.net"]), "arc"),
    ] {
        let dns = Dns::start(publish(keys));
        let evidence = judged(&dns, json!({"trusted_sealers": sealers}), mail).await;
        assert_eq!((evidence.word(), evidence.waits()), (word, false), "{sealers}: {}", said(&evidence));
        if word == "nothing" {
            assert_eq!(dns.asked("rsa2048._domainkey.example.net", "TXT"), 0, "nothing is looked up for a chain that cannot count");
        }
    }
    let below = sealed(keys, format!("{SEEN}{MAIL}").as_bytes(), "list.example.net", "forwarder.example.net");
    let dns = Dns::start(publish(keys));
    assert_eq!(judged(&dns, json!({"trusted_sealers": ["example.net"]}), &below).await.word(), "arc", "sub-domains are covered");
}

#[tokio::test]
async fn a_broken_chain_counts_for_nothing() {
    let Some(keys) = Keys::get() else { return };
    let once = String::from_utf8(sealed(keys, format!("{SEEN}{MAIL}").as_bytes(), "example.net", "forwarder.example.net")).unwrap();
    let without = |name: &str| {
        let (mut kept, mut is_dropped) = (String::new(), false);
        for line in once.split_inclusive("\r\n") {
            is_dropped = if line.starts_with([' ', '\t']) { is_dropped } else { line.starts_with(name) };
            kept.push_str(if is_dropped { "" } else { line });
        }
        kept
    };
    let dns = Dns::start(publish(keys));
    for (what, mail) in [
        ("the body is another", once.replace("\r\n\r\nplease", "\r\n\r\nPlease")),
        ("the results are others", once.replace("header.d=example.org", "header.d=evil.example.org")),
        ("From is another", once.replace("From: joe@", "From: Joe <joe@").replace("example.org\r\nTo", "example.org>\r\nTo")),
        ("the seal is gone", without("ARC-Seal")),
        ("the signature is gone", without("ARC-Message-Signature")),
        ("the results are gone", without("ARC-Authentication-Results")),
        ("a set twice", once.replacen("ARC-Seal", "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=example.net; s=rsa2048; b=AAAA\r\nARC-Seal", 1)),
        ("it begins at 2", once.replace("i=1;", "i=2;")),
        ("rsa-sha1", once.replace("a=rsa-sha256", "a=rsa-sha1")),
    ] {
        assert_ne!(mail, once, "{what}");
        let evidence = judged(&dns, json!({"trusted_sealers": ["example.net"]}), mail.as_bytes()).await;
        assert_eq!((evidence.word(), evidence.waits()), ("nothing", false), "{what}: {}", said(&evidence));
    }
}

#[tokio::test]
async fn a_key_of_the_chain_that_cannot_be_had_is_waited_for() {
    let Some(keys) = Keys::get() else { return };
    let once = sealed(keys, format!("{SEEN}{MAIL}").as_bytes(), "example.net", "forwarder.example.net");
    let dns = Dns::start(|zone| _ = zone.fault("rsa2048._domainkey.example.net", replyfleet_tests::dns::Fault::Failure));
    let evidence = judged(&dns, json!({"trusted_sealers": ["example.net"]}), &once).await;
    assert_eq!((evidence.word(), evidence.waits()), ("nothing", true), "{}", said(&evidence));
}

#[tokio::test]
async fn a_sealer_who_saw_nothing_good_vouches_for_nothing() {
    let Some(keys) = Keys::get() else { return };
    let dns = Dns::start(publish(keys));
    for seen in ["dkim=fail header.d=example.org", "dkim=pass header.d=evil.com", "spf=pass smtp.helo=example.org"] {
        let mail = format!("Authentication-Results: forwarder.example.net; {seen}\r\n{MAIL}");
        let evidence =
            judged(&dns, json!({"trusted_sealers": ["example.net"]}), &sealed(keys, mail.as_bytes(), "example.net", "forwarder.example.net")).await;
        assert_eq!(evidence.word(), "nothing", "{seen}: {}", said(&evidence));
    }
}
