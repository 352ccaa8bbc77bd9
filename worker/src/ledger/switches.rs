//! Where the operator's switches are kept. What they mean is [`crate::switches`].
//!
//! A row that cannot be read was written by another version: the call fails, and the caller keeps what it knows.

use replyfleet::clock::UnixMillis;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};

use super::{Ledger, LedgerError, entity::switch, millis, retried};
use crate::switches::{Setting, Switches};

impl Ledger {
    /// The switches as they are set now.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn switches(&self) -> Result<Switches, LedgerError> {
        let rows = retried(async || Ok(switch::Entity::find().all(&self.database).await?)).await?;
        let set = rows.iter().map(|row| match Setting::parse(&row.name, &row.value) {
            Ok(setting) => Ok((setting, u64::try_from(row.set_ms).unwrap_or_default())),
            Err(error) => Err(LedgerError::Schema(format!("a switch: {error}"))),
        });
        Ok(Switches::new(&set.collect::<Result<Vec<_>, _>>()?))
    }

    /// Sets a switch.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn set_switch(&self, setting: &Setting, now: UnixMillis) -> Result<(), LedgerError> {
        let row = switch::ActiveModel { name: Set(setting.name()), value: Set(setting.value()), set_ms: Set(millis(now)) };
        let replace = OnConflict::column(switch::Column::Name).update_columns([switch::Column::Value, switch::Column::SetMs]).to_owned();
        let set = || switch::Entity::insert(row.clone()).on_conflict(replace.clone()).exec_without_returning(&self.database);
        retried(async || Ok(set().await?)).await?;
        Ok(())
    }
}
