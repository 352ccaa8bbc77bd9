//! Signs replies (DKIM, RFC 6376): the table of keys, and which of them sign for a From domain on a day.
//!
//! What is signed, and how it is written down, is in `header` and `field`; a key itself is in `key`. Bodies are not
//! read here: their hash was made when they were rendered. Who asks for a signature decides what goes out without one:
//! where no key signs for a domain there is none, and nothing fails.
//!
//! A key that cannot be used is an error when the table is opened, never when a reply is to be signed. Then only the
//! library could fail, without memory or on a processor that computes wrong; that is a panic, so that no reply goes out
//! unsigned which the world was told (DMARC) to refuse.

mod field;
mod header;
mod key;
mod name;

use std::{collections::HashMap, fmt};

use aws_lc_rs::digest;
use replyfleet::{
    clock::UnixMillis,
    settings::{Day, Settings, SigningKeySettings},
};

use self::{
    field::SignatureField,
    header::{SES_CHANGES, SignedHeader},
    key::{Algorithm, PrivateKey},
};

/// The keys of all From domains. Its `Debug` names them and shows no key.
pub struct Signer {
    /// By domain; in the order of the settings.
    keys: HashMap<String, Vec<Key>>,
}

/// One key and the days on which it signs.
struct Key {
    domain: String,
    selector: String,
    private: PrivateKey,
    record: String,
    sign_from: Option<UnixMillis>,
    sign_until: Option<UnixMillis>,
}

/// What has to be published of a key: a TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedKey<'s> {
    /// The From domain that it signs for, as A-labels in lower case.
    pub domain: &'s str,
    /// Its selector, in lower case.
    pub selector: &'s str,
    /// The record's text, not cut into strings.
    pub record: &'s str,
    /// When it begins to sign; else it always has.
    pub sign_from: Option<UnixMillis>,
    /// When it ends to sign; else it never does.
    pub sign_until: Option<UnixMillis>,
}

impl Signer {
    /// Reads the keys that the settings name.
    ///
    /// # Errors
    /// A sentence with `signing.keys`, domain and selector, where the key lies, what is wrong with it and what to do.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let mut signer = Self { keys: HashMap::new() };
        for entry in &settings.signing.keys {
            let added = Key::open(entry).and_then(|key| signer.add(key));
            added.map_err(|why| format!("signing.keys: domain {}, selector {}: {why}", entry.domain, entry.selector))?;
        }
        Ok(signer)
    }

    /// One more key, unless it contradicts those that are there.
    fn add(&mut self, key: Key) -> Result<(), String> {
        let keys = self.keys.entry(key.domain.clone()).or_default();
        if keys.iter().any(|other| other.selector == key.selector) {
            return Err("is there twice; give each key a selector of its own".into());
        }
        if let (Some(from), Some(until)) = (key.sign_from, key.sign_until)
            && until <= from
        {
            return Err("sign_until is not after sign_from; leave one of them out, or change it".into());
        }
        let begins_with = |other: &&Key| other.private.algorithm() == key.private.algorithm() && other.sign_from == key.sign_from;
        if let Some(other) = keys.iter().find(begins_with) {
            let algorithm = key.private.algorithm().name();
            return Err(format!("begins to sign with {algorithm} when selector {} does; give the newer of them a later sign_from", other.selector));
        }
        keys.push(key);
        Ok(())
    }

    /// Whether mail from this domain gets a signature now. `domain` is as A-labels in lower case.
    pub fn signs_for(&self, domain: &str, now: UnixMillis) -> bool {
        self.signing(domain, now).next().is_some()
    }

    /// The signatures of a reply, one for each algorithm of which there is a key now: whole header lines, each ended by
    /// CRLF, to be put in front of `head`. Empty if no key signs for the domain now.
    ///
    /// `from_domain` is From's, as A-labels in lower case; `head` are the header's whole lines, each ended by CRLF, without
    /// the empty line after them; `body_hash` is SHA-256 of the body in relaxed form (`bh=`, [`crate::compose::Body::hash`]).
    ///
    /// # Panics
    /// If the library cannot sign with a key that it took: see above.
    pub fn sign(&self, from_domain: &str, head: &[u8], body_hash: &[u8; 32], now: UnixMillis) -> Vec<u8> {
        self.sign_without(&[], from_domain, head, body_hash, now)
    }

    /// The same for a reply that Amazon SES sends. It replaces Message-ID and Date, and its manual says not to sign them.
    ///
    /// # Panics
    /// As [`Signer::sign`].
    pub fn sign_for_ses(&self, from_domain: &str, head: &[u8], body_hash: &[u8; 32], now: UnixMillis) -> Vec<u8> {
        self.sign_without(&SES_CHANGES, from_domain, head, body_hash, now)
    }

    fn sign_without(&self, unsigned: &[&str], from_domain: &str, head: &[u8], body_hash: &[u8; 32], now: UnixMillis) -> Vec<u8> {
        let mut signatures = Vec::new();
        let mut keys = self.signing(from_domain, now).peekable();
        if keys.peek().is_none() {
            return signatures;
        }
        // What the algorithms share: the fields in canonical form, and the hash of them as far as it goes.
        let header = SignedHeader::new(head, unsigned);
        let mut shared = digest::Context::new(&digest::SHA256);
        shared.update(&header.canonical);
        for key in keys {
            let field = SignatureField::new(key.private.algorithm(), &key.domain, &key.selector, now, &header.names, body_hash);
            let mut hash = shared.clone();
            hash.update(&field.canonical());
            // Unwrap: the key was tried when it was opened. What is left is no memory, or a processor that computes wrong.
            let signature = key.private.sign(&hash.finish()).expect("a key that was taken signs");
            signatures.extend_from_slice(&field.with(&signature));
        }
        signatures
    }

    /// What of the keys has to be published, also of those that do not sign yet or any more; sorted by domain.
    pub fn published(&self) -> impl Iterator<Item = PublishedKey<'_>> {
        let mut domains: Vec<_> = self.keys.iter().collect();
        domains.sort_unstable_by_key(|(domain, _)| *domain);
        domains.into_iter().flat_map(|(_, keys)| keys).map(|key| PublishedKey {
            domain: &key.domain,
            selector: &key.selector,
            record: &key.record,
            sign_from: key.sign_from,
            sign_until: key.sign_until,
        })
    }

    /// The keys that sign for a domain now: of each algorithm the one that began last.
    fn signing(&self, domain: &str, now: UnixMillis) -> impl Iterator<Item = &Key> {
        let keys = self.keys.get(domain).map_or(&[][..], Vec::as_slice);
        Algorithm::ALL.into_iter().filter_map(move |algorithm| {
            let signs = |key: &&Key| key.private.algorithm() == algorithm && key.signs(now);
            keys.iter().filter(signs).max_by_key(|key| key.sign_from)
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.published()).finish()
    }
}

impl Key {
    fn open(settings: &SigningKeySettings) -> Result<Self, String> {
        name::check(&settings.domain, &settings.selector)?;
        let private = PrivateKey::open(settings)?;
        Ok(Self {
            domain: settings.domain.clone(),
            selector: settings.selector.clone(),
            record: private.record(),
            private,
            sign_from: settings.sign_from.map(Day::start),
            sign_until: settings.sign_until.map(Day::start),
        })
    }

    fn signs(&self, now: UnixMillis) -> bool {
        self.sign_from.is_none_or(|from| from <= now) && self.sign_until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests;
