//! Whether a proven domain speaks for the domain in From: identifier alignment, and the DMARC record that may ask for more.
//!
//! Without a record: relaxed alignment by organisational domain, which the public suffix list tells. With one: as its
//! adkim and aspf say (RFC 7489 §3.1, RFC 9989 §4.10). The record is looked for as RFC 9989's tree walk does, from the
//! From domain up, but only to the organisational domain: above it is a registry, whose record asks nothing that would
//! change an answer of ours. What a record says of rejecting is none of our business: a responder bounces nothing.

use mail_auth::{
    common::parse::TxtRecordParser,
    dmarc::{Alignment, Dmarc, Policy as Asked, Psd},
};

use super::dns::{Dns, Missing};

/// Names asked for one From domain (RFC 9989 §4.10: eight at most, by leaving out labels in the middle).
const NAMES_MAX: usize = 8;

/// How closely a proven domain must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Of the same organisation.
    #[default]
    Relaxed,
    /// The same name.
    Strict,
}

impl Mode {
    /// As in a record.
    pub(super) fn word(self) -> &'static str {
        match self {
            Mode::Relaxed => "r",
            Mode::Strict => "s",
        }
    }
}

/// What the owner of a From domain asks for; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// Where the record stands, if there is one.
    pub(super) record_at: Option<String>,
    /// How a DKIM domain must match.
    pub(super) dkim: Mode,
    /// How an SPF domain must match.
    pub(super) spf: Mode,
    /// A part of the organisation that stands for itself (psd=n).
    pub(super) boundary: Option<String>,
}

impl Policy {
    /// Whether `domain` speaks for `from`; both are A-labels in lower case.
    pub(super) fn is_aligned(&self, domain: &str, from: &str, mode: Mode) -> bool {
        let is_inside = self.boundary.as_deref().is_none_or(|boundary| crate::address::is_within(domain, boundary));
        domain == from || (mode == Mode::Relaxed && is_inside && may_align(domain, from))
    }
}

/// Whether `domain` could speak for `from` under any policy: the same name, or the same organisation.
///
/// A public suffix belongs to no organisation, so d=co.uk or d=github.io speaks for nobody below it. The same name is
/// aligned even so (RFC 9989 §3.2.10): some suffixes are mail domains too, and only their owner can publish keys there.
pub(super) fn may_align(domain: &str, from: &str) -> bool {
    domain == from || organisation(domain).is_some_and(|organisation| Some(organisation) == self::organisation(from))
}

/// The organisational domain: one label more than the public suffix. `None` for a suffix itself.
fn organisation(domain: &str) -> Option<&str> {
    psl::domain_str(domain)
}

/// Looks for the DMARC record of a From domain.
///
/// # Errors
/// [`Missing::Temporary`] if one of the names cannot be asked for now.
pub(super) async fn discover(dns: &Dns, from: &str) -> Result<Policy, Missing> {
    let mut found: Vec<(&str, Dmarc)> = Vec::new();
    let mut boundary = None;
    for name in names(from) {
        let records = match dns.txt(&format!("_dmarc.{name}")).await {
            Ok(records) => records,
            Err(Missing::Temporary) => return Err(Missing::Temporary),
            Err(_) => continue,
        };
        // Several records are none (RFC 9989 §4.10 step 3), as is what does not parse.
        let mut records = records.iter().filter_map(|record| Dmarc::parse(record).ok());
        let (Some(record), None) = (records.next(), records.next()) else { continue };
        let is_boundary = record.psd == Psd::No;
        found.push((name, record));
        if is_boundary {
            boundary = Some(name.to_owned());
            break;
        }
    }
    // The From domain's own record, else that of the organisation: the last one found.
    let own = found.iter().position(|(name, _)| *name == from);
    let Some((name, record)) = own.or_else(|| found.len().checked_sub(1)).map(|at| &found[at]) else { return Ok(Policy::default()) };
    if record.p == Asked::Unspecified && record.rua.is_empty() {
        return Ok(Policy { boundary, ..Policy::default() }); // asks for nothing: DMARC does not apply (RFC 9989 §4.10.1)
    }
    let mode = |asked| if asked == Alignment::Strict { Mode::Strict } else { Mode::Relaxed };
    Ok(Policy { record_at: Some((*name).to_owned()), dkim: mode(record.adkim), spf: mode(record.aspf), boundary })
}

/// The names to ask, from the From domain up to its organisational domain.
fn names(from: &str) -> Vec<&str> {
    let end = organisation(from).unwrap_or(from);
    let mut names = vec![from];
    while let Some((_, parent)) = names[names.len() - 1].split_once('.') {
        if !crate::address::is_within(parent, end) {
            break;
        }
        names.push(parent);
    }
    // From a very deep name the walk jumps to the seven labels below the top.
    let deep = names.len().saturating_sub(NAMES_MAX);
    names.drain(1..=deep);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_organisation_may_align() {
        for (domain, from) in [
            ("example.org", "example.org"),
            ("mail.example.org", "example.org"),
            ("example.org", "a.b.example.org"),
            ("a.example.org", "b.example.org"),
            ("example.co.uk", "mail.example.co.uk"),
            ("someone.github.io", "x.someone.github.io"),
            ("nic.in", "nic.in"),
            ("xn--bcher-kva.example", "a.xn--bcher-kva.example"),
        ] {
            assert!(may_align(domain, from), "{domain} for {from}");
        }
        for (domain, from) in [
            ("co.uk", "example.co.uk"),
            ("example.co.uk", "other.co.uk"),
            ("github.io", "someone.github.io"),
            ("someone.github.io", "other.github.io"),
            ("someone.github.io", "github.io"),
            ("notexample.org", "example.org"),
            ("example.org.evil.net", "example.org"),
            ("org", "example.org"),
            ("", "example.org"),
            ("example.org", ""),
            ("", "org"),
        ] {
            assert!(!may_align(domain, from), "{domain} for {from}");
        }
    }

    #[test]
    fn strict_alignment_takes_the_same_name_only_and_a_boundary_holds() {
        let policy = Policy::default();
        assert!(policy.is_aligned("example.org", "a.example.org", Mode::Relaxed));
        assert!(!policy.is_aligned("example.org", "a.example.org", Mode::Strict));
        assert!(policy.is_aligned("a.example.org", "a.example.org", Mode::Strict));
        let apart = Policy { boundary: Some("a.example.org".into()), ..Policy::default() };
        assert!(apart.is_aligned("b.a.example.org", "a.example.org", Mode::Relaxed));
        assert!(!apart.is_aligned("example.org", "a.example.org", Mode::Relaxed));
    }

    #[test]
    fn the_walk_ends_at_the_organisation_and_asks_eight_names_at_most() {
        assert_eq!(names("a.b.example.org"), ["a.b.example.org", "b.example.org", "example.org"]);
        assert_eq!(names("example.org"), ["example.org"]);
        assert_eq!(names("co.uk"), ["co.uk"]);
        let deep = format!("{}example.org", "x.".repeat(30));
        let asked = names(&deep);
        assert_eq!((asked.len(), asked[0], asked[7]), (8, deep.as_str(), "example.org"));
    }
}
