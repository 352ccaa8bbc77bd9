//! SPF (RFC 7208): may this client send for this domain?
//!
//! Our own evaluator: mail-auth 0.13 has no limit for void look-ups, takes the first of several records, and passes over
//! syntax errors, each of which can turn a permerror into a pass (docs/decisions/0010). [`record`] reads a record,
//! [`expand`] the macros in it; here are the look-ups and their limits. An explanation (exp=) is checked for syntax and
//! never fetched: nobody would read it.

mod expand;
mod record;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
};

use self::{
    expand::Names,
    record::{Directive, Mechanism, Record},
};
use super::dns::{Dns, Missing};

/// Terms that ask DNS, in one check (RFC 7208 §4.6.4).
const LOOKUPS_MAX: usize = 10;
/// Look-ups without an answer, in one check (§4.6.4).
const VOIDS_MAX: usize = 2;
/// Mail hosts of one `mx`, and names of one `ptr`, that are looked at (§4.6.4).
const HOSTS_MAX: usize = 10;

/// The result of a check (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// No record, or no domain to ask.
    None,
    /// The owner says nothing about this client.
    Neutral,
    /// The client may.
    Pass,
    /// The client may not.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// DNS did not say.
    TempError,
    /// The record cannot be used.
    PermError,
}

impl SpfResult {
    /// The word of RFC 8601 §2.7.2.
    pub fn word(self) -> &'static str {
        match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        }
    }
}

/// Who says what to our MX.
pub(super) struct Session<'f> {
    /// The client, an IPv4 address as such.
    pub(super) client: IpAddr,
    /// HELO or EHLO.
    pub(super) helo: &'f str,
    /// MAIL FROM without brackets.
    pub(super) mail_from: &'f str,
}

impl Session<'_> {
    /// The identity that is checked: the domain of MAIL FROM as A-label in lower case, else HELO (§2.4).
    pub(super) fn domain(&self) -> String {
        if self.mail_from.is_empty() { ascii(self.helo) } else { mail_from_domain(self.mail_from) }
    }
}

/// The domain of MAIL FROM as A-label in lower case; empty if it has none.
pub(super) fn mail_from_domain(mail_from: &str) -> String {
    ascii(mail_from.rsplit_once('@').map_or("", |(_, domain)| domain))
}

fn ascii(domain: &str) -> String {
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
}

/// The address of a client as the MX gave it; an IPv4 address that came in IPv6's clothes as what it is.
pub(super) fn client_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("ipv6:")).map_or(text, |prefix| &text[prefix.len()..]);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Checks a session.
pub(super) async fn check(dns: &Dns, session: &Session<'_>) -> SpfResult {
    let domain = session.domain();
    if !is_domain(&domain) {
        return SpfResult::None;
    }
    let local = session.mail_from.rsplit_once('@').map_or("", |(local, _)| local);
    let names = Names {
        local: if local.is_empty() { "postmaster" } else { local },
        sender_domain: domain.clone(),
        helo: session.helo,
        client: session.client,
    };
    let mut check = Check { dns, names, lookups: 0, voids: 0, client_names: None };
    match check.host(domain).await {
        Ok(result) => result,
        Err(Stop::Temporary) => SpfResult::TempError,
        Err(Stop::Permanent) => SpfResult::PermError,
    }
}

/// Whether `name` can be asked for (§4.3): two labels or more, none empty, none too long.
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(|label| (1..=63).contains(&label.len())) && !name.ends_with(']')
}

/// What ends a check at once.
enum Stop {
    Temporary,
    Permanent,
}

struct Check<'c> {
    dns: &'c Dns,
    names: Names<'c>,
    lookups: usize,
    voids: usize,
    /// The client's names that its own addresses confirm (§5.5), once they are asked for.
    client_names: Option<Vec<String>>,
}

type Step<'s, T> = Pin<Box<dyn Future<Output = Result<T, Stop>> + Send + 's>>;

impl<'c> Check<'c> {
    /// check_host() of §4; it calls itself for `include` and `redirect`, which the limit of look-ups bounds.
    fn host(&mut self, domain: String) -> Step<'_, SpfResult> {
        Box::pin(async move {
            let records = match self.dns.txt(&domain).await {
                Ok(records) => records,
                Err(Missing::Temporary) => return Err(Stop::Temporary),
                Err(_) => return Ok(SpfResult::None),
            };
            let mut records = records.iter().filter(|record| record::is_spf(record));
            let record = match (records.next(), records.next()) {
                (None, _) => return Ok(SpfResult::None),
                (Some(record), None) => Record::parse(record).ok_or(Stop::Permanent)?,
                _ => return Err(Stop::Permanent), // §4.5
            };
            for Directive { result, mechanism } in &record.directives {
                if self.matches(mechanism, &domain).await? {
                    return Ok(*result);
                }
            }
            let Some(target) = &record.redirect else { return Ok(SpfResult::Neutral) };
            self.count_lookup()?;
            let target = self.target(Some(target), &domain).await?;
            match if is_domain(&target) { self.host(target).await? } else { SpfResult::None } {
                SpfResult::None => Err(Stop::Permanent), // §6.1
                result => Ok(result),
            }
        })
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => Ok(matches!(self.names.client, IpAddr::V4(client) if is_in_ipv4(client, *network, *bits))),
            Mechanism::Ip6(network, bits) => Ok(matches!(self.names.client, IpAddr::V6(client) if is_in_ipv6(client, *network, *bits))),
            Mechanism::Include(target) => {
                self.count_lookup()?;
                let target = self.target(Some(target), domain).await?;
                if !is_domain(&target) {
                    return Err(Stop::Permanent);
                }
                match self.host(target).await? {
                    SpfResult::Pass => Ok(true),
                    SpfResult::None => Err(Stop::Permanent), // §5.2
                    _ => Ok(false),
                }
            }
            Mechanism::A { target, bits } => {
                self.count_lookup()?;
                let target = self.target(target.as_deref(), domain).await?;
                self.is_at(&target, *bits).await
            }
            Mechanism::Mx { target, bits } => {
                self.count_lookup()?;
                let target = self.target(target.as_deref(), domain).await?;
                let hosts = self.dns.mx(&target).await;
                let hosts = self.found(hosts)?;
                if hosts.len() > HOSTS_MAX {
                    return Err(Stop::Permanent);
                }
                for host in hosts {
                    if self.is_at(&host, *bits).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Ptr(target) => {
                self.count_lookup()?;
                let target = self.target(target.as_deref(), domain).await?.to_ascii_lowercase();
                Ok(self.client_names().await.iter().any(|name| crate::address::is_within(name, &target)))
            }
            Mechanism::Exists(target) => {
                self.count_lookup()?;
                let target = self.target(Some(target), domain).await?;
                // Always an A record, whatever the client's address (§5.7).
                let found = self.dns.ipv4(&target).await;
                Ok(!self.found(found)?.is_empty())
            }
        }
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX { Err(Stop::Permanent) } else { Ok(()) }
    }

    /// What was found, nothing being a void look-up.
    fn found<T>(&mut self, answer: Result<Vec<T>, Missing>) -> Result<Vec<T>, Stop> {
        match answer {
            Ok(found) => Ok(found),
            Err(Missing::Temporary) => Err(Stop::Temporary),
            Err(_) => {
                self.voids += 1;
                if self.voids > VOIDS_MAX { Err(Stop::Permanent) } else { Ok(Vec::new()) }
            }
        }
    }

    /// Whether the client is at one of a host's addresses, or in the network around one.
    async fn is_at(&mut self, host: &str, (bits4, bits6): (u8, u8)) -> Result<bool, Stop> {
        match self.names.client {
            IpAddr::V4(client) => {
                let found = self.dns.ipv4(host).await;
                Ok(self.found(found)?.into_iter().any(|address| is_in_ipv4(client, address, bits4)))
            }
            IpAddr::V6(client) => {
                let found = self.dns.ipv6(host).await;
                Ok(self.found(found)?.into_iter().any(|address| is_in_ipv6(client, address, bits6)))
            }
        }
    }

    /// A domain-spec with its macros expanded; without one, the current domain.
    async fn target(&mut self, spec: Option<&str>, domain: &str) -> Result<String, Stop> {
        let Some(spec) = spec else { return Ok(domain.to_owned()) };
        let client_name = if expand::asks_for_client_name(spec) { self.client_name(domain).await } else { String::new() };
        expand::expand(spec, &self.names, domain, &client_name).ok_or(Stop::Permanent)
    }

    /// %{p}: of the client's confirmed names the domain itself, else one below it, else any (§7.3).
    async fn client_name(&mut self, domain: &str) -> String {
        let domain = domain.to_ascii_lowercase();
        let names = self.client_names().await;
        let best = names.iter().find(|name| **name == domain).or_else(|| names.iter().find(|name| crate::address::is_within(name, &domain)));
        best.or(names.first()).map_or("unknown", String::as_str).to_owned()
    }

    async fn client_names(&mut self) -> &[String] {
        if self.client_names.is_none() {
            let mut confirmed = Vec::new();
            // Trouble here is never an error: the name is simply not confirmed (§5.5).
            for name in self.dns.ptr(self.names.client).await.unwrap_or_default().into_iter().take(HOSTS_MAX) {
                let is_confirmed = match self.names.client {
                    IpAddr::V4(client) => self.dns.ipv4(&name).await.is_ok_and(|addresses| addresses.contains(&client)),
                    IpAddr::V6(client) => self.dns.ipv6(&name).await.is_ok_and(|addresses| addresses.contains(&client)),
                };
                if is_confirmed {
                    confirmed.push(name);
                }
            }
            self.client_names = Some(confirmed);
        }
        self.client_names.as_deref().unwrap_or_default()
    }
}

fn is_in_ipv4(client: Ipv4Addr, network: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
    (u32::from(client) ^ u32::from(network)) & mask == 0
}

fn is_in_ipv6(client: Ipv6Addr, network: Ipv6Addr, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    (u128::from(client) ^ u128::from(network)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_address_is_read_as_the_mx_writes_it() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("IPv6:2001:db8::1", Some("2001:db8::1")),
            ("", None),
            ("unknown", None),
            ("192.0.2", None),
            ("ünkno", None),
        ] {
            assert_eq!(client_address(text), expected.map(|text| text.parse().expect("valid")), "{text}");
        }
    }

    #[test]
    fn networks_of_every_size_hold_what_they_should() {
        let (inside, outside): (Ipv4Addr, Ipv4Addr) = ("192.0.2.255".parse().expect("valid"), "192.0.3.0".parse().expect("valid"));
        let network = "192.0.2.0".parse().expect("valid");
        assert!(is_in_ipv4(inside, network, 24) && !is_in_ipv4(outside, network, 24));
        assert!(is_in_ipv4(outside, network, 0) && !is_in_ipv4(inside, network, 32));
        let (client, network) = ("2001:db8::1".parse().expect("valid"), "2001:db8::".parse().expect("valid"));
        assert!(is_in_ipv6(client, network, 64) && is_in_ipv6(client, network, 0) && !is_in_ipv6(client, network, 128));
    }

    #[test]
    fn the_identity_is_mail_from_or_helo_as_an_a_label() {
        let client = "192.0.2.1".parse().expect("valid");
        for (mail_from, expected) in
            [("a@Example.ORG", "example.org"), ("a@bücher.example", "xn--bcher-kva.example"), ("", "mail.example.net"), ("x", "")]
        {
            assert_eq!(Session { client, helo: "mail.example.net", mail_from }.domain(), expected);
        }
        for bad in ["", "localhost", "a..example.org", "[192.0.2.1]", ".example.org"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
