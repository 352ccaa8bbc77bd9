//! An SPF record, read whole before any of it is used: one syntax error anywhere makes it a permerror (RFC 7208 §4.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    SpfResult,
    expand::{is_domain_spec, is_macro_string},
};

/// Terms of one record. Those that ask DNS are counted besides.
const TERMS_MAX: usize = 1_000;

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// In order.
    pub(super) directives: Vec<Directive>,
    /// Where to go on if none matches; nowhere if there is an `all`, which always does.
    pub(super) redirect: Option<String>,
}

/// A mechanism and what it means if it matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism,
}

/// The mechanisms of RFC 7208 §5. Targets are domain-specs, not expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(String),
    A { target: Option<String>, bits: (u8, u8) },
    Mx { target: Option<String>, bits: (u8, u8) },
    Ptr(Option<String>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(String),
}

/// Whether a TXT record is one of SPF's (§4.5).
pub(super) fn is_spf(record: &[u8]) -> bool {
    record.len() >= 6 && record[..6].eq_ignore_ascii_case(b"v=spf1") && matches!(record.get(6), None | Some(b' '))
}

impl Record {
    /// Reads a record; `None` if its syntax is wrong anywhere.
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))?;
        let mut directives = Vec::new();
        let (mut redirect, mut has_explanation) = (None, false);
        for (at, term) in text.split(' ').skip(1).filter(|term| !term.is_empty()).enumerate() {
            if at == TERMS_MAX {
                return None;
            }
            match modifier(term) {
                Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                    let is_second = redirect.replace(value.to_owned()).is_some();
                    if is_second || !is_domain_spec(value) {
                        return None;
                    }
                }
                Some((name, value)) if name.eq_ignore_ascii_case("exp") => {
                    let is_second = std::mem::replace(&mut has_explanation, true);
                    if is_second || !is_domain_spec(value) {
                        return None;
                    }
                }
                Some((_, value)) if is_macro_string(value) => {}
                Some(_) => return None,
                None => directives.push(directive(term)?),
            }
        }
        Some(Self { directives, redirect })
    }
}

/// `name=value`, if that is what the term is (§4.6.1).
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_name.then_some((name, value))
}

fn directive(term: &str) -> Option<Directive> {
    let (result, term) = match term.as_bytes().first()? {
        b'+' => (SpfResult::Pass, &term[1..]),
        b'-' => (SpfResult::Fail, &term[1..]),
        b'~' => (SpfResult::SoftFail, &term[1..]),
        b'?' => (SpfResult::Neutral, &term[1..]),
        _ => (SpfResult::Pass, term),
    };
    let end = term.find([':', '/']).unwrap_or(term.len());
    let (name, rest) = term.split_at(end);
    let value = rest.strip_prefix(':');
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(spec(value?)?),
        "exists" => Mechanism::Exists(spec(value?)?),
        "ptr" if rest.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(spec(value?)?)),
        "a" => {
            let (target, bits) = host(rest)?;
            Mechanism::A { target, bits }
        }
        "mx" => {
            let (target, bits) = host(rest)?;
            Mechanism::Mx { target, bits }
        }
        "ip4" => {
            let (network, bits) = value?.split_once('/').map_or((value?, Some(32)), |(network, bits)| (network, length(bits, 32)));
            Mechanism::Ip4(network.parse().ok()?, bits?)
        }
        "ip6" => {
            let (network, bits) = value?.split_once('/').map_or((value?, Some(128)), |(network, bits)| (network, length(bits, 128)));
            Mechanism::Ip6(network.parse().ok()?, bits?)
        }
        _ => return None,
    };
    Some(Directive { result, mechanism })
}

fn spec(text: &str) -> Option<String> {
    is_domain_spec(text).then(|| text.to_owned())
}

/// `[":" domain-spec] [dual-cidr-length]`, where the latter is `[/n][//m]`.
fn host(rest: &str) -> Option<(Option<String>, (u8, u8))> {
    let (rest, bits6) = match rest.rsplit_once("//") {
        Some((before, digits)) if is_digits(digits) => (before, length(digits, 128)?),
        _ => (rest, 128),
    };
    let (rest, bits4) = match rest.rsplit_once('/') {
        Some((before, digits)) if is_digits(digits) => (before, length(digits, 32)?),
        _ => (rest, 32),
    };
    let target = match rest.strip_prefix(':') {
        Some(target) => Some(spec(target)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((target, (bits4, bits6)))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A prefix length without leading zeros (§5.6).
fn length(digits: &str, max: u8) -> Option<u8> {
    let is_plain = is_digits(digits) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|bits| is_plain && *bits <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_by_its_version() {
        for good in ["v=spf1", "v=spf1 ", "V=SPF1 -all"] {
            assert!(is_spf(good.as_bytes()), "{good}");
        }
        for bad in ["v=spf10", "v=spf1\t-all", "v=spf", " v=spf1", "spf1 -all"] {
            assert!(!is_spf(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn every_mechanism_is_read() {
        let record = Record::parse(b"v=spf1  a mx:m.example.org/24//64 -ip4:192.0.2.0/24 ?ip6:2001:db8::/32 ~exists:%{i}.example.org ptr INCLUDE:i.example.org a//0 x-y=%{d} redirect=r.example.org").expect("valid");
        let directive = |result, mechanism| Directive { result, mechanism };
        assert_eq!(
            record.directives,
            [
                directive(SpfResult::Pass, Mechanism::A { target: None, bits: (32, 128) }),
                directive(SpfResult::Pass, Mechanism::Mx { target: Some("m.example.org".into()), bits: (24, 64) }),
                directive(SpfResult::Fail, Mechanism::Ip4("192.0.2.0".parse().expect("valid"), 24)),
                directive(SpfResult::Neutral, Mechanism::Ip6("2001:db8::".parse().expect("valid"), 32)),
                directive(SpfResult::SoftFail, Mechanism::Exists("%{i}.example.org".into())),
                directive(SpfResult::Pass, Mechanism::Ptr(None)),
                directive(SpfResult::Pass, Mechanism::Include("i.example.org".into())),
                directive(SpfResult::Pass, Mechanism::A { target: None, bits: (32, 0) }),
            ]
        );
        assert_eq!(record.redirect.as_deref(), Some("r.example.org"));
    }

    #[test]
    fn one_error_anywhere_spoils_the_record() {
        for bad in [
            "all:x",
            "all/24",
            "include",
            "include:",
            "include:org",
            "a:",
            "a/33",
            "a/024",
            "a//129",
            "a/",
            "mx:/24",
            "ip4",
            "ip4:192.0.2",
            "ip4:192.0.2.256",
            "ip4:192.0.2.0/33",
            "ip4:192.0.2.0/",
            "ip6:192.0.2.1",
            "ip6:2001:db8::/129",
            "++all",
            "-redirect=example.org",
            "redirect=",
            "redirect=a.org redirect=b.org",
            "exp=a.org exp=b.org",
            "foo",
            "foo:bar",
            "x=%{q}",
            "ptr:",
            "ptr/24",
            "-",
            "=x",
            "1x=y",
            "all\u{e9}",
            "all\tptr",
            "exists",
        ] {
            assert!(Record::parse(format!("v=spf1 ip4:192.0.2.1 {bad} -all").as_bytes()).is_none(), "{bad}");
        }
    }
}
