//! One DKIM-Signature field: its tags (RFC 6376 §3.5) on lines that fit into 78 characters, where a tag does. No I/O.
//!
//! `l=` and `x=` are never there: the whole body is signed, and for good.

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet::clock::UnixMillis;

use super::{header::relaxed, key::Algorithm};

/// Characters of a line without its end (RFC 5322 §2.1.1).
const LINE_CHARS_MAX: usize = 78;

/// A signature field without the signature: it ends in `b=`.
pub(super) struct SignatureField {
    text: String,
    /// Characters on the last line.
    column: usize,
}

impl SignatureField {
    /// All tags but the value of `b=`. `names` are the signed fields' (`h=`), `body_hash` is `bh=`.
    pub(super) fn new(algorithm: Algorithm, domain: &str, selector: &str, now: UnixMillis, names: &[&str], body_hash: &[u8; 32]) -> Self {
        let mut field = Self { text: String::with_capacity(1_200), column: 0 };
        field.put("DKIM-Signature:");
        field.tag("v=1;");
        field.tag(&format!("a={};", algorithm.name()));
        field.tag("c=relaxed/relaxed;");
        field.tag(&format!("d={domain};"));
        field.tag(&format!("s={selector};"));
        field.tag(&format!("t={};", now.0 / 1_000));
        field.tag(&format!("bh={};", BASE64_STANDARD.encode(body_hash)));
        field.names(names);
        field.fold();
        field.put("b=");
        field
    }

    /// The field in relaxed form with an empty `b=` and without its line end: the last thing that is hashed (§3.7).
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut canonical = Vec::with_capacity(self.text.len());
        relaxed(self.text.as_bytes(), &mut canonical);
        canonical
    }

    /// The whole field with this signature, ended by CRLF.
    pub(super) fn with(mut self, signature: &[u8]) -> Vec<u8> {
        let signature = BASE64_STANDARD.encode(signature);
        let mut rest = signature.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_CHARS_MAX - self.column));
            self.put(line);
            if !after.is_empty() {
                self.fold();
            }
            rest = after;
        }
        self.text.push_str("\r\n");
        self.text.into_bytes()
    }

    /// `h=` with these names, cut after colons.
    fn names(&mut self, names: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            let piece = format!("{name}{}", if index + 1 == names.len() { ';' } else { ':' });
            if index == 0 {
                self.tag(&format!("h={piece}"));
                continue;
            }
            if self.column + piece.len() > LINE_CHARS_MAX {
                self.fold();
            }
            self.put(&piece);
        }
    }

    /// A tag after white space.
    fn tag(&mut self, tag: &str) {
        if self.column + 1 + tag.len() > LINE_CHARS_MAX {
            self.fold();
        } else {
            self.put(" ");
        }
        self.put(tag);
    }

    fn fold(&mut self) {
        self.text.push_str("\r\n ");
        self.column = 1;
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] =
        ["From", "From", "Content-Transfer-Encoding", "Content-Transfer-Encoding", "Message-ID", "X-Auto-Response-Suppress", "To", "X-Loop", "Date"];

    fn field(domain: &str, selector: &str) -> SignatureField {
        SignatureField::new(Algorithm::RsaSha256, domain, selector, UnixMillis(1_790_000_000_999), &NAMES, &[7; 32])
    }

    #[test]
    fn a_field_has_all_tags_and_its_canonical_form_is_on_one_line() {
        let canonical = String::from_utf8(field("example.com", "rf2026a").canonical()).expect("text");
        let names = "From:From:Content-Transfer-Encoding:Content-Transfer-Encoding:Message-ID: X-Auto-Response-Suppress:To:X-Loop:Date";
        let tags = "dkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=rf2026a; t=1790000000;";
        assert_eq!(canonical, format!("{tags} bh=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=; h={names}; b="));
    }

    #[test]
    fn lines_fit_into_78_characters_unless_a_name_is_longer() {
        let long = format!("{}.example", vec!["a".repeat(40); 5].join("."));
        for domain in ["a.io", "example.com", "a-rather-long-domain-of-a-relay.example.org", &long] {
            for signature_bytes in [1, 56, 64, 256, 512] {
                let text = String::from_utf8(field(domain, "s").with(&vec![1; signature_bytes])).expect("text");
                assert!(text.ends_with("\r\n"));
                for line in text.strip_suffix("\r\n").expect("a line end").split("\r\n") {
                    assert!(line.len() <= LINE_CHARS_MAX || line.trim_start().starts_with(&format!("d={long};")), "{text}");
                    assert!(!line.trim().is_empty() && line.len() < 998, "{text}");
                }
                let signature: String = text.split(" b=").nth(1).expect("b=").split_whitespace().collect();
                assert_eq!(BASE64_STANDARD.decode(signature).expect("base64"), vec![1; signature_bytes]);
            }
        }
    }
}
