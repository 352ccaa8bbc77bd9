//! What is known of mail providers, and how fast replies may leave: data, because providers change it.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::Count;

/// A mail provider, known by the hosts that take mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// Its name in logs and metrics. An entry with the name of a built-in one takes its place.
    pub name: String,
    /// Domains of its mail hosts: a recipient is its customer if the first MX of his domain, or the domain itself, is
    /// one of them or below one.
    pub mx: Vec<String>,
    /// The largest mail that it takes, encoded and with its header, in bytes.
    pub message_bytes_max: Option<Count<1_024, 1_073_741_824>>,
    /// What becomes of file names: by the extension in lower case without its dot, the extension in its place. The empty
    /// text takes it away.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// How many replies the fleet sends it.
    pub rate: Option<Rate>,
}

impl ProviderSettings {
    /// The key of what could never match, and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let is_domain = |text: &str| {
            let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
            text.contains('.') && text.split('.').all(is_label)
        };
        if let Some(host) = self.mx.iter().find(|host| !is_domain(host)) {
            return Some(("mx", format!("{host:?} never matches: write a domain in lower case, as \"example.com\"")));
        }
        let is_extension = |text: &str| !text.is_empty() && !text.contains('.') && text.to_lowercase() == text;
        if let Some(from) = self.rename.keys().find(|from| !is_extension(from)) {
            return Some(("rename", format!("{from:?} never matches: write an extension in lower case and without its dot, as \"exe\"")));
        }
        let is_fit = |text: &str| !text.contains(|c: char| c.is_control() || matches!(c, '/' | '\\' | '"'));
        self.rename.values().find(|to| !is_fit(to)).map(|to| ("rename", format!("{to:?} cannot stand in a file name")))
    }
}

/// The providers that are known without settings.
///
/// Sizes are those of mail that they receive: Gmail 50 MB (since March 2017; what it sends may have 25), Exchange Online and
/// outlook.com 25 MB unless a tenant raises it, Yahoo 25 MB, iCloud 20 MB. Names: Google and Microsoft refuse `.exe` and `.apk` by
/// their extensions, Google inside archives too. Beside the mail hosts stand the largest domains, for where no DNS is asked.
pub(super) fn built_in() -> Vec<ProviderSettings> {
    let rename = || [("exe", ""), ("apk", "ap_")].map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    let provider = |name: &str, mx: &[&str], message_bytes_max, rename| ProviderSettings {
        name: name.to_owned(),
        mx: mx.iter().map(|&domain| domain.to_owned()).collect(),
        message_bytes_max: Some(Count::new(message_bytes_max)),
        rename,
        rate: None,
    };
    vec![
        provider("google", &["google.com", "googlemail.com", "gmail.com"], 50_000_000, rename()),
        provider("microsoft", &["protection.outlook.com", "outlook.com", "hotmail.com", "live.com", "msn.com"], 25_000_000, rename()),
        provider("yahoo", &["yahoodns.net", "yahoo.com"], 25_000_000, BTreeMap::new()),
        provider("apple", &["mail.icloud.com", "icloud.com", "me.com"], 20_000_000, BTreeMap::new()),
    ]
}

/// A rate of replies, as `100/s`, `3000/min`, `50000/h` or `1000000/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    replies: u32,
    per: Duration,
}

impl Rate {
    /// `replies` in each `per`, neither of them zero.
    pub const fn new(replies: u32, per: Duration) -> Self {
        Self { replies, per }
    }

    /// Replies in a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.replies) / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()).map_or("?", |(unit, _)| unit);
        write!(f, "{}/{unit}", self.replies)
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rate = text.split_once('/').and_then(|(replies, unit)| {
            let replies = replies.trim().parse().ok().filter(|&replies| replies > 0)?;
            let (_, seconds) = UNITS.iter().find(|(word, _)| *word == unit.trim())?;
            Some(Rate::new(replies, Duration::from_secs(*seconds)))
        });
        rate.ok_or_else(|| D::Error::custom(format!("{text:?}: expected a number of replies and a unit, as 100/s, 3000/min, 50000/h or 1000000/d")))
    }
}

/// How fast replies leave, besides each provider's own rate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateSettings {
    /// By the domain of From: what the whole fleet sends for it.
    pub domains: BTreeMap<String, Rate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        #[derive(Debug, Deserialize)]
        struct Table {
            rate: Rate,
        }
        for (text, per_second) in [("100/s", 100.0), ("3000/min", 50.0), ("1800 / h", 0.5), ("864/d", 0.01)] {
            let table: Table = toml::from_str(&format!("rate = {text:?}")).expect(text);
            assert!((table.rate.per_second() - per_second).abs() < 1e-9, "{text}");
        }
        for text in ["", "100", "0/s", "-1/s", "1.5/s", "100/w", "x/s", "99999999999/s"] {
            let error = toml::from_str::<Table>(&format!("rate = {text:?}")).expect_err(text).to_string();
            assert!(error.contains("as 100/s"), "{error}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused_with_the_right_spelling() {
        let fault = |entry: &str| {
            let text = format!("{}\n[[providers]]\nname = \"x\"\n{entry}\n", include_str!("../../docs/replyfleet.toml"));
            crate::settings::Settings::parse(&text, "test", |_| None).map(drop).expect_err(entry).to_string()
        };
        for (entry, wanted) in [
            ("mx = [\"Google.com\"]", "\"Google.com\" never matches"),
            ("mx = [\"*.google.com\"]", "write a domain in lower case"),
            ("mx = []\nrename = { \".exe\" = \"\" }", "\".exe\" never matches: write an extension in lower case and without its dot"),
            ("mx = []\nrename = { EXE = \"\" }", "\"EXE\" never matches"),
            ("mx = []\nrename = { exe = \"a/b\" }", "cannot stand in a file name"),
            ("mx = []\n[[providers]]\nname = \"x\"\nmx = []", "two entries are called \"x\""),
        ] {
            let text = fault(entry);
            assert!(text.contains(wanted), "{entry}: {text}");
        }
    }
}
