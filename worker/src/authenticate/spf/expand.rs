//! SPF macros (RFC 7208 §7): `%{ir}.%{v}._spf.%{d2}` and the like.
//!
//! The syntax is checked when a record is read, so that a faulty macro at its end makes the whole record faulty (§4.6);
//! what is expanded here has passed that check.

use std::net::IpAddr;

/// The longest name that is asked for (§7.3).
const NAME_BYTES_MAX: usize = 253;

/// What the macros stand for, but for the current domain and the client's name.
pub(super) struct Names<'n> {
    /// %{l}.
    pub(super) local: &'n str,
    /// %{o}.
    pub(super) sender_domain: String,
    /// %{h}.
    pub(super) helo: &'n str,
    /// %{i}, and by its kind %{v}.
    pub(super) client: IpAddr,
}

/// One piece of a macro-string.
enum Piece<'s> {
    Text(&'s str),
    /// %%, %_ or %-.
    Escape(&'static str),
    Macro {
        letter: char,
        parts: Option<usize>,
        is_reversed: bool,
        delimiters: &'s str,
    },
}

/// Splits a macro-string; `None` if its syntax is wrong. `%{c}`, `%{r}` and `%{t}` belong into explanations only.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at + 1..];
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, behind) = inside.split_once('}')?;
            pieces.push(one_macro(inside)?);
            rest = behind;
        } else {
            let literal = match rest.bytes().next()? {
                b'%' => "%",
                b'_' => " ",
                b'-' => "%20",
                _ => return None,
            };
            pieces.push(Piece::Escape(literal));
            rest = &rest[1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Some(pieces)
}

fn one_macro(inside: &str) -> Option<Piece<'_>> {
    let letter = inside.chars().next().filter(|letter| "slodiphv".contains(letter.to_ascii_lowercase()))?;
    let rest = &inside[1..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at(digits);
    let parts = if digits.is_empty() { None } else { Some(digits.parse::<usize>().unwrap_or(usize::MAX)) };
    let (is_reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let is_valid = parts != Some(0) && delimiters.chars().all(|c| ".-+,/_=".contains(c));
    is_valid.then_some(Piece::Macro { letter, parts, is_reversed, delimiters })
}

/// Whether `text` is a macro-string (§7.1).
pub(super) fn is_macro_string(text: &str) -> bool {
    pieces(text).is_some()
}

/// Whether `text` is a domain-spec (§7.1): a macro-string that ends in a top label or in a macro.
pub(super) fn is_domain_spec(text: &str) -> bool {
    match pieces(text).as_deref() {
        Some([.., Piece::Macro { .. } | Piece::Escape(_)]) => true,
        Some([.., Piece::Text(end)]) => ends_in_top_label(end),
        _ => false,
    }
}

fn ends_in_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let is_hyphened = label.starts_with('-') || label.ends_with('-');
    let is_label = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_label && !is_hyphened && !label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether %{p} must be known to expand `spec`: it costs look-ups.
pub(super) fn asks_for_client_name(spec: &str) -> bool {
    spec.contains("%{p") || spec.contains("%{P")
}

/// Expands a domain-spec to a name of at most 253 bytes, by leaving out labels at its left (§7.3).
pub(super) fn expand(spec: &str, names: &Names<'_>, domain: &str, client_name: &str) -> Option<String> {
    let mut text = String::new();
    for piece in pieces(spec)? {
        match piece {
            Piece::Text(literal) | Piece::Escape(literal) => text.push_str(literal),
            Piece::Macro { letter, parts, is_reversed, delimiters } => {
                let value = value(letter.to_ascii_lowercase(), names, domain, client_name);
                let delimiters = if delimiters.is_empty() { "." } else { delimiters };
                let mut list: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
                if is_reversed {
                    list.reverse();
                }
                let kept = list.len() - parts.unwrap_or(list.len()).min(list.len());
                let value = list[kept..].join(".");
                text.push_str(&if letter.is_ascii_uppercase() { escaped(&value) } else { value });
            }
        }
    }
    while text.len() > NAME_BYTES_MAX {
        text = text.split_once('.')?.1.to_owned();
    }
    Some(text)
}

fn value(letter: char, names: &Names<'_>, domain: &str, client_name: &str) -> String {
    match letter {
        's' => format!("{}@{}", names.local, names.sender_domain),
        'l' => names.local.to_owned(),
        'o' => names.sender_domain.clone(),
        'd' => domain.to_owned(),
        'h' => names.helo.to_owned(),
        'p' => client_name.to_owned(),
        'v' => if names.client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        _ => match names.client {
            IpAddr::V4(client) => client.to_string(),
            IpAddr::V6(client) => {
                let nibbles: Vec<String> =
                    client.octets().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| format!("{nibble:x}")).collect();
                nibbles.join(".")
            }
        },
    }
}

/// An upper-case macro: everything but RFC 3986's unreserved characters as %xx (§7.3).
fn escaped(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_expand_as_it_says() {
        let mut names = Names {
            local: "strong-bad",
            sender_domain: "email.example.com".into(),
            helo: "mx.example.org",
            client: "192.0.2.3".parse().expect("valid"),
        };
        let domain = "email.example.com";
        // RFC 7208 §7.4.
        for (spec, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%{S}.%%.%-.%_", "strong-bad%40email.example.com.%.%20. "),
            ("%{h}%{p}", "mx.example.orgunknown"),
        ] {
            assert_eq!(expand(spec, &names, domain, "unknown").as_deref(), Some(expected), "{spec}");
        }
        names.client = "2001:db8::cb01".parse().expect("valid");
        let expected = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com";
        assert_eq!(expand("%{ir}.%{v}._spf.%{d2}", &names, domain, "").as_deref(), Some(expected));
    }

    #[test]
    fn a_long_name_loses_labels_at_its_left() {
        let local = "x.".repeat(200) + "y";
        let names = Names { local: &local, sender_domain: "example.org".into(), helo: "", client: "192.0.2.3".parse().expect("valid") };
        let name = expand("%{l}.example.org", &names, "example.org", "").expect("valid");
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("x.y.example.org"), "{name}");
    }

    #[test]
    fn only_what_the_grammar_knows_is_a_domain_spec() {
        for good in ["example.org", "%{d}", "_spf.%{d2r}", "%{l1r+-}.example.org", "a.b-c.", "x%%", "e-x.o2g"] {
            assert!(is_domain_spec(good), "{good}");
        }
        for bad in [
            "",
            "org",
            "example.1",
            "example.-org",
            "example.org-",
            "example..",
            "%",
            "%{",
            "%{}",
            "%{x}",
            "%{d0}",
            "%{d*}",
            "%a",
            "%{c}",
            "%{d}x",
            "example.org/",
        ] {
            assert!(!is_domain_spec(bad), "{bad}");
        }
    }
}
