//! How much is answered: the part of the settings below `[allowance]` and `[shedding]`.

use serde::Deserialize;

use super::{Count, Seconds};

/// How many answers there are to have (rules 25 to 28).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowanceSettings {
    /// Answered requests per sender within the window.
    pub answers_per_sender: Count<0, 1_000_000>,
    /// How many of them with attachments; the others get what the address has without.
    pub attachments_per_sender: Count<0, 1_000_000>,
    /// The window of a sender, which slides.
    pub window_s: Seconds<1, 2_678_400>,
    /// The window of the caps below, which slides in steps of a sixtieth.
    pub cap_window_s: Seconds<60, 86_400>,
    /// For all senders of one domain, but for [`AllowanceSettings::exempt_domains`].
    pub per_domain: Option<Cap>,
    /// For all mail from one client network (IPv4 /24, IPv6 /56), but for proven senders of exempt domains.
    pub per_network: Option<Cap>,
    /// For each address that answers.
    pub per_address: Option<Cap>,
    /// For the whole fleet.
    pub total: Option<Cap>,
    /// Domains (with their sub-domains) of so many people that the caps of domain and network are not for them. The ledger
    /// refuses to open with an entry that is no domain.
    pub exempt_domains: Vec<String>,
}

/// A cap: over `attachments` answers go without attachments, over `answers` there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// Answers of every kind.
    pub answers: Count<0, 1_000_000_000>,
    /// How many of them with attachments.
    pub attachments: Count<0, 1_000_000_000>,
}

impl Cap {
    const fn new(answers: usize, attachments: usize) -> Self {
        Self { answers: Count::new(answers), attachments: Count::new(attachments) }
    }
}

/// Providers of many people: their own limits stand before ours, and a surge comes through them.
const EXEMPT_DOMAINS: [&str; 27] = [
    "126.com",
    "163.com",
    "aol.com",
    "foxmail.com",
    "gmail.com",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mail.ru",
    "me.com",
    "msn.com",
    "naver.com",
    "outlook.com",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "rambler.ru",
    "sina.com",
    "web.de",
    "yahoo.com",
    "yandex.com",
    "yandex.ru",
    "yeah.net",
];

impl Default for AllowanceSettings {
    fn default() -> Self {
        Self {
            answers_per_sender: Count::new(3),
            attachments_per_sender: Count::new(2),
            window_s: Seconds::new(86_400),
            cap_window_s: Seconds::new(3_600),
            per_domain: Some(Cap::new(1_000, 300)),
            per_network: Some(Cap::new(1_000, 300)),
            per_address: None,
            total: None,
            exempt_domains: EXEMPT_DOMAINS.map(str::to_owned).to_vec(),
        }
    }
}

/// What is given up while the queue is long.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SheddingSettings {
    /// Once mail waits longer than this in the queue, answers go without attachments; nothing set: never. The operator's
    /// `replyfleet switch shedding` overrides it.
    pub attachments_after_s: Option<Seconds<1, 86_400>>,
}
