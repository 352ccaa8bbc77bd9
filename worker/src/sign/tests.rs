//! The table of keys, and signatures as mail-auth verifies them.

use std::{
    borrow::Borrow,
    hash::Hash,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::Ed25519KeyPair,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use mail_auth::{
    AuthenticatedMessage, DkimResult, DnsError, MessageAuthenticator, Parameters, ResolverCache, Txt, common::parse::TxtRecordParser,
    common::verify::DomainKey,
};

use super::*;
use crate::compose::{Body, Segment};

const DAY: u64 = 86_400_000;
/// 2026-12-01.
const DECEMBER: UnixMillis = UnixMillis(20_788 * DAY);
const HEAD: &[u8] = b"From: =?utf-8?q?R=C3=A9ponse?= <get@example.com>\r\nTo: joe@example.org\r\nSubject: Your\r\n  request \r\n\
    Date: Tue, 1 Dec 2026 00:00:00 +0000\r\nMessage-ID: <1.0@example.com>\r\nAuto-Submitted: auto-replied\r\nX-Loop: get@example.com\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
const BODY: &[u8] = b"Here  you are.\r\n\r\n .\r\n";

fn pem(pkcs8: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(pkcs8))
}

/// An RSA key, made once: that takes long.
fn rsa_pem() -> &'static str {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| {
        let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("made");
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("written");
        pem(pkcs8.as_ref())
    })
}

fn ed25519_pem() -> String {
    pem(Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).expect("made").as_ref())
}

/// A table with these entries, each domain, selector, variable of the key and more lines.
fn open(entries: &[(&str, &str, &str, &str)]) -> Result<Signer, String> {
    let mut text = String::from(include_str!("../../../docs/replyfleet.toml"));
    // The tables of the file come first; an array of tables may follow anywhere.
    for (domain, selector, variable, more) in entries {
        text += &format!("\n[[signing.keys]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nkey = \"env:{variable}\"\n{more}\n");
    }
    let env = |name: &str| match name {
        "RSA" => Some(rsa_pem().to_owned()),
        "ED25519" => Some(ed25519_pem()),
        "BROKEN" => Some("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n".into()),
        "EMPTY" => Some(String::new()),
        "ENCRYPTED" => Some("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".into()),
        _ => None,
    };
    Signer::open(&Settings::parse(&text, "docs/replyfleet.toml", env).expect("valid settings"))
}

fn body() -> Body {
    Body::new(String::new(), vec![Arc::new(Segment::new(BODY))])
}

fn signed(signer: &Signer, domain: &str, now: UnixMillis) -> String {
    String::from_utf8(signer.sign(domain, HEAD, body().hash(), now)).expect("ASCII")
}

/// The selectors of the signatures, in order.
fn selectors(signatures: &str) -> Vec<&str> {
    signatures.split(" s=").skip(1).filter_map(|rest| rest.split(';').next()).collect()
}

#[test]
fn the_key_that_began_last_signs_and_of_each_algorithm_one() {
    let signer = open(&[
        ("example.com", "new", "RSA", "sign_from = 2026-12-01"),
        ("example.com", "old", "RSA", "sign_until = 2026-12-08"),
        ("example.com", "curve", "ED25519", "sign_from = 2026-12-02\nsign_until = 2026-12-03"),
        ("sub.example.com", "sub", "ED25519", ""),
    ])
    .expect("valid");
    let at = |days: u64| UnixMillis(DECEMBER.0 + days * DAY);
    for (now, want) in [
        (UnixMillis(DECEMBER.0 - 1), &["old"][..]),
        (at(0), &["new"]),
        (UnixMillis(at(1).0 - 1), &["new"]),
        (at(1), &["new", "curve"]),
        (at(2), &["new"]),
        (at(400), &["new"]),
    ] {
        assert_eq!(selectors(&signed(&signer, "example.com", now)), want, "{now:?}");
        assert!(signer.signs_for("example.com", now));
    }
    assert_eq!(selectors(&signed(&signer, "sub.example.com", at(0))), ["sub"], "each domain has keys of its own");
    for other in ["example.org", "", "com", "a.sub.example.com"] {
        assert!(!signer.signs_for(other, at(0)) && signed(&signer, other, at(0)).is_empty(), "{other}");
    }
    let published: Vec<_> = signer.published().map(|key| (key.domain, key.selector, key.sign_from, key.sign_until)).collect();
    let want = [
        ("example.com", "new", Some(at(0)), None),
        ("example.com", "old", None, Some(at(7))),
        ("example.com", "curve", Some(at(1)), Some(at(2))),
        ("sub.example.com", "sub", None, None),
    ];
    assert_eq!(published, want, "also what does not sign now");
}

#[test]
fn a_domain_whose_only_key_has_ended_or_not_begun_gets_no_signature() {
    let signer = open(&[("example.com", "a", "ED25519", "sign_from = 2026-12-02"), ("example.org", "a", "ED25519", "sign_until = 2026-12-01")]);
    let signer = signer.expect("valid");
    assert!(!signer.signs_for("example.com", DECEMBER) && signed(&signer, "example.com", DECEMBER).is_empty());
    assert!(!signer.signs_for("example.org", DECEMBER) && signed(&signer, "example.org", DECEMBER).is_empty());
}

#[test]
fn what_cannot_sign_is_refused_with_place_and_remedy() {
    for (entries, words) in [
        (&[("example.com", "s", "ED25519", ""), ("example.com", "s", "RSA", "")][..], "selector s: is there twice; give each key"),
        (&[("example.com", "s", "RSA", ""), ("example.com", "r", "RSA", "sign_until = 2027-01-01")], "when selector s does; give the newer"),
        (&[("example.com", "s", "RSA", "sign_from = 2026-12-01\nsign_until = 2026-12-01")], "sign_until is not after sign_from"),
        (&[("Example.com", "s", "RSA", "")], "has to be written as example.com"),
        (&[("example.com", "S", "RSA", "")], "the selector is none"),
        (&[("example.com", "s", "NOWHERE", "")], "selector s: the key env:NOWHERE: the environment has no NOWHERE"),
        (&[("example.com", "s", "BROKEN", "")], "domain example.com, selector s: the key env:BROKEN: is neither"),
        (&[("example.com", "s", "EMPTY", "")], "no private key in PEM; make one: openssl genrsa"),
        (&[("example.com", "s", "ENCRYPTED", "")], "openssl pkey"),
    ] {
        let error = open(entries).expect_err(words);
        assert!(error.starts_with("signing.keys: domain ") && error.contains(words), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_signer_never_shows_its_keys() {
    let signer = open(&[("example.com", "s", "RSA", "")]).expect("valid");
    let shown = format!("{signer:?}");
    assert!(shown.contains("example.com") && shown.contains("k=rsa"), "{shown}");
    let middle = rsa_pem().lines().nth(1).map(|line| &line[400..440]).expect("a key");
    assert!(!shown.contains(middle));
}

/// The keys of a table, where mail-auth looks before it asks DNS.
struct Published(HashMap<Box<str>, Txt>);

impl Published {
    fn of(signer: &Signer) -> Self {
        let entry = |key: PublishedKey<'_>| {
            let record = DomainKey::parse(key.record.as_bytes()).expect("a key record");
            (format!("{}._domainkey.{}.", key.selector, key.domain).into_boxed_str(), Txt::from(record))
        };
        Self(signer.published().map(entry).collect())
    }
}

impl ResolverCache<Box<str>, Txt> for Published {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Never None: then it would ask.
        Some(self.0.get(name).cloned().unwrap_or(Txt::Error(mail_auth::Error::Dns(DnsError::InvalidRecordType))))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// mail-auth, which asks nobody.
struct Verifier(MessageAuthenticator, Published);

impl Verifier {
    fn new(signer: &Signer) -> Self {
        let nobody = "127.0.0.1:9".parse().ok();
        let dns = crate::authenticate::dns::Dns::open(nobody, 1, std::time::Duration::from_secs(1)).expect("opened");
        Self(MessageAuthenticator(dns.resolver()), Published::of(signer))
    }

    /// How many signatures of a mail hold.
    async fn count(&self, mail: &[u8]) -> usize {
        let Some(message) = AuthenticatedMessage::parse(mail) else { return 0 };
        let outputs = self.0.verify_dkim(Parameters::new(&message).with_txt_cache(&self.1)).await;
        outputs.iter().filter(|output| output.result() == &DkimResult::Pass).count()
    }
}

/// Another byte, which relaxed form does not take for the same, nor lenient base64 at the end of a signature.
fn other(byte: u8) -> u8 {
    match byte {
        b'a' => b'B',
        b'Z' => b'y',
        b'A'..=b'Y' | b'0'..=b'9' => b'z',
        _ => b'A',
    }
}

fn both_algorithms() -> Signer {
    open(&[("example.com", "rsa", "RSA", ""), ("example.com", "curve", "ED25519", "")]).expect("valid")
}

#[tokio::test]
async fn no_signature_holds_after_any_byte_has_changed() {
    let signer = both_algorithms();
    let verifier = Verifier::new(&signer);
    let signatures = signed_head(&signer, HEAD);
    let mail = [&signatures[..], HEAD, b"\r\n", BODY].concat();
    let header_end = signatures.len() + HEAD.len();
    // Not the empty line; and mail-auth takes a signature in base64 without its padding, which nobody signs.
    let is_signed = |at: usize| at != header_end && at != header_end + 1 && (at >= signatures.len() || !signatures[at..].starts_with(b"=\r"));
    for at in (0..mail.len()).filter(|&at| is_signed(at) && (at >= signatures.len() || !b" \r\n".contains(&mail[at]))) {
        let mut changed = mail.clone();
        changed[at] = other(mail[at]);
        let hold_max = usize::from(at < signatures.len()); // the other algorithm's
        assert!(verifier.count(&changed).await <= hold_max, "byte {at} changed: {}", String::from_utf8_lossy(&changed));
    }
}

#[tokio::test]
async fn no_field_can_be_added_that_a_reader_acts_on() {
    let signer = both_algorithms();
    let verifier = Verifier::new(&signer);
    for (name, head) in [("whole", HEAD), ("bare", b"From: get@example.com\r\n")] {
        let signatures = signed_head(&signer, head);
        let mail = [&signatures[..], head, b"\r\n", BODY].concat();
        assert_eq!(verifier.count(&mail).await, 2, "{name}: {}", String::from_utf8_lossy(&mail));
        for added in [
            "From: eve@example.com",
            "To: eve@example.org",
            "Subject: other",
            "Date: Tue, 1 Dec 2026 00:00:01 +0000",
            "Message-ID: <2@example.com>",
            "Reply-To: eve@example.org",
            "In-Reply-To: <3@example.org>",
            "References: <3@example.org>",
            "MIME-Version: 1.0",
            "Content-Type: text/html",
            "Content-Transfer-Encoding: base64",
            "auto-submitted: no",
        ] {
            for mail in [
                [added.as_bytes(), b"\r\n", &signatures, head, b"\r\n", BODY].concat(),
                [&signatures, head, added.as_bytes(), b"\r\n\r\n", BODY].concat(),
            ] {
                assert_eq!(verifier.count(&mail).await, 0, "{name}: {added}");
            }
        }
        let relayed = [b"Received: from a by b; now\r\n", &signatures[..], head, b"\r\n", BODY, b"\r\n\r\n"].concat();
        assert_eq!(verifier.count(&relayed).await, 2, "{name}: a relay adds its field and an empty line");
    }
}

fn signed_head(signer: &Signer, head: &[u8]) -> Vec<u8> {
    signer.sign("example.com", head, body().hash(), DECEMBER)
}

#[tokio::test]
async fn what_ses_changes_is_not_signed_for_it() {
    let signer = both_algorithms();
    let verifier = Verifier::new(&signer);
    let changed = String::from_utf8_lossy(HEAD).replace("<1.0@example.com>", "<0100@eu-west-1.amazonses.com>").replace("00:00:00", "00:00:07");
    for (signatures, want) in [(signer.sign_for_ses("example.com", HEAD, body().hash(), DECEMBER), 2), (signed_head(&signer, HEAD), 0)] {
        let mail = [&signatures, changed.as_bytes(), b"\r\n", BODY].concat();
        assert_eq!(verifier.count(&mail).await, want);
    }
}
