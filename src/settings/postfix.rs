//! What `replyfleet postfix-maps` has to know besides the catalogue: the part of the settings below `[postfix]`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Mail to our domains that people get, and not the queue.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostfixSettings {
    /// Who gets the mail to postmaster@ and abuse@ of each of our domains (RFC 5321 §4.5.1, RFC 2142 §4 and §5), and that of the
    /// machine itself; an address.
    pub postmaster: Option<String>,
    /// More addresses of ours, each with those who get its mail.
    pub aliases: BTreeMap<String, Vec<String>>,
}
