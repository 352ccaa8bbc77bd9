//! How replies leave: the part of the settings below `[send]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Count, Redacted, Seconds};

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
    Ses {
        /// The configuration set to send with.
        configuration_set: Option<String>,
    },
    /// An SMTP relay.
    Smtp(SmtpSettings),
    /// A Maildir: each reply becomes a file in it.
    Maildir {
        /// The Maildir, made where it is missing.
        dir: PathBuf,
    },
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
    /// How long sending one mail may take in all, connecting included.
    #[serde(default = "default_timeout")]
    pub timeout_s: Seconds<1, 600>,
    #[serde(skip)]
    pub(super) password: Option<Redacted>,
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
    /// STARTTLS with a verified certificate, or no mail (ports 25, 587).
    Starttls,
    /// TLS from the first byte with a verified certificate (port 465).
    Implicit,
}

impl SmtpSettings {
    /// What is wrong with its TLS.
    pub(super) fn fault(&self) -> Option<String> {
        let is_loopback = self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_bare = self.tls == SmtpTls::None && !is_loopback;
        is_bare.then(|| format!("\"none\" is for a relay on this machine; for {} set \"starttls\" or \"implicit\"", self.host))
    }
}

impl SendSettings {
    /// The senders that are set, by the word of their method.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &SenderSettings)> {
        [("SES", &self.ses), ("SMTP", &self.smtp)].into_iter().filter_map(|(method, sender)| Some((method, sender.as_ref()?)))
    }
}
