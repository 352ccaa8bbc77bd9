//! A public key as a signer publishes it in DNS (RFC 6376 §3.6.1), and what is wrong with it.
//!
//! mail-auth keeps the key and forgets most of the rest (h=, s=, an unknown v=); it is read here.

use mail_auth::{
    Txt,
    common::{crypto::Algorithm, parse::TxtRecordParser, verify::DomainKey},
    dkim::Signature,
};

use super::super::{dns::Missing, tags::Tags};

/// The smallest RSA key that proves anything (RFC 8301 §3.2).
const RSA_BITS_MIN: usize = 1_024;
/// What k= may say (RFC 6376 §3.6.1, RFC 8463 §4).
const KEY_TYPES: [&str; 2] = ["rsa", "ed25519"];

/// What was found under a selector.
pub(in crate::authenticate) enum Found {
    /// A key.
    Key(Key),
    /// None that can be used, and why.
    No(&'static str),
    /// DNS did not say.
    Temporary,
}

/// A key and what its record says about it.
pub(in crate::authenticate) struct Key {
    key: DomainKey,
    kind: String,
    /// h=: the hashes that may be used with it.
    hashes: Option<Vec<String>>,
    /// s=: what it may sign.
    services: Option<Vec<String>>,
    /// t=s: i= must be at d= itself.
    is_exact: bool,
}

/// Reads what DNS had to say; `None` stands for a time-out.
pub(in crate::authenticate) fn read(records: Option<Result<Vec<Vec<u8>>, Missing>>) -> Found {
    let records = match records {
        Some(Ok(records)) => records,
        None | Some(Err(Missing::Temporary)) => return Found::Temporary,
        Some(Err(_)) => return Found::No("there is no key under this selector"),
    };
    // Several are undefined (RFC 6376 §3.6.2.2). The first that is a key is taken, as most verifiers do.
    let mut fault = "there is no key under this selector";
    for record in &records {
        match one(record) {
            Ok(key) => return Found::Key(key),
            Err(why) => fault = why,
        }
    }
    Found::No(fault)
}

fn one(record: &[u8]) -> Result<Key, &'static str> {
    let tags = Tags::parse(record).ok_or("its key record is malformed")?;
    if tags.get("v").is_some_and(|version| version != "DKIM1") {
        return Err("its key record is of another version");
    }
    let kind = tags.get("k").unwrap_or("rsa").to_ascii_lowercase();
    if !KEY_TYPES.contains(&kind.as_str()) {
        return Err("its key is of a kind that is not known");
    }
    if tags.get("p").ok_or("its key record has no key")?.is_empty() {
        return Err("its key is revoked");
    }
    let key = DomainKey::parse(record).map_err(|_| "its key cannot be read")?;
    if kind == "rsa" && key.p.public_key_bits() < RSA_BITS_MIN {
        return Err("its RSA key is under 1024 bits");
    }
    // t=y (testing) is passed over: RFC 6376 wants such mail treated as unsigned, but many leave it on for ever, and the
    // key proves its owner no less.
    let is_exact = tags.parts("t").is_some_and(|flags| flags.iter().any(|flag| flag == "s"));
    Ok(Key { key, kind, hashes: tags.parts("h"), services: tags.parts("s"), is_exact })
}

impl Key {
    /// Why this key cannot speak for a signature whose i= is at `identity`.
    pub(in crate::authenticate) fn fault(&self, signature: &Signature, identity: Option<&str>) -> Option<&'static str> {
        if self.is_exact && identity.is_some_and(|identity| identity != signature.d) {
            return Some("the key is for d= itself (t=s), and i= is below it");
        }
        self.mismatch(signature.a)
    }

    /// Why this key cannot be used with an algorithm, or for mail.
    pub(in crate::authenticate) fn mismatch(&self, algorithm: Algorithm) -> Option<&'static str> {
        let kind = if algorithm == Algorithm::Ed25519Sha256 { "ed25519" } else { "rsa" };
        if self.kind != kind {
            return Some("the key is of another kind than a= says");
        }
        if self.hashes.as_ref().is_some_and(|hashes| !hashes.iter().any(|hash| hash == "sha256")) {
            return Some("the key is not for sha256 (h=)");
        }
        if self.services.as_ref().is_some_and(|services| !services.iter().any(|service| service == "email" || service == "*")) {
            return Some("the key is not for mail (s=)");
        }
        None
    }

    /// In the form in which mail-auth looks it up.
    pub(in crate::authenticate) fn into_txt(self) -> Txt {
        Txt::from(self.key)
    }
}
