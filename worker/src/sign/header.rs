//! What of a header is signed, in relaxed canonicalization (RFC 6376 §3.4.2). No I/O, no clock.
//!
//! Each field that a reader or a program acts on is signed as often as it is there and once more ("oversigned", §5.4),
//! so that nobody can add one without breaking the signature: verifiers take a name that finds no field for nothing.

/// The fields that are signed, in the order of `h=`, and whether they are oversigned.
const SIGNED: [(&str, bool); 15] = [
    ("From", true),
    ("To", true),
    ("Subject", true),
    ("Date", true),
    ("Message-ID", true),
    ("Reply-To", true),
    ("In-Reply-To", true),
    ("References", true),
    ("MIME-Version", true),
    ("Content-Type", true),
    ("Content-Transfer-Encoding", true),
    ("Auto-Submitted", true),
    ("X-Auto-Response-Suppress", false),
    ("X-Loop", false),
    ("Content-Language", false),
];

/// What Amazon SES replaces in a mail on its way, as its manual says under "manual DKIM signing".
pub(super) const SES_CHANGES: [&str; 2] = ["Message-ID", "Date"];

/// The signed part of a header.
pub(super) struct SignedHeader {
    /// The names, in the order in which verifiers look for their fields: `h=`.
    pub(super) names: Vec<&'static str>,
    /// The fields in relaxed form, each ended by CRLF, in that order.
    pub(super) canonical: Vec<u8>,
}

impl SignedHeader {
    /// What is signed of `head`, whole lines that end in CRLF; nothing that is called as one of `unsigned`.
    pub(super) fn new(head: &[u8], unsigned: &[&str]) -> Self {
        let mut found: [Vec<&[u8]>; SIGNED.len()] = Default::default();
        for field in fields(head) {
            let name = name_of(field);
            if let Some(index) = SIGNED.iter().position(|(signed, _)| signed.as_bytes().eq_ignore_ascii_case(name)) {
                found[index].push(field);
            }
        }
        let mut header = Self { names: Vec::with_capacity(2 * SIGNED.len()), canonical: Vec::with_capacity(head.len()) };
        for ((name, is_oversigned), fields) in SIGNED.into_iter().zip(found).filter(|((name, _), _)| !unsigned.contains(name)) {
            // The lowest first (§5.4.2).
            for field in fields.iter().rev() {
                relaxed(field, &mut header.canonical);
                header.canonical.extend_from_slice(b"\r\n");
                header.names.push(name);
            }
            if is_oversigned {
                header.names.push(name);
            }
        }
        header
    }
}

/// The fields of a header, each with the lines that continue it and its last line's end.
fn fields(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_end = |at: usize| at + 1 == rest.len() || !matches!(rest[at + 1], b' ' | b'\t');
        let mut line_ends = rest.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at);
        let end = line_ends.find(|&at| is_end(at)).map_or(rest.len(), |at| at + 1);
        let (field, after) = rest.split_at(end);
        rest = after;
        Some(field)
    })
}

/// What is before the colon. White space there is obsolete, but not part of the name.
fn name_of(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == b':').next().unwrap_or_default().trim_ascii_end()
}

/// One field in relaxed form, without the line end: the name in lower case, the value on one line without white space
/// around it, a run of white space as one space.
pub(super) fn relaxed(field: &[u8], canonical: &mut Vec<u8>) {
    let name = name_of(field);
    canonical.extend(name.iter().map(u8::to_ascii_lowercase));
    canonical.push(b':');
    let value = field.iter().position(|&byte| byte == b':').map_or(&[][..], |colon| &field[colon + 1..]);
    let mut words = value.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        canonical.extend_from_slice(first);
    }
    for word in words {
        canonical.push(b' ');
        canonical.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(field: &str) -> String {
        let mut canonical = Vec::new();
        relaxed(field.as_bytes(), &mut canonical);
        String::from_utf8(canonical).expect("text")
    }

    #[test]
    fn fields_are_canonicalized_as_the_rfc_says() {
        for (field, want) in [
            // The RFC's own example (§3.4.5).
            ("A: X\r\n", "a:X"),
            ("B : Y\t\r\n\tZ  \r\n", "b:Y Z"),
            ("SUBJect:\r\n one\r\n\t two \r\n", "subject:one two"),
            ("X:\r\n", "x:"),
            ("X:a:b :c\r\n", "x:a:b :c"),
            ("To: 用户@example.org\r\n", "to:用户@example.org"),
        ] {
            assert_eq!(canonical(field), want, "{field:?}");
        }
    }

    #[test]
    fn every_signed_field_is_there_as_often_as_in_the_header_and_once_more() {
        let head = "X-Loop: a\r\nFROM: a\r\n b\r\nX-Other: c\r\nx-loop: d\r\nTo: e\r\nfrom: f\r\n";
        let header = SignedHeader::new(head.as_bytes(), &[]);
        let names = "From From From To To Subject Date Message-ID Reply-To In-Reply-To References MIME-Version Content-Type \
                     Content-Transfer-Encoding Auto-Submitted X-Loop X-Loop";
        assert_eq!(header.names, names.split_whitespace().collect::<Vec<_>>());
        assert_eq!(String::from_utf8_lossy(&header.canonical), "from:f\r\nfrom:a b\r\nto:e\r\nx-loop:d\r\nx-loop:a\r\n");
    }

    #[test]
    fn what_a_carrier_changes_is_not_signed_at_all() {
        let header = SignedHeader::new(b"From: a\r\nDate: b\r\nMessage-ID: c\r\n", &SES_CHANGES);
        assert_eq!(header.canonical, b"from:a\r\n");
        assert!(!header.names.iter().any(|name| SES_CHANGES.contains(name)) && header.names.contains(&"Subject"));
    }
}
