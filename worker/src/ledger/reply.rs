//! One reply's way: claimed, sent, recorded.
//!
//! * A definite failure may be tried again until the request is too old (`screen.age_max_s`); an ambiguous one at most
//!   [`AMBIGUOUS_TRIES_MAX`] times in all, which bounds the copies of a reply.
//! * Each step reads the reply's row, decides and writes it, and holds the row meanwhile: no two workers have one claim. The two
//!   that nearly every reply takes, its first claim and "sent", are one UPDATE with what it asks for; a row that it does not
//!   match is looked at in the long way.
//!
//! A step that fails changed nothing, or is found to have happened when it is asked for again.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, UpdateMany, prelude::Expr};

use super::{
    Ledger, LedgerError, Progress,
    database::{is_exactly, only},
    entity::reply,
    millis, progress, retried, time,
};

/// Tries of one reply whose result is not known: each may have been a copy.
pub const AMBIGUOUS_TRIES_MAX: i32 = 2;

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
        Ok(Self { state: ReplyState::from_word(&row.state)?, response: row.response, attempts: row.attempts.unsigned_abs() })
    }
}

/// How far a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyState {
    /// To be sent.
    Pending,
    /// A worker is sending it, or died while it did.
    Claimed,
    /// Accepted by the next hop.
    Sent,
    /// Refused for good by the next hop.
    Refused,
    /// May have been sent, as often as that may happen.
    Uncertain,
    /// Not sent before the request was too old.
    Expired,
    /// Not sent because its files are more than its next hop or its recipient's provider takes.
    TooBig,
}

/// Why a reply is given up although nothing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Its response has gone, or the operator has switched it off.
    Refused,
    /// See [`ReplyState::TooBig`].
    TooBig,
}

impl ReplyState {
    const ALL: [ReplyState; 7] = [
        ReplyState::Pending,
        ReplyState::Claimed,
        ReplyState::Sent,
        ReplyState::Refused,
        ReplyState::Uncertain,
        ReplyState::Expired,
        ReplyState::TooBig,
    ];

    /// Whether it stays so.
    pub fn is_terminal(self) -> bool {
        !matches!(self, ReplyState::Pending | ReplyState::Claimed)
    }

    /// The word for logs and the database.
    pub fn word(self) -> &'static str {
        match self {
            ReplyState::Pending => "pending",
            ReplyState::Claimed => "claimed",
            ReplyState::Sent => "sent",
            ReplyState::Refused => "refused",
            ReplyState::Uncertain => "uncertain",
            ReplyState::Expired => "expired",
            ReplyState::TooBig => "too_big",
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, LedgerError> {
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| LedgerError::Schema(format!("reply state {word:?}")))
    }
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Send it, and record with this number what came of it.
    Granted(Attempt),
    /// There is nothing to send any more.
    Settled(ReplyState),
    /// Another worker has it until then.
    Held(UnixMillis),
}

/// Which try of a reply a claim is for. A record with an older one is too late: another worker has claimed it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(i32);

/// What came of a try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Accepted.
    Sent,
    /// Refused for good.
    Refused,
    /// Surely not sent.
    NotSent,
    /// Not known.
    Ambiguous,
}

impl Ledger {
    /// Claims reply `index` until `now + hold`.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was claimed then, or the claim runs out by itself.
    pub async fn claim(&self, request_key: &str, index: usize, now: UnixMillis, hold: Duration) -> Result<Claim, LedgerError> {
        retried(|| self.try_claim(request_key, index, now, hold)).await
    }

    async fn try_claim(&self, request_key: &str, index: usize, now: UnixMillis, hold: Duration) -> Result<Claim, LedgerError> {
        let until = now + hold;
        // Of nearly every reply the first claim is the only one: one statement, which needs no transaction of its own.
        if self.group.is_none() && claim_first(&self.database, request_key, index, until).await? {
            return Ok(Claim::Granted(Attempt(1)));
        }
        let transaction = self.begin().await?;
        let is_first = self.group.is_some() && claim_first(&*transaction, request_key, index, until).await?;
        let claim = if is_first { Claim::Granted(Attempt(1)) } else { claim_within(&transaction, request_key, index, now, until).await? };
        transaction.commit().await?;
        Ok(claim)
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
        let is_recorded = self.group.is_some() && result == Try::Sent && record_sent(&*transaction, request_key, index).await?;
        let state = if is_recorded { ReplyState::Sent } else { record_within(&transaction, request_key, index, attempt, result).await? };
        transaction.commit().await?;
        Ok(state)
    }

    /// Gives back a claim of which nobody knows whether it was granted, as that of a call that got no answer: the one that holds
    /// until `until`. Nothing was sent under it, and it counts as no try. Returns whether there was one.
    ///
    /// # Errors
    /// [`LedgerError`]; the claim, if there is one, then runs out and counts as ambiguous.
    pub async fn give_back(&self, request_key: &str, index: usize, until: UnixMillis) -> Result<bool, LedgerError> {
        let give_back = || {
            update_reply(request_key, index)
                .col_expr(reply::Column::State, Expr::value(ReplyState::Pending.word()))
                .col_expr(reply::Column::HeldUntilMs, Expr::value(0_i64))
                .filter(is_exactly(reply::Column::State, ReplyState::Claimed.word()))
                // Another worker's claim has another end, to the millisecond.
                .filter(reply::Column::HeldUntilMs.eq(millis(until)))
                .exec(&self.database)
        };
        Ok(retried(async || Ok(give_back().await?)).await?.rows_affected == 1)
    }

    /// Gives up a reply that is not to leave any more, and returns where it stands: one that a worker is sending stays that
    /// worker's, and one whose worker died may have been sent.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdraw(&self, request_key: &str, index: usize, why: Withdrawn, now: UnixMillis) -> Result<ReplyState, LedgerError> {
        retried(|| self.try_withdraw(request_key, index, why, now)).await
    }

    async fn try_withdraw(&self, request_key: &str, index: usize, why: Withdrawn, now: UnixMillis) -> Result<ReplyState, LedgerError> {
        let transaction = self.begin().await?;
        let state = withdraw_within(&transaction, request_key, index, why, now).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Gives up the replies of a request that are not sent yet and that no worker holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn expire(&self, request_key: &str, now: UnixMillis) -> Result<Option<Progress>, LedgerError> {
        retried(|| self.try_expire(request_key, now)).await
    }

    async fn try_expire(&self, request_key: &str, now: UnixMillis) -> Result<Option<Progress>, LedgerError> {
        reply::Entity::update_many()
            .col_expr(reply::Column::State, Expr::value(ReplyState::Expired.word()))
            .filter(reply::Column::RequestKey.eq(request_key))
            .filter(reply::Column::State.is_in([ReplyState::Pending.word(), ReplyState::Claimed.word()]))
            .filter(reply::Column::HeldUntilMs.lte(millis(now)))
            .exec(&self.database)
            .await?;
        progress(&self.database, request_key).await
    }
}

/// Claims a reply that nobody has tried to send; returns whether it was one.
async fn claim_first<C: ConnectionTrait>(connection: &C, request_key: &str, index: usize, until: UnixMillis) -> Result<bool, LedgerError> {
    let claimed = update_reply(request_key, index)
        .col_expr(reply::Column::State, Expr::value(ReplyState::Claimed.word()))
        .col_expr(reply::Column::Attempts, Expr::value(1))
        .col_expr(reply::Column::HeldUntilMs, Expr::value(millis(until)))
        .filter(is_exactly(reply::Column::State, ReplyState::Pending.word()))
        .filter(is_exactly(reply::Column::Attempts, 0))
        .exec(connection)
        .await?;
    Ok(claimed.rows_affected == 1)
}

async fn claim_within(
    transaction: &DatabaseTransaction,
    request_key: &str,
    index: usize,
    now: UnixMillis,
    until: UnixMillis,
) -> Result<Claim, LedgerError> {
    let row = find_reply(transaction, request_key, index).await?;
    let state = ReplyState::from_word(&row.state)?;
    let held_until = time(row.held_until_ms);
    let is_abandoned = state == ReplyState::Claimed && held_until <= now;
    let ambiguous = row.ambiguous + i32::from(is_abandoned);
    let claim = match state {
        ReplyState::Claimed if !is_abandoned => return Ok(Claim::Held(held_until)),
        ReplyState::Claimed | ReplyState::Pending if ambiguous >= AMBIGUOUS_TRIES_MAX => Claim::Settled(ReplyState::Uncertain),
        ReplyState::Claimed | ReplyState::Pending => Claim::Granted(Attempt(row.attempts + 1)),
        terminal => return Ok(Claim::Settled(terminal)),
    };
    let (state, held_until) = match claim {
        Claim::Settled(state) => (state, 0),
        Claim::Granted(_) | Claim::Held(_) => (ReplyState::Claimed, millis(until)),
    };
    update_reply(request_key, index)
        .col_expr(reply::Column::State, Expr::value(state.word()))
        .col_expr(reply::Column::Ambiguous, Expr::value(ambiguous))
        .col_expr(reply::Column::Attempts, Expr::value(row.attempts + 1))
        .col_expr(reply::Column::HeldUntilMs, Expr::value(held_until))
        .exec(transaction)
        .await?;
    Ok(claim)
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

async fn record_within(
    transaction: &DatabaseTransaction,
    request_key: &str,
    index: usize,
    attempt: Attempt,
    result: Try,
) -> Result<ReplyState, LedgerError> {
    let row = find_reply(transaction, request_key, index).await?;
    let (state, ambiguous) = match (ReplyState::from_word(&row.state)?, result) {
        (_, Try::Sent) => (ReplyState::Sent, row.ambiguous),
        (state, _) if state.is_terminal() || row.attempts != attempt.0 => return Ok(state),
        // Recorded before, by a call whose answer was lost: an ambiguous try must not count twice.
        (ReplyState::Pending, _) => return Ok(ReplyState::Pending),
        (_, Try::Refused) => (ReplyState::Refused, row.ambiguous),
        (_, Try::NotSent) => (ReplyState::Pending, row.ambiguous),
        (_, Try::Ambiguous) if row.ambiguous + 1 >= AMBIGUOUS_TRIES_MAX => (ReplyState::Uncertain, row.ambiguous + 1),
        (_, Try::Ambiguous) => (ReplyState::Pending, row.ambiguous + 1),
    };
    update_reply(request_key, index)
        .col_expr(reply::Column::State, Expr::value(state.word()))
        .col_expr(reply::Column::Ambiguous, Expr::value(ambiguous))
        .col_expr(reply::Column::HeldUntilMs, Expr::value(0_i64))
        .exec(transaction)
        .await?;
    Ok(state)
}

async fn withdraw_within(
    transaction: &DatabaseTransaction,
    request_key: &str,
    index: usize,
    why: Withdrawn,
    now: UnixMillis,
) -> Result<ReplyState, LedgerError> {
    let row = find_reply(transaction, request_key, index).await?;
    let state = match ReplyState::from_word(&row.state)? {
        ReplyState::Pending => match why {
            Withdrawn::Refused => ReplyState::Refused,
            Withdrawn::TooBig => ReplyState::TooBig,
        },
        ReplyState::Claimed if row.held_until_ms <= millis(now) => ReplyState::Uncertain,
        held_or_terminal => return Ok(held_or_terminal),
    };
    update_reply(request_key, index).col_expr(reply::Column::State, Expr::value(state.word())).exec(transaction).await?;
    Ok(state)
}

fn update_reply(request_key: &str, index: usize) -> UpdateMany<reply::Entity> {
    reply::Entity::update_many().filter(reply::Column::RequestKey.eq(request_key)).filter(reply::Column::Number.eq(number(index)))
}

/// The reply's row, held until the transaction ends.
async fn find_reply(transaction: &DatabaseTransaction, request_key: &str, index: usize) -> Result<reply::Model, LedgerError> {
    let row = reply::Entity::find_by_id((request_key.to_owned(), number(index))).lock_exclusive().all(transaction).await?;
    only(row).ok_or_else(|| LedgerError::Schema("an admitted reply has no row".into()))
}

pub(super) fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
