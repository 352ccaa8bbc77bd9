//! A private key that signs: read from its PEM text, and what is published of it.
//!
//! RSA (PKCS#1 or PKCS#8) and Ed25519 (PKCS#8, version 1 as OpenSSL writes it, or 2). Nothing of a key is ever said: not
//! in an error either, for what cannot be read may be a key with one wrong letter.

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::Path};

use aws_lc_rs::{
    digest::Digest,
    encoding::AsDer,
    error::Unspecified,
    rsa,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet::settings::{KeyMaterial, KeySource, SigningKeySettings};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

/// The most bits of an RSA key. Verifiers need not take longer ones (RFC 8301 §3.2), and one more bit costs all of them.
const RSA_BITS_MAX: usize = 4_096;
/// The longest file: a PEM key of [`RSA_BITS_MAX`] bits takes 3.3 KB.
const FILE_BYTES_MAX: u64 = 65_536;
/// How to make an RSA key.
const MAKE_RSA: &str = "make one: openssl genrsa -out KEY.pem 2048";

/// How a key signs (`a=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RFC 6376 §3.3.2, which every verifier knows.
    RsaSha256,
    /// RFC 8463.
    Ed25519Sha256,
}

impl Algorithm {
    /// In the order in which their signatures stand in a header.
    pub(super) const ALL: [Self; 2] = [Self::RsaSha256, Self::Ed25519Sha256];

    /// As `a=` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// A key that signs. It has no `Debug`.
pub(super) enum PrivateKey {
    /// Of 2048 to [`RSA_BITS_MAX`] bits.
    Rsa(rsa::KeyPair),
    /// Of 256.
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// Reads the key that the settings name.
    ///
    /// # Errors
    /// Where it lies, what is wrong with it, and what to do.
    pub(super) fn open(settings: &SigningKeySettings) -> Result<Self, String> {
        match settings.material() {
            Ok(KeyMaterial::File(path)) => {
                read_file(&path).and_then(|text| Self::from_pem(&text)).map_err(|why| format!("the key file {}: {why}", path.display()))
            }
            Ok(KeyMaterial::Text(text)) => Self::from_pem(text.expose()).map_err(|why| format!("the key {}: {why}", name_of(&settings.key))),
            Err(why) => Err(format!("the key {}: {why}", name_of(&settings.key))),
        }
    }

    /// Reads PEM text. Other sections than a private key are passed over.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        // The library's error would quote a line of the text.
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
            let is_encrypted = text.contains("ENCRYPTED");
            let remedy = if is_encrypted { "take its password away: openssl pkey -in KEY.pem -out KEY.pem" } else { MAKE_RSA };
            format!("holds no private key in PEM{}; {remedy}", if is_encrypted { " that is not encrypted" } else { "" })
        })?;
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.secret_pkcs8_der())
        {
            return Ok(Self::Ed25519(key));
        }
        let key = match &der {
            PrivateKeyDer::Pkcs1(pkcs1) => rsa::KeyPair::from_der(pkcs1.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(pkcs8) => rsa::KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()),
            _ => return Err(format!("is neither an RSA nor an Ed25519 key; {MAKE_RSA}")),
        };
        let unfit = |what| Err(format!("is {what}: 2048 bits at least (RFC 8301), {RSA_BITS_MAX} at most; {MAKE_RSA}"));
        match key {
            Ok(key) if key.public_modulus_len() * 8 > RSA_BITS_MAX => unfit("too long an RSA key"),
            Ok(key) => Ok(Self::Rsa(key)),
            Err(why) if why.to_string() == "TooSmall" => unfit("too short an RSA key"),
            Err(why) if why.to_string() == "TooLarge" => unfit("too long an RSA key"),
            Err(_) => Err(format!("is neither a sound RSA key nor an Ed25519 key; {MAKE_RSA}")),
        }
    }

    /// How it signs.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RsaSha256,
            Self::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// Its key record (RFC 6376 §3.6.1, RFC 8463 §4). RSA is published as the whole SubjectPublicKeyInfo (erratum 3017).
    pub(super) fn record(&self) -> String {
        match self {
            Self::Rsa(key) => {
                // Unwrap: a key that was read can be written.
                let public = key.public_key().as_der().expect("a public key in DER");
                format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(public.as_ref()))
            }
            Self::Ed25519(key) => format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(key.public_key().as_ref())),
        }
    }

    /// Signs SHA-256 of a canonical header: its digest with RSA, the digest itself as a message with Ed25519 (RFC 8463 §3).
    ///
    /// # Errors
    /// Without memory, or if the library sees that the result is wrong.
    pub(super) fn sign(&self, hash: &Digest) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&RSA_PKCS1_SHA256, hash, &mut signature).map(|()| signature)
            }
            Self::Ed25519(key) => key.try_sign(hash.as_ref()).map(|signature| signature.as_ref().to_vec()),
        }
    }
}

/// The text of a key file that only its owner and group may read.
fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    // Asked of the open file, so that it is the one that is read.
    let file = fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.permissions().mode() & 0o007 != 0 {
        return Err(format!("is open to every user of this machine; run: chmod o-rwx {}", path.display()));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn name_of(source: &KeySource) -> String {
    match source {
        KeySource::File(path) => format!("file:{}", path.display()),
        KeySource::Env(name) => format!("env:{name}"),
        KeySource::Credential(name) => format!("credential:{name}"),
    }
}
