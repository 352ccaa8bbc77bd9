//! DNS as authentication needs it: one resolver with one cache for all mails, bounded answers, and three kinds of "no".
//!
//! [`answer`] says what is kept of an answer, [`cache`] for how long, and [`silence`] whom not to ask for a while. Left to
//! others: what an answer means, and how long all questions for one mail may take together ([`within`]).
//! Whatever goes wrong ends in a [`Missing`], and what may be different later ends in [`Missing::Temporary`]: a server
//! that fails must never look like a name that does not exist.

mod answer;
mod cache;
mod silence;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::time::Instant;

use self::{
    answer::{Answer, host},
    cache::{Cache, Said},
    silence::{LEFT_ALONE, Silences, zone_of},
};

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
    cache: Cache,
    silences: Arc<Silences>,
    /// How long a server has for one try. What takes longer and fails was a silence.
    patience: Duration,
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
        // One try, and one more if the datagram was lost: two thirds of the time for all look-ups of a mail. What hickory
        // calls attempts are those after the first.
        let patience = timeout / 3;
        options.timeout = patience;
        options.attempts = 1;
        // Its cache is bounded in messages and keeps all that is in them, up to a megabyte each. Ours is in bytes.
        options.cache_size = 0;
        options.max_active_requests = QUESTIONS_AT_ONCE_MAX;
        // What mail is believed must not depend on a file of host names.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .with_tls_config(unused_tls()?)
            .build()
            .map_err(|error| format!("authentication.resolver: {error}"))?;
        Ok(Self { resolver, cache: Cache::new(cache_entries), silences: Arc::new(Silences::new(LEFT_ALONE)), patience })
    }

    /// The resolver itself, for what mail-auth wants to hold. Asking goes through the other methods.
    pub(crate) fn resolver(&self) -> TokioResolver {
        self.resolver.clone()
    }

    /// The TXT records of `name`, each with its strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    pub(crate) async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Missing> {
        self.ask(name, RecordType::TXT, |answer| if let Answer::Texts(texts) = answer { Some(texts) } else { None }).await
    }

    /// The IPv4 addresses of `name`.
    pub(crate) async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Missing> {
        self.ask(name, RecordType::A, |answer| if let Answer::Ipv4(addresses) = answer { Some(addresses) } else { None }).await
    }

    /// The IPv6 addresses of `name`.
    pub(crate) async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Missing> {
        self.ask(name, RecordType::AAAA, |answer| if let Answer::Ipv6(addresses) = answer { Some(addresses) } else { None }).await
    }

    /// The mail hosts of `name` in lower case without the last dot, by preference; a null MX (RFC 7505) is an empty name.
    pub(crate) async fn mx(&self, name: &str) -> Result<Vec<String>, Missing> {
        self.ask(name, RecordType::MX, hosts).await
    }

    /// The names that the owner of an address gives it, in lower case without the last dot.
    pub(crate) async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Missing> {
        self.ask(&host(&Name::from(address)), RecordType::PTR, hosts).await
    }

    /// Whether the server answers a question for the mail hosts of `name`, past the cache and whoever fell silent.
    pub(crate) async fn is_there(&self, name: &str) -> bool {
        let Some(full_name) = fqdn(name) else { return true }; // nothing can be asked
        match self.resolver.lookup(full_name, RecordType::MX).await {
            Ok(_) => true,
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError),
            Err(_) => false,
        }
    }

    /// What the cache knows, else what DNS says; `wanted` are the records that answers of this kind have.
    async fn ask<T: Clone>(&self, name: &str, kind: RecordType, wanted: fn(&Answer) -> Option<&Vec<T>>) -> Result<Vec<T>, Missing> {
        let key = (name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), kind);
        let said = match self.cache.get(&key) {
            Some(said) => said,
            None => {
                let (said, time_to_live) = self.look_up(&key.0, kind).await;
                self.cache.put(key, said, time_to_live)
            }
        };
        match &*said {
            Ok(answer) => wanted(answer).cloned().ok_or(Missing::Record),
            Err(missing) => Err(*missing),
        }
    }

    /// What DNS says, and for how long it says so.
    async fn look_up(&self, name: &str, kind: RecordType) -> (Said, Duration) {
        let Some(full_name) = fqdn(name) else { return (Err(Missing::Name), Duration::ZERO) };
        let zone = zone_of(name);
        if self.silences.is_silent(zone, Instant::now()) {
            return (Err(Missing::Temporary), Duration::ZERO);
        }
        let mut question = Question { dns: self, zone, asked: Instant::now(), is_over: false };
        let found = self.resolver.lookup(full_name, kind).await;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let (said, time_to_live) = match &found {
            Ok(found) => {
                let least = found.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
                (Answer::of(found, kind).ok_or(Missing::Record), seconds(least))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let missing = match none.response_code {
                    ResponseCode::NXDomain => Missing::Name,
                    ResponseCode::NoError => Missing::Record,
                    _ => Missing::Temporary,
                };
                (Err(missing), seconds(none.negative_ttl.unwrap_or_default()))
            }
            Err(_) => (Err(Missing::Temporary), Duration::ZERO),
        };
        if !said.as_ref().is_err_and(|missing| missing.is_temporary()) {
            question.is_over = true;
            self.silences.answered(zone);
        }
        (said, time_to_live)
    }
}

fn hosts(answer: &Answer) -> Option<&Vec<String>> {
    if let Answer::Hosts(hosts) = answer { Some(hosts) } else { None }
}

/// A question under way. If it ends without an answer and took too long, that was a silence: also where nobody waited
/// for its end, because the time for all look-ups of the mail was over.
struct Question<'q> {
    dns: &'q Dns,
    zone: &'q str,
    asked: Instant,
    is_over: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        if !self.is_over && now.duration_since(self.asked) >= self.dns.patience {
            self.dns.silences.timed_out(self.zone, now);
        }
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

#[cfg(test)]
mod tests;
