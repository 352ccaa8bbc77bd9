//! DNS as authentication needs it: one resolver with one cache for all mails, bounded answers, and three kinds of "no".
//!
//! Left to others: what an answer means, and how long all questions for one mail may take together ([`within`]).
//! Whatever goes wrong ends in a [`Missing`], and what may be different later ends in [`Missing::Temporary`]: a server
//! that fails must never look like a name that does not exist.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::time::Instant;

/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 100;
/// Bytes of a TXT record that are looked at; a longer one is passed over. An RSA key of 8192 bits takes 1.4 KB.
const TXT_BYTES_MAX: usize = 4 << 10;
/// For how long an answer is remembered at most, whatever its owner says: a revoked key must not live on for days.
const REMEMBER_MAX: Duration = Duration::from_secs(3_600);
/// For how long "there is none" is remembered where the answer does not say (no SOA).
const REMEMBER_NOTHING_MIN: Duration = Duration::from_secs(10);
/// Questions under way on one TCP connection to the server. hickory's own 32 is fewer than a busy worker has.
const QUESTIONS_AT_ONCE_MAX: usize = 4_096;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The name does not exist (NXDOMAIN), or cannot be a name.
    Name,
    /// The name exists and has no such record.
    Record,
    /// SERVFAIL, time-out, no server: perhaps later.
    Temporary,
}

impl Missing {
    /// Whether there may be an answer later.
    pub(crate) fn is_temporary(self) -> bool {
        self == Missing::Temporary
    }
}

/// A resolver with its cache. A clone shares both.
#[derive(Clone)]
pub(crate) struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Opens the resolver at `server`, else the system's.
    ///
    /// # Errors
    /// A sentence that names the place and the remedy.
    pub(crate) fn open(server: Option<SocketAddr>, cache_entries: usize, timeout: Duration) -> Result<Self, String> {
        let (config, mut options) = match server {
            Some(server) => (one_server(server), ResolverOpts::default()),
            None => read_system_conf()
                .map_err(|error| format!("authentication.resolver: not set, and the system's /etc/resolv.conf cannot be used: {error}"))?,
        };
        if config.name_servers().is_empty() {
            return Err("authentication.resolver: not set, and the system's /etc/resolv.conf names no server; name one".into());
        }
        // One try, and another if the datagram was lost, well within the time for all look-ups of a mail.
        options.timeout = timeout / 3;
        options.attempts = 2;
        options.cache_size = cache_entries as u64;
        options.positive_max_ttl = Some(REMEMBER_MAX);
        options.negative_max_ttl = Some(REMEMBER_MAX);
        options.negative_min_ttl = Some(REMEMBER_NOTHING_MIN);
        options.max_active_requests = QUESTIONS_AT_ONCE_MAX;
        // What mail is believed must not depend on a file of host names.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .with_tls_config(unused_tls()?)
            .build()
            .map_err(|error| format!("authentication.resolver: {error}"))?;
        Ok(Self { resolver })
    }

    /// The resolver itself, for what mail-auth wants to hold. Asking goes through the other methods.
    pub(crate) fn resolver(&self) -> TokioResolver {
        self.resolver.clone()
    }

    /// The TXT records of `name`, each with its strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    pub(crate) async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Missing> {
        let found = self.ask(name, RecordType::TXT).await?;
        let joined = records(&found, |data| match data {
            RData::TXT(txt) => Some(&txt.txt_data).filter(|parts| parts.iter().map(|part| part.len()).sum::<usize>() <= TXT_BYTES_MAX),
            _ => None,
        });
        some(joined.into_iter().map(|parts| parts.concat()).collect())
    }

    /// The IPv4 addresses of `name`.
    pub(crate) async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Missing> {
        let found = self.ask(name, RecordType::A).await?;
        some(records(&found, |data| if let RData::A(address) = data { Some(address.0) } else { None }))
    }

    /// The IPv6 addresses of `name`.
    pub(crate) async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Missing> {
        let found = self.ask(name, RecordType::AAAA).await?;
        some(records(&found, |data| if let RData::AAAA(address) = data { Some(address.0) } else { None }))
    }

    /// The mail hosts of `name` in lower case without the last dot, by preference; a null MX (RFC 7505) is an empty name.
    pub(crate) async fn mx(&self, name: &str) -> Result<Vec<String>, Missing> {
        let found = self.ask(name, RecordType::MX).await?;
        let mut hosts = records(&found, |data| if let RData::MX(mx) = data { Some((mx.preference, host(&mx.exchange))) } else { None });
        hosts.sort();
        some(hosts.into_iter().map(|(_, host)| host).collect())
    }

    /// The names that the owner of an address gives it, in lower case without the last dot.
    pub(crate) async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Missing> {
        let found = self.look_up(Name::from(address), RecordType::PTR).await?;
        some(records(&found, |data| if let RData::PTR(name) = data { Some(host(name)) } else { None }))
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Lookup, Missing> {
        self.look_up(fqdn(name).ok_or(Missing::Name)?, kind).await
    }

    async fn look_up(&self, name: Name, kind: RecordType) -> Result<Lookup, Missing> {
        self.resolver.lookup(name, kind).await.map_err(|error| match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Missing::Name,
                ResponseCode::NoError => Missing::Record,
                _ => Missing::Temporary,
            },
            _ => Missing::Temporary,
        })
    }
}

/// What `work` returns, or `None` at the deadline.
pub(crate) async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, work).await.ok()
}

fn one_server(server: SocketAddr) -> ResolverConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections)])
}

/// Questions go out over UDP and TCP only, but the resolver builds a TLS client at its start, with the system's trusted
/// roots unless it is given one: it would not start where there are none.
fn unused_tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// The name with any bytes in its labels (SPF macros put in what they like); `None` if it has an empty or too long label
/// or is too long as a whole.
fn fqdn(name: &str) -> Option<Name> {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A name as text, byte for byte: hickory's own form escapes what is unusual, and would then ask for the escapes.
fn host(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).to_lowercase()).collect();
    labels.join(".")
}

fn records<'l, T>(lookup: &'l Lookup, wanted: impl Fn(&'l RData) -> Option<T>) -> Vec<T> {
    // CNAMEs on the way stand among the answers, too.
    lookup.answers().iter().filter_map(|record| wanted(&record.data)).take(RECORDS_MAX).collect()
}

fn some<T>(found: Vec<T>) -> Result<Vec<T>, Missing> {
    if found.is_empty() { Err(Missing::Record) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_any_bytes_but_no_empty_and_no_overlong_label() {
        assert_eq!(fqdn("Mail.Example.org").map(|name| host(&name)).as_deref(), Some("mail.example.org"));
        assert_eq!(fqdn("example.org."), fqdn("example.org"));
        assert!(fqdn("sel._domainkey.example.org").is_some() && fqdn("a b%.example.org").is_some());
        for bad in ["", ".", "a..example.org", &format!("{}.org", "a".repeat(64)), &format!("{}org", "abc.".repeat(64))] {
            assert!(fqdn(bad).is_none(), "{bad}");
        }
    }
}
