//! Signs mail with DKIM for tests: ed25519-sha256, `simple/simple`, written from RFC 6376 and RFC 8463 alone, so that what
//! the worker verifies was not signed by the library that verifies it.
//!
//! Keys are made at run time. Whose zone serves them is the caller's: [`Signer::publish`] puts them there.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::dns::Zone;

/// The fields that are signed where a mail has them, each as often as it is there, the lowest first (RFC 6376 §5.4.2).
const SIGNED: [&str; 5] = ["From", "To", "Subject", "Date", "Message-ID"];

/// A key, used for every domain that asks for it.
pub struct Signer {
    key: Ed25519KeyPair,
    selector: &'static str,
    signed_s: Option<u64>,
}

impl Signer {
    /// A new key, published under this selector.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn new(selector: &'static str) -> Self {
        Self { key: Ed25519KeyPair::generate().expect("random numbers"), selector, signed_s: None }
    }

    /// The same, writing this time into its signatures (t=, seconds since 1970): then an old Date makes none too old.
    pub fn at(self, signed_s: u64) -> Self {
        Self { signed_s: Some(signed_s), ..self }
    }

    /// The key's TXT record: its name and text.
    pub fn record(&self, domain: &str) -> (String, String) {
        let public = BASE64_STANDARD.encode(self.key.public_key().as_ref());
        (format!("{}._domainkey.{domain}", self.selector), format!("v=DKIM1; k=ed25519; p={public}"))
    }

    /// Lets `domain` vouch for what is signed with this key.
    pub fn publish(&self, zone: &mut Zone, domain: &str) {
        let (name, text) = self.record(domain);
        zone.txt(&name, text);
    }

    /// The mail with CRLF line ends and a signature of `domain` on top, which covers its From.
    pub fn sign(&self, mail: &[u8], domain: &str) -> Vec<u8> {
        let mail = with_crlf(mail);
        let (fields, body) = split(&mail);
        let found = SIGNED.iter().flat_map(|name| fields.iter().rev().filter(|field| is_called(field, name)).map(|field| (*name, *field)));
        let (names, signed): (Vec<&str>, Vec<&[u8]>) = found.unzip();
        let body_hash = BASE64_STANDARD.encode(digest(&SHA256, &simple(body)));
        let time = self.signed_s.map(|signed_s| format!(" t={signed_s};")).unwrap_or_default();
        let signature = format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d={domain}; s={};{time}\r\n\th={}; bh={body_hash};\r\n\tb=",
            self.selector,
            names.join(":")
        );
        let hashed = digest(&SHA256, &[signed.concat().as_slice(), signature.as_bytes()].concat());
        let value = BASE64_STANDARD.encode(self.key.sign(hashed.as_ref()));
        [signature.as_bytes(), value.as_bytes(), b"\r\n", &mail].concat()
    }
}

/// The mail as it travels by SMTP. Postfix's pipe(8) hands it on with bare LF.
pub fn with_crlf(mail: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(mail.len() + mail.len() / 40);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => text.extend([line.strip_suffix(b"\r").unwrap_or(line), b"\r\n"].concat()),
            None => text.extend(line),
        }
    }
    text
}

/// The mail as pipe(8) hands it over.
pub fn with_lf(mail: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(mail.len());
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => text.extend([line, b"\n"].concat()),
            None => text.extend(line),
        }
    }
    text
}

/// The header's fields, each with its continuation lines and CRLF, and the body.
fn split(mail: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut fields, mut start, mut at) = (Vec::new(), 0, 0);
    while at < mail.len() {
        let line = mail[at..].iter().position(|&byte| byte == b'\n').map_or(mail.len() - at, |end| end + 1);
        let next = at + line;
        if &mail[at..next] == b"\r\n" {
            return (fields, &mail[next..]);
        }
        if !matches!(mail.get(next), Some(b' ' | b'\t')) {
            fields.push(&mail[start..next]);
            start = next;
        }
        at = next;
    }
    (fields, b"")
}

fn is_called(field: &[u8], name: &str) -> bool {
    field.split(|&byte| byte == b':').next().is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
}

/// RFC 6376 §3.4.3: empty lines at the end are ignored, and the body ends with CRLF.
fn simple(body: &[u8]) -> Vec<u8> {
    let mut body = body;
    while let Some(rest) = body.strip_suffix(b"\r\n") {
        body = rest;
    }
    [body, b"\r\n"].concat()
}
