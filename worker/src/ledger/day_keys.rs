//! The keys of the days: what is kept of a requester is hashed under the key of the (UTC) day, besides the secret.
//!
//! A day's key is made by whoever needs it first, and deleted once no window reaches back to that day ([`super::forget`]).
//! From then on nobody, not even with the secret, can tell that a row of that day and one of another are of one sender.
//! A window that spans several days adds up what is found under each day's key.
//!
//! If the database cannot be asked for the keys, nothing is counted and nothing is sent.

use std::{collections::BTreeMap, sync::PoisonError};

use aws_lc_rs::rand;
use replyfleet::{clock::UnixMillis, keyed::hex};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict};

use super::{Ledger, LedgerError, entity::day_key, retried};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The keys that this process has seen, by day; `None` for a day that has none and never will.
pub(super) type KnownDays = BTreeMap<i64, Option<String>>;

/// A day's key.
#[derive(Clone)]
pub(super) struct DayKey {
    pub(super) day: i64,
    key: String,
}

/// The day of a time, counted from 1970.
pub(super) fn day_of(time: UnixMillis) -> i64 {
    i64::try_from(time.0 / DAY_MS).unwrap_or(i64::MAX)
}

impl Ledger {
    /// The keys of the days from `since` to `now`, oldest first; today's is the last, and is made if there is none.
    pub(super) async fn day_keys(&self, since: UnixMillis, now: UnixMillis) -> Result<Vec<DayKey>, LedgerError> {
        let (first, today) = (day_of(since), day_of(now));
        if let Some(keys) = self.known_days(first, today) {
            return Ok(keys);
        }
        retried(|| self.read_day_keys(first, today)).await
    }

    /// The keys as they are in memory, if nothing is missing.
    fn known_days(&self, first: i64, today: i64) -> Option<Vec<DayKey>> {
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|&day, _| day >= first);
        let mut keys = Vec::new();
        for day in first..=today {
            keys.extend(known.get(&day)?.clone().map(|key| DayKey { day, key }));
        }
        Some(keys)
    }

    async fn read_day_keys(&self, first: i64, today: i64) -> Result<Vec<DayKey>, LedgerError> {
        let read = || {
            let days = day_key::Entity::find().filter(day_key::Column::Day.between(first, today));
            days.order_by_asc(day_key::Column::Day).all(&self.database)
        };
        let mut rows = read().await?;
        if rows.last().is_none_or(|row| row.day != today) {
            let mut key = [0; 32];
            rand::fill(&mut key).map_err(|_| LedgerError::Random)?;
            let row = day_key::ActiveModel { day: Set(today), key: Set(hex(&key)) };
            // Another worker may be faster: then its key stands.
            let keep = OnConflict::column(day_key::Column::Day).do_nothing_on([day_key::Column::Day]).to_owned();
            day_key::Entity::insert(row).on_conflict(keep).try_insert().exec_without_returning(&self.database).await?;
            rows = read().await?;
        }
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(rows.iter().map(|row| (row.day, Some(row.key.clone()))));
        // Yesterday's may still be made by a worker whose clock is behind: asked for again until it is there or too old.
        for day in first..today - 1 {
            known.entry(day).or_insert(None);
        }
        Ok(rows.into_iter().map(|row| DayKey { day: row.day, key: row.key }).collect())
    }

    /// The hash of `parts` on a day.
    pub(super) fn day_hash(&self, purpose: &str, day: &DayKey, parts: &[&str]) -> String {
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
