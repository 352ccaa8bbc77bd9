//! Signatures as they are read without DNS, and bodies as RFC 6376 has them.

use proptest::prelude::*;

use super::*;

#[test]
fn white_lines_at_the_end_of_a_body_are_cut_and_nothing_else() {
    for (body, left) in [
        ("", ""),
        ("\r\n", ""),
        (" \t\r\n\r\n", ""),
        ("a", "a"),
        ("a\r\n", "a\r\n"),
        ("a \t\r\n", "a \t\r\n"),
        ("a\r\n \r\n\t\r\n\r\n", "a\r\n"),
        ("a\r\n \r\nb\r\n ", "a\r\n \r\nb\r\n"),
        ("a  ", "a  "),
    ] {
        assert_eq!(String::from_utf8_lossy(without_blank_end(body.as_bytes())), left, "{body:?}");
    }
}

/// Relaxed body canonicalization straight from RFC 6376 §3.4.4, slow and plain.
fn relaxed(body: &str) -> String {
    let mut lines: Vec<String> = body.split("\r\n").map(|line| line.replace('\t', " ")).collect();
    for line in &mut lines {
        while line.contains("  ") {
            *line = line.replace("  ", " ");
        }
        line.truncate(line.trim_end_matches(' ').len());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// Simple body canonicalization, §3.4.3.
fn simple(body: &str) -> String {
    format!("{}\r\n", body.trim_end_matches("\r\n"))
}

fn sha256(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// mail-auth's canonical bodies are the RFC's, once the white end is cut.
    #[test]
    fn bodies_are_hashed_as_the_rfc_says(parts in prop::collection::vec(prop::sample::select(&["a", "b c", " ", "\t", "  ", "\r\n", "\r\n", ".", "é"][..]), 0..20)) {
        let body = parts.concat();
        let mut hashes = BodyHashes::new(body.as_bytes());
        prop_assert_eq!(hashes.get(Canonicalization::Relaxed), sha256(&relaxed(&body)), "relaxed {:?}", body);
        prop_assert_eq!(hashes.get(Canonicalization::Simple), sha256(&simple(&body)), "simple {:?}", body);
    }

    /// Whatever stands in a signature or a key record, it is judged and nothing falls over.
    #[test]
    fn no_tag_list_breaks_the_reader(parts in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..16), octets in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut list = parts.concat().into_bytes();
        list.extend_from_slice(&octets);
        let field = Field { name: b"DKIM-Signature", value: &list };
        let mail = Mail { raw: b"", fields: vec![field], body_at: 0 };
        if let Ok(candidate) = candidate(field, &Signed::of(&mail), "example.org", 1_790_000_000) {
            prop_assert!(may_align(&candidate.signature.d, "example.org"));
            prop_assert!(candidate.signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")));
        }
        let _ = key::read(Some(Ok(vec![list])));
    }
}

const PIECES: [&str; 24] = [
    "v=1;",
    "a=rsa-sha256;",
    "a=ed25519-sha256;",
    "d=example.org;",
    "s=s;",
    "h=from:to;",
    "h=;",
    "bh=AAAA;",
    "b=AAAA;",
    "c=relaxed/relaxed;",
    "i=@example.org;",
    "x=1;",
    "t=99999999999999999999;",
    "l=1;",
    "p=AAAA;",
    "p=;",
    "k=rsa;",
    "k=ed25519;",
    " ",
    ";",
    "=",
    "\r\n ",
    "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ;",
    "p=MIKfMIMGCSqGSIb3DQEBAQUAA4SNADCBiQ;",
];
