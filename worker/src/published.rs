//! What DNS says of a name now, for whoever compares it with what should be there (`replyfleet dns --check`).
//!
//! The same resolver as for authentication, under the same settings, with an empty cache. That a name or a record does
//! not exist is an answer, and an empty one; only who does not answer is an error.

use replyfleet::settings::AuthenticationSettings;

use crate::authenticate::dns::{Dns, Missing};

/// No name server answered: perhaps later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DNS does not answer")]
pub struct NoAnswer;

/// Asks for what is published.
pub struct Published(Dns);

impl Published {
    /// Opens the resolver of `authentication.resolver`, else the system's.
    ///
    /// # Errors
    /// A sentence with the settings' key.
    pub fn open(settings: &AuthenticationSettings) -> Result<Self, String> {
        crate::crypto::install();
        Dns::open(settings.resolver, settings.cache_entries.get(), settings.timeout_s.duration()).map(Self)
    }

    /// The TXT records of `name`, each with its strings joined. What is no UTF-8 is replaced.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        let texts = there_or_not(self.0.txt(name).await)?;
        Ok(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    /// The mail hosts of `name` in lower case without the last dot, the preferred one first. A null MX (RFC 7505) is an
    /// empty name.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn mx(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        there_or_not(self.0.mx(name).await)
    }
}

fn there_or_not<T>(answer: Result<Vec<T>, Missing>) -> Result<Vec<T>, NoAnswer> {
    match answer {
        Ok(records) => Ok(records),
        Err(Missing::Name | Missing::Record) => Ok(Vec::new()),
        Err(Missing::Temporary) => Err(NoAnswer),
    }
}
