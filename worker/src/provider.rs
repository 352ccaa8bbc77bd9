//! Whose customer a recipient is: what his provider takes, and what it wants files to be called.

use std::collections::BTreeMap;

use replyfleet::settings::{ProviderSettings, Rate};

use crate::address::is_within;

/// The providers that are known.
pub struct Providers(Vec<ProviderSettings>);

impl Providers {
    /// Those of the settings.
    pub fn new(settings: &[ProviderSettings]) -> Self {
        Self(settings.to_vec())
    }

    /// The provider of a domain, an A-label in lower case, whose `mail_hosts` take its mail, the most preferred first: that
    /// host decides, or the domain itself. Where the list names a host twice, the longer name wins.
    pub fn of(&self, domain: &str, mail_hosts: &[String]) -> Option<&ProviderSettings> {
        let names = || mail_hosts.first().map(String::as_str).into_iter().chain([domain]);
        let fits = |suffix: &&String| names().any(|name| is_within(name, suffix));
        let longest = |provider: &ProviderSettings| provider.mx.iter().filter(fits).map(String::len).max();
        self.0.iter().filter_map(|provider| Some((longest(provider)?, provider))).max_by_key(|(length, _)| *length).map(|(_, provider)| provider)
    }

    /// The rates that providers have.
    pub fn rates(&self) -> impl Iterator<Item = (&str, Rate)> {
        self.0.iter().filter_map(|provider| Some((provider.name.as_str(), provider.rate?)))
    }
}

/// No renaming.
pub(crate) static AS_IT_IS: BTreeMap<String, String> = BTreeMap::new();

#[cfg(test)]
mod tests {
    use replyfleet::settings::Settings;

    use super::*;

    #[test]
    fn a_provider_is_known_by_its_first_mail_host_whatever_the_domain_is_called() {
        let own =
            "[[providers]]\nname = \"google\"\nmx = [\"google.com\"]\nrate = \"5/s\"\n[[providers]]\nname = \"part\"\nmx = [\"part.google.com\"]\n";
        let text = format!("{}\n{own}", include_str!("../../docs/replyfleet.toml"));
        let settings = Settings::parse(&text, "test", |_| None).expect("valid");
        let providers = Providers::new(&settings.providers);
        let of = |domain: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            providers.of(domain, &hosts).map(|provider| provider.name.clone())
        };
        assert_eq!(of("gmail.com", &["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"]).as_deref(), Some("google"));
        assert_eq!(of("a-school.example", &["aspmx.l.google.com"]).as_deref(), Some("google"));
        assert_eq!(of("x.example", &["mx.part.google.com"]).as_deref(), Some("part"));
        assert_eq!(of("contoso.example", &["contoso-example.mail.protection.outlook.com"]).as_deref(), Some("microsoft"));
        assert_eq!(of("example.org", &["mx.example.org", "backup.google.com"]), None, "a back-up is not where mail goes");
        assert_eq!(of("notgoogle.com", &["notgoogle.com"]), None);
        assert_eq!(of("google.com", &[]).as_deref(), Some("google"), "without DNS, by its name");
        assert_eq!(providers.rates().map(|(name, rate)| format!("{name} {rate}")).collect::<Vec<_>>(), ["google 5/s"]);
    }
}
