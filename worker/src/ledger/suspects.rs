//! Suspects: messages that were in hand when a worker died. Who receives one works on it in a process of its own
//! ([`crate::quarantine`]), and counts here how often that process died of it.
//!
//! Being in hand when a worker dies says little: of a worker's messages one may be to blame, and of a `kill -9` none. So that
//! counts for nothing but a place on the list, and a good end takes the message off it.
//! If the database is away, a message that was received before is not worked on, and comes again.

use replyfleet::clock::UnixMillis;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, prelude::Expr};

use super::{Ledger, LedgerError, database::only, entity::suspect, millis, retried};

impl Ledger {
    /// Puts messages on the list, by their request keys. Those that are on it stay as they are.
    ///
    /// # Errors
    /// [`LedgerError`]; some may be on it already, and all may be given again.
    pub async fn suspect(&self, request_keys: &[String], now: UnixMillis) -> Result<(), LedgerError> {
        for key in request_keys {
            // Another worker may be faster: this one then fails at the unique key, is run again, and finds it there.
            retried(|| self.try_suspect(key, now)).await?;
        }
        Ok(())
    }

    async fn try_suspect(&self, request_key: &str, now: UnixMillis) -> Result<(), LedgerError> {
        if self.try_deaths(request_key).await?.is_none() {
            let row = suspect::ActiveModel { request_key: Set(request_key.to_owned()), deaths: Set(0), since_ms: Set(millis(now)) };
            suspect::Entity::insert(row).exec_without_returning(&self.database).await?;
        }
        Ok(())
    }

    /// The request keys of all suspects.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn suspects(&self) -> Result<Vec<String>, LedgerError> {
        let keys = || suspect::Entity::find().select_only().column(suspect::Column::RequestKey).into_tuple().all(&self.database);
        retried(async || Ok(keys().await?)).await
    }

    /// How many processes of its own a message has killed; `None` if it is no suspect.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn deaths(&self, request_key: &str) -> Result<Option<u32>, LedgerError> {
        retried(|| self.try_deaths(request_key)).await
    }

    async fn try_deaths(&self, request_key: &str) -> Result<Option<u32>, LedgerError> {
        let row = only(suspect::Entity::find_by_id(request_key.to_owned()).all(&self.database).await?);
        Ok(row.map(|row| row.deaths.unsigned_abs()))
    }

    /// Sets how many processes of its own a suspect has killed: counted by the one worker that has the message.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn set_deaths(&self, request_key: &str, deaths: u32) -> Result<(), LedgerError> {
        let deaths = i32::try_from(deaths).unwrap_or(i32::MAX);
        let set = || {
            let rows = suspect::Entity::update_many().col_expr(suspect::Column::Deaths, Expr::value(deaths));
            rows.filter(suspect::Column::RequestKey.eq(request_key)).exec(&self.database)
        };
        retried(async || Ok(set().await?)).await.map(drop)
    }

    /// Takes a message off the list.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn clear_suspect(&self, request_key: &str) -> Result<(), LedgerError> {
        let clear = || suspect::Entity::delete_by_id(request_key.to_owned()).exec(&self.database);
        retried(async || Ok(clear().await?)).await.map(drop)
    }
}
