//! Rule 5: which domains can take mail.

use replyfleet_tests::dns::{Dns, Fault};
use replyfleet_worker::authenticate::{DomainFault, MailHosts};

use crate::authenticator;

#[tokio::test]
async fn a_domain_takes_mail_at_its_mx_or_at_itself() {
    let dns = Dns::start(|zone| {
        zone.mx("example.org", 20, "B.example.net").mx("example.org", 10, "a.example.net");
        zone.address("v4.example.org", [192, 0, 2, 1]).address("v6.example.org", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        zone.cname("alias.example.org", "example.org").mx("mixed.example.org", 0, ".").mx("mixed.example.org", 5, "c.example.net");
    });
    let authenticator = authenticator(&dns);
    for (domain, hosts) in [
        ("example.org", vec!["a.example.net", "b.example.net"]),
        ("EXAMPLE.org", vec!["a.example.net", "b.example.net"]),
        ("alias.example.org", vec!["a.example.net", "b.example.net"]),
        ("v4.example.org", vec!["v4.example.org"]),
        ("v6.example.org", vec!["v6.example.org"]),
        ("mixed.example.org", vec!["c.example.net"]),
    ] {
        let hosts = hosts.into_iter().map(str::to_owned).collect();
        assert_eq!(authenticator.mail_hosts(domain).await, Ok(MailHosts { hosts }), "{domain}");
    }
}

#[tokio::test]
async fn a_domain_that_takes_none_says_why() {
    let dns = Dns::start(|zone| {
        zone.mx("null.example.org", 0, ".").txt("empty.example.org", "x");
        zone.mx("x.onion", 0, "a.example.net").mx("x.localhost", 0, "a.example.net").mx("1.in-addr.arpa", 0, "a.example.net");
        zone.mx("served.test", 0, "a.example.net");
    });
    let authenticator = authenticator(&dns);
    for (domain, seen) in [
        ("missing.example.org", "no such domain"),
        ("empty.example.org", "no MX and no address"),
        ("null.example.org", "null MX"),
        ("localhost", "single label"),
        ("x.localhost", "special-use domain"),
        ("x.onion", "special-use domain"),
        ("1.in-addr.arpa", "special-use domain"),
        ("missing.test", "special-use domain"),
        ("missing.internal", "special-use domain"),
        ("192.0.2.1", "address literal"),
        ("[192.0.2.1]", "address literal"),
    ] {
        assert_eq!(authenticator.mail_hosts(domain).await, Err(DomainFault::CannotTakeMail(seen)), "{domain}");
    }
    assert!(authenticator.mail_hosts("served.test").await.is_ok(), "what an installation serves is its own");
}

#[tokio::test]
async fn a_name_server_that_fails_condemns_nobody() {
    let dns = Dns::start(|zone| {
        zone.fault("failing.example.org", Fault::Failure).fault("silent.example.org", Fault::Silence);
        zone.txt("later.example.org", "x");
    });
    let authenticator = authenticator(&dns);
    for domain in ["failing.example.org", "silent.example.org"] {
        assert_eq!(authenticator.mail_hosts(domain).await, Err(DomainFault::Temporary), "{domain}");
    }
    dns.change(|zone| {
        zone.remove("failing.example.org").mx("failing.example.org", 1, "a.example.net");
    });
    assert!(authenticator.mail_hosts("failing.example.org").await.is_ok(), "a failure is not remembered");
}
