//! Our own signatures, as three others see them: dkimpy, opendkim, and the worker's own authentication (mail-auth). Keys
//! are OpenSSL's, made as `docs/replyfleet.toml` says, in files.
//!
//! Every signature as made holds, RSA and Ed25519; after any change of a signed byte, or with one more field of those that
//! readers act on, none does. (The same against mail-auth by itself: `worker/src/sign/tests.rs`.)

use std::{
    fmt::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use replyfleet::{clock::UnixMillis, settings::Settings};
use replyfleet_tests::{dns::Dns, repository, skipped};
use replyfleet_worker::{
    compose::{Body, Segment},
    sign::Signer,
};
use serde_json::json;

use crate::{
    address, authenticator, facts,
    python::{encoded, run},
    said,
};

const HEAD: &[u8] = "From: =?utf-8?q?R=C3=A9ponse?= <get@example.com>\r\nTo: 用户@example.org\r\nSubject: Your\r\n  request \r\n\
    Date: Sat, 21 Nov 2026 16:00:00 +0000\r\nMessage-ID: <1.0@example.com>\r\nIn-Reply-To: <a@example.org>\r\n\
    References: <b@example.org>\r\n <a@example.org>\r\nAuto-Submitted: auto-replied\r\nX-Auto-Response-Suppress: All\r\n\
    X-Loop: get@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\
    Content-Language: fa, en\r\n"
    .as_bytes();
const BODY: &[u8] = "سلام  \r\n\r\n .\r\nHere\tyou  are.\r\n".as_bytes();

/// Adding one of these must break the signature.
const OVERSIGNED: [&str; 12] = [
    "From: eve@example.com",
    "To: eve@example.org",
    "Subject: other",
    "Date: Sat, 21 Nov 2026 16:00:01 +0000",
    "Message-ID: <2@example.com>",
    "Reply-To: eve@example.org",
    "In-Reply-To: <3@example.org>",
    "References: <3@example.org>",
    "MIME-Version: 1.0",
    "Content-Type: text/html",
    "Content-Transfer-Encoding: base64",
    "Auto-Submitted: no",
];

fn openssl(arguments: &[&str], file: &Path) {
    let status = Command::new("openssl").arg(arguments[0]).arg("-out").arg(file).args(&arguments[1..]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "openssl {arguments:?}");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640)).unwrap();
}

/// A table of keys in files: name, which is the selector, and how OpenSSL makes it.
fn open(dir: &Path, keys: &[(&str, &[&str])]) -> Result<Signer, String> {
    let mut text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
    for (name, arguments) in keys {
        let file = dir.join(format!("{name}.pem"));
        if !file.exists() {
            openssl(arguments, &file);
        }
        let key = format!("\"file:{}\"", file.display());
        writeln!(text, "[[signing.keys]]\ndomain = \"example.com\"\nselector = \"{name}\"\nkey = {key}").unwrap();
    }
    Signer::open(&Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap())
}

const RSA: (&str, &[&str]) = ("rsa", &["genrsa", "2048"]);
const ED25519: (&str, &[&str]) = ("curve", &["genpkey", "-algorithm", "ed25519"]);

fn sign(signer: &Signer, head: &[u8]) -> Vec<u8> {
    let body = Body::new(String::new(), vec![Arc::new(Segment::new(BODY))]);
    signer.sign("example.com", head, body.hash(), UnixMillis::now())
}

/// A server that publishes a table's keys.
fn published(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for key in signer.published() {
            zone.txt(&format!("{}._domainkey.{}", key.selector, key.domain), key.record);
        }
    })
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

/// The mail with two signatures, what was done to it, and how many of them may still hold.
fn changed(signatures: &[u8]) -> Vec<(String, Vec<u8>, usize)> {
    let mail = [signatures, HEAD, b"\r\n", BODY].concat();
    let (head_at, head_end) = (signatures.len(), signatures.len() + HEAD.len());
    let mut all = Vec::new();
    for at in (0..mail.len()).filter(|at| !(head_end..head_end + 2).contains(at)) {
        // Of the signatures themselves: neither folding white space nor base64's padding is signed.
        if at < head_at && (b" \r\n".contains(&mail[at]) || mail[at..].starts_with(b"=\r")) {
            continue;
        }
        let mut changed = mail.clone();
        changed[at] = other(mail[at]);
        all.push((format!("byte {at}"), changed, usize::from(at < head_at)));
    }
    for field in OVERSIGNED {
        all.push((format!("{field} on top"), [field.as_bytes(), b"\r\n", &mail].concat(), 0));
        all.push((format!("{field} below"), [signatures, HEAD, field.as_bytes(), b"\r\n\r\n", BODY].concat(), 0));
    }
    all
}

#[tokio::test]
async fn dkimpy_and_we_take_every_signature_as_made_and_none_of_a_changed_mail() {
    let dir = tempfile::tempdir().unwrap();
    let signer = open(dir.path(), &[RSA, ED25519]).unwrap();
    let dns = published(&signer);
    let signatures = sign(&signer, HEAD);
    let mail = [&signatures, HEAD, b"\r\n", BODY].concat();
    let evidence = authenticator(&dns).authenticate(&mail, &address("get@example.com"), &facts("bounces@example.com")).await;
    let ours: Vec<&str> = evidence.lines().iter().filter(|line| line.method == "dkim").map(|line| line.result).collect();
    assert_eq!(ours, ["pass", "pass"], "{}", said(&evidence));

    let changes = changed(&signatures);
    let mails = std::iter::once(&mail).chain(changes.iter().map(|(_, mail, _)| mail));
    let Some(theirs) = run(&mails.map(|mail| json!({"do": "verify", "mail": encoded(mail)})).collect(), Some(dns.address())) else { return };
    assert_eq!(theirs[0], json!([true, true]), "dkimpy: {}", String::from_utf8_lossy(&mail));
    let mut wrong = Vec::new();
    for ((what, _, hold_max), theirs) in changes.iter().zip(&theirs[1..]) {
        let hold = theirs.as_array().unwrap().iter().filter(|holds| holds.as_bool().unwrap()).count();
        if hold > *hold_max {
            wrong.push(what.as_str());
        }
    }
    assert!(wrong.is_empty() && changes.len() > 1_500, "{} changes, dkimpy did not see: {}", changes.len(), wrong.join(", "));
}

/// Every signature that opendkim finds to hold in these mails, which it reads in their order: their algorithms.
fn opendkim(dir: &Path, signer: &Signer, mails: &[&[u8]]) -> Option<Vec<String>> {
    if Command::new("opendkim").arg("-V").stdout(Stdio::null()).status().is_err() {
        skipped("no opendkim; tests/run installs it");
        return None;
    }
    let mut keys = String::new();
    for key in signer.published() {
        writeln!(keys, "{}._domainkey.{} {}", key.selector, key.domain, key.record).unwrap();
    }
    std::fs::write(dir.join("keys"), keys).unwrap();
    std::fs::write(dir.join("conf"), format!("Mode v\nTestPublicKeys {}\n", dir.join("keys").display())).unwrap();
    for (number, mail) in mails.iter().enumerate() {
        std::fs::write(dir.join(number.to_string()), mail).unwrap();
    }
    let mut hold = Vec::new();
    let mut next = 0;
    while next < mails.len() {
        let names: Vec<String> = (next..mails.len()).map(|number| number.to_string()).collect();
        let output = Command::new("opendkim").args(["-x", "conf", "-vv", "-t", &names.join(",")]).current_dir(dir).output().unwrap();
        let (found, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last: usize =
            log.lines().filter_map(|line| line.strip_prefix("opendkim: ")?.split(':').next()?.parse().ok()).next_back().expect("a mail");
        for line in found.lines().filter(|line| line.contains("dkim=pass")) {
            hold.push(line.split("header.a=").nth(1).unwrap().split(' ').next().unwrap().to_owned());
        }
        // It stops at the first mail whose header it cannot read, without a word on it.
        assert!(last >= next && (output.status.success() || last < mails.len() - 1), "{found}{log}");
        next = if output.status.success() { mails.len() } else { last + 1 };
    }
    Some(hold)
}

#[test]
fn opendkim_takes_every_signature_as_made_and_none_of_a_changed_mail() {
    let dir = tempfile::tempdir().unwrap();
    let signer = open(dir.path(), &[RSA, ED25519]).unwrap();
    let signatures = sign(&signer, HEAD);
    let mail = [&signatures, HEAD, b"\r\n", BODY].concat();
    let changes = changed(&signatures);
    // Signed bytes only, and the whole mail at the end to show that it came so far.
    let mut mails: Vec<&[u8]> = changes.iter().filter(|(_, _, hold_max)| *hold_max == 0).map(|(_, mail, _)| &mail[..]).collect();
    assert!(mails.len() > 500);
    mails.push(&mail);
    let Some(hold) = opendkim(dir.path(), &signer, &mails) else { return };
    assert_eq!(hold, ["rsa-sha256", "ed25519-sha256"], "of the last mail, and of no other");
}

#[test]
fn keys_as_openssl_writes_them_are_read_and_others_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for key in [RSA, ED25519, ("pkcs1", &["genrsa", "-traditional", "2048"][..])] {
        let signer = open(dir.path(), &[key]).unwrap();
        assert!(signer.signs_for("example.com", UnixMillis::now()), "{}", key.0);
    }
    for (name, arguments, words) in [
        ("short", &["genrsa", "1024"][..], "too short an RSA key: 2048 bits at least"),
        ("long", &["genrsa", "4104"], "too long an RSA key"),
        ("ec", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "neither a sound RSA key nor an Ed25519 key"),
    ] {
        let error = open(dir.path(), &[(name, arguments)]).err().unwrap();
        let start = format!("signing.keys: domain example.com, selector {name}: the key file {}", dir.path().join(format!("{name}.pem")).display());
        assert!(error.starts_with(&start) && error.contains(words) && error.contains("openssl genrsa -out KEY.pem 2048"), "{error}");
    }
    std::fs::set_permissions(dir.path().join("rsa.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = open(dir.path(), &[RSA]).err().unwrap();
    assert!(error.contains("open to every user") && error.contains("chmod o-rwx"), "{error}");
    std::fs::remove_file(dir.path().join("curve.pem")).unwrap();
    std::fs::create_dir(dir.path().join("curve.pem")).unwrap();
    std::fs::set_permissions(dir.path().join("curve.pem"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = open(dir.path(), &[ED25519]).err().unwrap();
    assert!(error.contains("curve.pem: cannot be read"), "{error}");
}
