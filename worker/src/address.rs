//! One mailbox address, exactly as it will be written back, and the canonical form under which a sender is counted.
//!
//! Only a dot-atom local part at a domain of at least two labels is taken (RFC 5322 §3.2.3, with RFC 6531's UTF-8).
//! Quoted local parts, address literals and everything else that has two spellings is refused: what was checked must be,
//! byte for byte, what is answered.

use std::fmt;

/// The longest address (RFC 5321 §4.5.3.1: 64 for the local part, 255 for the domain, one `@`).
const ADDRESS_BYTES_MAX: usize = 320;

/// A mailbox address. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
    at: usize,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(redacted)")
    }
}

impl Address {
    /// Reads `local@domain`; `None` for everything that is not plainly one.
    pub fn parse(text: &str) -> Option<Self> {
        let at = text.rfind('@')?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        let is_valid = text.len() <= ADDRESS_BYTES_MAX && local.len() <= 64 && is_dot_atom(local) && is_domain(domain);
        is_valid.then(|| Self { text: text.to_owned(), at })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is before the `@`.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// What is after the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The local part before the first `+`, in lower case.
    pub fn base_local(&self) -> String {
        self.local().split('+').next().unwrap_or_default().to_lowercase()
    }

    /// The address without its +tag, in lower case and with its domain as A-label: how an address of ours is named.
    pub fn without_tag(&self) -> String {
        format!("{}@{}", self.base_local(), self.ascii_domain())
    }

    /// The domain as A-label, in lower case; as it is if IDNA does not take it.
    pub fn ascii_domain(&self) -> String {
        idna::domain_to_ascii(self.domain()).unwrap_or_else(|_| self.domain().to_lowercase())
    }

    /// The address without its +tag, in lower case and with its domain as U-label: the same as [`Self::without_tag`] in ASCII
    /// domains, and the spelling that a client may use with SMTPUTF8 (RFC 6531 §3.2) in others.
    pub fn without_tag_in_unicode(&self) -> String {
        let (domain, _) = idna::domain_to_unicode(self.domain());
        format!("{}@{domain}", self.base_local())
    }

    /// Whether the local part needs SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local().is_ascii()
    }

    /// The address as the transport needs it: the domain as A-label, the local part untouched.
    pub fn for_transport(&self) -> String {
        format!("{}@{}", self.local(), self.ascii_domain())
    }

    /// The one form of all spellings that reach one mailbox: lower case, no +tag, A-label, and for Gmail no dots and one
    /// domain. Used only as a key for counting; the reply goes to the address as given.
    pub fn canonical(&self) -> String {
        let mut local = self.base_local();
        let mut domain = self.ascii_domain();
        if domain == "googlemail.com" {
            domain = "gmail.com".into();
        }
        if domain == "gmail.com" {
            local.retain(|c| c != '.');
        }
        format!("{local}@{domain}")
    }
}

/// `domain` or a sub-domain of it; both in lower case.
pub fn is_within(candidate: &str, domain: &str) -> bool {
    candidate == domain || candidate.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// RFC 5322's atext, and RFC 6531's characters beyond ASCII but for those that change how text is shown.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_within = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && c.is_alphanumeric()));
        !label.is_empty() && label.len() <= 63 && is_within && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 255 && text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_spelling_is_an_address() {
        for good in ["a@b.org", "o'brien@example.org", "a+tag@b.example.org", "用户abc@example.org", "x_y-z@xn--bcher-kva.example"] {
            assert_eq!(Address::parse(good).map(|address| address.as_str().to_owned()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "a",
            "@b.org",
            "a@",
            "a@b",
            "a@[192.0.2.1]",
            "\"a b\"@b.org",
            "a b@b.org",
            "a@b..org",
            ".a@b.org",
            "a.@b.org",
            "a@b@c.org",
            "a\r\n@b.org",
            "a@b.org\n",
            "<a@b.org>",
            "a,b@c.org",
            "a(c)@b.org",
            "a@-b.org",
            "a\u{202e}b@c.org",
            "a@b_c.org",
        ] {
            assert!(Address::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn spellings_of_one_mailbox_have_one_canonical_form() {
        for (given, canonical) in [
            ("Some.One+x@GoogleMail.com", "someone@gmail.com"),
            ("some.one@example.org", "some.one@example.org"),
            ("A+b+c@EXAMPLE.org", "a@example.org"),
            ("a@bücher.example", "a@xn--bcher-kva.example"),
        ] {
            assert_eq!(Address::parse(given).expect(given).canonical(), canonical);
        }
    }

    #[test]
    fn a_domain_of_ours_has_two_spellings() {
        for (given, ascii, unicode) in [
            ("Get+x@EXAMPLE.org", "get@example.org", "get@example.org"),
            ("get@xn--bcher-kva.example", "get@xn--bcher-kva.example", "get@bücher.example"),
            ("get@Bücher.example", "get@xn--bcher-kva.example", "get@bücher.example"),
        ] {
            let address = Address::parse(given).expect(given);
            assert_eq!((address.without_tag().as_str(), address.without_tag_in_unicode().as_str()), (ascii, unicode));
        }
    }

    #[test]
    fn a_sub_domain_is_within_its_domain_and_a_namesake_is_not() {
        assert!(is_within("a.example.org", "example.org") && is_within("example.org", "example.org"));
        assert!(!is_within("notexample.org", "example.org") && !is_within("org", "example.org"));
    }
}
