//! The verdict about a request, once: rules 10, 25, 26 and 27 in one transaction, exact however many workers ask at once.
//!
//! 1. The sender's *turn* is taken: a row that this transaction holds to its end, so that the requests of one sender are
//!    decided one after the other. Which of the [`TURNS`] rows it is changes with the day's key, and what is written there is
//!    random: no row tells who took it, or whether anybody did.
//! 2. A request that is known keeps its verdict. Else: the same mail again (10), the same words again (27), the sender's
//!    allowance (25).
//! 3. The verdict and the replies' rows are written.
//! 4. The caps (26) come last, because many senders share their rows ([`super::caps`]). In the rare case that they leave
//!    less than was written, it is written anew.
//!
//! If any of it fails, nothing was decided or counted.

use std::collections::BTreeSet;

use replyfleet::{clock::UnixMillis, settings::Trust};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait},
};

use super::{
    ANSWER, Ledger, LedgerError, Progress, ReplyRow, ReplyState, Verdict,
    caps::{Limit, Wish},
    database::{is_exactly, only},
    day_keys::{DayHashes, Missing},
    entity::{reply, request, turn},
    group::Transaction,
    millis, progress_of, random,
    reply::number,
    retried, verdict_from, verdict_word,
};
use crate::{address::Address, reason::Reason};

/// How many turns there are to take. More would fill more pages of the database, fewer let more senders wait for each other.
pub(super) const TURNS: i32 = 1_024;

/// What is to be decided about a request. At least one of its responses needs no more than `trust`: the caller sees to it.
pub struct Application<'a> {
    /// The request's key.
    pub request_key: &'a str,
    /// The key of its mail.
    pub mail_key: &'a str,
    /// Who asks: the From address.
    pub sender: &'a Address,
    /// The client's IP address as the envelope has it. If it cannot be read, no network is counted.
    pub client_address: &'a str,
    /// Our address that was asked, without +tag.
    pub responder: &'a str,
    /// What makes two requests of one sender the same (rule 27): the Message-ID, or a hash of the body.
    pub identity: &'a str,
    /// How far the sender is trusted, after switches and shedding: small or full.
    pub trust: Trust,
    /// The responses that it would get, in order.
    pub responses: &'a [Promise],
    /// Whether the sender is on the allow list, which lifts rules 25 and 26 (rule 28). What it gets counts for no cap.
    pub is_allowed: bool,
    /// Whether the sender is proven in full: only then is an exempt domain's network exempt as well.
    pub is_proven: bool,
    /// From which catalogue.
    pub catalogue: &'a str,
}

/// A response that a request may be promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The response's digest.
    pub digest: String,
    /// The level of trust that it needs. One that needs full counts as one with attachments.
    pub needs: Trust,
}

/// How the transaction ends.
#[derive(Clone, Copy)]
enum End {
    Commit,
    Rollback,
}

/// What a request is counted under.
struct Hashes {
    sender: DayHashes,
    identity: DayHashes,
    /// In the order in which they are taken, so that nobody waits in a circle.
    turns: BTreeSet<i32>,
}

#[derive(Clone, Copy)]
struct Decision {
    verdict: Verdict,
    granted: Trust,
}

impl Decision {
    fn ignore(reason: Reason) -> Self {
        Self { verdict: Verdict::Ignore(reason), granted: Trust::None }
    }
}

/// The sender's answers within its window.
struct Had {
    answers: i64,
    with_attachments: i64,
    same: i64,
}

impl Application<'_> {
    fn promised(&self, granted: Trust) -> impl Iterator<Item = &Promise> {
        self.responses.iter().filter(move |response| response.needs <= granted)
    }

    fn has_attachments(&self, granted: Trust) -> bool {
        self.promised(granted).any(|response| response.needs == Trust::Full)
    }

    /// The answer at `granted`, if anything is left of it.
    fn decide(&self, granted: Trust, otherwise: Reason) -> Decision {
        let has_fallen = granted < self.trust;
        if has_fallen && self.promised(granted).next().is_none() {
            return Decision::ignore(otherwise);
        }
        Decision { verdict: Verdict::Answer, granted }
    }
}

impl Ledger {
    /// Decides about a request, once: a second call finds the first one's verdict.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was decided or counted then.
    pub async fn admit(&self, application: &Application<'_>, now: UnixMillis) -> Result<Progress, LedgerError> {
        self.run(application, now, End::Commit).await
    }

    /// Decides as [`Ledger::admit`] would, and takes it back: the database is left as it was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn rehearse(&self, application: &Application<'_>, now: UnixMillis) -> Result<Progress, LedgerError> {
        self.run(application, now, End::Rollback).await
    }

    async fn run(&self, application: &Application<'_>, now: UnixMillis, end: End) -> Result<Progress, LedgerError> {
        let missing = match end {
            End::Commit => Missing::Make,
            End::Rollback => Missing::Imagine,
        };
        let days = self.days(now, missing).await?;
        let canonical = application.sender.canonical();
        let since = now - self.allowance.window_s.duration();
        let hashes = Hashes {
            sender: self.day_hashes("sender", &days, since, &[&canonical]),
            identity: self.day_hashes("identity", &days, since, &[&canonical, application.identity]),
            turns: self.shared_hashes("turn", &days, &[&canonical]).iter().map(|hash| turn_of(hash)).collect(),
        };
        let limits = self.limits(application, &days, now);
        retried(|| self.try_admit(application, &hashes, &limits, now, end)).await
    }

    /// Notes that a request gets no answer, so that a redelivery need not look at its mail, which may be gone by then.
    /// Returns the verdict that stands: another worker may have been faster with another.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn ignore(&self, request_key: &str, reason: Reason, now: UnixMillis) -> Result<Verdict, LedgerError> {
        retried(|| self.try_ignore(request_key, reason, now)).await
    }

    async fn try_admit(
        &self,
        application: &Application<'_>,
        hashes: &Hashes,
        limits: &[Limit],
        now: UnixMillis,
        end: End,
    ) -> Result<Progress, LedgerError> {
        // What is taken back is nobody else's to share.
        let transaction = match end {
            End::Commit => self.begin().await?,
            End::Rollback => Transaction::Own(self.begin_own().await?),
        };
        let progress = self.admit_within(&transaction, application, hashes, limits, now).await?;
        match end {
            End::Commit => transaction.commit().await?,
            End::Rollback => transaction.rollback().await?,
        }
        Ok(progress)
    }

    async fn admit_within(
        &self,
        transaction: &DatabaseTransaction,
        application: &Application<'_>,
        hashes: &Hashes,
        limits: &[Limit],
        now: UnixMillis,
    ) -> Result<Progress, LedgerError> {
        take_turns(transaction, &hashes.turns).await?;
        let known =
            Condition::any().add(request::Column::RequestKey.eq(application.request_key)).add(request::Column::AnsweredMail.eq(application.mail_key));
        let mut known = request::Entity::find().filter(known).all(transaction).await?;
        if let Some(index) = known.iter().position(|row| row.request_key == application.request_key) {
            return progress_of(transaction, known.swap_remove(index)).await;
        }
        let mut decision = match known.is_empty() {
            true => self.weigh(transaction, application, hashes, now).await?,
            false => Decision::ignore(Reason::AnsweredAlready),
        };
        write(transaction, application, hashes, decision, now).await?;
        if decision.verdict == Verdict::Answer {
            let wish = Wish {
                has_attachments: application.has_attachments(decision.granted),
                can_do_without: application.promised(Trust::Small).next().is_some(),
            };
            let ceiling = self.take(transaction, limits, wish, now).await?;
            if ceiling < decision.granted && (wish.has_attachments || ceiling == Trust::None) {
                decision = if ceiling == Trust::None { Decision::ignore(Reason::OverCap) } else { application.decide(ceiling, Reason::OverCap) };
                erase(transaction, application.request_key).await?;
                write(transaction, application, hashes, decision, now).await?;
            }
        }
        let pending = |response: &Promise| ReplyRow { state: ReplyState::Pending, response: response.digest.clone(), attempts: 0 };
        Ok(Progress { verdict: decision.verdict, replies: application.promised(decision.granted).map(pending).collect(), granted: decision.granted })
    }

    /// Rules 27 and 25.
    async fn weigh(
        &self,
        transaction: &DatabaseTransaction,
        application: &Application<'_>,
        hashes: &Hashes,
        now: UnixMillis,
    ) -> Result<Decision, LedgerError> {
        let had = self.had(transaction, hashes, now).await?;
        if had.same > 0 {
            return Ok(Decision::ignore(Reason::Repeated));
        }
        if application.is_allowed {
            return Ok(Decision { verdict: Verdict::Answer, granted: application.trust });
        }
        if had.answers >= limit(self.allowance.answers_per_sender.get()) {
            return Ok(Decision::ignore(Reason::OverAllowance));
        }
        let has_attachments_left = had.with_attachments < limit(self.allowance.attachments_per_sender.get());
        let granted = if has_attachments_left { application.trust } else { application.trust.min(Trust::Small) };
        Ok(application.decide(granted, Reason::OverAllowance))
    }

    /// What the sender had within its window, to the millisecond.
    async fn had(&self, transaction: &DatabaseTransaction, hashes: &Hashes, now: UnixMillis) -> Result<Had, LedgerError> {
        let counted = |condition: Condition| Expr::expr(Expr::case(condition, 1)).count();
        let counts = request::Entity::find()
            .select_only()
            .column_as(request::Column::RequestKey.count(), "answers")
            .column_as(counted(Condition::all().add(request::Column::HasAttachments.eq(true))), "with_attachments")
            .column_as(counted(Condition::all().add(request::Column::Identity.is_in(&hashes.identity.all))), "same")
            .filter(request::Column::Sender.is_in(&hashes.sender.all))
            .filter(request::Column::CreatedMs.gt(millis(now - self.allowance.window_s.duration())))
            .filter(is_exactly(request::Column::Verdict, ANSWER));
        let (answers, with_attachments, same) = only(counts.into_tuple().all(transaction).await?).unwrap_or_default();
        Ok(Had { answers, with_attachments, same })
    }

    async fn try_ignore(&self, request_key: &str, reason: Reason, now: UnixMillis) -> Result<Verdict, LedgerError> {
        if let Some(known) = request::Entity::find_by_id(request_key.to_owned()).one(&self.database).await? {
            return verdict_from(&known.verdict);
        }
        let verdict = Verdict::Ignore(reason);
        let row = request::ActiveModel {
            request_key: Set(request_key.to_owned()),
            answered_mail: Set(None),
            sender: Set(String::new()), // nobody is counted
            identity: Set(String::new()),
            verdict: Set(verdict_word(verdict).to_owned()),
            granted: Set(Trust::None.word().to_owned()),
            has_attachments: Set(false),
            catalogue: Set(String::new()),
            created_ms: Set(millis(now)),
        };
        // Another worker may be faster: this one then fails at the unique key, and is run again.
        request::Entity::insert(row).exec_without_returning(&self.database).await?;
        Ok(verdict)
    }

    /// How far back any window reaches.
    pub(super) fn longest_window(&self) -> std::time::Duration {
        self.allowance.window_s.duration().max(self.allowance.cap_window_s.duration())
    }
}

/// The turn that a hash stands for.
fn turn_of(hash: &str) -> i32 {
    i32::from_str_radix(&hash[..4], 16).unwrap_or_default() % TURNS
}

/// What is written into a turn: nobody can tell from it whether and how often the turn was taken.
pub(super) fn turn_mark() -> Result<i64, LedgerError> {
    Ok(i64::from_ne_bytes(random()?))
}

/// Waits until no other transaction has any of these turns, and holds them to the end of this one. An UPDATE rather than a
/// lock, which a cluster of several writing MariaDB nodes would not share, and one for each row, because a single one would
/// lock them in an order of the database's choice. SQLite has one writer, whose turn it is.
async fn take_turns(transaction: &DatabaseTransaction, turns: &BTreeSet<i32>) -> Result<(), LedgerError> {
    if transaction.get_database_backend() == DbBackend::Sqlite {
        return Ok(());
    }
    for &turn in turns {
        let taken = turn::Entity::update_many().col_expr(turn::Column::Taken, Expr::value(turn_mark()?));
        let taken = taken.filter(turn::Column::Number.eq(turn)).exec(transaction).await?;
        if taken.rows_affected != 1 {
            return Err(LedgerError::Schema(format!("the table turn has no row {turn}")));
        }
    }
    Ok(())
}

/// Writes what was decided, and a row for each reply that is promised.
async fn write(
    transaction: &DatabaseTransaction,
    application: &Application<'_>,
    hashes: &Hashes,
    decision: Decision,
    now: UnixMillis,
) -> Result<(), LedgerError> {
    let is_answered = decision.verdict == Verdict::Answer;
    request::Entity::insert(request::ActiveModel {
        request_key: Set(application.request_key.to_owned()),
        answered_mail: Set(is_answered.then(|| application.mail_key.to_owned())),
        sender: Set(hashes.sender.todays.clone()),
        identity: Set(hashes.identity.todays.clone()),
        verdict: Set(verdict_word(decision.verdict).to_owned()),
        granted: Set(decision.granted.word().to_owned()),
        has_attachments: Set(application.has_attachments(decision.granted)),
        catalogue: Set(application.catalogue.to_owned()),
        created_ms: Set(millis(now)),
    })
    .exec_without_returning(transaction)
    .await?;
    let rows = application.promised(decision.granted).enumerate().map(|(index, response)| reply::ActiveModel {
        request_key: Set(application.request_key.to_owned()),
        number: Set(number(index)),
        response: Set(response.digest.clone()),
        state: Set(ReplyState::Pending.word().to_owned()),
        attempts: Set(0),
        ambiguous: Set(0),
        held_until_ms: Set(0),
        holder: Set(0),
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        reply::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Takes back what [`write()`] wrote.
async fn erase(transaction: &DatabaseTransaction, request_key: &str) -> Result<(), LedgerError> {
    reply::Entity::delete_many().filter(reply::Column::RequestKey.eq(request_key)).exec(transaction).await?;
    request::Entity::delete_by_id(request_key.to_owned()).exec(transaction).await?;
    Ok(())
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
