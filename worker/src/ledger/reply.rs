//! One reply's way in the database: claimed, sent, recorded. What each step decides is in [`super::steps`].
//!
//! * Each step reads the reply's row, decides and writes it, and holds the row meanwhile: no two workers have one claim. The two
//!   that nearly every reply takes, its first claim and "sent", are one UPDATE with what it asks for; a row that it does not
//!   match is looked at in the long way.
//! * A claim that may have been made, and whose answer was lost, is taken back in the background as soon as it is found: it
//!   would count as a try that may have sent something. Not to find it is no end: it may be under way to the database still.
//!
//! A step that fails changed nothing, or is found to have happened when it is asked for again.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, UpdateMany, prelude::Expr};

use super::{
    Ledger, LedgerError, Progress,
    database::{is_exactly, only},
    entity::reply,
    millis, progress, random, retried, steps,
    steps::{Attempt, Claim, HOLD_MAX, ReplyState, Standing, Try, Withdrawn},
    time,
};

/// How long a claim whose answer was lost is left before it is taken back, at first and at most.
const DISOWN_PAUSE_MIN: Duration = Duration::from_millis(500);
const DISOWN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// One reply as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRow {
    /// How far it is.
    pub state: ReplyState,
    /// The digest of the response that was promised.
    pub response: String,
    /// How often a worker claimed it.
    pub attempts: u32,
}

impl TryFrom<reply::Model> for ReplyRow {
    type Error = LedgerError;
    fn try_from(row: reply::Model) -> Result<Self, LedgerError> {
        Ok(Self { state: state_from(&row.state)?, response: row.response, attempts: row.attempts.unsigned_abs() })
    }
}

impl TryFrom<&reply::Model> for Standing {
    type Error = LedgerError;
    fn try_from(row: &reply::Model) -> Result<Self, LedgerError> {
        Ok(Self {
            state: state_from(&row.state)?,
            attempts: row.attempts,
            ambiguous: row.ambiguous,
            held_until: time(row.held_until_ms),
            holder: row.holder,
        })
    }
}

pub(super) fn state_from(word: &str) -> Result<ReplyState, LedgerError> {
    ReplyState::from_word(word).ok_or_else(|| LedgerError::Schema(format!("reply state {word:?}")))
}

impl Ledger {
    /// Claims reply `index` until `now + hold`, for [`HOLD_MAX`] at most. A claim that is not used after all is given back by
    /// recording [`Try::NotSent`].
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was claimed then, or the claim is taken back as soon as the database answers, or runs out.
    pub async fn claim(&self, request_key: &str, index: usize, now: UnixMillis, hold: Duration) -> Result<Claim, LedgerError> {
        let holder = i64::from_ne_bytes(random()?);
        let claimed = retried(|| self.try_claim(request_key, index, now, hold, holder)).await;
        if let Err(LedgerError::TimedOut | LedgerError::Database(_)) = &claimed {
            // Nobody waits for it: the message comes again by itself.
            self.lost_claims.send_modify(|count| *count += 1);
            tokio::spawn(self.clone().disown(request_key.to_owned(), index, holder, hold));
        }
        claimed
    }

    /// Waits until every claim of this ledger whose answer was lost is taken back or has run out: for a process that ends after
    /// its message, and would leave them as tries that may have sent something.
    pub(crate) async fn no_claims_lost(&self) {
        let _ = self.lost_claims.subscribe().wait_for(|count| *count == 0).await; // an error cannot be: we hold the sender
    }

    async fn try_claim(&self, request_key: &str, index: usize, now: UnixMillis, hold: Duration, holder: i64) -> Result<Claim, LedgerError> {
        let first = || (now + hold.min(HOLD_MAX), holder);
        // Of nearly every reply the first claim is the only one: one statement, which needs no transaction of its own.
        if self.group.is_none() && claim_first(&self.database, request_key, index, first()).await? {
            return Ok(Claim::Granted(steps::first_attempt(holder)));
        }
        let transaction = self.begin().await?;
        let claim = match self.group.is_some() && claim_first(&*transaction, request_key, index, first()).await? {
            true => Claim::Granted(steps::first_attempt(holder)),
            false => step(&transaction, request_key, index, |row| steps::claim(row, now, hold, holder)).await?,
        };
        transaction.commit().await?;
        Ok(claim)
    }

    /// Takes back a claim that may have been made, or may yet be, until it is taken back or has run out.
    async fn disown(self, request_key: String, index: usize, holder: i64, hold: Duration) {
        let disowning = async {
            let mut pause = DISOWN_PAUSE_MIN;
            loop {
                if let Ok(true) = self.in_step(&request_key, index, |row| steps::disown(row, holder)).await {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(DISOWN_PAUSE_MAX);
            }
        };
        if tokio::time::timeout(hold, disowning).await.is_ok() {
            tracing::info!("a claim whose answer was lost is taken back");
        }
        self.lost_claims.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Records what came of a claimed reply, and returns where it stands. If the claim has run out and another worker has
    /// claimed the reply since, only "sent" is recorded: the rest is that worker's to say.
    ///
    /// # Errors
    /// [`LedgerError`]; the claim then runs out and the try counts as ambiguous.
    pub async fn record(&self, request_key: &str, index: usize, attempt: Attempt, result: Try) -> Result<ReplyState, LedgerError> {
        retried(|| self.try_record(request_key, index, attempt, result)).await
    }

    async fn try_record(&self, request_key: &str, index: usize, attempt: Attempt, result: Try) -> Result<ReplyState, LedgerError> {
        // "Sent" is the truth whatever was written meanwhile: one statement, which needs no transaction of its own.
        if self.group.is_none() && result == Try::Sent && record_sent(&self.database, request_key, index).await? {
            return Ok(ReplyState::Sent);
        }
        let transaction = self.begin().await?;
        let state = match self.group.is_some() && result == Try::Sent && record_sent(&*transaction, request_key, index).await? {
            true => ReplyState::Sent,
            false => step(&transaction, request_key, index, |row| steps::record(row, attempt, result)).await?,
        };
        transaction.commit().await?;
        Ok(state)
    }

    /// Gives up a reply that is not to leave any more, and returns where it stands: one that a worker is sending stays that
    /// worker's, and one that may have been sent ends as uncertain.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdraw(&self, request_key: &str, index: usize, why: Withdrawn, now: UnixMillis) -> Result<ReplyState, LedgerError> {
        self.in_step(request_key, index, |row| steps::give_up(row, why, now)).await
    }

    /// Gives up the replies of a request that are not sent yet and that no worker holds: it is too old.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn expire(&self, request_key: &str, now: UnixMillis) -> Result<Option<Progress>, LedgerError> {
        retried(|| self.try_expire(request_key, now)).await
    }

    async fn try_expire(&self, request_key: &str, now: UnixMillis) -> Result<Option<Progress>, LedgerError> {
        let transaction = self.begin().await?;
        let rows = reply::Entity::find().filter(reply::Column::RequestKey.eq(request_key)).order_by_asc(reply::Column::Number);
        for row in rows.lock_exclusive().all(&*transaction).await? {
            step_from(&transaction, &row, |row| steps::give_up(row, Withdrawn::Expired, now)).await?;
        }
        let progress = progress(&*transaction, request_key).await?;
        transaction.commit().await?;
        Ok(progress)
    }

    /// One step in a transaction of its own.
    async fn in_step<T>(&self, request_key: &str, index: usize, decide: impl Fn(&mut Standing) -> T) -> Result<T, LedgerError> {
        retried(async || {
            let transaction = self.begin().await?;
            let answer = step(&transaction, request_key, index, &decide).await?;
            transaction.commit().await?;
            Ok(answer)
        })
        .await
    }
}

/// Reads the reply's row and holds it until the transaction ends, decides, and writes what came of it.
async fn step<T>(transaction: &DatabaseTransaction, request_key: &str, index: usize, decide: impl Fn(&mut Standing) -> T) -> Result<T, LedgerError> {
    let row = reply::Entity::find_by_id((request_key.to_owned(), number(index))).lock_exclusive().all(transaction).await?;
    let row = only(row).ok_or_else(|| LedgerError::Schema("an admitted reply has no row".into()))?;
    step_from(transaction, &row, decide).await
}

/// [`step`] from a row that is held.
async fn step_from<T>(transaction: &DatabaseTransaction, row: &reply::Model, decide: impl Fn(&mut Standing) -> T) -> Result<T, LedgerError> {
    let before = Standing::try_from(row)?;
    let mut after = before.clone();
    let answer = decide(&mut after);
    if after != before {
        let index = usize::try_from(row.number).unwrap_or_default();
        update_reply(&row.request_key, index)
            .col_expr(reply::Column::State, Expr::value(after.state.word()))
            .col_expr(reply::Column::Attempts, Expr::value(after.attempts))
            .col_expr(reply::Column::Ambiguous, Expr::value(after.ambiguous))
            .col_expr(reply::Column::HeldUntilMs, Expr::value(millis(after.held_until)))
            .col_expr(reply::Column::Holder, Expr::value(after.holder))
            .exec(transaction)
            .await?;
    }
    Ok(answer)
}

/// Claims a reply that nobody has tried to send; returns whether it was one.
async fn claim_first<C: ConnectionTrait>(
    connection: &C,
    request_key: &str,
    index: usize,
    (until, holder): (UnixMillis, i64),
) -> Result<bool, LedgerError> {
    let claimed = update_reply(request_key, index)
        .col_expr(reply::Column::State, Expr::value(ReplyState::Claimed.word()))
        .col_expr(reply::Column::Attempts, Expr::value(1))
        .col_expr(reply::Column::HeldUntilMs, Expr::value(millis(until)))
        .col_expr(reply::Column::Holder, Expr::value(holder))
        .filter(is_exactly(reply::Column::State, ReplyState::Pending.word()))
        .filter(is_exactly(reply::Column::Attempts, 0))
        .exec(connection)
        .await?;
    Ok(claimed.rows_affected == 1)
}

/// Records that a reply was sent; returns whether there is such a reply.
async fn record_sent<C: ConnectionTrait>(connection: &C, request_key: &str, index: usize) -> Result<bool, LedgerError> {
    let sent = update_reply(request_key, index)
        .col_expr(reply::Column::State, Expr::value(ReplyState::Sent.word()))
        .col_expr(reply::Column::HeldUntilMs, Expr::value(0_i64))
        .exec(connection)
        .await?;
    Ok(sent.rows_affected == 1)
}

fn update_reply(request_key: &str, index: usize) -> UpdateMany<reply::Entity> {
    reply::Entity::update_many().filter(reply::Column::RequestKey.eq(request_key)).filter(reply::Column::Number.eq(number(index)))
}

pub(super) fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
