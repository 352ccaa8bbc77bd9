//! What is measured, and where it goes: the part of the settings below `[metrics]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::value::Seconds;

/// The longest name of a namespace (CloudWatch's limit).
const NAMESPACE_CHARS_MAX: usize = 255;

/// What is measured, and where it goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Whether metrics are published to CloudWatch; else they are if the queue is on SQS.
    pub cloudwatch: Option<bool>,
    /// CloudWatch's namespace.
    pub namespace: Namespace,
    /// How often is published.
    pub period_s: Period,
    /// The name of the Auto Scaling group, the dimension of every metric; else `termination.group`, else the instance's tag
    /// `aws:autoscaling:groupName`, which its metadata must show.
    pub auto_scaling_group: Option<String>,
    /// Whether this machine's use of memory and disk is published too.
    pub host: bool,
    /// How often the queue is asked how full it is.
    pub sample_s: Seconds<1, 60>,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            cloudwatch: None,
            namespace: Namespace("replyfleet".into()),
            // The recommended policy looks each ten seconds (docs/scaling.md).
            period_s: Period(10),
            auto_scaling_group: None,
            host: false,
            sample_s: Seconds::new(10),
        }
    }
}

/// A namespace that CloudWatch takes: 1 to 255 letters, digits and `.-_/#:`, not `:` first, and none of AWS's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_valid = (1..=NAMESPACE_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte))
            && !name.starts_with(':')
            && !name.starts_with("AWS/");
        if is_valid {
            Ok(Self(name))
        } else {
            Err(D::Error::custom(format!("{name:?}: expected 1 to 255 letters, digits and .-_/#: that begin neither with : nor with AWS/")))
        }
    }
}

/// A period that CloudWatch has: 1, 5, 10, 30 or 60 seconds. Below 60 metrics are stored with high resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(u64);

impl Period {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            seconds @ (1 | 5 | 10 | 30 | 60) => Ok(Self(seconds)),
            other => Err(D::Error::custom(format!("{other}: expected 1, 5, 10, 30 or 60 seconds"))),
        }
    }
}
