//! How senders are authenticated: the part of the settings below `[authentication]`.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{Count, Seconds};

/// How far the sender of a request is proven, and so what it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// No answer.
    None,
    /// Answers without attachments: links.
    Small,
    /// Everything that the address has.
    Full,
}

impl Trust {
    /// The word for logs, metrics, the catalogue and the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Trust::None => "none",
            Trust::Small => "small",
            Trust::Full => "full",
        }
    }
}

/// Sender authentication (rules 5 and 21 to 24).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthenticationSettings {
    /// Whether anything is checked at all.
    pub mode: AuthenticationMode,
    /// What mail gets that only SPF speaks for, aligned with From, at a domain without DMARC.
    pub spf_only: Trust,
    /// What mail gets for which nothing speaks. Anything but `none` lets forgers make us mail their victims.
    pub unproven: Trust,
    /// The DNS server; else the system's.
    pub resolver: Option<SocketAddr>,
    /// How long all look-ups for one mail may take together.
    pub timeout_s: Seconds<1, 60>,
    /// How many DNS answers are remembered.
    pub cache_entries: Count<0, 1_000_000>,
    /// Domains whose ARC seals are believed, if all seals of a mail are theirs.
    pub trusted_sealers: Vec<String>,
    /// The name under which our own MX writes Authentication-Results. It must remove those that arrive with this name.
    pub authserv_id: Option<String>,
}

/// Whether senders are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthenticationMode {
    /// SPF, DKIM, DMARC and, where sealers are trusted, ARC.
    #[default]
    On,
    /// Nothing is looked up; every mail is `unproven`. Said in the log at every start.
    Off,
}

impl Default for AuthenticationSettings {
    fn default() -> Self {
        Self {
            mode: AuthenticationMode::On,
            spf_only: Trust::Small,
            unproven: Trust::None,
            resolver: None,
            timeout_s: Seconds::new(5),
            cache_entries: Count::new(20_000),
            trusted_sealers: Vec::new(),
            authserv_id: None,
        }
    }
}
