//! The keys of the days: what is kept of a requester is hashed under the key of the (UTC) day, besides the secret.
//!
//! A day's key is made by whoever needs it first, and deleted once no window reaches back to that day ([`super::forget`]).
//! From then on nobody, not even with the secret, can tell that a row of that day and one of another are of one sender.
//! A window that spans several days adds up what is found under each day's key.
//!
//! **Clocks differ.** Around midnight two workers may be on different days. Within [`CLOCKS_DIFFER`] of it, whoever comes
//! first makes the keys of both days, so that all workers count under the same keys. Each writes under its own day's.
//!
//! If the database cannot be asked for the keys, nothing is counted and nothing is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::Duration,
};

use replyfleet::{clock::UnixMillis, keyed::hex};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, Select, sea_query::OnConflict};

use super::{Ledger, LedgerError, entity::day_key, random, retried};

/// The most by which the clocks of two workers may differ without a sender or a cap getting more than it should.
pub(super) const CLOCKS_DIFFER: Duration = Duration::from_secs(3_600);
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The keys that this process has seen, by day; `None` for a day that has none and never will.
pub(super) type KnownDays = BTreeMap<i64, Option<String>>;

/// A day's key.
#[derive(Clone)]
struct DayKey {
    day: i64,
    key: String,
}

/// The keys under which a request is looked for, and the one under which it is written.
pub(super) struct Days {
    /// Oldest first.
    keys: Vec<DayKey>,
    /// One of them.
    today: DayKey,
}

/// One thing's hashes under the keys of several days.
pub(super) struct DayHashes {
    /// Under all of them, oldest day first: what is counted.
    pub(super) all: Vec<String>,
    /// Under today's: what is written.
    pub(super) todays: String,
}

/// What becomes of a day that should have a key and has none.
#[derive(Clone, Copy)]
pub(super) enum Missing {
    /// A key is made, for all workers.
    Make,
    /// Nothing can have been counted under it, so that a random one in memory does as well.
    Imagine,
}

/// The days that matter at a time.
struct Span {
    /// The first that a window reaches back to.
    first: i64,
    /// The first that a worker may still be on and whose writings reach into a window. It and all later ones have a key.
    keyed: i64,
    today: i64,
    /// The last that a worker may be on already.
    last: i64,
}

impl Span {
    fn new(now: UnixMillis, window: Duration) -> Self {
        let back = |duration| day_of(now - duration);
        Self { first: back(window), keyed: back(window.min(CLOCKS_DIFFER)), today: day_of(now), last: day_of(now + CLOCKS_DIFFER) }
    }

    fn days(&self, keys: Vec<DayKey>) -> Result<Days, LedgerError> {
        let today = keys.iter().find(|day| day.day == self.today).cloned();
        let today = today.ok_or_else(|| LedgerError::Schema("a day's key that was made is not there".into()))?;
        Ok(Days { keys, today })
    }
}

/// The day of a time, counted from 1970.
pub(super) fn day_of(time: UnixMillis) -> i64 {
    i64::try_from(time.0 / DAY_MS).unwrap_or(i64::MAX)
}

impl From<day_key::Model> for DayKey {
    fn from(row: day_key::Model) -> Self {
        Self { day: row.day, key: row.key }
    }
}

impl Ledger {
    /// The keys that matter at `now`.
    pub(super) async fn days(&self, now: UnixMillis, missing: Missing) -> Result<Days, LedgerError> {
        let span = Span::new(now, self.longest_window());
        match self.known_keys(&span) {
            Some(keys) => span.days(keys),
            None => retried(|| self.read_keys(&span, missing)).await.and_then(|keys| span.days(keys)),
        }
    }

    /// The keys as they are in memory, if nothing is missing.
    fn known_keys(&self, span: &Span) -> Option<Vec<DayKey>> {
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|&day, _| day >= span.first);
        let mut keys = Vec::new();
        for day in span.first..=span.last {
            keys.extend(known.get(&day)?.clone().map(|key| DayKey { day, key }));
        }
        Some(keys)
    }

    async fn read_keys(&self, span: &Span, missing: Missing) -> Result<Vec<DayKey>, LedgerError> {
        let read = || in_order().filter(day_key::Column::Day.between(span.first, span.last)).all(&self.database);
        let mut rows = read().await?;
        let mut imagined = Vec::new();
        let lacking: Vec<i64> = (span.keyed..=span.last).filter(|day| rows.iter().all(|row| row.day != *day)).collect();
        for &day in &lacking {
            let key = hex(&random::<32>()?);
            match missing {
                Missing::Imagine => imagined.push(DayKey { day, key }),
                Missing::Make => {
                    // Another worker may be faster: then its key stands.
                    let keep = OnConflict::column(day_key::Column::Day).do_nothing_on([day_key::Column::Day]).to_owned();
                    let row = day_key::ActiveModel { day: Set(day), key: Set(key) };
                    day_key::Entity::insert(row).on_conflict(keep).try_insert().exec_without_returning(&self.database).await?;
                }
            }
        }
        if !lacking.is_empty() && imagined.is_empty() {
            rows = read().await?;
        }
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(rows.iter().map(|row| (row.day, Some(row.key.clone()))));
        for day in span.first..span.keyed {
            known.entry(day).or_insert(None);
        }
        // Those imagined may be out of order, which harms nobody: their rows are no other transaction's.
        Ok(rows.into_iter().map(DayKey::from).chain(imagined).collect())
    }

    /// The hashes of `parts` under the keys of the days from `since` on.
    pub(super) fn day_hashes(&self, purpose: &str, days: &Days, since: UnixMillis, parts: &[&str]) -> DayHashes {
        let first = day_of(since);
        let counted = days.keys.iter().filter(|day| day.day >= first);
        DayHashes { all: counted.map(|day| self.day_hash(purpose, day, parts)).collect(), todays: self.day_hash(purpose, &days.today, parts) }
    }

    /// The hashes of `parts` under today's key and, if another worker may be on the next day already, under that day's. Of two
    /// workers whose clocks differ by no more than [`CLOCKS_DIFFER`], the one behind has both: they share one.
    pub(super) fn shared_hashes(&self, purpose: &str, days: &Days, parts: &[&str]) -> BTreeSet<String> {
        days.keys.iter().filter(|day| day.day >= days.today.day).map(|day| self.day_hash(purpose, day, parts)).collect()
    }

    /// The hashes of `parts` under every key that is left, however old.
    pub(super) async fn hashes_of_all_days(&self, purpose: &str, parts: &[&str]) -> Result<Vec<String>, LedgerError> {
        let keys = retried(async || Ok(in_order().all(&self.database).await?)).await?;
        Ok(keys.into_iter().map(|row| self.day_hash(purpose, &row.into(), parts)).collect())
    }

    fn day_hash(&self, purpose: &str, day: &DayKey, parts: &[&str]) -> String {
        let parts: Vec<&str> = std::iter::once(day.key.as_str()).chain(parts.iter().copied()).collect();
        self.secret.hash(purpose, &parts)
    }

    /// Forgets the keys of the days before `first`, here and in the database.
    pub(super) async fn delete_day_keys(&self, first: i64) -> Result<(), LedgerError> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).retain(|&day, _| day >= first);
        day_key::Entity::delete_many().filter(day_key::Column::Day.lt(first)).exec(&self.database).await?;
        Ok(())
    }
}

fn in_order() -> Select<day_key::Entity> {
    day_key::Entity::find().order_by_asc(day_key::Column::Day)
}
