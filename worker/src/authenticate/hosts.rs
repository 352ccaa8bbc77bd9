//! Rule 5: whether a domain can take mail at all, and by which hosts.
//!
//! Only DNS is asked; no connection is made. SERVFAIL and time-outs are [`DomainFault::Temporary`].

use super::dns::{Dns, Missing};

/// The hosts that take mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailHosts {
    /// Names in lower case, without a last dot, the most preferred first. Without MX records: the domain itself (RFC 5321
    /// §5.1, "implicit MX").
    pub hosts: Vec<String>,
}

/// Why no mail can be sent to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainFault {
    /// It takes no mail. The words, from a closed list, say what was seen.
    CannotTakeMail(&'static str),
    /// DNS did not say: perhaps later.
    Temporary,
}

/// Top-level names that never reach DNS, or never mean a mail domain, wherever the question is asked: loopback (RFC 6761
/// §6.3), Tor (RFC 7686), the name that must not exist (RFC 6761 §6.4), the reverse tree (RFC 3172), other name systems
/// (RFC 9476).
const NEVER_MAIL: [&str; 5] = ["localhost", "onion", "invalid", "arpa", "alt"];
/// Top-level names that the public DNS will never have (RFC 6761, RFC 6762, and those that ICANN set aside for inner use). Where a resolver answers for one, that is the installation's own network, and its mail: a company's
/// `internal`, a demonstration's `example`. So they are asked for, and named only when there is no answer.
const NEVER_PUBLIC: [&str; 9] = ["test", "example", "local", "internal", "home", "corp", "mail", "lan", "intranet"];

/// The hosts for `domain`, given as A-label.
pub(super) async fn mail_hosts(dns: &Dns, domain: &str) -> Result<MailHosts, DomainFault> {
    let domain = domain.to_ascii_lowercase();
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    let Some((_, top)) = domain.rsplit_once('.') else {
        return Err(DomainFault::CannotTakeMail("single label"));
    };
    if domain.starts_with('[') || top.is_empty() || top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DomainFault::CannotTakeMail("address literal"));
    }
    if NEVER_MAIL.contains(&top) {
        return Err(DomainFault::CannotTakeMail("special-use domain"));
    }
    let nothing = |seen| DomainFault::CannotTakeMail(if NEVER_PUBLIC.contains(&top) { "special-use domain" } else { seen });
    match dns.mx(domain).await {
        Ok(mut hosts) => {
            hosts.retain(|host| !host.is_empty());
            if hosts.is_empty() { Err(DomainFault::CannotTakeMail("null MX")) } else { Ok(MailHosts { hosts }) }
        }
        Err(Missing::Temporary) => Err(DomainFault::Temporary),
        Err(Missing::Name) => Err(nothing("no such domain")),
        Err(Missing::Record) => {
            let (ipv4, ipv6) = tokio::join!(dns.ipv4(domain), dns.ipv6(domain));
            match (ipv4.err(), ipv6.err()) {
                (None, _) | (_, None) => Ok(MailHosts { hosts: vec![domain.to_owned()] }),
                (Some(ipv4), Some(ipv6)) if ipv4.is_temporary() || ipv6.is_temporary() => Err(DomainFault::Temporary),
                _ => Err(nothing("no MX and no address")),
            }
        }
    }
}
