//! What the operator sees of the fleet through the database: the workers that show themselves, and how requests and replies
//! fared. Numbers and words from closed lists only.

use std::{collections::BTreeMap, time::Duration};

use replyfleet::clock::UnixMillis;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, sea_query::OnConflict};

use super::{
    Ledger, LedgerError, Verdict,
    entity::{reply, request, worker},
    millis, retried, time, verdict_from, verdict_word,
};

/// A worker that was not seen for this long is taken for gone.
pub const SEEN_WITHIN: Duration = Duration::from_secs(120);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A worker, as it shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// A random word for the process, at most 64 characters.
    pub id: String,
    /// Since when it runs.
    pub started: UnixMillis,
    /// When it last showed itself.
    pub seen: UnixMillis,
    /// The version of the switches that it goes by ([`crate::switches::Switches::version`]).
    pub switches: String,
    /// Whether it sheds attachments because of the queue's age.
    pub is_shedding: bool,
    /// The version of its catalogue.
    pub catalogue: String,
}

/// How the requests of a time fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by verdict: "answer" or the reason. Only those that reached the ledger: most mail that is ignored never does.
    pub requests: BTreeMap<&'static str, u64>,
    /// Their replies by state.
    pub replies: BTreeMap<&'static str, u64>,
}

/// How requests fared of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Those of the last hour.
    pub hour: Tally,
    /// Those of the last day.
    pub day: Tally,
}

impl Ledger {
    /// Shows that a worker is there.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn beat(&self, row: &WorkerRow) -> Result<(), LedgerError> {
        let row = worker::ActiveModel {
            id: Set(row.id.clone()),
            started_ms: Set(millis(row.started)),
            seen_ms: Set(millis(row.seen)),
            switches: Set(row.switches.clone()),
            is_shedding: Set(row.is_shedding),
            catalogue: Set(row.catalogue.clone()),
        };
        let replace = OnConflict::column(worker::Column::Id)
            .update_columns([worker::Column::SeenMs, worker::Column::Switches, worker::Column::IsShedding, worker::Column::Catalogue])
            .to_owned();
        let beat = || worker::Entity::insert(row.clone()).on_conflict(replace.clone()).exec_without_returning(&self.database);
        retried(async || Ok(beat().await?)).await?;
        Ok(())
    }

    /// The workers that were seen within [`SEEN_WITHIN`], the longest running first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn workers(&self, now: UnixMillis) -> Result<Vec<WorkerRow>, LedgerError> {
        let seen = || {
            let workers = worker::Entity::find().filter(worker::Column::SeenMs.gte(millis(now - SEEN_WITHIN)));
            workers.order_by_asc(worker::Column::StartedMs).order_by_asc(worker::Column::Id).all(&self.database)
        };
        let rows = retried(async || Ok(seen().await?)).await?;
        let row = |row: worker::Model| WorkerRow {
            id: row.id,
            started: time(row.started_ms),
            seen: time(row.seen_ms),
            switches: row.switches,
            is_shedding: row.is_shedding,
            catalogue: row.catalogue,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// How the requests of the last hour and day fared.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn census(&self, now: UnixMillis) -> Result<Census, LedgerError> {
        Ok(Census { hour: retried(|| self.tally(now - HOUR)).await?, day: retried(|| self.tally(now - DAY)).await? })
    }

    async fn tally(&self, since: UnixMillis) -> Result<Tally, LedgerError> {
        let is_since = || request::Column::CreatedMs.gt(millis(since));
        let requests = request::Entity::find().select_only().column(request::Column::Verdict);
        let requests = requests.column_as(request::Column::RequestKey.count(), "requests").filter(is_since()).group_by(request::Column::Verdict);
        let of_requests = request::Entity::find().select_only().column(request::Column::RequestKey).filter(is_since()).into_query();
        let replies = reply::Entity::find().select_only().column(reply::Column::State);
        let replies = replies.column_as(reply::Column::Number.count(), "replies").filter(reply::Column::RequestKey.in_subquery(of_requests));
        let replies = replies.group_by(reply::Column::State);

        let mut tally = Tally::default();
        for (word, count) in requests.into_tuple::<(String, i64)>().all(&self.database).await? {
            let verdict: Verdict = verdict_from(&word)?;
            tally.requests.insert(verdict_word(verdict), count.unsigned_abs());
        }
        for (word, count) in replies.into_tuple::<(String, i64)>().all(&self.database).await? {
            tally.replies.insert(super::reply::state_from(&word)?.word(), count.unsigned_abs());
        }
        Ok(tally)
    }
}
