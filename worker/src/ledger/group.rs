//! Transactions, and on SQLite group commit: calls that come at the same time share one.
//!
//! SQLite has one writer, and each commit waits for the disk. So a call does not wait for its predecessor's commit: it goes on
//! in the same transaction, behind it. Whoever began the transaction has it committed once all who waited meanwhile had
//! their turn, and only then is any of them told how it went: what was reported is on the disk, as if each had its own.
//!
//! The calls of one transaction run one after the other, each from its first statement to its last, so that none sees half
//! of another. One that fails, or is given up, undoes them all: the others are told [`LedgerError::Undone`], and
//! [`retried`](super::retried) runs them again. There are never more of them than calls at a time.
//!
//! MariaDB, MySQL and PostgreSQL commit for many connections at once by themselves: there each call has its own transaction.

use std::{ops::Deref, sync::Arc};

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::{Ledger, LedgerError, database::is_lost_race};

/// The transaction that calls can join. Whoever holds the lock has the turn in it.
type Shared = Arc<Mutex<Option<Open>>>;

/// A transaction that is not committed yet.
struct Open {
    transaction: DatabaseTransaction,
    /// Tells all who took part how it ended. Dropped without a word, it was undone.
    ended: watch::Sender<Option<Ending>>,
}

/// How a shared transaction ended.
#[derive(Clone)]
enum Ending {
    Committed,
    LostRace,
    Failed(String),
}

/// The group of a database that has one.
#[derive(Clone, Default)]
pub(super) struct Group(Shared);

/// One call's part of a shared transaction. Dropped before its end, it undoes the whole.
pub(super) struct Member {
    turn: Option<OwnedMutexGuard<Option<Open>>>,
    group: Group,
    is_first: bool,
}

/// A transaction in which one call does what it has to do. Dropped without [`Transaction::commit`], it changed nothing.
pub(super) enum Transaction {
    Own(DatabaseTransaction),
    Shared(Member),
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        match self {
            Self::Own(transaction) => transaction,
            // Unwrap: a member has its turn until it ends, and nobody else can take the transaction away meanwhile.
            Self::Shared(member) => &member.turn.as_ref().and_then(|turn| turn.as_ref()).expect("a member with its turn").transaction,
        }
    }
}

impl Transaction {
    /// Makes what was done last; returns once it does.
    pub(super) async fn commit(self) -> Result<(), LedgerError> {
        match self {
            Self::Own(transaction) => Ok(transaction.commit().await?),
            Self::Shared(member) => member.end().await,
        }
    }

    /// Ends a part that changed nothing and saw nothing that could be taken back; waits for nobody.
    pub(super) fn leave(self) {
        match self {
            Self::Own(transaction) => drop(transaction),
            Self::Shared(mut member) => drop(member.pass_on()),
        }
    }

    /// Takes back what was done.
    pub(super) async fn rollback(self) -> Result<(), LedgerError> {
        match self {
            Self::Own(transaction) => Ok(transaction.rollback().await?),
            Self::Shared(member) => {
                drop(member);
                Ok(())
            }
        }
    }
}

impl Ledger {
    /// A transaction, on SQLite one that is shared.
    pub(super) async fn begin(&self) -> Result<Transaction, LedgerError> {
        match &self.group {
            Some(group) => group.join(&self.database).await.map(Transaction::Shared),
            None => self.begin_own().await.map(Transaction::Own),
        }
    }

    /// A transaction of the caller's own. On SQLite it has the right to write from its start: one that reads first and writes
    /// later could not continue after another's write.
    pub(super) async fn begin_own(&self) -> Result<DatabaseTransaction, LedgerError> {
        begin_own(&self.database).await
    }

    /// The shared transaction, if others are at it: who only reads is then faster in their midst than behind them.
    pub(super) async fn join_others(&self) -> Result<Option<Transaction>, LedgerError> {
        match &self.group {
            Some(group) if group.is_busy() => self.begin().await.map(Some),
            _ => Ok(None),
        }
    }
}

async fn begin_own(database: &DatabaseConnection) -> Result<DatabaseTransaction, LedgerError> {
    let options = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..TransactionOptions::default() };
    Ok(database.begin_with_options(options).await?)
}

impl Group {
    /// The group of a database that needs one.
    pub(super) fn of(database: &DatabaseConnection) -> Option<Self> {
        (database.get_database_backend() == DbBackend::Sqlite).then(Self::default)
    }

    fn is_busy(&self) -> bool {
        self.0.try_lock().map_or(true, |open| open.is_some())
    }

    /// Waits for the turn in the transaction that is open, or begins one.
    async fn join(&self, database: &DatabaseConnection) -> Result<Member, LedgerError> {
        let mut turn = Arc::clone(&self.0).lock_owned().await;
        let is_first = turn.is_none();
        if is_first {
            *turn = Some(Open { transaction: begin_own(database).await?, ended: watch::Sender::new(None) });
        }
        Ok(Member { turn: Some(turn), group: self.clone(), is_first })
    }

    /// Commits the transaction that is open once those who wait for a turn had theirs: turns are given in the order of asking.
    /// If that transaction is not the one that it was called for, that one is over, and this one's calls are all done as well.
    async fn commit(self) {
        let mut turn = self.0.lock().await;
        let Some(Open { transaction, ended }) = turn.take() else { return };
        let ending = match transaction.commit().await {
            Ok(()) => Ending::Committed,
            Err(error) if is_lost_race(&error) => Ending::LostRace,
            Err(error) => Ending::Failed(error.to_string()),
        };
        ended.send_replace(Some(ending));
    }
}

impl Member {
    /// Gives the turn to the next; returns where it is told how the transaction ended.
    fn pass_on(&mut self) -> Option<watch::Receiver<Option<Ending>>> {
        let turn = self.turn.take();
        let ended = turn.as_ref().and_then(|turn| turn.as_ref()).map(|open| open.ended.subscribe());
        drop(turn);
        if self.is_first {
            // By itself: the first one's call may be given up while the others wait.
            tokio::spawn(self.group.clone().commit());
        }
        ended
    }

    /// Gives the turn to the next, and waits for the end of the transaction.
    async fn end(mut self) -> Result<(), LedgerError> {
        let mut ended = self.pass_on().ok_or(LedgerError::Undone)?;
        let ending = ended.wait_for(Option::is_some).await.map(|ending| ending.clone());
        match ending {
            Ok(Some(Ending::Committed)) => Ok(()),
            Ok(Some(Ending::Failed(text))) => Err(LedgerError::Database(DbErr::Custom(text))),
            Ok(Some(Ending::LostRace) | None) | Err(_) => Err(LedgerError::Undone),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // What it did is half done: a transaction that is dropped is rolled back.
        drop(self.turn.take().and_then(|mut turn| turn.take()));
    }
}

#[cfg(test)]
mod tests;
