//! The caps (rule 26): how much goes to one domain, one client network, out of one address of ours, and in all.
//!
//! Each cap has one row for each day and thing that it counts, with what went out in the slots of its window, a sixtieth of
//! it each. Every slot that reaches into the window counts in full, so that no window of that length ever sees more than
//! the cap. Whoever counts holds the row until its transaction ends: no two workers can take the last answer.
//!
//! These rows are shared by many senders. They are locked last in a transaction, and always in the order of
//! [`Class`] and of the days, so that nobody waits in a circle. A cap that is not set, or not for this sender, costs nothing.
//!
//! Domain and network are hashed under the day's key; around midnight the rows of both days are looked at.

use std::net::IpAddr;

use replyfleet::{
    clock::UnixMillis,
    settings::{AllowanceSettings, Cap, Trust},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, sea_query::OnConflict};

use super::{
    Application, Ledger, LedgerError, ListEntry,
    day_keys::{DayHashes, Days},
    entity::counter,
    millis,
};
use crate::address::is_within;

/// How many slots a window has.
const SLOTS: u64 = 60;

/// What a cap is for. The order is the order of locking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Domain,
    Network,
    Responder,
    Total,
}

impl Class {
    fn word(self) -> &'static str {
        match self {
            Class::Domain => "domain",
            Class::Network => "network",
            Class::Responder => "responder",
            Class::Total => "total",
        }
    }
}

/// A cap, and the rows that count for it: one for each day of its window.
pub(super) struct Limit {
    cap: Cap,
    rows: DayHashes,
}

/// What an answer would take.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// Attachments, as it is.
    pub(super) has_attachments: bool,
    /// Whether anything is left of it without them.
    pub(super) can_do_without: bool,
}

/// The client's network: IPv4 /24 or IPv6 /56; `None` if the address cannot be read.
fn network(client_address: &str) -> Option<String> {
    match client_address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Some(format!("{a}.{b}.{c}.0/24"))
        }
        IpAddr::V6(address) => Some(format!("{:x}/56", u128::from(address) >> 72)),
    }
}

/// The domains of `allowance.exempt_domains` as senders have them: as A-label in lower case.
///
/// # Errors
/// [`LedgerError::ExemptDomain`] with the first entry that is no domain, and so no sender's.
pub fn exempt_domains(allowance: &AllowanceSettings) -> Result<Vec<String>, LedgerError> {
    let domain = |entry: &String| match ListEntry::parse(entry) {
        Ok(ListEntry::Domain(domain)) => Ok(domain),
        Ok(ListEntry::Address(_)) | Err(_) => Err(LedgerError::ExemptDomain(entry.clone())),
    };
    allowance.exempt_domains.iter().map(domain).collect()
}

/// The caps that are set and for this sender, with what they count, in the order of locking.
fn caps_for(allowance: &AllowanceSettings, application: &Application<'_>) -> Vec<(Class, Cap, String)> {
    if application.is_allowed {
        return Vec::new();
    }
    let domain = application.sender.ascii_domain();
    let is_exempt = allowance.exempt_domains.iter().any(|exempt| is_within(&domain, exempt));
    let per_domain = allowance.per_domain.filter(|_| !is_exempt);
    // Whoever forges a From address at a large provider is in no large provider's network.
    let per_network = allowance.per_network.filter(|_| !(is_exempt && application.is_proven));
    let counted = [
        (Class::Domain, per_domain, Some(domain)),
        (Class::Network, per_network, network(application.client_address)),
        (Class::Responder, allowance.per_address, Some(application.responder.to_lowercase())),
        (Class::Total, allowance.total, Some(String::new())),
    ];
    counted.into_iter().filter_map(|(class, cap, counted)| Some((class, cap?, counted?))).collect()
}

impl Ledger {
    /// The limits that an answer to this application has to keep.
    pub(super) fn limits(&self, application: &Application<'_>, days: &Days, now: UnixMillis) -> Vec<Limit> {
        let since = now - self.allowance.cap_window_s.duration();
        let limit = |(class, cap, counted): (Class, Cap, String)| Limit { cap, rows: self.day_hashes("cap", days, since, &[class.word(), &counted]) };
        caps_for(&self.allowance, application).into_iter().map(limit).collect()
    }

    /// Takes what is wished from all limits, or as much as they leave: everything, an answer without attachments, or nothing.
    /// Only what is then given is counted.
    pub(super) async fn take(&self, transaction: &DatabaseTransaction, limits: &[Limit], wish: Wish, now: UnixMillis) -> Result<Trust, LedgerError> {
        if limits.is_empty() {
            return Ok(Trust::Full);
        }
        let window = Window::new(self.allowance.cap_window_s.duration().as_millis() as u64, now);
        let names = || limits.iter().flat_map(|limit| &limit.rows.all);
        let fresh = |name: &String, slots: String| counter::ActiveModel { name: Set(name.clone()), slots: Set(slots), touched_ms: Set(millis(now)) };
        // In one statement, which makes what is missing and locks all rows in the order in which they are given.
        let touch = OnConflict::column(counter::Column::Name).update_column(counter::Column::TouchedMs).to_owned();
        let rows = names().map(|name| fresh(name, String::new()));
        counter::Entity::insert_many(rows).on_conflict(touch).exec_without_returning(transaction).await?;
        let rows = counter::Entity::find().filter(counter::Column::Name.is_in(names())).all(transaction).await?;
        let slots_of = |name: &String| {
            let row = rows.iter().find(|row| row.name == *name).ok_or_else(|| LedgerError::Schema("a counter that was made is not there".into()))?;
            Slots::read(&row.slots)
        };

        let mut ceiling = Trust::Full;
        let mut written = Vec::new();
        for limit in limits {
            let rows = limit.rows.all.iter().map(slots_of).collect::<Result<Vec<_>, _>>()?;
            let (answers, attachments) = rows.iter().map(|slots| slots.within(&window)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            if answers >= limit.cap.answers.get() as u64 {
                ceiling = Trust::None;
            } else if wish.has_attachments && attachments >= limit.cap.attachments.get() as u64 {
                ceiling = ceiling.min(Trust::Small);
            }
            written.extend(limit.rows.all.iter().zip(rows).find(|(name, _)| **name == limit.rows.todays));
        }
        if ceiling == Trust::Small && !wish.can_do_without {
            ceiling = Trust::None;
        }
        if ceiling == Trust::None {
            return Ok(ceiling);
        }
        let has_attachments = wish.has_attachments && ceiling == Trust::Full;
        let rows = written.into_iter().map(|(name, mut slots)| {
            slots.count(&window, has_attachments);
            fresh(name, slots.write())
        });
        let replace = OnConflict::column(counter::Column::Name).update_column(counter::Column::Slots).to_owned();
        counter::Entity::insert_many(rows).on_conflict(replace).exec_without_returning(transaction).await?;
        Ok(ceiling)
    }
}

/// The slots that count at a time.
struct Window {
    /// When the slot of now began.
    slot: u64,
    /// Slots that began later than this reach into the window.
    after: Option<u64>,
}

impl Window {
    fn new(window_ms: u64, now: UnixMillis) -> Self {
        let width = window_ms / SLOTS;
        Self { slot: now.0 / width * width, after: now.0.checked_sub(window_ms + width) }
    }

    fn holds(&self, slot: u64) -> bool {
        self.after.is_none_or(|after| slot > after)
    }
}

/// What was counted, as (begin of the slot in milliseconds, answers, those with attachments).
struct Slots(Vec<(u64, u64, u64)>);

impl Slots {
    /// Reads `BEGIN:ANSWERS:ATTACHMENTS`, separated by spaces.
    fn read(text: &str) -> Result<Self, LedgerError> {
        let slot = |slot: &str| {
            let mut numbers = slot.split(':').map(|number| number.parse().ok());
            let read = (numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some(read)
        };
        let slots = text.split_whitespace().map(slot).collect::<Option<_>>();
        slots.map(Self).ok_or_else(|| LedgerError::Schema("a counter's slots cannot be read".into()))
    }

    fn write(&self) -> String {
        self.0.iter().map(|(begin, answers, attachments)| format!("{begin}:{answers}:{attachments}")).collect::<Vec<_>>().join(" ")
    }

    /// Answers, and those with attachments.
    fn within(&self, window: &Window) -> (u64, u64) {
        let counted = self.0.iter().filter(|(begin, ..)| window.holds(*begin));
        counted.fold((0, 0), |sum, (_, answers, attachments)| (sum.0 + answers, sum.1 + attachments))
    }

    /// Counts one answer, and drops what is too old.
    fn count(&mut self, window: &Window, has_attachments: bool) {
        self.0.retain(|(begin, ..)| window.holds(*begin));
        let attachments = u64::from(has_attachments);
        match self.0.iter_mut().find(|(begin, ..)| *begin == window.slot) {
            Some(slot) => *slot = (slot.0, slot.1 + 1, slot.2 + attachments),
            None => self.0.push((window.slot, 1, attachments)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_24_or_a_56_and_nothing_else() {
        for (same, as_this) in [
            ("192.0.2.1", "192.0.2.254"),
            ("::ffff:192.0.2.9", "192.0.2.1"),
            ("2001:db8:1:2200::1", "2001:db8:1:22ff:ffff::2"),
            ("2001:DB8::1", "2001:db8::2"),
        ] {
            assert_eq!(network(same).expect(same), network(as_this).expect(as_this));
        }
        for (one, other) in [("192.0.2.1", "192.0.3.1"), ("2001:db8:1:2200::1", "2001:db8:1:2300::1")] {
            assert_ne!(network(one).expect(one), network(other).expect(other));
        }
        for none in ["", "unknown", "192.0.2", "local"] {
            assert_eq!(network(none), None);
        }
    }

    #[test]
    fn no_window_ever_sees_more_than_was_counted_within_it() {
        // One answer each second, looked at from every second: what counts is the window, and at most one slot more.
        let (window_ms, width) = (60_000, 1_000);
        let mut slots = Slots(Vec::new());
        for second in 0..200_u64 {
            let window = Window::new(window_ms, UnixMillis(second * width));
            slots.count(&window, second % 2 == 0);
            let (answers, attachments) = slots.within(&window);
            assert_eq!(answers, (second + 1).min(61), "at second {second}");
            assert!(attachments.abs_diff(answers / 2) <= 1);
            assert!(slots.0.len() <= 61);
        }
    }

    #[test]
    fn slots_are_read_as_they_were_written_and_nothing_else_is() {
        let text = "1790000000000:3:1 1790000060000:1:0";
        assert_eq!(Slots::read(text).expect("written so").write(), text);
        assert_eq!(Slots::read("").expect("empty").write(), "");
        for bad in ["1:2", "1:2:3:4", "x:1:1", "1:-1:0"] {
            assert!(Slots::read(bad).is_err(), "{bad}");
        }
    }
}
