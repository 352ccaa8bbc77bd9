//! How replies leave: the part of the settings below `[send]`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{Count, Rate, Redacted, Seconds};

/// The senders by `send_method`. Each must be set that the catalogue uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SendSettings {
    /// What serves `"send_method": "SES"`.
    #[serde(rename = "SES")]
    pub ses: Option<SenderSettings>,
    /// What serves `"send_method": "SMTP"`.
    #[serde(rename = "SMTP")]
    pub smtp: Option<SenderSettings>,
}

/// One way for replies to leave.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SenderSettings {
    /// Amazon SES v2.
    Ses(SesSettings),
    /// An SMTP relay.
    Smtp(SmtpSettings),
    /// A Maildir: each reply becomes a file in it.
    Maildir {
        /// The Maildir, made where it is missing.
        dir: PathBuf,
        /// By which other sender its replies leave while this one is away.
        #[serde(default)]
        fallback: Option<SendMethodName>,
    },
}

/// A sender's name in the settings, as a catalogue's `send_method` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum SendMethodName {
    #[serde(rename = "SES")]
    Ses,
    #[serde(rename = "SMTP")]
    Smtp,
}

impl SendMethodName {
    /// The name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ses => "SES",
            Self::Smtp => "SMTP",
        }
    }
}

impl SenderSettings {
    /// By which other sender its replies leave while this one is away, if they may.
    pub fn fallback(&self) -> Option<SendMethodName> {
        match self {
            Self::Ses(ses) => ses.fallback,
            Self::Smtp(smtp) => smtp.fallback,
            Self::Maildir { fallback, .. } => *fallback,
        }
    }
}

/// Amazon SES v2.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SesSettings {
    /// The configuration set to send with.
    pub configuration_set: Option<String>,
    /// Tags of every mail, for the events that the configuration set publishes: name and value of at most 256 ASCII
    /// letters, digits, `_` and `-`.
    pub tags: BTreeMap<String, String>,
    /// Whether we sign too. SES signs by itself once DKIM is set up for the domain.
    pub sign: bool,
    /// What the whole fleet sends at most; else nine tenths of the account's MaxSendRate.
    pub rate: Option<Rate>,
    /// The largest mail, encoded and with its header, in bytes.
    pub message_bytes_max: Count<1_024, 1_073_741_824>,
    /// How long sending one mail may take in all.
    pub timeout_s: Seconds<1, 600>,
    /// By which other sender its replies leave while SES is away.
    pub fallback: Option<SendMethodName>,
}

impl Default for SesSettings {
    fn default() -> Self {
        // 40 MB: SES API v2, SendEmail, "Maximum message size (including attachments)".
        Self {
            configuration_set: None,
            tags: BTreeMap::new(),
            sign: false,
            rate: None,
            message_bytes_max: Count::new(40_000_000),
            timeout_s: Seconds::new(60),
            fallback: None,
        }
    }
}

/// An SMTP relay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// Its host name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// A PEM file with the only certificate authorities to trust; else the system's.
    pub trusted_roots_file: Option<PathBuf>,
    /// The user to authenticate as; the password comes from [`ENV_SMTP_PASSWORD`](super::ENV_SMTP_PASSWORD).
    pub user: Option<String>,
    /// How many connections at most.
    #[serde(default = "default_connections")]
    pub connections_max: Count<1, 1_000>,
    /// How long sending one mail may take in all, connecting included. Before, it may wait a quarter of that for one of the
    /// connections to be free.
    #[serde(default = "default_timeout")]
    pub timeout_s: Seconds<1, 600>,
    /// Whether we sign, with the keys of `[signing]`. `false` where the relay signs.
    #[serde(default = "yes")]
    pub sign: bool,
    /// What the whole fleet sends through it at most.
    pub rate: Option<Rate>,
    /// The largest mail, encoded and with its header, in bytes, where that is less than what it says itself (SIZE, RFC 1870).
    pub message_bytes_max: Option<Count<1_024, 1_073_741_824>>,
    /// By which other sender its replies leave while the relay is away.
    pub fallback: Option<SendMethodName>,
    /// Other ways, or none, for the recipients of some domains.
    #[serde(default)]
    pub routes: Vec<RouteSettings>,
    #[serde(skip)]
    pub(super) password: Option<Redacted>,
}

fn yes() -> bool {
    true
}

/// The way of mail to some domains.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Domains of recipients, each with its sub-domains. The route with the longest that fits is taken.
    pub domains: Vec<String>,
    /// How the connection is protected, or that there is none.
    pub tls: RouteTls,
    /// The host, as its certificate has it; else the sender's.
    pub host: Option<String>,
    /// The port; else the sender's.
    pub port: Option<u16>,
    /// A PEM file with the only certificate authorities to trust; else the sender's.
    pub trusted_roots_file: Option<PathBuf>,
}

/// How a route is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTls {
    /// As [`SmtpTls::None`].
    None,
    /// As [`SmtpTls::Encrypt`].
    Encrypt,
    /// As [`SmtpTls::Starttls`].
    Starttls,
    /// As [`SmtpTls::Implicit`].
    Implicit,
    /// No mail goes there: rather no answer than one that the network reads.
    Refuse,
}

impl RouteTls {
    /// The protection of a connection; `None` if there is to be none.
    pub fn of_connection(self) -> Option<SmtpTls> {
        match self {
            Self::None => Some(SmtpTls::None),
            Self::Encrypt => Some(SmtpTls::Encrypt),
            Self::Starttls => Some(SmtpTls::Starttls),
            Self::Implicit => Some(SmtpTls::Implicit),
            Self::Refuse => None,
        }
    }
}

impl SmtpSettings {
    /// The password, if the environment has one.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Redacted::expose)
    }
}

fn default_connections() -> Count<1, 1_000> {
    Count::new(8)
}
fn default_timeout() -> Seconds<1, 600> {
    Seconds::new(120)
}

/// How an SMTP connection is protected. There is no "if offered": a relay that stops offering TLS is an attack or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// In clear. For a relay on this machine only: the host must be a loopback address or `localhost`.
    None,
    /// STARTTLS, or no mail, but with any certificate: whoever stands between can read and change the mail. Only for a
    /// relay whose certificate cannot be verified, over a network that is yours.
    Encrypt,
    /// STARTTLS with a verified certificate, or no mail (ports 25, 587).
    Starttls,
    /// TLS from the first byte with a verified certificate (port 465).
    Implicit,
}

impl SmtpSettings {
    /// The key of what is wrong with its TLS, and what.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let is_bare = |host: &str, tls| {
            let is_loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
            tls == SmtpTls::None && !is_loopback
        };
        let text = |host: &str| format!("\"none\" is for a relay on this machine; for {host} set \"starttls\" or \"implicit\"");
        if is_bare(&self.host, self.tls) {
            return Some(("tls", text(&self.host)));
        }
        let routes = self.routes.iter().filter_map(|route| Some((route.host.as_ref().unwrap_or(&self.host), route.tls.of_connection()?)));
        let bare = routes.into_iter().find(|(host, tls)| is_bare(host, *tls));
        bare.map(|(host, _)| ("routes", text(host)))
    }
}

impl SendSettings {
    /// The senders that are set, by the word of their method.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &SenderSettings)> {
        [("SES", &self.ses), ("SMTP", &self.smtp)].into_iter().filter_map(|(method, sender)| Some((method, sender.as_ref()?)))
    }

    /// The key of what is wrong with a fallback, and what.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        self.each().find_map(|(method, sender)| {
            let other = sender.fallback()?.word();
            let text = match self.each().find(|(name, _)| *name == other) {
                Some(_) if other == method => "is the sender itself; name the other one",
                Some(_) => return None,
                None => "has no settings; set [send.SES] and [send.SMTP], or leave the fallback out",
            };
            Some((format!("send.{method}.fallback"), format!("{other} {text}")))
        })
    }
}
