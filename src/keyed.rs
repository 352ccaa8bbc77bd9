//! Keyed hashes: the only form in which anything about a requester leaves the mail itself.
//!
//! HMAC-SHA-256 under the installation's secret. Each use has a purpose word of its own, and the parts are
//! length-prefixed, so that no two inputs of different purpose or different split can give one hash.
//! The secret never reaches a log: its `Debug` says nothing, and it cannot be displayed.

use std::{fmt, path::Path};

use aws_lc_rs::{digest, hmac};

/// The fewest characters of a secret: 32 characters of base64 hold 192 bits.
pub const SECRET_CHARS_MIN: usize = 32;

/// The installation's secret key, shared by its enqueuers and workers.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Why a secret was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret key file {file}")]
    Unreadable {
        /// The file as the settings name it.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Other users of the machine could read it.
    #[error("the secret key file {file} is readable by every user of this machine; run: chmod o-rwx {file}")]
    WorldReadable {
        /// The file as the settings name it.
        file: String,
    },
    /// Too short to be a secret.
    #[error("the secret key has {chars} characters, at least {SECRET_CHARS_MIN} are needed; make one: openssl rand -base64 32")]
    TooShort {
        /// How many characters it has.
        chars: usize,
    },
}

impl Secret {
    /// Takes the secret's text; white space around it does not count.
    ///
    /// # Errors
    /// [`SecretError::TooShort`] below [`SECRET_CHARS_MIN`] characters.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars < SECRET_CHARS_MIN {
            return Err(SecretError::TooShort { chars });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
    }

    /// Reads the secret from a file that only its owner and group may read.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        use std::os::unix::fs::PermissionsExt;
        let file = path.display().to_string();
        let unreadable = |source| SecretError::Unreadable { file: file.clone(), source };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(SecretError::WorldReadable { file });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::from_text(&text)
    }

    /// The keyed hash of `parts` for one `purpose`, as 64 hexadecimal characters.
    pub fn hash(&self, purpose: &str, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(&purpose).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex(context.sign().as_ref())
    }
}

/// SHA-256 of `bytes`, as 64 hexadecimal characters.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough")
    }

    #[test]
    fn a_hash_depends_on_purpose_key_and_split() {
        let base = secret().hash("request", &["ab", "c"]);
        assert_eq!(base.len(), 64);
        assert_eq!(base, secret().hash("request", &["ab", "c"]));
        assert_ne!(base, secret().hash("request", &["a", "bc"]));
        assert_ne!(base, secret().hash("sender", &["ab", "c"]));
        let other = Secret::from_text("ffffffffffffffffffffffffffffffff").expect("long enough");
        assert_ne!(base, other.hash("request", &["ab", "c"]));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", secret()), "Secret(redacted)");
    }

    #[test]
    fn a_short_secret_is_refused_with_the_remedy() {
        let error = Secret::from_text("hunter2\n").expect_err("too short").to_string();
        assert!(error.contains("7 characters") && error.contains("openssl rand"), "{error}");
    }

    #[test]
    fn a_secret_that_everyone_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("secret.key");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(Secret::from_file(&path), Err(SecretError::WorldReadable { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        Secret::from_file(&path).expect("readable by owner and group only");
    }

    #[test]
    fn sha256_of_abc_is_the_published_value() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
