//! Every reply is signed twice, RSA and Ed25519, and behind a relay dkimpy, opendkim and we ourselves (mail-auth) still
//! take both signatures. (What becomes of changed mails: `tests/authentication/signing.rs`.)
//!
//! Keys are OpenSSL's, and so is what is published of them: no byte of the records is ours.

use std::{
    fs,
    process::{Command, Stdio},
    sync::LazyLock,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet::{clock::UnixMillis, envelope::Facts};
use replyfleet_tests::{dkim::with_crlf, dns::Dns, ministack::venv, repository, skipped};
use replyfleet_worker::{address::Address, authenticate::Authenticator};
use serde_json::{Value, json};

use crate::{
    cases::DOMAIN,
    program,
    run::{Sent, replies},
};

const OPENDKIM: &str = "/usr/sbin/opendkim";
/// Bytes of an Ed25519 public key, which are the last of its DER form (RFC 8410 §4).
const ED25519_BYTES: usize = 32;

/// A key that signs replies.
pub(crate) struct Key {
    pub(crate) selector: &'static str,
    /// As `a=` has it.
    algorithm: &'static str,
    pub(crate) pem: Vec<u8>,
    /// The text of the TXT record.
    record: String,
}

/// The keys of the run's settings.
pub(crate) static KEYS: LazyLock<[Key; 2]> = LazyLock::new(|| {
    let key = |selector, algorithm, word, arguments: &[&str]| {
        let pem = openssl(&[&["genpkey", "-algorithm"], arguments].concat(), b"");
        let mut public = openssl(&["pkey", "-pubout", "-outform", "DER"], &pem);
        if word == "ed25519" {
            public.drain(..public.len() - ED25519_BYTES);
        }
        Key { selector, algorithm, pem, record: format!("v=DKIM1; k={word}; p={}", BASE64_STANDARD.encode(public)) }
    };
    [key("rf1", "rsa-sha256", "rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), key("rf2", "ed25519-sha256", "ed25519", &["ED25519"])]
});

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    program::said_to(Command::new("openssl").args(arguments).stderr(Stdio::null()), input)
}

/// A mail to verify.
struct Mail {
    /// What to call it.
    name: String,
    /// The address of its From.
    from: String,
    octets: Vec<u8>,
    /// How many of its signatures must hold.
    holding: usize,
}

/// Every reply as it arrived, and at the end the first one changed: it shows that each verifier looks.
fn mails() -> Option<Vec<Mail>> {
    let replies = replies()?;
    let arrived = |reply: &Sent| Mail { name: reply.name(), from: reply.case.address(), octets: with_crlf(&reply.arrived), holding: KEYS.len() };
    let mut mails: Vec<Mail> = replies.iter().map(arrived).collect();
    let mut changed = Mail { name: "changed".into(), holding: 0, ..arrived(&replies[0]) };
    let last = changed.octets.len() - 3;
    changed.octets[last] ^= 1;
    mails.push(changed);
    Some(mails)
}

fn dns() -> Dns {
    Dns::start(|zone| {
        for key in KEYS.iter() {
            zone.txt(&format!("{}._domainkey.{DOMAIN}", key.selector), &key.record);
        }
    })
}

/// Fails with the mails of which another number of signatures holds than must.
#[track_caller]
fn assert_hold(mails: &[Mail], hold: impl IntoIterator<Item = usize>) {
    let hold: Vec<usize> = hold.into_iter().collect();
    assert_eq!(hold.len(), mails.len());
    let wrong = mails.iter().zip(hold).filter(|(mail, hold)| mail.holding != *hold);
    let wrong: Vec<String> = wrong.map(|(mail, hold)| format!("{}: {hold} of {}", mail.name, mail.holding)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_reply_has_a_signature_of_each_key_on_top_of_its_header() {
    let Some(replies) = replies() else { return };
    for reply @ Sent { wire, .. } in replies {
        let text = String::from_utf8_lossy(wire).replace("\r\n\t", " ").replace("\r\n ", " ");
        let fields = text.lines().take_while(|line| line.starts_with("DKIM-Signature:"));
        let fields: Vec<Vec<&str>> = fields.map(|field| field["DKIM-Signature:".len()..].split(';').map(str::trim).collect()).collect();
        assert_eq!(fields.len(), KEYS.len(), "{}", reply.name());
        for (tags, key) in fields.iter().zip(KEYS.iter()) {
            for tag in [format!("a={}", key.algorithm), format!("s={}", key.selector), format!("d={DOMAIN}"), "c=relaxed/relaxed".into()] {
                assert!(tags.contains(&tag.as_str()), "no {tag} in {}: {tags:?}", reply.name());
            }
            assert!(!tags.iter().any(|tag| tag.starts_with("l=")), "{}: {tags:?}", reply.name());
        }
    }
}

#[test]
fn dkimpy_takes_every_signature_of_every_reply() {
    let Some(mails) = mails() else { return };
    let python = venv().join("bin/python3");
    let mut import = Command::new(&python);
    if !import.args(["-c", "import dkim, spf, authheaders, nacl, yaml"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        skipped("no dkimpy; tests/run installs it");
        return;
    }
    let dns = dns();
    let jobs: Value = mails.iter().map(|mail| json!({"do": "verify", "mail": BASE64_STANDARD.encode(&mail.octets)})).collect();
    let mut command = Command::new(python);
    command.arg(repository().join("tests/authentication/second.py")).arg(dns.address().to_string());
    let said: Vec<Vec<bool>> = serde_json::from_slice(&program::said_to(&mut command, jobs.to_string().as_bytes())).unwrap();
    assert_hold(&mails, said.iter().map(|holds| holds.iter().filter(|&&holds| holds).count()));
}

#[tokio::test]
async fn mail_auth_takes_every_signature_of_every_reply() {
    let Some(mails) = mails() else { return };
    let dns = dns();
    let settings = serde_json::from_value(json!({"resolver": dns.address(), "timeout_s": 5})).unwrap();
    let authenticator = Authenticator::open(&settings).unwrap();
    let facts = Facts { client_address: "192.0.2.1".into(), helo: "client.example.net".into(), arrived: UnixMillis::now(), ..Facts::default() };
    let mut hold = Vec::new();
    for mail in &mails {
        let evidence = authenticator.authenticate(&mail.octets, &Address::parse(&mail.from).unwrap(), &facts).await;
        hold.push(evidence.lines().iter().filter(|line| line.method == "dkim" && line.result == "pass").count());
    }
    assert_hold(&mails, hold);
}

#[test]
fn opendkim_takes_every_signature_of_every_reply() {
    if !program::is_there(OPENDKIM) {
        return;
    }
    let Some(mails) = mails() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys: String = KEYS.iter().map(|key| format!("{}._domainkey.{DOMAIN} {}\n", key.selector, key.record)).collect();
    fs::write(folder.path().join("keys"), keys).unwrap();
    fs::write(folder.path().join("conf"), format!("Mode v\nTestPublicKeys {}\n", folder.path().join("keys").display())).unwrap();
    let mut hold = Vec::new();
    for mail in &mails {
        fs::write(folder.path().join("mail"), &mail.octets).unwrap();
        let output = Command::new(OPENDKIM).args(["-x", "conf", "-vv", "-t", "mail"]).current_dir(folder.path()).output().unwrap();
        hold.push(String::from_utf8_lossy(&output.stdout).matches("dkim=pass").count());
    }
    assert_hold(&mails, hold);
}
