//! Values with a range or a form of their own, so that the TOML reader names the line of a wrong one.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// "line L, column C: " for a byte of `text`.
pub(super) fn place(text: &str, offset: usize) -> String {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("line {line}, column {}: ", before.len() - line_start + 1)
}

/// The key whose value stands at `offset`, if one stands before it on its line.
pub(super) fn key_before(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?;
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    let (key, _) = line.rsplit(['{', ',']).next()?.split_once('=')?;
    Some(key.trim())
}

/// "line L, column C: " for the value of a dotted key, or of the nearest table above it; nothing if there is none.
pub(super) fn line_of(text: &str, key: &str) -> String {
    let Ok(table) = toml::de::DeTable::parse(text) else { return String::new() };
    let mut found = String::new();
    let mut table = table.get_ref();
    for part in key.split('.') {
        let Some(value) = table.get(part) else { break };
        found = place(text, value.span().start);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

/// A number of seconds from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Seconds<MIN, MAX> {
    pub(super) const fn new(seconds: u64) -> Self {
        assert!(MIN <= seconds && seconds <= MAX, "a default within its own range");
        Self(seconds)
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Seconds<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(D::Error::custom(format!("{seconds}: expected seconds from {MIN} to {MAX}")))
        }
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: usize, const MAX: usize>(usize);

impl<const MIN: usize, const MAX: usize> Count<MIN, MAX> {
    pub(super) const fn new(count: usize) -> Self {
        assert!(MIN <= count && count <= MAX, "a default within its own range");
        Self(count)
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = usize::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&count) { Ok(Self(count)) } else { Err(D::Error::custom(format!("{count}: expected a number from {MIN} to {MAX}"))) }
    }
}

/// A text that no log may show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Redacted(String);

impl Redacted {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// Which queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueUrl {
    /// `spool:DIR`.
    Spool(PathBuf),
    /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; `http:` for an emulator.
    Sqs(String),
}

impl<'de> Deserialize<'de> for QueueUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        match url.strip_prefix("spool:") {
            Some(dir) => Ok(Self::Spool(dir.into())),
            None if url.starts_with("https://") || url.starts_with("http://") => Ok(Self::Sqs(url)),
            None => Err(D::Error::custom(format!("{url:?}: expected \"spool:DIR\" or the https URL of an SQS queue"))),
        }
    }
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `dir:DIR`.
    Dir(PathBuf),
    /// `s3:`.
    S3,
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        match url.strip_prefix("dir:") {
            Some(dir) => Ok(Self::Dir(dir.into())),
            None if url == "s3:" => Ok(Self::S3),
            None => Err(D::Error::custom(format!("{url:?}: expected \"dir:DIR\" or \"s3:\""))),
        }
    }
}
