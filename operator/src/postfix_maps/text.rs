//! What stands in the maps, from the catalogue's addresses and the settings. Pure: no file, no clock.
//!
//! Postfix looks keys up in lower case and as the client spelt the domain, so a domain with a U-label is there in both
//! spellings. `recipient_delimiter` finds `get+tag@` by `get@`; no key has a tag.

use std::collections::{BTreeMap, BTreeSet};

use replyfleet::settings::Settings;
use replyfleet_worker::address::Address;

/// What each map begins with. No date and no version: the same addresses make the same text.
const HEAD: &str = "# Written by `replyfleet postfix-maps`, which overwrites what is changed here.\n";
/// What a key of `domains` and `addresses` comes to; Postfix asks only whether it is there.
const VALUE: &str = "ours";
/// Of each of our domains and of the machine itself (RFC 5321 §4.5.1, RFC 2142).
const FOR_POSTMASTER: [&str; 2] = ["postmaster", "abuse"];
/// To whom the machine's own programs write: names without a domain, which Postfix looks up for its own name.
const OF_THE_MACHINE: [&str; 3] = ["root", "postmaster", "abuse"];

/// The texts of the maps, ready for postmap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maps {
    /// For `virtual_mailbox_domains`.
    pub(super) domains: String,
    /// For `virtual_mailbox_maps`: what goes to the queue.
    pub(super) addresses: String,
    /// For `virtual_alias_maps`: what goes to people.
    pub(super) aliases: String,
    counts: [usize; 3],
}

impl Maps {
    /// The maps for these addresses of the catalogue, of which there is at least one.
    ///
    /// # Errors
    /// What in the settings contradicts the catalogue or cannot be a key, with the key of the settings and the remedy.
    pub(super) fn new<'a>(catalogue: impl Iterator<Item = &'a str>, settings: &Settings) -> Result<Self, String> {
        let mut ours = BTreeSet::new();
        for text in catalogue {
            ours.extend(spellings(&key("the catalogue", text)?));
        }
        if ours.is_empty() {
            return Err("the catalogue has no address".into());
        }
        let bounce = key("reply.bounce_address", &settings.reply.bounce_address)?;
        ours.extend(spellings(&bounce));
        let mut aliases = BTreeMap::new();
        for (from, to) in &settings.postfix.aliases {
            let name = format!("postfix.aliases, {from}");
            let address = key(&name, from)?;
            if ours.contains(&address.without_tag()) {
                return Err(format!("{name}: the catalogue answers this address, or it is reply.bounce_address; take it out of one of the two"));
            }
            if to.is_empty() {
                return Err(format!("{name}: nobody would get its mail; name somebody"));
            }
            let to = to.iter().map(|text| person(&name, text)).collect::<Result<Vec<_>, _>>()?.join(", ");
            aliases.extend(spellings(&address).into_iter().map(|key| (key, to.clone())));
        }
        let domains: BTreeSet<String> = ours.iter().chain(aliases.keys()).filter_map(|key| key.rsplit_once('@')).map(|(_, d)| d.to_owned()).collect();
        if let Some(postmaster) = &settings.postfix.postmaster {
            let to = person("postfix.postmaster", postmaster)?;
            for (name, domain) in domains.iter().flat_map(|domain| FOR_POSTMASTER.map(|name| (name, domain))) {
                let key = format!("{name}@{domain}");
                // Who answers it, or has given it to somebody, means that.
                if !ours.contains(&key) {
                    aliases.entry(key).or_insert_with(|| to.clone());
                }
            }
            aliases.extend(OF_THE_MACHINE.map(|name| (name.to_owned(), to.clone())));
        }
        let counts = [ours.len(), domains.len(), aliases.len()];
        let is_ours = |keys: &BTreeSet<String>| lines(keys.iter().map(|key| (key.as_str(), VALUE)));
        let of_people = lines(aliases.iter().map(|(key, to)| (key.as_str(), to.as_str())));
        let maps = Self { domains: is_ours(&domains), addresses: is_ours(&ours), aliases: of_people, counts };
        maps.refuse_circles(settings, &ours, &aliases, &domains)?;
        Ok(maps)
    }

    /// How many there are of each.
    pub(super) fn summary(&self) -> String {
        let [addresses, domains, aliases] = self.counts;
        format!("{addresses} addresses, {domains} domains, {aliases} aliases")
    }

    /// Mail for people that would come back to an alias, or to an address that nobody has.
    fn refuse_circles(
        &self,
        settings: &Settings,
        ours: &BTreeSet<String>,
        aliases: &BTreeMap<String, String>,
        domains: &BTreeSet<String>,
    ) -> Result<(), String> {
        let named = settings.postfix.aliases.iter().flat_map(|(from, to)| to.iter().map(move |to| (format!("postfix.aliases, {from}"), to)));
        let postmaster = settings.postfix.postmaster.iter().map(|to| ("postfix.postmaster".to_owned(), to));
        for (name, to) in named.chain(postmaster) {
            let Some(address) = Address::parse(to) else { continue };
            let to_ours = address.without_tag();
            if aliases.contains_key(&to_ours) {
                return Err(format!("{name}: {to} is an alias itself; name who gets its mail"));
            }
            if domains.contains(&address.ascii_domain()) && !ours.contains(&to_ours) {
                return Err(format!("{name}: nobody has {to}, which is at a domain of ours; name an address elsewhere"));
            }
        }
        Ok(())
    }
}

/// An address of ours as `name` has it.
fn key(name: &str, text: &str) -> Result<Address, String> {
    let address = Address::parse(text).filter(|address| address.local().is_ascii() && !address.local().contains('+'));
    let address = address.ok_or_else(|| format!("{name}: {text:?} must be an address local@domain, its local part in ASCII and without '+'"))?;
    // In the text of a map such a line is a comment, and no quoting makes it the key that Postfix looks up.
    if address.local().starts_with('#') {
        return Err(format!("{name}: Postfix's maps cannot hold {text}, which begins with '#'; take another address"));
    }
    Ok(address)
}

/// An address that mail goes on to.
fn person(name: &str, text: &str) -> Result<String, String> {
    let address = Address::parse(text).ok_or_else(|| format!("{name}: {text:?} must be an address local@domain"))?;
    Ok(address.for_transport())
}

/// The keys by which a client may name this address.
fn spellings(address: &Address) -> BTreeSet<String> {
    [address.without_tag(), address.without_tag_in_unicode()].into()
}

fn lines<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    entries.fold(HEAD.to_owned(), |text, (key, value)| text + key + " " + value + "\n")
}

#[cfg(test)]
mod tests;
