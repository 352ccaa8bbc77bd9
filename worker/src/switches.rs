//! The operator's switches (rule 29): what they are called, what they may say, and what they come to for one request.
//!
//! ```text
//! all               on | off | hold         everything
//! attachments       on | off                off: answers go without them
//! address:LOCAL@DOMAIN   on | off | hold    mail to one address of ours
//! provider:DOMAIN   on | off | hold         mail from a domain and its sub-domains
//! shedding          auto | off | SECONDS    auto: as the settings say
//! ```
//! `off` ignores requests, `hold` leaves them in the queue. Where several switches are for a request, the strictest holds.
//! They are kept in the database ([`crate::ledger`]) and set with the operator's command. A word that is none of these is
//! refused with what was expected. Nothing here does I/O.

pub(crate) mod keeper;

use std::{collections::BTreeMap, time::Duration};

use replyfleet::keyed::sha256_hex;

use crate::address::{Address, is_within};

/// Characters of a version.
const VERSION_CHARS: usize = 16;
/// The longest queue age for shedding: a day, as in the settings.
const SHEDDING_S_MAX: u64 = 86_400;

/// Whether requests are answered. In the order of strictness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As usual.
    #[default]
    On,
    /// They wait in the queue.
    Hold,
    /// They are ignored.
    Off,
}

impl State {
    /// The word for the command line and the database.
    pub fn word(self) -> &'static str {
        match self {
            State::On => "on",
            State::Hold => "hold",
            State::Off => "off",
        }
    }

    fn parse(word: &str) -> Result<Self, SwitchError> {
        let states = [State::On, State::Hold, State::Off];
        states.into_iter().find(|state| state.word() == word).ok_or_else(|| SwitchError::Value(word.to_owned(), "on, off or hold"))
    }
}

/// What overrides `shedding.attachments_after_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shedding {
    /// Never.
    Off,
    /// Once mail waits longer than this in the queue.
    After(Duration),
}

/// One switch and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Everything.
    All(State),
    /// Whether answers have attachments.
    Attachments(bool),
    /// Mail to an address of ours, in the form of [`Address::without_tag`].
    Address(String, State),
    /// Mail from a domain, as A-label in lower case, and its sub-domains.
    Provider(String, State),
    /// Shedding by queue age; `None` leaves it to the settings.
    Shedding(Option<Shedding>),
}

/// Why a switch or its value cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// There is no such switch.
    #[error("no switch {0:?}; there are all, attachments, address:LOCAL@DOMAIN, provider:DOMAIN and shedding")]
    Name(String),
    /// It cannot be set to that.
    #[error("cannot be set to {0:?}; expected {1}")]
    Value(String, &'static str),
}

impl Setting {
    /// Reads a switch's name and value.
    ///
    /// # Errors
    /// [`SwitchError`] with what was expected.
    pub fn parse(name: &str, value: &str) -> Result<Self, SwitchError> {
        let unknown = || SwitchError::Name(name.to_owned());
        match name.split_once(':') {
            None if name == "all" => State::parse(value).map(Setting::All),
            None if name == "attachments" => match State::parse(value) {
                Ok(State::On) => Ok(Setting::Attachments(true)),
                Ok(State::Off) => Ok(Setting::Attachments(false)),
                _ => Err(SwitchError::Value(value.to_owned(), "on or off")),
            },
            None if name == "shedding" => Self::parse_shedding(value),
            Some(("address", address)) => {
                let address = Address::parse(address).ok_or_else(unknown)?;
                Ok(Setting::Address(address.without_tag(), State::parse(value)?))
            }
            Some(("provider", domain)) => {
                let domain = Address::parse(&format!("x@{domain}")).ok_or_else(unknown)?.ascii_domain();
                Ok(Setting::Provider(domain, State::parse(value)?))
            }
            _ => Err(unknown()),
        }
    }

    fn parse_shedding(value: &str) -> Result<Self, SwitchError> {
        let shedding = match value {
            "auto" => None,
            "off" => Some(Shedding::Off),
            seconds => match seconds.parse() {
                Ok(seconds @ 1..=SHEDDING_S_MAX) => Some(Shedding::After(Duration::from_secs(seconds))),
                _ => return Err(SwitchError::Value(value.to_owned(), "auto, off, or seconds from 1 to 86400")),
            },
        };
        Ok(Setting::Shedding(shedding))
    }

    /// The switch's name.
    pub fn name(&self) -> String {
        match self {
            Setting::All(_) => "all".into(),
            Setting::Attachments(_) => "attachments".into(),
            Setting::Address(address, _) => format!("address:{address}"),
            Setting::Provider(domain, _) => format!("provider:{domain}"),
            Setting::Shedding(_) => "shedding".into(),
        }
    }

    /// What it is set to.
    pub fn value(&self) -> String {
        match self {
            Setting::All(state) | Setting::Address(_, state) | Setting::Provider(_, state) => state.word().into(),
            Setting::Attachments(is_on) => if *is_on { "on" } else { "off" }.into(),
            Setting::Shedding(None) => "auto".into(),
            Setting::Shedding(Some(Shedding::Off)) => "off".into(),
            Setting::Shedding(Some(Shedding::After(age))) => age.as_secs().to_string(),
        }
    }

    /// Whether it is as if nobody had set it.
    pub fn is_default(&self) -> bool {
        match self {
            Setting::All(state) | Setting::Address(_, state) | Setting::Provider(_, state) => *state == State::On,
            Setting::Attachments(is_on) => *is_on,
            Setting::Shedding(shedding) => shedding.is_none(),
        }
    }
}

/// All switches, as they are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Everything.
    pub all: State,
    /// Whether answers have attachments.
    pub has_attachments: bool,
    /// By address of ours.
    pub addresses: BTreeMap<String, State>,
    /// By domain of the sender.
    pub providers: BTreeMap<String, State>,
    /// What overrides the settings' shedding.
    pub shedding: Option<Shedding>,
    /// Changes with every set. Two workers with the same version have the same switches.
    pub version: String,
}

impl Default for Switches {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Switches {
    /// The switches from what was set, and when in Unix milliseconds.
    pub fn new(set: &[(Setting, u64)]) -> Self {
        let mut switches = Self {
            all: State::On,
            has_attachments: true,
            addresses: BTreeMap::new(),
            providers: BTreeMap::new(),
            shedding: None,
            version: String::new(),
        };
        let mut lines: Vec<String> = set.iter().map(|(setting, set_ms)| format!("{}={}@{set_ms}", setting.name(), setting.value())).collect();
        lines.sort_unstable();
        switches.version = sha256_hex(lines.join("\n").as_bytes())[..VERSION_CHARS].to_owned();
        for (setting, _) in set {
            match setting.clone() {
                Setting::All(state) => switches.all = state,
                Setting::Attachments(is_on) => switches.has_attachments = is_on,
                Setting::Address(address, state) => drop(switches.addresses.insert(address, state)),
                Setting::Provider(domain, state) => drop(switches.providers.insert(domain, state)),
                Setting::Shedding(shedding) => switches.shedding = shedding,
            }
        }
        switches
    }

    /// What holds for requests to an address of ours, `all` apart.
    pub fn address(&self, responder: &Address) -> State {
        self.addresses.get(&responder.without_tag()).copied().unwrap_or_default()
    }

    /// What holds now for an answer to `domain`, whose `mail_hosts` are known unless DNS does not answer, to mail for
    /// `rcpt_to`: what is admitted can still be stopped. As long as DNS does not say whether a provider that is switched
    /// takes its mail, the answer waits.
    pub fn of_answer(&self, rcpt_to: &str, domain: &str, mail_hosts: Option<&[String]>) -> State {
        let address = Address::parse(rcpt_to).map(|address| self.address(&address)).unwrap_or_default();
        let provider = match mail_hosts {
            _ if self.providers.is_empty() => State::On,
            Some(hosts) => self.provider(domain, hosts),
            None => State::Hold,
        };
        self.all.max(address).max(provider)
    }

    /// What holds for the provider of a sender, known by the sender's domain (an A-label) or by the hosts that take its
    /// mail. The strictest holds.
    pub fn provider(&self, domain: &str, mail_hosts: &[String]) -> State {
        let is_of = |provider: &str| is_within(domain, provider) || mail_hosts.iter().any(|host| is_within(host, provider));
        self.providers.iter().filter(|(provider, _)| is_of(provider)).map(|(_, state)| *state).max().unwrap_or_default()
    }

    /// After which wait in the queue attachments are given up, if ever; `settings` is what the settings say.
    pub fn attachments_after(&self, settings: Option<Duration>) -> Option<Duration> {
        match self.shedding {
            None => settings,
            Some(Shedding::Off) => None,
            Some(Shedding::After(wait)) => Some(wait),
        }
    }

    /// Those that are not as if nobody had set them.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        let addresses = self.addresses.iter().map(|(address, state)| Setting::Address(address.clone(), *state));
        let providers = self.providers.iter().map(|(domain, state)| Setting::Provider(domain.clone(), *state));
        let whole = [Setting::All(self.all), Setting::Attachments(self.has_attachments), Setting::Shedding(self.shedding)];
        whole.into_iter().chain(addresses).chain(providers).filter(|setting| !setting.is_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Setting {
        Setting::parse(name, value).expect(name)
    }

    fn address(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[test]
    fn a_setting_is_read_as_it_was_written() {
        for (name, value) in [
            ("all", "on"),
            ("all", "hold"),
            ("attachments", "off"),
            ("address:get@example.com", "off"),
            ("provider:example.org", "hold"),
            ("shedding", "auto"),
            ("shedding", "off"),
            ("shedding", "600"),
        ] {
            let setting = set(name, value);
            assert_eq!((setting.name().as_str(), setting.value().as_str()), (name, value));
            assert_eq!(setting.is_default(), ["on", "auto"].contains(&value));
        }
        assert_eq!(set("address:Get+x@EXAMPLE.com", "on").name(), "address:get@example.com");
        assert_eq!(set("provider:Bücher.example", "off").name(), "provider:xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_switch_or_no_value_is_refused_with_what_was_expected() {
        for name in ["", "everything", "address", "address:", "address:nobody", "provider:", "provider:org", "provider:a@b.org", "all:x", "All"] {
            let error = Setting::parse(name, "on").expect_err(name).to_string();
            assert!(error.contains("there are all, attachments, address:"), "{error}");
        }
        for (name, value, expected) in [
            ("all", "of", "on, off or hold"),
            ("attachments", "hold", "on or off"),
            ("shedding", "0", "seconds from 1"),
            ("shedding", "86401", "to 86400"),
            ("shedding", "on", "auto, off"),
        ] {
            let error = Setting::parse(name, value).expect_err(value).to_string();
            assert!(error.contains(expected) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn the_strictest_switch_holds() {
        let switches = Switches::new(&[
            (set("address:get@example.com", "hold"), 1),
            (set("provider:example.org", "off"), 2),
            (set("provider:mail.example.org", "hold"), 3),
        ]);
        assert_eq!(switches.address(&address("Get+fa@example.com")), State::Hold);
        assert_eq!(switches.address(&address("other@example.com")), State::On);
        assert_eq!(switches.provider("mail.example.org", &[]), State::Off);
        assert_eq!(switches.provider("notexample.org", &[]), State::On);
        assert_eq!(switches.provider("customer.net", &["mx1.mail.example.org".into()]), State::Off, "its mail goes there");
    }

    #[test]
    fn what_is_set_is_told_and_overrides_the_settings() {
        let minute = Duration::from_secs(60);
        let switches = |value: &str| Switches::new(&[(set("all", "on"), 1), (set("shedding", value), 2)]);
        assert_eq!(switches("auto").attachments_after(Some(minute)), Some(minute));
        assert_eq!(switches("off").attachments_after(Some(minute)), None);
        assert_eq!(switches("600").attachments_after(None), Some(minute * 10));
        assert_eq!(switches("600").settings().collect::<Vec<_>>(), [set("shedding", "600")]);
        assert_eq!(Switches::default().settings().count(), 0);
    }

    #[test]
    fn a_version_changes_with_every_set_and_not_with_the_order_of_rows() {
        let (one, other) = ((set("all", "off"), 1), (set("shedding", "600"), 2));
        let version = |set: &[(Setting, u64)]| Switches::new(set).version;
        assert_eq!(version(&[one.clone(), other.clone()]), version(&[other.clone(), one.clone()]));
        assert_ne!(version(std::slice::from_ref(&one)), version(&[]));
        assert_ne!(version(&[(set("all", "off"), 2)]), version(&[one]));
    }
}
