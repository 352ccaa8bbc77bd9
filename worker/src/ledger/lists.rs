//! The block, allow and suppression lists (rules 7 and 28): addresses and domains, as keyed hashes.
//!
//! The key is the secret alone, not the day's: an entry holds until it is removed or runs out. A list can be asked about an
//! address, and not be read out. An address is listed under its canonical form, and covers all spellings and +tags; a domain
//! covers its sub-domains.

use std::collections::BTreeSet;

use replyfleet::clock::UnixMillis;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, sea_query::OnConflict};

use super::{Ledger, LedgerError, entity::list, millis, retried};
use crate::address::Address;

/// The most labels of a domain on a list. Deeper sub-domains are found under their parents.
pub(super) const LABELS_MAX: usize = 10;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListKind {
    /// Gets no answer.
    Block,
    /// Rules 25 and 26 are not for it.
    Allow,
    /// Gets no answer: mail to it bounced, or its owner does not want any.
    Suppress,
}

impl ListKind {
    /// Every list.
    pub const ALL: [ListKind; 3] = [ListKind::Block, ListKind::Allow, ListKind::Suppress];

    /// The word for the command line and the database.
    pub fn word(self) -> &'static str {
        match self {
            ListKind::Block => "block",
            ListKind::Allow => "allow",
            ListKind::Suppress => "suppress",
        }
    }

    fn from_word(word: &str) -> Result<Self, LedgerError> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| LedgerError::Schema(format!("list {word:?}")))
    }
}

/// Why an entry is on its list: a word from a closed list, so that nothing of a requester can get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListReason {
    /// The operator put it there.
    Operator,
    /// Mail to it was refused for good.
    Bounce,
    /// Its owner called our mail spam.
    Complaint,
    /// Its owner asked for it.
    OptOut,
}

impl ListReason {
    /// The word for the database.
    pub fn word(self) -> &'static str {
        match self {
            ListReason::Operator => "operator",
            ListReason::Bounce => "bounce",
            ListReason::Complaint => "complaint",
            ListReason::OptOut => "opt_out",
        }
    }
}

/// What can be on a list.
#[derive(Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// An address.
    Address(Address),
    /// A domain with its sub-domains, as A-label in lower case.
    Domain(String),
}

/// The text is neither an address nor a domain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an address LOCAL@DOMAIN nor a domain of 2 to {LABELS_MAX} labels (without @ and *: sub-domains are covered)")]
pub struct ListEntryError;

impl ListEntry {
    /// Reads an address or a domain.
    ///
    /// # Errors
    /// [`ListEntryError`] for what could never match.
    pub fn parse(text: &str) -> Result<Self, ListEntryError> {
        let text = text.trim();
        if text.contains('@') {
            // A star is a letter like any other in a local part, and nobody's; who types one means a pattern.
            let address = Address::parse(text).filter(|address| !address.local().contains('*'));
            return address.map(Self::Address).ok_or(ListEntryError);
        }
        let domain = Address::parse(&format!("x@{text}")).ok_or(ListEntryError)?.ascii_domain();
        if domain.split('.').count() > LABELS_MAX { Err(ListEntryError) } else { Ok(Self::Domain(domain)) }
    }

    /// What is hashed. Only an address has an `@`.
    fn text(&self) -> String {
        match self {
            ListEntry::Address(address) => address.canonical(),
            ListEntry::Domain(domain) => domain.clone(),
        }
    }
}

/// What the lists say of a mail's senders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// One of them is on the block list.
    pub is_blocked: bool,
    /// One of them is on the suppression list.
    pub is_suppressed: bool,
    /// The first of them is on the allow list.
    pub is_allowed: bool,
}

/// All that an address can be listed under: itself, its domain, and the parents of that.
fn listable(address: &Address) -> BTreeSet<String> {
    let canonical = address.canonical();
    let mut texts = BTreeSet::new();
    // Gmail has two names, of which the canonical form has one.
    for domain in [address.ascii_domain(), canonical.rsplit('@').next().unwrap_or_default().to_owned()] {
        let labels: Vec<&str> = domain.split('.').collect();
        texts.extend((labels.len().saturating_sub(LABELS_MAX)..labels.len() - 1).map(|first| labels[first..].join(".")));
    }
    texts.insert(canonical);
    texts
}

impl Ledger {
    /// Asks the lists about a mail's senders: first the From address, then others such as MAIL FROM, which cannot allow.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn listed(&self, senders: &[&Address], now: UnixMillis) -> Result<Listed, LedgerError> {
        let hashes: Vec<BTreeSet<String>> =
            senders.iter().map(|sender| listable(sender).iter().map(|text| self.entry_hash(text)).collect()).collect();
        let is_in_force = Condition::any().add(list::Column::ExpiresMs.is_null()).add(list::Column::ExpiresMs.gt(millis(now)));
        let found = || list::Entity::find().filter(list::Column::Entry.is_in(hashes.iter().flatten())).filter(is_in_force.clone());
        let found = async || {
            let Some(transaction) = self.join_others().await? else { return Ok(found().all(&self.database).await?) };
            let rows = found().all(&*transaction).await?;
            match rows.is_empty() {
                true => transaction.leave(),
                false => transaction.commit().await?,
            }
            Ok(rows)
        };
        let mut listed = Listed::default();
        for row in retried(found).await? {
            match ListKind::from_word(&row.kind)? {
                ListKind::Block => listed.is_blocked = true,
                ListKind::Suppress => listed.is_suppressed = true,
                ListKind::Allow => listed.is_allowed |= hashes.first().is_some_and(|from| from.contains(&row.entry)),
            }
        }
        Ok(listed)
    }

    /// Puts an entry on a list, until `expires` if that is given. One that is there already is renewed.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn list_add(
        &self,
        kind: ListKind,
        entry: &ListEntry,
        reason: ListReason,
        expires: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        let row = list::ActiveModel {
            kind: Set(kind.word().to_owned()),
            entry: Set(self.entry_hash(&entry.text())),
            reason: Set(reason.word().to_owned()),
            created_ms: Set(millis(now)),
            expires_ms: Set(expires.map(millis)),
        };
        let replace = OnConflict::columns([list::Column::Kind, list::Column::Entry])
            .update_columns([list::Column::Reason, list::Column::CreatedMs, list::Column::ExpiresMs])
            .to_owned();
        let add = || list::Entity::insert(row.clone()).on_conflict(replace.clone()).exec_without_returning(&self.database);
        retried(async || Ok(add().await?)).await?;
        Ok(())
    }

    /// Takes an entry off a list; returns whether it was there.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn list_remove(&self, kind: ListKind, entry: &ListEntry) -> Result<bool, LedgerError> {
        let key = (kind.word().to_owned(), self.entry_hash(&entry.text()));
        let removed = retried(async || Ok(list::Entity::delete_by_id(key.clone()).exec(&self.database).await?)).await?;
        Ok(removed.rows_affected > 0)
    }

    /// How many entries each list has, in the order of [`ListKind::ALL`].
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn list_counts(&self, now: UnixMillis) -> Result<Vec<(ListKind, u64)>, LedgerError> {
        let is_in_force = Condition::any().add(list::Column::ExpiresMs.is_null()).add(list::Column::ExpiresMs.gt(millis(now)));
        let counts = || {
            let entries = list::Entity::find().select_only().column(list::Column::Kind).column_as(list::Column::Entry.count(), "entries");
            entries.filter(is_in_force.clone()).group_by(list::Column::Kind).into_tuple::<(String, i64)>().all(&self.database)
        };
        let counts = retried(async || Ok(counts().await?)).await?;
        let count = |kind: ListKind| counts.iter().find(|(word, _)| word == kind.word()).map_or(0, |(_, count)| count.unsigned_abs());
        Ok(ListKind::ALL.into_iter().map(|kind| (kind, count(kind))).collect())
    }

    /// The hash of a list's entry. The block list's and the allow list's are the same; only the kind tells them apart.
    pub(super) fn entry_hash(&self, text: &str) -> String {
        self.secret.hash("list", &[text])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_address_or_a_domain_and_else_refused_with_what_was_expected() {
        for (given, text) in [
            (" Some.One+x@GoogleMail.com ", "someone@gmail.com"),
            ("Example.ORG", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a.b.c.d.e.f.g.h.i.org", "a.b.c.d.e.f.g.h.i.org"),
        ] {
            assert_eq!(ListEntry::parse(given).expect(given).text(), text);
        }
        for bad in [
            "",
            "org",
            "*.example.org",
            "*@example.org",
            "a*@example.org",
            "@example.org",
            "a@",
            "a b@c.org",
            ".example.org",
            "0.a.b.c.d.e.f.g.h.i.org",
        ] {
            assert_eq!(ListEntry::parse(bad).err(), Some(ListEntryError), "{bad}");
        }
    }

    #[test]
    fn an_address_is_found_under_itself_its_domain_and_every_parent_that_can_be_listed() {
        let listable = |text: &str| listable(&Address::parse(text).expect(text)).into_iter().collect::<Vec<_>>();
        assert_eq!(listable("A+x@mail.example.org"), ["a@mail.example.org", "example.org", "mail.example.org"]);
        assert_eq!(listable("a.b@googlemail.com"), ["ab@gmail.com", "gmail.com", "googlemail.com"]);
        let deep = listable(&format!("a@{}example.org", "x.".repeat(100)));
        assert_eq!(deep.len(), 10, "nine domains and the address");
        assert!(deep.contains(&"example.org".to_owned()));
    }
}
