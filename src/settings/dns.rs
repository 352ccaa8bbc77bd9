//! What `replyfleet dns` has to know besides the keys and the catalogue: the part of the settings below `[dns]`.

use serde::Deserialize;

/// The records that belong to the addresses that we serve.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSettings {
    /// The names of the MXs, the preferred one first.
    pub mx_hosts: Vec<String>,
    /// The terms of the SPF record between `v=spf1` and `-all`, as `include:amazonses.com` or `ip4:192.0.2.10`.
    pub spf: Vec<String>,
    /// What others do with mail that claims to be ours and is not (DMARC).
    pub dmarc_policy: DmarcPolicy,
    /// Where others send their reports (DMARC `rua`, TLS-RPT); an address.
    pub report_address: Option<String>,
    /// What others do that cannot reach our MXs by verified TLS (MTA-STS, RFC 8461).
    pub mta_sts: MtaStsMode,
}

/// `p=` of a DMARC record (RFC 7489 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DmarcPolicy {
    None,
    Quarantine,
    #[default]
    Reject,
}

impl DmarcPolicy {
    /// As the record says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// `mode:` of an MTA-STS policy (RFC 8461 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum MtaStsMode {
    None,
    Testing,
    #[default]
    Enforce,
}

impl MtaStsMode {
    /// As the policy says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Testing => "testing",
            Self::Enforce => "enforce",
        }
    }
}
