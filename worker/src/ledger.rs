//! The ledger: what was decided about a request and how far each of its replies is. It is why a message may come ten
//! times and be answered once, and why a sender gets its allowance and no more, however many workers there are.
//!
//! * **Admit** (`admit`, `caps`): verdict, the sender's allowance, the caps and the replies' rows are one transaction. A
//!   redelivery finds the verdict and is not counted again.
//! * **Claim, send, record** (`reply`, decided by [`steps`]): a reply is claimed for a while before it is sent. A claim that ran
//!   out without a record means that its worker died in between: that try is *ambiguous*, the reply may have gone out.
//! * **Suspects** (`suspects`): messages that were in hand when a worker died, and how often they have killed since.
//! * **Lists, switches, workers, census** (`lists`, `switches`, `fleet`): what the operator sets and sees.
//! * **Forgetting** (`forget`): old rows go by themselves, and a person's at once where the operator says so.
//!
//! It runs on SQLite, MariaDB or MySQL, and PostgreSQL (`database`); on SQLite, calls at the same time share a commit (`group`). Requesters are kept as keyed hashes under a key of
//! the day (`day_keys`) that is deleted once no window needs it; from then on nothing leads back to them.
//! If the database is away, every call fails within seconds, nothing is sent, and the message comes back later.

mod admit;
mod caps;
mod database;
mod day_keys;
mod entity;
mod fleet;
mod forget;
mod group;
mod lists;
mod migration;
mod reply;
pub mod steps;
mod suspects;
mod switches;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use replyfleet::{
    clock::UnixMillis,
    keyed::Secret,
    settings::{AllowanceSettings, Trust},
};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder};
use tokio::sync::watch;

pub use self::{
    admit::{Application, Promise},
    caps::exempt_domains,
    database::ANSWER_TIMEOUT,
    fleet::{Census, SEEN_WITHIN, Tally, WorkerRow},
    forget::{Forgotten, RETENTION},
    lists::{ListEntry, ListEntryError, ListKind, ListReason, Listed},
    reply::ReplyRow,
    steps::{AMBIGUOUS_TRIES_MAX, Attempt, Claim, HOLD_MAX, ReplyState, Try, Withdrawn},
};
use self::{
    database::{Access, only, retried},
    day_keys::KnownDays,
    entity::{reply as reply_rows, request},
    group::Group,
};
use crate::reason::Reason;

/// Why the ledger does not answer; the caller sends nothing and tries later.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database's own error.
    #[error("the database: {0}")]
    Database(#[from] DbErr),
    /// The database is newer than this program, or not ours.
    #[error("the database's schema is not one that this program knows: {0}")]
    Schema(String),
    /// The database is older than this program, and the caller is not one that may change it.
    #[error("the database lacks {0} steps of this program's schema; the start of a worker of this version brings it up")]
    Behind(usize),
    /// The URL is not one of a database that can be used. It is never shown: it may hold a password.
    #[error("database.url: {0}")]
    Url(String),
    /// No answer in time. What was asked may or may not have happened, as when a connection breaks.
    #[error("the database did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut,
    /// An entry of the settings is not a domain, and would never match a sender's.
    #[error("allowance.exempt_domains: {0:?} is not a domain; write what is behind the @ of an address (without @ and *: sub-domains are covered)")]
    ExemptDomain(String),
    /// Another call's failure took back what this one did in the same transaction. It is run again by itself; who sees this has
    /// lost often in a row.
    #[error("the transaction was undone with another call's")]
    Undone,
    /// The system gives no random numbers, so that nothing can be hidden behind them.
    #[error("the system has no random numbers to give")]
    Random,
}

impl LedgerError {
    /// Whether it may pass by itself: the database is away, or does not answer. Else someone must change something first.
    pub fn is_temporary(&self) -> bool {
        match self {
            LedgerError::Database(error) => !database::is_refusal(error),
            LedgerError::TimedOut | LedgerError::Undone => true,
            LedgerError::Schema(_) | LedgerError::Behind(_) | LedgerError::Url(_) | LedgerError::ExemptDomain(_) | LedgerError::Random => false,
        }
    }
}

/// The ledger, in a database that all workers share.
#[derive(Clone)]
pub struct Ledger {
    database: DatabaseConnection,
    group: Option<Group>,
    secret: Secret,
    allowance: Arc<AllowanceSettings>,
    days: Arc<Mutex<KnownDays>>,
    retention: Duration,
    /// How many claims whose answers were lost are not taken back yet.
    lost_claims: Arc<watch::Sender<usize>>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Answer,
    /// It is not.
    Ignore(Reason),
}

/// What the ledger knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What was decided.
    pub verdict: Verdict,
    /// Its replies, by number.
    pub replies: Vec<ReplyRow>,
    /// Up to which level its responses were promised; [`Trust::None`] if it is not answered.
    pub granted: Trust,
}

impl Progress {
    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replies.iter().all(|reply| reply.state.is_terminal())
    }
}

impl Ledger {
    /// Opens the database at `url` and brings its schema up to this program's. Several processes may do so at once.
    ///
    /// # Errors
    /// [`LedgerError`]; a database that a newer program has changed is refused, and so is an exempt domain that is none.
    pub async fn open(url: &str, secret: Secret, allowance: AllowanceSettings) -> Result<Self, LedgerError> {
        let allowance = readable(allowance)?;
        let database = database::connect(url, Access::Create).await?;
        migration::bring_up(&database).await?;
        database::warn_if_not_durable(&database).await?;
        Ok(Self::on(database, secret, allowance))
    }

    fn on(database: DatabaseConnection, secret: Secret, allowance: Arc<AllowanceSettings>) -> Self {
        let (days, lost_claims) = (Arc::default(), Arc::default());
        Self { group: Group::of(&database), database, secret, allowance, days, retention: RETENTION, lost_claims }
    }

    /// This ledger, which remembers requests and replies for so long instead of [`RETENTION`].
    pub fn keeping(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// Opens the database at `url` as it is: for the operator's commands, which must not change what the fleet runs on.
    ///
    /// # Errors
    /// [`LedgerError`]; a database with an older or newer schema than this program's is refused, and so is an exempt domain that
    /// is none.
    pub async fn join(url: &str, secret: Secret, allowance: AllowanceSettings) -> Result<Self, LedgerError> {
        let allowance = readable(allowance)?;
        let database = database::connect(url, Access::Write).await?;
        match migration::pending(&database).await? {
            0 => Ok(Self::on(database, secret, allowance)),
            steps => Err(LedgerError::Behind(steps)),
        }
    }

    /// Looks at the database at `url` and changes nothing: not even its schema, which the fleet may not be ready for.
    /// Returns how many steps its schema lacks.
    ///
    /// # Errors
    /// [`LedgerError`]: it is not there, does not answer, or a newer program has changed it.
    pub async fn look(url: &str) -> Result<usize, LedgerError> {
        migration::pending(&database::connect(url, Access::Read).await?).await
    }

    /// Whether the database answers: a cheap read, for who waits for it to come back.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.switches().await.map(drop)
    }

    /// What is known of a request; `None` if it was never admitted or refused here.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn recall(&self, request_key: &str) -> Result<Option<Progress>, LedgerError> {
        retried(|| self.try_recall(request_key)).await
    }

    async fn try_recall(&self, request_key: &str) -> Result<Option<Progress>, LedgerError> {
        let Some(transaction) = self.join_others().await? else { return progress(&self.database, request_key).await };
        let known = progress(&*transaction, request_key).await?;
        match known {
            // Nothing to wait for: whoever goes on looks again before anything is written.
            None => transaction.leave(),
            // What was seen counts once it is there to stay.
            Some(_) => transaction.commit().await?,
        }
        Ok(known)
    }
}

/// The settings with their domains as senders have them.
fn readable(mut allowance: AllowanceSettings) -> Result<Arc<AllowanceSettings>, LedgerError> {
    allowance.exempt_domains = exempt_domains(&allowance)?;
    Ok(Arc::new(allowance))
}

/// Random bytes.
fn random<const BYTES: usize>() -> Result<[u8; BYTES], LedgerError> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| LedgerError::Random)?;
    Ok(bytes)
}

async fn progress<C: sea_orm::ConnectionTrait>(connection: &C, request_key: &str) -> Result<Option<Progress>, LedgerError> {
    match only(request::Entity::find_by_id(request_key.to_owned()).all(connection).await?) {
        Some(row) => progress_of(connection, row).await.map(Some),
        None => Ok(None),
    }
}

async fn progress_of<C: sea_orm::ConnectionTrait>(connection: &C, row: request::Model) -> Result<Progress, LedgerError> {
    let replies = reply_rows::Entity::find().filter(reply_rows::Column::RequestKey.eq(row.request_key.as_str()));
    let replies = replies.order_by_asc(reply_rows::Column::Number).all(connection).await?;
    let replies = replies.into_iter().map(ReplyRow::try_from).collect::<Result<_, LedgerError>>()?;
    Ok(Progress { verdict: verdict_from(&row.verdict)?, replies, granted: trust_from(&row.granted)? })
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

fn trust_from(word: &str) -> Result<Trust, LedgerError> {
    let levels = [Trust::None, Trust::Small, Trust::Full];
    levels.into_iter().find(|level| level.word() == word).ok_or_else(|| LedgerError::Schema(format!("trust {word:?}")))
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> UnixMillis {
    UnixMillis(u64::try_from(millis).unwrap_or_default())
}
