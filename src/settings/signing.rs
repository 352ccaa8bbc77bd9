//! The keys that sign replies (DKIM): the part of the settings below `[signing]`.
//!
//! A key itself is never in the settings: they say where it lies. What the environment holds is read with the settings;
//! a file is read when the keys are opened, and only if nobody but its owner and group may read it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

use super::Redacted;
use crate::clock::UnixMillis;

/// Where systemd puts credentials (`LoadCredential=`), as it says in the environment.
const ENV_CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The keys that sign replies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningSettings {
    /// In any order: which of them signs is a matter of their domains, algorithms and days.
    pub keys: Vec<SigningKeySettings>,
}

/// One key, published at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.2.1).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeySettings {
    /// The domain of the From addresses that it signs for, and the signature's `d=`.
    pub domain: String,
    /// The signature's `s=`.
    pub selector: String,
    /// Where the private key lies.
    pub key: KeySource,
    /// From the beginning of this day (UTC) on it signs; before, it is only published. Else from now on.
    pub sign_from: Option<Day>,
    /// From the beginning of this day (UTC) on it does not sign any more; it stays published. Else for ever.
    pub sign_until: Option<Day>,
    #[serde(skip)]
    pub(super) material: Option<Result<KeyMaterial, String>>,
}

impl SigningKeySettings {
    /// The key's text, or its file.
    ///
    /// # Errors
    /// The environment variable that is missing.
    pub fn material(&self) -> Result<KeyMaterial, String> {
        self.material.clone().unwrap_or_else(|| self.key.resolve(|_| None))
    }
}

/// Where a private key lies: `file:PATH`, `env:NAME` or `credential:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A PEM file that only its owner and group may read.
    File(PathBuf),
    /// An environment variable that holds the PEM text.
    Env(String),
    /// A credential of the systemd unit (`LoadCredential=NAME:PATH`).
    Credential(String),
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => Ok(Self::Credential(name.to_owned())),
            // Not what was found: somebody may have put the key itself here.
            _ => Err(D::Error::custom("expected \"file:/ABSOLUTE/PATH\", \"env:NAME\" or \"credential:NAME\"")),
        }
    }
}

/// A private key as text, or the file to read it from.
#[derive(Clone, Debug)]
pub enum KeyMaterial {
    /// A file.
    File(PathBuf),
    /// The PEM text.
    Text(Redacted),
}

impl KeySource {
    /// What `env` says of the key.
    pub(super) fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<KeyMaterial, String> {
        match self {
            Self::File(path) => Ok(KeyMaterial::File(path.clone())),
            Self::Env(name) => {
                let text = env(name).ok_or_else(|| format!("the environment has no {name}"))?;
                Ok(KeyMaterial::Text(Redacted::new(text)))
            }
            Self::Credential(name) => {
                let dir = env(ENV_CREDENTIALS_DIRECTORY)
                    .ok_or_else(|| format!("no credential {name}: the systemd unit has no LoadCredential={name}:PATH"))?;
                Ok(KeyMaterial::File(Path::new(&dir).join(name)))
            }
        }
    }
}

/// A day, as `2026-12-01`. It begins at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(UnixMillis);

impl Day {
    /// When it begins.
    pub fn start(self) -> UnixMillis {
        self.0
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || D::Error::custom("expected a day without a time or quotes, as 2026-12-01");
        let value = toml::value::Datetime::deserialize(deserializer).map_err(|_| expected())?;
        let date = value.date.filter(|date| value.time.is_none() && date.year >= 1970).ok_or_else(expected)?;
        Ok(Self(UnixMillis(days_since_1970(date.year.into(), date.month.into(), date.day.into()) * 86_400_000)))
    }
}

/// Days of the Gregorian calendar, for years from 1970 on. March counts as the first month, so that a leap day is a year's last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_to_month = (153 * month + 2) / 5;
    365 * year + year / 4 - year / 100 + year / 400 + days_to_month + (day - 1) - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        for (day, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2026-11-21", 1_795_219_200),
            ("2100-03-01", 4_107_542_400),
        ] {
            #[derive(Deserialize)]
            struct Table {
                day: Day,
            }
            let table: Table = toml::from_str(&format!("day = {day}")).expect(day);
            assert_eq!(table.day.start(), UnixMillis(seconds * 1000), "{day}");
        }
    }
}
