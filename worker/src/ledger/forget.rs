//! Forgetting: what is old goes by itself, and what is kept of a person goes when the operator says so.
//!
//! Old rows go in bounded bites, so that no transaction keeps the workers waiting. Two workers that forget at once take the
//! same rows twice, which harms nobody. What cannot be forgotten now is forgotten later.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, prelude::Expr};

use super::{
    Ledger, LedgerError, ListEntry, ListKind, Listed,
    day_keys::{CLOCKS_DIFFER, day_of},
    entity::{counter, list, reply, request, suspect, switch, worker},
    millis, retried,
};
use crate::address::Address;

/// How long requests and replies are kept unless the settings say otherwise. Longer than a message can live in queue and dead letters (14 days each).
pub const RETENTION: Duration = Duration::from_secs(40 * 86_400);
/// How long a worker that has gone, or a switch that is back where it was, is kept.
const TRACES_FOR: Duration = Duration::from_secs(86_400);
/// Rows of one bite.
const BITE_ROWS: u64 = 500;

/// What was removed of a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Requests that do not count for the sender any more. Their replies' states stay, without any way to the sender.
    pub requests: u64,
    /// Entries on the allow and the suppression list.
    pub entries: u64,
    /// Whether the address is still on the block list, itself or by its domain: only the operator's `unblock` ends that.
    pub is_blocked: bool,
}

impl Ledger {
    /// Forgets a bite of what is older than it needs to be: requests and replies, counters, keys of days, entries of lists,
    /// traces of workers. Returns how many rows; there may be more until it returns 0.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn forget_old(&self, now: UnixMillis) -> Result<u64, LedgerError> {
        let needed_since = now - self.longest_window() - CLOCKS_DIFFER;
        // First what matters most: from now on nothing leads from the rows of those days to a sender.
        retried(|| self.delete_day_keys(day_of(needed_since))).await?;
        let requests = retried(|| self.forget_requests(now)).await?;
        let counters = retried(|| self.forget_counters(needed_since)).await?;
        let traces = retried(|| self.forget_traces(now)).await?;
        Ok(requests + counters + traces)
    }

    async fn forget_requests(&self, now: UnixMillis) -> Result<u64, LedgerError> {
        let old = request::Entity::find().filter(request::Column::CreatedMs.lt(millis(now - self.retention)));
        let old = old.order_by_asc(request::Column::CreatedMs).limit(BITE_ROWS).select_only().column(request::Column::RequestKey);
        let keys: Vec<String> = old.into_tuple().all(&self.database).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        reply::Entity::delete_many().filter(reply::Column::RequestKey.is_in(&keys)).exec(&self.database).await?;
        let gone = request::Entity::delete_many().filter(request::Column::RequestKey.is_in(&keys)).exec(&self.database).await?;
        Ok(gone.rows_affected)
    }

    async fn forget_counters(&self, before: UnixMillis) -> Result<u64, LedgerError> {
        let is_old = || counter::Column::TouchedMs.lt(millis(before));
        let old = counter::Entity::find().filter(is_old()).limit(BITE_ROWS).select_only().column(counter::Column::Name);
        let names: Vec<String> = old.into_tuple().all(&self.database).await?;
        if names.is_empty() {
            return Ok(0);
        }
        // Asked again: one may have been touched since.
        let gone = counter::Entity::delete_many().filter(counter::Column::Name.is_in(&names)).filter(is_old()).exec(&self.database).await?;
        Ok(gone.rows_affected)
    }

    async fn forget_traces(&self, now: UnixMillis) -> Result<u64, LedgerError> {
        let before = millis(now - TRACES_FOR);
        let suspects = suspect::Entity::delete_many().filter(suspect::Column::SinceMs.lt(millis(now - RETENTION))).exec(&self.database).await?;
        let workers = worker::Entity::delete_many().filter(worker::Column::SeenMs.lt(before)).exec(&self.database).await?;
        let entries = list::Entity::delete_many().filter(list::Column::ExpiresMs.lte(millis(now))).exec(&self.database).await?;
        let default = switch::Column::Value.is_in(["on", "auto"]);
        let switches = switch::Entity::delete_many().filter(default).filter(switch::Column::SetMs.lt(before)).exec(&self.database).await?;
        Ok(suspects.rows_affected + workers.rows_affected + entries.rows_affected + switches.rows_affected)
    }

    /// Forgets what is kept of a person: the sender loses its requests, and so starts its allowance anew, and its address
    /// comes off the allow and the suppression list. What the caps counted stays, because it is of many senders. So does the
    /// block list: who is blocked must not get out by asking to be forgotten.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn forget(&self, address: &Address, now: UnixMillis) -> Result<Forgotten, LedgerError> {
        let canonical = address.canonical();
        // Not only of the window's days: as long as a day's key is there, its rows lead to their sender.
        let hashes = self.hashes_of_all_days("sender", &[&canonical]).await?;
        let nobody = || {
            let requests = request::Entity::update_many().filter(request::Column::Sender.is_in(&hashes));
            let requests = requests.col_expr(request::Column::Sender, Expr::value("")).col_expr(request::Column::Identity, Expr::value(""));
            requests.exec(&self.database)
        };
        let requests = retried(async || Ok(nobody().await?)).await?.rows_affected;
        let entry = ListEntry::Address(address.clone());
        let mut entries = 0;
        for kind in [ListKind::Allow, ListKind::Suppress] {
            entries += u64::from(self.list_remove(kind, &entry).await?);
        }
        let Listed { is_blocked, .. } = self.listed(&[address], now).await?;
        Ok(Forgotten { requests, entries, is_blocked })
    }
}
