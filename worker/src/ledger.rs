//! The ledger: what was decided about a request and how far each of its replies is. It is why a message may come ten
//! times and be answered once.
//!
//! * **Admit**: verdict, the sender's allowance and the replies' rows are one transaction. A redelivery finds the
//!   verdict and is not counted again.
//! * **Claim, send, record**: a reply is claimed for a while before it is sent. A claim that ran out without a record
//!   means that its worker died in between: that try is *ambiguous*, the reply may have gone out.
//! * A definite failure may be tried again until the request is too old (`screen.age_max_s`); an ambiguous one at most
//!   [`AMBIGUOUS_TRIES_MAX`] times in all, which bounds the copies of a reply.
//!
//! Senders are kept as a keyed hash of their canonical address; nothing here can be read back to one.
//! If the database is away, every call fails, nothing is sent, and the message comes back later.

mod entity;
mod migration;

use std::time::Duration;

use replyfleet::{clock::UnixMillis, keyed::Secret, settings::AllowanceSettings};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, SqliteTransactionMode, TransactionOptions, TransactionTrait, UpdateMany, prelude::Expr,
};
use sea_orm_migration::MigratorTrait;

use self::entity::{reply, request};
use crate::{address::Address, reason::Reason};

/// Tries of one reply whose result is not known: each may have been a copy.
pub const AMBIGUOUS_TRIES_MAX: i32 = 2;
/// How long rows are kept. Longer than a message can live in queue and dead letters (14 days each).
pub const RETENTION: Duration = Duration::from_secs(40 * 86_400);
/// How long a call waits for another process's transaction on the same file.
const BUSY_TIMEOUT_MS: &str = "10000";

/// Why the ledger does not answer; the caller sends nothing and tries later.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database's own error.
    #[error("the database: {0}")]
    Database(#[from] DbErr),
    /// The database is newer than this program, or not ours.
    #[error("the database's schema is not one that this program knows: {0}")]
    Schema(String),
    /// The URL names a database that this version cannot use.
    #[error("database.url: expected \"sqlite:FILE\"")]
    Url,
}

/// The ledger, in a database that all workers share.
#[derive(Clone)]
pub struct Ledger {
    database: DatabaseConnection,
    secret: Secret,
    allowance: AllowanceSettings,
}

/// What is to be decided about a request.
pub struct Application<'a> {
    /// The request's key.
    pub request_key: &'a str,
    /// The key of its mail.
    pub mail_key: &'a str,
    /// Who asks.
    pub sender: &'a Address,
    /// The digests of the responses that it would get.
    pub responses: &'a [String],
    /// From which catalogue.
    pub catalogue: &'a str,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Answer,
    /// It is not.
    Ignore(Reason),
}

/// What the ledger knows of a request that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What was decided.
    pub verdict: Verdict,
    /// Its replies, by number.
    pub replies: Vec<ReplyRow>,
}

/// One reply as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRow {
    /// How far it is.
    pub state: ReplyState,
    /// The digest of the response that was promised.
    pub response: String,
}

impl Progress {
    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replies.iter().all(|reply| reply.state.is_terminal())
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
}

impl ReplyState {
    const ALL: [ReplyState; 6] =
        [ReplyState::Pending, ReplyState::Claimed, ReplyState::Sent, ReplyState::Refused, ReplyState::Uncertain, ReplyState::Expired];

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
        }
    }

    fn from_word(word: &str) -> Result<Self, LedgerError> {
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
    /// Opens the database at `url` and brings its schema up to this program's.
    ///
    /// # Errors
    /// [`LedgerError`]; a database that a newer program has changed is refused.
    pub async fn open(url: &str, secret: Secret, allowance: AllowanceSettings) -> Result<Self, LedgerError> {
        // FULL: a commit that was reported survives a power cut; "sent" must not be forgotten.
        let database = connect(url, "rwc", &[("journal_mode", "WAL"), ("synchronous", "FULL"), ("busy_timeout", BUSY_TIMEOUT_MS)]).await?;
        migration::Migrator::up(&database, None).await.map_err(|error| LedgerError::Schema(error.to_string()))?;
        Ok(Self { database, secret, allowance })
    }

    /// Looks at the database at `url` and changes nothing: not even its schema, which the fleet may not be ready for.
    /// Returns how many steps its schema lacks.
    ///
    /// # Errors
    /// [`LedgerError`]: it is not there, does not answer, or a newer program has changed it.
    pub async fn look(url: &str) -> Result<usize, LedgerError> {
        let database = connect(url, "ro", &[("busy_timeout", BUSY_TIMEOUT_MS)]).await?;
        let pending = migration::Migrator::get_pending_migrations_read_only(&database).await;
        Ok(pending.map_err(|error| LedgerError::Schema(error.to_string()))?.len())
    }

    /// What is known of a request; `None` if it was never admitted or refused here.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn recall(&self, request_key: &str) -> Result<Option<Progress>, LedgerError> {
        progress(&self.database, request_key).await
    }

    /// Decides about a request, once: a second call finds the first one's verdict.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was decided or counted then.
    pub async fn admit(&self, application: &Application<'_>, now: UnixMillis) -> Result<Progress, LedgerError> {
        let transaction = self.begin().await?;
        if let Some(known) = progress(&transaction, application.request_key).await? {
            return Ok(known);
        }
        let sender = self.sender_hash(application.sender);
        let verdict = self.decide(&transaction, application, &sender, now).await?;
        let is_answered = verdict == Verdict::Answer;
        request::Entity::insert(request::ActiveModel {
            request_key: Set(application.request_key.to_owned()),
            answered_mail: Set(is_answered.then(|| application.mail_key.to_owned())),
            sender: Set(sender),
            verdict: Set(verdict_word(verdict).to_owned()),
            catalogue: Set(application.catalogue.to_owned()),
            created_ms: Set(millis(now)),
        })
        .exec_without_returning(&transaction)
        .await?;
        let promised = if is_answered { application.responses } else { &[] };
        let rows = promised.iter().enumerate().map(|(index, response)| reply::ActiveModel {
            request_key: Set(application.request_key.to_owned()),
            number: Set(number(index)),
            response: Set(response.clone()),
            state: Set(ReplyState::Pending.word().to_owned()),
            attempts: Set(0),
            ambiguous: Set(0),
            held_until_ms: Set(0),
        });
        if !promised.is_empty() {
            reply::Entity::insert_many(rows).exec_without_returning(&transaction).await?;
        }
        transaction.commit().await?;
        let pending = |response: &String| ReplyRow { state: ReplyState::Pending, response: response.clone() };
        Ok(Progress { verdict, replies: promised.iter().map(pending).collect() })
    }

    /// Notes that a request gets no answer, so that a redelivery need not look at its mail, which may be gone by then.
    /// Returns the verdict that stands: another worker may have been faster with another.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn ignore(&self, request_key: &str, reason: Reason, now: UnixMillis) -> Result<Verdict, LedgerError> {
        let transaction = self.begin().await?;
        if let Some(known) = progress(&transaction, request_key).await? {
            return Ok(known.verdict);
        }
        request::Entity::insert(request::ActiveModel {
            request_key: Set(request_key.to_owned()),
            answered_mail: Set(None),
            sender: Set(String::new()), // nobody is counted
            verdict: Set(reason.word().to_owned()),
            catalogue: Set(String::new()),
            created_ms: Set(millis(now)),
        })
        .exec_without_returning(&transaction)
        .await?;
        transaction.commit().await?;
        Ok(Verdict::Ignore(reason))
    }

    async fn decide(
        &self,
        transaction: &DatabaseTransaction,
        application: &Application<'_>,
        sender: &str,
        now: UnixMillis,
    ) -> Result<Verdict, LedgerError> {
        let same_mail = request::Entity::find().filter(request::Column::AnsweredMail.eq(application.mail_key)).count(transaction).await?;
        if same_mail > 0 {
            return Ok(Verdict::Ignore(Reason::AnsweredAlready));
        }
        let window_start = now - self.allowance.window_s.duration();
        let answers = request::Entity::find()
            .filter(request::Column::Sender.eq(sender))
            .filter(request::Column::CreatedMs.gt(millis(window_start)))
            .filter(request::Column::AnsweredMail.is_not_null())
            .count(transaction)
            .await?;
        let is_within = answers < self.allowance.answers_per_sender.get() as u64;
        Ok(if is_within { Verdict::Answer } else { Verdict::Ignore(Reason::OverAllowance) })
    }

    /// Claims reply `index` until `now + hold`.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was claimed then, or the claim runs out by itself.
    pub async fn claim(&self, request_key: &str, index: usize, now: UnixMillis, hold: Duration) -> Result<Claim, LedgerError> {
        let transaction = self.begin().await?;
        let row = find_reply(&transaction, request_key, index).await?;
        let state = ReplyState::from_word(&row.state)?;
        let held_until = UnixMillis(u64::try_from(row.held_until_ms).unwrap_or_default());
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
            Claim::Granted(_) | Claim::Held(_) => (ReplyState::Claimed, millis(now + hold)),
        };
        update_reply(request_key, index)
            .col_expr(reply::Column::State, Expr::value(state.word()))
            .col_expr(reply::Column::Ambiguous, Expr::value(ambiguous))
            .col_expr(reply::Column::Attempts, Expr::value(row.attempts + 1))
            .col_expr(reply::Column::HeldUntilMs, Expr::value(held_until))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(claim)
    }

    /// Records what came of a claimed reply, and returns where it stands. If the claim has run out and another worker has
    /// claimed the reply since, only "sent" is recorded: the rest is that worker's to say.
    ///
    /// # Errors
    /// [`LedgerError`]; the claim then runs out and the try counts as ambiguous.
    pub async fn record(&self, request_key: &str, index: usize, attempt: Attempt, result: Try) -> Result<ReplyState, LedgerError> {
        let transaction = self.begin().await?;
        let row = find_reply(&transaction, request_key, index).await?;
        let (state, ambiguous) = match (ReplyState::from_word(&row.state)?, result) {
            // "Sent" is the truth whatever was written meanwhile.
            (_, Try::Sent) => (ReplyState::Sent, row.ambiguous),
            (state, _) if state.is_terminal() || row.attempts != attempt.0 => return Ok(state),
            (_, Try::Refused) => (ReplyState::Refused, row.ambiguous),
            (_, Try::NotSent) => (ReplyState::Pending, row.ambiguous),
            (_, Try::Ambiguous) if row.ambiguous + 1 >= AMBIGUOUS_TRIES_MAX => (ReplyState::Uncertain, row.ambiguous + 1),
            (_, Try::Ambiguous) => (ReplyState::Pending, row.ambiguous + 1),
        };
        update_reply(request_key, index)
            .col_expr(reply::Column::State, Expr::value(state.word()))
            .col_expr(reply::Column::Ambiguous, Expr::value(ambiguous))
            .col_expr(reply::Column::HeldUntilMs, Expr::value(0_i64))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Gives up a reply whose response is not in the catalogue any more, and returns where it stands: one that a worker is
    /// sending stays that worker's, and one whose worker died may have been sent.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdraw(&self, request_key: &str, index: usize, now: UnixMillis) -> Result<ReplyState, LedgerError> {
        let transaction = self.begin().await?;
        let row = find_reply(&transaction, request_key, index).await?;
        let state = match ReplyState::from_word(&row.state)? {
            ReplyState::Pending => ReplyState::Refused,
            ReplyState::Claimed if row.held_until_ms <= millis(now) => ReplyState::Uncertain,
            held_or_terminal => return Ok(held_or_terminal),
        };
        update_reply(request_key, index).col_expr(reply::Column::State, Expr::value(state.word())).exec(&transaction).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Gives up the replies of a request that are not sent yet and that no worker holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn expire(&self, request_key: &str, now: UnixMillis) -> Result<Option<Progress>, LedgerError> {
        reply::Entity::update_many()
            .col_expr(reply::Column::State, Expr::value(ReplyState::Expired.word()))
            .filter(reply::Column::RequestKey.eq(request_key))
            .filter(reply::Column::State.is_in([ReplyState::Pending.word(), ReplyState::Claimed.word()]))
            .filter(reply::Column::HeldUntilMs.lte(millis(now)))
            .exec(&self.database)
            .await?;
        self.recall(request_key).await
    }

    /// Forgets the requests that are older than [`RETENTION`]; returns how many.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn forget_old(&self, now: UnixMillis) -> Result<u64, LedgerError> {
        let before = millis(now - RETENTION);
        let old = request::Entity::find().filter(request::Column::CreatedMs.lt(before)).order_by_asc(request::Column::CreatedMs);
        // In bounded bites, so that no transaction keeps the workers waiting.
        let keys: Vec<String> = sea_orm::QuerySelect::limit(old, 500).all(&self.database).await?.into_iter().map(|row| row.request_key).collect();
        if keys.is_empty() {
            return Ok(0);
        }
        reply::Entity::delete_many().filter(reply::Column::RequestKey.is_in(keys.clone())).exec(&self.database).await?;
        let gone = request::Entity::delete_many().filter(request::Column::RequestKey.is_in(keys)).exec(&self.database).await?;
        Ok(gone.rows_affected)
    }

    fn sender_hash(&self, sender: &Address) -> String {
        self.secret.hash("sender", &[&sender.canonical()])
    }

    /// A transaction that has the right to write from its start: one that reads first and writes later could not
    /// continue after another's write.
    async fn begin(&self) -> Result<DatabaseTransaction, LedgerError> {
        let options = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..TransactionOptions::default() };
        Ok(self.database.begin_with_options(options).await?)
    }
}

/// Connects to an SQLite file; `mode` is SQLite's own word for what may be done with it.
async fn connect(url: &str, mode: &str, pragmas: &'static [(&'static str, &'static str)]) -> Result<DatabaseConnection, LedgerError> {
    let file = url.strip_prefix("sqlite:").filter(|file| !file.is_empty()).ok_or(LedgerError::Url)?;
    let mut options = ConnectOptions::new(format!("sqlite:{file}?mode={mode}"));
    // SQLite has one writer: more connections would only wait for each other.
    options.max_connections(1).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| pragmas.iter().fold(sqlite, |sqlite, (name, value)| sqlite.pragma(*name, *value)));
    Ok(Database::connect(options).await?)
}

async fn progress<C: sea_orm::ConnectionTrait>(connection: &C, request_key: &str) -> Result<Option<Progress>, LedgerError> {
    let Some(row) = request::Entity::find_by_id(request_key.to_owned()).one(connection).await? else { return Ok(None) };
    let replies = reply::Entity::find().filter(reply::Column::RequestKey.eq(request_key)).order_by_asc(reply::Column::Number).all(connection).await?;
    let known = |row: reply::Model| Ok(ReplyRow { state: ReplyState::from_word(&row.state)?, response: row.response });
    let replies = replies.into_iter().map(known).collect::<Result<_, LedgerError>>()?;
    Ok(Some(Progress { verdict: verdict_from(&row.verdict)?, replies }))
}

fn update_reply(request_key: &str, index: usize) -> UpdateMany<reply::Entity> {
    reply::Entity::update_many().filter(reply::Column::RequestKey.eq(request_key)).filter(reply::Column::Number.eq(number(index)))
}

async fn find_reply(transaction: &DatabaseTransaction, request_key: &str, index: usize) -> Result<reply::Model, LedgerError> {
    let row = reply::Entity::find_by_id((request_key.to_owned(), number(index))).one(transaction).await?;
    row.ok_or_else(|| LedgerError::Schema("an admitted reply has no row".into()))
}

const ANSWER: &str = "answer";

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Answer => ANSWER,
        Verdict::Ignore(reason) => reason.word(),
    }
}

fn verdict_from(word: &str) -> Result<Verdict, LedgerError> {
    if word == ANSWER {
        return Ok(Verdict::Answer);
    }
    Reason::from_word(word).map(Verdict::Ignore).ok_or_else(|| LedgerError::Schema(format!("verdict {word:?}")))
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
